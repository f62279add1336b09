"""Batch -> bytes of a remote-write 2.0 io.prometheus.write.v2.Request; pure, no I/O.

Source: the specification 2.0-rc.4: strings are in one table, of which the first is empty; a series has samples or
histograms, never both; each carries its metadata; a running total says when it was 0.
"""

from __future__ import annotations

from functools import lru_cache

import attrs
import numpy as np

from rondo_core import Batch, Part, Series
from rondo_exporter_prometheus.columns import (
    HISTOGRAM,
    NS_PER_MS,
    Column,
    Labels,
    LabelSets,
    columns,
    ended_columns,
    sketch_of,
    start_ms,
)
from rondo_exporter_prometheus.histogram import histograms, stale_histogram
from rondo_exporter_prometheus.wire import field, samples, stale_sample, varint

_REQUEST_SYMBOL, _REQUEST_SERIES = b"\x22", b"\x2a"
_SERIES_LABELS, _SERIES_METADATA = b"\x0a", b"\x2a"
_METADATA_TYPE, _METADATA_HELP, _METADATA_UNIT = b"\x08", b"\x18", b"\x20"


@attrs.frozen
class Request:
    """A message, and how much is in it: what the receiver should say that it has written."""

    body: bytes = b""
    n_samples: int = 0
    n_histograms: int = 0


class Encoder2:
    """Encodes batches for one receiver."""

    def __init__(self, label_sets: LabelSets) -> None:
        """Send series under these label sets."""
        self._label_sets = label_sets
        self._heads: list[_Head] = []

    def encode(self, batch: Batch, *, samples: bool = True, histograms: bool = True) -> Request:
        """Give the Request of a batch, or of its samples or histograms alone; no bytes where there is nothing to send.

        Series come in the order of parts, columns and series, symbols in that of their first use; the same batch gives
        the same bytes.
        """
        growing = _Request(self._label_sets, self._heads if samples else [])
        for part in batch.parts:
            if samples:
                growing.add_samples(part)
            if histograms:
                growing.add_histograms(part)
        stamp_ms = batch.ended_ns // NS_PER_MS + 1
        for series in batch.ended:
            if samples:
                for column in ended_columns(series, batch.sketched):
                    growing.add(series, column, stale_sample(stamp_ms), 1)
            if histograms and series.kind == "summary" and series.schema in batch.sketched:
                growing.add(series, HISTOGRAM, stale_histogram(stamp_ms), 1)
        if samples:
            self._heads = growing.heads
        return growing.whole()


@attrs.frozen
class _Head:
    """What a series begins with in a request, and the symbols that it brought into the table."""

    what: tuple[Labels, bool, str, str]
    written: bytes
    symbols: tuple[str, ...]


class _Request:
    """A request that grows: its series, and its table of symbols.

    Requests follow each other with the same series in the same order: as long as they do, heads are those of the
    request before.
    """

    def __init__(self, label_sets: LabelSets, before: list[_Head]) -> None:
        self._label_sets, self._before = label_sets, before
        self.heads: list[_Head] = []
        self._series: dict[tuple[Labels, bool], list[bytes]] = {}
        self._symbols: dict[str, int] = {"": 0}
        self._counts = [0, 0]

    def add_samples(self, part: Part) -> None:
        stamps_ms = part.timestamps_ns // NS_PER_MS
        starts = np.array([start_ms(each, part.interval_ns) for each in part.series], np.int64)
        for column, values in columns(part):
            counts = np.count_nonzero(~np.isnan(values), axis=0).tolist()
            written = samples(stamps_ms, values, starts if column.cumulative else None)
            for series, data, count in zip(part.series, written, counts, strict=True):
                if data:
                    self.add(series, column, data, count)

    def add_histograms(self, part: Part) -> None:
        sketches = sketch_of(part)
        if sketches is None:
            return
        written = histograms(part.timestamps_ns // NS_PER_MS, sketches, part.statistics["sum"])
        for series, (data, count) in zip(part.series, written, strict=True):
            if data:
                self.add(series, HISTOGRAM, data, count)

    def add(self, series: Series, column: Column, data: bytes, count: int) -> None:
        labels = self._label_sets.of(series, column)
        if not labels:
            return
        key = (labels, column == HISTOGRAM)
        if key not in self._series:
            self._series[key] = [self._head(key, series, column).written]
        self._series[key].append(data)
        self._counts[column == HISTOGRAM] += count

    def _head(self, key: tuple[Labels, bool], series: Series, column: Column) -> _Head:
        place, what = len(self.heads), (*key, series.help, series.unit)
        if place < len(self._before) and self._before[place].what == what:
            head = self._before[place]
        else:
            if self._before:  # up to here it was as before, and so is the table
                self._symbols = self._table()
                self._before = []
            known = len(self._symbols)
            refs = b"".join(varint(self._symbol(text)) for pair in key[0] for text in pair)
            about = _METADATA_TYPE + varint(column.type)
            if series.help:
                about += _METADATA_HELP + varint(self._symbol(series.help))
            if series.unit:
                about += _METADATA_UNIT + varint(self._symbol(series.unit))
            written = field(_SERIES_LABELS, refs) + field(_SERIES_METADATA, about)
            head = _Head(what, written, tuple(self._symbols)[known:])
        self.heads.append(head)
        return head

    def _table(self) -> dict[str, int]:
        """Give the table of symbols that the series up to here have brought."""
        texts = ["", *(text for head in self.heads for text in head.symbols)]
        return dict(zip(texts, range(len(texts)), strict=True))

    def _symbol(self, text: str) -> int:
        return self._symbols.setdefault(text, len(self._symbols))

    def whole(self) -> Request:
        if not self._series:
            return Request()
        pieces = [_symbol_field(text) for text in self._table()]
        for found in self._series.values():
            pieces += (_REQUEST_SERIES, varint(sum(map(len, found))), *found)
        return Request(b"".join(pieces), *self._counts)


@lru_cache(maxsize=1 << 14)
def _symbol_field(text: str) -> bytes:
    return field(_REQUEST_SYMBOL, text.encode())
