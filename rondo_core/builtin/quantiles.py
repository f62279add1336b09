"""Quantiles of summaries whose schema keeps a sketch: p50, p75, p90, p95, p99, p99.9, and any other percentage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rondo_core import Consolidator, hookimpl
from rondo_core.model import sketch

Statistics = Mapping[str, Any]

PERCENTS = ("50", "75", "90", "95", "99", "99.9")
_NAME = re.compile(r"p(\d{1,3}(?:\.\d{1,9})?)")


def _reading(percent: str) -> Callable[[Statistics, Any, Any], Any]:
    share = float(percent) / 100.0

    def read(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
        import numpy as np

        # Exact bounds are known: no estimate lies outside of what was observed.
        return np.clip(sketch.quantile(statistics["sketch"], share), statistics["min"], statistics["max"])

    return read


def _error(statistics: Statistics) -> Any:
    return sketch.relative_error(sketch.scales(statistics["sketch"]).astype(float))


def _quantile(percent: str) -> Consolidator:
    return Consolidator(
        f"p{percent}",
        ("summary",),
        ("sketch", "min", "max"),
        _reading(percent),
        f"{percent} % of the observations do not exceed it",
        error=_error,
        family=_named,
    )


def _named(name: str) -> Consolidator | None:
    """Make the quantile of a name such as p42 or p99.99; None where it is no such name."""
    found = _NAME.fullmatch(name)
    return _quantile(found[1]) if found is not None and float(found[1]) <= 100 else None


@hookimpl
def rondo_consolidator_define() -> list[Consolidator]:
    """Describe one for each of the usual percentages; by these any other is found."""
    return [_quantile(each) for each in PERCENTS]
