"""Quantiles of summaries whose schema keeps a sketch: p50, p75, p90, p95, p99, p99.9."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rondo_core import Consolidator, hookimpl
from rondo_core.model import sketch

Statistics = Mapping[str, Any]

PERCENTS = ("50", "75", "90", "95", "99", "99.9")


def _reading(percent: str) -> Callable[[Statistics, Any, Any], Any]:
    share = float(percent) / 100.0

    def read(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
        import numpy as np

        # Exact bounds are known: no estimate lies outside of what was observed.
        return np.clip(sketch.quantile(statistics["sketch"], share), statistics["min"], statistics["max"])

    return read


def _error(statistics: Statistics) -> Any:
    return sketch.relative_error(sketch.scales(statistics["sketch"]).astype(float))


@hookimpl
def rondo_consolidator_define() -> list[Consolidator]:
    """Describe one for each of the usual percentages."""
    needs = ("sketch", "min", "max")
    return [
        Consolidator(
            f"p{each}",
            ("summary",),
            needs,
            _reading(each),
            f"{each} % of the observations do not exceed it",
            error=_error,
        )
        for each in PERCENTS
    ]
