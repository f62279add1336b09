"""GaugeBatch and CounterBatch: series that are recorded together by one call; the hot path, as in handles.py."""

from __future__ import annotations

import struct
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rondo_core.errors import UsageError

if TYPE_CHECKING:
    import cython
else:
    from rondo_core.record import cython_shadow as cython
if not cython.compiled:
    import time

    from rondo_core.record.gauges import PeakGauge
    from rondo_core.record.handles import Handle
else:
    from cython.cimports.rondo_core.record import system_time as time  # type: ignore[no-redef]
    from cython.cimports.rondo_core.record.gauges import PeakGauge  # type: ignore[no-redef]
    from cython.cimports.rondo_core.record.handles import Handle  # type: ignore[no-redef]

if TYPE_CHECKING:
    from rondo_core.record.gauges import Gauge
    from rondo_core.record.handles import Counter

    take_floats: Any  # of batches.pxd
    Instant = int | None


_REAL = (float, int)  # and what is made of them, as numpy's float64


def _side_by_side(handles: Any, what: str) -> Any:
    """Give a schema's handles as a list.

    Raises: UsageError: there is none, or they do not lie side by side, in order.
    """
    taken: list[Any] = []
    for handle in handles:  # one by one: some have no end
        series, first = handle.series, (taken or [handle])[0].series
        if series.schema != first.schema or series.column != first.column + len(taken):
            taken = []
            break
        taken.append(handle)
    if not taken:
        raise UsageError(f"batch: take {what} of one schema in the order of their declaration, none left out")
    return taken


class HandleBatch(Handle):
    """What batches have: their series, side by side in a row, and room for as many numbers."""

    __slots__ = ("_column", "_count", "_scratch", "_taken")

    def _place(self, current: Any, series: Any, column: Any, end: Any) -> None:
        """Bind it to the series from `column` on, whose cells end before `end`."""
        self._bind(current, series, column, end)
        count = len(series)
        if cython.compiled:
            self._scratch = array("d", bytes(8 * count))
            self._taken = cython.address(self._scratch[0])
        self._column, self._count = column, count

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<{type(self).__name__} of {len(self.series)}: {self.series[0]} ...>"


class GaugeBatch(HandleBatch):
    """Gauges that are set together: one call, one contiguous store, and a reader sees all of it or none."""

    __slots__ = ("_bytes", "_pack", "_slice", "_width")

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        """Bind gauges of one schema; those declared one after the other lie side by side.

        Raises: UsageError: there is none, or they belong to different schemas or are out of order.
        """
        taken = _side_by_side(gauges, "gauges")
        column, count = int(taken[0].series.column), len(taken)
        width = taken[0].width if isinstance(taken[0], PeakGauge) else 0
        self._place(taken[0].current, tuple([each.series for each in taken]), column, 2 * width + column + count)
        self._width = width
        self._slice = slice(column, column + count)
        self._bytes = slice(column * 8, (column + count) * 8)
        self._pack = struct.Struct(f"={count}d").pack

    def set(self, values: Any, now_ns: Instant = None) -> None:  # noqa: C901 - all of it in one piece
        """Set every gauge of the batch in the same bucket; where one of the values is no number, none is set.

        Args: `values`: as many floats as there are gauges, as a list, a tuple or an array of float64 (array, numpy);
            other arrays and sequences of numbers take longer.
        Raises: ValueError: the number of values is not that of the gauges.
        """
        if cython.compiled:
            if not self._set_compiled(values, now_ns):
                self._set_slow(values, now_ns)
            return
        if self._width:
            self._set_slow(values, now_ns)
            return
        current = self._current
        now = (time.time_ns() if current.system_clock else current.read()) if now_ns is None else now_ns
        kind = values.__class__
        try:
            if kind is list or kind is tuple:
                packed = self._pack(*values) if isinstance(values[0], _REAL) else None  # else complex, perhaps
                if packed and current.since_ns <= now < current.until_ns:
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
        except struct.error:  # too many or too few, of a list that changes meanwhile, or no number
            self._set_slow(values, now_ns)
        except Exception:
            if self._set_slow(values, now_ns) and (kind is list or kind is tuple) and type(now) is int:
                raise  # a signal's handler did, and not the values or the instant, which are taken
        else:
            self._set_slow(values, now_ns)

    def _set_compiled(self, values, now_ns) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001, C901 - see batches.pxd
        """Do the same, and say whether it is done; no code of another's runs any more when the values are looked at."""
        current, one_by_one = self._current, type(values) is list or type(values) is tuple
        try:
            if not one_by_one:
                source = values
            if now_ns is None:
                now = time.time_ns() if current.system_clock else current.read()
            if now_ns is not None:
                now = now_ns
            count = self._count
            if one_by_one:
                source = self._scratch
                if len(values) != count or not take_floats(values, self._taken, count):  # noqa: F821 - see batches.pxd
                    return False
            if source.shape[0] == count and now < current.until_ns and now >= current.since_ns:
                header, row, width = current.header, current.row + self._column, self._width
                header[1] += 1
                for index in range(count):
                    row[index] = source[index]
                if width:
                    for index in range(count):
                        number = source[index]
                        if not number >= row[width + index]:  # NaN compares with nothing
                            row[width + index] = number
                        if not number <= row[2 * width + index]:
                            row[2 * width + index] = number
                header[1] += 1
                return True
        except Exception:  # noqa: BLE001, S110 - whatever another's object does
            pass
        return False

    def _set_slow(self, values: Any, now_ns: Any) -> bool:
        """Leave it to the writer; say whether the values were numbers, and the instant one."""
        return self._current.writer.set_many_slow(self._column, values, self._count, now_ns)


