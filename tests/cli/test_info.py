"""`rondo info`: the runs as a table, marks and notes, a crash, and all of it as JSON with keys that stay."""

import json
import os
import signal
import subprocess
import sys

import pytest

from rondo_core import ManualClock, Schema, Store

SCHEMAS = (Schema("c", "counter", 4, (("1s", "1m"),)),)


@pytest.fixture
def info(path):
    def run(*options, command="info"):
        arguments = [sys.executable, "-m", "rondo_cli", command, str(path), *options]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=True)

    return run


@pytest.fixture
def store(path, clock):
    with Store(path, SCHEMAS, clock=clock, writer="web") as store:
        count = store.counter("a_total")
        for second in range(3):
            count.inc()
            if second == 1:
                store.mark("deploy", version="1.4.2")
            store.tick()
            clock.advance(1)


@pytest.mark.usefixtures("store")
def test_runs_are_a_table(path, clock, info):
    """Number, writer, pid, opened, ended, how and duration of each run on record, the one under way too."""
    for _ in range(19):
        Store(path, clock=clock, writer="job").close("exit status 3")
    with Store(path, clock=clock):
        lines = info("--runs").stdout.splitlines()
    assert lines[0].split() == ["run", "writer", "pid", "opened", "ended", "how", "duration"]
    assert len(lines) == 2 + 21
    first, last = lines[2], lines[-1]
    assert first.split()[:3] == ["1", "web", str(os.getpid())]
    assert first.split()[-2:] == ["closed", "3s"]
    assert "exit status 3" in lines[3]
    assert "writing now" in last


@pytest.mark.usefixtures("store")
def test_all_of_it_is_json(info, clock):
    """Every key is there, in a store with runs, marks, samples and none of them."""
    told = json.loads(info("--format", "json").stdout)
    assert sorted(told) == [
        "crash", "created_ns", "events", "events_overwritten", "newest_ns", "path", "runs", "schemas", "series",
        "size_bytes", "store_id", "writer_pid",
    ]  # fmt: skip
    (run,) = told["runs"]
    assert sorted(run) == ["ended", "ended_ns", "faulthandler", "how", "number", "opened_ns", "pid", "writer"]
    assert (run["ended"], run["how"], run["ended_ns"]) == ("closed", "closed", clock())
    assert told["writer_pid"] is None
    (event,) = told["events"]
    assert sorted(event) == ["facts", "kind", "number", "run", "text", "time_ns"]
    assert event["facts"] == {"version": "1.4.2"}
    series = next(each for each in told["series"] if each["series"] == "a_total")
    assert sorted(series) == ["first_ns", "help", "kind", "last_ns", "points", "series", "unit"]
    assert (series["points"], series["last_ns"] - series["first_ns"]) == (3, 2 * 10**9)


@pytest.mark.usefixtures("store")
def test_marks_stand_in_info_and_below_what_is_queried(path, info):
    """In short in info, whole in a table of their own, and below the table and the plot of a query."""
    line = "deploy version=1.4.2"
    assert line in info().stdout
    assert line in info("--events").stdout
    for form in ("table", "plot"):
        assert line in info("a_total", "--format", form, command="query").stdout
    for form in ("csv", "json"):
        assert "deploy" not in info("a_total", "--format", form, command="query").stdout
    assert "deploy" not in info("a_total", "--range", "1s", command="query").stdout


@pytest.mark.usefixtures("store")
def test_damaged_marks_take_no_number_along(path, info):
    """Info and query show the rest, and say in one line what is left out."""
    (path / "events").write_bytes(b"x" * 4096)
    for told in (info(), info("a_total", command="query")):
        assert "a_total" in told.stdout
        assert told.stderr.count("marks and notes left out") == 1


@pytest.mark.parametrize("how", ["killed", "crashed", "off", "own"])
def test_what_is_known_of_a_run_that_is_gone(path, info, how):
    """Its newest sample, and what Python's faulthandler wrote, or that it wrote nothing, elsewhere, or was not set up."""
    end = "os.kill(os.getpid(), 9)" if how != "crashed" else "ctypes.string_at(0)"
    program = f"""
import ctypes, os, sys
from rondo_core import Store
store = Store(sys.argv[1], faulthandler={how in {"killed", "crashed"}})
store.counter("a_total").inc()
{end}
"""
    python = [sys.executable, "-X", "faulthandler"] if how == "own" else [sys.executable]
    without = {name: value for name, value in os.environ.items() if name not in {"PYTHONFAULTHANDLER", "PYTHONDEVMODE"}}
    done = subprocess.run(
        [*python, "-c", program, str(path)], env=without, capture_output=True, timeout=60, check=False
    )
    assert -done.returncode in {signal.SIGKILL, signal.SIGSEGV}
    told = info().stdout
    (line,) = [each for each in told.splitlines() if each.startswith("run ")]
    assert "gone without closing the store; newest sample 20" in line
    assert "killed" not in line
    wanted = {
        "killed": "faulthandler: wrote nothing",
        "crashed": "Segmentation fault (string_at in ",
        "off": "not set up",
        "own": "faulthandler is the program's own",
    }
    assert wanted[how] in line
    assert ("crash    Fatal Python error" in told) is (how == "crashed")


def test_an_empty_store_has_all_tables(path, info):
    """No run, no mark: a word, and no error."""
    Store(path, SCHEMAS, clock=ManualClock(10**18)).close()
    (path / "runs").write_bytes((path / "runs").read_bytes()[:512].ljust(4096, b"\0"))
    assert info("--runs").stdout == "no run yet\n"
    assert info("--events").stdout == "no mark and no note\n"
