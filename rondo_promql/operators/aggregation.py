"""Aggregations: many series of a vector into one a group, at each step of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms, added
from rondo_promql.arrays.summation import group_sums
from rondo_promql.arrays.vector import NAME, Labels, Vector, empty_vector
from rondo_promql.functions.ranges import quantiles_of
from rondo_promql.language.nodes import Grouping

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Note = Callable[[str], None]
# Values that are aggregated at once, and steps at least: what is made along the way stays small beside them all.
_PART, _MIN_STEPS = 1 << 13, 32
_MIXED = "PromQL warning: encountered a mix of histograms and floats for aggregation"


@dataclass(slots=True)
class Groups:
    """The series of a vector, those of a group together: `order` are its rows, `starts` where each group begins."""

    labels: list[Labels]
    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    def members(self) -> list[NDArray[np.int64]]:
        """Give the rows of each group."""
        return np.split(self.order, self.starts[1:].tolist()) if len(self.labels) else []


def group_rows(labels: list[Labels], grouping: Grouping) -> Groups:
    """Group series by the labels that a grouping keeps, in the order in which groups appear."""
    chosen = frozenset(grouping.labels) | {NAME} if grouping.without else frozenset(grouping.labels)
    groups: dict[Labels, list[int]] = {}
    for row, each in enumerate(labels):
        key = tuple([pair for pair in each if (pair[0] in chosen) is not grouping.without]) if chosen else ()
        groups.setdefault(key, []).append(row)
    sizes = [0, *(len(rows) for rows in groups.values())]
    order = np.array([row for rows in groups.values() for row in rows], dtype=np.int64)
    return Groups(list(groups), order, np.cumsum(sizes[:-1]))


def aggregate(operator: str, vector: Vector, grouping: Grouping, warn: Note, inform: Note) -> Vector:
    """Aggregate by an operator that makes one series of each group, from its members' values alone."""
    if not vector.labels:
        return empty_vector(vector.values.shape[1])
    groups = group_rows(vector.labels, grouping)
    if not vector.histograms:
        return _aggregate_floats(operator, vector, groups)
    if operator in {"sum", "avg"}:
        return _aggregate_mixed(operator, vector, groups, warn)
    if operator in {"count", "group"}:
        return _aggregate_floats(operator, vector, groups)
    inform(f"PromQL info: ignored histogram in {operator} aggregation")
    floats = vector.float_rows()
    return _aggregate_floats(operator, floats, group_rows(floats.labels, grouping))


