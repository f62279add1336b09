"""Functions of a range that read its floats: one value for each window, of all series of a block at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.summation import prefix, window_sums
from rondo_promql.arrays.windows import Windows

Floats = NDArray[np.float64]
Scalars = list[Floats]
# What a function of a range gives: values [series, windows], and in which windows there is one: [windows].
Outcome = tuple[Floats, NDArray[np.bool_]]


def _sum(windows: Windows, _: Scalars) -> Outcome:
    return window_sums(windows.values, windows.low, windows.high), windows.counts > 0


def _count(windows: Windows, _: Scalars) -> Outcome:
    counts = windows.counts
    if windows.weights is not None:
        return window_sums(windows.weights, windows.low, windows.high), counts > 0
    return np.broadcast_to(counts.astype(np.float64), (len(windows.values), len(counts))), counts > 0


def _present(windows: Windows, _: Scalars) -> Outcome:
    counts = windows.counts
    return np.ones((len(windows.values), len(counts))), counts > 0


def _average(windows: Windows, _: Scalars) -> Outcome:
    """Average each window; by weight where values stand for several observations."""
    counts, values = windows.counts, windows.values
    if windows.weights is not None:
        sums = window_sums(values * windows.weights, windows.low, windows.high)
        return sums / window_sums(windows.weights, windows.low, windows.high), counts > 0
    sums = window_sums(values, windows.low, windows.high)
    means = sums / counts
    over = np.isinf(sums)
    if over.any():
        shrunk = window_sums(np.ldexp(values, -64), windows.low, windows.high)
        means = np.where(over, np.ldexp(shrunk / counts, 64), means)
    return means, counts > 0


def _minimum(windows: Windows, _: Scalars) -> Outcome:
    return windows.extremes(np.fmin), windows.counts > 0


def _maximum(windows: Windows, _: Scalars) -> Outcome:
    return windows.extremes(np.fmax), windows.counts > 0


def _last(windows: Windows, _: Scalars) -> Outcome:
    return _at(windows, windows.high - 1), windows.counts > 0


def _first(windows: Windows, _: Scalars) -> Outcome:
    return _at(windows, windows.low), windows.counts > 0


def _at(windows: Windows, places: NDArray[np.int64]) -> Floats:
    """Give the samples at one place a window; where the window is empty, any."""
    if not windows.values.shape[1]:
        return np.full((len(windows.values), len(places)), np.nan)
    return np.asarray(windows.values[:, np.clip(places, 0, windows.values.shape[1] - 1)])


def _steps_where(windows: Windows, flags: NDArray[np.bool_]) -> Outcome:
    """Count, in each window, the pairs of neighbours that are flagged: [series, samples - 1]."""
    running = prefix(flags.astype(np.float64))
    ends = np.maximum(windows.high - 1, windows.low).clip(max=flags.shape[1])
    return running[:, ends] - running[:, np.minimum(windows.low, ends)], windows.counts > 0


def _changes(windows: Windows, _: Scalars) -> Outcome:
    before, after = windows.values[:, :-1], windows.values[:, 1:]
    return _steps_where(windows, (before != after) & ~(np.isnan(before) & np.isnan(after)))


def _resets(windows: Windows, _: Scalars) -> Outcome:
    return _steps_where(windows, windows.values[:, 1:] < windows.values[:, :-1])


def _variance(windows: Windows, _: Scalars) -> Outcome:
    """Give the population's variance of each window, about its first value, so that equal values vary by exactly 0."""
    variances = np.full((len(windows.values), len(windows.ends)), np.nan)
    for which, _places, own, values in windows.pieces():
        counts = own.sum(axis=1)
        deviations = np.where(own, values - values[:, :, :1], 0.0)
        means = deviations.sum(axis=2) / counts
        variances[:, which] = (np.where(own, deviations - means[:, :, None], 0.0) ** 2).sum(axis=2) / counts
    return variances, windows.counts > 0


def _deviation(windows: Windows, _: Scalars) -> Outcome:
    variances, present = _variance(windows, [])
    return np.sqrt(variances), present


