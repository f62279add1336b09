"""A tier read through consolidators on its way out: x_avg, x_max, x_p99 as gauges, a counter as itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rondo_core.errors import ConsolidatorError
from rondo_core.export.batch import Part
from rondo_core.export.cursor import Spans
from rondo_core.export.sources import FOR_EVER, Columns, Segment, stepped_behind, unsent
from rondo_core.model.consolidator import DEFAULT_FN
from rondo_core.model.labels import Kind, Series
from rondo_core.model.ranges import Range
from rondo_core.model.schema import Schema

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View


class RollupSource:
    """One tier of one schema, a gauge for each consolidator; a schema with fewer tiers is read from its coarsest.

    A point leaves once its window has closed, with the timestamp of the window's start, as queries give it.
    """

    def __init__(self, view: View, schema: Schema, columns: Columns, tier: int, fns: Sequence[str]) -> None:
        """Bind to a schema; no `fns`: last for counters, avg for the others."""
        self._view, self.schema, self._columns = view, schema, columns
        self._tier = min(tier, len(schema.tiers) - 1)
        self.interval_ns = schema.tiers[self._tier].interval_ns
        self.key = f"{schema.name}.{self._tier}"
        self.fns: list[str] = []
        self.refusals: list[ConsolidatorError] = []
        for fn in dict.fromkeys(fns or (DEFAULT_FN[schema.kind],)):
            try:
                view.plan(schema.name, (), self._tier, fn)
                self.fns.append(fn)
            except ConsolidatorError as error:
                self.refusals.append(error)

    def end_ns(self) -> int:
        """Give the end of the newest bucket."""
        last = self._view.reader(self.schema.name, self._tier).index().last
        return (last + 1) * self.interval_ns if last > 0 else 0

    def width(self) -> int:
        """Count the samples of a full row."""
        return len(self._columns()) * len(self.fns)

    def series(self) -> Sequence[Series]:
        """Give the series, under the names that they are sent with."""
        return [each for fn in self.fns for _, many in self._named(fn) for each in many]

    def _named(self, fn: str) -> Iterator[tuple[Kind, tuple[Series, ...]]]:
        if self.schema.kind == "counter" and fn == "last":
            yield "counter", self._columns()
        else:
            yield (
                "gauge",
                tuple(each._replace(name=f"{each.name}_{_plain(fn)}", kind="gauge") for each in self._columns()),
            )

    def stepped(self, position: int, sent: Spans) -> int | None:
        """Give the first bucket since the clock stepped back behind a position, or to where nothing was sent."""
        return stepped_behind(self._view, self.schema, self._tier, position, sent)

    def segment(self, position: int | None, closed_ns: int, sent: Spans = ()) -> Segment | None:
        """Give the oldest rows from the position on."""
        index = self._view.reader(self.schema.name, self._tier).index()
        if index.last <= 0 or not self.width():
            return None
        end = min(closed_ns // self.interval_ns, index.last + 1)
        if self._tier and closed_ns < FOR_EVER:
            end = min(end, self._view.slabs[self.schema.name][self._tier].next_window)
        held = index.buckets[(index.buckets >= max(position or 0, 1)) & (index.buckets < end)]
        held, is_last = unsent(held, sent)
        if not len(held):
            return None
        ring_start = index.last + 1 - len(index.headers)
        lost = max(0, min(int(held[0]), ring_start) - position) if position is not None else 0
        lost = 0 if any(end > (position or 0) for _, end in sent) else lost  # the clock stepped back
        return Segment(
            self._tier, held, held * self.interval_ns, int(held[0]), held + 1, self.interval_ns, lost, is_last
        )

    def parts(self, segment: Segment, count: int) -> list[Part]:
        """Read the first `count` rows of a segment, each consolidator into a part of its own."""
        wanted = segment.buckets[:count]
        index = self._view.reader(self.schema.name, self._tier).index()
        at = max(0, int(index.buckets.searchsorted(wanted[0])) - 1)  # what a rate is taken from
        first = min(int(index.buckets[at]), int(wanted[0])) if len(index.buckets) else int(wanted[0])
        span = Range(first * self.interval_ns, (int(wanted[-1]) + 1) * self.interval_ns)
        parts = []
        for fn in self.fns:
            table = self._view.plan(self.schema.name, self._columns(), self._tier, fn)(span)
            keep = table.timestamps_ns >= int(wanted[0]) * self.interval_ns
            stamps, values = table.timestamps_ns[keep], table.values[keep]
            for kind, series in self._named(fn):
                if len(stamps):
                    name, sent = self.schema.name, {"last": values.astype(float)}
                    parts.append(Part(name, self._tier, self.interval_ns, kind, series, stamps, sent))
        return parts


def _plain(fn: str) -> str:
    """Write a consolidator's name as a metric name can have it: p99.9 as p99_9."""
    return "".join(each if each.isalnum() and each.isascii() else "_" for each in fn)
