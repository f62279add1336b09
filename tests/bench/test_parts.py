"""What the benchmarks measure with is right: the reader of /proc, the guest that does the same work, the capture."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_vmm import VmConfig, run_vm

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def bench(monkeypatch):
    """Let a test import from bench/, which is no package."""
    monkeypatch.syspath_prepend(str(BENCH))


def test_a_family_is_a_process_and_all_below_it(bench):
    """Children and grandchildren are found; each has memory, descriptors, and a share of shared pages in its PSS."""
    import procfs

    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout.readline() == b"1\n"
        pids = procfs.family(parent.pid)
        found = procfs.usages(pids)
        assert len(pids) == len(found) == 2
        assert pids[0] == parent.pid
        for usage in found.values():
            assert 0 < usage.pss_bytes <= usage.rss_bytes
            assert usage.descriptors >= 3
            assert usage.processes == 1
        parent.stdin.close()
    assert procfs.family(parent.pid) == []
    assert procfs.usage(parent.pid) is None


def test_cpu_time_and_descriptors_are_the_kernels(bench):
    """What is read of this process is what it can count of itself."""
    import procfs

    before = procfs.usage(os.getpid())
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(7)]
    began = os.times()
    while (now := os.times()).user + now.system - began.user - began.system < 0.2:
        pass
    after = procfs.usage(os.getpid())
    assert after.descriptors - before.descriptors == 7
    assert 0.15 <= after.cpu_s - before.cpu_s <= 1.0
    for each in held:
        os.close(each)


@pytest.mark.emulator
def test_the_paced_guest_works_at_its_pace_and_ends(bench, tmp_path):
    """It says that it is up, wakes after 68 ms or later for 11 exits, and powers off by itself."""
    import paced

    said = []
    result = run_vm(VmConfig("soft", paced.paced_guest(tmp_path / "guest", 1.5)), sink=said.append)
    assert result.ended == "power-off"
    assert b"".join(said) == b"up\n"
    assert result.exits["mmio"] % 4 == 0
    wakes = result.exits["hlt"]
    assert sum(result.exits.values()) == 4 + 11 * wakes, "three letters and the power-off, and eleven each time"
    assert 0 < wakes <= 1 + 1500 / 68


@pytest.mark.prometheus
@pytest.mark.emulator
def test_a_vm_of_two_seconds_is_captured_whole(tmp_path, stalls):
    """Every second that it lived, its last too, while a real Prometheus scrapes it; one object a case."""
    command = [BENCH / "vmm_capture.py", "2", "--vms", "1", "--machine", "soft", "--json", "--out", tmp_path / "out"]
    said = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True)
    cases = {case["case"]: case for case in map(json.loads, said.stdout.splitlines())}
    assert cases["2 s VM, rondo: seconds covered"]["ratio"] == 1 or stalls.were()
    assert cases["2 s VM, rondo: last second there"]["value"] == 1
    assert cases["2 s VM, Prometheus, every 30 s: seconds covered"]["value"] <= 1
    assert json.loads((tmp_path / "out").read_text())["cases"] == list(cases.values())


def test_a_programs_memory_is_measured_apart_from_its_stores_mapping(bench):
    """Both have some, and a program that maps 4 MiB and writes to them has them in the rest."""
    import footprint

    program = "import mmap\nkept = mmap.mmap(-1, 4 << 20)\nkept.write(bytes(range(256)) * (4 << 12))\n"
    rest, mapped, modules = footprint.measure(footprint.RONDO, {"recorders": True, "quantiles": True}, 1)
    bare, nothing, _ = footprint.measure(footprint.BARE, {}, 0)
    more, _, _ = footprint.measure(program, {}, 0)
    assert rest > bare
    assert mapped > 0 == nothing
    assert modules > 100
    assert 3.5 < more - bare < 6


@pytest.mark.parametrize("kind", ["memory", "store", "touched"])
def test_records_are_timed_while_another_process_writes(bench, tmp_path, kind):
    """Each is taken, the latest is no earlier than p99.99, and nothing of the child's is left."""
    import stalls

    p9999, latest, waited = stalls.one_run(str(tmp_path), kind, 200, 1, str(tmp_path))
    assert 0 < p9999 <= latest
    assert 0 <= waited <= 200 / stalls.BURST
    assert list(tmp_path.iterdir()) == []


def test_every_recorder_is_measured(bench):
    """Those that this machine has anything for; and what they add to a collection, and to a loop."""
    import recorders

    for name in ("process", "python", "asyncio", "threads"):
        spent_us, series = recorders.recorder_us(name, 3)
        assert spent_us > 0 < series
    assert len(recorders.collections_us(1)) == 1
    assert recorders.timers_us(10) > 0
