"""Closed buckets -> batches: what a store holds beyond a cursor, oldest first across all schemas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.errors import RangeError, UsageError
from rondo_core.export.batch import Batch, Part
from rondo_core.export.cursor import Spans
from rondo_core.export.rollup import RollupSource
from rondo_core.export.sources import FOR_EVER, Columns, RawSource, SchemaSource, Segment
from rondo_core.model.labels import Series

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View

# Receivers refuse what is an hour behind the newest that they have; what is sent apart must not come so late.
MAX_SPAN_NS = 1800 * NS_PER_S
NOTHING: Mapping[str, Spans] = {}


@attrs.frozen(eq=False)
class Drained:
    """A batch, and where the cursor stands once it is counted.

    Attributes:
        batch: what to send; it may hold no sample.
        positions: "schema.tier" -> first bucket after it; `starts`, the first in it; `spans`, between its gaps.
        overwritten: buckets that the ring had given away before they were sent.
        coarse: windows of coarser tiers among it, which stand in for buckets that were overwritten.
    """

    batch: Batch
    positions: dict[str, int]
    overwritten: int
    coarse: int = 0
    starts: dict[str, int] = attrs.field(factory=dict)
    spans: dict[str, Spans] = attrs.field(factory=dict)


class Drain:
    """Takes what was not sent yet out of a store."""

    def __init__(
        self, view: View, *, tier: int = 0, fn: Sequence[str] = (), match: str = "", backfill: bool = False
    ) -> None:
        """Bind to the reading side of a store.

        Args:
            tier, fn: what is read of it; tier 0 without `fn`: the samples themselves.
            match: a selector of the series that are sent; empty: all.
            backfill: where there is no position, begin with what only coarser tiers still have.
        Raises: SelectorError; ConsolidatorError: an `fn` reads no schema of the store; RangeError: no such tier.
        """
        schemas = view.meta.schemas
        columns = {schema.name: Columns(view, schema, match) for schema in schemas}
        deepest = max(len(schema.tiers) for schema in schemas)
        if not 0 <= tier < deepest:
            raise RangeError(f"tier {tier}: the store has tiers 0 to {deepest - 1}")
        self._view = view
        self._sketched = frozenset(schema.name for schema in schemas if schema.sketch and not (tier or fn))
        self._sources: list[SchemaSource]
        if tier or fn:
            rollups = [RollupSource(view, schema, columns[schema.name], tier, fn) for schema in schemas]
            for name in fn:
                if not any(name in each.fns for each in rollups):
                    errors = [error for each in rollups for error in each.refusals if f"fn {name}:" in str(error)]
                    raise errors[-1] if errors else UsageError(f"fn {name}: reads no series of the store")
            self._sources = [each for each in rollups if each.fns]
        else:
            self._sources = [RawSource(view, each, columns[each.name], backfill=backfill) for each in schemas]

    def stepped(self, positions: Mapping[str, int], sent: Mapping[str, Spans]) -> dict[str, int]:
        """Say of which schemas the clock has stepped back behind the positions, and to where; see `SchemaSource`."""
        keys = [(source, source.key) for source in self._sources if source.key in positions]
        found = {key: source.stepped(positions[key], sent.get(key, ())) for source, key in keys}
        return {key: to for key, to in found.items() if to is not None}

    def is_nameless(self) -> bool:
        """Say whether a schema has rows and no series at all: what the registry knew of them was lost."""
        known = self._view.registry.by_schema
        return any(not known[source.schema.name] and source.end_ns() for source in self._sources)

    def next_end_ns(self, closed_ns: int) -> int:
        """Give when the first bucket ends that is held and had not ended by `closed_ns`, ns since the epoch.

        FOR_EVER: all have.
        """
        open_ones = [each.interval_ns for each in self._sources if each.end_ns() > closed_ns]
        return min([FOR_EVER, *((closed_ns // interval_ns + 1) * interval_ns for interval_ns in open_ones)])

    def next(
        self,
        positions: Mapping[str, int],
        closed_ns: int,
        max_samples: int,
        max_instants: int | None = None,
        sent: Mapping[str, Spans] = NOTHING,
    ) -> Drained | None:
        """Give the oldest rows from `positions` on, of buckets that ended by `closed_ns`, ns since the epoch.

        Args: `max_samples` bounds the batch, as does `max_instants`; one instant of all series is never split. `sent`:
            see `Cursor`.
        Returns: None where there is nothing more.
        Raises: StoreReopenedError: see `EndedReader`.
        """
        segments = self._segments(positions, closed_ns, sent)
        if not segments:
            return None
        until_ns = _until(segments, max_samples, max_instants)
        counts = [int(segment.stamps_ns.searchsorted(until_ns)) for _, segment in segments]
        return self._taken([(*pair, count) for pair, count in zip(segments, counts, strict=True)])

    def up_to(
        self,
        positions: Mapping[str, int],
        ends: Mapping[str, int],
        max_samples: int = FOR_EVER,
        max_instants: int | None = None,
        sent: Mapping[str, Spans] = NOTHING,
    ) -> Drained | None:
        """Give the rows from `positions` up to `ends` once more, as they were given before, or the oldest of them.

        Returns: None where nothing of them is left.
        """
        segments = [each for each in self._segments(positions, FOR_EVER, sent) if each[0].key in ends]
        counts = [int(segment.ends.searchsorted(ends[source.key], "right")) for source, segment in segments]
        if not any(counts):
            return None
        if max_instants is not None or max_samples < FOR_EVER:
            within = [(source, segment.first(count)) for (source, segment), count in zip(segments, counts, strict=True)]
            until_ns = _until([each for each in within if len(each[1].ends)], max_samples, max_instants)
            oldest = [int(segment.stamps_ns.searchsorted(until_ns)) for _, segment in within]
            if oldest != counts:
                return self._taken([(*pair, count) for pair, count in zip(segments, oldest, strict=True)])
        taken = self._taken([(*pair, count) for pair, count in zip(segments, counts, strict=True)])
        # Of a segment that has come to stand in since, the next one still follows.
        short = {
            source.key
            for (source, segment), count in zip(segments, counts, strict=True)
            if count == len(segment.ends) and not segment.last
        }
        return attrs.evolve(taken, positions={**ends, **{key: taken.positions[key] for key in short}})

    def _segments(
        self, positions: Mapping[str, int], closed_ns: int, sent: Mapping[str, Spans]
    ) -> list[tuple[SchemaSource, Segment]]:
        found = [
            (source, source.segment(positions.get(source.key), closed_ns, sent.get(source.key, ())))
            for source in self._sources
        ]
        return [(source, segment) for source, segment in found if segment is not None]

    def _taken(self, chosen: list[tuple[SchemaSource, Segment, int]]) -> Drained:
        parts, moved, starts, overwritten, coarse = list[Part](), dict[str, int](), dict[str, int](), 0, 0
        spans = dict[str, Spans]()
        for source, segment, count in chosen:
            if not count:
                continue
            read = source.parts(segment, count)
            n_rows = max((part.n_rows for part in read), default=0)
            overwritten += segment.lost + max(0, count - n_rows)
            coarse += n_rows if isinstance(source, RawSource) and segment.tier else 0
            moved[source.key] = int(segment.ends[count - 1])
            starts[source.key], spans[source.key] = segment.start, segment.spans(count)
            parts += read
        self._view.confirm()
        return Drained(Batch(tuple(parts)), moved, overwritten, coarse, starts, spans)

    def ended(self, ended_ns: int, wanted: Callable[[Series], bool]) -> Batch:
        """Give the end of a run: the series, as they are sent, of those that are wanted. Args: `ended_ns`, of Batch."""
        self._view.confirm()
        series = tuple(each for source in self._sources for each in source.series() if wanted(each))
        until_ns = max((source.end_ns() for source in self._sources), default=0)
        return Batch((), series, ended_ns, self._sketched, until_ns)


def _until(segments: list[tuple[SchemaSource, Segment]], max_samples: int, max_instants: int | None) -> int:
    """Give the instant before which rows are taken: as many as the bounds allow, and at least the oldest."""
    import numpy as np

    stamps = np.concatenate([segment.stamps_ns for _, segment in segments])
    widths = np.concatenate([np.full(len(segment.stamps_ns), max(1, source.width())) for source, segment in segments])
    instants, places = np.unique(stamps, return_inverse=True)
    filled = np.cumsum(np.bincount(places, weights=widths))
    count = max(1, int(filled.searchsorted(max_samples, "right")))
    count = min(count, max_instants or count)
    first = int(instants[0])
    until = int(instants[count]) if count < len(instants) else int(instants[-1]) + 1
    until = min(until, first + MAX_SPAN_NS)
    # What follows a segment of the same schema is not known yet, and may be older than the others' rows after it.
    ends = [int(segment.stamps_ns[-1]) + 1 for _, segment in segments if not segment.last]
    return max(first + 1, min([until, *ends]))
