"""Enter a bucket: initialise its row, then publish its header. The slow half of every record.

A handle stores straight into the current row while the clock is inside its bucket; for everything else it calls the
slow path here: entering the next bucket, late samples, a closed store, a fork.

Why no lock guards the fast half: between the handle's look at the clock and its last store there is no call, so
CPython, which hands the interpreter over only at calls, loops and function entries, runs that stretch in one piece.
The slow half empties the span first, so that from then on every record waits for its lock and the rows stand still.
"""

from __future__ import annotations

import math
import os
import threading
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core import ring
from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import StoreClosedError, StoreForkedError
from rondo_core.handles import Current
from rondo_core.labels import Kind
from rondo_core.schema import Schema
from rondo_core.slab import Slab

if TYPE_CHECKING:
    from rondo_core.slab import Cells

NAN = math.nan
_MANY = 64  # summaries: fewer are carried on quicker without numpy
INF = math.inf
_EMPTY_SUMMARY = (0.0, 0.0, INF, INF, -INF, -INF)  # sum0, sum1, min0, min1, max0, max1


def _nothing_to_fold(_open_bucket: int) -> int:
    """Stand in for consolidation in a schema of one tier."""
    return 0


def _nothing_to_rewind(_bucket: int) -> None:
    """Stand in for consolidation in a schema of one tier."""


