"""What is measured of each test, in the process that runs it."""

from __future__ import annotations

import os
import resource
import threading
import time
from _thread import _count as n_threads  # of Python's, less the first; threading.active_count takes a lock
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from rondo_core import Plugins, Schema, Store, Tier
from rondo_core.errors import RondoError
from rondo_core.plugins import RECORDERS
from rondo_job.pytest_plugin.table import FAILED, PASSED, SKIPPED, STATES, SUFFIX, TestsTable

_PAGE_BYTES = resource.getpagesize()
_PEAK_SLACK_BYTES = 1 << 20  # the two figures are not of the same instant
# A thread that wakes waits for the interpreter's lock, and wakes in vain, at some 100 us, whenever the tests give it up
# for a system call. Where tests are short, the thread that looks sleeps, and what is due each second is done by them.
_LOOK_S = 0.05  # between two looks at the memory of a test that goes on
_REST_S, _LONG_REST_S = 0.25, 1.0  # between two looks for one that does; the longer where many end in the shorter
_MANY = 50
_LONG_NS = 20_000_000
_LATE_NS = 250_000_000  # by which a second is over before it is recorded while a test runs
_SECOND_NS = 1_000_000_000
_TIERS = (Tier("1s", "10m"), Tier("10s", "2h"), Tier("1m", "1d"))
_SCHEMAS: tuple[Schema, ...] = (
    Schema("counters", "counter", 40, _TIERS),
    Schema("gauges", "gauge", 24, _TIERS),
    Schema("tests", "summary", 2, _TIERS, "pytest_test_duration_seconds", sketch=True),
    Schema("summaries", "summary", 6, _TIERS),
)


