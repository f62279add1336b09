"""Enter a bucket: initialise its row, then publish its header. The slow half of every record.

A handle stores straight into the current row while the clock is inside its bucket; for everything else it calls the
slow path here: entering the next bucket, late samples. See slow_path.py for what goes before that.
"""

from __future__ import annotations

import math
import os
import sys
from array import array
from typing import TYPE_CHECKING

from rondo_core import faults, forking
from rondo_core.clock import Clock, wall_ns
from rondo_core.model import layout, ring
from rondo_core.model.schema import Schema
from rondo_core.record import first_rows, row_backup
from rondo_core.record.admission import CAUSES, OVERFLOW, Admission
from rondo_core.record.clock_steps import ClockSteps
from rondo_core.record.gauge_cells import GaugeRows
from rondo_core.record.handles import Current
from rondo_core.record.slow_path import SlowPath
from rondo_core.record.summary_cells import SummaryRows, within
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells, Words

NAN = math.nan
INF = math.inf
Views = tuple["Cells", "Words"]  # of one row: its cells, its header
Many = tuple[int, float, float, float]  # how many observations, their sum, the least, the greatest


class Writer(SlowPath):
    """The writing end of one schema's finest tier.

    Attributes: those of `SlowPath`; `steps`, what becomes of rows when the clock steps back.
    """

    __slots__ = (
        "_gauges",
        "_schema",
        "_slots",
        "_summaries",
        "clock",
        "interval_ns",
        "kind",
        "n_series",
        "opened_bucket",
        "peaks",
        "ratio",
        "sketches",
        "steps",
    )

    def __init__(self, schema: Schema, slab: Slab | None, n_series: int, clock: Clock, path: str) -> None:
        """Take up the slab where its last writer left it; None: take up none yet."""
        self._schema, self.clock, self.kind = schema, clock, schema.kind
        self.peaks = schema.peaks
        self.interval_ns = schema.tiers[0].interval_ns
        self.ratio = schema.ratio(1) if len(schema.tiers) > 1 else 1
        self._slots, self._summaries = schema.tiers[0].slot_count, SummaryRows(schema.n_columns)
        self.n_series = 0
        template, self.sketches = first_rows.template_of(schema)  # a counter's row begins with the one before
        refused = dict.fromkeys(("late", "future", "taken_back", *CAUSES), 0)
        self._gauges = gauges = GaugeRows(self, schema, self._enter, self._late_row)
        records = gauges.set, gauges.set_many, gauges.change, self._inc, self._inc_many, self._observe
        given = Admission(refused, clock, 0.0 if schema.sketch else -INF, self._alone, records)
        super().__init__(path, refused, template, Current(given, clock, clock is wall_ns, len(template)))
        if slab is not None:
            self.resume(slab, n_series, path)

    def resume(self, slab: Slab, n_series: int, path: str) -> None:
        """Go on in a slab where its last writer left it, for the handles that there are; a child's own, too."""
        self.slab, self.path = slab, path
        self.steps = ClockSteps(self)
        killed = slab.in_change  # the last writer was, in the middle of one
        if killed:
            slab.change()
        row_backup.recover(self.slab, copies=self.kind != "gauge")
        self.bucket = max(0, *slab.buckets())
        self.opened_bucket = ring.bucket_of(self.clock(), self.interval_ns)
        self._make_room(n_series)
        self._gauges.begin_run(self.bucket)
        if self.bucket:
            slab.change()
            slab.unseal(self.bucket % self._slots)
            self.publish(self.bucket)
            slab.changed()
        if killed:
            slab.changed()

    # -- what a store asks

    @property
    def width(self) -> int:
        """How many series a row has room for."""
        return self._summaries.width

    def assign_column(self, column: int) -> None:
        """Put on record that a column is a series' from now on."""
        if not self.unkept:
            self.slab.given = max(self.slab.given, column + 1)

    def add_series(self, column: int, declared_ns: int) -> None:
        """Make room for a series that was just declared: zero for a counter or a summary, absent for a gauge.

        Its first row is that of the bucket in which it was declared, though putting it on record may end in the next.
        Raises: StoreClosedError, StoreForkedError.
        """
        if self.unkept:
            self._make_room(column + 1)
        else:
            now_ns = self.clock()
            # An instant beyond what can be kept is declared as the last that can; it is refused all the same.
            just_now = 0 <= now_ns - declared_ns < self.interval_ns and now_ns < MAX_INSTANT_NS
            self._alone(self._add_series, column, NAN, declared_ns if just_now else now_ns)

    def _add_series(self, column: int, _value: float, now_ns: int) -> None:
        self._make_room(column + 1)
        if self.kind == "gauge":
            return
        self._enter(now_ns)
        row = self.row if self.bucket else self._template  # the clock stands before all that can be kept
        if self.kind == "summary":
            self._summaries.start(row, column)
        elif math.isnan(row[column]):
            row[column] = 0.0

    def enter(self, now_ns: int) -> bool:
        """Make the bucket of `now_ns` the current one, unless it is past; say whether it is the current one now.

        Raises: StoreClosedError, StoreForkedError.
        """
        bucket = now_ns // self.interval_ns
        if bucket != self.bucket or self._ended or self._pid != os.getpid():
            self._alone(lambda _column, _value, instant_ns: self._enter(instant_ns), 0, NAN, now_ns)
        return 0 < bucket == self.bucket

    def _enter(self, now_ns: int) -> bool:
        bucket = now_ns // self.interval_ns
        if bucket > self.bucket:
            if now_ns - self.interval_ns > self.clock() or now_ns >= MAX_INSTANT_NS:
                self.refused["future"] += 1
                return False
            self._advance(bucket)
        elif bucket < self.bucket - 1 and self.clock() < ring.start_ns(self.bucket - 1, self.interval_ns):
            self._set_aside_rows(0, NAN, self.clock())
        return 0 < bucket == self.bucket

    def set_aside_future(self) -> None:
        """Where the clock stands two buckets or more before the newest, set aside what is later; totals go on."""
        now_ns = self.clock()
        if now_ns // self.interval_ns < self.bucket - 1 and not self._ended and self._pid == os.getpid():
            self._alone(self._set_aside_rows, 0, NAN, now_ns)

    def _set_aside_rows(self, _column: int, _value: float, now_ns: int) -> None:
        present = ring.bucket_of(now_ns, self.interval_ns)
        if 0 < present < self.bucket - 1:
            self.steps.set_aside_rows(present)

    def finish_clock_step(self) -> None:
        """End what a killed process had begun when its clock stepped back, or returned."""
        if self.steps.is_unfinished:
            self._alone(lambda _column, _value, _now_ns: self.steps.finish(), 0, NAN, 0)

    def forked(self, *, renewed: bool) -> None:
        """Stand still in a child process; see `SlowPath.forked`."""
        super().forked(renewed=renewed)
        if renewed and hasattr(self, "steps"):
            del self.steps  # which looks at the parent's slab

    def begin_totals(self, declared_ns: int) -> None:
        """Let the series of a store that is a child's own be there since they were declared: their totals begin at 0.

        To make its files may have taken longer than that bucket lasted, which has a row for all that.
        """
        first_rows.begin_totals(self._schema, self._template, self.n_series)
        self._enter(declared_ns)

    # -- what the slow path records, once it is known what: see `Admission`

    def _touch(self, bucket: int) -> None:
        """Take the seal off a row that is about to change; it is sealed again when the slow record is over."""
        self._touched.add(bucket)
        self.slab.unseal(ring.slot_of(bucket, self._slots))

    def _seal_touched(self) -> None:
        for bucket in self._touched:
            if bucket != self.bucket:
                slab, slot = self.slab, bucket % self._slots
                if slab.words[slab.row_word(slot)] == bucket:  # as `holds`, without the calls
                    slab.seal(slot)
        self._touched.clear()

    def seal(self, provisional: int = 0) -> None:
        """Seal the current row: at the end for good, before a sync as far as it has come."""
        with self._lock:
            if self.bucket and self.holds(self.bucket):
                self.slab.seal(ring.slot_of(self.bucket, self._slots), provisional)

    def _inc(self, column: int, amount: float, now_ns: int) -> None:
        entered = self._enter(now_ns)
        if self.row[column] + amount == INF:  # the newest row has the highest total
            self.refused[OVERFLOW] += 1
            return
        if entered:
            self.row[column] += amount
            return
        first = self._total_from(now_ns)
        if first > self.bucket or self._is_late(first):
            return
        self.changed(first)
        # The newest first: a process killed in between leaves no total above a later one.
        for bucket in reversed(self._held_from(first)):
            self._touch(bucket)
            self._row(bucket)[column] += amount
            faults.point("late.inc")
        self.changed(first)

    def _inc_many(self, column: int, amounts: array[float], now_ns: int) -> None:
        for each, amount in enumerate(amounts, start=column):
            self._inc(each, amount, now_ns)

    def _observe(self, column: int, many: Many, now_ns: int) -> None:  # noqa: C901 - one observation, late or not
        number, total, _, _ = many
        if self._enter(now_ns):
            if math.isnan(self.row[column]):
                self._summaries.start(self.row, column)
            if not self._has_room(self.row, column, many):
                return
            if self.sketches is not None:
                handle = self.sketched.get(column)
                if handle is not None:
                    handle.force_slow_path()  # other threads count in these cells, which may be about to move
                stands = self.sketches.add(self.row, column, total)
                if handle is not None:
                    handle.allow_fast_path(*stands, self.current.since_ns)
            self._summaries.observe(self.row, column, *many)
            return
        bucket = self._total_from(now_ns)
        row = self._late_row(ring.start_ns(bucket, self.interval_ns))
        if row is None:
            return
        later = [(each, self._row(each)) for each in self._held_from(bucket + 1)]
        width = self._summaries.width
        counts, sums = 7 * width + column, 8 * width + column
        if not math.isnan(row[column]) and not self._has_room(row, column, many):
            return
        if math.isnan(row[column]):
            born = bool(later) and not math.isnan(later[0][1][counts])
            self._summaries.start(row, column, *((later[0][1][counts], later[0][1][sums]) if born else (0.0, 0.0)))
        for known, each in reversed(later):
            self._touch(known)
            each[counts] += number
            faults.point("late.base")
            each[sums] = within(each[sums] + total)
            faults.point("late.bases")
        if self.sketches is not None:
            self.sketches.add_late(row, column, total)
        self._summaries.observe(row, column, *many)
        faults.point("late.observed")
        self.changed(bucket)

    def _has_room(self, row: Cells, column: int, many: Many) -> bool:
        fits = self._summaries.has_room(row, column, many[0], many[1])
        self.refused[OVERFLOW] += not fits
        return fits

    # -- rows

    def _row(self, bucket: int) -> Cells:
        return self.slab.row_cells(ring.slot_of(bucket, self._slots))

    def holds(self, bucket: int) -> bool:
        """Say whether the bucket's row is there."""
        held: int = self.slab.words[self.slab.row_word(ring.slot_of(bucket, self._slots))]
        return held == bucket

    def publish(self, bucket: int, views: Views | None = None) -> None:
        """Let records go into the bucket's row, which has no seal; `views` of it, where the caller has them."""
        start_ns = bucket * self.interval_ns
        self.bucket = bucket
        self.row, self.header = views or self.slab.row(bucket % self._slots)
        slow = bucket == self._gauges.found or ("uwsgi" in sys.modules and forking.is_untold_parent())
        end_ns = start_ns if slow else start_ns + self.interval_ns
        self.current.point_at(self.row, self.header, start_ns, end_ns)

    def _advance(self, bucket: int) -> None:
        """Enter a bucket newer than any before."""
        old = self.bucket
        returned = self.steps.step.stepped and self.steps.is_return(old, bucket)
        if bucket - self._slots >= self.unfolded_from and not returned:  # then what is to be folded is settled first
            self.fold(bucket)
        faults.point("enter.begin")
        views = self.carry(bucket)
        faults.point("enter.carried")
        if bucket < self.unfolded_from:
            self.unfolded_from = bucket
        if 0 < old < bucket - 1 and self.kind == "counter" and not returned:
            self._fill_between(max(old + 1, self.opened_bucket), bucket)
        faults.point("enter.filled")
        self.publish(bucket, views)
        if returned:
            self.steps.restore_rows(old, bucket)

    def carry(self, bucket: int) -> Views:
        """Initialise the bucket's row from the newest one, and give it; until the next `publish` every record waits.

        Where both have the same slot, a copy of the newest row stands in the slot before until the new one is whole,
        so that a process killed in between does not take the totals with it.
        """
        self.current.force_slow_path()
        if self.bucket:
            self._touched.add(self.bucket)
            if self.kind == "gauge":
                self._gauges.leave(self.row, self.n_series)
        if self.kind == "gauge" or not self.bucket:
            return self._write_row(bucket, self._template)
        if (bucket - self.bucket) % self._slots:
            return self._write_row(bucket, self.row)
        before: Cells = memoryview(bytearray(self.row)).cast("d")
        backup = row_backup.back_up(self.slab, bucket - 1, self.bucket, before)
        faults.point("enter.backed_up")
        views = self._write_row(bucket, before)
        faults.point("enter.backup_cleared")
        backup[1] += 1
        return views

    def _write_row(self, bucket: int, before: Cells) -> Views:
        row, header = views = self.slab.row(bucket % self._slots)
        known = header[0] == bucket  # a clock that stepped back enters it a second time: what it holds stays
        self._touched.add(bucket)
        # The seal goes first: a row out of sight that has one is one that is set aside.
        if known:
            header[1] = header[1] & layout.SEQUENCE_MASK | 1
        else:
            # A reader that saw the row before sees that it was written since.
            header[1] = ((header[1] | 1) + 1) & layout.SEQUENCE_MASK
            header[0] = ~bucket
        faults.point("row.begin")
        if self.kind == "counter":
            row[:] = before
        elif not known:
            row[:] = self._template
            if self.kind == "gauge":
                self._gauges.begin(row)
        if self.kind == "summary" and self.bucket:
            faults.point("row.half")
            self._summaries.carry(row, before, self.n_series)
        faults.point("row.filled")
        header[0] = bucket
        if known:
            header[1] += header[1] % 2
        return views

    def _fill_between(self, first: int, end: int) -> None:
        """Give the buckets in which this live process added nothing their totals: a counter has no gap.

        Of a longer gap than the ring can hold, while the machine slept perhaps, no bucket has them, in any tier.
        """
        if first >= end or first < self._oldest_open(end):
            return
        before = self._row(end)
        for bucket in range(first, end):
            self._write_row(bucket, before)
        self.changed(first)

    def _oldest_open(self, newest: int) -> int:
        """The earliest bucket that may still change: its whole coarse window is in the ring that ends at `newest`."""
        return -(-(newest - self._slots + 1) // self.ratio) * self.ratio

    def _late_row(self, now_ns: int) -> Cells | None:
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        if bucket > self.bucket or self._is_late(bucket):
            return None
        self._touch(bucket)
        if not self.holds(bucket):
            header = self.slab.row_header(ring.slot_of(bucket, self._slots))
            header[0] = ~bucket
            row = self._row(bucket)
            row[:] = self._template
            faults.point("late.row")
            if self.kind == "summary":
                bases = self._summaries.bases()
                row[bases] = self._row(self._held_from(bucket + 1)[0])[bases]
            header[0] = bucket
        self.changed(bucket)
        return self._row(bucket)

    def _total_from(self, now_ns: int) -> int:
        """Give the bucket from which on a total takes what is late: none before the clock stepped back, if it did.

        What was set aside then goes on from the totals before it.
        """
        bucket = ring.bucket_of(now_ns, self.interval_ns)
        known = self._oldest_open(self.bucket) <= bucket <= self.bucket
        return max(bucket, self.steps.lowest) if known else bucket

    def _is_late(self, bucket: int) -> bool:
        """Say whether a bucket can take nothing any more, and count what was for it."""
        late = not self.bucket or bucket < max(self._oldest_open(self.bucket), 1)
        self.refused["late"] += late
        return late

    def changed(self, bucket: int) -> None:
        """Have the windows folded again that hold a bucket; called before it changes, for a kill, and after."""
        start = bucket // self.ratio * self.ratio
        self.rewind(start)
        faults.point("late.rewound")
        self.unfolded_from = min(self.unfolded_from, start)

    def _held_from(self, bucket: int) -> list[int]:
        """Give the buckets that are held, from one on to the newest."""
        first = max(bucket, self.bucket - self._slots + 1, 1)
        return [later for later in range(first, self.bucket + 1) if self.holds(later)]

    def _make_room(self, n_series: int) -> None:
        """Let rows begin with room for as many series."""
        new, self.n_series = range(self.n_series, n_series), max(self.n_series, n_series)
        if self.kind == "summary" and new:
            self._summaries.make_room(self._template, new)