class Writer:
    """The writing end of one schema's finest tier.

    Attributes: `current`, what handles look at on every record; `row`, the float64 cells of the current row, and
    `header`, its int64 header; `bucket`, the newest one entered; `unfolded_from`, the first bucket not yet
    consolidated; `fold` and `rewind`, consolidation's part; `refused`, counts by reason.
    """

    __slots__ = (
        "_busy",
        "_ended",
        "_lock",
        "_pid",
        "_slots",
        "_template",
        "_waiting",
        "_width",
        "bucket",
        "clock",
        "current",
        "fold",
        "header",
        "interval_ns",
        "kind",
        "n_series",
        "opened_bucket",
        "path",
        "ratio",
        "refused",
        "rewind",
        "row",
        "slab",
        "unfolded_from",
    )

    def __init__(self, schema: Schema, slab: Slab, n_series: int, clock: Clock, path: str) -> None:
        """Take up the slab where its last writer left it."""
        self.slab, self.clock, self.path = slab, clock, path
        self.kind: Kind = schema.kind
        self.interval_ns = schema.tiers[0].interval_ns
        self.ratio = schema.ratio(1) if len(schema.tiers) > 1 else 1
        self.n_series = 0
        self.fold: Callable[[int], int] = _nothing_to_fold
        self.unfolded_from = 1 << 62
        self.rewind: Callable[[int], None] = _nothing_to_rewind
        self.refused = {"late": 0, "future": 0, "invalid": 0, "taken_back": 0}
        self._slots, self._width = schema.tiers[0].slot_count, schema.max_series
        self._lock = threading.RLock()
        self._pid = os.getpid()
        self._ended = ""
        self._busy = False
        self._waiting: deque[tuple[Callable[[int, float, int], None], int, float, int]] = deque()
        # What a new row begins with; a counter's begins with the row before.
        cells = (slab.row_words * 8 - 16) // 8
        self._template: Cells = memoryview(array("d", [NAN]) * cells)
        self.current = Current(self, clock, clock is wall_ns)
        self.row = slab.row_cells(0)
        self.header = slab.row_header(0)
        self.bucket = self._newest()
        self.opened_bucket = ring.bucket_of(clock(), self.interval_ns)
        self._make_room(n_series)
        slab.change()  # the last writer may have been killed in the middle of one
        if self.bucket:
            self._publish(self.bucket)
            if self.header[1] % 2:  # or of a batch
                self.header[1] += 1
        slab.changed()

    # -- what a store asks

    def add_series(self, column: int) -> None:
        """Make room for a series that was just declared: zero for a counter or a summary, absent for a gauge.

        Raises: StoreClosedError, StoreForkedError.
        """
        self._alone(self._add_series, column, NAN, self.clock())

    def _add_series(self, column: int, _value: float, now_ns: int) -> None:
        self._make_room(column + 1)
        if self.kind == "gauge":
            return
        self._enter(now_ns)
        if self.kind == "summary":
            self._start_summary(self.row, column, 0.0, 0.0)
        elif math.isnan(self.row[column]):
            self.row[column] = 0.0

    def enter(self, now_ns: int) -> bool:
        """Make the bucket of `now_ns` the current one, unless it is past; say whether it is the current one now.

        Raises: StoreClosedError, StoreForkedError.
        """
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        if bucket != self.bucket or self._ended or self._pid != os.getpid():
            self._alone(self._enter_only, 0, NAN, now_ns)
        return bucket == self.bucket

    def _enter_only(self, _column: int, _value: float, now_ns: int) -> None:
        self._enter(now_ns)

    def _enter(self, now_ns: int) -> bool:
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        if bucket > self.bucket:
            if now_ns - self.interval_ns > self.clock():
                self.refused["future"] += 1
                return False
            self._advance(bucket)
        return bucket == self.bucket

    def take_back_future(self) -> bool:
        """Where the clock now stands two buckets or more before the newest, drop the rows of that taken-back future.

        Totals are kept: they go on in the present bucket. Says whether anything was dropped.
        """
        newest, now_ns = self.bucket, self.clock()
        if now_ns // self.interval_ns < newest - 1 and not self._ended and self._pid == os.getpid():
            self._alone(self._take_back, 0, NAN, now_ns)
        return self.bucket < newest

    def _take_back(self, _column: int, _value: float, now_ns: int) -> None:
        present = ring.bucket_of(now_ns, self.interval_ns)
        if not self.bucket or present >= self.bucket - 1:
            return
        self._carry(present)
        headers = [self.slab.row_header(slot) for slot in range(self._slots)]
        # Oldest first, so that a process killed in between leaves the newest totals. A dropped row keeps the mark of
        # who took it: what lay there before is not to be looked for in this tier.
        for header in sorted(headers, key=lambda header: ring.occupant(header[0])):
            if header[0] > present:
                header[0] = ~header[0]
                self.refused["taken_back"] += 1
        self.unfolded_from = min(self.unfolded_from, present // self.ratio * self.ratio)
        self.opened_bucket = present
        self._publish(present)

    def stop(self, ended: str) -> None:
        """Send every further record into the slow path, which refuses it."""
        with self._lock:
            self._ended = ended
            self.current.point_nowhere()

    def forked(self) -> None:
        """Do the same in a child process, without a lock that a thread of the parent may hold."""
        self.current.point_nowhere()
        self._lock = threading.RLock()
        self._busy = False
        self._waiting.clear()

    # -- the slow path of the handles

    def set_slow(self, column: int, value: float, now_ns: int) -> None:
        """Store a gauge's value outside the current bucket.

        Raises: StoreClosedError, StoreForkedError.
        """
        self._alone(self._set, column, value, now_ns)

    def inc_slow(self, column: int, amount: float, now_ns: int) -> None:
        """Add to a counter outside the current bucket: a late increment counts in every row from its own on.

        Raises: StoreClosedError, StoreForkedError.
        """
        if 0.0 <= amount < INF:
            self._alone(self._inc, column, amount, now_ns)
        else:
            self.refused["invalid"] += 1

    def observe_slow(self, column: int, value: float, now_ns: int) -> None:
        """Take a summary's observation outside the current bucket.

        Raises: StoreClosedError, StoreForkedError.
        """
        if -INF < value < INF:
            self._alone(self._observe, column, value, now_ns)
        else:
            self.refused["invalid"] += 1

    def _alone(self, call: Callable[[int, float, int], None], column: int, value: float, now_ns: int) -> None:
        """Run one slow record at a time; one from a signal handler in the middle of another waits for its end.

        Raises: StoreClosedError, StoreForkedError.
        """
        with self._lock:
            if self._ended or self._pid != os.getpid():
                self._refuse_all()
            self._waiting.append((call, column, value, now_ns))
            if self._busy:
                return
            self._busy = True
            self.slab.change()
            try:
                while self._waiting:
                    call, column, value, now_ns = self._waiting.popleft()
                    call(column, value, now_ns)
            finally:
                self._busy = False  # no call lies between the last look at what waits and this
                self.slab.changed()

    def _set(self, column: int, value: float, now_ns: int) -> None:
        if self._enter(now_ns):
            self.row[column] = value
        elif (row := self._late_row(now_ns)) is not None:
            row[column] = value
            self._changed(ring.bucket_of(now_ns, self.interval_ns))

    def _inc(self, column: int, amount: float, now_ns: int) -> None:
        if self._enter(now_ns):
            self.row[column] += amount
            return
        first = max(ring.bucket_of(now_ns, self.interval_ns), self._oldest_open(self.bucket))
        self._changed(first)
        # The newest first: a process killed in between leaves no total above a later one.
        for row in reversed(self._rows_from(first)):
            row[column] += amount
        self._changed(first)

    def _observe(self, column: int, value: float, now_ns: int) -> None:
        if self._enter(now_ns):
            if math.isnan(self.row[column]):
                self._start_summary(self.row, column, 0.0, 0.0)
            observe(self.row, column, self._width, value)
            return
        row = self._late_row(now_ns)
        if row is None:
            return
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        later = self._rows_from(bucket + 1)
        base, total = 7 * self._width + column, 8 * self._width + column
        if math.isnan(row[column]):
            born = bool(later) and not math.isnan(later[0][base])
            self._start_summary(row, column, *((later[0][base], later[0][total]) if born else (0.0, 0.0)))
        for each in reversed(later):
            each[base] += 1.0
            each[total] += value
        observe(row, column, self._width, value)
        self._changed(bucket)

    # -- rows

    def _newest(self) -> int:
        words, step, first = self.slab.words, self.slab.row_words, self.slab.row_word(0)
        return max(0, *words[first : first + self._slots * step : step].tolist())

    def _row(self, bucket: int) -> Cells:
        return self.slab.row_cells(ring.slot_of(bucket, self._slots))

    def _holds(self, bucket: int) -> bool:
        held: int = self.slab.words[self.slab.row_word(ring.slot_of(bucket, self._slots))]
        return held == bucket

    def _publish(self, bucket: int) -> None:
        self.bucket = bucket
        self.row = self._row(bucket)
        self.header = self.slab.row_header(ring.slot_of(bucket, self._slots))
        start_ns = ring.start_ns(bucket, self.interval_ns)
        self.current.point_at(self.row, self.header, start_ns, start_ns + self.interval_ns)

    def _advance(self, bucket: int) -> None:
        """Enter a bucket newer than any before."""
        if bucket - self._slots >= self.unfolded_from:
            self.fold(bucket)
        old = self.bucket
        self._carry(bucket)
        self.unfolded_from = min(self.unfolded_from, bucket)
        if old and self.kind == "counter":
            self._fill_between(max(old + 1, self.opened_bucket, self._oldest_open(bucket)), bucket)
        self._publish(bucket)

    def _carry(self, bucket: int) -> None:
        """Initialise the bucket's row from the newest one; until the next `_publish` every record waits.

        Where both have the same slot, the totals also stand in the slot before until the row is whole, so that a
        process killed in between does not take them with it.
        """
        self.current.point_nowhere()
        before: Cells = memoryview(array("d", self.row)) if self.bucket else self._template
        staged = bool(self.bucket) and (bucket - self.bucket) % self._slots == 0
        if staged:
            self._write_row(bucket - 1, before)
        self._write_row(bucket, before)
        if staged:
            self.slab.row_header(ring.slot_of(bucket - 1, self._slots))[0] = ~(bucket - 1)

    def _write_row(self, bucket: int, before: Cells) -> None:
        header, row = self.slab.row_header(ring.slot_of(bucket, self._slots)), self._row(bucket)
        known = header[0] == bucket  # a clock that stepped back enters it a second time: what it holds stays
        header[0] = ~bucket
        header[1] += 2  # a reader that saw the row before sees that it was written since
        if self.kind == "counter":
            row[:] = before
        elif not known:
            row[:] = self._template
        if self.kind == "summary" and self.bucket:
            self._set_bases(row, before)
        header[0] = bucket

    def _fill_between(self, first: int, end: int) -> None:
        """Give the buckets in which this live process added nothing their totals: a counter has no gap."""
        before = self._row(end)
        for bucket in range(first, end):
            self._write_row(bucket, before)
        self._changed(first)

    def _oldest_open(self, newest: int) -> int:
        """The earliest bucket that may still change: its whole coarse window is in the ring that ends at `newest`."""
        oldest = newest - self._slots + 1
        return -(-oldest // self.ratio) * self.ratio

    def _late_row(self, now_ns: int) -> Cells | None:
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        if bucket > self.bucket:
            return None
        if not self.bucket or bucket < max(self._oldest_open(self.bucket), 1):
            self.refused["late"] += 1
            return None
        if not self._holds(bucket):
            header = self.slab.row_header(ring.slot_of(bucket, self._slots))
            header[0] = ~bucket
            row = self._row(bucket)
            row[:] = self._template
            if self.kind == "summary":
                later = self._rows_from(bucket + 1)[0]
                width = self._width
                row[7 * width :] = later[7 * width :]
            header[0] = bucket
        self._changed(bucket)
        return self._row(bucket)

    def _changed(self, bucket: int) -> None:
        """Have the windows folded again that hold a bucket; called before it changes, for a kill, and after."""
        start = bucket // self.ratio * self.ratio
        self.rewind(start)
        self.unfolded_from = min(self.unfolded_from, start)

    def _rows_from(self, bucket: int) -> list[Cells]:
        """Give the rows from a bucket on to the newest, oldest first."""
        first = max(bucket, self.bucket - self._slots + 1, 1)
        return [self._row(later) for later in range(first, self.bucket + 1) if self._holds(later)]

    # -- summaries

    def _make_room(self, n_series: int) -> None:
        """Let rows begin with room for as many series; a summary's is empty."""
        new, self.n_series = range(self.n_series, n_series), max(self.n_series, n_series)
        if self.kind == "summary" and new:
            for cell, value in enumerate((0.0, *_EMPTY_SUMMARY)):
                first = cell * self._width + new.start
                self._template[first : first + len(new)] = array("d", [value]) * len(new)

    def _start_summary(self, row: Cells, column: int, count_base: float, sum_base: float) -> None:
        width = self._width
        if not math.isnan(row[column]) and not math.isnan(row[8 * width + column]):
            return
        for cell, value in enumerate((*_EMPTY_SUMMARY, count_base, sum_base), start=1):
            row[cell * width + column] = value
        row[column] = 0.0

    def _set_bases(self, row: Cells, before: Cells) -> None:
        """Let the totals of `row`, bases and what it holds itself, be those of `before`."""
        width = self._width
        if self.n_series > _MANY:
            _set_many_bases(row, before, width, self.n_series)
            return
        for column in range(self.n_series):
            count = before[column]
            if not math.isnan(count):
                if math.isnan(row[column]):
                    self._start_summary(row, column, 0.0, 0.0)
                mine = row[column]
                total = before[8 * width + column] + before[(1 + (count < 0)) * width + column]
                row[7 * width + column] = before[7 * width + column] + abs(count) - abs(mine)
                row[8 * width + column] = total - row[(1 + (mine < 0)) * width + column]

    def _refuse_all(self) -> None:
        if self._pid != os.getpid():
            raise StoreForkedError(
                f"{self.path}: opened before fork by process {self._pid}; open a store of your own here"
            )
        raise StoreClosedError(f"{self.path}: closed; open it again to record")


def _set_many_bases(row: Cells, before: Cells, width: int, n_series: int) -> None:
    """Do what `Writer._set_bases` does for many summaries at once."""
    import numpy as np

    new, old = (np.asarray(each)[: 9 * width].reshape(9, width)[:, :n_series] for each in (row, before))
    alive = ~np.isnan(old[0])
    starting = alive & np.isnan(new[0])
    for cell, value in enumerate((0.0, *_EMPTY_SUMMARY, 0.0, 0.0)):
        new[cell, starting] = value
    counts = old[7] + np.abs(old[0]) - np.abs(new[0])
    sums = old[8] + np.where(old[0] < 0, old[2], old[1]) - np.where(new[0] < 0, new[2], new[1])
    new[7, alive], new[8, alive] = counts[alive], sums[alive]


def observe(row: Cells, column: int, width: int, value: float) -> None:
    """Take one observation into a summary's cells of a row: write the copy that is not in use, then publish it."""
    count = row[column]
    old, new = (width, 0) if count < 0.0 else (0, width)
    row[width + new + column] = row[width + old + column] + value
    low = row[3 * width + old + column]
    row[3 * width + new + column] = low if low < value else value
    high = row[5 * width + old + column]
    row[5 * width + new + column] = high if high > value else value
    row[column] = 1.0 - count if count < 0.0 else -1.0 - count
