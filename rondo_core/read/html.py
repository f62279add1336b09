"""The small table that a notebook shows of what a query found: a line of its points for each series."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from rondo_core.units import format_instant

if TYPE_CHECKING:
    from rondo_core.read.query import SeriesData

MOST_ROWS, MOST_POINTS = 30, 160
WIDTH, HEIGHT = 160, 28
_CELL = "text-align:left"


def as_html(many: Sequence[SeriesData]) -> str:
    """Write a table: series, reading, points, newest value and its time, and a line of all points as SVG.

    What a label says is text in it, whatever it says.
    """
    heads = "".join(f'<th style="{_CELL}">{head}</th>' for head in ("series", "fn", "points", "newest", "at", ""))
    shown = [_row(data) for data in many[:MOST_ROWS]]
    more = len(many) - len(shown)
    rest = f"<p>and {more} more series</p>" if more > 0 else ""
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(shown)}</tbody></table>{rest}"


def _row(data: SeriesData) -> str:
    newest = f"{data.values[-1]:.6g}" if len(data) else ""
    at = format_instant(int(data.timestamps_ns[-1])) if len(data) else ""
    unit = f" {data.series.unit}" if data.series.unit and newest else ""
    cells = (str(data.series), data.fn, str(len(data)), f"{newest}{unit}", at)
    texts = "".join(f'<td style="{_CELL}">{escape(cell)}</td>' for cell in cells)
    return f"<tr>{texts}<td>{sparkline(data)}</td></tr>"


def sparkline(data: SeriesData) -> str:
    """Draw the points as a line of SVG, which ends where buckets are absent; of many points each piece's extremes."""
    finite = np.isfinite(data.values)
    stamps, values, intervals = data.timestamps_ns[finite], data.values[finite], data.interval_ns[finite]
    if not len(values):
        return ""
    kept = _extremes(values)
    begun = np.concatenate([[True], stamps[1:] > stamps[:-1] + intervals[:-1]])
    strokes = np.cumsum(begun)[kept]
    x, y = _scaled(stamps[kept], WIDTH), HEIGHT - _scaled(values[kept], HEIGHT)
    lines = []
    for stroke in np.unique(strokes):
        points = [
            f"{left:.1f},{down:.1f}" for left, down in zip(x[strokes == stroke], y[strokes == stroke], strict=True)
        ]
        if len(points) == 1:
            left, down = points[0].split(",")
            lines.append(f'<circle cx="{left}" cy="{down}" r="1.5" fill="currentColor"/>')
        else:
            joined = " ".join(points)
            lines.append(f'<polyline points="{joined}" fill="none" stroke="currentColor" stroke-width="1"/>')
    size = f'width="{WIDTH + 4}" height="{HEIGHT + 4}" viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}"'
    return f'<svg {size} role="img">{"".join(lines)}</svg>'


def _extremes(values: Any) -> Any:
    """Pick, ascending, the least and the greatest of each piece, and the first and the last of all."""
    if len(values) <= MOST_POINTS:
        return np.arange(len(values))
    pieces = np.array_split(np.arange(len(values)), MOST_POINTS // 2 - 1)
    picked = [at[[int(values[at].argmin()), int(values[at].argmax())]] for at in pieces]
    return np.unique(np.concatenate([[0, len(values) - 1], *picked]))


def _scaled(values: Any, most: int) -> Any:
    """Give them as shares of `most`, the least 0; all alike lie in the middle."""
    with np.errstate(over="ignore"):
        low, high = float(values.min()), float(values.max())
        span = high - low
    if not span:
        return np.full(len(values), most / 2)
    if not np.isfinite(span):  # the ends of what a float can hold
        values, low, span = values / 4, low / 4, high / 4 - low / 4
    return (values - low) / span * most
