"""`pytest --rondo`: what each test takes is known, also after its process was killed; without the option nothing happens."""

import json
import os
import random
import subprocess
import sys

import pytest

from rondo_core import Store, StoreReader
from rondo_core.errors import UsageError
from rondo_job.pytest_plugin.conditions import read_condition
from rondo_job.pytest_plugin.table import HEADER_BYTES, ROW_BYTES, RecordedTests, TestsTable

KILLED = int(os.environ.get("RONDO_PYTEST_KILLS", "1"))
LEAK_MIB = 120
# Without other plugins, whose imports take longer than these tests.
ALONE = [f"-pno:{name}" for name in ("cacheprovider", "hypothesispytest", "anyio", "timeout", "time_machine")]
SUITE = """
import os, signal, threading, time
import pytest
kept = []
def be_looked_at():
    from rondo_job.pytest_plugin.table import TestsTable
    looks, see = threading.Semaphore(0), TestsTable.see
    TestsTable.see = lambda *facts: [see(*facts), looks.release()]
    looks.acquire(), looks.acquire()  # the first may have begun before

def test_leaks():
    kept.append(bytearray({leak} << 20))
    kept[-1][::4096] = b"x" * len(kept[-1][::4096])

def test_opens():
    kept.append(os.open("/dev/null", os.O_RDONLY))

def test_spikes():
    spike = bytearray(60 << 20)
    spike[::4096] = b"x" * len(spike[::4096])

def test_fails():
    assert not kept

def test_skips():
    pytest.skip("as asked")

def test_passes():
    pass
"""


def run(path, *options, suite=SUITE, **formats):
    (path / "test_it.py").write_text(suite.format(leak=LEAK_MIB, **formats))
    command = [sys.executable, "-m", "pytest", "-q", "-ofaulthandler_timeout=60", *ALONE, *options, "test_it.py"]
    try:
        done = subprocess.run(command, cwd=path, check=False, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as late:  # with all stacks
        pytest.fail(f"no end: {late.stdout!r} {late.stderr!r}")
    return done.returncode, done.stdout + done.stderr


def test_a_directory_that_cannot_be_is_told_with_the_mend(tmp_path):
    """As of a checkout that is read-only: what it is, and the option that names another."""
    (tmp_path / "file").touch()
    status, said = run(tmp_path, "--rondo", "--rondo-dir=file/below")
    assert status == 4
    assert "file/below: Not a directory; name a directory that can be written by --rondo-dir" in said


def test_each_test_is_recorded_and_the_dearest_are_shown(tmp_path):
    """Memory, descriptors, outcomes: a row a test, a report, a store of the process, and a condition that is met."""
    condition = f"memory_growth > {LEAK_MIB - 10}MiB"
    status, said = run(
        tmp_path, "--rondo", "--rondo-dir=kept", "--rondo-fail-if", condition, "--deselect=test_it.py::test_fails"
    )
    assert status == 1, said
    assert f"FAILED --rondo-fail-if '{condition}'" in said
    lines = said.splitlines()
    heading = next(index for index, line in enumerate(lines) if line.startswith("memory that stayed"))
    assert lines[heading + 1].endswith("test_it.py::test_leaks")
    report = json.loads((tmp_path / "kept/report.json").read_text())
    assert report["outcomes"] == {"passed": 4, "skipped": 1}
    took = {each["name"].rpartition("::")[2]: each for each in report["tests"]}
    leaks, spikes = took["test_leaks"], took["test_spikes"]
    assert abs(leaks["after_bytes"] - leaks["before_bytes"] - (LEAK_MIB << 20)) < 8 << 20
    assert (
        spikes["peak_bytes"] - spikes["before_bytes"] > 50 << 20 > abs(spikes["after_bytes"] - spikes["before_bytes"])
    )
    assert [each for each in took if took[each]["descriptors"]] == ["test_opens"]
    with StoreReader(tmp_path / "kept/main.rondo") as reader:
        (passed,) = reader.query("pytest_tests_total{outcome=passed}", "all", fn="last")
        assert passed.values[-1] == 4
        assert reader.query("process_resident_memory_bytes", "all", fn="max")[0].values[-1] > LEAK_MIB << 20


VICTIM = """
def test_victim_{order}():
    mine = bytearray(20 << 20)
    mine[::4096] = b"x" * len(mine[::4096])
    be_looked_at()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("seed", range(KILLED))
def test_who_took_the_memory_is_named_and_not_who_was_running(tmp_path, seed):
    """A worker is killed, as by the kernel when there is no memory: the culprit is named first, wherever it stood."""
    chance = random.Random(seed)
    parts = SUITE.replace("test_fails", "test_may_fail").split("\n\n")
    head, leak, *others = parts
    others += [f"def test_more_{n}():\n    kept.append(bytearray(1 << 20))" for n in range(chance.randrange(5))]
    chance.shuffle(others)
    others.insert(chance.randrange(len(others)), leak)
    suite = "\n\n".join([head, *others]) + "\n" + VICTIM
    status, said = run(tmp_path, "--rondo", "-n1", "--max-worker-restart=0", suite=suite, order=seed)
    assert status == 1, said
    first = said[said.index("rondo: what tests took") :].splitlines()[1]
    assert first.startswith("test_it.py::test_leaks took 1"), said
    assert f"test_victim_{seed} ran" in said


def test_one_that_took_it_all_itself_is_named(tmp_path):
    """The test that was running may be the culprit."""
    suite = "\n\n".join(SUITE.split("\n\n")[:2]) + "\n    be_looked_at()\n    os.kill(os.getpid(), 9)\n"
    _, said = run(tmp_path, "--rondo", "-n1", "--max-worker-restart=0", "--dist=loadfile", suite=suite)
    assert "test_it.py::test_leaks took 1" in said, said
    assert "which ran it, ended" in said


def test_without_the_option_nothing_is_loaded_and_nothing_written(tmp_path):
    """Only the module with the options is there, and the names of the packages above it."""
    suite = "import sys\ndef test_it():\n    found = sorted(m for m in sys.modules if m.startswith('rondo'))\n    assert found == {names}"
    status, said = run(
        tmp_path, suite=suite, names=["rondo_core", "rondo_core.lazy", "rondo_job", "rondo_job.pytest_plugin"]
    )
    assert status == 0, said
    assert sorted(each.name for each in tmp_path.iterdir() if each.name != "__pycache__") == ["test_it.py"]


CLOSING = """
import os
def test_closes():
    os.closerange(3, 64)

def test_takes_the_numbers():
    for _ in range(40):
        os.open("/dev/null", os.O_RDONLY)

def test_takes_one_more():
    os.open("/dev/null", os.O_RDONLY)
"""


def test_a_test_that_closes_every_descriptor_is_measured_and_so_are_those_after_it(tmp_path):
    """What was read through them is opened anew, also where their numbers are other files' by then."""
    status, said = run(tmp_path, "-s", "-pno:logging", "--rondo", "--rondo-dir=kept", suite=CLOSING)
    assert status == 0, said
    tests = json.loads((tmp_path / "kept/report.json").read_text())["tests"]
    assert [each["state"] for each in tests] == ["passed"] * 3
    assert all(each["after_bytes"] > 1 << 20 for each in tests)
    assert tests[0]["descriptors"] < 0
    assert tests[1]["descriptors"] >= 38, "less the two that were opened anew"
    assert tests[2]["descriptors"] == 1


def test_a_store_that_was_made_otherwise_is_said_in_one_line(tmp_path):
    """No traceback, and no test is run unrecorded."""
    Store(tmp_path / "kept/main.rondo").close()
    status, said = run(tmp_path, "--rondo", "--rondo-dir=kept")
    assert status == 4, said
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if line][-1].startswith("ERROR: --rondo: ")


