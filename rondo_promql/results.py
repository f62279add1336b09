"""Results: what a query answered, as the API has it and as plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.arrays.samples import SampleBlock
from rondo_promql.arrays.vector import Labels, Vector

Times = NDArray[np.int64]
Values = NDArray[np.float64] | Histograms


@dataclass(slots=True)
class Result:
    """What a query answered.

    Args:
        kind: "scalar", "string", "vector" or "matrix".
        value: the scalar or the string; None for others.
        series: labels as a dict with `__name__` among them, timestamps int64 ms [n], values float64 [n] or
            Histograms; a vector's have one timestamp each.
        warnings, infos: what Prometheus says beside a result, in its words, each once.
    """

    kind: str
    value: float | str | None = None
    series: list[tuple[dict[str, str], Times, Values]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    infos: list[str] = field(default_factory=list)

    def plain(self) -> Any:
        """Give a float, a string, [(labels, value)] of a vector, or [(labels, timestamps_ms, values)] of a matrix."""
        if self.kind in {"scalar", "string"}:
            return self.value
        if self.kind == "matrix":
            return self.series
        return [
            (labels, values if isinstance(values, Histograms) else float(values[0]))
            for labels, _, values in self.series
        ]


def vector_result(vector: Vector, at_ms: int) -> Result:
    """Make the result of an instant query: the series that have a value, in the order asked for, or in the source's."""
    at = np.array([at_ms], dtype=np.int64)
    series: list[tuple[dict[str, str], Times, Values]] = []
    for row, labels in enumerate(vector.labels):
        if vector.present[row, 0]:
            series.append((dict(labels), at, vector.histograms.get(row, vector.values[row])))
    return Result("vector", series=series)


def matrix_result(vector: Vector, times: Times) -> Result:
    """Make the result of a range query: series sorted by labels, each with the steps at which it has a value."""
    order = sorted(range(len(vector.labels)), key=vector.labels.__getitem__)
    whole = [True] * len(order) if vector.is_whole() else np.asarray(vector.present.all(axis=1)).tolist()
    series: list[tuple[dict[str, str], Times, Values]] = []
    for row in order:
        values: Values = vector.histograms.get(row, vector.values[row])
        stamps = times
        if not whole[row]:
            held = vector.present[row]
            if not held.any():
                continue
            stamps = times[held]
            values = values.rows(held) if isinstance(values, Histograms) else values[held]
        series.append((dict(vector.labels[row]), stamps, values))
    return Result("matrix", series=series)


def samples_result(blocks: list[SampleBlock], start_ms: int, end_ms: int) -> Result:
    """Make the result of a range in an instant query: its samples after start, up to the end."""
    found: list[tuple[Labels, Times, Values]] = []
    for block in blocks:
        low, high = np.searchsorted(block.timestamps, [start_ms, end_ms], side="right").tolist()
        if low == high:
            continue
        for row, labels in enumerate(block.labels):
            values: Values = block.values[row, low:high]
            if block.histograms is not None:
                values = block.histograms.rows(np.arange(low, high))
            found.append((labels, block.timestamps[low:high], values))
    found.sort(key=lambda each: each[0])
    return Result("matrix", series=[(dict(labels), stamps, values) for labels, stamps, values in found])
