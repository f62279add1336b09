"""The cells of gauges in the rows of the finest tier: set and changed after their time or first in a bucket, and peaks.

A row has a block of `width` values: the last one of each gauge; where peaks are kept, two more: the least and the
greatest. A gauge that was changed by an amount goes on: each row that is entered begins with its value. One that is
absent in the newest row, also where NaN has made it so, is changed from the value that it had before that row. In a
forked child, which takes up a slab of its own, none has a value until it is recorded there.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from itertools import compress
from math import isinf, isnan, nan
from typing import TYPE_CHECKING

from rondo_core.model import ring
from rondo_core.record.admission import OVERFLOW

if TYPE_CHECKING:
    from rondo_core.model.schema import Schema
    from rondo_core.record.writer import Writer
    from rondo_core.storage.slab import Cells

_MAYBE_NAN = bytes(top in {0x7F, 0xFF} for top in range(256))  # by a float's last byte, the first of its exponent


class GaugeRows:
    """The slow records of one writer's gauges.

    Attributes: `found`: the bucket that was there when the store was opened, in which an earlier run's values may
        stand: all that is recorded into it comes here; 0 once it is over.
    """

    def __init__(
        self,
        writer: Writer,
        schema: Schema,
        enter: Callable[[int], bool],
        late_row: Callable[[int], Cells | None],
    ) -> None:
        """Take what a row has room for from the schema; `enter` and `late_row` are the writer's."""
        self._writer, self._width, self._peaks = writer, schema.n_columns, schema.peaks
        self._enter, self._late_row = enter, late_row
        self._room = self._width if schema.kind == "gauge" else 0
        self._changed: set[int] = set()  # by an amount, once, as their handles know
        self.begin_run(0)

    def begin_run(self, bucket: int) -> None:
        """Let no gauge have a value yet, in a slab whose newest bucket is this one; 0: it has none."""
        # This run's last, before the current row; of `found` this run's in that row.
        self._values: Cells = memoryview(array("d", [nan]) * self._room)
        self._lasting: set[int] = set()
        self.found = bucket if self._room else 0

    def set(self, column: int, value: float, now_ns: int) -> None:
        """Store a value."""
        if self._enter(now_ns):
            if self._peaks:
                self._store(self._writer.row, column, value)
            else:
                self._writer.row[column] = value
            if self._writer.bucket == self.found:
                self._values[column] = value
        elif (row := self._late_row(now_ns)) is not None:
            self._store(row, column, value)
            self._writer.changed(ring.bucket_of(now_ns, self._writer.interval_ns))

    def set_many(self, column: int, values: array[float], now_ns: int) -> None:
        """Store values side by side."""
        writer = self._writer
        if self._enter(now_ns):
            header, end = writer.header, column + len(values)
            header[1] += 1
            if self._peaks:
                for each, value in enumerate(values, start=column):
                    self._store(writer.row, each, value)
            else:
                writer.row[column:end] = values
            header[1] += 1
            if writer.bucket == self.found:
                self._values[column:end] = memoryview(values)
        elif ring.bucket_of(now_ns, writer.interval_ns) > writer.bucket:
            writer.refused["future"] += len(values) - 1
        else:
            for each, value in enumerate(values, start=column):
                self.set(each, value, now_ns)

    def change(self, column: int, amount: float, now_ns: int) -> None:
        """Add to a gauge's value, of this bucket or one before; it goes on from here."""
        writer = self._writer
        self._enter(now_ns)
        if ring.bucket_of(now_ns, writer.interval_ns) > writer.bucket:
            return  # counted, as of the future
        if not writer.bucket:
            writer.refused["late"] += 1
            return
        row = writer.row  # the newest, also where the clock stands a bucket before
        found = writer.bucket == self.found
        held = nan if found else row[column]
        if isnan(held):
            held = self._values[column]
        if isnan(held):
            held = 0.0
        value = held + amount
        if isinf(value) and not isinf(held):
            writer.refused[OVERFLOW] += 1
            return
        self._store(row, column, value)
        if found:
            self._values[column] = value
        self._changed.add(column)
        self._lasting.add(column)

    def _store(self, row: Cells, column: int, value: float) -> None:
        row[column] = value
        if self._peaks:
            low, high = column + self._width, column + 2 * self._width
            if not value >= row[low]:
                row[low] = value
            if not value <= row[high]:
                row[high] = value

    def leave(self, row: Cells, n_series: int) -> None:
        """Note the values of the current row, before another is entered."""
        if self.found:
            self.found = 0  # what this run has recorded there is noted
            return
        # A float for each would cost more than the rest of the entry, so the row is copied; where some are absent, the
        # values of these are put back, and where most are, those that are not are noted one by one.
        kept, left = self._values, row[:n_series]
        maybe = left.tobytes()[7::8].translate(_MAYBE_NAN)
        n_maybe = maybe.count(1)
        if 2 * n_maybe <= n_series:
            before = [(column, kept[column]) for column in compress(range(n_series), maybe)] if n_maybe else ()
            kept[:n_series] = left
            for column, value in before:
                if isnan(left[column]):
                    kept[column] = value
        else:
            for column, value in enumerate(left.tolist()):
                if value == value:  # noqa: PLR0124 - not absent
                    kept[column] = value
        if self._changed:
            self._lasting = {column for column in self._changed if not isnan(row[column])}  # the others are absent

    def begin(self, row: Cells) -> None:
        """Let a new row begin with the gauges that go on."""
        for column in self._lasting:
            self._store(row, column, self._values[column])
