"""An exponential histogram of fixed size, from which quantiles are read and which merges exactly.

The definition is that of OpenTelemetry's exponential histogram for values >= 0: at scale s cell i counts the values in
(base^i, base^(i+1)] with base = 2^(2^-s). 108 cells follow each other from the index `first` on, and one more counts
zeroes. Where a value lies outside, the scale is lowered: two neighbours become one, nothing is lost. The error of a
quantile is at most (base - 1) / (base + 1) of it: 2.2 % at scale 4, which holds two decades, 4.4 % at scale 3, four.

As a statistic a sketch is int64 [..., cells + 3]: scale and first index, biased, the cells, and the count of zeroes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Cells = memoryview[float]  # of a row

# How many cells a sketch has, by the layout of its schema; 1 is that of stores made before 2 was there.
CELLS_OF = {1: 160, 2: 108}
LAYOUT = 2
CELLS = CELLS_OF[LAYOUT]
ZERO = CELLS  # the place of the count of zeroes, after the cells
WIDTH = CELLS + 1
MAX_SCALE = 20  # what OpenTelemetry's SDKs begin with
# A merged sketch as a statistic: scale and first index, biased so that they are never negative, then the cells and the
# zeroes. A scale of 0 here (no true scale is so low) means: empty.
HEAD_WORDS = 2
EXTRA_WORDS = HEAD_WORDS + 1
WORDS = HEAD_WORDS + WIDTH
_SCALE_BIAS = 128
_FIRST_BIAS = 1 << 31


def index_of(value: float, scale: int) -> int:
    """Give the index of the cell that counts a value > 0."""
    return math.ceil(math.log2(value) * 2.0**scale) - 1


def pack_head(scale: int, first: int, bank: int) -> int:
    """Write where a row's sketch stands as one int64, never 0."""
    return (first + _FIRST_BIAS) << 16 | (scale + _SCALE_BIAS) << 1 | bank


def unpack_head(head: int) -> tuple[int, int, int]:
    """Read scale, first index and bank."""
    return (head >> 1 & 0x7FFF) - _SCALE_BIAS, (head >> 16) - _FIRST_BIAS, head & 1


def relative_error(scale: Any) -> Any:
    """Give the most by which a quantile at this scale can be off, as a share of it; also of an array."""
    base = 2.0 ** (2.0**-scale)
    return (base - 1.0) / (base + 1.0)


class SketchCells:
    """Where the sketches of a summary's row lie, and how an observation is added to one.

    A row has two banks of cells for each series; the head, one int64, says which of them counts, so that storing it
    publishes a lowered scale whole.

    Attributes: `n_cells`, of each sketch; the count of zeroes lies behind them.
    """

    def __init__(self, heads: int, banks: tuple[int, int], n_cells: int = CELLS) -> None:
        """Take the places of the first head (in int64 words) and of both banks (in uint32 words) in a row."""
        self._heads, self._banks, self.n_cells = heads, banks, n_cells
        self._last: dict[int, Cells] = {}

    def add(self, row: Cells, column: int, value: float) -> tuple[float, int, int]:
        """Count a value >= 0 in a row, at a lower scale where it does not fit.

        Returns: 2^scale; the first index plus one; the place of the first cell in uint32 words: what a handle needs
        to count the next value by itself.
        """
        raw = row.cast("B")
        heads, counts = raw.cast("q"), raw.cast("I")
        at = self._heads + column
        if not heads[at]:
            heads[at] = pack_head(*self._start(column, value), 0)
        self._last[column] = row
        scale, first, bank = unpack_head(heads[at])
        position = self.n_cells
        if value:
            position = index_of(value, scale) - first
            if not 0 <= position < self.n_cells:
                scale, first, bank = self._refit(counts, column, (scale, first, bank), index_of(value, scale))
                heads[at] = pack_head(scale, first, bank)
                position = index_of(value, scale) - first
        base = self._banks[bank] + column * (self.n_cells + 1)
        counts[base + position] += 1
        return 2.0**scale, first + 1, base

    def add_late(self, row: Cells, column: int, value: float) -> None:
        """Count a value in a row before the current one, which stays the one that the next row begins from."""
        last = self._last.get(column)
        self.add(row, column, value)
        if last is not None:
            self._last[column] = last

    def _start(self, column: int, value: float) -> tuple[int, int]:
        """Choose scale and first index of a new row: as fine as what the row before saw fits into the cells."""
        before = self._last.get(column)
        head = 0 if before is None else before.cast("B").cast("q")[self._heads + column]
        if before is not None and head:
            raw = before.cast("B")
            scale, first, bank = unpack_head(head)
            base = self._banks[bank] + column * (self.n_cells + 1)
            cells = bytes(raw[base * 4 : (base + self.n_cells) * 4])
            used = cells.rstrip(b"\0")
            if used:
                low = (len(cells) - len(cells.lstrip(b"\0"))) // 4
                span, finer = (len(used) - 1) // 4 - low + 1, 0
                while span << finer + 1 <= self.n_cells and scale + finer < MAX_SCALE:
                    finer += 1
                return scale + finer, ((first + low) << finer) - (self.n_cells - (span << finer)) // 2
        return MAX_SCALE, (index_of(value, MAX_SCALE) if value else 0) - self.n_cells // 2

    def _refit(self, counts: Any, column: int, stands: tuple[int, int, int], index: int) -> tuple[int, int, int]:
        """Fill the other bank so that the cells hold `index` too; give its scale, first index and bank."""
        (scale, first, bank), n_cells = stands, self.n_cells
        base, other = (self._banks[each] + column * (n_cells + 1) for each in (bank, 1 - bank))
        held = [(first + place, count) for place, count in enumerate(counts[base : base + n_cells].tolist()) if count]
        coarser, first = scale_to_fit(
            min([index, *(at for at, _ in held)]), max([index, *(at for at, _ in held)]), n_cells
        )
        for place in range(other, other + n_cells + 1):
            counts[place] = 0
        for at, count in held:
            counts[other + (at >> coarser) - first] += count
        counts[other + n_cells] = counts[base + n_cells]
        return scale - coarser, first, 1 - bank


