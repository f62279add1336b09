"""Batch -> bytes of a remote-write 1.0 WriteRequest; pure, no I/O.

remote_write.proto says what the bytes mean, and the tests read them back with protobuf.
"""

from __future__ import annotations

from rondo_core import Batch
from rondo_exporter_prometheus.columns import NS_PER_MS, Labels, LabelSets, columns, ended_columns
from rondo_exporter_prometheus.wire import field, samples, stale_sample, varint

_REQUEST_SERIES, _SERIES_LABEL, _LABEL_NAME, _LABEL_VALUE = b"\x0a", b"\x0a", b"\x0a", b"\x12"


class Encoder:
    """Encodes batches for one receiver; it remembers the bytes of label sets."""

    def __init__(self, label_sets: LabelSets) -> None:
        """Send series under these label sets."""
        self._label_sets = label_sets
        self._written: dict[Labels, bytes] = {}

    def encode(self, batch: Batch) -> bytes:
        """Give the WriteRequest of a batch; no bytes where it holds nothing to send.

        Series come in the order of parts, columns and series; samples in time order; the same batch gives the same
        bytes.
        """
        chunks: dict[Labels, list[bytes]] = {}
        for part in batch.parts:
            stamps_ms = part.timestamps_ns // NS_PER_MS
            for column, values in columns(part):
                for series, data in zip(part.series, samples(stamps_ms, values), strict=True):
                    if data and (labels := self._label_sets.of(series, column)):
                        chunks.setdefault(labels, []).append(data)
        if batch.ended:
            marker = stale_sample(batch.ended_ns // NS_PER_MS + 1)
            for series in batch.ended:
                for column in ended_columns(series, batch.sketched):
                    if labels := self._label_sets.of(series, column):
                        chunks.setdefault(labels, []).append(marker)
        pieces: list[bytes] = []
        for labels, found in chunks.items():
            written = self._written.get(labels) or self._written.setdefault(labels, _labels(labels))
            pieces += (_REQUEST_SERIES, varint(len(written) + sum(map(len, found))), written, *found)
        return b"".join(pieces)


def _labels(labels: Labels) -> bytes:
    return b"".join(
        field(_SERIES_LABEL, field(_LABEL_NAME, name.encode()) + field(_LABEL_VALUE, value.encode()))
        for name, value in labels
    )
