"""What one schema has to send, oldest first: its finest tier, and where that was overwritten, coarser ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from rondo_core.export.batch import Part
from rondo_core.export.cursor import Spans
from rondo_core.model.labels import Series
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, SKETCH, cell_statistics, complete_statistics
from rondo_core.storage.set_aside import stepped_to

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rondo_core.read.store_reader import View

SENT = {
    "counter": ("last",),
    "gauge": ("last",),
    "summary": ("count", "sum", "min", "max", "count_base", "sum_base"),
}
FOR_EVER = 1 << 62


@attrs.frozen(eq=False)
class Segment:
    """Rows of one tier that can be sent one after the other.

    Attributes:
        tier: which; buckets: int64 [rows], ascending, of that tier.
        stamps_ns: int64 [rows], the timestamps that they are sent with.
        start: where the position stands before the first; ends: int64 [rows], after each.
        interval_ns: of the tier.
        lost: buckets before the first of them that are nowhere any more.
        last: whether nothing follows it; after another, the next segment does.
    """

    tier: int
    buckets: NDArray[np.int64]
    stamps_ns: NDArray[np.int64]
    start: int
    ends: NDArray[np.int64]
    interval_ns: int
    lost: int
    last: bool

    def spans(self, count: int) -> Spans:
        """Give the spans of the first `count` rows, from each gap to the next."""
        ratio = int(self.ends[0]) // (int(self.buckets[0]) + 1)
        gaps = (self.ends[1:count] - self.ends[: count - 1] > ratio).nonzero()[0]
        firsts = [int(self.ends[0]) - ratio, *(self.ends[gaps + 1] - ratio).tolist()]
        return tuple(zip(firsts, [*self.ends[gaps].tolist(), int(self.ends[count - 1])], strict=True))

    def first(self, count: int) -> Segment:
        """Give the first `count` rows."""
        return attrs.evolve(
            self, buckets=self.buckets[:count], stamps_ns=self.stamps_ns[:count], ends=self.ends[:count]
        )


class SchemaSource(Protocol):
    """One schema, as a drain sees it; `key` names its position in a cursor, `interval_ns` is of the tier read."""

    key: str
    schema: Schema
    interval_ns: int

    def end_ns(self) -> int:
        """Give the end of the newest bucket, ns since the epoch; 0: there is none."""

    def width(self) -> int:
        """Count the samples of a full row."""

    def series(self) -> Sequence[Series]:
        """Give the series, as they are sent."""

    def stepped(self, position: int, sent: Spans) -> int | None:
        """Give the first bucket since the clock stepped back behind a position, or to where nothing was sent.

        None: it did not.
        """

    def segment(self, position: int | None, closed_ns: int, sent: Spans = ()) -> Segment | None:
        """Give the oldest rows from the position on, of buckets that ended by `closed_ns`; None: nothing to send.

        Args: `sent`: buckets that are left out; see `Cursor`.
        """

    def parts(self, segment: Segment, count: int) -> list[Part]:
        """Read the first `count` rows of a segment."""


class RawSource:
    """The samples of one schema as they were recorded.

    Where the ring has overwritten some, the windows of coarser tiers that lie wholly in what is missing stand in for
    them, each under the timestamp of its last finest bucket, so that time goes on in order.
    """

    def __init__(self, view: View, schema: Schema, columns: Columns, *, backfill: bool) -> None:
        """Bind to a schema; `backfill`: without a position, begin with what only coarser tiers still have."""
        self._view, self.schema, self._columns, self._backfill = view, schema, columns, backfill
        self._fine_ns = self.interval_ns = schema.tiers[0].interval_ns
        self.key = f"{schema.name}.0"
        self._ratios = [tier.interval_ns // self._fine_ns for tier in schema.tiers]
        self._standing_in = [tier for tier in range(1, len(schema.tiers)) if self._can_stand_in(tier)]

    def end_ns(self) -> int:
        """Give the end of the newest bucket."""
        last = self._view.reader(self.schema.name).index().last
        return (last + 1) * self._fine_ns if last > 0 else 0

    def width(self) -> int:
        """Count the samples of a full row."""
        return len(self._columns())

    def series(self) -> Sequence[Series]:
        """Give the series."""
        return self._columns()

    def stepped(self, position: int, sent: Spans) -> int | None:
        """Give the first bucket since the clock stepped back behind a position, or to where nothing was sent."""
        return stepped_behind(self._view, self.schema, 0, position, sent)

    def segment(self, position: int | None, closed_ns: int, sent: Spans = ()) -> Segment | None:
        """Give the oldest rows from the position on."""
        index = self._view.reader(self.schema.name).index()
        if index.last <= 0 or not self._columns():
            return None
        asked, end = max(position or 0, 1), min(closed_ns // self._fine_ns, index.last + 1)
        held = index.buckets[(index.buckets >= asked) & (index.buckets < end)]
        if any(asked < end for _, end in sent):
            held, last = unsent(held, sent)
            if not len(held):
                return None
            return Segment(0, held, held * self._fine_ns, asked, held + 1, self._fine_ns, 0, last)
        first = int(held[0]) if len(held) else max(end, asked)
        pieces: list[tuple[int, NDArray[np.int64]]] = [(0, held)] if len(held) else []
        if first > asked and (position is not None or self._backfill):
            pieces = self._coarse(asked, first) + pieces
        if not pieces:
            return None
        tier, buckets = pieces[0]
        ends = (buckets + 1) * self._ratios[tier]
        start = int(buckets[0]) * self._ratios[tier]
        lost = self._lost(position, start) if position is not None and start > position else 0
        stamps = (ends - 1) * self._fine_ns
        return Segment(tier, buckets, stamps, start, ends, self.schema.tiers[tier].interval_ns, lost, len(pieces) == 1)

    def _coarse(self, asked: int, first: int) -> list[tuple[int, NDArray[np.int64]]]:
        """Find the coarser tiers' windows that lie wholly in the finest buckets asked..first-1, oldest first.

        Where a tier begins in the middle of a coarser window, that one is taken, so that none of it is missing.
        """
        pieces: list[tuple[int, NDArray[np.int64]]] = []
        end = first
        for tier in self._standing_in:
            ratio, windows = self._ratios[tier], self._view.reader(self.schema.name, tier).index().buckets
            windows = windows[(windows * ratio >= asked) & (windows * ratio < end) & ((windows + 1) * ratio <= first)]
            if not len(windows):
                continue
            if pieces:
                finer, held = pieces.pop(0)
                held = held[held * self._ratios[finer] >= (int(windows[-1]) + 1) * ratio]
                pieces = [(finer, held), *pieces] if len(held) else pieces
            pieces.insert(0, (tier, windows))
            end = int(windows[0]) * ratio
        return pieces

    def _can_stand_in(self, tier: int) -> bool:
        kept = self.schema.cells(tier)
        if self.schema.kind == "summary":
            return {"count", "sum", "count_base", "sum_base"} <= set(kept)
        return "last" in kept or "sum" in kept

    def _lost(self, position: int, first: int) -> int:
        """Count the buckets from `position` to `first` that were there once, as the coarser tiers' coverage knows."""
        lost, end = 0, first
        for tier in range(1, len(self.schema.tiers)):
            ratio, slab = self._ratios[tier], self._view.slabs[self.schema.name][tier]
            headers = slab.headers()
            inside = (headers >= max(1, position // ratio)) & (headers * ratio < end)
            windows = headers[inside]
            for window, seen in zip(
                windows.tolist(), slab.block(COVERAGE)[inside].max(axis=1).astype(int).tolist(), strict=True
            ):
                sent, still_here = max(0, position - window * ratio), max(0, (window + 1) * ratio - end)
                lost += max(0, seen - sent - still_here)
            if len(windows):
                end = max(position, int(windows.min()) * ratio)
            if end <= position:
                return lost
        # What even the coarsest tier has given away: whether anything was recorded in it, no one knows any more.
        coarsest = self._view.reader(self.schema.name, len(self.schema.tiers) - 1).index()
        ring_start = (coarsest.last + 1 - len(coarsest.headers)) * self._ratios[-1]
        return lost + max(0, min(end, ring_start) - position)

    def parts(self, segment: Segment, count: int) -> list[Part]:
        """Read the first `count` rows of a segment."""
        series, tier = self._columns(), segment.tier
        wanted = segment.buckets[:count]
        cells = self.schema.cells(tier)
        reader = self._view.reader(self.schema.name, tier)
        rows = reader.rows(int(wanted[0]), int(wanted[-1]), [each.column for each in series], cells)
        if not len(rows.buckets):
            return []
        stamps = ((rows.buckets + 1) * self._ratios[tier] - 1) * self._fine_ns
        kind = self.schema.kind
        statistics = complete_statistics(kind, rows.cells) if tier else cell_statistics(kind, rows.cells)
        sent = self._sent(statistics)
        return [Part(self.schema.name, tier, segment.interval_ns, kind, series, stamps, sent)]

    def _sent(self, statistics: Mapping[str, Any]) -> dict[str, Any]:
        import numpy as np

        if self.schema.kind == "gauge" and "last" not in statistics:  # the tier keeps the mean only
            coverage = statistics[COVERAGE]
            with np.errstate(divide="ignore", invalid="ignore"):
                return {"last": np.where(coverage > 0, statistics["sum"] / coverage, np.nan)}
        absent = np.full_like(next(iter(statistics.values())), np.nan, dtype=float)
        sent = {name: statistics.get(name, absent) for name in SENT[self.schema.kind]}
        return sent | ({SKETCH: statistics[SKETCH]} if SKETCH in statistics else {})


def stepped_behind(view: View, schema: Schema, tier: int, position: int, sent: Spans) -> int | None:
    """Give the first bucket of a tier since the clock stepped back behind a position, or to where nothing was sent.

    0 where no one knows it; None: it did not.
    """
    index = view.reader(schema.name, tier).index()
    ratio = schema.tiers[tier].interval_ns // schema.tiers[0].interval_ns
    to = stepped_to(view.slabs[schema.name][0]) // ratio
    if 0 < index.last < position - 1:
        return to
    if not (to and sent):
        return None
    since, _ = unsent(index.buckets[(index.buckets >= to) & (index.buckets < position)], sent)
    return int(since[0]) if len(since) else None


def unsent(buckets: NDArray[np.int64], sent: Spans) -> tuple[NDArray[np.int64], bool]:
    """Leave out what was sent before; give the buckets up to the next such span, and whether they are the last."""
    for first, end in sent:
        buckets = buckets[(buckets < first) | (buckets >= end)]
    if not len(buckets):
        return buckets, True
    until = min((first for first, _ in sent if first > buckets[0]), default=FOR_EVER)
    there = buckets[buckets < until]
    return there, len(there) == len(buckets)


class Columns:
    """The series of one schema that are to be sent; asked again where more were declared."""

    def __init__(self, view: View, schema: Schema, match: str) -> None:
        """Bind to a schema.

        Raises: SelectorError: `match` does not parse.
        """
        from rondo_core.model.selector import parse_selector

        self._all = view.registry.by_schema[schema.name]
        self._selector = parse_selector(match) if match else None
        self._seen, self._known = -1, tuple[Series, ...]()

    def __call__(self) -> tuple[Series, ...]:
        """Give them in the order of their columns."""
        if len(self._all) != self._seen:
            self._seen = len(self._all)
            selector = self._selector
            self._known = tuple(each for each in self._all[: self._seen] if selector is None or selector.matches(each))
        return self._known
