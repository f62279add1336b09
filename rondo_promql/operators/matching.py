"""Matching of two vectors: which series of one side meets which of the other, and what they make of each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.vector import NAME, Labels, Vector, empty_vector, merge_same_labels, without_name
from rondo_promql.errors import QueryExecutionError
from rondo_promql.language.nodes import Matching
from rondo_promql.operators import histogram_arithmetic
from rondo_promql.operators.arithmetic import ARITHMETIC, COMPARISON

Floats = NDArray[np.float64]
Signature = tuple[tuple[str, str], ...]
_NOT_UNIQUE = ";many-to-many matching not allowed: matching labels must be unique on one side"
_NOT_EXPLICIT = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
_NOT_GROUPED = "multiple matches for labels: grouping labels must ensure unique matches"


def signature_of(matching: Matching) -> Callable[[Labels], Signature]:
    """Make the function that gives the labels by which a series is matched."""
    chosen = frozenset(matching.labels) if matching.on else frozenset(matching.labels) | {NAME}
    return lambda labels: tuple([pair for pair in labels if (pair[0] in chosen) is matching.on])


def combine_sets(operator: str, left: Vector, right: Vector, matching: Matching) -> Vector:
    """Answer `and`, `or` and `unless`, step by step; what is kept is kept as it was."""
    signature = signature_of(matching)
    kept, other = (right, left) if operator == "or" else (left, right)
    others: dict[Signature, NDArray[np.bool_]] = {}
    for labels, present in zip(other.labels, other.present, strict=True):
        key = signature(labels)
        others[key] = others[key] | present if key in others else present
    nowhere = np.zeros(kept.present.shape[1], dtype=np.bool_)
    met = np.array([others.get(signature(labels), nowhere) for labels in kept.labels], dtype=np.bool_)
    met = met.reshape(kept.present.shape)
    filtered = Vector(kept.labels, kept.values, kept.present & (met if operator == "and" else ~met), kept.histograms)
    return merge_same_labels(_stacked(left, filtered)) if operator == "or" else filtered


def _stacked(upper: Vector, lower: Vector) -> Vector:
    n_upper = len(upper.labels)
    histograms = upper.histograms | {row + n_upper: each for row, each in lower.histograms.items()}
    values = np.concatenate([upper.values, lower.values])
    return Vector(upper.labels + lower.labels, values, np.concatenate([upper.present, lower.present]), histograms)


def _written(labels: Labels) -> str:
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels) + "}"


@dataclass(slots=True)
class _Pairs:
    """The rows of both sides that meet, `many` and `one`, and the signature by which."""

    many: list[int] = field(default_factory=list)
    one: list[int] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)


def _pairs(many: Vector, one: Vector, matching: Matching, side: str) -> _Pairs:
    """Find the rows that meet; rows of the side that is one may have the same signature if they lived in turn.

    Raises: QueryExecutionError: two rows of that side have one signature at one step.
    """
    signature = signature_of(matching)
    rows: dict[Signature, list[int]] = {}
    for row, labels in enumerate(one.labels):
        rows.setdefault(signature(labels), []).append(row)
    asked = many.present.any(axis=0)
    for key, places in rows.items():
        if len(places) > 1 and ((one.present[places].sum(axis=0) > 1) & asked).any():
            clash = (one.present[places].sum(axis=0) > 1) & asked
            both = [one.labels[row] for row in places if (one.present[row] & clash).any()][:2]
            raise QueryExecutionError(
                f"found duplicate series for the match group {_written(key)} on the {side} hand-side of the "
                f"operation: [{', '.join(_written(each) for each in both)}]{_NOT_UNIQUE}"
            )
    found = _Pairs()
    for row, labels in enumerate(many.labels):
        key = signature(labels)
        for place in rows.get(key, ()):
            found.many.append(row)
            found.one.append(place)
            found.signatures.append(key)
    return found


def _result_labels(
    many: Labels, one: Labels, matching: Matching, *, drops_name: bool, group_labels: frozenset[str]
) -> Labels:
    """Give the labels of what a pair makes."""
    if not matching.many:
        if matching.on:
            return tuple(pair for pair in many if pair[0] in group_labels and not (drops_name and pair[0] == NAME))
        return tuple(pair for pair in many if pair[0] not in group_labels and not (drops_name and pair[0] == NAME))
    kept = without_name(many) if drops_name else many
    if matching.include:
        kept = tuple(pair for pair in kept if pair[0] not in matching.include)
        taken = tuple(pair for pair in one if pair[0] in matching.include)
        kept = tuple(sorted(kept + taken))
    return kept


def combine_vectors(
    operator: str,
    left: Vector,
    right: Vector,
    matching: Matching,
    inform: Callable[[str], None],
    make: Callable[[int], None],
    *,
    returns_bool: bool,
) -> Vector:
    """Combine the series of two vectors that match, step by step.

    Args:
        make: told how many points there will be, before there is an array of them; it may refuse.
    Raises: QueryExecutionError: matches are not unique where they have to be.
    """
    swapped = matching.many == "right"
    many, one = (right, left) if swapped else (left, right)
    pairs = _pairs(many, one, matching, "left" if swapped else "right")
    if not pairs.many:
        return empty_vector(left.values.shape[1])
    make(len(pairs.many) * left.values.shape[1])
    matched_many, matched_one = many.rows(pairs.many), one.rows(pairs.one)
    first, second = (matched_one, matched_many) if swapped else (matched_many, matched_one)
    combined = _combined(operator, first, second, inform, returns_bool=returns_bool)
    drops_name = operator in ARITHMETIC or returns_bool
    group_labels = frozenset(matching.labels)
    combined.labels = [
        _result_labels(left, right, matching, drops_name=drops_name, group_labels=group_labels)
        for left, right in zip(matched_many.labels, matched_one.labels, strict=True)
    ]
    _check_unique(combined, pairs.signatures, grouped=bool(matching.many))
    return merge_same_labels(combined)


def _combined(
    operator: str, left: Vector, right: Vector, inform: Callable[[str], None], *, returns_bool: bool
) -> Vector:
    """Combine two vectors row by row."""
    present = left.present & right.present
    if operator in ARITHMETIC:
        values = ARITHMETIC[operator](left.values, right.values)
    else:
        kept = COMPARISON[operator](left.values, right.values)
        values = kept.astype(np.float64) if returns_bool else left.values
        present = present if returns_bool else present & kept
    histograms: dict[int, Histograms] = {}
    for row in sorted({*left.histograms, *right.histograms}):
        lived = left.present[row] & right.present[row]
        made, kept_row = _combined_row(operator, row, left, right)
        if made is None and kept_row is None:
            present[row] = False
            kinds = ["histogram" if row in side.histograms else "float" for side in (left, right)]
            if lived.any():
                inform(histogram_arithmetic.incompatible(operator, *kinds))
        elif made is not None:
            histograms[row], present[row] = made, lived
        elif kept_row is not None and returns_bool:
            values[row], present[row] = kept_row, lived
        elif kept_row is not None:
            histograms[row], present[row] = left.histograms[row], lived & kept_row
    return Vector(left.labels, values, present, histograms)


def _combined_row(
    operator: str, row: int, left: Vector, right: Vector
) -> tuple[Histograms | None, NDArray[np.bool_] | None]:
    """Combine one row, of which one side or both are histograms."""
    if row not in left.histograms:
        return histogram_arithmetic.with_scalar(
            operator, right.histograms[row], left.values[row], scalar_is_left=True
        ), None
    if row not in right.histograms:
        return histogram_arithmetic.with_scalar(
            operator, left.histograms[row], right.values[row], scalar_is_left=False
        ), None
    return histogram_arithmetic.with_histogram(operator, left.histograms[row], right.histograms[row])


def _check_unique(combined: Vector, signatures: list[Signature], *, grouped: bool) -> None:
    """Refuse two results of one signature at one step, if grouped those of one label set too."""
    rows: dict[tuple[Signature, Labels], list[int]] = {}
    for row, (key, labels) in enumerate(zip(signatures, combined.labels, strict=True)):
        rows.setdefault((key, labels if grouped else ()), []).append(row)
    for places in rows.values():
        if len(places) > 1 and (combined.present[places].sum(axis=0) > 1).any():
            raise QueryExecutionError(_NOT_GROUPED if grouped else _NOT_EXPLICIT)
