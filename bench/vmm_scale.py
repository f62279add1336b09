"""What monitoring adds to each of N VMs: rondo within them, or a Prometheus that scrapes a node_exporter for each.

The same VMs run unrecorded and recorded at the same time, side by side, and then unrecorded beside a real Prometheus
with N real node_exporters at 15 s and at 1 s; /proc is read every second. rondo's share is what the recorded VMs take
more than the others in the same seconds, the median of --pairs, of which now the one and now the other begins. One
after the other they differ by half of what recording adds, as what VMs take by themselves, 3 ms of CPU a second, goes
with what else the machine does. What is measured is whole tens of seconds, in each of which a VM folds once. What one
kind of VM takes from the caches of the other is on both sides. The others' share is what their own processes take, and
what they cost the VMs besides is left out. Memory is the median while all VMs live, CPU "while all live" is of that
time alone, and "start to end" has the start of every VM, store, exporter and server in it.
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
FOLD_S = 10  # how often a recorded VM folds
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
        """Give CPU seconds per second, of the processes that were there all of the time, of whole tens of seconds."""
        began, first = self.seconds[0]
        tens = [each for each in self.seconds[1:] if round(each[0] - began) % FOLD_S == 0]
        ended, last = (tens or self.seconds)[-1]
        return sum(last[pid].cpu_s - first[pid].cpu_s for pid in first.keys() & last.keys()) / (ended - began)


Found = dict[str, tuple[MonitorRun, MonitorRun]]  # by the kind of monitoring: of the VMs, of what runs beside them


class Fleet:
    """N VMs of one `rondo vmm`, watched from before the first to after the last.

    Attributes: `vms`, `others`: what was read of them, and of what runs beside them.
    """

    def __init__(self, directory: Path, asked: argparse.Namespace, count: int, mode: str, *, recorded: bool) -> None:
        """Settle what is run, and for how long each VM lives: all of them, of two fleets, for `--duration` seconds."""
        self._directory, self._count = directory, count
        self.life_s = asked.duration + 2 * count * START_S["each" in mode]
        self.vms, self.others = MonitorRun(), MonitorRun()
        directory.mkdir()
        kernel = paced_guest(directory / "guest", self.life_s)
        self._command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", asked.machine, "--count", str(count)]
        if asked.guest == "paced":
            self._command += ["--kernel", str(kernel), "--memory-mib", "16"]
        else:
            self._command += ["--duration", str(round(self.life_s))]
        self._command += ["--stagger", "1ms", *MODES[mode]]
        self._command += ["--store", str(directory / "vms")] if recorded else ["--no-metrics"]
        if recorded and asked.remote_write:
            self._command += ["--remote-write", asked.remote_write]

    def start(self, stack: ExitStack) -> None:
        """Start them; at the end of the stack none is left."""
        stdout, stderr = (stack.enter_context((self._directory / name).open("wb")) for name in ("out", "err"))
        started = child(self._command, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL)
        self._began, self._process = time.monotonic(), stack.enter_context(started)

    def pids(self) -> list[int]:
        """Give the processes that there are."""
        found = family(self._process.pid)
        if not found and not self.vms.lasted_s:
            self.vms.lasted_s = self.others.lasted_s = time.monotonic() - self._began
        return found

    def is_live(self) -> bool:
        """Say whether all VMs are up."""
        out, err = self._directory / "out", self._directory / "err"
        return names(out, ": up\n", ": rondo-guest 1 ") == self._count and not names(err, ": power-off")

    def end(self) -> None:
        """Kill what is late by its pids, and count it; see how the VMs ended."""
        if self.pids():
            self.vms.killed = kill(self._process)
        _, status, spent = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.vms.cpu_s = spent.ru_utime + spent.ru_stime
        self.vms.ended = names(self._directory / "err", ": power-off")

    def complaint(self) -> str:
        """Give the last line that the VMs wrote to standard error."""
        return (self._directory / "err").read_text().strip().rpartition("\n")[2]


def watch(fleets: list[Fleet], roots: list[subprocess.Popen[Any]]) -> None:
    """Run fleets at the same time, and read them and the processes at `roots` every second that all VMs live."""
    with ExitStack() as stack:
        began, before = time.monotonic(), loopback_bytes()
        for fleet in fleets:
            fleet.start(stack)
        for now in seconds(began, max(fleet.life_s for fleet in fleets) * 1.5 + LATE_S):
            pids = [fleet.pids() for fleet in fleets]
            if not any(pids):
                break
            live = all(fleet.is_live() for fleet in fleets)
            for fleet, theirs in zip(fleets, pids, strict=True):
                for run, found in ((fleet.vms, usages(theirs)), (fleet.others, usages(each.pid for each in roots))):
                    run.written |= {pid: each.written_bytes for pid, each in found.items()}
                    if live and found:
                        run.seconds.append((now, found))
        for fleet in fleets:
            fleet.end()
            fleet.vms.loopback = fleet.others.loopback = loopback_bytes() - before


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
    parser.add_argument("--duration", type=float, default=22.0, help="seconds that all VMs live at once")
    parser.add_argument("--pairs", type=int, default=3, help="of unrecorded and recorded runs of each count")
    parser.add_argument("--pairs-only", action="store_true", help="leave Prometheus and the node_exporters out")
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
            runs = [pair(asked, count, mode, number) for number in range(asked.pairs)]
            if not asked.pairs_only:
                runs[0] |= {kind: beside(asked, count, mode, kind) for kind in STACKS}
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


def pair(asked: argparse.Namespace, count: int, mode: str, number: int) -> Found:
    """Run the same VMs unrecorded and recorded at the same time."""
    say(asked, count, mode, f"pair {number + 1}")
    kinds = (RECORDED, BARE) if number % 2 else (BARE, RECORDED)
    with temporary_folder() as directory:
        fleets = {kind: Fleet(directory / kind, asked, count, mode, recorded=kind == RECORDED) for kind in kinds}
        watch(list(fleets.values()), [])
        for kind, fleet in fleets.items():
            complain(fleet, count, kind)
    return {kind: (fleet.vms, fleet.others) for kind, fleet in fleets.items()}


def beside(asked: argparse.Namespace, count: int, mode: str, kind: str) -> tuple[MonitorRun, MonitorRun]:
    """Run them unrecorded beside a Prometheus and a node_exporter for each."""
    say(asked, count, mode, kind)
    with ExitStack() as stack:
        directory = stack.enter_context(temporary_folder())
        exporters, ports = stack.enter_context(node_exporters(count))
        targets = {f"vm-{index}": port for index, port in enumerate(ports)}
        server: Prometheus = stack.enter_context(prometheus(directory, {"node": (STACKS[kind], targets)}))
        roots = [server.process, *exporters]
        fleet = Fleet(directory / "vms", asked, count, mode, recorded=False)
        watch([fleet], roots)
        complain(fleet, count, kind)
        fleet.others.cpu_s = sum(usage.cpu_s for usage in usages(root.pid for root in roots).values())
        end(roots)
    return fleet.vms, fleet.others


def say(asked: argparse.Namespace, count: int, mode: str, what: str) -> None:
    """Tell who looks on what runs now."""
    if not asked.json and sys.stderr.isatty():
        print(f"{count} VMs, {mode}: {what}", file=sys.stderr)


def complain(fleet: Fleet, count: int, kind: str) -> None:
    """Say why VMs did not come to their end, where some did not."""
    if fleet.vms.ended < count:
        print(f"vmm_scale: {kind}: {fleet.complaint()}", file=sys.stderr)


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

    # Both kinds of VMs run at the same time, and those that nothing is sent from have no share in it.
    loopback = run.loopback / run.lasted_s
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
    theirs = {kind: shares(runs[0], kind, count) for kind in STACKS if kind in runs[0]}
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
        cells += [""] * (3 * len(STACKS) - len(cells))
        spread = f"{min(amounts):,.1f} to {max(amounts):,.1f}"
        added = f"{name}, {unit}".rstrip(", ")
        rows.append([str(count), mode, added, f"{statistics.median(amounts):,.1f}", spread, *cells])
    ended = [vms.ended for found in runs for vms, _ in found.values()]
    report.case(f"{where}: VMs that came to their end, of {count}", ended, "VMs")
    return rows


if __name__ == "__main__":
    finish(main)
