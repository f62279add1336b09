"""Sums over windows and over groups, as exact as if each were added with its rounding errors carried along.

A prefix sum is fast and wrong in its last digits, by far where values differ in size. Here values are first cut into
parts of so few bits that every sum of one part is exact (Rump, Ogita and Oishi, "Accurate floating-point summation",
2008), so that differences of prefix sums are too, in whatever order they were added.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
_PARTS = 3
# Above, sums of extracted parts could overflow where the sum itself does not.
_MAX_EXPONENT = 1000
# Shrunk by 2^-100, what is smaller is no longer the number that it was.
_MIN_SHRUNK = 2.0**-920


def _exact_sums(values: Floats, axis: int, reduce: Callable[[Floats], Floats]) -> tuple[Floats, Floats]:
    """Give the sums that `reduce`, a linear sum along `axis`, makes of finite values, and what no part holds.

    Returns: the sums, and of `values` what is left over after three parts: 0 almost always.
    """
    n_bits = math.ceil(math.log2(values.shape[axis] + 2))
    largest = np.abs(values).max(axis=axis, keepdims=True, initial=0.0)
    exponents = np.frexp(largest)[1] + n_bits
    shrunk = bool(exponents.max(initial=0) > _MAX_EXPONENT)
    rest = np.ldexp(values, -100) if shrunk else values
    sigma = np.ldexp(1.0, exponents - (100 if shrunk else 0))
    parts = []
    for _ in range(_PARTS):
        part = (sigma + rest) - sigma
        parts.append(reduce(part))
        rest = rest - part
        if not rest.any():
            break
        sigma = np.ldexp(sigma, n_bits - 53)
    total = parts[-1]
    for part_sum in reversed(parts[:-1]):
        total = part_sum + total
    if not shrunk:
        return total, rest
    lost = (values != 0.0) & (np.abs(values) < _MIN_SHRUNK)
    return np.ldexp(total, 100), np.where(lost, values, np.ldexp(rest, 100))


def prefix(values: Floats) -> Floats:
    """Give running sums along the last axis that begin with 0: shape [..., n + 1]."""
    sums = np.zeros((*values.shape[:-1], values.shape[-1] + 1), dtype=values.dtype)
    np.cumsum(values, axis=-1, out=sums[..., 1:])
    return sums


def _sums_in_order(fetch: Callable[[Indices], Floats], low: Indices, high: Indices) -> Floats:
    """Add values one after the other with their rounding errors carried along (Neumaier), as Prometheus does.

    Args:
        fetch: gives one value for each sum at the places it is given, one a sum.
        low, high: where each sum begins and ends: [sums], none empty.
    """
    total, errors = np.zeros(len(low)), np.zeros(len(low))
    for offset in range(int((high - low).max(initial=0))):
        places = low + offset
        value = np.where(places < high, fetch(np.minimum(places, high - 1)), 0.0)
        longer = total + value
        lost = np.where(np.abs(total) >= np.abs(value), (total - longer) + value, (value - longer) + total)
        errors = np.where(np.isinf(longer), 0.0, errors + lost)
        total = longer
    return total + errors


def _not_finite(values: Floats, sums: Floats, count: Callable[[NDArray[np.bool_]], NDArray[np.int64]]) -> Floats:
    """Put NaN and infinities where a sum met them: infinities of both signs make NaN."""
    above, below = count(values == np.inf) > 0, count(values == -np.inf) > 0
    sums = np.where(above, np.inf, np.where(below, -np.inf, sums))
    return np.where((above & below) | (count(np.isnan(values)) > 0), np.nan, sums)


def window_sums(values: Floats, low: Indices, high: Indices) -> Floats:
    """Sum each window `values[:, low:high]`; an empty window's sum is 0.

    Args:
        values: [series, samples].
        low, high: [windows], with `low <= high`.
    Returns: [series, windows]; NaN and infinities are those of the window's own samples.
    """
    finite = np.isfinite(values)
    whole = bool(finite.all())
    clean = values if whole else np.where(finite, values, 0.0)

    def reduce(part: Floats) -> Floats:
        sums = prefix(part)
        return sums[:, high] - sums[:, low]

    sums, rest = _exact_sums(clean, 1, reduce)
    if rest.any():
        lossy = reduce((rest != 0).astype(np.float64)) > 0
        rows, windows = np.nonzero(lossy)
        sums[rows, windows] = _sums_in_order(lambda places: clean[rows, places], low[windows], high[windows])
    if whole:
        return sums
    return _not_finite(values, sums, lambda flags: reduce(flags.astype(np.float64)).astype(np.int64))


def group_sums(values: Floats, starts: Indices) -> Floats:
    """Sum rows that lie together: group g is the rows from `starts[g]` up to the next start.

    Args:
        values: [rows, steps]; 0 where there is none.
        starts: [groups], rising, none empty.
    Returns: [groups, steps].
    """
    finite = np.isfinite(values)
    whole = bool(finite.all())
    clean = values if whole else np.where(finite, values, 0.0)

    def reduce(part: Floats) -> Floats:
        return np.add.reduceat(part, starts, axis=0)

    sums, rest = _exact_sums(clean, 0, reduce)
    if rest.any():
        groups, steps = np.nonzero(reduce((rest != 0).astype(np.float64)) > 0)
        ends = np.append(starts[1:], len(values))
        sums[groups, steps] = _sums_in_order(lambda places: clean[places, steps], starts[groups], ends[groups])
    if whole:
        return sums
    return _not_finite(values, sums, lambda flags: np.add.reduceat(flags.astype(np.int64), starts, axis=0))
