"""The three streams of a command: closed, full, gone; limits of the process; each is one line and a status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Store, StoreReader

RONDO = [sys.executable, "-m", "rondo_cli"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A store with one counter."""
    path = tmp_path_factory.mktemp("streams") / "demo.rondo"
    with Store(path, clock=ManualClock(1_700_000_000 * 10**9)) as store:
        store.counter("jobs_total").inc(2)
    return path


def through_shell(line, *arguments, stdout=subprocess.PIPE):
    """Run the command as `"$@"` in a line of the shell's; give its status, and what it said on standard error."""
    command = ["sh", "-c", line, "sh", *RONDO, *map(str, arguments)]
    done = subprocess.run(command, check=False, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60)
    assert "bug in rondo" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


COMMANDS = [["info"], ["query", "jobs_total", "--range", "all"], ["check"], ["export-status"]]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_what_cannot_be_given_out_is_a_failure_in_one_line(demo, words):
    """A closed standard output and a full disk: no command takes its data for delivered."""
    name, *more = words
    for where, why in (
        (">&-", "Bad file descriptor; leave it open, or send it somewhere"),
        ("> /dev/full", "No space left on device; make room on the disk"),
    ):
        status, said = through_shell(f'exec "$@" {where}', name, demo, *more)
        assert (status, said) == (1, f"rondo: standard output: {why}\n")


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_a_command_needs_no_standard_input_and_no_standard_error(demo, words):
    """Its output is as ever; what it would have to complain about goes nowhere."""
    name, *more = words
    whole = subprocess.run([*RONDO, name, str(demo), *more], check=True, capture_output=True, timeout=60).stdout
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        command = ["sh", "-c", f'exec "$@" {closed}', "sh", *RONDO, name, str(demo), *more]
        done = subprocess.run(command, check=True, capture_output=True, timeout=60)
        assert done.stdout == whole


@pytest.mark.emulator
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_machine_runs_whatever_is_closed(closed, tmp_path):
    """No file of its store gets the number of a stream, so that nothing that is said goes into the store."""
    store = tmp_path / "s"
    status, _ = through_shell(f'exec "$@" {closed}', "vmm", "--machine", "soft", "--duration", "1", "--store", store)
    assert status == 0
    with StoreReader(store) as reader:
        assert reader.runs()[-1].ended == "power-off"
    done = subprocess.run([*RONDO, "check", str(store)], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


@pytest.mark.emulator
@pytest.mark.parametrize("limit", ["-n 6", "-n 9", "-n 14", "-n 19", "-n 22", "-f 0", "-f 100"])
def test_a_limit_of_the_process_is_one_line(limit, tmp_path):
    """Open files, memory, the size of a file: what was met is named, and a run that had begun says so itself."""
    store = tmp_path / "s"
    line = f'ulimit {limit} && exec "$@"'
    status, said = through_shell(line, "vmm", "--machine", "soft", "--duration", "1", "--store", store)
    assert status == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("rondo: ")
    if store.exists():
        with StoreReader(store) as reader:
            assert all(each.ended for each in reader.runs())


@pytest.mark.parametrize(
    "machine", [pytest.param("soft", marks=pytest.mark.emulator), pytest.param("kvm", marks=pytest.mark.kvm)]
)
@pytest.mark.parametrize(
    "limit",
    ["-v 50000", "-v 60000", "-v 70000", "-v 80000", "-v 90000", "-v 100000", "-v 130000", "-v 200000", "-d 60000"],
)
def test_too_little_memory_is_one_line_and_no_signal(machine, limit, tmp_path):
    """Neither unicorn, which aborts where it has no thread, nor a thread that never says it has begun, is met by it."""
    store = tmp_path / "s"
    line = f'ulimit {limit} && exec "$@"'
    status, said = through_shell(line, "vmm", "--machine", machine, "--duration", "1", "--store", store)
    if status:
        assert status == 1
        assert len(said.splitlines()) == 1
        assert said.startswith("rondo: not enough memory for this process")
        assert f"(ulimit {limit[:2]})" in said
    assert not (status and store.exists())


@pytest.mark.emulator
def test_a_complaint_that_no_one_reads_holds_up_no_command(tmp_path):
    """A pipe that is full already: the status alone says that it failed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(1 << 16))
    except BlockingIOError:
        os.set_blocking(writing, True)
    command = [*RONDO, "info", str(tmp_path / "none")]
    assert subprocess.run(command, check=False, stderr=writing, timeout=60).returncode == 1
    os.close(reading)
    os.close(writing)


def test_a_console_file_is_whole(tmp_path):
    """What is written to a file is all of it, in order."""
    pytest.importorskip("unicorn")
    console = tmp_path / "console"
    with console.open("wb") as file:
        command = [*RONDO, "vmm", "--machine", "soft", "--duration", "1", "--store", str(tmp_path / "s")]
        subprocess.run(command, check=True, stdout=file, stderr=subprocess.DEVNULL, timeout=60)
    lines = Path(console).read_text().split()
    assert lines[:2] == ["rondo-guest", "1"]
    assert lines[-2:] == ["rondo-guest", "done"]
