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
from typing import Any

from rondo_core.errors import UsageError
from rondo_core.labels import Series
from rondo_core.writer import Writer


class Counter:
    """A total that only grows, within a bucket, across buckets and across reopenings."""

    __slots__ = ("_column", "_writer", "series")

    def __init__(self, writer: Writer, series: Series) -> None:
        """Bind the series to its place; `Store.counter` does this."""
        self._writer, self._column, self.series = writer, series.column, series

    def inc(self, amount: float = 1.0, now_ns: int | None = None) -> None:
        """Add `amount`, which is at least 0 and finite; anything else is refused and counted."""
        writer = self._writer
        if now_ns is None:
            now_ns = writer.clock()
        if writer.since_ns <= now_ns < writer.until_ns and 0.0 <= amount < 1e999:
            writer.row[self._column] += amount
        else:
            writer.inc_slow(self._column, amount, now_ns)

    @property
    def value(self) -> float:
        """Read the total as it stands."""
        return self._writer.row[self._column]

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Counter {self.series}>"


class Gauge:
    """A value that goes up and down; a bucket keeps the last one set in it."""

    __slots__ = ("_column", "_writer", "series")

    def __init__(self, writer: Writer, series: Series) -> None:
        """Bind the series to its place; `Store.gauge` does this."""
        self._writer, self._column, self.series = writer, series.column, series

    def set(self, value: float, now_ns: int | None = None) -> None:
        """Make `value` the bucket's; infinities are values, NaN makes the bucket absent."""
        writer = self._writer
        if now_ns is None:
            now_ns = writer.clock()
        if writer.since_ns <= now_ns < writer.until_ns:
            writer.row[self._column] = value
        else:
            writer.set_slow(self._column, value, now_ns)

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Gauge {self.series}>"


class Summary:
    """Observations, kept per bucket as count, sum, min and max."""

    __slots__ = ("_cells", "_writer", "series")

    def __init__(self, writer: Writer, series: Series, width: int) -> None:
        """Bind the series to its cells, which lie `width` apart; `Store.summary` does this."""
        self._writer, self.series = writer, series
        self._cells = tuple(cell * width + series.column for cell in range(7))

    def observe(self, value: float, now_ns: int | None = None) -> None:
        """Take one observation; NaN and infinities are refused and counted."""
        writer = self._writer
        if now_ns is None:
            now_ns = writer.clock()
        if writer.since_ns <= now_ns < writer.until_ns and -1e999 < value < 1e999:
            row = writer.row
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
            self._writer.observe_slow(self._cells[0], value, now_ns)

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe how long the block takes, in seconds, whether or not it raises."""
        start = perf_counter()
        try:
            yield
        finally:
            self.observe(perf_counter() - start)

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function so that each call's duration, in seconds, is observed."""

        @wraps(function)
        def wrapper(*args: object, **kwargs: object) -> object:
            with self.time():
                return function(*args, **kwargs)

        return wrapper

    def __repr__(self) -> str:
        """Name the series."""
        return f"<Summary {self.series}>"


class GaugeBatch:
    """Gauges that are set together: one call, one contiguous store, and a reader sees all of it or none."""

    __slots__ = ("_bytes", "_columns", "_pack", "_slice", "_writer", "series")

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        """Bind gauges of one schema; those declared one after the other lie side by side.

        Raises: UsageError: there is none, or they belong to different schemas or are out of order.
        """
        writers = {id(gauge._writer) for gauge in gauges}  # noqa: SLF001 - its own kind
        columns = [gauge._column for gauge in gauges]  # noqa: SLF001
        if len(writers) != 1 or columns != list(range(columns[0], columns[0] + len(columns))):
            raise UsageError("batch: take gauges of one schema in the order of their declaration, none left out")
        self._writer = gauges[0]._writer  # noqa: SLF001
        self._columns = columns
        self._slice = slice(columns[0], columns[-1] + 1)
        self._bytes = slice(columns[0] * 8, columns[-1] * 8 + 8)
        self._pack = struct.Struct(f"={len(columns)}d").pack
        self.series = tuple(gauge.series for gauge in gauges)

    def set(self, values: Any, now_ns: int | None = None) -> None:
        """Set every gauge of the batch in the same bucket.

        Args: `values`: as many floats as there are gauges, as a list, a tuple or an array of float64 (array, numpy).
        Raises: ValueError: the number of values is not that of the gauges.
        """
        writer = self._writer
        if now_ns is None:
            now_ns = writer.clock()
        if values.__class__ is list or values.__class__ is tuple:
            try:
                packed = self._pack(*values)
            except struct.error as error:
                raise ValueError(f"batch of {len(self.series)} gauges: {error}") from None
            if writer.since_ns <= now_ns < writer.until_ns:
                header = writer.header
                header[1] += 1
                writer.row_bytes[self._bytes] = packed
                header[1] += 1
                return
        elif writer.since_ns <= now_ns < writer.until_ns:
            header = writer.header
            header[1] += 1
            try:
                writer.row[self._slice] = values
            finally:
                header[1] += 1
            return
        self._set_slow(values, now_ns)

    def _set_slow(self, values: Any, now_ns: int) -> None:
        floats = [float(value) for value in values]
        if len(floats) != len(self._columns):
            raise ValueError(f"batch: {len(floats)} values for {len(self._columns)} gauges")
        if self._writer.enter(now_ns):
            self.set(array("d", floats), now_ns)
            return
        for column, value in zip(self._columns, floats, strict=True):
            self._writer.set_slow(column, value, now_ns)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<GaugeBatch of {len(self.series)}: {self.series[0]} ...>"