@pytest.mark.parametrize(
    "text", ["much", "weight > 3", "duration > 5 apples", "memory_growth => 1MiB", "descriptors > x"]
)
def test_what_is_no_condition_is_refused_with_what_may_be_written(text):
    """A figure that there is, a comparison, and a number in its unit."""
    with pytest.raises(UsageError, match=r"^--rondo-fail-if"):
        read_condition(text)


def test_a_condition_that_is_none_is_said_in_one_line(tmp_path):
    """Before any test runs."""
    status, said = run(tmp_path, "--rondo", "--rondo-fail-if", "weight > 3")
    assert status == 4, said
    assert [line for line in said.splitlines() if line][-1].startswith("ERROR: --rondo-fail-if")


def test_a_table_is_read_whatever_is_left_of_it(tmp_path):
    """Cut anywhere, it gives the tests that are whole; what has no room is counted."""
    path = tmp_path / "gw0.tests"
    table = TestsTable(path, 3)
    for number in range(5):
        row = table.begin(f"test_ä[{number}]" + "x" * 300 * (number == 1), 1_000 + number, 100)
        if number < 2:
            table.end(row, 2, 50, 40, 130, 160, 1, 0)
        elif row >= 0:
            table.see(row, 1_100, 150)
    table.close()
    tests = RecordedTests([path])
    assert [(test.state, test.growth_bytes, test.peak_bytes) for test in tests] == [
        ("passed", 30, 160),
        ("passed", 30, 160),
        ("running", 50, 150),
    ]
    assert tests.left_out == 2
    assert tests[0].name == "test_ä[0]"
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        assert len(RecordedTests([path])) == max(0, (size - HEADER_BYTES) // ROW_BYTES)
