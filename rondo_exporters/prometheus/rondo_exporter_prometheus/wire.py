"""Bytes of protobuf messages: varints and samples, many at once; pure, no I/O.

Both versions of remote-write lay out a sample in the same way: all samples of a part whose timestamps have equal width
are records of equal size, which numpy fills at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core.model.prometheus import STALE_BITS

Values = NDArray[np.float64]
Ragged = tuple[NDArray[np.uint8], NDArray[np.bool_]]

# Tags of protobuf: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes).
_SERIES_SAMPLE, _SAMPLE_VALUE, _SAMPLE_TIMESTAMP, _SAMPLE_START = 0x12, 0x09, 0x10, 0x18
VARINT_MAX_BYTES = 10


def varint_bytes(number: int) -> int:
    """Count the bytes of an int64 as a varint; a negative one takes all ten."""
    return VARINT_MAX_BYTES if number < 0 else max(1, -(-number.bit_length() // 7))


def varints(numbers: NDArray[Any]) -> Ragged:
    """Write numbers of at least 0 as varints.

    Returns: uint8 [n, width] and which of those bytes count; `[bytes, mask]` of several can be set side by side.
    """
    unsigned = numbers.astype(np.uint64)
    width = varint_bytes(int(unsigned.max())) if len(unsigned) else 1
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    rest = unsigned[:, None] >> shifts
    used = rest > 0
    used[:, 0] = True
    written = (rest & np.uint64(0x7F)).astype(np.uint8)
    written[:, :-1][used[:, 1:]] |= 0x80
    return written, used


def zigzag(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Map signed numbers to unsigned ones as protobuf's sint does: 0, -1, 1, -2 ... become 0, 1, 2, 3."""
    return ((numbers << 1) ^ (numbers >> 63)).view(np.uint64)


def constant(content: bytes, n: int) -> Ragged:
    """Give the same bytes n times, as a block beside varints."""
    return np.tile(np.frombuffer(content, np.uint8), (n, 1)), np.ones((n, len(content)), np.bool_)


def rows_of_bytes(*blocks: Ragged) -> tuple[bytes, NDArray[np.int64]]:
    """Set blocks side by side and give all rows' bytes, and where each row ends."""
    used = np.hstack([mask for _, mask in blocks])
    return np.hstack([content for content, _ in blocks])[used].tobytes(), np.cumsum(np.count_nonzero(used, axis=1))


def samples(stamps_ms: NDArray[np.int64], values: Values, starts_ms: NDArray[np.int64] | None = None) -> list[bytes]:
    """Write each series' samples as repeated field 2 of a series, those that are NaN left out.

    Args: `stamps_ms`: int64 [rows], increasing; `values`: float64 [rows, series]; `starts_ms`: int64 [series], 2.0's
    start timestamps, 0: not set; a series whose start is not before its first row has it left out.
    Returns: for each series the bytes; none where nothing of it is sent.
    """
    written = [b""] * values.shape[1]
    for rows in _equal_widths(stamps_ms):
        mine = stamps_ms[rows]
        starts = np.zeros(values.shape[1], np.int64) if starts_ms is None else starts_ms * (starts_ms < stamps_ms[0])
        least, most = (_start_bytes(int(each)) for each in (starts.min(initial=1 << 62), starts.max(initial=0)))
        if least == most or not len(starts):
            found = _records(mine, values[rows], starts, most)
            written = [before + data for before, data in zip(written, found, strict=True)]
            continue
        widths = np.array([_start_bytes(each) for each in starts.tolist()])
        for width in np.unique(widths).tolist():
            columns = np.flatnonzero(widths == width)
            found = _records(mine, values[rows][:, columns], starts[columns], width)
            for column, data in zip(columns.tolist(), found, strict=True):
                written[column] += data
    return written


def _start_bytes(start_ms: int) -> int:
    """Count the bytes of a start; none where it is not set."""
    return varint_bytes(start_ms) if start_ms else 0


def stale_sample(stamp_ms: int) -> bytes:
    """Write the marker of a series that has ended."""
    return _one_sample(stamp_ms, STALE_BITS)


def zero_sample(stamp_ms: int) -> bytes:
    """Write a sample of 0: what a total was before its first one."""
    return _one_sample(stamp_ms, 0)


def _one_sample(stamp_ms: int, bits: int) -> bytes:
    rows = _template(np.array([stamp_ms], np.int64), 0)
    rows["value"] = bits
    return rows.tobytes()


def _equal_widths(stamps_ms: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows where the timestamp's varint changes its width: nowhere, but for a few instants of history."""
    if not len(stamps_ms):
        return
    cuts = [0, len(stamps_ms)]
    # Timestamps increase, so what lies between two of one width is as wide.
    if varint_bytes(int(stamps_ms[0])) != varint_bytes(int(stamps_ms[-1])):
        widths = np.array([varint_bytes(int(each)) for each in stamps_ms])
        cuts[1:1] = (np.flatnonzero(np.diff(widths)) + 1).tolist()
    for first, end in pairwise(cuts):
        yield slice(first, end)


def _records(
    stamps_ms: NDArray[np.int64], values: Values, starts_ms: NDArray[np.int64], start_width: int
) -> list[bytes]:
    """Fill one record for each cell, timestamps and starts all of one width each."""
    template = _template(stamps_ms, start_width)
    records = np.empty((values.shape[1], len(stamps_ms)), template.dtype)
    records[...] = template
    by_series = values.T
    records["value"] = by_series.view(np.uint64)
    if start_width:
        records["start"] = _varints_of_width(starts_ms, start_width)[:, None, :]
    sent = ~np.isnan(by_series)
    if sent.all():
        data, size = records.tobytes(), len(stamps_ms) * records.itemsize
        return [data[first : first + size] for first in range(0, len(data), size)]
    data = records[sent].tobytes()
    ends = (np.cumsum(np.count_nonzero(sent, axis=1)) * records.itemsize).tolist()
    return [data[first:end] for first, end in pairwise([0, *ends])]


def _template(stamps_ms: NDArray[np.int64], start_width: int) -> NDArray[Any]:
    """Lay out one record for each timestamp, its value and its start still open."""
    width = varint_bytes(int(stamps_ms[0]))
    fields: list[Any] = [("tag", "u1"), ("size", "u1"), ("value_tag", "u1"), ("value", "<u8"), ("ms_tag", "u1")]
    fields.append(("ms", "u1", (width,)))
    if start_width:
        fields += [("start_tag", "u1"), ("start", "u1", (start_width,))]
    rows = np.zeros(len(stamps_ms), np.dtype(fields))
    rows["tag"], rows["size"] = _SERIES_SAMPLE, 10 + width + (1 + start_width if start_width else 0)
    rows["value_tag"], rows["ms_tag"] = _SAMPLE_VALUE, _SAMPLE_TIMESTAMP
    rows["ms"] = _varints_of_width(stamps_ms, width)
    if start_width:
        rows["start_tag"] = _SAMPLE_START
    return rows


def _varints_of_width(numbers: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    unsigned = numbers.astype(np.int64).view(np.uint64)
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    groups = ((unsigned[:, None] >> shifts) & np.uint64(0x7F)).astype(np.uint8)
    groups[:, :-1] |= 0x80
    return groups
