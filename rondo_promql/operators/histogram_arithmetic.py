"""Arithmetic of native histograms: they add, subtract, and are multiplied or divided by floats; no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms, added, equal

Floats = NDArray[np.float64]


def incompatible(operator: str, left: str, right: str) -> str:
    """Give the info for operands that an operator has no meaning for."""
    what = f'"{operator}": {left} {operator} {right}'
    return f"PromQL info: incompatible sample types encountered for binary operator {what}"


def with_scalar(operator: str, histogram: Histograms, scalar: Floats, *, scalar_is_left: bool) -> Histograms | None:
    """Multiply or divide a histogram by floats; None where that means nothing."""
    if operator == "*":
        return histogram.scaled(scalar)
    if operator == "/" and not scalar_is_left:
        return histogram.divided(scalar)
    return None


def with_histogram(
    operator: str, left: Histograms, right: Histograms
) -> tuple[Histograms | None, NDArray[np.bool_] | None]:
    """Combine two histograms: the sum or difference, or whether they are equal; None for what is not."""
    if operator in {"+", "-"}:
        return added(left, right, 1.0 if operator == "+" else -1.0), None
    if operator in {"==", "!="}:
        same = equal(left, right)
        return None, same if operator == "==" else ~same
    return None, None
