"""Functions of native histograms: over ranges, by the same windows as floats, and of single histograms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.summation import prefix, window_sums
from rondo_promql.arrays.windows import Windows
from rondo_promql.functions.rates import edge_places, extrapolation

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def as_rows(histograms: Histograms) -> Floats:
    """Give all counts as rows, as if each were a series: zero count, sum, count and cells, [3 + k, n]."""
    return np.vstack([histograms.zero_count, histograms.sum, histograms.count, histograms.cells.T])


def from_rows(like: Histograms, rows: Floats) -> Histograms:
    """Give histograms with the counts of such rows."""
    return replace(like, zero_count=rows[0], sum=rows[1], count=rows[2], cells=np.ascontiguousarray(rows[3:].T))


def _counter_resets(rows: Floats) -> Mask:
    """Say where a histogram counts less than the one before: it began again."""
    counts = np.delete(rows, 1, axis=0)
    return np.asarray((counts[:, 1:] < counts[:, :-1]).any(axis=0))


def _growth(windows: Windows, *, counter: bool, per_second: bool) -> tuple[Floats, Mask]:
    rows = windows.values
    if rows.shape[1] < 2:
        return np.zeros((len(rows), len(windows.ends))), np.zeros(len(windows.ends), dtype=np.bool_)
    first, last, enough = edge_places(windows)
    grown = rows[:, last] - rows[:, first]
    if counter:
        falls = _counter_resets(rows)
        if falls.any():
            grown = grown + window_sums(np.where(falls, rows[:, :-1], 0.0), first, last)
    near_zero = (rows[2, first], grown[2]) if counter else None
    return grown * extrapolation(windows, first, last, near_zero, per_second=per_second), enough


def _instant(windows: Windows, *, per_second: bool) -> tuple[Floats, Mask]:
    """Give the difference of a window's last two histograms, or by `per_second` its rate, which minds a reset."""
    rows = windows.values
    enough = windows.counts >= 2
    if rows.shape[1] < 2:
        return np.zeros((len(rows), len(enough))), enough
    last = np.where(enough, windows.high - 1, 1)
    if not per_second:
        return rows[:, last] - rows[:, last - 1], enough
    grown = np.where(_counter_resets(rows)[last - 1], rows[:, last], rows[:, last] - rows[:, last - 1])
    return grown / ((windows.timestamps[last] - windows.timestamps[last - 1]) / 1000.0), enough


def _total(windows: Windows) -> tuple[Floats, Mask]:
    return window_sums(windows.values, windows.low, windows.high), windows.counts > 0


def _average(windows: Windows) -> tuple[Floats, Mask]:
    sums, present = _total(windows)
    return sums / windows.counts, present


def _last(windows: Windows) -> tuple[Floats, Mask]:
    return windows.values[:, np.maximum(windows.high - 1, 0)], windows.counts > 0


def _first(windows: Windows) -> tuple[Floats, Mask]:
    return windows.values[:, np.minimum(windows.low, windows.values.shape[1] - 1)], windows.counts > 0


# Functions of a range whose result is a histogram: given windows over `as_rows`, they give such rows.
HISTOGRAM_RANGES: dict[str, Callable[[Windows], tuple[Floats, Mask]]] = {
    "avg_over_time": _average,
    "delta": lambda windows: _growth(windows, counter=False, per_second=False),
    "first_over_time": _first,
    "idelta": lambda windows: _instant(windows, per_second=False),
    "increase": lambda windows: _growth(windows, counter=True, per_second=False),
    "irate": lambda windows: _instant(windows, per_second=True),
    "last_over_time": _last,
    "rate": lambda windows: _growth(windows, counter=True, per_second=True),
    "sum_over_time": _total,
}


def _pairs_that(windows: Windows, flags: Mask) -> tuple[Floats, Mask]:
    running = prefix(flags.astype(np.float64)[None, :])
    ends = np.maximum(windows.high - 1, windows.low).clip(max=len(flags))
    return running[:, ends] - running[:, np.minimum(windows.low, ends)], windows.counts > 0


def _changes(windows: Windows) -> tuple[Floats, Mask]:
    before, after = windows.values[:, :-1], windows.values[:, 1:]
    return _pairs_that(windows, ((before != after) & ~(np.isnan(before) & np.isnan(after))).any(axis=0))


