"""Reads of sketches for a source: a few series at a time, as a sketch takes a hundred times what a sample does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model.prometheus import MAX_HISTOGRAM_SCHEMA
from rondo_core.model.statistics import SKETCH
from rondo_core.read.source_histograms import MAX_BUCKET_SCALE, Cells, at_edges, bounds_of, cells_of, edges, native
from rondo_core.read.source_names import LE, OF_TOTALS, Choice, Chosen
from rondo_core.read.source_values import Bounds, Sampled, StitchedRows, StoreRows, zeroes_ms

_SERIES_AT_ONCE = 16


def read_native(
    store: StoreRows, several: Sequence[Chosen], func: str, span_ms: Bounds, coarse: dict[int, int]
) -> list[tuple[Any, ...]]:
    """Read sketches as native histograms: each bucket's own, or for a rate running totals."""
    running, found = func in OF_TOTALS, []
    for each, rows, cells, sums, zero_ms in _read(store, several, span_ms, MAX_HISTOGRAM_SCHEMA, running=running):
        within = rows.between(*span_ms)
        there = ~np.isnan(sums) if running else cells.zeroes + cells.counts.sum(axis=1) > 0
        kept = np.flatnonzero(there[within]) + within.start
        stamps = rows.stamps_ms[kept]
        coarse |= rows.coarse_ns(span_ms)
        extra = store.lives.within(span_ms)
        if zero_ms >= 0:
            extra = np.union1d(extra, [zero_ms])
        if not len(stamps):
            continue
        places = stamps.searchsorted(extra)
        whole = np.insert(stamps, places, extra)
        ends = np.flatnonzero(np.isin(whole, store.lives.within(span_ms)))
        histograms = native(cells.rows(kept).with_empty(places), np.insert(sums[kept], places, 0.0), ends)
        found.append((each.labels.copy(), whole, histograms))
    return found


@attrs.frozen(eq=False)
class BucketTotals:
    """The running totals of a sketch's cells, which are to become classic buckets.

    Attributes:
        labels: of all of them, but for `le`.
        stamps_ms: int64 [rows]; cells: running totals of each row; there: bool [rows], whether it has a sample.
        zero_ms: when the totals were 0, -1: not in the span; stale_ms: when lives ended.
    """

    labels: dict[str, str]
    stamps_ms: NDArray[np.int64]
    cells: Cells
    there: NDArray[np.bool_]
    zero_ms: int
    stale_ms: NDArray[np.int64]


def read_buckets(
    store: StoreRows, several: Sequence[Chosen], span_ms: Bounds, coarse: dict[int, int]
) -> Iterator[BucketTotals]:
    """Read sketches as running totals, for `buckets_of` together with those of other stores."""
    for each, rows, cells, sums, zero_ms in _read(store, several, span_ms, MAX_BUCKET_SCALE, running=True):
        within = rows.between(*span_ms)
        coarse |= rows.coarse_ns(span_ms)
        there = ~np.isnan(sums[within])
        yield BucketTotals(
            each.labels, rows.stamps_ms[within], cells.rows(within), there, zero_ms, store.lives.within(span_ms)
        )


def buckets_of(several: Sequence[BucketTotals], choice: Choice) -> Iterator[tuple[Any, ...]]:
    """Give classic buckets that count on, all series with the same bounds, so that they can be added up."""
    scale, wanted = edges([each.cells for each in several])
    bounds = [*bounds_of(scale, wanted), "+Inf"]
    chosen = [place for place, bound in enumerate(bounds) if choice.takes_bound(bound)]
    for each in several:
        totals = each.cells.zeroes + each.cells.counts.sum(axis=1)
        values = np.hstack([at_edges(each.cells, scale, wanted), totals[:, None]])[:, chosen]
        values[~each.there] = np.nan
        sampled = Sampled(each.stamps_ms, values)
        sampled.add_zeroes(np.full(len(chosen), each.zero_ms))
        sampled.end_lives(each.stale_ms)
        for index, place in enumerate(chosen):
            if (samples := sampled.of(index)) is not None:
                yield {**each.labels, LE: bounds[place]}, *samples


def _read(
    store: StoreRows, several: Sequence[Chosen], span_ms: Bounds, highest_scale: int, *, running: bool
) -> Iterator[tuple[Chosen, StitchedRows, Cells, Any, int]]:
    """Read each series' rows, cells, sums, and when its total was 0, -1: not in the span.

    Running totals are of all that is kept, so that they do not depend on where the span begins.
    """
    for first in range(0, len(several), _SERIES_AT_ONCE):
        some = several[first : first + _SERIES_AT_ONCE]
        series = [each.series for each in some]
        span = (0, span_ms[1]) if running else span_ms
        rows = store.read(series[0].schema, series, (SKETCH, "sum", "count"), span)
        sums = rows.statistics["sum"]
        there = ~np.isnan(rows.statistics["count"])
        zeroes = zeroes_ms(series, rows, there, span_ms) if running else np.full(len(series), -1)
        # A row beside the span has no part in how fine the cells are.
        within = rows.between(*span)
        rows, sums, there = rows.rows(within), sums[within], there[within]
        for index, each in enumerate(some):
            own, cells = sums[:, index], cells_of(rows.statistics[SKETCH][:, index], highest_scale)
            if running:
                cells = cells.running()
                own = np.where(there[:, index], np.nancumsum(own), np.nan)
            yield each, rows, cells, own, int(zeroes[index])
