"""Vectors: what an expression is at every step, many series side by side, and the labels that name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms, chosen
from rondo_promql.errors import QueryExecutionError

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Labels: TypeAlias = tuple[tuple[str, str], ...]
NAME = "__name__"
SAME_LABELS = "vector cannot contain metrics with the same labelset"
# The NaN that Prometheus writes where a series ends.
STALE_BITS = 0x7FF0000000000002


@dataclass(slots=True)
class Vector:
    """Series side by side, at every step: [series, steps].

    `present` says where there is a value at all, since NaN is one; `histograms` has those rows whose values are
    native histograms, one for each step; `ordered` says that an instant vector's order was asked for.
    """

    labels: list[Labels]
    values: Floats
    present: Mask
    histograms: dict[int, Histograms] = field(default_factory=dict)
    ordered: bool = False

    def is_whole(self) -> bool:
        """Say whether each series has a value at every step, of which there are some."""
        return 0 < self.present.size == np.count_nonzero(self.present)

    def rows(self, index: Sequence[int] | NDArray[np.int64]) -> Vector:
        """Give the rows at an index, in its order."""
        places = [int(each) for each in index]
        where = np.asarray(places, dtype=np.int64)
        histograms = {
            new: self.histograms[old] for new, old in enumerate(places) if old in self.histograms
        } if self.histograms else {}  # fmt: skip
        return Vector([self.labels[each] for each in places], self.values[where], self.present[where], histograms)

    def float_rows(self) -> Vector:
        """Give the rows that are no histograms."""
        if not self.histograms:
            return self
        return self.rows([row for row in range(len(self.labels)) if row not in self.histograms])

    def relabelled(self, labels: list[Labels]) -> Vector:
        """Give the same values under other labels."""
        return Vector(labels, self.values, self.present, self.histograms)


def empty_vector(n_steps: int) -> Vector:
    """Give a vector without series."""
    return Vector([], np.empty((0, n_steps)), np.empty((0, n_steps), dtype=np.bool_))


def read_labels(labels: Mapping[str, str] | Iterable[tuple[str, str]]) -> Labels:
    """Sort a source's labels, a mapping or pairs; one with an empty value is as good as none."""
    pairs = sorted(labels.items() if type(labels) is dict or isinstance(labels, Mapping) else labels)
    return tuple([(name, value) for name, value in pairs if value])


def metric_name(labels: Labels) -> str:
    """Give the metric's name, "" if it has none."""
    for name, value in labels:
        if name == NAME:
            return value
    return ""


def without_name(labels: Labels) -> Labels:
    """Give labels without the metric's name."""
    return tuple([pair for pair in labels if pair[0] != NAME])


def with_labels(labels: Labels, changes: Mapping[str, str]) -> Labels:
    """Give labels with some of them set, or taken away by an empty value."""
    changed = dict(labels) | dict(changes)
    return tuple(sorted((name, value) for name, value in changed.items() if value))


def merge_same_labels(vector: Vector, *, strict: bool = False) -> Vector:
    """Make one row of those with the same labels, which operators may make of two series that lived in turn.

    Args:
        strict: refuse two such rows even if they have no step in common, as functions of ranges do.
    Raises: QueryExecutionError: two series of the same labels have a value at one step.
    """
    groups: dict[Labels, list[int]] = {}
    for row, labels in enumerate(vector.labels):
        groups.setdefault(labels, []).append(row)
    if len(groups) == len(vector.labels):
        return vector
    values, present, histograms = vector.values.copy(), vector.present.copy(), dict(vector.histograms)
    kept = []
    for rows in groups.values():
        living = [row for row in rows if vector.present[row].any()] or rows[:1]
        if len(living) > 1 and (strict or (vector.present[living].sum(axis=0) > 1).any()):
            raise QueryExecutionError(SAME_LABELS)
        for kind in (True, False):
            same = [row for row in living if (row in histograms) is kind]
            kept += same[:1]
            for row in same[1:]:
                if kind:
                    histograms[same[0]] = chosen(present[same[0]], histograms[same[0]], histograms[row])
                values[same[0]] = np.where(present[row], values[row], values[same[0]])
                present[same[0]] |= present[row]
    merged = Vector(vector.labels, values, present, histograms).rows(sorted(kept))
    merged.ordered = vector.ordered
    return merged


def is_stale(values: Floats) -> Mask:
    """Say which values are the NaN that ends a series."""
    return np.asarray(np.ascontiguousarray(values).view(np.uint64) == STALE_BITS)
