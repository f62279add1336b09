"""Counter, Gauge, Summary and GaugeBatch: the hot path, and nothing else.

A record is a clock, a comparison with the current bucket and one store into the mapped row; everything else is the
slow path in writer.py. Nothing here raises about data: what cannot be taken is counted by the writer.
1e999 is infinity, written so that it is a constant to the interpreter.
Threads may share a handle; after fork, and after the store was closed, a handle refuses with a clear error.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rondo_core.errors import UsageError

try:
    import cython
except ImportError:
    from rondo_core import uncompiled as cython
if cython.compiled:
    from cython.cimports.libc.math import ceil, log2
    from cython.cimports.posix.time import CLOCK_REALTIME, clock_gettime, timespec
else:
    from math import ceil, log2

if TYPE_CHECKING:
    from rondo_core.clock import Clock
    from rondo_core.labels import Series
    from rondo_core.slab import Cells, Words
    from rondo_core.writer import Writer


P = ParamSpec("P")
R = TypeVar("R")


def _wall_ns() -> Any:
    """Read the wall clock as time.time_ns does; only compiled code calls it."""
    instant = cython.declare(timespec)
    clock_gettime(CLOCK_REALTIME, cython.address(instant))
    return instant.tv_sec * 1_000_000_000 + instant.tv_nsec


class Current:
    """The current row of one schema, shared by all of its handles.

    Attributes: `since_ns`, `until_ns`: the bucket's span, empty when every record must take the slow path; `row`:
    float64 cells, `row_bytes` and `row_counts`: the same as bytes and as uint32; `header`: int64 bucket and sequence;
    `clock`, and whether it is the system's; `writer`: the slow path.
    """

    __slots__ = ("clock", "header", "row", "row_bytes", "row_counts", "since_ns", "system_clock", "until_ns", "writer")

    def __init__(self, writer: Writer, clock: Clock, system_clock: bool) -> None:
        """Point nowhere yet."""
        self.writer, self.clock, self.system_clock = writer, clock, system_clock
        self.since_ns = 0
        self.until_ns = 0

    def point_at(self, row: Cells, header: Words, since_ns: int, until_ns: int) -> None:
        """Let records go straight into this row while the clock is inside the span; the span moves last."""
        self.row, self.row_bytes, self.header = row, row.cast("B"), header
        self.row_counts = self.row_bytes.cast("I")
        self.since_ns = since_ns
        self.until_ns = until_ns

    def point_nowhere(self) -> None:
        """Send every record into the slow path."""
        self.since_ns = 0
        self.until_ns = 0


class Counter:
    """A total that only grows, within a bucket, across buckets and across reopenings."""

    __slots__ = ("_column", "_current", "series")

    def __init__(self, current: Current, series: Series) -> None:
        """Bind the series to its place; `Store.counter` does this."""
        self._current, self._column, self.series = current, series.column, series

    def inc(self, amount: float = 1.0, now_ns: int | None = None) -> None:
        """Add `amount`, which is at least 0 and finite; anything else is refused and counted."""
        current = self._current
        if now_ns is not None:
            now = now_ns
        elif cython.compiled and current.system_clock:
            now = _wall_ns()
        else:
            now = current.clock()
        if current.since_ns <= now < current.until_ns and 0.0 <= amount < 1e999:
            current.row[self._column] += amount
        else:
            current.writer.inc_slow(self._column, amount, now)

    @property
    def value(self) -> float:
        """Read the total as it stands."""
        return self._current.row[self._column]

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Counter {self.series}>"


class Gauge:
    """A value that goes up and down; a bucket keeps the last one set in it."""

    __slots__ = ("_column", "_current", "series")

    def __init__(self, current: Current, series: Series) -> None:
        """Bind the series to its place; `Store.gauge` does this."""
        self._current, self._column, self.series = current, series.column, series

    def set(self, value: float, now_ns: int | None = None) -> None:
        """Make `value` the bucket's; infinities are values, NaN makes the bucket absent."""
        current = self._current
        if now_ns is not None:
            now = now_ns
        elif cython.compiled and current.system_clock:
            now = _wall_ns()
        else:
            now = current.clock()
        if current.since_ns <= now < current.until_ns:
            current.row[self._column] = value
        else:
            current.writer.set_slow(self._column, value, now)

    @property
    def current(self) -> Current:
        """The schema's current row, for a batch of gauges."""
        return self._current

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Gauge {self.series}>"


