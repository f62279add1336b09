"""Real comparisons of five runs with five: no change, 10 % more CPU, 5 % more memory, and noisy runs without a change.

Each run is one of `rondo run`; those of the two groups take turns, so that what else the machine does befalls both. A
change that is told where there is none is a false alarm; one that there is and that is told is found. It ends when the
time that it is given is over, and says how many comparisons were made.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import attrs
from harness import Report, finish, machine, outputs, temporary_folder

from rondo_job.comparison.comparing import compare_lives
from rondo_job.comparison.groups import lives_at, measure

RUNS, COMPARISONS, MINUTES = 5, 30, 25.0
# Work in units of a hash, and memory that is touched in MiB: what the figures are to see 10 % and 5 % more of.
PROGRAM = """
import hashlib, sys
kept = bytearray(int(sys.argv[2]) << 20)
kept[::4096] = b"x" * len(kept[::4096])
text = b"1"
for _ in range(int(sys.argv[1])):
    text = hashlib.sha256(text * 64).digest()
"""
ROUNDS, MIB = 400_000, 200
MEMORY = "memory_peak", "memory_anonymous_peak"


@attrs.frozen
class Case:
    """What the new runs are. Attributes: rounds, mib; changed, follows: figures that this changes, or may; spread."""

    rounds: int = ROUNDS
    mib: int = MIB
    changed: tuple[str, ...] = ()
    follows: tuple[str, ...] = ()
    spread: float = 0.0


CASES = {
    "no change": Case(),
    "10 % more CPU": Case(ROUNDS * 11 // 10, changed=("cpu_seconds",), follows=("duration",)),
    "5 % more memory": Case(mib=MIB * 21 // 20, changed=MEMORY),
    "noisy": Case(spread=0.15),  # of both groups: a standard deviation, far above what a change is told of
}


def record(directory: Path, rounds: int, mib: int, spread: float) -> None:
    """Record one run into a directory of lives."""
    varied = [round(each * max(random.gauss(1.0, spread), 0.3)) for each in (rounds, mib)]
    job = [sys.executable, "-c", PROGRAM, *map(str, varied)]
    rondo = [sys.executable, "-m", "rondo_cli", "run", "-q", "--no-output", "--name", "work", "--store", str(directory)]
    subprocess.run([*rondo, "--", *job], check=True)


def compare_once(case: Case) -> dict[str, tuple[str, float | None, float | None]]:
    """Record ten runs in turn and give each figure's verdict, ratio and noise."""
    with temporary_folder() as directory:
        base, new = Path(directory, "base"), Path(directory, "new")
        for _ in range(RUNS):
            record(base, ROUNDS, MIB, case.spread)
            record(new, case.rounds, case.mib, case.spread)
        groups = [[measure(each) for each in lives_at(where)] for where in (base, new)]
    found = compare_lives(*groups)
    return {each.name: (each.change.verdict, each.change.ratio, each.change.noise) for each in found.figures}


def judge(case: Case, figure: str, verdict: str) -> str:
    """Give what a verdict is: "found", "missed", "false alarm", "no change told", "cannot tell"; empty: not judged."""
    if figure in case.follows:
        return ""
    if figure in case.changed:
        return "found" if verdict == "more" else "cannot tell of a change" if verdict == "cannot tell" else "missed"
    return {"same": "no change told", "cannot tell": "cannot tell of none"}.get(verdict, "false alarm")


def main() -> None:
    """Compare, and say of each case what was told of what had changed, and what of the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="begin no comparison after that")
    outputs(parser)
    asked = parser.parse_args()
    until_s = time.monotonic() + asked.minutes * 60
    report = Report("compared", asked, machine("rondo-tsdb"), __doc__ or "", lines=False)
    counts = {name: Counter[str]() for name in CASES}
    for index in range(asked.comparisons):
        if time.monotonic() >= until_s:
            print(f"{asked.minutes:g} minutes are over: {index} of {asked.comparisons} comparisons were made")
            break
        name = list(CASES)[index % len(CASES)]
        found = compare_once(CASES[name])
        for figure, (verdict, ratio, noise) in found.items():
            judged = judge(CASES[name], figure, verdict)
            counts[name][judged] += bool(judged)
            if (
                judged == "false alarm"
                or figure in CASES[name].changed
                or (name == "noisy" and figure == "cpu_seconds")
            ):
                shown = "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"
                noise_text = "-" if noise is None else f"{100 * noise:.1f} %"
                print(f"{index + 1:3} {name:16} {figure:24} {judged:24} {shown:>8}, noise {noise_text}", flush=True)
    for name, count in counts.items():
        print(f"{name}: {', '.join(f'{what} {n}' for what, n in sorted((+count).items()))}")
        for what, n in sorted((+count).items()):
            report.case(f"{name}: {what}", [n], f"of {count.total()} figures")
    report.save()


if __name__ == "__main__":
    finish(main)
