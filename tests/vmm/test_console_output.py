"""What the guest says, to readers that stall, fail, end or are slow: the machine and its end never wait for them."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo_core import Store, StoreReader
from rondo_vmm import VMM_SCHEMAS, VmConfig
from rondo_vmm.monitor import Monitor
from rondo_vmm.observe.console_output import BUFFER_BYTES, ConsoleOutput

MACHINES = [
    pytest.param("soft", marks=pytest.mark.emulator),
    pytest.param("kvm", marks=pytest.mark.kvm),
    pytest.param("qemu", marks=pytest.mark.qemu),
]
FLOOD = bytes.fromhex("66baf803b061eeb00aeeebf8")  # mov dx,0x3f8; mov al,'a'; out; mov al,10; out; again


class Stalled:
    """A sink that takes nothing until it is let go."""

    def __init__(self):
        self.asked, self.go = threading.Event(), threading.Event()
        self.taken = bytearray()

    def __call__(self, data):
        self.asked.set()
        self.go.wait(60)
        self.taken += data


@pytest.fixture
def stalled():
    sink = Stalled()
    yield sink
    sink.go.set()


def test_all_bytes_come_in_order():
    """Whole lines, halves, and the last one that has no end."""
    taken = bytearray()
    output = ConsoleOutput(taken.extend)
    pieces = [b"%d\n" % number for number in range(2000)] + [b"the ", b"end"]
    for piece in pieces:
        output(piece)
    output.close()
    assert bytes(taken) == b"".join(pieces)
    assert output.dropped_bytes == 0


def test_every_byte_comes_at_once_where_someone_types():
    """A prompt has no end of line."""
    came = threading.Event()
    output = ConsoleOutput(lambda _data: came.set(), at_once=True)
    output(b"$")
    assert came.wait(30)
    output.close()


def test_a_sink_that_stalls_costs_what_there_is_no_room_for(stalled):
    """The caller never waits; at the end what was not taken is given up, and every byte is taken or counted."""
    output = ConsoleOutput(stalled)
    output(b"first\n")
    assert stalled.asked.wait(30)
    output(bytes(BUFFER_BYTES))
    assert output.dropped_bytes == 0
    output(b"more")
    assert output.dropped_bytes == 4
    output.close()
    assert output.dropped_bytes == 6 + BUFFER_BYTES + 4


def test_a_sink_that_recovers_takes_what_there_was_room_for(stalled):
    """Dropped is what came in between alone."""
    output = ConsoleOutput(stalled)
    output(b"x\n")
    assert stalled.asked.wait(30)
    output(bytes(BUFFER_BYTES + 10))
    stalled.go.set()
    output.close()
    assert len(stalled.taken) + output.dropped_bytes == 2 + BUFFER_BYTES + 10
    assert output.dropped_bytes == 10


@pytest.mark.parametrize(
    ("error", "words"),
    [(BrokenPipeError(32, "Broken pipe"), "Broken pipe"), (OSError(28, "No space left on device"), "No space left"),
     (ValueError("closed"), "ValueError: closed")],
)  # fmt: skip
def test_a_sink_that_raises_is_counted_and_named(error, words):
    """Nothing of it reaches who writes."""

    def sink(_data):
        raise error

    output = ConsoleOutput(sink)
    for _ in range(100):
        output(b"0123456789\n")
    output.close()
    assert output.dropped_bytes == 1100
    assert words in output.trouble


def test_a_disk_that_was_full_for_a_while_takes_the_rest():
    """Only what came meanwhile is lost."""
    taken, full = bytearray(), [True]
    tried = threading.Event()

    def sink(data):
        if full[0]:
            full[0] = False
            tried.set()
            raise OSError(28, "No space left on device")
        taken.extend(data)

    output = ConsoleOutput(sink)
    output(b"lost\n")
    assert tried.wait(30)
    output(b"kept\n")
    output.close()
    assert (bytes(taken), output.dropped_bytes) == (b"kept\n", 5)


def test_what_is_given_up_ends_the_wait_at_once(stalled):
    """As by a second signal, while the end waits for a reader."""
    output = ConsoleOutput(stalled)
    output(b"x\n")
    assert stalled.asked.wait(30)
    output.abandon()
    output.close(timeout_s=3600)
    assert output.dropped_bytes == 2


def kernel(guests, tmp_path, machine, code=FLOOD):
    """Write a kernel of that code that the machine boots."""
    if machine == "qemu":
        return guests.kernel(code, tmp_path / "kernel", pvh=True)
    return guests.bare(code, tmp_path / "kernel")


@pytest.mark.parametrize("machine", ["soft", "kvm"])
def test_a_machine_ends_by_itself_with_a_sink_that_stalls(machine, stalled, path, request):
    """It runs to its end and is recorded to it; what no one took is in the result and in the store."""
    if machine == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("no usable /dev/kvm")
    if machine == "soft":
        pytest.importorskip("unicorn")
    with Store(path, VMM_SCHEMAS) as store:
        result = Monitor(VmConfig(machine, cmdline="workload_duration=1"), store, stalled).run()
        store.close(result.on_record)
    assert result.ended == "power-off"
    assert result.dropped_bytes > 100
    with StoreReader(path) as reader:
        dropped = reader.query("vmm_console_dropped_bytes_total")[0].values[-1]
        assert dropped == result.dropped_bytes
        assert reader.runs()[-1].ended == "power-off"


@pytest.fixture
def start(tmp_path):
    """Start `rondo vmm` on a flood that no one reads; give (process, end of the pipe that is not read)."""
    started = []

    def start(*arguments, stderr=subprocess.DEVNULL, own=False):
        reading, writing = os.pipe()
        command = [sys.executable, "-m", "rondo_cli", "vmm", *map(str, arguments)]
        process = subprocess.Popen(
            command, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing if own else stderr
        )
        os.close(writing)
        started.append((process, reading))
        return process, reading

    yield start
    for process, reading in started:
        process.kill()
        process.communicate()
        os.close(reading)


def ended(path):
    with StoreReader(path) as reader:
        return reader.runs()[-1].ended


@pytest.mark.parametrize("machine", MACHINES)
def test_a_console_that_stalls_keeps_no_machine_from_its_timeout(guests, machine, start, tmp_path):
    """Standard error may be the same pipe: what is said there is lost then, and nothing else."""
    booted = kernel(guests, tmp_path, machine)
    process, _ = start("--machine", machine, "--kernel", booted, "--store", "s", "--timeout", "1s", own=True)
    assert process.wait(60) == 0
    assert ended(tmp_path / "s") == "timeout"


@pytest.mark.parametrize("machine", MACHINES)
def test_a_console_that_stalls_keeps_no_machine_from_a_signal(guests, machine, start, tmp_path):
    """The reason is on record; a second signal makes it no other, and the status is the first one's."""
    booted = kernel(guests, tmp_path, machine)
    process, reading = start("--machine", machine, "--kernel", booted, "--store", "s")
    assert os.read(reading, 2) == b"a\n"
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 128 + signal.SIGHUP
    assert ended(tmp_path / "s") == "signal 1"


