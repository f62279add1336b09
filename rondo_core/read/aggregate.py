"""One value for a whole range: the statistics of all its buckets merged, and then read once.

A mean is that of all samples, a quantile that of all observations: nothing is averaged twice. Series of several stores
that differ in their store alone are merged in the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model import sketch
from rondo_core.model.consolidator import Consolidator
from rondo_core.model.labels import Series
from rondo_core.model.statistics import COVERAGE, SKETCH, WindowMerge
from rondo_core.read.query import Table

# Of these, the merge over series is that of all their samples; a counter's last, say, is one series' own.
_OF_ALL = frozenset({"sum", "min", "max", "count", COVERAGE, SKETCH})


@attrs.frozen(eq=False)
class Aggregate:
    """What series of one schema recorded in a range, merged: one row; and one before it of what came before the range.

    Attributes:
        stamps, intervals: int64 [rows], ns.
        statistics: name -> [rows, series], a sketch's [rows, series, cells + 3].
    """

    series: tuple[Series, ...]
    consolidator: Consolidator
    stamps: NDArray[np.int64]
    intervals: NDArray[np.int64]
    statistics: Mapping[str, Any]
    finest_ns: int

    def table(self) -> Table:
        """Read it: one point for each series, none where nothing was recorded in the range."""
        consolidator, coverage = self.consolidator, self.statistics[COVERAGE]
        with np.errstate(all="ignore"):
            values = consolidator.read(self.statistics, self.stamps, self.intervals)
            values = np.where(coverage > 0, values, np.nan)[-1:]
            error = consolidator.error(self.statistics)[-1:] if consolidator.error else None
        stamps, intervals = self.stamps[-1:], self.intervals[-1:]
        return Table(self.series, consolidator.name, stamps, intervals, values, coverage[-1:], error, self.finest_ns)

    @property
    def is_of_all(self) -> bool:
        """Whether it can be merged over series."""
        return self.consolidator.adds_up or _OF_ALL.issuperset(self.consolidator.needs)


def merged_rows(stamps: Any, intervals: Any, statistics: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """Merge all rows, of which there is at least one, into one that begins with the first and ends with the last."""
    n_rows = len(stamps)
    merge = WindowMerge(slice(0, n_rows), 1, n_rows)
    covered = statistics[COVERAGE]
    with np.errstate(all="ignore"):
        merged = {name: merge(name, values, covered) for name, values in statistics.items()}
    ends = stamps + intervals
    return stamps[:1], np.array([int(ends.max()) - int(stamps[0])]), merged


def aggregate(
    series: tuple[Series, ...],
    consolidator: Consolidator,
    rows: tuple[Any, Any, Mapping[str, Any]],
    start_ns: int,
    finest_ns: int,
) -> Aggregate:
    """Merge the rows of a range, those before `start_ns` apart.

    Args: `rows`: stamps and intervals, int64 [rows], ascending, and statistics by name.
    """
    stamps, intervals, statistics = rows
    first = int(stamps.searchsorted(start_ns)) if consolidator.grows else 0
    parts = [
        merged_rows(stamps[part], intervals[part], {name: values[part] for name, values in statistics.items()})
        for part in (slice(0, first), slice(first, None))
        if len(stamps[part])
    ]
    if first == len(stamps):  # nothing lies in the range
        none = {name: values[:0] for name, values in statistics.items()}
        return Aggregate(series, consolidator, stamps[:0], intervals[:0], none, finest_ns)
    return Aggregate(
        series,
        consolidator,
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        {name: np.concatenate([part[2][name] for part in parts]) for name in statistics},
        finest_ns,
    )


def over_series(series: Series, columns: Sequence[tuple[Aggregate, int]]) -> Table:
    """Read columns of aggregates, each of which `is_of_all`, as one of the series given; one at least has a row."""
    there = [(each, column) for each, column in columns if len(each.stamps)]
    if there[0][0].consolidator.adds_up:
        return _added_up(series, there)
    statistics = {
        name: np.concatenate([_column(name, each.statistics[name], column) for each, column in there])
        for name in there[0][0].statistics
    }
    stamps = np.array([int(each.stamps[-1]) for each, _ in there])
    ends = stamps + np.array([int(each.intervals[-1]) for each, _ in there])
    _, _, merged = merged_rows(stamps, ends - stamps, statistics)
    begin = int(stamps.min())
    finest_ns = min(each.finest_ns for each, _ in there)
    whole = np.array([begin]), np.array([int(ends.max()) - begin])
    return Aggregate((series,), there[0][0].consolidator, *whole, merged, finest_ns).table()


def _added_up(series: Series, there: Sequence[tuple[Aggregate, int]]) -> Table:
    """Add up what was read of each column."""
    points = [each.table().column(column) for each, column in there]
    values = np.concatenate([data.values for data in points])
    stamps = np.concatenate([data.timestamps_ns for data in points])
    finest_ns, fn = min(each.finest_ns for each, _ in there), there[0][0].consolidator.name
    if not len(values):
        return Table((series,), fn, stamps, stamps, np.empty((0, 1)), finest_ns=finest_ns)
    end_ns = max(int(data.timestamps_ns[0] + data.interval_ns[0]) for data in points if len(data))
    coverage = np.array([[int(sum(data.coverage.sum() for data in points))]])
    begin = stamps.min(keepdims=True)
    return Table(
        (series,), fn, begin, end_ns - begin, values.sum(keepdims=True)[:, None], coverage, finest_ns=finest_ns
    )


def _column(name: str, values: Any, column: int) -> Any:
    picked = values[-1:, column : column + 1]
    return sketch.resized(picked) if name == SKETCH else picked
