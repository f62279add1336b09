"""Gauge and PeakGauge: values that go up and down, set or changed; the hot path, as in handles.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rondo_core.record import timing

if TYPE_CHECKING:
    import cython
else:
    from rondo_core.record import cython_shadow as cython
if not cython.compiled:
    import time

    from rondo_core.record.handles import Current, Handle
else:
    from cython.cimports.rondo_core.record import system_time as time  # type: ignore[no-redef]
    from cython.cimports.rondo_core.record.handles import Current, Handle  # type: ignore[no-redef]

if TYPE_CHECKING:
    from rondo_core.model.labels import Series

    Number = float
    Instant = int | None


class Gauge(Handle):
    """A value that goes up and down; a bucket keeps the last one set in it.

    One that is changed by `inc` or `dec` goes on: each bucket that the store enters begins with its value, until the
    end of the run. The next run begins at 0.
    """

    __slots__ = ("_changes", "_column")

    def __init__(self, current: Current, series: Series) -> None:
        """Bind the series to its place; `Store.gauge` does this."""
        column = int(series.column)
        self._bind(current, series, column, column + 1)
        self._column, self._changes = column, False

    def set(self, value: Number, now_ns: Instant = None) -> None:
        """Make `value` the bucket's; infinities are values, NaN makes it absent, what is no number is counted."""
        current = self._current
        if now_ns is None:
            now: cython.longlong = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            number: cython.double = value
            if now < current.until_ns and now >= current.since_ns:
                current.row[self._column] = number
                return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.set_slow(self._column, value, now_ns)
        else:
            current.writer.set_slow(self._column, number, now)

    def inc(self, amount: Number = 1.0) -> None:
        """Change the value by a finite `amount`, now; one that was never set in this run begins at 0.

        Threads lose none of each other's changes. What is no finite number, or leaves none, is refused and counted.
        """
        current = self._current
        try:
            number: cython.double = amount
            now: cython.longlong = time.time_ns() if current.system_clock else current.read()
            if (
                now < current.until_ns
                and now >= current.since_ns
                and self._changes
                and (((number >= 0.0) is True and number < 1e270) or ((number < 0.0) is True and number > -1e270))
            ):
                held: cython.double = current.row[self._column]
                if held == held:  # noqa: PLR0124 - not absent
                    current.row[self._column] = held + number
                    return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.change_slow(self._column, amount)
        else:
            current.writer.change_slow(self._column, number)
        self._changes = True

    def dec(self, amount: Number = 1.0) -> None:
        """Change the value by the negative of `amount`; see `inc`."""
        number = amount if type(amount) is float else self._current.writer.number(amount)
        if number is not None:
            self.inc(-number)

    def track_inprogress(self) -> timing.InProgress:
        """Give what counts blocks, by `with` or `async with`, or calls of a function as long as they run.

        A coroutine or a generator runs from its first step to its end.
        """
        return timing.InProgress(self)

    def set_function(self, function: Callable[[], Any] | None) -> None:
        """Set the gauge on each tick to what the function gives; None ends that, as the store's end does.

        A function that raises leaves the second absent: it is counted, and logged once.
        """
        functions = self._current.writer.functions
        if function is None:
            functions.pop(self, None)
        else:
            functions[self] = function

    def set_to_current_time(self) -> None:
        """Set it to the present, in seconds since the epoch."""
        now_ns = self._current.clock()
        self.set(now_ns / 1e9, now_ns)


class PeakGauge(Gauge):
    """A gauge of which a bucket keeps the least and the greatest value too, however short it had them.

    Attributes: `width`: how far its cells lie apart: the last value, the least, the greatest.
    """

    __slots__ = ("width",)

    def __init__(self, current: Current, series: Series, width: int) -> None:
        """Bind the series to its cells; `Store.gauge` does this."""
        column, width = int(series.column), max(1, int(width))
        self._bind(current, series, column, 2 * width + column + 1)
        self._column, self._changes, self.width = column, False, width

    def set(self, value: Number, now_ns: Instant = None) -> None:
        """Make `value` the bucket's last, and its least or greatest where it is; see `Gauge.set`."""
        current = self._current
        if now_ns is None:
            now: cython.longlong = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            number: cython.double = value
            if now < current.until_ns and now >= current.since_ns:
                row = current.row
                place: cython.Py_ssize_t = self._column
                row[place] = number
                number = row[place]  # as the float that it is
                place += self.width
                if not number >= row[place]:  # NaN, which is absent, compares with nothing
                    row[place] = number
                place += self.width
                if not number <= row[place]:
                    row[place] = number
                return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.set_slow(self._column, value, now_ns)
        else:
            current.writer.set_slow(self._column, number, now)

    def inc(self, amount: Number = 1.0) -> None:
        """Change the value by a finite `amount`, now; see `Gauge.inc`."""
        current = self._current
        try:
            number: cython.double = amount
            now: cython.longlong = time.time_ns() if current.system_clock else current.read()
            if (
                now < current.until_ns
                and now >= current.since_ns
                and self._changes
                and (((number >= 0.0) is True and number < 1e270) or ((number < 0.0) is True and number > -1e270))
            ):
                row = current.row
                place: cython.Py_ssize_t = self._column
                held: cython.double = row[place]
                if held == held:  # noqa: PLR0124 - not absent
                    row[place] = held + number
                    held = row[place]
                    place += self.width
                    if not held >= row[place]:
                        row[place] = held
                    place += self.width
                    if not held <= row[place]:
                        row[place] = held
                    return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.change_slow(self._column, amount)
        else:
            current.writer.change_slow(self._column, number)
        self._changes = True