def _aggregate_floats(operator: str, vector: Vector, groups: Groups) -> Vector:
    if not groups.labels:
        return empty_vector(vector.values.shape[1])
    shape = len(groups.labels), vector.values.shape[1]
    found, known = np.empty(shape), np.empty(shape, np.bool_)
    width = max(_MIN_STEPS, _PART // len(groups.order))
    for first in range(0, shape[1], width):
        steps = slice(first, first + width)
        values, present = vector.values[groups.order, steps], vector.present[groups.order, steps]
        counts = np.add.reduceat(present.astype(np.int64), groups.starts, axis=0)
        found[:, steps] = _AGGREGATIONS[operator](values, present, groups.starts, counts)
        known[:, steps] = counts > 0
    return Vector(groups.labels, found, known)


def _sum(values: Floats, present: Mask, starts: NDArray[np.int64], _: NDArray[np.int64]) -> Floats:
    return _signed(group_sums(np.where(present, values, 0.0), starts), values, present, starts)


def _signed(sums: Floats, values: Floats, present: Mask, starts: NDArray[np.int64]) -> Floats:
    """Give a group of nothing but -0 that for its sum."""
    if not (sums == 0.0).any() or not np.signbit(values).any():
        return sums
    negative = np.logical_and.reduceat(~present | ((values == 0.0) & np.signbit(values)), starts, axis=0)
    return np.where(negative & np.logical_or.reduceat(present, starts, axis=0), -0.0, sums)


def _average(values: Floats, present: Mask, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    clean = np.where(present, values, 0.0)
    sums = _sum(values, present, starts, counts)
    over = np.isinf(sums)
    if over.any():
        shrunk = np.ldexp(group_sums(np.ldexp(clean, -64), starts) / counts, 64)
        return np.where(over, shrunk, sums / counts)
    return sums / counts


def _minimum(values: Floats, present: Mask, starts: NDArray[np.int64], _: NDArray[np.int64]) -> Floats:
    return np.asarray(np.fmin.reduceat(np.where(present, values, np.nan), starts, axis=0))


def _maximum(values: Floats, present: Mask, starts: NDArray[np.int64], _: NDArray[np.int64]) -> Floats:
    return np.asarray(np.fmax.reduceat(np.where(present, values, np.nan), starts, axis=0))


def _count(_: Floats, __: Mask, ___: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    return counts.astype(np.float64)


def _group(_: Floats, __: Mask, ___: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    return np.ones(counts.shape)


def _variance(values: Floats, present: Mask, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    """Give the population's variance about one of the group's values, so that equal values vary by exactly 0."""
    sizes = np.diff(starts, append=len(values))
    about = np.repeat(_maximum(values, present, starts, counts), sizes, axis=0)
    deviations = np.where(present, values - about, 0.0)
    means = np.repeat(np.add.reduceat(deviations, starts, axis=0) / counts, sizes, axis=0)
    squares = np.where(present, deviations - means, 0.0) ** 2
    return np.asarray(np.add.reduceat(squares, starts, axis=0) / counts)


def _deviation(values: Floats, present: Mask, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Floats:
    return np.sqrt(_variance(values, present, starts, counts))


_AGGREGATIONS: dict[str, Callable[[Floats, Mask, NDArray[np.int64], NDArray[np.int64]], Floats]] = {
    "avg": _average,
    "count": _count,
    "group": _group,
    "max": _maximum,
    "min": _minimum,
    "stddev": _deviation,
    "stdvar": _variance,
    "sum": _sum,
}


def _aggregate_mixed(operator: str, vector: Vector, groups: Groups, warn: Note) -> Vector:
    """Sum or average groups some of which have histograms; where a group has both at a step, it has no result."""
    is_float = np.array([row not in vector.histograms for row in range(len(vector.labels))])
    floats = Vector(vector.labels, vector.values, vector.present & is_float[:, None])
    result = _aggregate_floats(operator, floats, groups)
    extra: list[tuple[Labels, Histograms, Mask]] = []
    for group, rows in enumerate(groups.members()):
        total: Histograms | None = None
        counts = np.zeros(vector.present.shape[1])
        for row in rows.tolist():
            if row in vector.histograms:
                present = vector.present[row]
                shown = vector.histograms[row]
                shown = shown if present.all() else shown.where(present)
                total = shown if total is None else added(total, shown)
                counts += present
        if total is None:
            continue
        both = result.present[group] & (counts > 0)
        if both.any():
            warn(_MIXED)
        result.present[group] &= ~both
        present = (counts > 0) & ~both
        if present.any():
            extra.append((groups.labels[group], total.divided(counts) if operator == "avg" else total, present))
    if not extra:
        return result
    n_rows, n_steps = result.values.shape
    return Vector(
        result.labels + [labels for labels, _, _ in extra],
        np.concatenate([result.values, np.full((len(extra), n_steps), np.nan)]),
        np.concatenate([result.present, np.array([present for _, _, present in extra])]),
        {n_rows + place: histograms for place, (_, histograms, _) in enumerate(extra)},
    )


def aggregate_quantile(vector: Vector, grouping: Grouping, quantile: Floats, inform: Note) -> Vector:
    """Give a quantile of the values of each group at each step: `quantile` is [steps]."""
    if vector.histograms:
        inform("PromQL info: ignored histogram in quantile aggregation")
    floats = vector.float_rows()
    groups = group_rows(floats.labels, grouping)
    found = empty_vector(vector.values.shape[1])
    rows = groups.members()
    if not rows:
        return found
    values = np.array([quantiles_of(floats.values[each], floats.present[each], quantile) for each in rows])
    return Vector(groups.labels, values, np.array([floats.present[each].any(axis=0) for each in rows]))
