"""Real comparisons of five runs with five: without a change, with 10 % more CPU, with 5 % more memory.

Each run is one of `rondo run`; those of the two groups take turns, so that what else the machine does befalls both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from harness import finish, temporary_folder

from rondo_job.comparison.comparing import compare_lives
from rondo_job.comparison.groups import lives_at, measure

RUNS, COMPARISONS = 5, 30
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
CASES = {
    "no change": ((ROUNDS, MIB), ()),
    "10 % more CPU": ((ROUNDS * 11 // 10, MIB), ("cpu_seconds",)),
    "5 % more memory": ((ROUNDS, MIB * 21 // 20), ("memory_peak", "memory_anonymous_peak")),
}


def record(directory: Path, rounds: int, mib: int) -> None:
    """Record one run into a directory of lives."""
    job = [sys.executable, "-c", PROGRAM, str(rounds), str(mib)]
    rondo = [sys.executable, "-m", "rondo_cli", "run", "-q", "--no-output", "--name", "work", "--store", str(directory)]
    subprocess.run([*rondo, "--", *job], check=True)


def compare_once(changed: tuple[int, int]) -> dict[str, tuple[str, float | None, float | None]]:
    """Record ten runs in turn and give each figure's verdict, ratio and noise."""
    with temporary_folder() as directory:
        base, new = Path(directory, "base"), Path(directory, "new")
        for _ in range(RUNS):
            record(base, ROUNDS, MIB)
            record(new, *changed)
        groups = [[measure(each) for each in lives_at(where)] for where in (base, new)]
    found = compare_lives(*groups)
    return {each.name: (each.change.verdict, each.change.ratio, each.change.noise) for each in found.figures}


def main() -> None:
    """Compare, and say of each case what was told of what had changed, and what of the rest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    results = []
    counts = {name: Counter[str]() for name in CASES}
    for index in range(asked.comparisons):
        name = list(CASES)[index % len(CASES)]
        changed, expected = CASES[name]
        found = compare_once(changed)
        results.append({"case": name, "figures": found})
        for figure, (verdict, ratio, noise) in found.items():
            is_expected = figure in expected
            # Who works longer lasts longer: the duration may follow the CPU.
            if figure == "duration" and "CPU" in name:
                continue
            counts[name][f"{'changed' if is_expected else 'unchanged'}: {verdict}"] += 1
            if verdict in {"more", "less"} or is_expected:
                shown = "-" if ratio is None else f"{100 * (ratio - 1):+.1f} %"
                noise_text = "-" if noise is None else f"{100 * noise:.1f} %"
                print(f"{index + 1:3} {name:16} {figure:24} {verdict:12} {shown:>8}, noise {noise_text}", flush=True)
    for name, count in counts.items():
        print(f"{name}: {', '.join(f'{what} {n}' for what, n in sorted(count.items()))}")
    if asked.out is not None:
        asked.out.parent.mkdir(parents=True, exist_ok=True)
        asked.out.write_text(json.dumps({"comparisons": results, "counts": counts}, indent=1) + "\n")


if __name__ == "__main__":
    finish(main)
