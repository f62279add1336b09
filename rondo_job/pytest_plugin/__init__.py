"""The pytest plugin: what each test takes and leaves behind, with `pytest --rondo`; without it nothing is imported."""

from __future__ import annotations

from typing import Any


def pytest_addoption(parser: Any) -> None:
    """Add the options; all that they do lies in modules that `--rondo` loads."""
    group = parser.getgroup("rondo", "rondo: what each test takes and leaves behind")
    group.addoption("--rondo", action="store_true", help="record what each test takes, and show the dearest at the end")
    group.addoption(
        "--rondo-dir",
        metavar="DIR",
        help="where each process's store, the tables of tests and report.json lie; default: a new one below .rondo",
    )
    group.addoption(
        "--rondo-fail-if",
        metavar="COND",
        action="append",
        default=[],
        help="fail the session where a test meets it: 'memory_growth > 100MiB', 'duration > 5s', 'descriptors > 0'",
    )
    group.addoption("--rondo-top", metavar="N", type=int, default=5, help="tests that each list shows (default: 5)")


def pytest_configure(config: Any) -> None:
    """Load the rest where it is asked for."""
    if config.getoption("rondo_fail_if") and not config.getoption("rondo"):
        import pytest

        raise pytest.UsageError("--rondo-fail-if: nothing is recorded; give --rondo too")
    if not config.getoption("rondo"):
        return
    if hasattr(config, "workerinput"):
        from rondo_job.pytest_plugin.recording import TestRecording

        worker = config.workerinput
        config.pluginmanager.register(TestRecording(worker["rondo_directory"], worker["workerid"]), "rondo-recording")
        return
    from rondo_job.pytest_plugin.session import Session

    config.pluginmanager.register(Session(config), "rondo-session")
