"""Functions of single values: arithmetic, trigonometry, rounding, dates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _sign(values: Floats) -> Floats:
    return np.where(values < 0, -1.0, np.where(values > 0, 1.0, values))


def _round(values: Floats, nearest: Floats | None = None) -> Floats:
    """Round to the nearest multiple, halves upwards, as Prometheus does: by its inverse."""
    inverse = 1.0 / (np.float64(1.0) if nearest is None else nearest)
    return np.floor(values * inverse + 0.5) / inverse


def _clamp_min(values: Floats, lowest: Floats) -> Floats:
    """Give the greater of both: NaN if either is, but infinity if the other one is that."""
    endless = np.isposinf(values) | np.isposinf(lowest)
    below_zero = np.signbit(values) & np.signbit(lowest)  # of two zeros the positive one is the greater
    greater = np.where(
        values == lowest, np.copysign(values, np.where(below_zero, -1.0, 1.0)), np.maximum(values, lowest)
    )
    return np.where(endless, np.inf, greater)


def _clamp_max(values: Floats, highest: Floats) -> Floats:
    """Give the lesser of both: NaN if either is, but minus infinity if the other one is that."""
    endless = np.isneginf(values) | np.isneginf(highest)
    below_zero = np.signbit(values) | np.signbit(highest)  # of two zeros the negative one is the lesser
    lesser = np.where(
        values == highest, np.copysign(values, np.where(below_zero, -1.0, 1.0)), np.minimum(values, highest)
    )
    return np.where(endless, -np.inf, lesser)


def _clamp(values: Floats, lowest: Floats, highest: Floats) -> Floats:
    return _clamp_min(_clamp_max(values, highest), lowest)


def _hyperbolic(function: np.ufunc, values: Floats) -> Floats:
    """Give np.cosh or np.sinh; beyond 21 half of e to the value, as Prometheus does, infinite a little earlier."""
    half = np.exp(np.abs(values)) * 0.5
    return np.where(np.abs(values) > 21, half if function is np.cosh else np.copysign(half, values), function(values))


def _date(read: Callable[[Any], Floats]) -> Callable[[Floats], Floats]:
    """Make a function of seconds since the epoch of one of the date that they are in UTC.

    What no int64 can count, NaN too, is the date that Prometheus has for it on x86-64: the last second that there is.
    """

    def function(values: Floats) -> Floats:
        known = np.abs(values) < 2.0**63
        seconds = np.where(known, np.trunc(np.where(known, values, 0.0)).astype(np.int64), np.iinfo(np.int64).max)
        return read(seconds.astype("datetime64[s]"))

    return function


def _since(dates: Any, unit: str, inner: str) -> Floats:
    """Give how many of the inner unit have passed since the unit's last begin."""
    passed = dates.astype(f"datetime64[{inner}]") - dates.astype(f"datetime64[{unit}]").astype(f"datetime64[{inner}]")
    return np.asarray(passed.astype(np.float64))


def _days_in_month(dates: Any) -> Floats:
    months = dates.astype("datetime64[M]")
    days = (months + np.timedelta64(1, "M")).astype("datetime64[D]") - months.astype("datetime64[D]")
    return np.asarray(days.astype(np.float64))


def _day_of_week(dates: Any) -> Floats:
    """Give 0 for Sunday; the epoch was a Thursday."""
    return np.asarray((dates.astype("datetime64[D]").astype(np.int64) + 4).astype(np.float64) % 7)


DATE_FUNCTIONS: dict[str, Callable[[Floats], Floats]] = {
    "day_of_month": _date(lambda dates: _since(dates, "M", "D") + 1),
    "day_of_week": _date(_day_of_week),
    "day_of_year": _date(lambda dates: _since(dates, "Y", "D") + 1),
    "days_in_month": _date(_days_in_month),
    "hour": _date(lambda dates: _since(dates, "D", "h")),
    "minute": _date(lambda dates: _since(dates, "h", "m")),
    "month": _date(lambda dates: _since(dates, "Y", "M") + 1),
    "year": _date(lambda dates: dates.astype("datetime64[Y]").astype(np.float64) + 1970),
}
_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "clamp": _clamp,
    "clamp_max": _clamp_max,
    "clamp_min": _clamp_min,
    "cos": np.cos,
    "cosh": lambda values: _hyperbolic(np.cosh, values),
    "deg": lambda values: values * 180 / np.pi,
    "exp": np.exp,
    "floor": np.floor,
    "ln": np.log,
    "log10": np.log10,
    "log2": np.log2,
    "rad": lambda values: values * np.pi / 180,
    "round": _round,
    "sgn": _sign,
    "sin": np.sin,
    "sinh": lambda values: _hyperbolic(np.sinh, values),
    "sqrt": np.sqrt,
    "tan": np.tan,
    "tanh": np.tanh,
}
# Name: the function of the values, [series, steps], and of its scalar arguments, [steps].
VALUE_FUNCTIONS: dict[str, Callable[..., Floats]] = _ARITHMETIC | DATE_FUNCTIONS
