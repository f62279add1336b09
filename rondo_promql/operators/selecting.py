"""Aggregations that choose or count single values: topk and bottomk, count_values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.vector import Labels, Vector, empty_vector, merge_same_labels, with_labels
from rondo_promql.errors import QueryExecutionError
from rondo_promql.language.nodes import Grouping
from rondo_promql.operators.aggregation import Note, group_rows

Floats = NDArray[np.float64]


def choose_extremes(operator: str, vector: Vector, grouping: Grouping, wanted: Floats, inform: Note) -> Vector:
    """Keep the k largest or smallest values of each group, at each step; NaN comes last in both.

    Args:
        wanted: k at each step, [steps]; a fraction is cut off.
    Returns: the series that were chosen at any step, an instant vector's in order of value.
    """
    _check_int64(wanted)
    if vector.histograms:
        inform(f"PromQL info: ignored histogram in {operator} aggregation")
    floats = vector.float_rows()
    groups = group_rows(floats.labels, grouping)
    present = np.zeros_like(floats.present)
    order: list[int] = []
    k = np.clip(np.trunc(wanted), 0, len(floats.labels)).astype(np.int64)
    for rows in groups.members():
        keys = np.where(
            floats.present[rows], -floats.values[rows] if operator == "topk" else floats.values[rows], np.nan
        )
        present[rows] = _first(keys, floats.present[rows], k)
        order += rows[np.argsort(keys[:, 0], kind="stable")].tolist()
    kept = [row for row in order if present[row].any()]
    result = Vector(floats.labels, floats.values, present).rows(kept)
    result.ordered = True
    return result


def _first(keys: Floats, present: NDArray[np.bool_], k: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which rows have the k smallest keys of each column; of equal ones the upper rows, and NaN last.

    Args:
        keys: [rows, steps]; NaN where there is no value.
        present: [rows, steps]: where there is a value at all, which may be NaN.
        k: [steps].
    """
    known = ~np.isnan(keys)
    n_known = known.sum(axis=0)
    # NaN is sorted to the end, so that the k-th smallest key is the bound below which all are in.
    bound = np.take_along_axis(np.sort(keys, axis=0), np.clip(k - 1, 0, len(keys) - 1)[None], axis=0)[0]
    below = keys < bound
    level = keys == bound
    n_level = np.minimum(k, n_known) - below.sum(axis=0)
    chosen = below | (level & (np.cumsum(level, axis=0) <= n_level))
    chosen = np.where(k >= n_known, known, chosen & (k > 0))
    unknown = present & ~known
    if unknown.any():
        chosen |= unknown & (np.cumsum(unknown, axis=0) <= k - n_known)
    return chosen


def _check_int64(values: Floats) -> None:
    for value in values[~((values >= -(2.0**63)) & (values < 2.0**63))].tolist():
        raise QueryExecutionError(
            f"Scalar value {value_text(value) if not abs(value) >= 1e21 else value} overflows int64"
        )


def value_text(value: float) -> str:
    """Write a value as Prometheus writes one in a label: the shortest decimal that is the same number, no exponent."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return np.format_float_positional(value, trim="-") if value or np.copysign(1.0, value) > 0 else "-0"


def count_values(vector: Vector, grouping: Grouping, label: str, inform: Note, make: Callable[[int], None]) -> Vector:
    """Count how many series of each group have each value, at each step, as series with the value in a label.

    Args:
        make: told how many points a group will have, before there is an array of them; it may refuse.
    Raises: QueryExecutionError: the label's name is none.
    """
    if not label or "\ufffd" in label:
        raise QueryExecutionError(f'invalid label name "{label}"')
    if vector.histograms:
        inform("PromQL info: ignored histogram in count_values aggregation")
    floats = vector.float_rows()
    groups = group_rows(floats.labels, grouping)
    n_steps = vector.values.shape[1]
    labels: list[Labels] = []
    counts: list[NDArray[np.int64]] = []
    for group, rows in zip(groups.labels, groups.members(), strict=True):
        held, steps = np.nonzero(floats.present[rows])
        # By their bits, since 0 and -0 are written differently.
        counted = floats.values[rows][held, steps]
        bits, which = np.unique(np.where(np.isnan(counted), np.nan, counted).view(np.int64), return_inverse=True)
        values = bits.view(np.float64)
        make(len(values) * n_steps)
        table = np.zeros((len(values), n_steps), dtype=np.int64)
        np.add.at(table, (which, steps), 1)
        labels += [with_labels(group, {label: value_text(value)}) for value in values.tolist()]
        counts.append(table)
    if not labels:
        return empty_vector(n_steps)
    table = np.concatenate(counts)
    return merge_same_labels(Vector(labels, table.astype(np.float64), table > 0))
