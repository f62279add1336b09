"""A Firecracker watched by its API: a flush each second, how it is and how it ends. A fake stands for it: it needs a KVM."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_core import StoreReader
from rondo_core.clock import NS_PER_S
from rondo_vmm.firecracker.flush import parse_flush

FAKE = Path(__file__).with_name("fake_firecracker.py")
FLUSHES = 3


def start(directory, *last, name="vm2", **environment):
    """Start the fake, and give it when its API listens; its metrics are where it is told, or a file beside."""
    api, metrics = directory / f"{name}.api", directory / f"{name}.metrics"
    environment = {"FAKE_FLUSHES": str(FLUSHES), **environment}
    command = [sys.executable, str(FAKE), str(api), str(metrics), *last]
    metrics.touch()
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE)
    with process.stdout as said:
        assert said.readline() == b"listening\n", process.poll()
    return process, api, metrics


def labels_of(path, name):
    """Give the labels of each series of that name, and its last value."""
    with StoreReader(path) as reader:
        found = reader.query(name, tier=0, fn="last")
        return [(dict(each.series.labels), float(each.values[-1])) for each in found if len(each)]


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_a_flush_is_asked_for_each_second_and_the_end_is_what_the_last_one_tells(tmp_path, path, kind, capfd):
    """What was in a file before is taken at its own time; every flush counts once, the last one after the end too."""
    metrics = tmp_path / "vm2.metrics"
    if kind == "fifo":
        os.mkfifo(metrics)
        held = os.open(metrics, os.O_RDWR)  # a FIFO keeps what is in it while someone has it open
    process, api, _ = start(tmp_path, "signals.sigsegv=1", "signals.sigpipe=3")
    if kind == "fifo":
        threading.Thread(target=lambda: (process.wait(), os.close(held))).start()
    before = 2 if kind == "file" else 0
    if before:
        line = json.dumps({"utc_timestamp_ms": 1_795_000_000_000, "vcpu": {"exit_io_in": 10}}).encode() + b"\n"
        metrics.write_bytes(line * before)
    assert run(["watch", "firecracker", "--api", str(api), "--metrics", str(metrics), "--store", str(path)]) == 0
    assert "monitor ended by SIGSEGV" in capfd.readouterr().err
    assert process.wait() == 0
    assert labels_of(path, "vcpu_exits_total{reason=io}")[0][1] == 10 * (before + FLUSHES + 1)
    told = {"vm": "vm2", "vmm": "firecracker 1.7.0", "vcpus": "2", "memory_mib": "128", "origin": "boot"}
    assert labels_of(path, "vm_info") == [(told, 1)]
    assert labels_of(path, "vm_memory_size_bytes") == [({}, 128 << 20)]
    assert labels_of(path, "vm_running") == [({}, 1)]
    assert labels_of(path, "vmm_threads")[0][1] >= 1
    assert labels_of(path, "vmm_rss_bytes")[0][1] > 1 << 20
    assert [each for each, _ in labels_of(path, "vcpu_cpu_seconds_total")] == [{"vcpu": "0"}]
    with StoreReader(path) as reader:
        assert reader.runs()[-1].ended == "monitor ended by SIGSEGV"
        at_ns = reader.query("vmm_uptime_seconds", tier=0)[0].timestamps_ns
        seconds = (at_ns // NS_PER_S).tolist()
    assert seconds == list(range(seconds[0], seconds[-1] + 1))
    assert len(seconds) >= FLUSHES


def test_a_machine_that_was_loaded_from_a_snapshot_names_the_file_of_its_memory(tmp_path, path):
    """By the kernel's word on what the process has mapped; its load is a series, and its first life is not this one."""
    memory = tmp_path / "vm1.mem"
    memory.write_bytes(bytes(2 << 20))
    told = json.dumps({"latencies_us": {"load_snapshot": 5000}})
    process, api, _ = start(tmp_path, FAKE_FLUSH=told, FAKE_MEMORY=str(memory))
    metrics = tmp_path / "vm2.metrics"
    assert run(["watch", "firecracker", "--api", str(api), "--metrics", str(metrics), "--store", str(path)]) == 0
    assert process.wait() == 0
    ((info, _),) = labels_of(path, "vm_info")
    assert (info["origin"], info["before"]) == ("snapshot", str(memory))
    assert labels_of(path, "vm_snapshot_load_seconds") == [({}, 0.005)]


@pytest.mark.parametrize(
    ("told", "ending"),
    [
        ({"i8042": {"reset_count": 1}}, "reset"),
        ({"vmm": {"panic_count": 1}, "i8042": {"reset_count": 1}}, "monitor panicked"),
        ({"signals": {"sigbus": 1}, "vmm": {"panic_count": 1}}, "monitor ended by SIGBUS"),
        ({"seccomp": {"num_faults": 1}, "signals": {"sigsegv": 1}}, "monitor ended by seccomp"),
        ({"signals": {"sigpipe": 9}, "seccomp": {"num_faults": 0}, "vmm": {}}, ""),
        ({"signals": [1], "seccomp": "x", "vmm": {"panic_count": True}, "i8042": {"reset_count": -1}}, ""),
    ],
)
def test_the_gravest_that_a_flush_tells_is_the_end(told, ending):
    """A refused system call before the signal that it ends in; a signal that ends nothing, and no number, are no end."""
    assert parse_flush(json.dumps({"utc_timestamp_ms": 1, **told}).encode()).ending == ending


ANSWERS = {
    "no HTTP": b"hello\r\n\r\n",
    "no JSON": b"HTTP/1.1 200 \r\nContent-Length: 3\r\n\r\n{{{",
    "a list": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n[]",
    "cut off": b"HTTP/1.1 200 \r\nContent-Length: 900\r\n\r\n{}",
    "too long": b"HTTP/1.1 200 \r\nContent-Length: 99999999999\r\n\r\n",
    "a refusal": b'HTTP/1.1 400 \r\nContent-Length: 21\r\n\r\n{"fault_message":"a"}\n',
    "nothing": b"",
    "no end of its head": b"x" * (1 << 20),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_api_that_is_no_firecracker_s_is_said_in_one_line(tmp_path, path, answer, capfd, monkeypatch):
    """And no store is made."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("x.api")
        listening.listen()

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(1 << 16)
                try:
                    connection.sendall(ANSWERS[answer])
                except OSError:
                    return

        server = threading.Thread(target=serve)
        server.start()
        assert run(["watch", "firecracker", "--api", "x.api", "--store", str(path)]) == 1
        server.join()
    (line,) = capfd.readouterr().err.splitlines()
    assert "x.api" in line
    assert not path.exists()


def test_what_cannot_be_watched_is_a_wrong_call(tmp_path, capfd):
    """Nothing to watch, an option that a command would pass over, and a directory that is missing."""
    for arguments in (
        ["firecracker"],
        ["--keep-last", "3", "qemu", "--qmp", "x"],
        ["--discover", str(tmp_path / "no")],
    ):
        assert run(["watch", *arguments]) == 2
        assert len(capfd.readouterr().err.splitlines()) == 1
    assert run(["watch"]) == 2
    assert "Usage: rondo watch" in capfd.readouterr().err
