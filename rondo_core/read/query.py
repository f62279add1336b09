"""The words of a query: ranges, tiers, consolidators, and what comes back: points as numpy arrays.

A point's timestamp is the first nanosecond of its bucket; a bucket belongs to a range that it overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, overload

import attrs

from rondo_core.clock import monotonic_ns
from rondo_core.errors import ConsolidatorError, QueryLimitError, RangeError, meant
from rondo_core.model.labels import Kind, Series
from rondo_core.model.schema import Schema
from rondo_core.units import parse_duration_ns, parse_instant_ns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_FN: dict[Kind, str] = {"counter": "last", "gauge": "avg", "summary": "avg"}
AUTO = "auto"


@attrs.frozen(eq=False)
class Consolidator:
    """A named reading of statistics.

    Attributes:
        name: what `--fn` takes.
        kinds: of which series it can be read.
        needs: the statistics that `read` is given.
        read: statistics -> values. Each statistic is float64 [rows, series], NaN where absent; `timestamps_ns`
            int64 [rows] and `interval_ns` int64 [rows] are passed beside them. The result has the same shape.
        help: one line for people.
        of_one: that the reading of a bucket with one sample is the sample itself, as the mean's is; such a reading
            of the finest tier of counters and gauges is had without a call.
        error: statistics -> the most by which a value can be off, as a share of it; None: values are exact.
        grows: that a reading is of what a point has more than the one before it, as a rate is: a range then has the
            points whose buckets begin in it, the first one read against the point before the range, so that ranges
            side by side add up. `read` is given one more statistic, "birth": 0 where a series was born in the bucket,
            else NaN.
    """

    name: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...]
    read: Callable[[Mapping[str, Any], Any, Any], Any]
    help: str = ""
    of_one: bool = False
    error: Callable[[Mapping[str, Any]], Any] | None = None
    grows: bool = False


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
        import numpy as np

        if self._coverage is None:
            self._coverage = ~np.isnan(self.values)
        return self._coverage.astype(np.int64)

    def column(self, index: int) -> SeriesData:
        """Give the points of one series: only those that are there."""
        import numpy as np

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
        import numpy as np

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

    def __len__(self) -> int:
        """Count the buckets."""
        return len(self.timestamps_ns)

    def __repr__(self) -> str:
        """Say how large it is."""
        return f"<Table of {len(self.series)} series, {self.fn}: {len(self)} buckets>"


class Found(Sequence[SeriesData]):
    """What a query found: a sequence of SeriesData, each made when it is asked for.

    Attributes: `tables`, the same points by schema, many series to an array: what programs that compute want.
    """

    __slots__ = ("_places", "tables")

    def __init__(self, tables: Sequence[Table], places: Sequence[tuple[int, int]]) -> None:
        """Hold the tables, and for each series its table and column in the order asked for."""
        self.tables, self._places = tables, places

    def __len__(self) -> int:
        """Count the series."""
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> SeriesData: ...
    @overload
    def __getitem__(self, index: slice) -> list[SeriesData]: ...
    def __getitem__(self, index: int | slice) -> SeriesData | list[SeriesData]:
        """Give the points of one series, or of several."""
        if isinstance(index, slice):
            return [self.tables[table].column(column) for table, column in self._places[index]]
        table, column = self._places[index]
        return self.tables[table].column(column)

    def __iter__(self) -> Iterator[SeriesData]:
        """Walk over the series in the order asked for."""
        return (self.tables[table].column(column) for table, column in self._places)

    def covered(self, share: float) -> Found:
        """Leave out the points of which less than this share of the finest buckets, 0 to 1, held a sample.

        Raises: RangeError: no such share.
        """
        if not 0 <= share <= 1:
            raise RangeError(f"xff {share:g}: a share of the buckets; from 0 to 1")
        return Found([table.covered(share) for table in self.tables], self._places) if share else self

    def __repr__(self) -> str:
        """Say how much was found."""
        return f"<Found {len(self)} series>"


@attrs.frozen
class Range:
    """A span of time: `start_ns` <= t < `end_ns`; or the last `last_ns` before an anchor still to be named."""

    start_ns: int = 0
    end_ns: int = 2**62
    last_ns: int | None = None

    def anchored(self, anchor_ns: int) -> Range:
        """Settle a relative range at its end; an absolute one stays as it is."""
        if self.last_ns is None:
            return self
        return Range(max(0, anchor_ns + 1 - self.last_ns), anchor_ns + 1)


ALL = Range()


@lru_cache(256)
def parse_range(text: str) -> Range:
    """Read "all", a duration back from the anchor ("15m", "1h30m"), or two instants ("START..END").

    An instant is ISO 8601 or seconds since the epoch; either side of .. may be left out.

    Raises: RangeError: it is none of these, or ends before it starts.
    """
    compact = text.strip()
    if compact == "all":
        return ALL
    if ".." not in compact:
        try:
            return Range(last_ns=parse_duration_ns(compact))
        except RangeError:
            raise RangeError(f"{text!r}: not a range; write all, 15m, 1h30m or START..END") from None
    start, _, end = compact.partition("..")
    whole = Range(parse_instant_ns(start) if start else 0, parse_instant_ns(end) if end else 2**62)
    if whole.end_ns <= whole.start_ns:
        raise RangeError(f"{text!r}: ends before it starts; write START..END")
    return whole


class Budget:
    """What one query may read, and until when: for queries of those who do not own the machine that answers.

    What is read is counted before it is read: a query that is too large costs nothing. Of one thread.
    """

    __slots__ = ("_end_ns", "_points", "_timeout_ns", "_values", "max_points")

    def __init__(self, max_points: int, max_values: int, timeout_ns: int) -> None:
        """Begin now.

        Args: `max_points`: buckets times series that are given back; `max_values`: float64 that are read for them.
        """
        self.max_points, self._points, self._values = max_points, max_points, max_values
        self._timeout_ns, self._end_ns = timeout_ns, monotonic_ns() + timeout_ns

    def spend(self, n_rows: int, n_series: int, n_values: int) -> None:
        """Count so many buckets of so many series, each point made of `n_values`.

        Raises: QueryLimitError: the points, the values or the time are used up.
        """
        self._points -= n_rows * n_series
        self._values -= n_rows * n_series * n_values
        if self._points < 0 or self._values < 0:
            over = f"more than {self.max_points} points" if self._points < 0 else "more than may be read at once"
            raise QueryLimitError(f"the query asks for {over}; give a shorter range, a coarser tier or fewer series")
        self.check()

    def check(self) -> None:
        """Let the query go on. Raises: QueryLimitError: its time is over."""
        if monotonic_ns() > self._end_ns:
            raise QueryLimitError(
                f"the query takes longer than {self._timeout_ns / 1e9:g} s; give a simpler selector or fewer series"
            )


Consolidators = Mapping[tuple[str, Kind], Consolidator]


def pick(name: str | None, kind: Kind, consolidators: Consolidators) -> Consolidator:
    """Find the consolidator by name, or the kind's default.

    Raises: ConsolidatorError: there is none of that name, or it does not read this kind.
    """
    wanted = name or DEFAULT_FN[kind]
    found = consolidators.get((wanted, kind))
    if found is not None:
        return found
    fitting = sorted(known for known, fits in consolidators if fits == kind)
    what = f"not for a {kind}" if any(known == wanted for known, _ in consolidators) else "no such consolidator"
    raise ConsolidatorError(f"fn {wanted}: {what}; {meant(str(wanted), fitting)}choose {', '.join(fitting)}")


def tier_index(tier: int | str, schema: Schema) -> int | None:
    """Read a tier as asked for: a number, or "auto", which is None.

    Raises: RangeError: the schema has no such tier.
    """
    if tier == AUTO:
        return None
    kept = ", ".join(f"{index} ({each})" for index, each in enumerate(schema.tiers))
    try:
        index = int(tier)
        schema.tiers[index]
    except (ValueError, IndexError):
        index = -1
    if index < 0:
        raise RangeError(f"tier {tier!r}: schema {schema.name} has {kept}; or choose auto")
    return index