class TestRecording:
    """The recorder of one process's tests: a row of a table for each, and a store of the process beside it."""

    __test__ = False

    def __init__(self, directory: str, worker: str) -> None:
        """Record into `directory`, under the process's name, and its pid where it is not the first of that name."""
        self._directory, self._worker = Path(directory), worker
        self._table: TestsTable | None = None
        self._store: Any = None
        self._no_more_looks, self._recording = threading.Lock(), threading.Lock()
        self._due_ns = 0
        self._pid = os.getpid()

    def pytest_collection_finish(self, session: Any) -> None:
        """Make the table, with a row for each test, now that it is known how many there are.

        Raises: pytest.UsageError: there is no room, or what lies there cannot be recorded into.
        """
        if session.config.getoption("collectonly") or self._table is not None:
            return
        name = (
            self._worker if not (self._directory / (self._worker + SUFFIX)).exists() else f"{self._worker}-{self._pid}"
        )
        try:
            table = TestsTable(self._directory / (name + SUFFIX), len(session.items))
            self._store = _open_store(self._directory / f"{name}.rondo", f"pytest {name}")
        except (RondoError, OSError) as error:
            raise pytest.UsageError(f"--rondo: {error}") from None
        self._table = table
        counter = self._store.counter("pytest_tests_total", "Tests that ended, by how.", labels=["outcome"])
        self._ended_as = [counter.labels(each).inc if each else None for each in STATES]
        self._durations = self._store.summary(
            "pytest_test_duration_seconds", "What tests took.", quantiles=True
        ).observe
        hooks = TestHooks(table, self._store, self._count, self._record)
        session.config.pluginmanager.register(hooks, "rondo-tests")
        self._no_more_looks.acquire()
        self._looking = threading.Thread(target=self._look, args=(table,), name="rondo-pytest", daemon=True)
        self._looking.start()

    def _look(self, table: TestsTable) -> None:
        """Note the memory of a test that goes on, and record the seconds that go by in it."""
        wait_s, begun = _REST_S, table.begun
        while not self._no_more_looks.acquire(timeout=wait_s):
            now_ns = time.time_ns()
            row = table.running()
            if row >= 0 and table.age_ns(row, now_ns) >= _LONG_NS:
                table.see(row, now_ns, _resident(Path("/proc/self/statm").read_bytes()))
                wait_s = _LOOK_S
            else:
                wait_s = _REST_S if table.begun - begun < _MANY else _LONG_REST_S
            begun = table.begun
            if not -_SECOND_NS <= now_ns - self._due_ns < _LATE_NS:
                self._record(now_ns)

    def _record(self, now_ns: int) -> int:
        """Count into the store the tests that have ended since, and tick it. Returns: when to do so again."""
        if self._recording.acquire(blocking=False):  # else the other thread is at it
            try:
                if self._table is not None:
                    self._count_ended(self._table)
                self._store.tick()
                self._due_ns = (now_ns // _SECOND_NS + 1) * _SECOND_NS
            finally:
                self._recording.release()
        return self._due_ns

    def _count_ended(self, table: TestsTable) -> None:
        states, took_ns = table.take_ended()
        for state in set(states):
            self._ended_as[state](states.count(state))  # type: ignore[misc]
        observe = self._durations
        for each in took_ns:
            observe(each / 1e9)

    def _count(self, state: int, took_ns: int) -> None:
        self._ended_as[state]()  # type: ignore[misc]
        self._durations(took_ns / 1e9)

    def pytest_sessionfinish(self) -> None:
        """Close the table and the store."""
        if self._table is None or os.getpid() != self._pid:
            return
        self._no_more_looks.release()
        self._looking.join()
        self._record(time.time_ns())  # the process at its end
        table, self._table = self._table, None
        self._store.close()
        table.close()


class TestHooks:
    """The hooks that run for each test: what the process has is read once after each, which is before the next.

    What they call are closures, as those of TestsTable: between two tests each name is looked up in a cold cache.
    """

    __test__ = False

    def __init__(
        self, table: TestsTable, store: Any, count: Callable[[int, int], None], record: Callable[[int], int]
    ) -> None:
        """Write rows of the table, and mark failures in the store.

        Args: `count`: count(state, ns) takes what has no row; `record`: record(now_ns), called between two tests once
            a second, gives when it is due again.
        """
        self._store, self._state = store, PASSED
        begin, end, time_ns, read = table.begin, table.end, time.time_ns, process_reader()
        due_ns, before = record(time_ns()), read()
        pid, getpid = os.getpid(), os.getpid

        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_protocol(item: Any) -> Generator[None, Any, Any]:
            """Measure around a test, its fixtures included."""
            nonlocal before, due_ns
            if getpid() != pid:
                return (yield)
            cpu_was, peak_was, resident, descriptors_were, threads_were = before
            self._state = PASSED
            started = time_ns()
            row = begin(item.nodeid, started, resident)
            done = yield
            now = time_ns()
            before = cpu_s, peak, resident, descriptors, threads = read()
            if row >= 0:
                highest, cpu_ns = peak if peak > peak_was else resident, round((cpu_s - cpu_was) * 1e9)
                left = descriptors - descriptors_were, threads - threads_were
                end(row, self._state, now - started, cpu_ns, resident, highest, *left)
            else:
                count(self._state, now - started)
            if not due_ns - _SECOND_NS <= now < due_ns:  # the clock may have been set back, by a test as well
                due_ns = record(now)
                before = read()
            return done

        self.pytest_runtest_protocol = pytest_runtest_protocol

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the worst that a test's setup, call or teardown came to."""
        outcome = report.outcome
        if outcome == "passed":
            return
        if outcome == "failed":
            self._state = FAILED
            if report.when != "teardown":
                self._store.mark("failed", test=report.nodeid[-200:])
        elif self._state != FAILED:
            self._state = SKIPPED


def _open_store(path: Path, writer: str) -> Store:
    """Open the store of this process, which is ticked between tests, or make it."""
    plugins = Plugins(config={"process": {}})
    plugins.know(RECORDERS, {"process": "rondo_core.builtin.process"})  # no look at all that is installed
    plugins.load(RECORDERS, ["process"])
    store = Store(path, _SCHEMAS, writer=writer)
    store.bind_recorders(plugins)
    return store


def process_reader() -> Callable[[], tuple[float, int, int, int, int]]:
    """Give what reads the CPU seconds of the process and its children that ended, its highest resident memory and that
    of now, in bytes, its descriptors and its threads.

    Two files stay open for it; after a test that closes every descriptor they are opened anew. The size of the
    directory of descriptors is their number from Linux 6.2 on.
    """
    read_usage, own, children = resource.getrusage, resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    pread, stat, flags, read_peak = os.pread, os.fstat, os.O_RDONLY | os.O_CLOEXEC, own_peak_reader()
    memory = files = inode = -1

    def read() -> tuple[float, int, int, int, int]:
        nonlocal memory, files, inode
        usage, ended = read_usage(own), read_usage(children)
        try:
            resident, found = _resident(pread(memory, 64, 0)), stat(files)
        except (OSError, ValueError, IndexError):  # closed, or another file's number by now
            resident, found = -1, None
        if found is None or found.st_ino != inode:
            memory, files = os.open("/proc/self/statm", flags), os.open("/proc/self/fd", flags | os.O_DIRECTORY)
            resident, found = _resident(pread(memory, 64, 0)), stat(files)
            inode = found.st_ino
        return (
            usage[0] + usage[1] + ended[0] + ended[1],  # each its user and its system time
            usage[2] * 1024 if read_peak is None else read_peak(),
            resident,
            found.st_size or len(os.listdir(files)),  # noqa: PTH208 - of a descriptor
            n_threads(),
        )

    return read


def _resident(statm: bytes) -> int:
    return int(statm.split(None, 2)[1]) * _PAGE_BYTES


def own_peak_reader() -> Callable[[], int] | None:
    """Give what reads the process's highest resident memory, in bytes; None where getrusage has it.

    It has more where the process was started from a larger one: ru_maxrss outlives execve, VmHWM does not.
    """
    status = Path("/proc/self/status")

    def read_peak() -> int:
        return int(status.read_bytes().partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024

    inherited = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - read_peak()
    return read_peak if inherited > _PEAK_SLACK_BYTES else None
