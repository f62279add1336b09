"""What every benchmark shares: timing in turn, medians, one line or one JSON object per case."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rondo_core import handles

# CPU time, which other work on the machine lengthens least; nothing that is measured waits for a disk or a network.
now_ns = time.thread_time_ns
RESULTS = Path(__file__).parent / "results"


def options(description: str, **extra: dict[str, object]) -> argparse.Namespace:
    """Read --json and --repeat, and what a benchmark adds."""
    parser = argparse.ArgumentParser(description=description)
    outputs(parser)
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    for name, settings in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    return parser.parse_args()


def outputs(parser: argparse.ArgumentParser) -> None:
    """Add what every benchmark takes: --json and --out."""
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--out", type=Path, help="write the cases to this file; default: bench/results/NAME.json")


def machine(*packages: str) -> str:
    """Name the machine, the interpreter, the packages' versions and which hot path runs."""
    system = f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    versions = [system]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    versions.append(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    hot = "as Python" if handles.__file__.endswith(".py") else "compiled"
    return ", ".join([*versions, f"hot path {hot}"])


def per_call_ns(call: Callable[[], object], number: int) -> float:
    """Time `number` calls in a loop and give the ns of one, the loop's own cost included."""
    loop = range(number)
    start = now_ns()
    for _ in loop:
        call()
    return (now_ns() - start) / number


def in_turn(cases: dict[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """Run every case once, then every case again, so that a change of the machine's speed touches all."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for round_ in range(repeat + 1):
        for name, case in cases.items():
            value = case()
            if round_:
                found[name].append(value)
    return found


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Compare run by run."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


class Report:
    """Prints each case as it is known: a line for people, an object for programs; and keeps them for --out."""

    def __init__(self, bench: str, asked: argparse.Namespace, heading: str, title: str, *, lines: bool = True) -> None:
        """Print the heading, unless JSON was asked for.

        Args: `asked`: has `json` and `out`; `title`: a sentence that says what is measured; `lines`: print each case,
            False where the benchmark prints a table of its own.
        """
        self._bench, self._json, self._lines = bench, asked.json, lines
        self._out = asked.out or RESULTS / f"{bench}.json"
        self._whole: dict[str, Any] = {"bench": bench, "title": title.strip(), "machine": heading, "cases": []}
        if not self._json:
            print(heading)
        if not self._json and lines:
            print(f"{'case':34} {'value':>12} {'unit':8} {'peer':34} {'ratio':>7} {'target':>7}  spread")

    def case(
        self,
        case: str,
        values: Sequence[float],
        unit: str,
        peer: str = "",
        peers: Sequence[float] = (),
        target: float | None = None,
    ) -> float:
        """Report the median of a case and, beside a peer, the median of the ratios; give that ratio.

        Args: `target`: the ratio that it should not exceed.
        """
        value = statistics.median(values)
        each = ratios(values, peers) if peers else []
        ratio = statistics.median(each) if each else None
        spread = [min(each), max(each)] if each else [min(values), max(values)]
        found = {"bench": self._bench, "case": case, "value": value, "unit": unit, "peer": peer, "ratio": ratio}
        found |= {"n": len(values), "spread": spread} | ({} if target is None else {"target": target})
        self._whole["cases"].append(found)
        if self._json:
            print(json.dumps(found))
        elif self._lines:
            shown, wanted = ("" if number is None else f"{number:.3g}" for number in (ratio, target))
            print(
                f"{case:34} {value:12.1f} {unit:8} {peer:34} {shown:>7} {wanted:>7}  {spread[0]:.3g} to {spread[1]:.3g}"
            )
        sys.stdout.flush()
        return ratio or 0.0

    def save(self) -> None:
        """Write everything to bench/results, or to the file of --out."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        self._out.write_text(json.dumps(self._whole, indent=1) + "\n")


def finish(main: Callable[[], int | None]) -> None:
    """Run a benchmark and end the process with its status; an interrupt is a line and the status 130."""
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"{Path(sys.argv[0]).stem}: interrupted", file=sys.stderr)
        sys.exit(130)
