"""Messages of remote read, as protobuf writes them: a request read with bounds, series written as whole arrays.

Source: Prometheus, prompb/remote.proto and types.proto; protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.export import protobuf

MAX_QUERIES, MAX_MATCHERS = 16, 64  # of a request, and of one of its queries
SIGNS = ("=", "!=", "=~", "!~")
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_INT64 = 1 << 64


@attrs.frozen
class ReadQuery:
    """What one query of a request asks for: a span, both ends included, and the conditions on labels.

    Attributes: `matchers`: (name, sign, value); `func`, `range_ms`, `step_ms`, `by`: what will read the samples.
    """

    start_ms: int = 0
    end_ms: int = 0
    matchers: tuple[tuple[str, str, str], ...] = ()
    func: str = ""
    range_ms: int = 0
    step_ms: int = 0
    by: tuple[str, ...] = ()

    def note(self, text: str) -> None:
        """Let a source say something about its answer, for which remote read has no place."""


def read_request(data: bytes) -> list[ReadQuery]:
    """Read a ReadRequest. Raises: ValueError: it is none, or asks for too much at once."""
    queries = [_query(_body(value)) for number, value in _fields(data) if number == 1]
    if len(queries) > MAX_QUERIES:
        raise ValueError(f"{len(queries)} queries; at most {MAX_QUERIES} at once")
    return queries


def _query(data: bytes) -> ReadQuery:
    query = ReadQuery()
    matchers: list[tuple[str, str, str]] = []
    for number, value in _fields(data):
        if number == 1:
            query = attrs.evolve(query, start_ms=_signed(value))
        elif number == 2:
            query = attrs.evolve(query, end_ms=_signed(value))
        elif number == 3:
            matchers.append(_matcher(_body(value)))
            if len(matchers) > MAX_MATCHERS:
                raise ValueError(f"more than {MAX_MATCHERS} matchers of one query")
        elif number == 4:
            query = attrs.evolve(query, **_hints(_body(value)))
    return attrs.evolve(query, matchers=tuple(matchers))


def _matcher(data: bytes) -> tuple[str, str, str]:
    kind, name, text = 0, "", ""
    for number, value in _fields(data):
        if number == 1:
            kind = _signed(value)
        elif number == 2:
            name = _body(value).decode()
        elif number == 3:
            text = _body(value).decode()
    if not 0 <= kind < len(SIGNS):
        raise ValueError(f"a matcher of type {kind}")
    return name, SIGNS[kind], text


def _hints(data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    by: list[str] = []
    for number, value in _fields(data):
        if number == 1:
            found["step_ms"] = _signed(value)
        elif number == 2:
            found["func"] = _body(value).decode()
        elif number == 5:
            by.append(_body(value).decode())
        elif number == 7:
            found["range_ms"] = _signed(value)
    return {**found, "by": tuple(by)}


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give each field's number and value. Raises: ValueError: this is no message."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        size = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}.get(wire, -1)
        if wire == _BYTES:
            size, at = _varint(data, at)
        if size < 0 or at + size > len(data):
            raise ValueError("it ends too early, or is of no protocol")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for index, byte in enumerate(data[at : at + 10]):
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number % _INT64, at + index + 1
    raise ValueError("it ends too early, or is of no protocol")


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text where a number should be")  # noqa: TRY004 - of a message, as all else here
    return value - _INT64 if value >= _INT64 >> 1 else value


def _body(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a text should be")  # noqa: TRY004 - see above
    return value


def time_series(labels: Mapping[str, str], stamps_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    """Write field 1 of a QueryResult: a series with its samples, int64 [n] and float64 [n], stale markers included."""
    named = b"".join(
        protobuf.message(1, protobuf.message(1, name.encode()), protobuf.message(2, value.encode()))
        for name, value in sorted(labels.items())
    )
    return protobuf.message(1, named, _samples(stamps_ms, values))


def query_result(series: list[bytes]) -> bytes:
    """Write field 1 of a ReadResponse, of what `time_series` gives."""
    return protobuf.message(1, *series)


def _samples(stamps_ms: NDArray[np.int64], values: NDArray[np.float64]) -> bytes:
    """Write samples as records, those of one width of timestamps at a time."""
    unsigned = stamps_ms.astype(np.int64).view(np.uint64)
    limits = np.array([1 << 7 * width for width in range(1, 10)], np.uint64)
    widths = limits.searchsorted(unsigned, "right") + 1
    cuts = [0, *(np.flatnonzero(np.diff(widths)) + 1).tolist(), len(widths)]
    return b"".join(
        _records(unsigned[first:end], values[first:end], int(widths[first]))
        for first, end in pairwise(cuts)
        if end > first
    )


def _records(unsigned: NDArray[np.uint64], values: NDArray[np.float64], width: int) -> bytes:
    layout = [("tag", "u1"), ("size", "u1"), ("value_tag", "u1"), ("value", "<u8"), ("ms_tag", "u1")]
    rows = np.empty(len(values), np.dtype([*layout, ("ms", "u1", (width,))]))
    # Field 2 of a series, a message; its field 1, eight bytes; its field 2, a varint.
    rows["tag"], rows["size"], rows["value_tag"], rows["ms_tag"] = 0x12, 10 + width, 0x09, 0x10
    rows["value"] = np.ascontiguousarray(values, np.float64).view(np.uint64)
    groups = (unsigned[:, None] >> np.arange(width, dtype=np.uint64) * np.uint64(7)) & np.uint64(0x7F)
    rows["ms"] = groups
    rows["ms"][:, :-1] |= 0x80
    return rows.tobytes()