class Summary:
    """Observations, kept per bucket as count, sum, min and max."""

    __slots__ = ("_cells", "_current", "series")

    def __init__(self, current: Current, series: Series, width: int) -> None:
        """Bind the series to its cells, which lie `width` apart; `Store.summary` does this."""
        self._current, self.series = current, series
        self._cells = tuple(cell * width + series.column for cell in range(7))

    def observe(self, value: float, now_ns: int | None = None) -> None:
        """Take one observation; NaN and infinities are refused and counted."""
        current = self._current
        if now_ns is not None:
            now = now_ns
        elif cython.compiled and current.system_clock:
            now = _wall_ns()
        else:
            now = current.clock()
        if current.since_ns <= now < current.until_ns and -1e999 < value < 1e999:
            row = current.row
            n, sum0, sum1, min0, min1, max0, max1 = self._cells
            count = row[n]
            if count < 0.0:
                row[sum0] = row[sum1] + value
                bound = row[min1]
                row[min0] = bound if bound < value else value
                bound = row[max1]
                row[max0] = bound if bound > value else value
                row[n] = 1.0 - count
            else:
                row[sum1] = row[sum0] + value
                bound = row[min0]
                row[min1] = bound if bound < value else value
                bound = row[max0]
                row[max1] = bound if bound > value else value
                row[n] = -1.0 - count
        else:
            current.writer.observe_slow(self._cells[0], value, now)

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe how long the block takes, in seconds, whether or not it raises."""
        start = perf_counter()
        try:
            yield
        finally:
            self.observe(perf_counter() - start)

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function so that each call's duration, in seconds, is observed."""

        @wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
            with self.time():
                return function(*args, **kwargs)

        return wrapper

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Summary {self.series}>"


class SketchedSummary(Summary):
    """Observations of at least 0, kept per bucket as count, sum, min, max and what quantiles are read from."""

    __slots__ = ("_base", "_bucket_ns", "_factor", "_lowest", "_version")

    def __init__(self, current: Current, series: Series, width: int) -> None:
        """Bind the series to its cells; where its sketch stands is known after the first observation of a bucket."""
        super().__init__(current, series, width)
        self._factor, self._lowest, self._base, self._bucket_ns, self._version = 1.0, 0, 0, -1, 0

    def stand(self, factor: float, lowest: int, base: int, bucket_ns: int) -> None:
        """Count by itself in the bucket that begins at `bucket_ns`; see `SketchCells.add`."""
        self._factor, self._lowest, self._base, self._bucket_ns = factor, lowest, base, bucket_ns
        self._version += 1

    def stand_aside(self) -> None:
        """Leave every observation to the slow path, until `stand`."""
        self._bucket_ns = -1

    def observe(self, value: float, now_ns: int | None = None) -> None:
        """Take one observation; negative ones, NaN and infinities are refused and counted."""
        current = self._current
        version = self._version
        place = -1
        if 0.0 < value < 1e999:
            place = int(ceil(log2(value) * self._factor)) - self._lowest  # noqa: RUF046 - a double where compiled
            if place >= 160:
                place = -1
        elif value == 0.0:
            place = 160
        if now_ns is not None:
            now = now_ns
        elif cython.compiled and current.system_clock:
            now = _wall_ns()
        else:
            now = current.clock()
        if (
            current.since_ns <= now < current.until_ns
            and place >= 0
            and current.since_ns == self._bucket_ns
            and version == self._version
        ):
            current.row_counts[self._base + place] += 1
            row = current.row
            n, sum0, sum1, min0, min1, max0, max1 = self._cells
            count = row[n]
            if count < 0.0:
                row[sum0] = row[sum1] + value
                bound = row[min1]
                row[min0] = bound if bound < value else value
                bound = row[max1]
                row[max0] = bound if bound > value else value
                row[n] = 1.0 - count
            else:
                row[sum1] = row[sum0] + value
                bound = row[min0]
                row[min1] = bound if bound < value else value
                bound = row[max0]
                row[max1] = bound if bound > value else value
                row[n] = -1.0 - count
        else:
            current.writer.observe_slow(self._cells[0], value, now)


