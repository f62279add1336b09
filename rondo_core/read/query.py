"""Answers of a query: points as numpy arrays.

A point's timestamp is the first nanosecond of its bucket; a bucket belongs to a range that it overlaps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.errors import RangeError
from rondo_core.model.labels import Series

if TYPE_CHECKING:
    from rondo_core.storage.events import Event


@attrs.frozen(eq=False)
class SeriesData:
    """The points of one series: only those that are there.

    Attributes:
        series: whose they are; `fn`: the consolidator that read them.
        timestamps_ns: int64 [points], ascending; values: float64 [points].
        coverage: int64 [points], how many of the finest buckets in the point's own held a sample.
        interval_ns: int64 [points], the length of each point's bucket: which tier it came from.
        finest_ns: the length of the finest buckets, which coverage counts.
        error: the most by which any of the values can be off, as a share of it; 0: they are exact.
    """

    series: Series
    fn: str
    timestamps_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    coverage: NDArray[np.int64]
    interval_ns: NDArray[np.int64]
    finest_ns: int = 1
    error: float = 0.0

    @property
    def buckets(self) -> NDArray[np.int64]:
        """How many of the finest buckets each point's own has: int64 [points]."""
        return self.interval_ns // self.finest_ns

    @property
    def covered(self) -> NDArray[np.float64]:
        """What share of the finest buckets in each point's own held a sample: float64 [points], at most 1."""
        return self.coverage / self.buckets

    def __len__(self) -> int:
        """Count the points."""
        return len(self.values)

    def __repr__(self) -> str:
        """Name the series and count its points."""
        return f"<SeriesData {self.series} {self.fn}: {len(self)} points>"

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON can hold: the points as [timestamp_ns, value], an infinity among the values as a text."""
        values = self.values.tolist()
        if not all(map(math.isfinite, values)):
            values = [value if math.isfinite(value) else str(value) for value in values]
        return {
            "name": self.series.name,
            "labels": dict(self.series.labels),
            "kind": self.series.kind,
            "unit": self.series.unit,
            "fn": self.fn,
            "points": list(map(list, zip(self.timestamps_ns.tolist(), values, strict=True))),
            "interval_ns": self.interval_ns.tolist(),
            "coverage": self.coverage.tolist(),
            "error": self.error,
        }

    def to_pandas(self) -> Any:
        """Give a pandas Series; see `frames`. Raises: UsageError: pandas is not installed."""
        from rondo_core.read.frames import series_to_pandas

        return series_to_pandas(self)

    def to_arrow(self) -> Any:
        """Give a pyarrow Table; see `frames`. Raises: UsageError: pyarrow is not installed."""
        from rondo_core.read.frames import series_to_arrow

        return series_to_arrow(self)


class Table:
    """The points of several series of one schema, over the same buckets.

    Attributes:
        series: one per column; fn: the consolidator that read them.
        timestamps_ns, interval_ns: int64 [rows], ascending: where each bucket begins, and its length. Read-only.
        values: float64 [rows, series]; NaN where a series has no point.
        finest_ns: the length of the finest buckets, which coverage counts.
    """

    __slots__ = ("_coverage", "_error", "finest_ns", "fn", "interval_ns", "series", "timestamps_ns", "values")

    def __init__(
        self,
        series: Sequence[Series],
        fn: str,
        timestamps_ns: NDArray[np.int64],
        interval_ns: NDArray[np.int64],
        values: NDArray[np.float64],
        coverage: NDArray[Any] | None = None,
        error: NDArray[np.float64] | None = None,
        finest_ns: int = 1,
    ) -> None:
        """Hold the arrays; without `coverage` every value is one sample of the finest tier; `error` is as `values`."""
        self.series, self.fn, self.timestamps_ns, self.interval_ns = series, fn, timestamps_ns, interval_ns
        self.values, self._coverage, self._error, self.finest_ns = values, coverage, error, finest_ns

    @property
    def coverage(self) -> NDArray[np.int64]:
        """How many of the finest buckets in each bucket held a sample: int64 [rows, series]."""
        if self._coverage is None:
            self._coverage = ~np.isnan(self.values)
        return self._coverage.astype(np.int64)

    def column(self, index: int) -> SeriesData:
        """Give the points of one series: only those that are there."""
        series, stamps, intervals, values = self.series[index], self.timestamps_ns, self.interval_ns, self.values
        finest_ns = self.finest_ns
        column = values[:, index]
        if self._error is None and not np.isnan(
            np.minimum.reduce(column, initial=0.0)
        ):  # no NaN among them, told by one pass
            if self._coverage is None:
                return SeriesData(series, self.fn, stamps, column, np.ones(len(stamps), np.int64), intervals, finest_ns)
            coverage = self._coverage[:, index].astype(np.int64)
            return SeriesData(series, self.fn, stamps, column, coverage, intervals, finest_ns)
        there = ~np.isnan(column)
        coverage = (there if self._coverage is None else self._coverage[:, index])[there].astype(np.int64)
        error = 0.0 if self._error is None else float(self._error[there, index].max(initial=0.0))
        return SeriesData(series, self.fn, stamps[there], column[there], coverage, intervals[there], finest_ns, error)

    def covered(self, share: float) -> Table:
        """Leave out the points of which less than this share of the finest buckets held a sample."""
        needed = share * (self.interval_ns // self.finest_ns) - 1e-9  # 0.1 of 30 is 3, whatever floats make of it
        values = np.where(self.coverage >= needed[:, None], self.values, np.nan)
        stamps, intervals = self.timestamps_ns, self.interval_ns
        return Table(self.series, self.fn, stamps, intervals, values, self._coverage, self._error, self.finest_ns)

    def since(self, start_ns: int) -> Table:
        """Leave out the buckets that begin before."""
        first = int(self.timestamps_ns.searchsorted(start_ns))
        coverage, error = (None if each is None else each[first:] for each in (self._coverage, self._error))
        stamps, intervals = self.timestamps_ns[first:], self.interval_ns[first:]
        return Table(self.series, self.fn, stamps, intervals, self.values[first:], coverage, error, self.finest_ns)

    def until(self, end_ns: int) -> Table:
        """Leave out the buckets that end after."""
        end = int((self.timestamps_ns + self.interval_ns).searchsorted(end_ns, side="right"))
        coverage, error = (None if each is None else each[:end] for each in (self._coverage, self._error))
        stamps, intervals = self.timestamps_ns[:end], self.interval_ns[:end]
        return Table(self.series, self.fn, stamps, intervals, self.values[:end], coverage, error, self.finest_ns)

    def named(self, series: Sequence[Series]) -> Table:
        """Give the same points under other series, one for each column."""
        stamps, intervals = self.timestamps_ns, self.interval_ns
        return Table(series, self.fn, stamps, intervals, self.values, self._coverage, self._error, self.finest_ns)

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self.timestamps_ns)

    def __repr__(self) -> str:
        """Say how large it is."""
        return f"<Table of {len(self.series)} series, {self.fn}: {len(self)} buckets>"


class QueryResult(Sequence[SeriesData]):
    """What a query found: a sequence of SeriesData, each made when it is asked for; a table in a notebook.

    Attributes: `tables`, the same points by schema, many series to an array: what programs that compute want; `places`,
    for each series its table and column.
    """

    __slots__ = ("places", "tables")

    def __init__(self, tables: Sequence[Table], places: Sequence[tuple[int, int]]) -> None:
        """Hold the tables, and for each series its table and column in the order asked for."""
        self.tables, self.places = tables, places

    def __len__(self) -> int:
        """Count the series."""
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> SeriesData: ...
    @overload
    def __getitem__(self, index: slice) -> QueryResult: ...
    def __getitem__(self, index: int | slice) -> SeriesData | QueryResult:
        """Give the points of one series, or of several."""
        if isinstance(index, slice):
            return QueryResult(self.tables, self.places[index])
        table, column = self.places[index]
        return self.tables[table].column(column)

    def __iter__(self) -> Iterator[SeriesData]:
        """Walk over the series in the order asked for."""
        return (self.tables[table].column(column) for table, column in self.places)

    def covered(self, share: float) -> QueryResult:
        """Leave out the points of which less than this share of the finest buckets, 0 to 1, held a sample.

        Raises: RangeError: no such share.
        """
        if not 0 <= share <= 1:
            raise RangeError(f"xff {share:g}: a share of the buckets; from 0 to 1")
        return QueryResult([table.covered(share) for table in self.tables], self.places) if share else self

    def named(self, series: Sequence[Series]) -> QueryResult:
        """Give the same points under other series, one for each in the order asked for."""
        names = [list(table.series) for table in self.tables]
        for (table, column), each in zip(self.places, series, strict=True):
            names[table][column] = each
        return QueryResult([table.named(own) for table, own in zip(self.tables, names, strict=True)], self.places)

    @staticmethod
    def joined(many: Sequence[QueryResult]) -> QueryResult:
        """Give what several queries found as one, in their order."""
        tables, places = list[Table](), list[tuple[int, int]]()
        for found in many:
            places += [(len(tables) + table, column) for table, column in found.places]
            tables += found.tables
        return QueryResult(tables, places)

    def to_pandas(self, *, tz: str = "UTC") -> Any:
        """Give a pandas DataFrame, a column for each series, its index the times in zone `tz`; see `frames`.

        Raises: UsageError: pandas is not installed; RangeError: no such zone.
        """
        from rondo_core.read.frames import to_pandas

        return to_pandas(self, tz=tz)

    def to_arrow(self) -> Any:
        """Give a pyarrow Table, series after series; see `frames`. Raises: UsageError: pyarrow is not installed."""
        from rondo_core.read.frames import to_arrow

        return to_arrow(self)

    def plot(self, ax: Any = None, *, tz: str = "UTC", events: Sequence[Event] = ()) -> Any:
        """Draw the points with matplotlib, and give the axes; see `plot`.

        Args: `ax`: axes to draw into; None: those of a new figure. `events`: marks to draw, as `store.events()` gives.
        Raises: UsageError: matplotlib is not installed; RangeError: no such zone.
        """
        from rondo_core.read.plot import plot

        return plot(self, ax, tz=tz, events=events)

    def _repr_html_(self) -> str:
        """Write the small table that a notebook shows: each series with its newest value and a line of its points."""
        from rondo_core.read.html import as_html

        return as_html(self)

    def __repr__(self) -> str:
        """Say how much was found."""
        return f"<QueryResult {len(self)} series>"
