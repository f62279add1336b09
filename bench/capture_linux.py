"""Run Linux guests in QEMU and check their stores: every second in every series, and the bytes that dd counted."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from harness import Report, finish, machine, outputs, temporary_folder, unless_interrupted

from rondo_core import Store, StoreReader
from rondo_vmm import VmConfig
from rondo_vmm.qemu.machine import QemuMonitor
from rondo_vmm.qemu.schemas import qemu_schemas

GUEST = Path(__file__).parents[1] / ".tools" / "guest"
LATE = "rondo_.*|balloon_.*"  # our own counters tick at 10 s; the balloon's exist once the guest has its driver


def check(directory: Path, seconds: int) -> dict[str, object]:
    """Run one guest, then read its store: how many seconds it has, and what is wrong."""
    console: list[bytes] = []
    kernel, initrd, disk = GUEST / "vmlinuz", GUEST / "initramfs.cpio", directory / "disk.img"
    config = VmConfig("qemu", kernel, f"workload_duration={seconds}", 256, None, initrd, disks=(disk,))
    with Store(directory / "vm.rondo", qemu_schemas(), writer="vmm") as store:
        result = QemuMonitor(config, store, console.append).run()
    unless_interrupted(result.ended)
    wrong = [result.error] if result.error else []
    lived = set(range(result.started_ns // 10**9, result.ended_ns // 10**9 + 1))
    least = len(lived)
    with StoreReader(directory / "vm.rondo") as reader:
        for data in reader.query(f'{{__name__!~"{LATE}"}}', tier=0, fn=None):
            missing = sorted(lived - set((data.timestamps_ns // 10**9).tolist()))
            least = min(least, len(lived) - len(missing))
            wrong += [f"{data.series}: seconds without a point: {missing}"] if missing else []
        stored = reader.query('blk_bytes_total{direction="write"}')[0].values[-1]
    said = re.search(rb"dd written=(\d+)", b"".join(console))
    if said is None or int(said[1]) != stored:
        wrong.append(f"{stored:g} bytes stored as written, dd counted {said and int(said[1])}")
    return {"ended": result.ended, "points": least, "possible": len(lived), "wrong": wrong, "why": result.why}


def main() -> int:
    """Run as many as were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=int)
    parser.add_argument("--runs", type=int, default=1)
    outputs(parser)
    asked = parser.parse_args()
    report = Report("capture_linux", asked, machine("rondo-tsdb"), __doc__ or "")
    whole = 0
    points, possible = [], []
    for _ in range(asked.runs):
        with temporary_folder() as directory:
            found = check(directory, asked.seconds)
        points.append(found["points"])
        possible.append(found["possible"])
        whole += not found["wrong"]
        for line in found["wrong"]:
            print(f"  WRONG: {line}", file=sys.stderr)
    report.case(f"{asked.seconds} s Linux guest, {found['why']}", points, "points", "seconds lived", possible)
    if not asked.json:
        print(f"  {whole} of {asked.runs} runs whole")
    report.save()
    return whole != asked.runs


if __name__ == "__main__":
    finish(main)