def _quantile(windows: Windows, scalars: Scalars) -> Outcome:
    quantiles = np.full((len(windows.values), len(windows.ends)), np.nan)
    for which, _places, own, values in windows.pieces():
        quantiles[:, which] = quantiles_of(
            np.moveaxis(values, 2, 0), np.moveaxis(own, 1, 0)[:, None], scalars[0][which]
        )
    return quantiles, windows.counts > 0


def quantiles_of(values: Floats, own: NDArray[np.bool_], quantile: Floats) -> Floats:
    """Give the quantiles of the values along the first axis, interpolated between ranks; NaN ranks lowest.

    Args:
        values: [n, ...]; `own` broadcasts to it and says which count.
        quantile: broadcasts to the other axes; outside [0, 1] it gives infinities, NaN gives NaN.
    """
    own = np.broadcast_to(own, values.shape)
    ranked = np.sort(np.where(own, values, np.nan), axis=0)
    counts = own.sum(axis=0)
    n_nan = (own & np.isnan(values)).sum(axis=0)
    ranks = quantile * (counts - 1)
    floors = np.floor(np.where(np.isnan(ranks), 0.0, ranks))
    lower = np.maximum(0.0, floors)
    upper = np.minimum(counts - 1.0, lower + 1)

    def value_at(rank: Floats) -> Floats:
        place = np.clip(rank - n_nan, 0, len(values) - 1).astype(np.int64)
        return np.where(rank < n_nan, np.nan, np.take_along_axis(ranked, place[None], axis=0)[0])

    weights = ranks - floors
    found = value_at(lower) * (1 - weights) + value_at(upper) * weights
    found = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, found))
    return np.where(np.isnan(quantile) | (counts == 0), np.nan, found)


def _regressions(windows: Windows, origins: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Fit a line to each window by least squares, with time in seconds from its origin: slopes and intercepts.

    Prometheus's special cases: equal values have the slope 0, and a window with an infinity or NaN has NaN.
    """
    shape = (len(windows.values), len(windows.ends))
    slopes, intercepts = np.full(shape, np.nan), np.full(shape, np.nan)
    for which, places, own, values in windows.pieces():
        counts = own.sum(axis=1)
        times = np.where(own, (windows.timestamps[places] - origins[which][:, None]) / 1000.0, 0.0)
        mean_time = times.sum(axis=1) / counts
        from_mean = np.where(own, times - mean_time[:, None], 0.0)
        first = values[:, :, 0]
        rises = np.where(own, values - first[:, :, None], 0.0)
        slope = (from_mean * rises).sum(axis=2) / (from_mean**2).sum(axis=1)
        intercept = first + rises.sum(axis=2) / counts - slope * mean_time
        constant = (np.where(own, values, first[:, :, None]) == first[:, :, None]).all(axis=2)
        endless = (own & ~np.isfinite(values)).any(axis=2)
        slopes[:, which] = np.where(endless, np.nan, np.where(constant, 0.0, slope))
        intercepts[:, which] = np.where(endless, np.nan, np.where(constant, first, intercept))
    return slopes, intercepts


def _derivative(windows: Windows, _: Scalars) -> Outcome:
    if not windows.values.shape[1]:
        return np.full((len(windows.values), len(windows.ends)), np.nan), windows.counts > 1
    first = windows.timestamps[np.minimum(windows.low, len(windows.timestamps) - 1)]
    return _regressions(windows, first)[0], windows.counts > 1


def _prediction(windows: Windows, scalars: Scalars) -> Outcome:
    """Extend the line to `scalars[0]` seconds after the step, whose time is `scalars[-1]` in milliseconds."""
    slopes, intercepts = _regressions(windows, scalars[-1].astype(np.int64))
    return slopes * scalars[0] + intercepts, windows.counts > 1


# Name: the function, given the windows and its scalar arguments at each step; the step's time in ms is the last.
RANGE_FUNCTIONS: dict[str, Callable[[Windows, Scalars], Outcome]] = {
    "avg_over_time": _average,
    "changes": _changes,
    "count_over_time": _count,
    "deriv": _derivative,
    "first_over_time": _first,
    "last_over_time": _last,
    "max_over_time": _maximum,
    "min_over_time": _minimum,
    "predict_linear": _prediction,
    "present_over_time": _present,
    "quantile_over_time": _quantile,
    "resets": _resets,
    "stddev_over_time": _deviation,
    "stdvar_over_time": _variance,
    "sum_over_time": _sum,
}