class CounterBatch(HandleBatch):
    """Counters that grow together: one call, and a reader sees all of it or none."""

    __slots__ = ()

    def __init__(self, counters: Sequence[Counter]) -> None:
        """Bind counters of one schema; those declared one after the other lie side by side.

        Raises: UsageError: there is none, or they belong to different schemas or are out of order.
        """
        taken = _side_by_side(counters, "counters")
        column = int(taken[0].series.column)
        self._place(taken[0].current, tuple([each.series for each in taken]), column, column + len(taken))

    def inc(self, amounts: Any, now_ns: Instant = None) -> None:
        """Add to every counter of the batch in the same bucket; where one of the amounts is refused, none is added.

        Args: `amounts`: as many as there are counters, each as `Counter.inc` takes it; see `GaugeBatch.set`.
        Raises: ValueError: the number of amounts is not that of the counters.
        """
        if cython.compiled and self._inc_compiled(amounts, now_ns):
            return
        self._current.writer.inc_many_slow(self._column, amounts, self._count, now_ns)

    def _inc_compiled(self, amounts, now_ns) -> bool:  # type: ignore[no-untyped-def]  # noqa: ANN001, C901 - see batches.pxd
        """Do so where all of it is plain, and say whether it is done; see `GaugeBatch._set_compiled`."""
        current, one_by_one = self._current, type(amounts) is list or type(amounts) is tuple
        try:
            if not one_by_one:
                source = amounts
            if now_ns is None:
                now = time.time_ns() if current.system_clock else current.read()
            if now_ns is not None:
                now = now_ns
            count = self._count
            if one_by_one:
                source = self._scratch
                if len(amounts) != count or not take_floats(amounts, self._taken, count):  # noqa: F821 - see batches.pxd
                    return False
            if source.shape[0] == count and now < current.until_ns and now >= current.since_ns:
                header, row = current.header, current.row + self._column
                for index in range(count):
                    number = source[index]
                    if not 0.0 <= number < 1e270:  # see `Counter.inc`
                        return False
                header[1] += 1
                for index in range(count):
                    row[index] += source[index]
                header[1] += 1
                return True
        except Exception:  # noqa: BLE001, S110 - whatever another's object does
            pass
        return False