# Functions of a range whose result is a float.
COUNTING_RANGES: dict[str, Callable[[Windows], tuple[Floats, Mask]]] = {
    "changes": _changes,
    "count_over_time": lambda windows: (windows.counts[None, :].astype(np.float64), windows.counts > 0),
    "present_over_time": lambda windows: (np.ones((1, len(windows.ends))), windows.counts > 0),
    "resets": lambda windows: _pairs_that(windows, _counter_resets(windows.values)),
}


def _cells(histograms: Histograms) -> tuple[Floats, Floats, Floats]:
    """Give all cells with the zero cell first: lower bounds [1 + k], upper bounds [1 + k], counts [1 + k, n]."""
    upper = histograms.upper_bounds()
    base = 2.0**2.0**-histograms.schema
    has_cells = bool(histograms.cells.any())
    lower = np.concatenate([[0.0 if has_cells else -histograms.zero_threshold], upper / base])
    return lower, np.concatenate([[histograms.zero_threshold], upper]), np.vstack(
        [histograms.zero_count, histograms.cells.T]
    )  # fmt: skip


def quantile(histograms: Histograms, wanted: Floats) -> Floats:
    """Give a quantile of each histogram, interpolated exponentially within its cell: [n]."""
    lower, upper, counts = _cells(histograms)
    running = np.cumsum(counts, axis=0)
    rank = wanted * histograms.count
    reached = (running >= rank) & (counts > 0)
    filled = counts > 0
    highest = len(counts) - 1 - filled[::-1].argmax(axis=0)
    place = np.where(reached.any(axis=0), reached.argmax(axis=0), highest)
    column = np.arange(len(rank))
    inside = counts[place, column]
    share = np.clip((rank - (running[place, column] - inside)) / inside, 0.0, 1.0)
    start, end = lower[place], upper[place]
    exponent = np.log2(np.where(start > 0, start, 1.0)) * (1 - share) + np.log2(end) * share
    found = np.where(start > 0, np.exp2(exponent), start + (end - start) * share)
    found = np.where(np.isnan(wanted) | (histograms.count == 0), np.nan, found)
    return np.where(wanted < 0, -np.inf, np.where(wanted > 1, np.inf, found))


def fraction(histograms: Histograms, lowest: Floats, highest: Floats) -> Floats:
    """Give the fraction of each histogram's observations that lie between two values: [n]."""
    lower, upper, counts = _cells(histograms)
    start, end = lower[:, None], upper[:, None]

    def below(value: Floats) -> Floats:
        positive = np.where(value > 0, value, 1.0)
        logarithmic = (np.log2(positive) - np.log2(np.where(start > 0, start, 1.0))) / (
            np.log2(end) - np.log2(np.where(start > 0, start, 1.0))
        )
        share = np.where(start > 0, logarithmic, (value - start) / (end - start))
        share = np.where(value <= start, 0.0, np.where(value >= end, 1.0, share))
        return np.asarray((share * counts).sum(axis=0))

    found = (below(highest) - below(lowest)) / histograms.count
    found = np.where(lowest >= highest, 0.0, found)
    return np.where((histograms.count == 0) | np.isnan(lowest) | np.isnan(highest), np.nan, found)


def variance(histograms: Histograms) -> Floats:
    """Give the variance of each histogram's observations, each at the geometric mean of its cell: [n]."""
    lower, upper, counts = _cells(histograms)
    centre = np.sqrt(np.maximum(lower, 0.0) * upper)
    centre[0] = 0.0
    mean = histograms.sum / histograms.count
    return np.asarray((counts * (centre[:, None] - mean) ** 2).sum(axis=0) / histograms.count)


# Functions of one histogram alone; each gives float64 [n].
HISTOGRAM_VALUES: dict[str, Callable[[Histograms], Floats]] = {
    "histogram_avg": lambda histograms: histograms.sum / histograms.count,
    "histogram_count": lambda histograms: histograms.count,
    "histogram_stddev": lambda histograms: np.sqrt(variance(histograms)),
    "histogram_stdvar": variance,
    "histogram_sum": lambda histograms: histograms.sum,
}
