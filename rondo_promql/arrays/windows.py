"""Windows over the samples of a block: where each begins and ends, its extremes, and its samples laid out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
# How many values one laid out piece may have: 1 MiB of float64.
_PIECE = 1 << 17


@dataclass(slots=True)
class Windows:
    """Windows, left-open, that end at given times, over the samples of series with the same timestamps.

    `low` and `high` are the windows' first sample and the one after their last: int64 [windows].
    """

    timestamps: Indices
    values: Floats
    ends: Indices
    range_ms: int
    low: Indices
    high: Indices
    weights: Floats | None = None

    @property
    def counts(self) -> Indices:
        """Give the number of samples in each window: int64 [windows]."""
        return self.high - self.low

    def of_series(self, rows: slice) -> Windows:
        """Give the same windows over some of the series."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, values=self.values[rows], weights=weights)

    def pieces(self) -> Iterator[tuple[slice, Indices, NDArray[np.bool_], Floats]]:
        """Lay out the windows' samples, a bounded number of windows at a time.

        Yields: which windows; the samples' places [windows, width], clipped to the window; where those are the
            window's own; and the values [series, windows, width].
        """
        if not self.values.shape[1]:
            return
        counts = self.counts
        width = max(int(counts.max(initial=0)), 1)
        n_windows = max(1, _PIECE // (width * max(1, len(self.values))))
        for start in range(0, len(counts), n_windows):
            which = slice(start, start + n_windows)
            offsets = np.arange(max(int(counts[which].max(initial=0)), 1))
            own = offsets < counts[which][:, None]
            places = np.minimum(self.low[which][:, None] + np.where(own, offsets, 0), self.values.shape[1] - 1)
            yield which, places, own, self.values[:, places]

    def extremes(self, choose: np.ufunc) -> Floats:
        """Give np.fmax or np.fmin of each window, [series, windows]; NaN where it is empty or all NaN."""
        counts = self.counts
        found = np.full((len(self.values), len(counts)), np.nan)
        table, width = self.values, 1
        powers = np.left_shift(1, np.frexp(counts)[1].astype(np.int64) - 1, where=counts > 0, out=counts * 0)
        while (longer := powers >= width).any():
            now = powers == width
            if now.any():
                found[:, now] = choose(table[:, self.low[now]], table[:, self.high[now] - width])
            if (longer & ~now).any():
                table = choose(table[:, :-width], table[:, width:])
            width *= 2
        return found


def find_windows(
    timestamps: Indices, values: Floats, ends: Indices, range_ms: int, weights: Floats | None = None
) -> Windows:
    """Find the samples of the windows (end - range, end]."""
    low = np.searchsorted(timestamps, ends - range_ms, side="right")
    high = np.searchsorted(timestamps, ends, side="right")
    return Windows(timestamps, values, ends, range_ms, low, high, weights)
