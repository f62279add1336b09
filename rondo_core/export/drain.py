"""Closed buckets -> batches: what a store holds beyond a cursor, oldest first across all schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.export.batch import Batch, Part
from rondo_core.labels import Series
from rondo_core.reader import occupants
from rondo_core.schema import Schema
from rondo_core.statistics import COVERAGE, SKETCH, lift

if TYPE_CHECKING:
    from rondo_core.store_reader import View

SENT = {
    "counter": ("last",),
    "gauge": ("last",),
    "summary": ("count", "sum", "min", "max", "count_base", "sum_base"),
}


@attrs.frozen(eq=False)
class Drained:
    """A batch, and where the cursor stands once it is acknowledged.

    Attributes:
        batch: what to send; it may hold no sample.
        positions: "schema.tier" -> first bucket after it.
        overwritten: buckets that the ring had given away before they were sent.
    """

    batch: Batch
    positions: dict[str, int]
    overwritten: int


class Drain:
    """Takes what was not sent yet out of the finest tiers of a store."""

    def __init__(self, view: View) -> None:
        """Bind to the reading side of a store."""
        self._view = view

    def next(self, positions: Mapping[str, int], closed_ns: int, max_samples: int) -> Drained | None:
        """Give the oldest rows from `positions` on, of buckets that ended by `closed_ns`, ns since the epoch.

        Args: `max_samples` bounds the batch; one instant of all series is never split.
        Returns: None where there is nothing more.
        """
        spans = {schema.name: self._span(schema, positions, closed_ns) for schema in self._view.meta.schemas}
        starts = [first * _interval(self._schema(name)) for name, (first, end, _) in spans.items() if first < end]
        if not starts:
            return None
        n_series = max(1, sum(len(self._view.registry.by_schema[name]) for name in spans))
        finest_ns = min(_interval(schema) for schema in self._view.meta.schemas)
        until_ns = min(starts) + max(1, max_samples // n_series) * finest_ns
        parts, moved, overwritten = [], {}, 0
        for name, (first, end, lost) in spans.items():
            schema = self._schema(name)
            last = min(end, max(first, -(-until_ns // _interval(schema)))) - 1
            if last < first:
                continue
            overwritten += lost
            part = self._part(schema, first, last)
            moved[_key(schema)] = last + 1
            if part is not None:
                parts.append(part)
        return Drained(Batch(tuple(parts)), moved, overwritten)

    def series(self) -> Sequence[Series]:
        """Give every series of the store."""
        return list(self._view.registry)

    def sketched(self) -> frozenset[str]:
        """Name the schemas whose summaries keep a sketch."""
        return frozenset(schema.name for schema in self._view.meta.schemas if schema.sketch)

    def _schema(self, name: str) -> Schema:
        return next(schema for schema in self._view.meta.schemas if schema.name == name)

    def _span(self, schema: Schema, positions: Mapping[str, int], closed_ns: int) -> tuple[int, int, int]:
        """Find the buckets to send, first..end-1, and how many were lost between the position and the first."""
        held = occupants(self._view.reader(schema.name).index().headers)
        newest = self._view.reader(schema.name).index().last
        position = positions.get(_key(schema))
        if position is not None and position > newest + 1:
            position = None  # the clock stepped back: all that is there goes once more, rather than nothing
        if newest <= 0 or not self._view.registry.by_schema[schema.name]:
            return 0, 0, 0
        end = min(closed_ns // _interval(schema), newest + 1)
        asked = 0 if position is None else position
        there = held[(held >= max(asked, 1)) & (held < end)]
        first = int(there.min()) if len(there) else end
        if position is None or first <= position:
            return first, end, 0
        return first, end, self._lost(schema, position, first)

    def _lost(self, schema: Schema, position: int, first: int) -> int:
        """Count the buckets from `position` to `first` that were there once, as the next tier's coverage knows."""
        if len(schema.tiers) == 1:
            return first - position
        ratio, coarse = schema.ratio(1), self._view.slabs[schema.name][1]
        headers = coarse.headers()
        inside = (headers >= max(1, position // ratio)) & (headers <= (first - 1) // ratio)
        lost = 0
        for window, seen in zip(
            headers[inside].tolist(), coarse.block(COVERAGE)[inside].max(axis=1).tolist(), strict=True
        ):
            sent, still_here = max(0, position - window * ratio), max(0, (window + 1) * ratio - first)
            lost += max(0, seen - sent - still_here)
        return lost

    def _part(self, schema: Schema, first: int, last: int) -> Part | None:
        series = tuple(self._view.registry.by_schema[schema.name])
        rows = self._view.reader(schema.name).rows(first, last, range(len(series)), schema.cells(0))
        if not len(rows.buckets):
            return None
        statistics: dict[str, Any] = lift(schema.kind, rows.cells)
        kept = (*SENT[schema.kind], SKETCH) if schema.sketch else SENT[schema.kind]
        sent = {name: statistics[name] for name in kept}
        return Part(schema.name, 0, _interval(schema), schema.kind, series, rows.buckets * _interval(schema), sent)


def _interval(schema: Schema) -> int:
    return schema.tiers[0].interval_ns


def _key(schema: Schema) -> str:
    return f"{schema.name}.0"
