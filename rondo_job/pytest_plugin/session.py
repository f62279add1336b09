"""A session's directory, and what is told of its tests at the end."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator, Iterable
from heapq import nlargest
from json.encoder import encode_basestring_ascii
from operator import add, sub
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rondo_core.errors import UsageError
from rondo_job.pytest_plugin.conditions import Condition, duration_text, read_condition, size_text
from rondo_job.pytest_plugin.recording import TestRecording
from rondo_job.pytest_plugin.table import SUFFIX, RecordedTests, Test

_NAME_WIDTH = 70
_MUCH_BYTES = 16 << 20  # less than that takes no worker down
_KEPT = 10  # sessions in a directory that nobody named


class CrashedWorker(NamedTuple):
    """A process that ended with a test under way.

    Attributes: `running`, the test; `culprit`, the test of that process after which the most memory was there that was
    not there before it, which may be the one that was running; None where none took 16 MiB.
    """

    worker: str
    pid: int
    running: Test
    culprit: Test | None


class Session:
    """The plugin of the process that the session was started in."""

    def __init__(self, config: Any) -> None:
        """Make the directory; record here where no xdist runs the tests elsewhere. Raises: pytest.UsageError."""
        try:
            self._conditions = [read_condition(each) for each in config.getoption("rondo_fail_if")]
            self.directory = _directory(config)
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None
        except OSError as error:
            what = f"{error.strerror}; name a directory that can be written by --rondo-dir"
            raise pytest.UsageError(f"{error.filename}: {what}") from None
        self._top = config.getoption("rondo_top")
        self._broken: list[tuple[Condition, Test, str]] = []
        if getattr(config.option, "dist", "no") == "no":
            config.pluginmanager.register(TestRecording(str(self.directory), "main"), "rondo-recording")

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of xdist where to record."""
        node.workerinput["rondo_directory"] = str(self.directory)

    @pytest.hookimpl(hookwrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: Any) -> Generator[None, Any, None]:
        """Fail the session where a test met a condition, once all workers are through."""
        yield
        tests = self.tests() if self._conditions else ()
        for condition in self._conditions:
            found = [(condition, test, met) for test in tests if (met := condition.met_by(test)) is not None]
            self._broken += found
        if self._broken and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the dearest tests, and write report.json."""
        tests = self.tests()
        if not tests:
            return
        crashed = find_crashed(tests)
        (self.directory / "report.json").write_text(report_text(tests, crashed))
        terminalreporter.section("rondo: what tests took")
        for line in self._lines(tests, crashed):
            terminalreporter.write_line(line)

    def tests(self) -> RecordedTests:
        """Read the tables of all processes."""
        return RecordedTests(sorted(self.directory.glob("*" + SUFFIX)))

    def _lines(self, tests: RecordedTests, crashed: list[CrashedWorker]) -> Iterable[str]:
        for each in crashed:
            yield from _crash_lines(each)
        durations, before, after, peaks, descriptors, threads = map(
            tests.column, ("duration_ns", "before_bytes", "after_bytes", "peak_bytes", "descriptors", "threads")
        )
        grew = list(map(sub, after, before))
        for_a_while = list(map(sub, peaks, map(max, before, after)))
        rose = list(map(sub, peaks, before))
        left = list(map(add, descriptors, threads))
        every = range(len(tests))
        hungry = [row for row in every if grew[row] >= 1 << 20]
        spiky = [row for row in every if for_a_while[row] >= 1 << 20]
        leaking = [row for row in every if descriptors[row] > 0 or threads[row] > 0]
        for title, rows, figures in (
            ("slowest", every, durations),
            ("memory that stayed", hungry, grew),
            ("memory for a while", spiky, rose),
            ("left behind", leaking, left),
        ):
            yield from _list(title, [tests[row] for row in nlargest(self._top, rows, key=figures.__getitem__)])
        for condition, test, met in self._broken[: 4 * self._top]:
            yield f"FAILED --rondo-fail-if '{condition.text}': {met}: {test.name}"
        if len(self._broken) > 4 * self._top:
            yield f"and {len(self._broken) - 4 * self._top} more that meet a --rondo-fail-if"
        if tests.left_out:
            yield f"{tests.left_out} tests had no room in the tables, and are not in these lists"
        processes = len(set(zip(tests.column("worker"), tests.column("pid"), strict=True)))
        where = f"{processes} process{'es' if processes > 1 else ''}"
        yield f"{len(tests)} tests in {where}; stores and report.json: {self.directory}"


def find_crashed(tests: RecordedTests) -> list[CrashedWorker]:
    """Find the processes that ended with a test under way, and the test of each that took the most memory."""
    found: list[CrashedWorker] = []
    if "running" not in tests.column("state"):
        return found
    for running in (test for test in tests if test.state == "running"):
        own = [test for test in tests if (test.worker, test.pid) == (running.worker, running.pid)]
        culprit = max(own, key=_taken)
        found.append(
            CrashedWorker(running.worker, running.pid, running, culprit if _taken(culprit) >= _MUCH_BYTES else None)
        )
    return found


def _taken(test: Test) -> int:
    """Give what a test took and did not give back; of one that never ended, at its peak."""
    return (test.peak_bytes if test.state == "running" else test.after_bytes) - test.before_bytes


def _crash_lines(crashed: CrashedWorker) -> Iterable[str]:
    who = f"process {crashed.worker} (pid {crashed.pid})"
    if crashed.culprit is None:
        yield f"{who} ended while {crashed.running.name} ran; no test of it took 16 MiB"
    elif crashed.culprit == crashed.running:
        yield f"{crashed.running.name} took {size_text(_taken(crashed.running))} until {who}, which ran it, ended"
    else:
        yield f"{crashed.culprit.name} took {size_text(_taken(crashed.culprit))} and kept it, in {who},"
        yield f"    which ended while {crashed.running.name} ran ({size_text(_taken(crashed.running))} of its own)"
    yield ""


def _list(title: str, tests: list[Test]) -> Iterable[str]:
    """Give the lines of one list."""
    if not tests:
        return
    yield f"{title:<20}{'duration':>10}{'cpu':>10}{'grew':>11}{'peak':>11}{'files':>7}{'threads':>9}  test"
    for test in tests:
        name = test.name if len(test.name) <= _NAME_WIDTH else "..." + test.name[3 - _NAME_WIDTH :]
        worker = "" if test.worker == "main" else test.worker
        yield (
            f"  {worker:<18}{duration_text(test.duration_ns):>10}{duration_text(test.cpu_ns):>10}"
            f"{size_text(test.growth_bytes):>11}{size_text(test.peak_bytes):>11}"
            f"{test.descriptors:>+7d}{test.threads:>+9d}  {name}"
        )
    yield ""


def report_text(tests: RecordedTests, crashed: list[CrashedWorker]) -> str:
    """Write report.json: every test's figures, how many ended how, and the processes that fell."""
    head = {
        "version": 1,
        "outcomes": dict(Counter(tests.column("state"))),
        "crashed": [
            {
                "worker": each.worker,
                "pid": each.pid,
                "running": each.running.name,
                "culprit": each.culprit and each.culprit.name,
                "culprit_bytes": each.culprit and _taken(each.culprit),
            }
            for each in crashed
        ],
    }
    columns = [
        map(encode_basestring_ascii, tests.column(field))
        if field in ("worker", "name", "state")
        else tests.column(field)
        for field in Test._fields
    ]
    form = "{" + ", ".join(f'"{field}": %s' for field in Test._fields) + "}"
    rows = map(form.__mod__, zip(*columns, strict=True))  # text alone: no object a test that the collector looks at
    return f'{json.dumps(head)[:-1]}, "tests": [{", ".join(rows)}]}}'


def _directory(config: Any) -> Path:
    """Make the session's directory: the one that was named, less an earlier session's tables, or one below .rondo."""
    named = config.getoption("rondo_dir")
    if named:
        place = Path(named).absolute()
        place.mkdir(parents=True, exist_ok=True)
        for old in place.glob("*" + SUFFIX):
            old.unlink()
        return place
    home: Path = config.rootpath / ".rondo"
    place = home / f"pytest-{time.strftime('%Y-%m-%dT%H.%M.%S')}-{os.getpid()}"
    place.mkdir(parents=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    _forget(home)
    return place


def _forget(home: Path) -> None:
    """Remove the oldest sessions beyond the last ten."""
    import shutil

    for old in sorted(home.glob("pytest-*"))[:-_KEPT]:
        shutil.rmtree(old, ignore_errors=True)
