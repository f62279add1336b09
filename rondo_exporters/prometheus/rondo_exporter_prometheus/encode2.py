"""Batch -> bytes of a remote-write 2.0 io.prometheus.write.v2.Request; pure, no I/O.

Source: the specification 2.0-rc.4: strings are in one table, of which the first is empty; a series has samples or
histograms, never both; each carries its metadata; a running total says when it was 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core import Batch, Part, Series
from rondo_core.export.protobuf import field, varint
from rondo_core.model import Labels
from rondo_core.model.prometheus import HISTOGRAM, NS_PER_MS, Column, stale_ms
from rondo_exporter_prometheus.columns import Beginnings, LabelSets, columns, ended_columns, sketch_of
from rondo_exporter_prometheus.histogram import histograms, stale_histogram
from rondo_exporter_prometheus.shape import Block, Shape, with_zeroes
from rondo_exporter_prometheus.wire import samples as samples_of
from rondo_exporter_prometheus.wire import stale_sample

_REQUEST_SYMBOL, _REQUEST_SERIES = b"\x22", b"\x2a"
_SERIES_LABELS, _SERIES_METADATA = b"\x0a", b"\x2a"
_METADATA_TYPE, _METADATA_HELP, _METADATA_UNIT = b"\x08", b"\x18", b"\x20"


@attrs.frozen
class WriteRequest:
    """A message, and how much is in it: what the receiver should say that it has written."""

    body: bytes = b""
    n_samples: int = 0
    n_histograms: int = 0


class Encoder2:
    """Encodes batches for one receiver."""

    def __init__(self, label_sets: LabelSets, *, zeroes: bool = True) -> None:
        """Send series under these label sets; `zeroes`: with a sample of 0 before the first one of each total."""
        self._label_sets, self._beginnings = label_sets, Beginnings(zeroes=zeroes)
        self._shape = Shape(_REQUEST_SERIES)

    def encode(self, batch: Batch, *, samples: bool = True, histograms: bool = True) -> WriteRequest:
        """Give the Request of a batch, or of its samples or histograms alone; no bytes where there is nothing to send.

        Series come in the order of parts, columns and series, symbols in that of their first use; the same batch gives
        the same bytes.
        """
        blocks, sent = self._blocks(batch.parts if samples else ())
        sketched = [part for part in batch.parts if histograms and sketch_of(part) is not None]
        plain = samples and not batch.ended and not sketched
        if plain and (body := self._shape.body(blocks)):
            return WriteRequest(body, int(sum(counts.sum() for counts in sent)))
        growing = _Request(self._label_sets)
        for block, counts in zip(blocks, sent, strict=True):
            for series, data, count in zip(block.series, block.data, counts.tolist(), strict=True):
                if data:
                    growing.add(series, block.column, data, count)
        for part in sketched:
            growing.add_histograms(part)
        growing.add_ends(batch, samples=samples, histograms=histograms)
        if plain:
            self._shape.keep(blocks, *growing.beginnings())
        return growing.whole()

    def _blocks(self, parts: Sequence[Part]) -> tuple[list[Block], list[NDArray[np.int64]]]:
        """Write the samples of parts; give how many of each series, int64 [series], are sent."""
        blocks, sent = list[Block](), list[NDArray[np.int64]]()
        for part in parts:
            if not part.n_rows:
                continue
            stamps_ms, starts = part.timestamps_ns // NS_PER_MS, self._beginnings.starts_ms(part)
            zeroes_ms = self._beginnings.zeroes_ms(part)
            for column, values in columns(part):
                data = samples_of(stamps_ms, values, starts if column.cumulative else None)
                counts = np.count_nonzero(~np.isnan(values), axis=0)
                if column.cumulative and zeroes_ms is not None:
                    data, counts = with_zeroes(data, zeroes_ms), counts + ((zeroes_ms >= 0) & (counts > 0))
                blocks.append(Block(part.series, column, data))
                sent.append(counts)
        return blocks, sent


class _Request:
    """A request that grows: its series, and its table of symbols."""

    def __init__(self, label_sets: LabelSets) -> None:
        self._label_sets = label_sets
        self._series: dict[tuple[Labels, bool], list[bytes]] = {}
        self._symbols: dict[str, int] = {"": 0}
        self._counts = [0, 0]

    def add_histograms(self, part: Part) -> None:
        sketches = sketch_of(part)
        if sketches is None:
            return
        written = histograms(part.timestamps_ns // NS_PER_MS, sketches, part.statistics["sum"])
        for series, (data, count) in zip(part.series, written, strict=True):
            if data:
                self.add(series, HISTOGRAM, data, count)

    def add_ends(self, batch: Batch, *, samples: bool, histograms: bool) -> None:
        stamp_ms = stale_ms(batch.ended_ns)
        for series in batch.ended:
            for column in ended_columns(series, batch.sketched) if samples else ():
                self.add(series, column, stale_sample(stamp_ms), 1)
            if histograms and series.kind == "summary" and series.schema in batch.sketched:
                self.add(series, HISTOGRAM, stale_histogram(stamp_ms), 1)

    def add(self, series: Series, column: Column, data: bytes, count: int) -> None:
        labels = self._label_sets.of(series, column)
        if not labels:
            return
        key = (labels, column == HISTOGRAM)
        if key not in self._series:
            self._series[key] = [self._head(labels, series, column)]
        self._series[key].append(data)
        self._counts[column == HISTOGRAM] += count

    def _head(self, labels: Labels, series: Series, column: Column) -> bytes:
        """Write what a series begins with; its strings go into the table."""
        refs = b"".join(varint(self._symbol(text)) for pair in labels for text in pair)
        about = _METADATA_TYPE + varint(column.type)
        if series.help:
            about += _METADATA_HELP + varint(self._symbol(series.help))
        if series.unit:
            about += _METADATA_UNIT + varint(self._symbol(series.unit))
        return field(_SERIES_LABELS, refs) + field(_SERIES_METADATA, about)

    def _symbol(self, text: str) -> int:
        return self._symbols.setdefault(text, len(self._symbols))

    def beginnings(self) -> tuple[bytes, list[bytes]]:
        """Give the table of symbols, and what each series begins with."""
        return b"".join(map(_symbol_field, self._symbols)), [found[0] for found in self._series.values()]

    def whole(self) -> WriteRequest:
        if not self._series:
            return WriteRequest()
        pieces = [_symbol_field(text) for text in self._symbols]
        for found in self._series.values():
            pieces += (_REQUEST_SERIES, varint(sum(map(len, found))), *found)
        return WriteRequest(b"".join(pieces), *self._counts)


@lru_cache(maxsize=1 << 12)  # names come again; what tells lives apart does not
def _symbol_field(text: str) -> bytes:
    return field(_REQUEST_SYMBOL, text.encode())
