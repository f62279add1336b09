"""Values as JSON: those of a query's result in the shape of Prometheus, whole arrays of points at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray


def number_text(value: float) -> str:
    """Write a number as Prometheus's clients read it."""
    if math.isfinite(value):
        return repr(float(value)).removesuffix(".0")
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def seconds(stamp_ms: int) -> float | int:
    """Give an instant in seconds, a whole number as one."""
    return stamp_ms // 1000 if stamp_ms % 1000 == 0 else stamp_ms / 1000


def point(stamp_ms: int, value: float) -> list[Any]:
    """Give a point as JSON has it: its time in seconds, its value as a text."""
    return [seconds(stamp_ms), number_text(value)]


class PointsWriter:
    """Writes the points of series, of which those with the same times share what is written of these."""

    def __init__(self) -> None:
        """Know no times."""
        self._stamps_ms = np.empty(0, np.int64)
        self._template = b"[]"

    def write(self, stamps_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
        """Write the points of a series: `[[1700000000,"0.5"],...]`.

        Args: `stamps_ms`: int64 [n]; `values`: float64 [n], in which NaN and infinities are values like others.
        """
        if not np.array_equal(stamps_ms, self._stamps_ms):
            self._stamps_ms = stamps_ms
            self._template = b"[%b]" % b",".join(b'[%b,"%%b"]' % each for each in _numbers(stamps_ms / 1000))
        if not len(values):
            return b"[]"
        written = _numbers(np.ascontiguousarray(values, np.float64))
        for index in np.flatnonzero(~np.isfinite(values)).tolist():
            written[index] = number_text(values[index]).encode()
        return self._template % tuple(written)


def _numbers(values: NDArray[np.float64]) -> list[bytes]:
    """Write each number; what is no finite one is null."""
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    return text[1:-1].replace(b".0,", b",").removesuffix(b".0").split(b",")


def matrix_json(series: Iterable[tuple[Mapping[str, str], NDArray[np.int64], NDArray[np.float64]]]) -> bytes:
    """Write series of points: `[{"metric":{...},"values":[...]},...]`."""
    writer = PointsWriter()
    parts = [
        b'{"metric":%b,"values":%b}' % (orjson.dumps(dict(labels)), writer.write(stamps, values))
        for labels, stamps, values in series
    ]
    return b"[%b]" % b",".join(parts)


def vector_json(series: Sequence[tuple[Mapping[str, str], float]], stamp_ms: int) -> bytes:
    """Write one value of each series: `[{"metric":{...},"value":[...]},...]`."""
    return orjson.dumps([{"metric": dict(labels), "value": point(stamp_ms, value)} for labels, value in series])
