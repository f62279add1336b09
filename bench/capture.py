"""Run VMs of given lifetimes and check that every second of each is in its store: none missing, none doubled."""

from __future__ import annotations

import argparse
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from harness import Report, finish, machine, outputs, temporary_folder

from rondo_core import Store, StoreReader
from rondo_vmm import VMM_SCHEMAS, VmConfig, run_vm
from rondo_web import Sidecar


def check(path: Path, seconds: int, choice: str, listening: socket.socket | None = None) -> dict[str, Any]:
    """Run one VM, its store served on `listening`, then read the store: what is there, and what is wrong."""
    with ExitStack() as stack:
        store = stack.enter_context(Store(path, VMM_SCHEMAS, writer="vmm"))
        if listening is not None:
            stack.enter_context(Sidecar(path, listening))
        result = run_vm(VmConfig(machine=choice, cmdline=f"workload_duration={seconds}"), store)
    wrong = [result.error] if result.error else []
    possible = range(result.started_ns // 10**9, result.ended_ns // 10**9 + 1)
    with StoreReader(path) as reader:
        uptime = reader.query("vmm_uptime_seconds", tier=0)[0]
        lived = set((uptime.timestamps_ns // 10**9).tolist())
        missing = sorted(set(possible) - lived)
        doubled = len(uptime) - len(lived)
        wrong += [f"seconds without a point: {missing}"] if missing else []
        wrong += [f"{doubled} seconds twice"] if doubled else []
        for data in reader.query("vcpu_exits_total", tier=0):
            reason = dict(data.series.labels)["reason"]
            if (np.diff(data.values) < 0).any():
                wrong.append(f"vcpu_exits_total{{reason={reason}}} decreases")
            if data.values[-1] != result.exits[reason]:
                wrong.append(f"{reason}: {data.values[-1]:g} exits stored, {result.exits[reason]} counted by the loop")
    return {
        "machine": result.machine,
        "ended": result.ended,
        "uptime_s": result.uptime_s,
        "lived": [possible.start, possible.stop - 1],
        "last": possible.stop - 1 in lived,
        "points": len(uptime),
        "possible": len(possible),
        "exits": sum(result.exits.values()),
        "wrong": wrong,
    }


def main() -> int:
    """Run the lifetimes that were asked for, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=int, nargs="+")
    parser.add_argument("--machine", default="auto", choices=["auto", "kvm", "soft"])
    outputs(parser)
    asked = parser.parse_args()
    report = Report("capture", asked, machine("rondo-tsdb"), __doc__ or "")
    failed = 0
    for seconds in asked.seconds:
        with temporary_folder() as directory:
            found = check(directory / "vm.rondo", seconds, asked.machine)
        case = f"{seconds} s VM on {found['machine']}"
        report.case(case, [found["points"]], "points", "seconds lived", [found["possible"]])
        if not asked.json:
            share = found["points"] / found["possible"]
            print(f"  {found['ended']} after {found['uptime_s']:.2f} s, {found['exits']} exits, {share:.1%} captured")
        for line in found["wrong"]:
            failed = 1
            print(f"  WRONG: {line}", file=sys.stderr)
    report.save()
    return failed


if __name__ == "__main__":
    finish(main)
