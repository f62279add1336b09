"""Batch -> bytes of a remote-write 1.0 WriteRequest; pure, no I/O.

The wire is written by hand: all samples of a part that have timestamps of equal width are records of equal size, which
numpy lays out at once. remote_write.proto says what the bytes mean, and the tests read them back with protobuf.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core import Batch, Part, Series
from rondo_core.errors import LabelError
from rondo_core.labels import canonical_labels, check_metric_name

logger = logging.getLogger("rondo.export.prometheus")

Labels = tuple[tuple[str, str], ...]
Values = NDArray[np.float64]
Owner = tuple[str, Labels, str]

# Source: remote-write 1.0, "Stale Markers": a NaN with these bits, which no arithmetic gives.
STALE_BITS = 0x7FF0000000000002
NS_PER_MS = 1_000_000
SUFFIXES = {"counter": ("",), "gauge": ("",), "summary": ("_count", "_sum", "_min", "_max")}

# Tags of protobuf: field number << 3 | wire type (0 varint, 1 eight bytes, 2 length and bytes).
_REQUEST_SERIES, _SERIES_LABEL, _LABEL_NAME = b"\x0a", b"\x0a", b"\x0a"
_LABEL_VALUE = b"\x12"
_SERIES_SAMPLE, _SAMPLE_VALUE, _SAMPLE_TIMESTAMP = 0x12, 0x09, 0x10
_VARINT_MAX_BYTES = 10


class Encoder:
    """Encodes batches for one receiver; it remembers the bytes of label sets, and who has which label set."""

    def __init__(self, external_labels: Labels = ()) -> None:
        """Add `external_labels` to every series, but for those labels that it has itself."""
        self._external = dict(external_labels)
        self._labels: dict[Owner, bytes] = {}
        self._owners: dict[bytes, Owner] = {}

    def encode(self, batch: Batch) -> bytes:
        """Give the WriteRequest of a batch; no bytes where it holds nothing to send.

        Series come in the order of parts, statistics and columns; samples in time order; the same batch gives the
        same bytes. Where two series of the store become one label set (`x_count` beside a summary `x`, or by
        external labels), the first to come keeps it; the other is left out, and a warning says so.
        """
        chunks: dict[bytes, list[bytes]] = {}
        for part in batch.parts:
            stamps_ms = part.timestamps_ns // NS_PER_MS
            for suffix, values in _columns(part):
                labels = [self._labels_of(series, suffix) for series in part.series]
                for rows in _equal_widths(stamps_ms):
                    for mine, samples in zip(labels, _samples(stamps_ms[rows], values[rows]), strict=True):
                        if mine and samples:
                            chunks.setdefault(mine, []).append(samples)
        if batch.ended:
            marker = _stale_marker(batch.ended_ns // NS_PER_MS + 1)
            for series in batch.ended:
                for suffix in SUFFIXES[series.kind]:
                    if mine := self._labels_of(series, suffix):
                        chunks.setdefault(mine, []).append(marker)
        return b"".join(_requests(chunks))

    def _labels_of(self, series: Series, suffix: str) -> bytes:
        """Give the wire bytes of a series' labels; none if another series has them already, or none may be sent."""
        owner = (series.name, series.labels, suffix)
        known = self._labels.get(owner)
        if known is not None:
            return known
        what, written = series.name + suffix, b""
        try:
            own = dict(canonical_labels((name, value) for name, value in series.labels if value))
            labels = self._external | own | {"__name__": check_metric_name(what)}
            written = b"".join(_label(name, labels[name]) for name in sorted(labels))
        except LabelError as error:
            # Such a series cannot be declared; only one made by hand comes here.
            logger.warning("%s: left out as %s; %s", series, what, error)
        if written and self._owners.setdefault(written, owner) != owner:
            logger.warning("%s: left out as %s; another series is sent under that name and these labels", series, what)
            written = b""
        self._labels[owner] = written
        return written


