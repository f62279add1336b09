"""What is left of VMs that live 2, 5, 15, 30 and 45 s: in rondo, and in a real Prometheus that scrapes them.

Every VM is booted, recorded, and at the same time scraped from its own /metrics every second, every 15 s and every 30 s
by a Prometheus that knew of it before it was there. A second is possible when the VM lived in any part of it, by the
monitor's clock; it is covered when a point of vmm_uptime_seconds lies in it. All VMs share the machine's CPUs, with
their own /metrics and the server too: where these are scarce, what is scraped comes late or not at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import capture
from children import Prometheus, child, free_ports, prometheus
from harness import Report, finish, machine, outputs, temporary_folder

from rondo_cli.render import table
from rondo_web import listen

LIVES_S = (2, 5, 15, 30, 45)
INTERVALS_S = (1, 15, 30)
LATE_S = 60.0
STAGGER_S = 1.0  # so that no VM's server waits for the CPUs while others start
RONDO = "rondo"


def main() -> int:
    """Run all VMs at once, ask both what they have, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    outputs(parser)
    parser.add_argument("seconds", type=int, nargs="*", default=LIVES_S, help="how long VMs live")
    parser.add_argument("--vms", type=int, default=2, help="VMs of each life, all of them at once")
    parser.add_argument("--machine", default="auto", choices=["auto", "kvm", "soft"])
    parser.add_argument("--be", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.be:
        path, seconds, port = asked.be
        print(json.dumps(be(Path(path), int(seconds), int(port), asked.machine)))
        return 0
    report = Report("vmm_capture", asked, machine("rondo-tsdb"), __doc__ or "", lines=False)
    with temporary_folder() as directory:
        found = run(directory, list(asked.seconds), asked.vms, asked.machine)
    rows = summarise(report, found)
    if not asked.json:
        print(table(HEADS, rows, [True, False, *[True] * 4]))
    report.save()
    wrong = [f"{name}: {line}" for name, vm in found.items() for line in vm["wrong"]]
    for line in wrong:
        print(f"vmm_capture: WRONG: {line}", file=sys.stderr)
    return int(bool(wrong))


def be(path: Path, seconds: int, port: int, choice: str) -> dict[str, Any]:
    """Be one monitor: run a VM and serve its /metrics until it ends."""
    found: dict[str, Any] = capture.check(path, seconds, choice, listen("127.0.0.1", port))
    return found


def run(directory: Path, lives: list[int], vms: int, choice: str) -> dict[str, dict[str, Any]]:
    """Run the VMs and the server; give what each VM's store has, with what the server has of it.

    Raises: RuntimeError: a monitor failed, or did not end.
    """
    names = [(f"{life} s, {number}", life) for life in sorted(lives, reverse=True) for number in range(vms)]
    ports = free_ports(len(names))
    jobs = {
        f"{interval} s": (float(interval), {name: port for (name, _), port in zip(names, ports, strict=True)})
        for interval in INTERVALS_S
    }
    with ExitStack() as stack:
        server = stack.enter_context(prometheus(directory, jobs))
        running: dict[str, subprocess.Popen[str]] = {}
        for index, ((name, life), port) in enumerate(zip(names, ports, strict=True)):
            be = ["--be", directory / f"{index}.rondo", str(life), str(port), "--machine", choice]
            command = [sys.executable, __file__, *be]
            running[name] = stack.enter_context(child(command, stdout=subprocess.PIPE, text=True))
            time.sleep(STAGGER_S)
        until = time.monotonic() + max(lives) + LATE_S
        found: dict[str, dict[str, Any]] = {}
        for name, life in names:
            said, _ = running[name].communicate(timeout=max(1.0, until - time.monotonic()))
            if running[name].returncode:
                raise RuntimeError(f"the VM {name}: its monitor ended with status {running[name].returncode}")
            found[name] = {"life": life, **json.loads(said)}
        for name, vm in found.items():
            vm["scraped"] = {job: scraped(server, job, name, *vm["lived"]) for job in jobs}
    return found


def scraped(server: Prometheus, job: str, instance: str, first: int, last: int) -> dict[str, Any]:
    """Ask the server for the samples that it has of a VM's life: how many, in which seconds."""
    window = last - first + 60
    selector = f'vmm_uptime_seconds{{job="{job}",instance="{instance}"}}[{window}s]'
    stamps = [float(at_s) for each in server.query(selector, last + 30) for at_s, _ in each["values"]]
    seconds = {int(stamp) for stamp in stamps} & set(range(first, last + 1))
    return {"points": len(stamps), "seconds": len(seconds), "last": last in seconds}


HEADS = ("life, s", "by", "points", "of", "seconds covered", "last second")


def summarise(report: Report, found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Report what each has of each life; give it as rows of a table."""
    rows = []
    for life in sorted({vm["life"] for vm in found.values()}):
        vms = [vm for vm in found.values() if vm["life"] == life]
        possible = [float(vm["possible"]) for vm in vms]
        had = {RONDO: [{"points": vm["points"], "seconds": vm["points"], "last": vm["last"]} for vm in vms]}
        for job in vms[0]["scraped"]:
            had[f"Prometheus, every {job}"] = [vm["scraped"][job] for vm in vms]
        for who, each in had.items():
            where = f"{life} s VM, {who}"

            seconds = [float(one["seconds"]) for one in each]
            report.case(f"{where}: points", [float(one["points"]) for one in each], "points")
            share = report.case(f"{where}: seconds covered", seconds, "s", "seconds lived", possible)
            last = [float(one["last"]) for one in each]
            report.case(f"{where}: last second there", [sum(last) / len(last)], "of VMs")
            points = sum(one["points"] for one in each)
            rows.append([
                str(life), who, str(points), f"{sum(possible):.0f}", f"{share:.1%}", f"{sum(last):.0f} of {len(vms)}"
            ])  # fmt: skip
    return rows


if __name__ == "__main__":
    finish(main)
