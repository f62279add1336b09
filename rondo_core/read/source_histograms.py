"""Sketches as histograms: native ones, and the classic `_bucket` series.

A sketch's cell i counts (base^i, base^(i+1)], a native histogram's bucket i counts (base^(i-1), base^i]: the index is
one more. Its schema is the scale, which goes up to 8: where a sketch is finer, neighbours are added up, and nothing is
lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model import sketch
from rondo_core.model.prometheus import STALE_BITS

# Classic buckets are a series each: at this scale eight of them double the bound, and a quantile is within 4.4 %.
MAX_BUCKET_SCALE = 3


@attrs.frozen(eq=False)
class SketchHistograms:
    """Native histograms of one series, all of one schema.

    Attributes:
        schema: the scale; bucket i counts the values in (base^(i-1), base^i], base = 2^(2^-schema).
        zero_count: float64 [n]; count, sum: float64 [n], a sum with Prometheus's stale bits ends the series.
        first_index: of the first column of `cells`, float64 [n, k].
    """

    schema: int
    zero_count: NDArray[np.float64]
    first_index: int
    cells: NDArray[np.float64]
    sum: NDArray[np.float64]
    count: NDArray[np.float64]

    def __len__(self) -> int:
        """Count the histograms."""
        return len(self.count)


@attrs.frozen(eq=False)
class Cells:
    """The cells of one series' sketches, row by row, at one scale.

    Attributes: `zeroes`, float64 [rows]; `first`, the index of the first column of `counts`, float64 [rows, cells].
    """

    scale: int
    zeroes: NDArray[np.float64]
    first: int
    counts: NDArray[np.float64]

    def running(self) -> Cells:
        """Add each row to all those before it."""
        return Cells(self.scale, self.zeroes.cumsum(), self.first, self.counts.cumsum(axis=0))

    def at_scale(self, scale: int) -> Cells:
        """Add up neighbours until the scale is as low."""
        coarser = self.scale - scale
        if coarser <= 0 or not self.counts.shape[1]:
            return Cells(min(scale, self.scale), self.zeroes, self.first >> max(coarser, 0), self.counts)
        index = np.arange(self.first, self.first + self.counts.shape[1]) >> coarser
        starts = np.flatnonzero(np.append(True, np.diff(index)))
        return Cells(scale, self.zeroes, int(index[0]), np.add.reduceat(self.counts, starts, axis=1))

    def rows(self, keep: Any) -> Cells:
        """Give some of the rows."""
        return Cells(self.scale, self.zeroes[keep], self.first, self.counts[keep])

    def with_empty(self, places: NDArray[np.intp]) -> Cells:
        """Put empty rows before the rows in these places."""
        counts = np.insert(self.counts, places, 0.0, axis=0)
        return Cells(self.scale, np.insert(self.zeroes, places, 0.0), self.first, counts)


def cells_of(sketches: NDArray[Any], highest_scale: int) -> Cells:
    """Read one series' sketches, int64 [rows, words], at the highest scale that all of them have, or a lower one."""
    counts = sketch.counts_of(sketches)
    row, place = np.nonzero(counts)
    zeroes = sketch.zeroes(sketches).astype(np.float64)
    if not len(row):
        return Cells(highest_scale, zeroes, 0, np.zeros((len(sketches), 0)))
    scales = sketch.scales(sketches)[row]
    scale = min(int(scales.min()), highest_scale)
    index = (sketch.first_indexes(sketches)[row] + place) >> (scales - scale)
    first, width = int(index.min()), int(index.max() - index.min()) + 1
    flat = np.bincount(row * width + index - first, counts[row, place], len(sketches) * width)
    return Cells(scale, zeroes, first, flat.astype(np.float64).reshape(len(sketches), width))


def native(cells: Cells, sums: NDArray[np.float64], stale: NDArray[np.intp]) -> SketchHistograms:
    """Give cells as native histograms with these sums; `stale`: the rows that end the series."""
    sums = sums.astype(np.float64)
    sums.view(np.uint64)[stale] = STALE_BITS
    counts = cells.zeroes + cells.counts.sum(axis=1)
    return SketchHistograms(cells.scale, cells.zeroes, cells.first + 1, cells.counts, sums, counts)


def joined(several: Sequence[SketchHistograms], order: NDArray[np.intp]) -> SketchHistograms:
    """Put the rows of several one after the other, in an order, at the lowest scale among them."""
    schema = min(each.schema for each in several)
    cells = [Cells(each.schema, each.zero_count, each.first_index - 1, each.cells).at_scale(schema) for each in several]
    filled = [each for each in cells if each.counts.shape[1]]
    first = min((each.first for each in filled), default=0)
    width = max((each.first + each.counts.shape[1] for each in filled), default=first) - first
    counts = np.zeros((sum(len(each.zeroes) for each in cells), width))
    row = 0
    for each in cells:
        at = each.first - first if each.counts.shape[1] else 0
        counts[row : row + len(each.zeroes), at : at + each.counts.shape[1]] = each.counts
        row += len(each.zeroes)
    zeroes, sums, totals = (
        np.concatenate([getattr(each, name) for each in several])[order] for name in ("zero_count", "sum", "count")
    )
    return SketchHistograms(schema, zeroes, first + 1, counts[order], sums, totals)


def edges(several: Sequence[Cells]) -> tuple[int, NDArray[np.int64]]:
    """Choose the bounds that the classic buckets of several series share, so that they can be added up.

    Returns: the scale, at most MAX_BUCKET_SCALE, and the cells, int64, ascending, whose upper bounds they are: those
    with observations and those just below, so that no quantile is spread over cells that are empty.
    """
    scale = min([MAX_BUCKET_SCALE, *(each.scale for each in several)])
    used = [np.empty(0, np.int64)]
    for each in several:
        lower = each.at_scale(scale)
        index = lower.first + np.flatnonzero(lower.counts.any(axis=0))
        used += [index - 1, index]
    return scale, np.unique(np.concatenate(used))


def bounds_of(scale: int, cells: NDArray[np.int64]) -> list[str]:
    """Write the upper bounds of cells as values of the label `le`."""
    return [repr(each) for each in np.exp2((cells + 1) * 2.0**-scale).tolist()]


def at_edges(cells: Cells, scale: int, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Count the values up to each bound, float64 [rows, bounds]: see `edges`."""
    lower = cells.at_scale(scale)
    summed = np.hstack([cells.zeroes[:, None], lower.counts]).cumsum(axis=1)
    return summed[:, np.clip(wanted - lower.first + 1, 0, lower.counts.shape[1])]
