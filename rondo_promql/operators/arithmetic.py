"""Arithmetic and comparisons of floats, and of a vector with a scalar."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.vector import Vector, merge_same_labels, without_name
from rondo_promql.operators import histogram_arithmetic

Floats = NDArray[np.float64]

ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "%": np.fmod,
    "*": np.multiply,
    "+": np.add,
    "-": np.subtract,
    "/": np.divide,
    "^": np.power,
    "atan2": np.arctan2,
}
COMPARISON: dict[str, Callable[[Floats, Floats], NDArray[np.bool_]]] = {
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    ">": np.greater,
    ">=": np.greater_equal,
}


def combine_scalars(operator: str, left: Floats, right: Floats) -> Floats:
    """Give what two scalars make at each step; a comparison gives 0 or 1."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right)
    return COMPARISON[operator](left, right).astype(np.float64)


def combine_with_scalar(
    operator: str,
    vector: Vector,
    scalar: Floats,
    inform: Callable[[str], None],
    *,
    scalar_is_left: bool,
    returns_bool: bool,
) -> Vector:
    """Combine a vector's values with each step's scalar; a comparison keeps the vector's, on whichever side it is."""
    left, right = (scalar, vector.values) if scalar_is_left else (vector.values, scalar)
    present, values = vector.present, vector.values
    if operator in ARITHMETIC:
        values = ARITHMETIC[operator](left, right)
    elif returns_bool:
        values = COMPARISON[operator](left, right).astype(np.float64)
    else:
        present = present & COMPARISON[operator](left, right)
    histograms = {}
    for row, histogram in vector.histograms.items():
        scaled = histogram_arithmetic.with_scalar(operator, histogram, scalar, scalar_is_left=scalar_is_left)
        if scaled is None:
            present = present.copy()
            present[row] = False
            sides = ("float", "histogram") if scalar_is_left else ("histogram", "float")
            inform(histogram_arithmetic.incompatible(operator, *sides))
        else:
            histograms[row] = scaled
    keeps_name = operator in COMPARISON and not returns_bool
    labels = vector.labels if keeps_name else [without_name(each) for each in vector.labels]
    return merge_same_labels(Vector(labels, values, present, histograms))
