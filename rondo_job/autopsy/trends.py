"""What a job took up to its end: last samples, robust slopes, and how far each was from its limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.clock import NS_PER_S

WINDOWS_S = (10, 60, 300)
_LEAST_POINTS, _MOST_POINTS = 4, 300
_LEAST_SHARE = 0.5  # of a window that has to be covered before a slope of it is told


@attrs.frozen
class Quantity:
    """One measured quantity up to the end.

    Attributes:
        name: of the series; unit: "bytes", or "" for a count.
        last, last_ns: the newest value and the end of its bucket; most: of the last 300 s.
        slopes: window in seconds -> units per second by the median of all pairs; only windows with enough points.
        limit: that it may not pass, None: none is known; limit_name: whose it is.
    """

    name: str
    unit: str
    last: float
    last_ns: int
    most: float
    slopes: dict[int, float]
    limit: float | None = None
    limit_name: str = ""

    @property
    def seconds_left(self) -> float | None:
        """Time from the last sample to the limit, by the slope of the shortest window; None: it was not growing."""
        slope = next(iter(self.slopes.values()), 0.0)
        if self.limit is None or slope <= 0:
            return None
        return max(self.limit - self.last, 0.0) / slope

    @property
    def share(self) -> float | None:
        """How much of the limit the largest value was; None: no limit is known."""
        return None if not self.limit else self.most / self.limit


def robust_slope(times_s: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Give the median slope of all pairs of points (Theil and Sen), which a third of wild points does not move.

    Args: `times_s`: float64 [points], ascending; `values`: float64 [points], in the series' unit; at least two.
    Returns: units per second.
    """
    rows, columns = np.triu_indices(len(values), 1)
    return float(np.median((values[columns] - values[rows]) / (times_s[columns] - times_s[rows])))


def slopes_of(times_ns: NDArray[np.int64], values: NDArray[np.float64]) -> dict[int, float]:
    """Give the slope over the last 10, 60 and 300 s, where a window has points enough and they cover half of it."""
    found = dict[int, float]()
    for window_s in WINDOWS_S:
        inside = times_ns > times_ns[-1] - window_s * NS_PER_S
        times_s = (times_ns[inside] - times_ns[-1]) / NS_PER_S
        if len(times_s) < _LEAST_POINTS or -times_s[0] < _LEAST_SHARE * window_s:
            continue
        step = math.ceil(len(times_s) / _MOST_POINTS)
        found[window_s] = robust_slope(times_s[::-step][::-1], values[inside][::-step][::-1])
    return found


def quantity(
    name: str,
    unit: str,
    points: tuple[NDArray[np.int64], NDArray[np.float64], int],
    limits: Sequence[tuple[float, str]],
) -> Quantity | None:
    """Sum up one series; None where it has no points.

    Args: `points`: times (the first ns of each bucket), values, the length of the last bucket in ns; `limits`: those
        that hold for it, and whose they are.
    """
    times_ns, values, interval_ns = points
    if not len(values):
        return None
    recent = times_ns > times_ns[-1] - WINDOWS_S[-1] * NS_PER_S
    limit, whose = min(limits, default=(None, ""))
    last_ns = int(times_ns[-1]) + interval_ns
    most = float(values[recent].max())
    return Quantity(name, unit, float(values[-1]), last_ns, most, slopes_of(times_ns, values), limit, whose)
