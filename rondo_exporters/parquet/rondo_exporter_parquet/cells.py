"""Sketches as a lake has them: cells between the outermost that count, at a scale; merged, and read as quantiles.

The numbers are those of `rondo_core`'s own sketches, so that an answer of a lake is that of the stores it came from.
"""

from __future__ import annotations

import attrs
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rondo_core.model import sketch


@attrs.frozen(eq=False)
class Sketches:
    """The sketches of some rows.

    Attributes:
        scale, zeroes, first: int64 [rows]; cell j of a row counts the values in (base^(first+j), base^(first+j+1)],
            base = 2^(2^-scale). Of a row where nothing was observed all are 0.
        row, index, count: int64 [cells], of every cell: whose it is, its index at the row's scale, what it counts.
    """

    scale: NDArray[np.int64]
    zeroes: NDArray[np.int64]
    first: NDArray[np.int64]
    row: NDArray[np.int64]
    index: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, table: pa.Table) -> Sketches:
        """Read the columns `scale`, `zeroes`, `first_cell` and `cells` of a table."""
        scale, zeroes, first = (
            table[name].fill_null(0).to_numpy().astype(np.int64) for name in ("scale", "zeroes", "first_cell")
        )
        lists = table["cells"].combine_chunks()
        lengths = np.asarray(lists.value_lengths().fill_null(0)).astype(np.int64)
        count = np.asarray(lists.flatten()).astype(np.int64)
        row = np.repeat(np.arange(len(lengths)), lengths)
        place = np.arange(len(count)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return cls(scale, zeroes, first, row, first[row] + place, count)

    def merged(self) -> tuple[int, int, NDArray[np.int64], int]:
        """Merge all rows at the finest scale that holds them: the scale, the first cell's index, cells, zeroes."""
        used = self.count > 0
        row, index, count = self.row[used], self.index[used], self.count[used]
        zeroes = int(self.zeroes.sum())
        if not len(count):
            return sketch.MAX_SCALE, 0, np.zeros(0, np.int64), zeroes
        scale = int(self.scale[row].min())
        index = index >> (self.scale[row] - scale)
        while (int(index.max()) - int(index.min())) >= sketch.CELLS:
            index, scale = index >> 1, scale - 1
        first = int(index.min())
        cells = np.bincount(index - first, count).astype(np.int64)
        return scale, first, cells, zeroes

    def dense(self, highest: int) -> tuple[int, int, NDArray[np.float64]]:
        """Give every row's cells at one scale, at most `highest`: that, the first column's index, [rows, cells]."""
        used = self.count > 0
        row, index, count = self.row[used], self.index[used], self.count[used]
        if not len(count):
            return highest, 0, np.zeros((len(self.scale), 0))
        scale = min(int(self.scale[row].min()), highest)
        index = index >> (self.scale[row] - scale)
        first, width = int(index.min()), int(index.max() - index.min()) + 1
        flat = np.bincount(row * width + index - first, count, len(self.scale) * width)
        return scale, first, flat.astype(np.float64).reshape(len(self.scale), width)

    def quantiles(self, share: float) -> NDArray[np.float64]:
        """Give each row's quantile, float64 [rows]; NaN where nothing was observed."""
        found = np.full(len(self.scale), np.nan)
        ends = np.searchsorted(self.row, np.arange(len(self.scale)), "right")
        starts = np.searchsorted(self.row, np.arange(len(self.scale)), "left")
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            cells = self.count[start:end]
            found[row] = quantile(int(self.scale[row]), int(self.first[row]), cells, int(self.zeroes[row]), share)
        return found


def quantile(scale: int, first: int, cells: NDArray[np.int64], zeroes: int, share: float) -> float:
    """Give the smallest value that at least `share` of the observations do not exceed; NaN: there is none.

    Source: `rondo_core.model.sketch.quantile`.
    """
    total = int(cells.sum()) + zeroes
    if not total:
        return float("nan")
    rank = max(1, int(np.ceil(total * share)))
    if rank <= zeroes:
        return 0.0
    index = first + int((cells.cumsum() + zeroes >= rank).argmax())
    base = float(np.exp2(np.exp2(-float(scale))))
    return float(np.exp2(index * np.exp2(-float(scale))) * (2.0 * base / (1.0 + base)))
