"""The lives of a directory side by side: how each ended, and the figures that lives are judged by."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from rondo_core.errors import RondoError, StoreNotFoundError, one_line
from rondo_core.units import format_instant
from rondo_job.comparison.groups import MOST_LIVES, MeasuredLife, lives_at, measure
from rondo_job.reports.content import TextTable, number_text
from rondo_job.reports.figures import FIGURE_OF

SHOWN = "duration", "cpu_seconds", "memory_peak", "io_written"


def measured_lives(directory: Path, complain: Callable[[str], object]) -> list[MeasuredLife]:
    """Measure the newest lives of a directory, oldest first; one that does not read is complained of and left out.

    Raises: StoreNotFoundError: there is none, or none that reads.
    """
    found = []
    for path in lives_at(directory, last=MOST_LIVES):
        try:
            found.append(measure(path))
        except RondoError as error:
            complain(f"left out: {one_line(error)}")
    if not found:
        raise StoreNotFoundError(f"{directory}: no life there that can be read; see rondo check")
    return found


def as_table(lives: Sequence[MeasuredLife]) -> TextTable:
    """Give a row for each: its store, when it began, how it ended, what it took."""
    rows = [
        (
            each.path.name,
            format_instant(each.started_ns // 10**9 * 10**9),
            each.ended,
            *(number_text(each.values.get(name), FIGURE_OF[name].unit) for name in SHOWN),
        )
        for each in lives
    ]
    titles = (FIGURE_OF[name].title for name in SHOWN)
    return TextTable(("life", "began", "ended", *titles), rows, (False, False, False, *(True for _ in SHOWN)))


def as_json(lives: Sequence[MeasuredLife]) -> str:
    """Write them for programs, with every figure that each has."""
    facts = [
        {
            "store": str(each.path),
            "name": each.name,
            "ended": each.ended,
            "outcome": each.outcome,
            "start_ns": each.started_ns,
            "figures": dict(each.values),
        }
        for each in lives
    ]
    return json.dumps(facts, ensure_ascii=False, indent=1)
