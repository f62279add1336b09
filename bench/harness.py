"""What every benchmark of ours shares: its options, one line or one JSON object per case, the file in results."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from temporary import interruptible, save, temporary_folder

from rondo_cli.measure import case_of, in_turn, machine, now_ns, per_call_ns, process_ns, ratios

__all__ = [
    "Report",
    "finish",
    "in_turn",
    "machine",
    "now_ns",
    "options",
    "outputs",
    "per_call_ns",
    "process_ns",
    "ratios",
    "temporary_folder",
]

RESULTS = Path(__file__).resolve().parent / "results"


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
        found = case_of(self._bench, case, values, unit, peer, peers, target)
        self._whole["cases"].append(found)
        if self._json:
            print(json.dumps(found))
        elif self._lines:
            shown, wanted = ("" if number is None else f"{number:.3g}" for number in (found["ratio"], target))
            low, high = found["spread"]
            print(
                f"{case:34} {found['value']:12.1f} {unit:8} {peer:34} {shown:>7} {wanted:>7}  {low:.3g} to {high:.3g}"
            )
        sys.stdout.flush()
        return found["ratio"] or 0.0

    @property
    def is_kept(self) -> bool:
        """Whether it goes to bench/results, which pages are made of."""
        return self._out.parent.resolve() == RESULTS

    def save(self) -> None:
        """Write everything to bench/results, and the page that is made of it; or to the file of --out."""
        self._out.parent.mkdir(parents=True, exist_ok=True)
        save(self._out, json.dumps(self._whole, indent=1) + "\n")
        if self.is_kept:
            import report

            report.write(report.files())


def unless_interrupted(ended: str) -> None:
    """Pass a Ctrl-C on that ended a machine: what it cut short is no measurement. Raises: KeyboardInterrupt."""
    if ended.startswith("signal "):
        raise KeyboardInterrupt


def finish(main: Callable[[], int | None]) -> None:
    """Run a benchmark and end the process with its status; an interrupt is a line and the status 130."""
    sys.exit(interruptible(main))
