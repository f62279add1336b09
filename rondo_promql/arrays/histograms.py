"""Native histograms: the samples of one series, exponential cells, and the arithmetic that merges them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Prometheus's zero threshold where nothing else is said: 2**-128.
ZERO_THRESHOLD = 2.0**-128


@dataclass(slots=True)
class Histograms:
    """Native histograms of one series, one for each of n times.

    Cell j of a row counts observations in (base**(first_index + j - 1), base**(first_index + j)], where base is
    2**(2**-schema): Prometheus's own numbering, for positive observations.

    Args:
        schema: the resolution, -4 to 8.
        zero_count: float64 [n]: observations of at most `zero_threshold`.
        first_index: the number of the first cell.
        cells: float64 [n, k]: observations in each cell.
        sum: float64 [n]: the sum of the observations; Prometheus's stale bits end a series here.
        count: float64 [n]: all observations.
    """

    schema: int
    zero_count: Floats
    first_index: int
    cells: Floats
    sum: Floats
    count: Floats
    zero_threshold: float = ZERO_THRESHOLD

    def __post_init__(self) -> None:
        """Make float64 arrays of whatever was given."""
        self.cells = np.atleast_2d(np.asarray(self.cells, dtype=np.float64))
        n_rows = len(self.cells)
        for name in ("zero_count", "sum", "count"):
            column = np.asarray(getattr(self, name), dtype=np.float64)
            setattr(self, name, np.full(n_rows, float(column)) if column.ndim == 0 else column)

    def __len__(self) -> int:
        """Give the number of rows."""
        return len(self.cells)

    def rows(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Histograms:
        """Give the rows at an index, in its order."""
        return replace(
            self,
            zero_count=self.zero_count[index],
            cells=self.cells[index],
            sum=self.sum[index],
            count=self.count[index],
        )

    def upper_bounds(self) -> Floats:
        """Give the upper bound of each cell: float64 [k]."""
        exponents = (self.first_index + np.arange(self.cells.shape[1])) * 2.0**-self.schema
        return np.asarray(np.exp2(exponents), dtype=np.float64)

    def scaled(self, factor: Floats) -> Histograms:
        """Give each row times its factor: float64 [n]."""
        return replace(
            self,
            zero_count=self.zero_count * factor,
            cells=self.cells * factor[:, None],
            sum=self.sum * factor,
            count=self.count * factor,
        )

    def where(self, keep: NDArray[np.bool_]) -> Histograms:
        """Give each row that is kept, and of the others rows that count nothing, whatever is in them."""
        return replace(
            self,
            zero_count=np.where(keep, self.zero_count, 0.0),
            cells=np.where(keep[:, None], self.cells, 0.0),
            sum=np.where(keep, self.sum, 0.0),
            count=np.where(keep, self.count, 0.0),
        )

    def divided(self, divisor: Floats) -> Histograms:
        """Give each row divided by its divisor: float64 [n]."""
        return replace(
            self,
            zero_count=self.zero_count / divisor,
            cells=self.cells / divisor[:, None],
            sum=self.sum / divisor,
            count=self.count / divisor,
        )

    def at_schema(self, schema: int) -> Histograms:
        """Give the rows at a coarser schema: cells merge in runs of two to the difference."""
        if schema >= self.schema:
            return self
        shift = self.schema - schema
        indexes = ((self.first_index + np.arange(self.cells.shape[1]) - 1) >> shift) + 1
        if not len(indexes):
            return replace(self, schema=schema)
        starts = np.flatnonzero(np.diff(indexes, prepend=indexes[0] - 1))
        cells = np.add.reduceat(self.cells, starts, axis=1)
        return replace(self, schema=schema, first_index=int(indexes[0]), cells=cells)

    def over(self, first_index: int, n_cells: int) -> Histograms:
        """Give the rows with the cells from one number on, wider than or as wide as before."""
        before = self.first_index - first_index
        if not before and n_cells == self.cells.shape[1]:
            return self
        cells = np.zeros((len(self.cells), n_cells))
        cells[:, before : before + self.cells.shape[1]] = self.cells
        return replace(self, first_index=first_index, cells=cells)


def read_histograms(given: Any) -> Histograms:
    """Take histograms as a source has them: these, or whatever has their attributes, from one that knows no engine."""
    if isinstance(given, Histograms):
        return given
    return Histograms(given.schema, given.zero_count, given.first_index, given.cells, given.sum, given.count)


def aligned(histograms: list[Histograms]) -> list[Histograms]:
    """Give histograms the coarsest schema among them and cells of the same numbers, so that their arrays add up."""
    schema = min(each.schema for each in histograms)
    threshold = max(each.zero_threshold for each in histograms)
    coarse = [each.at_schema(schema) for each in histograms]
    filled = [each for each in coarse if each.cells.shape[1]]
    first = min((each.first_index for each in filled), default=0)
    end = max((each.first_index + each.cells.shape[1] for each in filled), default=first)
    return [
        replace(each.over(first, end - first) if each.cells.shape[1] else _empty(each, first, end - first),
                zero_threshold=threshold)
        for each in coarse
    ]  # fmt: skip


def _empty(histograms: Histograms, first_index: int, n_cells: int) -> Histograms:
    """Give rows that had no cell as many as the others have."""
    return replace(histograms, first_index=first_index, cells=np.zeros((len(histograms.cells), n_cells)))


def added(left: Histograms, right: Histograms, sign: float = 1.0) -> Histograms:
    """Give left plus `sign` times right, row by row."""
    left, right = aligned([left, right])
    return replace(
        left,
        zero_count=left.zero_count + sign * right.zero_count,
        cells=left.cells + sign * right.cells,
        sum=left.sum + sign * right.sum,
        count=left.count + sign * right.count,
    )


def equal(left: Histograms, right: Histograms) -> NDArray[np.bool_]:
    """Say of each row whether both sides count the same."""
    left, right = aligned([left, right])
    sums = (left.sum == right.sum) | (np.isnan(left.sum) & np.isnan(right.sum))
    same = (left.count == right.count) & (left.zero_count == right.zero_count) & sums
    return np.asarray(same & (left.cells == right.cells).all(axis=1))


def chosen(keep: NDArray[np.bool_], left: Histograms, right: Histograms) -> Histograms:
    """Give left's row where `keep`, else right's."""
    left, right = aligned([left, right])
    return replace(
        left,
        zero_count=np.where(keep, left.zero_count, right.zero_count),
        cells=np.where(keep[:, None], left.cells, right.cells),
        sum=np.where(keep, left.sum, right.sum),
        count=np.where(keep, left.count, right.count),
    )
