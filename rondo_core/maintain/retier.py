"""One schema's data under changed tiers: the rows of each new tier, and from where folding goes on.

Two things are promised. No window loses a sample by being folded again from rows that never had it: where a new tier
cannot give an open window back, the window must have ended first. And queries find what only a coarser tier has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.errors import StoreError
from rondo_core.fold.tables import StatisticsTable, choose, empty, fold, unknown, write_table
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, coarse_statistics
from rondo_core.record.summary_cells import within
from rondo_core.storage.slab import Slab
from rondo_core.units import format_instant


@attrs.frozen(eq=False)
class OldSeries:
    """Series that come from one old schema: its tables, of these series only, and their columns in the new one."""

    tables: list[StatisticsTable]
    columns: list[int]

    @property
    def newest_ns(self) -> int:
        """The last nanosecond of the newest bucket; 0 where there is none."""
        finest = self.tables[0]
        return (int(finest.buckets[-1]) + 1) * finest.interval_ns - 1 if len(finest.buckets) else 0


@attrs.frozen(eq=False)
class Retiering:
    """What goes into a new schema's slabs.

    Attributes:
        tables: per tier, the rows that its ring holds; kept: per tier, how many of them the old tier of that interval
            had; next_windows: per tier; marks: per tier, buckets to come whose slots count as given away to them.
    """

    schema: Schema
    tables: list[StatisticsTable]
    kept: list[int]
    next_windows: list[int]
    marks: list[list[int]]

    def write(self, slabs: Sequence[Slab]) -> None:
        """Fill the slabs, which must be new."""
        for tier, (slab, table) in enumerate(zip(slabs, self.tables, strict=True)):
            write_table(self.schema, tier, slab, table)
            for bucket in self.marks[tier]:
                slab.headers()[bucket % slab.spec.slot_count] = ~bucket
            if tier:
                slab.next_window = self.next_windows[tier]


def retier(schema: Schema, sources: Sequence[OldSeries], n_series: int, now_ns: int) -> Retiering:
    """Bring the series of all sources under one new schema.

    Raises: StoreError: a window is open that its finer tier could not give back; the message says when it ends.
    """
    gathered = [_gather(schema, sources, tier.interval_ns, n_series) for tier in schema.tiers]
    whole = [table for table, _ in gathered]
    newest_ns = max((source.newest_ns for source in sources), default=0)
    if not newest_ns:
        none = [0] * len(whole)
        return Retiering(schema, whole, none, none, [[] for _ in whole])
    slots = [tier.slot_count for tier in schema.tiers]
    newest = newest_ns // schema.tiers[0].interval_ns
    finest = _cut(_with_totals(schema, sources, whole[0], newest), slots[0])
    tables = [finest, *(_cut(table, count) for table, count in zip(whole[1:], slots[1:], strict=True))]
    next_windows = [0]
    for tier in range(1, len(tables)):
        window = newest_ns // schema.tiers[tier].interval_ns
        if not _gives_back(schema, tier, tables, window):
            _check_ended(schema, tier, window, now_ns)
            window += 1
        next_windows.append(window)
    ends_ns = [window * tier.interval_ns for window, tier in zip(next_windows, schema.tiers, strict=True)]
    behind = max(ends_ns) // schema.tiers[0].interval_ns
    if behind > newest:
        newest = behind  # recording goes on behind the windows that are not folded again, of whatever tier
        tables[0] = _cut(_with_totals(schema, sources, whole[0], newest), slots[0])
    marks: list[list[int]] = [[] for _ in tables]
    for tier in reversed(range(len(tables) - 1)):
        marks[tier], parts = _marks(schema, tier, tables, whole, gathered[tier][1])
        tables[tier] = tables[tier].rows(~np.isin(tables[tier].buckets, parts))
    kept = [int(np.isin(table.buckets, had).sum()) for table, (_, had) in zip(tables, gathered, strict=True)]
    return Retiering(schema, tables, kept, next_windows, marks)


def _gather(
    schema: Schema, sources: Sequence[OldSeries], interval_ns: int, n_series: int
) -> tuple[StatisticsTable, NDArray[np.int64]]:
    """Make the table of one interval for all sources' series; give too which buckets a tier of it had already."""
    none = np.empty(0, np.int64)
    names = coarse_statistics(schema.kind, schema.sketch)
    chosen = [choose(schema.kind, names, source.tables, interval_ns, len(source.columns)) for source in sources]
    buckets = np.unique(np.concatenate([none, *(table.buckets for table, _ in chosen)]))
    had = np.unique(np.concatenate([none, *(table.buckets[kept] for table, kept in chosen)]))
    whole = empty(interval_ns, names, n_series, buckets)
    for (table, _), source in zip(chosen, sources, strict=True):
        place = np.ix_(np.searchsorted(buckets, table.buckets), np.array(source.columns, np.intp))
        for name, values in table.statistics.items():
            whole.statistics[name][place] = values
    return whole, had