def scale_to_fit(low: int, high: int, n_cells: int) -> tuple[int, int]:
    """Give by how much the scale is lowered so that indexes from `low` to `high` fit, and the first cell's index."""
    coarser = 0
    while (high >> coarser) - (low >> coarser) >= n_cells:
        coarser += 1
    low, high = low >> coarser, high >> coarser
    return coarser, low - (n_cells - (high - low + 1)) // 2


def of_cells(heads: NDArray[Any], banks: tuple[NDArray[Any], NDArray[Any]]) -> NDArray[Any]:
    """Read the finest tier's sketches as the statistic.

    Args: `heads`: int64 [rows, series]; `banks`: uint32 [rows, series, cells + 1] each.
    Returns: int64 [rows, series, cells + 3]: scale and first index, biased, and the cells; all 0 where there is none.
    """
    import numpy as np

    whole = np.zeros((*heads.shape, HEAD_WORDS + banks[0].shape[-1]), np.int64)
    there = heads != 0
    whole[..., 0] = np.where(there, heads >> 1 & 0x7FFF, 0)
    whole[..., 1] = np.where(there, heads >> 16, 0)
    whole[..., HEAD_WORDS:] = np.where((heads & 1)[..., None] == 1, banks[1], banks[0])
    return whole


def to_cells(sketches: NDArray[Any]) -> tuple[NDArray[Any], tuple[NDArray[Any], NDArray[Any]]]:
    """Write the statistic as the finest tier's sketches: heads and banks, the first of which counts; see `of_cells`."""
    import numpy as np

    counts = sketches[..., HEAD_WORDS:].astype(np.uint32)
    return heads_of(sketches), (counts, np.zeros_like(counts))


def heads_of(sketches: NDArray[Any]) -> NDArray[Any]:
    """Give the head of each, as `pack_head` makes it, of bank 0; 0 where a sketch is empty."""
    import numpy as np

    return np.where(sketches[..., 0] > 0, sketches[..., 1] << 16 | sketches[..., 0] << 1, 0)


