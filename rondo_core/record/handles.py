"""Counter, Summary and what all handles share: the hot path, and nothing else; gauges and batches stand beside it.

A record is a clock, a comparison with the current bucket and one store into the mapped row; everything else is the
slow path in writer.py. Nothing here raises about data: what cannot be taken is counted by the writer.
Threads may share a handle; after fork, and after the store was closed, a handle refuses with a clear error.

Compiled, cells are reached by address. That is safe because a row is as long as was said when its `Current` was made,
a handle's places in it are looked at when the handle is bound, neither changes afterwards, and no code of another's
runs between the look at the bucket and the last store. As Python, a value may run code in the middle of a store; a
row that is left meanwhile is released, so that the store fails and the record takes the slow path.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any, NoReturn

from rondo_core.errors import UsageError
from rondo_core.record import timing, wrapping

if TYPE_CHECKING:
    import cython  # the compiler's own name; where the file is not compiled, the package is not looked for
else:
    from rondo_core.record import cython_shadow as cython
if cython.compiled:
    from cython.cimports.libc.math import log2
    from cython.cimports.rondo_core.record import system_time as time
else:
    import time
    from math import ceil, log2

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ParamSpec, TypeVar

    from rondo_core.clock import Clock
    from rondo_core.model.labels import Series
    from rondo_core.record.admission import Admission
    from rondo_core.storage.slab import Cells, Words

    P = ParamSpec("P")
    R = TypeVar("R")
    # By another name than the compiler knows, which would make C's types of them and raise where another is given.
    Number = float
    Instant = int | None


class _UninitialisedWriter:
    """Stands for the writer of what its constructor has not made."""

    def __getattr__(self, name: str) -> NoReturn:
        raise UsageError("a handle that its constructor has not made; ask the store for one, or call super().__init__")


class Current:
    """The current row of one schema, shared by all of its handles.

    Attributes: `since_ns`, `until_ns`: the bucket's span, empty when every record must take the slow path; `n_cells`:
    how many float64 a row has; `row`: these, `row_bytes` and `row_counts`: the same as bytes and as uint32; `header`:
    int64 bucket and sequence; `clock`, and whether it is the system's; `writer`: the slow path.
    """

    __slots__ = "_kept clock header n_cells row row_bytes row_counts since_ns system_clock until_ns writer".split()  # noqa: SIM905

    def __init__(self, writer: Admission, clock: Clock, system_clock: bool, n_cells: int) -> None:
        """Point nowhere yet."""
        if cython.compiled and getattr(self, "n_cells", 0):
            raise UsageError("a current row is made once")
        self.writer, self.clock, self.system_clock, self.n_cells = writer, clock, system_clock, n_cells
        self.since_ns = 0
        self.until_ns = 0

    def read(self) -> int:
        """Read the clock."""
        return self.clock()

    def point_at(self, row: Cells, header: Words, since_ns: int, until_ns: int) -> None:
        """Let records go straight into this row while the clock is inside the span; the span moves last.

        Raises: UsageError: a row of another length than all others.
        """
        if cython.compiled:
            self._point(row, header)
        else:
            left, view = getattr(self, "row", None), row[:]
            self.row, self.header = view, header
            self.row_bytes = view.cast("B")
            self.row_counts = self.row_bytes.cast("I")
            if left is not None:
                left.release()
        self.since_ns = since_ns
        self.until_ns = until_ns

    def _point(self, row: Any, header: Any) -> None:
        """Do so where addresses are taken; see handles.pxd."""
        cells, words = row, header
        if cells.shape[0] != self.n_cells or not self.n_cells or words.shape[0] != 2:
            raise UsageError(f"a row of {cells.shape[0]} cells, where rows have {self.n_cells}")
        left = self._kept  # type: ignore[has-type]  # until nothing points there any more
        self._kept = (cells, words)
        self.row = cython.address(cells[0])
        self.header = cython.address(words[0])
        self.row_counts = cython.cast(cython.p_uint, self.row)
        del left

    def force_slow_path(self) -> None:
        """Send every record into the slow path."""
        self.since_ns = 0
        self.until_ns = 0


if not cython.compiled:
    Current.read = Current.clock  # type: ignore[assignment, method-assign, misc]  # one call less


# Whom a handle that is not made yet records for: every record ends in an error.
_NOWHERE = Current(_UninitialisedWriter(), int, False, 0)  # type: ignore[arg-type]


class Handle:
    """What every handle has: its series, or those of its batch, and the current row of their schema."""

    __slots__ = ("_current", "series")

    def __cinit__(self) -> None:
        """Be bound to nothing, where compiled code would look for a row."""
        self._current = _NOWHERE

    def _bind(self, current: Any, series: Any, first: Any, end: Any) -> None:
        """Take the cells from `first` to `end` - 1 of each row for this handle.

        Raises: UsageError: it is bound already, or rows have no such cells.
        """
        if cython.compiled and self._current is not _NOWHERE:
            raise UsageError("a handle is bound to its series once; ask the store for another")
        if not isinstance(current, Current) or not 0 <= first < end <= current.n_cells:
            raise UsageError("a handle needs a place in a store's rows; ask the store for one")
        self._current, self.series = current, series

    @property
    def current(self) -> Current:
        """The schema's current row, for a batch."""
        return self._current

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled. Raises: TypeError."""
        raise TypeError(f"{self}: a place in a store's own memory is not copied or pickled; ask the store for it")

    def __repr__(self) -> str:
        """Name the series."""
        return f"<{type(self).__name__} {self.series}>"


class Counter(Handle):
    """A total that only grows, within a bucket, across buckets and across reopenings."""

    __slots__ = ("_column",)

    def __init__(self, current: Current, series: Series) -> None:
        """Bind the series to its place; `Store.counter` does this."""
        column = int(series.column)
        self._bind(current, series, column, column + 1)
        self._column = column

    def inc(self, amount: Number = 1.0, now_ns: Instant = None) -> None:
        """Add `amount`, which is at least 0 and finite, as is the total; anything else is refused and counted."""
        current = self._current
        if now_ns is None:
            now: cython.longlong = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            number: cython.double = amount
            # True of Python's own numbers only: a sum with numpy's may be of fewer digits, and some of them warn of
            # 1e270, which a float32 has not; no finite total becomes infinite.
            if (number >= 0.0) is True and number < 1e270 and now < current.until_ns and now >= current.since_ns:
                current.row[self._column] += number
                return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.inc_slow(self._column, amount, now_ns)
        else:
            current.writer.inc_slow(self._column, number, now)

    @property
    def value(self) -> float:
        """Read the total as it stands."""
        current = self._current
        if cython.compiled and current.row == cython.NULL:
            raise UsageError(f"{self}: it has no total; ask the store for a counter")
        return current.row[self._column]


class Summary(Handle):
    """Observations, kept per bucket as count, sum, min and max; with a sketch (`sketched`) for quantiles too."""

    __slots__ = ("_cells",)
    sketched = False

    def __init__(self, current: Current, series: Series, width: int) -> None:
        """Bind the series to its cells, which lie `width` apart; `Store.summary` does this."""
        column, width = int(series.column), max(1, int(width))
        self._bind(current, series, column, 6 * width + column + 1)
        self._cells = tuple([cell * width + column for cell in range(7)])

    def observe(self, value: Number, now_ns: Instant = None) -> None:
        """Take one observation; NaN, infinities and what the bucket's sum cannot hold are refused and counted."""
        current = self._current
        if now_ns is None:
            now = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            number = value
            if (
                (((number >= 0.0) is True and number < 1e270) or ((number < 0.0) is True and number > -1e270))
                and now < current.until_ns
                and now >= current.since_ns
            ):  # see `Counter.inc`
                row = current.row
                n, sum0, sum1, min0, min1, max0, max1 = self._cells
                count = row[n]
                if count < 0.0:
                    row[sum0] = row[sum1] + number
                    bound = row[min1]
                    row[min0] = bound if bound < number else number
                    bound = row[max1]
                    row[max0] = bound if bound > number else number
                    row[n] = 1.0 - count
                else:
                    row[sum1] = row[sum0] + number
                    bound = row[min0]
                    row[min1] = bound if bound < number else number
                    bound = row[max0]
                    row[max1] = bound if bound > number else number
                    row[n] = -1.0 - count
                return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.observe_slow(self._cells[0], value, now_ns)
        else:
            current.writer.observe_slow(self._cells[0], number, now)

    def merge(self, number: Any, total: Number, lowest: Number, highest: Number, now_ns: Instant = None) -> None:
        """Take finite observations that were added up elsewhere: how many, their sum, the least and the greatest.

        What no observations can come to is refused and counted.
        """
        current = self._current
        if now_ns is None:
            now = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            if (
                not number >> 30  # a whole number, not negative; what is none has no such shift, and 0 no mean
                and ((mean := (summed := total) / (many := number)) >= (least := lowest)) is True  # see `Counter.inc`
                and (mean <= (most := highest)) is True
                and least > -1e270
                and most < 1e270
                and now < current.until_ns
                and now >= current.since_ns
            ):
                row = current.row
                n, sum0, sum1, min0, min1, max0, max1 = self._cells
                count = row[n]
                if count < 0.0:
                    row[sum0] = row[sum1] + summed
                    bound = row[min1]
                    row[min0] = bound if bound < least else least
                    bound = row[max1]
                    row[max0] = bound if bound > most else most
                    row[n] = many - count
                else:
                    row[sum1] = row[sum0] + summed
                    bound = row[min0]
                    row[min1] = bound if bound < least else least
                    bound = row[max0]
                    row[max1] = bound if bound > most else most
                    row[n] = -many - count
                return
        except Exception:  # noqa: BLE001, S110 - whatever another's object does
            pass
        current.writer.merge_slow(self._cells[0], (number, total, lowest, highest), now_ns)

    def observe_many(self, values: Any, now_ns: Instant = None) -> None:
        """Take observations at one instant, each as `observe` does: all of them at once where none is to be refused.

        Args: `values`: an array of float64 (array, numpy), which is quickest, or whatever gives numbers one by one.
        """
        current = self._current
        if now_ns is None:
            now_ns = current.clock()
        numbers = current.writer.floats(values)
        if type(numbers) is array and not self.sketched:
            total, least, most = self._added_up(numbers) if len(numbers) else (0.0, 0.0, 0.0)
            if -1e270 < least <= most < 1e270 and total - total == 0.0:  # finite, all of them
                if len(numbers):
                    self.merge(len(numbers), total, least, most, now_ns)
                return
        for number in numbers:
            self.observe(number, now_ns)

    def _added_up(self, numbers: Any) -> tuple[float, float, float]:
        """Give the sum of an array of float64 added up one by one, the least and the greatest; NaN tells in it."""
        source = numbers
        total = 0.0
        least = most = source[0]
        for index in range(source.shape[0] if cython.compiled else len(source)):
            number = source[index]
            total += number
            least = number if number < least else least
            most = number if number > most else most
        return total, least, most

    def time(self) -> timing.Timer:
        """Give what observes how long a block takes, in seconds: for `with`, `async with`, and as a decorator."""
        return timing.Timer(self)

    def timed(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function so that each call's duration, in seconds, is observed, whether or not it raises.

        Of a coroutine, a generator or an asynchronous generator it is the time from its first step to its end.
        Raises: UsageError: it is no function.
        """
        timed: Callable[P, R] = wrapping.inside(self.time, function)
        return timed


class SketchedSummary(Summary):
    """Observations of at least 0, kept per bucket as count, sum, min, max and what quantiles are read from."""

    __slots__ = ("_base", "_bucket_ns", "_factor", "_lowest", "_version", "_zero")
    sketched = True

    def __init__(self, current: Current, series: Series, width: int, n_cells: int) -> None:
        """Bind the series to its cells; where its sketch, of `n_cells`, stands is known once a bucket has one."""
        super().__init__(current, series, width)
        self._factor, self._lowest, self._base, self._bucket_ns, self._version = 1.0, 0, 0, -1, 0
        self._zero = max(1, int(n_cells))

    def allow_fast_path(self, factor: float, lowest: int, base: int, bucket_ns: int) -> None:
        """Count by itself in the bucket that begins at `bucket_ns`; see `SketchCells.add`.

        Raises: UsageError: rows have no such cells.
        """
        if not 0 <= (base := int(base)) < 2 * self._current.n_cells - self._zero:
            raise UsageError(f"counts from {base} on: not within a row")
        self._bucket_ns = -1
        self._factor, self._lowest, self._base, self._bucket_ns = factor, lowest, base, bucket_ns
        self._version += 1

    def force_slow_path(self) -> None:
        """Leave every observation to the slow path, until `allow_fast_path`."""
        self._bucket_ns = -1

    def observe(self, value: Number, now_ns: Instant = None) -> None:  # noqa: C901 - all of it in one piece
        """Take one observation; what `Summary.observe` refuses is refused and counted, and so is a negative one."""
        current = self._current
        version = self._version
        place = -1
        try:
            number = value
            plain = (number > 0.0) is True and number < 1e270  # see `Counter.inc`
            if not plain and (number == 0.0) is True:
                place = self._zero
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.observe_slow(self._cells[0], value, now_ns)
            return
        if plain:
            place = ceil(log2(number) * self._factor) - self._lowest
            if place >= self._zero:
                place = -1
        if now_ns is None:
            now = time.time_ns() if current.system_clock else current.read()
        try:
            if now_ns is not None:
                now = now_ns
            if (
                now < current.until_ns
                and now >= current.since_ns
                and place >= 0
                and current.since_ns == self._bucket_ns
                and version == self._version
            ):
                row = current.row
                n, sum0, sum1, min0, min1, max0, max1 = self._cells
                count = row[n]
                if count < 0.0:
                    row[sum0] = row[sum1] + number  # what cannot be added is not counted
                    current.row_counts[self._base + place] += 1
                    bound = row[min1]
                    row[min0] = bound if bound < number else number
                    bound = row[max1]
                    row[max0] = bound if bound > number else number
                    row[n] = 1.0 - count
                else:
                    row[sum1] = row[sum0] + number
                    current.row_counts[self._base + place] += 1
                    bound = row[min0]
                    row[min1] = bound if bound < number else number
                    bound = row[max0]
                    row[max1] = bound if bound > number else number
                    row[n] = -1.0 - count
                return
        except Exception:  # noqa: BLE001 - whatever another's object does
            current.writer.observe_slow(self._cells[0], value, now_ns)
        else:
            current.writer.observe_slow(self._cells[0], number, now)

    def merge(self, number: Any, total: Number, lowest: Number, highest: Number, now_ns: Instant = None) -> None:  # noqa: ARG002 - it takes none
        """Refuse: sums say nothing of where each observation counts. Raises: UsageError."""
        raise UsageError(f"{self.series}: its schema keeps a sketch, which needs every observation; use observe")
