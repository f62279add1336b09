"""What monitoring adds to each of N VMs: rondo within them, or a Prometheus that scrapes a node_exporter for each.

The same VMs run unrecorded, recorded, and unrecorded beside a real Prometheus with N real node_exporters at 15 s and
at 1 s; /proc is read every second. rondo's share is the recorded run less the unrecorded one beside it, the median of
--pairs of both, now one first and now the other: what VMs take by themselves, 2 to 3 ms of CPU a second, differs
between runs by a third of what recording adds, so look at the lowest and the highest too. The others' share is what
their own processes take, and what they cost the VMs besides is left out. Memory is the median while all VMs live, CPU
"while all live" is of that time alone, and "start to end" has the start of every VM, store, exporter and server in it.
The loopback interface is the benchmark's own where that is allowed, else the machine's, with what others do on it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from children import Prometheus, child, end, node_exporters, prometheus
from harness import Report, finish, machine, outputs, temporary_folder
from paced import paced_guest
from procfs import Usage, family, loopback_bytes, own_network, usages

from rondo_cli.render import table
from rondo_vmm.kvm.vm import usable

START_S = {False: 0.2, True: 0.7}  # the most that a recorded VM takes to start, of N at once on 2 cores, by --processes
LATE_S = 60.0
MODES = {"one process": (), "a process each": ("--processes",)}
STACKS = {"Prometheus + node_exporters, 1 s": 1.0, "Prometheus + node_exporters, 15 s": 15.0}
BARE, RECORDED = "unrecorded", "rondo"
# What monitoring may add as a share of what the others add: memory; CPU at the same and at a coarser resolution.
MEMORY = {"one process": 0.1, "a process each": 0.6}
CPU = dict(zip(STACKS, (0.1, 1.0), strict=True))
FEWEST_SAMPLES = 5
HEADS = ("VMs", "in", "added", "rondo", "pairs", "at 1 s", "ratio", "at most", "at 15 s", "ratio", "at most")


@dataclass
class MonitorRun:
    """What was read of one run, and how its VMs ended."""

    ended: int = 0
    killed: int = 0
    seconds: list[tuple[float, dict[int, Usage]]] = field(default_factory=list)  # while all VMs lived
    written: dict[int, int] = field(default_factory=dict)
    loopback: int = 0
    lasted_s: float = 0.0
    cpu_s: float = 0.0  # start to end

    def median(self, name: str) -> float:
        """Give the median of what all processes took at once."""
        return statistics.median(getattr(sum(found.values(), Usage()), name) for _, found in self.seconds)

    def cpu_share(self) -> float:
        """Give CPU seconds per second, of the processes that were there all of the time."""
        (began, first), (ended, last) = self.seconds[0], self.seconds[-1]
        return sum(last[pid].cpu_s - first[pid].cpu_s for pid in first.keys() & last.keys()) / (ended - began)


Found = dict[str, tuple[MonitorRun, MonitorRun]]  # by the kind of monitoring: of the VMs, of what runs beside them


class Fleet:
    """N VMs of one `rondo vmm`, watched from before the first to after the last."""

    def __init__(self, directory: Path, asked: argparse.Namespace, count: int, mode: str, *, recorded: bool) -> None:
        """Settle what is run, and for how long each VM lives: all of them together for `--duration` seconds."""
        self._directory, self._count = directory, count
        self._life_s = asked.duration + count * START_S["each" in mode]
        kernel = paced_guest(directory / "guest", self._life_s)
        self._command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", asked.machine, "--count", str(count)]
        if asked.guest == "paced":
            self._command += ["--kernel", str(kernel), "--memory-mib", "16"]
        else:
            self._command += ["--duration", str(round(self._life_s))]
        self._command += ["--stagger", "1ms", *MODES[mode]]
        self._command += ["--store", str(directory / "vms")] if recorded else ["--no-metrics"]
        if recorded and asked.remote_write:
            self._command += ["--remote-write", asked.remote_write]

    def run(self, roots: list[subprocess.Popen[Any]]) -> tuple[MonitorRun, MonitorRun]:
        """Run them, and read them and the processes at `roots` every second; give what was read of each.

        Where VMs are late they are killed by their pids, and counted.
        """
        out, err = self._directory / "out", self._directory / "err"
        vms, others = MonitorRun(), MonitorRun()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            began, before = time.monotonic(), loopback_bytes()
            with child(self._command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL) as process:
                for now in seconds(began, self._life_s * 1.5 + LATE_S):
                    pids = family(process.pid)
                    if not pids:
                        break
                    live = names(out, ": up\n", ": rondo-guest 1 ") == self._count and not names(err, ": power-off")
                    for run, found in ((vms, usages(pids)), (others, usages(each.pid for each in roots))):
                        run.written |= {pid: each.written_bytes for pid, each in found.items()}
                        if live and found:
                            run.seconds.append((now, found))
                else:
                    vms.killed = kill(process)
                _, status, spent = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
        vms.loopback = others.loopback = loopback_bytes() - before
        vms.lasted_s = others.lasted_s = time.monotonic() - began
        vms.cpu_s = spent.ru_utime + spent.ru_stime
        vms.ended = names(err, ": power-off")
        return vms, others

    def complaint(self) -> str:
        """Give the last line that the VMs wrote to standard error."""
        return (self._directory / "err").read_text().strip().rpartition("\n")[2]


def seconds(began: float, most_s: float) -> Iterator[float]:
    """Give the time at each whole second since `began`, late where the reading took longer; end after `most_s`."""
    now = began
    while now - began < most_s:
        yield now
        now = time.monotonic()
        time.sleep(1 - (now - began) % 1)
        now = time.monotonic()


def names(path: Path, *marks: str) -> int:
    """Count the lines in which one of the marks stands; each VM writes each once."""
    text = path.read_text(errors="replace")
    return sum(text.count(mark) for mark in marks)


def kill(process: subprocess.Popen[Any]) -> int:
    """Kill a family of processes by their pids; give how many there were."""
    late = family(process.pid)
    for pid in reversed(late):
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue
    return len(late)


def main() -> int:
    """Measure every count in every mode."""
    parser = argparse.ArgumentParser(description=__doc__)
    outputs(parser)
    parser.add_argument(
        "counts", type=int, nargs="*", default=[10, 50, 100], help="how many VMs, one run after another"
    )
    parser.add_argument("--duration", type=float, default=15.0, help="seconds that all VMs live at once")
    parser.add_argument("--pairs", type=int, default=3, help="of unrecorded and recorded runs of each count")
    parser.add_argument("--machine", choices=["auto", "kvm", "soft"], default="auto")
    parser.add_argument("--guest", choices=["paced", "bundled"], default="paced", help="bundled takes all CPU there is")
    parser.add_argument("--modes", nargs="*", choices=list(MODES), default=list(MODES))
    parser.add_argument("--remote-write", metavar="URL", help="let recorded VMs push, each under its own instance")
    asked = parser.parse_args()
    alone = not asked.remote_write and own_network()
    heading = f"{machine('rondo-tsdb')}, {where(asked.machine)}, {'own' if alone else 'shared'} loopback"
    report = Report("vmm_scale", asked, heading, __doc__ or "", lines=False)
    failed, rows = 0, []
    for count in asked.counts:
        for mode in asked.modes:
            runs = [measure(asked, count, mode, (BARE, RECORDED, *STACKS))]
            for number in range(1, asked.pairs):
                runs.append(measure(asked, count, mode, (RECORDED, BARE) if number % 2 else (BARE, RECORDED)))
            failed += sum(wrong(found, count, mode) for found in runs)
            if all(len(run.seconds) >= FEWEST_SAMPLES for found in runs for run, _ in found.values()):
                rows += summarise(report, count, mode, runs)
            report.save()  # what is known stays, should a later count be interrupted
    if not asked.json:
        print("Added per VM, by rondo and by a real Prometheus with a node_exporter for each VM")
        print(table(HEADS, rows, [True, False, False, *[True] * 8]))
    return int(failed > 0)


def where(choice: str) -> str:
    """Say what the VMs run on."""
    return f"VMs on {'kvm' if choice == 'kvm' or (choice == 'auto' and not usable()) else 'soft'}"


def measure(asked: argparse.Namespace, count: int, mode: str, kinds: tuple[str, ...]) -> Found:
    """Run the same VMs with each kind of monitoring."""
    found = {}
    for kind in kinds:
        if not asked.json and sys.stderr.isatty():
            print(f"{count} VMs, {mode}: {kind}", file=sys.stderr)
        with ExitStack() as stack:
            directory = stack.enter_context(temporary_folder())
            fleet = Fleet(directory, asked, count, mode, recorded=kind == RECORDED)
            roots: list[subprocess.Popen[Any]] = []
            if kind in STACKS:
                exporters, ports = stack.enter_context(node_exporters(count))
                targets = {f"vm-{index}": port for index, port in enumerate(ports)}
                server: Prometheus = stack.enter_context(prometheus(directory, {"node": (STACKS[kind], targets)}))
                roots = [server.process, *exporters]
            vms, others = fleet.run(roots)
            if vms.ended < count:
                print(f"vmm_scale: {kind}: {fleet.complaint()}", file=sys.stderr)
            if roots:
                others.cpu_s = sum(usage.cpu_s for usage in usages(root.pid for root in roots).values())
                end(roots)
            found[kind] = vms, others
    return found


def wrong(found: Found, count: int, mode: str) -> int:
    """Say where VMs did not come to their end, or never lived all at once; give how many such runs there were."""
    failed = 0
    for kind, (vms, _) in found.items():
        said = f"vmm_scale: {count} VMs, {mode}, {kind}: "
        if vms.ended < count or vms.killed:
            print(f"{said}{vms.ended} of {count} came to their end, {vms.killed} processes killed", file=sys.stderr)
            failed += 1
        if len(vms.seconds) < FEWEST_SAMPLES:
            print(f"{said}all lived at once for {len(vms.seconds)} s; give a longer --duration", file=sys.stderr)
            failed += 1
    return failed


def shares(found: Found, kind: str, count: int) -> dict[str, tuple[float, str]]:
    """Give what a kind of monitoring adds per VM: name -> (amount, unit)."""
    bare = found[BARE][0]
    if kind == RECORDED:
        run, less = found[kind][0], bare
    else:
        run, less = found[kind][1], None

    def added(of: Any, scale: float) -> float:
        return (of(run) - (of(less) if less else 0)) / scale / count

    loopback = run.loopback / run.lasted_s - bare.loopback / bare.lasted_s
    return {
        "memory (PSS)": (added(lambda each: each.median("pss_bytes"), 1024), "KiB"),
        "memory (RSS)": (added(lambda each: each.median("rss_bytes"), 1024), "KiB"),
        "CPU while all live": (added(MonitorRun.cpu_share, 1e-6), "us/s"),
        "CPU start to end": (added(lambda each: each.cpu_s, 1e-3), "ms"),
        "written to disk": (added(lambda each: sum(each.written.values()), 1024), "KiB"),
        "over loopback": (loopback / count, "B/s"),
        "descriptors": (added(lambda each: each.median("descriptors"), 1), ""),
        "processes": (added(lambda each: each.median("processes"), 1), ""),
    }


def summarise(report: Report, count: int, mode: str, runs: list[Found]) -> list[list[str]]:
    """Report what each kind of monitoring adds, rondo's beside the others'; give it as rows of the closing table."""
    where, rows = f"{count} VMs, {mode}", []
    ours = [shares(found, RECORDED, count) for found in runs]
    theirs = {kind: shares(runs[0], kind, count) for kind in STACKS}
    for kind, share in theirs.items():
        for name, (amount, unit) in share.items():
            report.case(f"{where}: {kind}: {name}", [amount], unit)
    for name, (_, unit) in ours[0].items():
        cells, amounts = [], [each[name][0] for each in ours]
        for kind, share in theirs.items():
            peer = share[name][0]
            target = MEMORY[mode] if name == "memory (PSS)" else CPU[kind] if name == "CPU while all live" else None
            beside = (kind, [peer] * len(runs), target) if peer > 0 else ()
            ratio = report.case(f"{where}: rondo: {name}", amounts, unit, *beside)
            cells += [f"{peer:,.1f}", f"{ratio:.1%}" if beside else "", f"{target:.0%}" if target and beside else ""]
        spread = f"{min(amounts):,.1f} to {max(amounts):,.1f}"
        added = f"{name}, {unit}".rstrip(", ")
        rows.append([str(count), mode, added, f"{statistics.median(amounts):,.1f}", spread, *cells])
    ended = [vms.ended for found in runs for vms, _ in found.values()]
    report.case(f"{where}: VMs that came to their end, of {count}", ended, "VMs")
    return rows


if __name__ == "__main__":
    finish(main)