def _columns(part: Part) -> Iterator[tuple[str, Values]]:
    """Give the name's suffix and the values [rows, series] of all that is sent of a part; NaN: not sent."""
    statistics = part.statistics
    if part.kind != "summary":
        yield "", statistics["last"]
        return
    count = statistics["count"]
    with np.errstate(invalid="ignore"):
        yield "_count", statistics["count_base"] + count
        yield "_sum", np.where(np.isnan(count), np.nan, statistics["sum_base"] + statistics["sum"])
        yield "_min", np.where(count > 0, statistics["min"], np.nan)
        yield "_max", np.where(count > 0, statistics["max"], np.nan)


def _equal_widths(stamps_ms: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows where the timestamp's varint changes its width: nowhere, but for a few instants of history."""
    if not len(stamps_ms):
        return
    cuts = [0, len(stamps_ms)]
    # Timestamps increase, so what lies between two of one width is as wide.
    if _varint_bytes(int(stamps_ms[0])) != _varint_bytes(int(stamps_ms[-1])):
        widths = np.array([_varint_bytes(int(each)) for each in stamps_ms])
        cuts[1:1] = (np.flatnonzero(np.diff(widths)) + 1).tolist()
    for first, end in pairwise(cuts):
        yield slice(first, end)


def _samples(stamps_ms: NDArray[np.int64], values: Values) -> list[bytes]:
    """Write each series' samples, `Sample` messages of one width, those that are NaN left out.

    Args: stamps_ms: int64 [rows], all of one varint width; values: float64 [rows, series].
    """
    records = np.tile(_template(stamps_ms), (values.shape[1], 1))
    by_series = np.ascontiguousarray(values.T, np.float64)
    records["value"] = by_series.view(np.uint64)
    sent = ~np.isnan(by_series)
    data = records[sent].tobytes()
    ends = (np.cumsum(np.count_nonzero(sent, axis=1)) * records.itemsize).tolist()
    return [data[first:end] for first, end in pairwise([0, *ends])]


def _template(stamps_ms: NDArray[np.int64]) -> NDArray[Any]:
    """Lay out one record for each timestamp, its value still open."""
    width = _varint_bytes(int(stamps_ms[0]))
    fields = [("tag", "u1"), ("size", "u1"), ("value_tag", "u1"), ("value", "<u8"), ("ms_tag", "u1")]
    record = np.dtype([*fields, ("ms", "u1", (width,))])
    rows = np.zeros(len(stamps_ms), record)
    rows["tag"], rows["size"] = _SERIES_SAMPLE, 10 + width
    rows["value_tag"], rows["ms_tag"] = _SAMPLE_VALUE, _SAMPLE_TIMESTAMP
    unsigned = stamps_ms.astype(np.int64).view(np.uint64)
    shifts = np.arange(width, dtype=np.uint64) * np.uint64(7)
    groups = ((unsigned[:, None] >> shifts) & np.uint64(0x7F)).astype(np.uint8)
    groups[:, :-1] |= 0x80
    rows["ms"] = groups
    return rows


def _stale_marker(stamp_ms: int) -> bytes:
    rows = _template(np.array([stamp_ms], np.int64))
    rows["value"] = STALE_BITS
    return rows.tobytes()


def _requests(chunks: dict[bytes, list[bytes]]) -> Iterator[bytes]:
    for labels, samples in chunks.items():
        size = len(labels) + sum(map(len, samples))
        yield _REQUEST_SERIES + _varint(size)
        yield labels
        yield from samples


def _label(name: str, value: str) -> bytes:
    body = _LABEL_NAME + _text(name) + _LABEL_VALUE + _text(value)
    return _SERIES_LABEL + _varint(len(body)) + body


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _varint(len(encoded)) + encoded


def _varint(number: int) -> bytes:
    """Write a number of at least 0, seven bits a byte, lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _varint_bytes(number: int) -> int:
    """Count the bytes of an int64 as a varint; a negative one takes all ten."""
    return _VARINT_MAX_BYTES if number < 0 else max(1, -(-number.bit_length() // 7))
