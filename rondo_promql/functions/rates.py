"""Rates: the growth of a counter or the difference of a gauge over a window, extrapolated to its edges.

A window's first and last sample lie within its edges, as a rule; what lies between them and the edges is taken to
have grown alike, as far as one average interval and a tenth; beyond, by half an average interval only. A counter
is not extrapolated below zero.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.summation import window_sums
from rondo_promql.arrays.windows import Windows

Floats = NDArray[np.float64]
Outcome = tuple[Floats, NDArray[np.bool_]]


def edge_places(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Give the places of each window's first and last sample, and which windows have two or more.

    Where a window has fewer, both places are 0.
    """
    enough = windows.counts >= 2
    return np.where(enough, windows.low, 0), np.where(enough, windows.high - 1, 0), enough


def extrapolation(
    windows: Windows,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    counter: tuple[Floats, Floats] | None,
    *,
    per_second: bool,
) -> Floats:
    """Give the factor that extends what grew between first and last sample to the window's edges.

    Args:
        counter: the first values and by how much they grew, both [series, windows]; a counter is extended to where, at
            its pace, it was 0, and not beyond. None: no counter.
    Returns: [series, windows], or [windows] where no counter comes near 0.
    """
    starts, ends = windows.ends - windows.range_ms, windows.ends
    first_at, last_at = windows.timestamps[first], windows.timestamps[last]
    sampled = (last_at - first_at) / 1000.0
    interval = sampled / np.maximum(last - first, 1)
    threshold = interval * 1.1
    to_start = (first_at - starts) / 1000.0
    to_start = np.where(to_start >= threshold, interval / 2, to_start)
    before = to_start if counter is None else _until_zero(sampled, to_start, *counter)
    to_end = (ends - last_at) / 1000.0
    to_end = np.where(to_end >= threshold, interval / 2, to_end)
    factor = (sampled + before + to_end) / sampled
    return np.asarray(factor / (windows.range_ms / 1000.0) if per_second else factor)


def _until_zero(sampled: Floats, to_start: Floats, first_values: Floats, grown: Floats) -> Floats:
    """Shorten the way to a window's start, in seconds, to the time at which a counter was 0."""
    nearer = (first_values * sampled < to_start * grown) & (first_values >= 0)
    return np.where(nearer, sampled * (first_values / grown), to_start) if nearer.any() else to_start


def _extrapolated(windows: Windows, *, counter: bool, per_second: bool) -> Outcome:
    values = windows.values
    if values.shape[1] < 2:
        return np.full((len(values), len(windows.ends)), np.nan), np.zeros(len(windows.ends), dtype=np.bool_)
    first, last, enough = edge_places(windows)
    first_values = values[:, first]
    grown = values[:, last] - first_values
    if counter:
        falls = values[:, 1:] < values[:, :-1]
        if falls.any():
            lost = np.where(falls, values[:, :-1], 0.0)
            grown = grown + window_sums(lost, first, last)
    near_zero = (first_values, grown) if counter else None
    return grown * extrapolation(windows, first, last, near_zero, per_second=per_second), enough


def _instant(windows: Windows, *, per_second: bool) -> Outcome:
    """Give the difference of a window's last two samples, by its time if `per_second`, then counting from a reset."""
    values = windows.values
    enough = windows.counts >= 2
    if values.shape[1] < 2:
        return np.full((len(values), len(enough)), np.nan), enough
    last = np.where(enough, windows.high - 1, 1)
    difference = values[:, last] - values[:, last - 1]
    if per_second:
        difference = np.where(values[:, last] < values[:, last - 1], values[:, last], difference)
        difference = difference / ((windows.timestamps[last] - windows.timestamps[last - 1]) / 1000.0)
    return difference, enough


RATE_FUNCTIONS: dict[str, Callable[[Windows, list[Floats]], Outcome]] = {
    "delta": lambda windows, _: _extrapolated(windows, counter=False, per_second=False),
    "idelta": lambda windows, _: _instant(windows, per_second=False),
    "increase": lambda windows, _: _extrapolated(windows, counter=True, per_second=False),
    "irate": lambda windows, _: _instant(windows, per_second=True),
    "rate": lambda windows, _: _extrapolated(windows, counter=True, per_second=True),
}
