"""Batch -> bytes of a remote-write 1.0 WriteRequest; pure, no I/O.

tests/remote_write.proto says what the bytes mean, and the tests read them back with protobuf.
"""

from __future__ import annotations

from rondo_core import Batch
from rondo_core.export.protobuf import field, varint
from rondo_core.model import Labels
from rondo_core.model.prometheus import NS_PER_MS, stale_ms
from rondo_exporter_prometheus.columns import Beginnings, LabelSets, columns, ended_columns
from rondo_exporter_prometheus.shape import Block, Shape, with_zeroes
from rondo_exporter_prometheus.wire import samples, stale_sample

_REQUEST_SERIES, _SERIES_LABEL, _LABEL_NAME, _LABEL_VALUE = b"\x0a", b"\x0a", b"\x0a", b"\x12"


class Encoder:
    """Encodes batches for one receiver."""

    def __init__(self, label_sets: LabelSets, *, zeroes: bool = True) -> None:
        """Send series under these label sets; `zeroes`: with a sample of 0 before the first one of each total."""
        self._label_sets, self._beginnings = label_sets, Beginnings(zeroes=zeroes)
        self._shape = Shape(_REQUEST_SERIES)

    def encode(self, batch: Batch) -> bytes:
        """Give the WriteRequest of a batch; no bytes where it holds nothing to send.

        Series come in the order of parts, columns and series; samples in time order; the same batch gives the same
        bytes.
        """
        blocks = list[Block]()
        for part in batch.parts:
            stamps_ms, zeroes_ms = part.timestamps_ns // NS_PER_MS, self._beginnings.zeroes_ms(part)
            for column, values in columns(part):
                data = samples(stamps_ms, values)
                blocks.append(Block(part.series, column, with_zeroes(data, zeroes_ms if column.cumulative else None)))
        if not batch.ended and (body := self._shape.body(blocks)):
            return body
        chunks = self._chunks(blocks, batch)
        known = self._label_sets.written
        heads = [known.get(labels) or known.setdefault(labels, _labels(labels)) for labels in chunks]
        if not batch.ended:
            self._shape.keep(blocks, b"", heads)
        pieces: list[bytes] = []
        for written, found in zip(heads, chunks.values(), strict=True):
            pieces += (_REQUEST_SERIES, varint(len(written) + sum(map(len, found))), written, *found)
        return b"".join(pieces)

    def _chunks(self, blocks: list[Block], batch: Batch) -> dict[Labels, list[bytes]]:
        """Give the samples of each label set, and the markers of those that have ended."""
        chunks: dict[Labels, list[bytes]] = {}
        for block in blocks:
            for series, data in zip(block.series, block.data, strict=True):
                if data and (labels := self._label_sets.of(series, block.column)):
                    chunks.setdefault(labels, []).append(data)
        marker = stale_sample(stale_ms(batch.ended_ns))
        for series in batch.ended:
            for column in ended_columns(series, batch.sketched):
                if labels := self._label_sets.of(series, column):
                    chunks.setdefault(labels, []).append(marker)
        return chunks


def _labels(labels: Labels) -> bytes:
    return b"".join(
        field(_SERIES_LABEL, field(_LABEL_NAME, name.encode()) + field(_LABEL_VALUE, value.encode()))
        for name, value in labels
    )
