"""Tables, CSV, JSON and plots of what a query found; plain text, aligned, no rule of the domain."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rondo_core.errors import printable
from rondo_core.model import format_series
from rondo_core.units import format_instant

if TYPE_CHECKING:
    from rondo_core.maintain import Finding
    from rondo_core.read import SeriesData
    from rondo_core.storage import Event

MOST_EVENTS = 20
COLUMNS = ("series", "fn", "timestamp_ns", "value", "interval_ns", "coverage", "error")


def number(value: float) -> str:
    """Write a float without a needless fraction: 3, 0.25, 1.5e+300, inf."""
    if math.isfinite(value) and value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.6g}" if math.isfinite(value) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool] = ()) -> str:
    """Align columns: those marked in `right` at their right edge; a line under the header. Each cell is one line."""
    header, rows = list(map(printable, header)), [list(map(printable, row)) for row in rows]
    columns = [[head, *(row[index] for row in rows)] for index, head in enumerate(header)]
    widths = [max(len(cell) for cell in column) for column in columns]
    sides = [*right, *[False] * (len(header) - len(right))]

    def line(cells: Sequence[str]) -> str:
        placed = [
            cell.rjust(width) if side else cell.ljust(width)
            for cell, width, side in zip(cells, widths, sides, strict=True)
        ]
        return "  ".join(placed).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *(line(row) for row in rows)])


def as_table(found: Sequence[SeriesData], *, coverage: bool = False, zone: dt.tzinfo = dt.UTC) -> str:
    """Write points as rows of time and one column per series, which are named above where there are several.

    Args: `coverage`: a second column per series, how many of a point's finest buckets held a sample: "58/60";
    `zone`: of the times.
    """
    lines = []
    if len(found) == 1:
        heads = [f"{found[0].series} ({_reading(found[0])})"]
    else:
        heads = [f"[{index}]" for index in range(1, len(found) + 1)]
        named = zip(heads, found, strict=True)
        lines = [*(printable(f"{head:>5} {data.series} ({_reading(data)})") for head, data in named), ""]
    if coverage:
        heads = [each for head in heads for each in (head, "coverage")]
    columns = [each for data in found for each in ((_values(data), _coverage(data)) if coverage else (_values(data),))]
    cells: dict[int, list[str]] = {}
    for index, column in enumerate(columns):
        for stamp, text in column:
            cells.setdefault(stamp, [""] * len(columns))[index] = text
    rows = [[format_instant(stamp, zone), *cells[stamp]] for stamp in sorted(cells)]
    if not rows:
        return "\n".join([*lines, "no points in this range"])
    return "\n".join([*lines, table(["time", *heads], rows, [False, *[True] * len(heads)])])


def _reading(data: SeriesData) -> str:
    """Name the consolidator, and beside it how far its values may be off: "p99 within 1.1 %"."""
    return f"{data.fn} within {100 * data.error:.2g} %" if data.error else data.fn


def _values(data: SeriesData) -> Iterable[tuple[int, str]]:
    return zip(data.timestamps_ns.tolist(), map(number, data.values.tolist()), strict=True)


def _coverage(data: SeriesData) -> Iterable[tuple[int, str]]:
    counts = zip(data.coverage.tolist(), data.buckets.tolist(), strict=True)
    return zip(data.timestamps_ns.tolist(), (f"{count}/{buckets}" for count, buckets in counts), strict=True)


def as_csv(found: Sequence[SeriesData]) -> str:
    """Write points as series,fn,timestamp_ns,value,interval_ns,coverage,error (of SeriesData); floats in full."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for data in found:
        columns = (data.timestamps_ns, data.values, data.interval_ns, data.coverage)
        for stamp, value, interval_ns, coverage in zip(*(each.tolist() for each in columns), strict=True):
            writer.writerow([str(data.series), data.fn, stamp, repr(value), interval_ns, coverage, data.error])
    return out.getvalue().rstrip("\n")


def as_json(found: Sequence[SeriesData]) -> str:
    """Write a list of series; see `SeriesData.to_dict`."""
    import json

    return json.dumps([data.to_dict() for data in found], indent=1)


def findings_as_json(found: Sequence[Finding]) -> str:
    """Write what a check found as a list of objects."""
    import json

    keys = ("severity", "file", "where", "what")
    return json.dumps([{key: getattr(finding, key) for key in keys} for finding in found], indent=1)


def as_events(events: Sequence[Event], *, zone: dt.tzinfo = dt.UTC) -> str:
    """Write marks and notes, a line each, the newest where there are many."""
    shown = events[-MOST_EVENTS:]
    stores = any(event.store for event in shown)
    head = ["time", *(["store"] if stores else []), "kind", "what"]
    rows = [
        [format_instant(each.time_ns, zone), *([each.store] if stores else []), each.kind, str(each)] for each in shown
    ]
    before = len(events) - len(shown)
    return table(head, rows) + (f"\nand {before} before these, in this range" if before else "")


def as_plot(
    found: Sequence[SeriesData],
    width: int = 0,
    height: int = 20,
    *,
    events: Sequence[Event] = (),
    zone: dt.tzinfo = dt.UTC,
    title: str = "",
) -> str:
    """Draw the points over time with block characters, as wide as the terminal; a line upright for each mark.

    Args: `title`: what stands above; empty: the metrics and how they were read.
    """
    import shutil

    import plotext

    drawn = [data for data in found if len(data)]
    if not drawn:
        return "no points in this range"
    start = min(int(data.timestamps_ns[0]) for data in drawn)
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plot_size(width or min(shutil.get_terminal_size().columns, 120), height)
    names = {data.series.name for data in drawn}
    for data in drawn:
        seconds = ((data.timestamps_ns - start) / 1e9).tolist()
        label = (
            printable(format_series("" if len(names) == 1 else data.series.name, data.series.labels))
            if len(drawn) > 1
            else None
        )
        plotext.plot(seconds, data.values.tolist(), label=label, marker="braille")
    end = max(int(data.timestamps_ns[-1]) for data in drawn)
    for event in [each for each in events if each.kind == "mark" and start <= each.time_ns <= end][-MOST_EVENTS:]:
        plotext.vline((event.time_ns - start) / 1e9)
    read = f"{', '.join(sorted(names))} ({_reading(max(drawn, key=lambda data: data.error))})"
    plotext.title(printable(title or read))
    plotext.xlabel(f"seconds since {format_instant(start, zone)}")
    text: str = plotext.uncolorize(plotext.build())
    return "\n".join(line.rstrip() for line in text.splitlines())


FORMATS = {"table": as_table, "csv": as_csv, "json": as_json, "plot": as_plot}
DATA = frozenset({"csv", "json"})
