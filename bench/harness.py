"""What every benchmark shares: timing in turn, medians, one line or one JSON object per case."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version

from rondo_core import handles


def options(description: str, **extra: dict[str, object]) -> argparse.Namespace:
    """Read --json and --repeat, and what a benchmark adds."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON object per case")
    parser.add_argument("--repeat", type=int, default=5, help="runs of which the median counts")
    for name, settings in extra.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    return parser.parse_args()


def machine(*packages: str) -> str:
    """Name the machine, the interpreter, the packages' versions and which hot path runs."""
    system = f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"
    versions = [system]
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    hot = "as Python" if handles.__file__.endswith(".py") else "compiled"
    return ", ".join([*versions, f"hot path {hot}"])


def per_call_ns(call: Callable[[], object], number: int) -> float:
    """Time `number` calls in a loop and give the ns of one, the loop's own cost included."""
    loop = range(number)
    start = time.perf_counter_ns()
    for _ in loop:
        call()
    return (time.perf_counter_ns() - start) / number


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
    """Prints each case as it is known: a line for people, an object for programs."""

    def __init__(self, bench: str, as_json: bool, heading: str) -> None:
        """Print the heading, unless JSON was asked for."""
        self._bench, self._json = bench, as_json
        if not as_json:
            print(heading)
            print(f"{'case':34} {'value':>12} {'unit':8} {'peer':26} {'ratio':>7}  spread")

    def case(self, case: str, values: Sequence[float], unit: str, peer: str = "", peers: Sequence[float] = ()) -> float:
        """Report the median of a case and, beside a peer, the median of the ratios; give that ratio."""
        value = statistics.median(values)
        each = ratios(values, peers) if peers else []
        ratio = statistics.median(each) if each else None
        spread = [min(each), max(each)] if each else [min(values), max(values)]
        if self._json:
            plain = {"bench": self._bench, "case": case, "value": value, "unit": unit, "peer": peer, "ratio": ratio}
            print(json.dumps({**plain, "n": len(values), "spread": spread}))
        else:
            shown = "" if ratio is None else f"{ratio:.3f}"
            print(f"{case:34} {value:12.1f} {unit:8} {peer:26} {shown:>7}  {spread[0]:.3g} to {spread[1]:.3g}")
        sys.stdout.flush()
        return ratio or 0.0
