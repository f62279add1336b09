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

from rondo_core import Schema, Tier, open_store
from rondo_core.plugins import Config
from rondo_job.pytest_plugin.table import STATES, SUFFIX, TestsTable

_PAGE_BYTES = resource.getpagesize()
_PEAK_SLACK_BYTES = 1 << 20  # the two figures are not of the same instant
_LOOK_S = 0.05  # between two looks at a running test's memory
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
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._table: TestsTable | None = None
        self._store: Any = None
        self._row = -1
        self._ended = threading.Event()
        self._pid = os.getpid()

    def pytest_collection_finish(self, session: Any) -> None:
        """Make the table, with a row for each test, now that it is known how many there are."""
        if session.config.getoption("collectonly") or self._table is not None:
            return
        name = (
            self._worker if not (self._directory / (self._worker + SUFFIX)).exists() else f"{self._worker}-{self._pid}"
        )
        self._table = TestsTable(self._directory / (name + SUFFIX), len(session.items))
        store = {"path": str(self._directory / f"{name}.rondo")}
        self._store = open_store(Config(store=store), schemas=_SCHEMAS, writer=f"pytest {name}")
        counter = self._store.counter("pytest_tests_total", "Tests that ended, by how.", labels=["outcome"])
        self._ended_as = [counter.labels(each).inc if each else None for each in STATES]
        self._durations = self._store.summary(
            "pytest_test_duration_seconds", "What tests took.", quantiles=True
        ).observe
        self._looking = threading.Thread(target=self._look, name="rondo-pytest", daemon=True)
        self._looking.start()
        self._count_descriptors, self._peak_of = _descriptors(), _own_peak()
        self._descriptors, self._threads = self._count_descriptors(), n_threads()
        self._measure()

    def _look(self) -> None:
        """Note the memory of the test that is running, and count those that have ended, twenty times a second."""
        table = self._table
        while not self._ended.wait(_LOOK_S):
            row = self._row
            if row >= 0 and table is not None:
                table.see(row, time.time_ns(), self._read_resident())
            self._count_ended()

    def _count_ended(self) -> None:
        """Count into the store the tests that have ended since: many at once take a fraction of one after each."""
        if self._table is not None:
            for state, took_ns in self._table.take_ended():
                self._count(state, took_ns)

    def _count(self, state: int, took_ns: int) -> None:
        self._ended_as[state]()  # type: ignore[misc]
        self._durations(took_ns / 1e9)

    def _read_resident(self) -> int:
        return int(os.pread(self._statm, 64, 0).split(None, 2)[1]) * _PAGE_BYTES

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: Any) -> Generator[None, Any, Any]:
        """Measure around a test, its fixtures included."""
        table = self._table
        if table is None or os.getpid() != self._pid:
            return (yield)
        started, cpu, before, peak = time.time_ns(), self._cpu_s, self._resident, self._peak
        self._state = 2
        self._row = row = table.begin(item.nodeid, started, before)
        done = yield
        self._row = -1
        took = time.time_ns() - started
        self._measure()
        descriptors, threads = self._count_descriptors(), n_threads()
        if row >= 0:
            highest = self._peak if self._peak > peak else self._resident
            more = (descriptors - self._descriptors, threads - self._threads)
            table.end(row, self._state, (took, round((self._cpu_s - cpu) * 1e9), self._resident, highest, *more))
        else:
            self._count(self._state, took)
        self._descriptors, self._threads = descriptors, threads
        return done

    def _measure(self) -> None:
        """Note what the process has now; what was there after one test is what was there before the next."""
        usage, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        self._cpu_s = usage.ru_utime + usage.ru_stime + ended.ru_utime + ended.ru_stime
        self._peak = usage.ru_maxrss * 1024 if self._peak_of is None else self._peak_of()
        self._resident = self._read_resident()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep the worst that a test's setup, call or teardown came to."""
        outcome = report.outcome
        if outcome == "passed":
            return
        if outcome == "failed":
            self._state = 3
            if self._store is not None and report.when != "teardown":
                self._store.mark("failed", test=report.nodeid[-200:])
        elif self._state != 3:
            self._state = 4

    def pytest_sessionfinish(self) -> None:
        """Close the table and the store."""
        if self._table is None or os.getpid() != self._pid:
            return
        self._ended.set()
        self._looking.join()
        self._count_ended()
        table, self._table = self._table, None
        self._store.tick()  # its recorders see the process at its end
        self._store.close()
        table.close()


def _descriptors() -> Callable[[], int]:
    """Give what counts the open descriptors: from Linux 6.2 on that is the size of their directory."""
    descriptor = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if os.fstat(descriptor).st_size:
        return lambda: os.fstat(descriptor).st_size
    return lambda: len(os.listdir(descriptor))  # noqa: PTH208 - quicker


def _own_peak() -> Callable[[], int] | None:
    """Give what reads the process's highest resident memory, in bytes; None where getrusage has it.

    It has more where the process was started from a larger one: ru_maxrss outlives execve, VmHWM does not.
    """
    descriptor = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def read() -> int:
        return int(os.pread(descriptor, 4096, 0).partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024

    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 > read() + _PEAK_SLACK_BYTES:
        return read
    os.close(descriptor)
    return None
