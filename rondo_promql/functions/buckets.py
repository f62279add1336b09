"""Quantiles of classic histograms: series with cumulative counts, one for each upper bound `le`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.vector import Labels, Vector, merge_same_labels, metric_name, without_name

Floats = NDArray[np.float64]
Note = Callable[[str], None]
BUCKET = "le"
# Counts that differ by less than this, relative to their sum, differ by rounding and not by observations.
_TOLERANCE = 1e-12
_NOT_MONOTONIC = (
    "PromQL info: input to histogram_quantile needed to be fixed for monotonicity (see "
    "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile) for metric name "
)


@dataclass(slots=True)
class _Histogram:
    """The rows of one histogram, by upper bound."""

    name: str
    bounds: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def _bound(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _histograms(vector: Vector, warn: Note) -> dict[Labels, _Histogram]:
    """Find the rows of each histogram; a row whose `le` is no number is warned of and left out."""
    found: dict[Labels, _Histogram] = {}
    bounds: dict[str, float | None] = {}
    for row, labels in enumerate(vector.labels):
        if row in vector.histograms:
            continue
        text = dict(labels).get(BUCKET, "")
        bound = bounds[text] if text in bounds else bounds.setdefault(text, _bound(text))
        if bound is None and not vector.present[row].any():
            continue
        if bound is None:
            warn(
                f'PromQL warning: bucket label "{BUCKET}" is missing or has a malformed value of "{text}" '
                f'for metric name "{metric_name(labels)}"'
            )
            continue
        key = tuple([pair for pair in labels if pair[0] != BUCKET])
        histogram = found.setdefault(key, _Histogram(metric_name(labels)))
        histogram.bounds.append(bound)
        histogram.rows.append(row)
    return found


def bucket_values(
    vector: Vector, measure: Callable[[Floats, Floats, Floats], Floats], parameters: Floats, warn: Note
) -> Vector:
    """Measure each histogram of a vector at each step, those with the same bounds at once.

    Args:
        measure: given bounds [b] rising, counts [b, m] and m columns of parameters, gives [m].
        parameters: [parameters, steps].
    Returns: a vector of the histograms, without `le` and name.
    """
    found = _histograms(vector, warn)
    n_steps = vector.values.shape[1]
    layouts: dict[tuple[float, ...], list[int]] = {}
    histograms = list(found.values())
    for place, histogram in enumerate(histograms):
        order = sorted(range(len(histogram.rows)), key=histogram.bounds.__getitem__)
        histogram.rows = [histogram.rows[each] for each in order]
        histogram.bounds = [histogram.bounds[each] for each in order]
        layouts.setdefault(tuple(histogram.bounds), []).append(place)
    values = np.full((len(histograms), n_steps), np.nan)
    present = np.zeros(values.shape, dtype=np.bool_)
    for layout, places in layouts.items():
        rows = np.array([histograms[place].rows for place in places])
        counts = np.moveaxis(vector.values[rows], 1, 0).reshape(len(layout), -1)
        held = np.moveaxis(vector.present[rows], 1, 0).reshape(len(layout), -1)
        columns = np.tile(parameters, (1, len(places)))
        measured = _measure_layout(np.array(layout), counts, held, measure, columns)
        values[places] = measured.reshape(len(places), n_steps)
        present[places] = held.any(axis=0).reshape(len(places), n_steps)
    return merge_same_labels(Vector([without_name(labels) for labels in found], values, present))


def _measure_layout(
    bounds: Floats,
    counts: Floats,
    held: NDArray[np.bool_],
    measure: Callable[[Floats, Floats, Floats], Floats],
    parameters: Floats,
) -> Floats:
    """Measure columns of counts; those in which the same buckets are missing, together."""
    measured = np.full(counts.shape[1], np.nan)
    if held.all():
        return measure(*_merge_bounds(bounds, counts), parameters)
    patterns, which = np.unique(held, axis=1, return_inverse=True)
    for place in range(patterns.shape[1]):
        kept, columns = patterns[:, place], np.flatnonzero(which.reshape(-1) == place)
        if kept.any():
            merged = _merge_bounds(bounds[kept], counts[np.ix_(kept, columns)])
            measured[columns] = measure(*merged, parameters[:, columns])
    return measured


def _merge_bounds(bounds: Floats, counts: Floats) -> tuple[Floats, Floats]:
    """Add up buckets whose bounds are the same number written in two ways."""
    starts = np.flatnonzero(np.concatenate([[True], bounds[1:] != bounds[:-1]]))
    return (bounds, counts) if len(starts) == len(bounds) else (bounds[starts], np.add.reduceat(counts, starts, axis=0))


def _monotonic(counts: Floats) -> tuple[Floats, bool]:
    """Raise counts that are below those of a smaller bound, and say if more than rounding was in the way."""
    if (counts[1:] >= counts[:-1]).all():
        close = counts[1:] - counts[:-1] < _TOLERANCE * (np.abs(counts[1:]) + np.abs(counts[:-1]))
        if not (close & (counts[1:] != counts[:-1])).any():
            return counts, False
    fixed, forced = counts.copy(), False
    for place in range(1, len(fixed)):
        before, now = fixed[place - 1], fixed[place]
        differ = now != before
        alike = (
            differ & (np.abs(now - before) < _TOLERANCE * (np.abs(now) + np.abs(before))) & (now != 0) & (before != 0)
        )
        falls = (now < before) & ~alike
        forced |= bool(falls.any())
        fixed[place] = np.where(alike | falls, before, now)
    return fixed, forced


def quantile_measure(name: Callable[[], str], inform: Note) -> Callable[[Floats, Floats, Floats], Floats]:
    """Make the measure that interpolates a quantile within its bucket; it tells of counts that fell."""

    def measure(bounds: Floats, counts: Floats, parameters: Floats) -> Floats:
        quantile = parameters[0]
        if bounds[-1] != np.inf or len(bounds) < 2:
            found = np.full(counts.shape[1], np.nan)
        else:
            counts, forced = _monotonic(counts)
            if forced:
                inform(f'{_NOT_MONOTONIC}"{name()}"')
            found = _interpolated(bounds, counts, quantile)
        found = np.where(quantile < 0, -np.inf, np.where(quantile > 1, np.inf, found))
        return np.where(np.isnan(quantile), np.nan, found)

    return measure


def _interpolated(bounds: Floats, counts: Floats, quantile: Floats) -> Floats:
    """Find the bucket of a rank, and the place within it as if observations lay evenly."""
    total = counts[-1]
    rank = quantile * total
    reached = counts[:-1] >= rank
    place = np.where(reached.any(axis=0), reached.argmax(axis=0), len(bounds) - 1)
    column = np.arange(counts.shape[1])
    before = np.maximum(place - 1, 0)
    start = np.where(place > 0, bounds[before], 0.0)
    below = np.where(place > 0, counts[before, column], 0.0)
    end = bounds[np.minimum(place, len(bounds) - 2)]
    inside = start + (end - start) * ((rank - below) / (counts[place, column] - below))
    found = np.where(place == len(bounds) - 1, bounds[-2], inside)
    found = np.where((place == 0) & (bounds[0] <= 0), bounds[0], found)
    return np.where(total == 0, np.nan, found)


def fraction_measure(bounds: Floats, counts: Floats, parameters: Floats) -> Floats:
    """Give the fraction of observations between two values, as if they lay evenly within buckets."""
    lower, upper = parameters
    if bounds[-1] != np.inf or len(bounds) < 2:
        return np.full(counts.shape[1], np.nan)
    counts, _ = _monotonic(counts)
    total = counts[-1]

    def rank_of(value: Floats) -> Floats:
        place = np.searchsorted(bounds, value, side="left").clip(max=len(bounds) - 1)
        column, before = np.arange(counts.shape[1]), np.maximum(place - 1, 0)
        first_start = 0.0 if bounds[0] > 0 else -np.inf
        start = np.where(place > 0, bounds[before], first_start)
        below = np.where(place > 0, counts[before, column], 0.0)
        share = np.where(np.isinf(start) | np.isinf(bounds[place]), 0.0, (value - start) / (bounds[place] - start))
        rank = below + (counts[place, column] - below) * np.clip(share, 0.0, 1.0)
        rank = np.where(np.isposinf(value), total, rank)
        return np.where(value <= start, below, rank)

    found = (rank_of(upper) - rank_of(lower)) / total
    found = np.where(lower >= upper, 0.0, found)
    return np.where((total == 0) | np.isnan(lower) | np.isnan(upper), np.nan, found)