def _with_totals(schema: Schema, sources: Sequence[OldSeries], table: StatisticsTable, bucket: int) -> StatisticsTable:
    """Let the table end with a row of `bucket` in which every running total stands."""
    n_series = table.coverage.shape[1]
    rows = np.union1d(table.buckets, [bucket])
    filled = empty(table.interval_ns, tuple(table.statistics), n_series, rows)
    place = np.searchsorted(rows, table.buckets)
    for name, values in table.statistics.items():
        filled.statistics[name][place] = values
    if schema.kind == "gauge":
        return filled
    newest = {name: values[-1] for name, values in filled.statistics.items()}  # views
    for source in sources:
        for column, facts in zip(source.columns, _totals(schema, source), strict=True):
            if not newest[COVERAGE][column] and not np.isnan(facts["total"]):
                newest[COVERAGE][column] = 1
                total = facts.pop("total")
                if schema.kind == "counter":
                    newest["first"][column] = newest["last"][column] = total
                for name, value in facts.items():
                    newest[name][column] = value
    return filled


def _totals(schema: Schema, source: OldSeries) -> list[dict[str, float]]:
    """Give each series' running total, and for a summary the cells of a bucket in which nothing was observed."""
    finest = source.tables[0]
    if not len(finest.buckets):
        return [{"total": float("nan")}] * len(source.columns)
    row = {name: values[-1] for name, values in finest.statistics.items()}
    if schema.kind == "counter":
        return [{"total": float(total)} for total in row["last"]]
    totals, sums = row["count_base"] + row["count"], row["sum_base"] + row["sum"]
    return [
        {"total": float(count), "count": 0.0, "sum": 0.0, "count_base": float(count), "sum_base": within(float(total))}
        for count, total in zip(totals, sums, strict=True)
    ]


def _cut(table: StatisticsTable, slot_count: int) -> StatisticsTable:
    """Keep the newest rows, as many as a ring holds."""
    return table.rows(table.buckets > table.buckets[-1] - slot_count) if len(table.buckets) else table


def _gives_back(schema: Schema, tier: int, tables: Sequence[StatisticsTable], window: int) -> bool:
    """Say whether folding the finer tier's rows would make the window what it is, or more."""
    there = tables[tier].rows(tables[tier].buckets == window)
    if not (there.coverage > 0).any():
        return True
    ratio, finer = schema.ratio(tier), tables[tier - 1]
    again = fold(schema.kind, finer.rows(finer.buckets // ratio == window), schema.tiers[tier].interval_ns)
    if not len(again.buckets) or (again.coverage < there.coverage).any():
        return False
    for name in schema.cells(tier):
        one, other = again.statistics[name], there.statistics[name]
        if unknown(schema.kind, again, name).any() or (name == "count" and (one < other).any()):
            return False
    return True


def _check_ended(schema: Schema, tier: int, window: int, now_ns: int) -> None:
    end_ns = (window + 1) * schema.tiers[tier].interval_ns
    if now_ns < end_ns:
        fine, coarse = schema.tiers[tier - 1], schema.tiers[tier]
        raise StoreError(
            f"schema {schema.name}: tier {coarse} has an open window that {fine} could not give back;"
            f" migrate after its end, {format_instant(end_ns)}, or keep the tiers between"
        )


def _marks(
    schema: Schema, tier: int, tables: Sequence[StatisticsTable], whole: Sequence[StatisticsTable], had: Any
) -> tuple[list[int], list[int]]:
    """Find slots to mark as given away, so that what only the next coarser tier has of a window is read from there.

    Returns: for each, the next bucket to come that has the slot; and rows that merge a part of their samples only,
        because no tier has the rest one by one any more, and have to go.
    """
    ratio, slots = schema.ratio(tier + 1), schema.tiers[tier].slot_count
    held = tables[tier].buckets
    newest = int(held[-1]) if len(held) else 0
    occupants = np.zeros(slots, np.int64)
    occupants[held % slots] = held
    marks, parts = [], []
    for window in _incomplete(schema, tier, tables, whole).tolist():
        buckets = window * ratio + np.arange(ratio)
        there = occupants[buckets % slots]
        free = buckets[(there == 0) & (buckets <= newest)]
        if (there > buckets).any():
            continue
        if not len(free):
            free = buckets[(there == buckets) & ~np.isin(buckets, had)]
            parts += free[:1].tolist()
        if len(free):
            slot = int(free[0]) % slots
            marks.append(newest + 1 + (slot - newest - 1) % slots)
            occupants[slot] = marks[-1]
    return marks, parts


def _incomplete(schema: Schema, tier: int, tables: Sequence[StatisticsTable], whole: Sequence[StatisticsTable]) -> Any:
    """Find the windows of the next coarser tier that merge samples which this tier's rows do not have."""
    coarse, fine = tables[tier + 1], whole[tier]
    rows = np.isin(fine.buckets, tables[tier].buckets)
    mine = StatisticsTable(fine.interval_ns, fine.buckets[rows], {COVERAGE: fine.coverage[rows]})
    folded = fold(schema.kind, mine, schema.tiers[tier + 1].interval_ns)
    had = np.zeros_like(coarse.coverage)
    both = np.isin(folded.buckets, coarse.buckets)
    had[np.searchsorted(coarse.buckets, folded.buckets[both])] = folded.coverage[both]
    return coarse.buckets[(had < coarse.coverage).any(axis=1)]
