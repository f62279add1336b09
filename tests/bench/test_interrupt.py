"""A benchmark can be stopped at any moment, and leaves no process and no listening port behind."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench"
TOOLS = Path(__file__).parents[2] / ".tools/usr/bin"
EXPORTER = shutil.which("prometheus-node-exporter", path=f"{TOOLS}:{os.environ['PATH']}")
PEERS = find_spec("prometheus_remote_writer") and find_spec("opentelemetry")
MARK = "RONDO_BENCH_MARK"
GONE_WITHIN_S = 120  # on a busy machine
# Python itself may lose an interrupt while it imports, or end with another status: until the benchmark has taken the
# signal, this answers it. It is held back while Python starts.
START = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
del sys.argv[0]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
BENCHES = [
    pytest.param(
        ["vmm_scale.py", "2", "--duration", "5", "--machine", "soft"],
        marks=[
            pytest.mark.prometheus,
            pytest.mark.emulator,
            pytest.mark.skipif(not EXPORTER, reason="no node_exporter; make exporters"),
        ],
        id="vmm_scale",
    ),
    pytest.param(
        ["vmm_capture.py", "2", "5", "--vms", "1", "--machine", "soft"],
        marks=[pytest.mark.prometheus, pytest.mark.emulator],
        id="vmm_capture",
    ),
    pytest.param(
        ["export.py", "--repeat", "1"],
        marks=pytest.mark.skipif(not PEERS, reason="no prometheus-remote-writer and opentelemetry; make bench-export"),
        id="export",
    ),
    pytest.param(["capture_linux.py", "15"], marks=[pytest.mark.qemu, pytest.mark.linux_guest], id="capture_linux"),
    pytest.param(["vmm_exits.py", "--machine", "soft"], marks=pytest.mark.emulator, id="vmm_exits"),
    pytest.param(["write_peers.py"], id="write_peers"),
    pytest.param(["scale.py"], id="scale"),
    pytest.param(["whole_life.py"], id="whole_life"),
    pytest.param(["agent.py"], id="agent"),
]


def marked(mark):
    """Every process that was started by what carries the mark: a child inherits its environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                carries = f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0")
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                continue
            found += [(int(entry.name), command)] if carries and command else []
    return found


@pytest.mark.parametrize("bench", BENCHES)
@pytest.mark.parametrize("turn", range(int(os.environ.get("RONDO_INTERRUPTS", "1"))))
def test_an_interrupt_leaves_nothing(tmp_path, bench, turn):
    """SIGINT at a random moment, to it alone or as a terminal gives it, ends it, and no process or file is left."""
    mark, moment_s, alone = uuid.uuid4().hex, random.uniform(0.2, 6), random.random() < 0.5
    name, *arguments = bench
    out, temporary = tmp_path / "out.json", tmp_path / "temporary"
    temporary.mkdir()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # in what is started from here
    running = subprocess.Popen(
        [sys.executable, "-c", START, BENCH / name, *arguments, "--out", out],
        env=os.environ | {MARK: mark, "TMPDIR": str(temporary)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    until = time.monotonic() + moment_s
    while running.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    started, over = marked(mark), running.poll() is not None
    if not over:
        (os.kill if alone else os.killpg)(running.pid, signal.SIGINT)
    interrupted_ns = time.time_ns()
    said, _ = running.communicate(timeout=GONE_WITHIN_S)
    saved = out.exists() and out.stat().st_mtime_ns < interrupted_ns  # and the interrupt came at the very end, or after
    assert running.returncode == 130 or (saved and running.returncode == 0), said
    assert saved or not out.exists()  # what was cut short is no measurement
    until = time.monotonic() + GONE_WITHIN_S
    while (left := marked(mark)) and time.monotonic() < until:
        time.sleep(0.05)
    left += list(temporary.iterdir())
    assert not left, f"{moment_s:.2f} s, {alone=}, {started}: {said}"
