"""Sketches -> native histograms of remote-write 2.0; pure, no I/O.

A sketch of rondo is OpenTelemetry's exponential histogram: cell i counts (base^i, base^(i+1)]. A native histogram's
bucket i counts (base^(i-1), base^i]: the index is one more. Its schema is the scale, which goes up to 8: where a sketch
is finer, neighbours are added up, and nothing is lost.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core.export.protobuf import field, varint
from rondo_core.model import sketch
from rondo_core.model.prometheus import MAX_HISTOGRAM_SCHEMA, SKETCHES_AT_ONCE, STALE_BITS
from rondo_exporter_prometheus.wire import Values, constant, rows_of_bytes, varints, zigzag

_SERIES_HISTOGRAM = b"\x1a"
_COUNT, _SUM, _SCHEMA, _ZERO_COUNT, _TIMESTAMP = b"\x08", b"\x19", b"\x20", b"\x30", b"\x78"
_SPAN, _OFFSET, _LENGTH, _DELTAS = 0x5A, b"\x08", b"\x10", b"\x62"
# Each bucket of the store has a histogram of its own, which no other counts on from: reset hint GAUGE.
_GAUGE = b"\x70\x03"


def histograms(stamps_ms: NDArray[np.int64], sketches: NDArray[np.int64], sums: Values) -> list[tuple[bytes, int]]:
    """Write each series' sketches as repeated field 3 of a series, those without an observation left out.

    Args: `stamps_ms`: int64 [rows]; `sketches`: int64 [rows, series, words]; `sums`: float64 [rows, series].
    Returns: for each series the bytes, and how many histograms they hold.
    """
    n_rows, n_series = sums.shape
    found: list[tuple[bytes, int]] = []
    at_once = max(1, SKETCHES_AT_ONCE // max(1, n_rows))
    for first in range(0, n_series, at_once):
        several = slice(first, first + at_once)
        flat = np.swapaxes(sketches[:, several], 0, 1).reshape(-1, sketches.shape[2])
        n_several = len(flat) // max(1, n_rows)
        written = _messages(np.tile(stamps_ms, n_several), flat, sums[:, several].T.reshape(-1))
        for column in range(n_several):
            mine = [each for each in written[column * n_rows : (column + 1) * n_rows] if each]
            found.append((b"".join(mine), len(mine)))
    return found


def stale_histogram(stamp_ms: int) -> bytes:
    """Write the marker of a series of histograms that has ended: one whose sum has the marker's bits."""
    body = _COUNT + b"\0" + _SUM + STALE_BITS.to_bytes(8, "little") + _ZERO_COUNT + b"\0" + _GAUGE
    return field(_SERIES_HISTOGRAM, body + _TIMESTAMP + varint(stamp_ms))


def _messages(stamps_ms: NDArray[np.int64], sketches: NDArray[np.int64], sums: Values) -> list[bytes]:
    """Write one message for each sketch; none where it is empty."""
    n = len(sketches)
    scales = sketch.scales(sketches)
    coarser = np.maximum(scales - MAX_HISTOGRAM_SCHEMA, 0)
    which, place = np.nonzero(sketch.counts_of(sketches))
    counts = sketch.counts_of(sketches)[which, place].astype(np.int64)
    index = (sketch.first_indexes(sketches)[which] + place >> coarser[which]) + 1
    which, index, counts = _added_up(which, index, counts)
    zeroes = sketch.zeroes(sketches)
    totals = zeroes + np.bincount(which, counts, n).astype(np.int64)
    heads, head_ends = rows_of_bytes(
        constant(_COUNT, n),
        varints(totals),
        constant(_SUM, n),
        (np.ascontiguousarray(sums, "<f8").view(np.uint8).reshape(n, 8), np.ones((n, 8), np.bool_)),
        constant(_SCHEMA, n),
        varints(zigzag(scales - coarser)),
        constant(_ZERO_COUNT, n),
        varints(zeroes),
        constant(_GAUGE + _TIMESTAMP, n),
        varints(stamps_ms.view(np.uint64)),
    )
    spans, span_ends = _spans(which, index, n)
    deltas, delta_ends = _deltas(which, counts, n)
    written = []
    ends = zip(pairwise([0, *head_ends.tolist()]), pairwise(span_ends), pairwise(delta_ends), totals > 0, strict=True)
    for head, span, delta, there in ends:
        body = heads[slice(*head)] + spans[slice(*span)]
        if delta[1] > delta[0]:
            body += field(_DELTAS, deltas[slice(*delta)])
        written.append(field(_SERIES_HISTOGRAM, body) if there else b"")
    return written


def _added_up(which: NDArray[Any], index: NDArray[Any], counts: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Make one bucket of neighbours that have come to the same index."""
    if not len(which):
        return which, index, counts
    first = np.flatnonzero(np.append(True, (np.diff(which) != 0) | (np.diff(index) != 0)))
    return which[first], index[first], np.add.reduceat(counts, first)


def _spans(which: NDArray[Any], index: NDArray[Any], n: int) -> tuple[bytes, list[int]]:
    """Write the runs of neighbouring buckets of all histograms; give where each histogram's end, 0 before them."""
    new = np.append(True, np.diff(which) != 0)[: len(which)]
    starts = np.flatnonzero(new | np.append(True, np.diff(index) != 1)[: len(index)])
    lengths = np.diff(np.append(starts, len(which)))
    offsets = index[starts] - np.where(new[starts], 0, index[starts - 1] + 1 if len(starts) else 0)
    if not len(starts):
        return b"", [0] * (n + 1)
    offset, length = varints(zigzag(offsets)), varints(lengths)
    sizes = 2 + offset[1].sum(axis=1) + length[1].sum(axis=1)
    head = np.empty((len(starts), 2), np.uint8)
    head[:, 0], head[:, 1] = _SPAN, sizes
    blocks = ((head, np.ones_like(head, np.bool_)), constant(_OFFSET, len(starts)), offset)
    written, ends = rows_of_bytes(*blocks, constant(_LENGTH, len(starts)), length)
    return written, _ends(which[starts], ends, n)


def _deltas(which: NDArray[Any], counts: NDArray[Any], n: int) -> tuple[bytes, list[int]]:
    """Write each bucket's count as the difference to the one before; give where each histogram's end, 0 before them."""
    if not len(which):
        return b"", [0] * (n + 1)
    before = np.append(0, counts[:-1])
    before[np.append(True, np.diff(which) != 0)] = 0
    written, ends = rows_of_bytes(varints(zigzag(counts - before)))
    return written, _ends(which, ends, n)


def _ends(which: NDArray[Any], ends: NDArray[Any], n: int) -> list[int]:
    """Give where the bytes of each histogram end, 0 before them, from where each of its pieces ends."""
    last = np.searchsorted(which, np.arange(n), side="right")
    result: list[int] = [0, *np.append(0, ends)[last].tolist()]
    return result
