"""The cells of summaries in a row of the finest tier: empty, one observation more, totals carried from row to row.

A row has nine blocks of `width` values: count, sum0, sum1, min0, min1, max0, max1, count_base, sum_base. Copy 1 of
what accumulates counts while count is negative, else copy 0.
"""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

from rondo_core import forking

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells

_INF = math.inf
_EMPTY = (0.0, 0.0, 0.0, _INF, _INF, -_INF, -_INF)  # count, sum0, sum1, min0, min1, max0, max1
_MANY = 64  # series: fewer are carried on quicker without numpy
_HIGHEST = 1.7976931348623157e308  # at which a total of sums stands that no float holds
_MOST = float(1 << 53)  # observations, up to which a float counts them one by one


def within(total: float) -> float:
    """Keep a total of finite sums finite."""
    return max(-_HIGHEST, min(total, _HIGHEST))


class SummaryRows:
    """What is done to the summaries of a row whose blocks are `width` values apart."""

    __slots__ = ("width",)

    def __init__(self, width: int) -> None:
        """Take the number of series that a row has room for."""
        self.width = width

    def make_room(self, row: Cells, columns: range) -> None:
        """Let the columns of a row be those of summaries that were declared but not born: empty, without totals."""
        for cell, value in enumerate(_EMPTY):
            first = cell * self.width + columns.start
            row[first : first + len(columns)] = array("d", [value]) * len(columns)

    def has_totals(self, row: Cells, column: int) -> bool:
        """Say whether the summary has totals in the row."""
        return not math.isnan(row[8 * self.width + column])

    def start(self, row: Cells, column: int, count_base: float = 0.0, sum_base: float = 0.0) -> None:
        """Give a summary that is not in the row yet its place there: empty, after these totals."""
        if not math.isnan(row[column]) and self.has_totals(row, column):
            return
        for cell, value in enumerate((*_EMPTY[1:], count_base, sum_base), start=1):
            row[cell * self.width + column] = value
        row[column] = _EMPTY[0]

    def has_room(self, row: Cells, column: int, number: int, total: float) -> bool:
        """Say whether count and sum can take so many observations more."""
        count = row[column]
        after = row[(2 if count < 0.0 else 1) * self.width + column] + total
        return abs(count) + row[7 * self.width + column] + number <= _MOST and math.isfinite(after)

    def observe(self, row: Cells, column: int, number: int, total: float, lowest: float, highest: float) -> None:
        """Take observations by how many they are, their sum and bounds: write the copy not in use, then publish it."""
        width, count = self.width, row[column]
        old, new = (width, 0) if count < 0.0 else (0, width)
        row[width + new + column] = row[width + old + column] + total
        low = row[3 * width + old + column]
        row[3 * width + new + column] = low if low < lowest else lowest
        high = row[5 * width + old + column]
        row[5 * width + new + column] = high if high > highest else highest
        row[column] = number - count if count < 0.0 else -number - count

    def bases(self) -> slice:
        """Give the place of both blocks of totals."""
        return slice(7 * self.width, 9 * self.width)

    def carry(self, row: Cells, before: Cells, n_series: int) -> None:
        """Let the totals of `row`, bases and what it holds itself, be those of `before`."""
        width = self.width
        if n_series > _MANY:
            forking.load("rondo_core.fold.totals")
            from rondo_core.fold.totals import carry_totals

            carry_totals(row, before, width, n_series, _EMPTY)
            return
        counts, sums, isnan, isfinite = 7 * width, 8 * width, math.isnan, math.isfinite
        for column in range(n_series):
            count = before[column]
            if not isnan(count):
                mine = row[column]
                if isnan(mine):
                    self.start(row, column)
                    mine = row[column]
                total = before[sums + column] + before[(1 + (count < 0)) * width + column]
                own = row[(1 + (mine < 0)) * width + column]
                rest = total - own
                row[counts + column] = before[counts + column] + abs(count) - abs(mine)
                row[sums + column] = rest if isfinite(rest) else within(within(total) - own)