@pytest.mark.emulator
@pytest.mark.parametrize("own", [[], ["--processes"]], ids=["threads", "processes"])
def test_one_console_that_stalls_keeps_no_machine_beside_it(guests, own, start, tmp_path):
    """All of them end in order by the signal that the command got."""
    booted = kernel(guests, tmp_path, "soft")
    process, reading = start("--machine", "soft", "--kernel", booted, "--count", "2", "--store", "s", *own)
    for name in ("s-0", "s-1"):
        seen = b""
        while f"{name}: a".encode() not in seen:
            seen += os.read(reading, 100)
    process.send_signal(signal.SIGQUIT)
    assert process.wait(60) == 128 + signal.SIGQUIT
    assert {ended(each) for each in (tmp_path / "s").iterdir()} == {"signal 3"}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("broken", ["a full disk", "a reader that is gone"])
def test_a_console_that_cannot_be_written_ends_no_machine(guests, machine, broken, tmp_path):
    """It runs to its timeout, and the summary says what was dropped, and why."""
    booted = kernel(guests, tmp_path, machine)
    command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", machine, "--kernel", str(booted)]
    timeout = "3s" if machine == "qemu" else "1s"  # it takes a while until it says anything
    command += ["--timeout", timeout, "--store", str(tmp_path / "s")]
    if broken == "a full disk":
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        status, said = done.returncode, done.stderr
    else:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout.readline() == "a\n"
            process.stdout.close()
            said, status = process.stderr.read(), process.wait(60)
    assert status == 0
    assert ended(tmp_path / "s") == "timeout"
    assert ("No space left on device" if broken == "a full disk" else "Broken pipe") in said.splitlines()[-1]
    assert "bytes dropped" in said