def merge(sketches: NDArray[Any], windows: NDArray[Any], n_windows: int, n_cells: int | None = None) -> NDArray[Any]:
    """Merge sketches over windows, at the finest scale that holds all of a window's.

    Args: `sketches`: [rows, series, cells + 3]; `windows`: int64 [rows], which of the `n_windows` each row belongs to;
        `n_cells`: of the merged ones, by default as many as these have.
    Returns: int64 [windows, series, n_cells + 3].
    """
    import numpy as np

    n_series, n_cells = sketches.shape[1], n_cells or sketches.shape[2] - EXTRA_WORDS
    merged = np.zeros((n_windows, n_series, n_cells + EXTRA_WORDS), np.int64)
    row, column, cell = np.nonzero(counts_of(sketches))
    counts = sketches[row, column, HEAD_WORDS + cell].astype(np.int64)
    scales = sketches[row, column, 0].astype(np.int64) - _SCALE_BIAS
    indexes = sketches[row, column, 1].astype(np.int64) - _FIRST_BIAS + cell
    group = windows[row] * n_series + column
    scale = np.full(n_windows * n_series, _SCALE_BIAS)
    np.minimum.at(scale, group, scales)
    low, high = np.full(len(scale), 1 << 40), np.full(len(scale), -(1 << 40))
    shifted = indexes >> (scales - scale[group])
    np.minimum.at(low, group, shifted)
    np.maximum.at(high, group, shifted)
    coarser = np.zeros(len(scale), np.int64)
    while (wide := (high >> coarser) - (low >> coarser) >= n_cells).any():
        coarser += wide
    low, high = low >> coarser, high >> coarser
    first = low - (n_cells - (high - low + 1)) // 2
    flat = merged.reshape(-1, n_cells + EXTRA_WORDS)
    np.add.at(flat, (group, HEAD_WORDS + (shifted >> coarser[group]) - first[group]), counts)
    np.add.at(merged[..., -1], windows, zeroes(sketches))
    filled = high >= low
    flat[filled, 0] = (scale - coarser)[filled] + _SCALE_BIAS
    flat[filled, 1] = first[filled] + _FIRST_BIAS
    only_zeroes = ~filled & (flat[:, -1] > 0)
    flat[only_zeroes, 0], flat[only_zeroes, 1] = MAX_SCALE + _SCALE_BIAS, _FIRST_BIAS
    return merged


def resized(sketches: NDArray[Any], n_cells: int = CELLS) -> NDArray[Any]:
    """Give the same sketches with so many cells each: [..., n_cells + 3], at a lower scale where they need more."""
    import numpy as np

    if sketches.shape[-1] == n_cells + EXTRA_WORDS:
        return sketches
    flat = sketches.reshape(-1, 1, sketches.shape[-1])
    merged = merge(flat, np.arange(len(flat)), len(flat), n_cells)
    return merged.reshape(*sketches.shape[:-1], n_cells + EXTRA_WORDS)


def cells(merged: NDArray[Any]) -> tuple[int, int, NDArray[Any], int]:
    """Take one sketch, int64 [cells + 3], apart: scale, index of the first cell, counts of the cells, of zeroes."""
    if not merged[0]:
        return MAX_SCALE, 0, counts_of(merged), 0
    return int(merged[0]) - _SCALE_BIAS, int(merged[1]) - _FIRST_BIAS, counts_of(merged), int(merged[-1])


def counts_of(sketches: NDArray[Any]) -> NDArray[Any]:
    """View the counts of the cells, without that of zeroes: [..., cells]."""
    return sketches[..., HEAD_WORDS:-1]


def zeroes(sketches: NDArray[Any]) -> NDArray[Any]:
    """Give the count of zeroes of each: int64 [...]."""
    import numpy as np

    return sketches[..., -1].astype(np.int64)


def scales(sketches: NDArray[Any]) -> NDArray[Any]:
    """Give the scale of each sketch; of an empty one the finest."""
    import numpy as np

    biased = sketches[..., 0].astype(np.int64)
    return np.where(biased > 0, biased - _SCALE_BIAS, MAX_SCALE)


def first_indexes(sketches: NDArray[Any]) -> NDArray[Any]:
    """Give the index of each sketch's first cell; it means nothing for an empty one."""
    import numpy as np

    return sketches[..., 1].astype(np.int64) - _FIRST_BIAS


def quantile(sketches: NDArray[Any], share: float) -> NDArray[Any]:
    """Give the smallest value that at least `share` of the observations do not exceed, within the relative error.

    Args: `sketches`: [..., cells + 3]. Returns: float64 [...]; NaN where there is no observation.
    """
    import numpy as np

    counts = counts_of(sketches).astype(np.int64)
    below = zeroes(sketches)
    total = counts.sum(axis=-1) + below
    rank = np.clip(np.ceil(total * share), 1, None)
    position = (counts.cumsum(axis=-1) + below[..., None] >= rank[..., None]).argmax(axis=-1)
    index = first_indexes(sketches) + position
    width = np.exp2(-scales(sketches).astype(float))
    with np.errstate(over="ignore", under="ignore"):
        # Between the edges l and l * base of a cell this is the value whose relative distance to both is the same.
        base = np.exp2(width)
        values = np.exp2(index * width) * (2.0 * base / (1.0 + base))
    values = np.where(rank <= below, 0.0, values)
    return np.where(total > 0, values, np.nan)