class GaugeBatch:
    """Gauges that are set together: one call, one contiguous store, and a reader sees all of it or none."""

    __slots__ = ("_bytes", "_column", "_count", "_current", "_pack", "_scratch", "_slice", "series")

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        """Bind gauges of one schema; those declared one after the other lie side by side.

        Raises: UsageError: there is none, or they belong to different schemas or are out of order.
        """
        first, count = gauges[0].series if gauges else None, len(gauges)
        side_by_side = [
            first is not None and gauge.series.schema == first.schema and gauge.series.column == first.column + index
            for index, gauge in enumerate(gauges)
        ]
        if first is None or not all(side_by_side):
            raise UsageError("batch: take gauges of one schema in the order of their declaration, none left out")
        self._current: Current = gauges[0].current
        self._column, self._count = first.column, count
        self._slice = slice(first.column, first.column + count)
        self._bytes = slice(first.column * 8, (first.column + count) * 8)
        self._pack = struct.Struct(f"={count}d").pack
        self._scratch = array("d", bytes(8 * count))
        self.series = tuple(gauge.series for gauge in gauges)

    def set(self, values: Any, now_ns: int | None = None) -> None:
        """Set every gauge of the batch in the same bucket.

        Args: `values`: as many floats as there are gauges, as a list, a tuple or an array of float64 (array, numpy).
        Raises: ValueError: the number of values is not that of the gauges.
        """
        if cython.compiled:
            self._set_compiled(values, now_ns)
            return
        current = self._current
        now = current.clock() if now_ns is None else now_ns
        kind = values.__class__
        if kind is list or kind is tuple:
            try:
                packed = self._pack(*values)
            except struct.error as error:
                raise ValueError(f"batch of {self._count} gauges: {error}") from None
            if current.since_ns <= now < current.until_ns:
                header = current.header
                sequence = header[1]
                header[1] = sequence + 1
                current.row_bytes[self._bytes] = packed
                header[1] = sequence + 2
                return
        elif current.since_ns <= now < current.until_ns:
            header = current.header
            sequence = header[1]
            header[1] = sequence + 1
            try:
                current.row[self._slice] = values
            finally:
                header[1] = sequence + 2
            return
        self._set_slow(values, now)

    def _set_compiled(self, values, now_ns) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - see handles.pxd
        """Do the same with the types of handles.pxd: the values first, since making floats of them may run Python."""
        scratch = self._scratch
        if values.__class__ is list or values.__class__ is tuple:
            if len(values) != self._count:
                raise ValueError(f"batch of {self._count} gauges: {len(values)} values")
            for index in range(self._count):
                scratch[index] = values[index]
        else:
            source = values
            if source.shape[0] != self._count:
                raise ValueError(f"batch of {self._count} gauges: {source.shape[0]} values")
            scratch[:] = source
        current = self._current
        if now_ns is not None:
            now = now_ns
        elif current.system_clock:
            now = _wall_ns()
        else:
            now = current.clock()
        if current.since_ns <= now < current.until_ns:
            header, row = current.header, current.row
            header[1] += 1
            for index in range(self._count):
                row[self._column + index] = scratch[index]
            header[1] += 1
        else:
            self._set_slow(values, now)

    def _set_slow(self, values: Any, now: int) -> None:
        if len(values) != self._count:
            raise ValueError(f"batch of {self._count} gauges: {len(values)} values")
        writer = self._current.writer
        if writer.enter(now) and self._current.since_ns <= now < self._current.until_ns:
            self.set(values, now)
            return
        for column, value in enumerate([float(value) for value in values], start=self._column):
            writer.set_slow(column, value, now)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<GaugeBatch of {len(self.series)}: {self.series[0]} ...>"
