"""Values as JSON: those of a query's result in the shape of Prometheus, whole arrays of points at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from rondo_promql import Histograms

_MAX_PLAIN = 1e15  # whole numbers below it have no exponent


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
            # A place for a value after each time: [[1700000000,"%b"],[1700000001,"%b"]]
            self._template = b'[[%b,"%%b"]]' % _texts(stamps_ms / 1000).replace(b",", b',"%b"],[')
        if not len(values):
            return b"[]"
        written = _texts(np.ascontiguousarray(values, np.float64)).split(b",")
        for index in np.flatnonzero(~np.isfinite(values)).tolist():
            written[index] = number_text(values[index]).encode()
        return self._template % tuple(written)


def _texts(values: NDArray[np.float64]) -> bytes:
    """Write numbers, a comma between two; what is no finite one is null."""
    whole = values == np.trunc(values)
    if whole.all() and np.abs(values).max(initial=0) < _MAX_PLAIN and not (np.signbit(values) & (values == 0)).any():
        return orjson.dumps(values.astype(np.int64), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    return text.replace(b".0,", b",").removesuffix(b".0") if whole.any() else text


def matrix_json(series: Iterable[tuple[Mapping[str, str], NDArray[np.int64], Any]]) -> bytes:
    """Write series of points: `[{"metric":{...},"values":[...]},...]`; of native histograms, `"histograms"`."""
    writer, parts = PointsWriter(), []
    for labels, stamps, values in series:
        name = orjson.dumps(dict(labels))
        if isinstance(values, Histograms):
            written = orjson.dumps(
                [[seconds(at), cells] for at, cells in zip(stamps.tolist(), histograms(values), strict=True)]
            )
            parts.append(b'{"metric":%b,"histograms":%b}' % (name, written))
        else:
            parts.append(b'{"metric":%b,"values":%b}' % (name, writer.write(stamps, values)))
    return b"[%b]" % b",".join(parts)


def vector_json(series: Sequence[tuple[Mapping[str, str], Any]], stamp_ms: int) -> bytes:
    """Write one value of each series: `[{"metric":{...},"value":[...]},...]`; of native ones, `"histogram"`."""
    told: list[dict[str, Any]] = []
    for labels, value in series:
        if isinstance(value, Histograms):
            told.append({"metric": dict(labels), "histogram": [seconds(stamp_ms), next(histograms(value))]})
        else:
            told.append({"metric": dict(labels), "value": point(stamp_ms, value)})
    return orjson.dumps(told)


def histograms(values: Histograms) -> Iterator[dict[str, Any]]:
    """Give each of some native histograms as JSON has it: its count, its sum, and its cells that are not empty.

    Source: Prometheus, "HTTP API", "Native histograms": 0: open on the left; 3: closed on both sides.
    """
    upper = values.upper_bounds()
    lower = upper / 2.0 ** (2.0**-values.schema)
    for row in range(len(values)):
        cells = []
        if values.zero_count[row]:
            edge = number_text(values.zero_threshold)
            cells.append([3, f"-{edge}", edge, number_text(float(values.zero_count[row]))])
        for cell in np.flatnonzero(values.cells[row]).tolist():
            bounds = number_text(float(lower[cell])), number_text(float(upper[cell]))
            cells.append([0, *bounds, number_text(float(values.cells[row, cell]))])
        yield {
            "count": number_text(float(values.count[row])),
            "sum": number_text(float(values.sum[row])),
            "buckets": cells,
        }
