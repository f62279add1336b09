"""A tier's rows as tables of statistics: read from one schema's slabs, folded, chosen for another's, written there.

A table says of each bucket and series what was recorded; its coverage counts samples, whichever tiers it went through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model import sketch, sketch_bytes
from rondo_core.model.labels import Kind
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, SKETCH, SKETCH_CELLS, WindowMerge, cell_statistics
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab

if TYPE_CHECKING:
    Values = NDArray[Any]


@attrs.frozen(eq=False)
class StatisticsTable:
    """Buckets of `interval_ns`, ascending int64 [rows], and their statistics, name -> [rows, series]; NaN: absent.

    A sketch is int64 [rows, series, 111], as in sketch.py; all 0: absent.
    """

    interval_ns: int
    buckets: NDArray[np.int64]
    statistics: dict[str, Values]

    @property
    def coverage(self) -> Values:
        """How many samples each cell merges."""
        return self.statistics[COVERAGE]

    def rows(self, keep: Any) -> StatisticsTable:
        """Give some of the rows."""
        return StatisticsTable(
            self.interval_ns, self.buckets[keep], {name: each[keep] for name, each in self.statistics.items()}
        )

    def columns(self, keep: Sequence[int]) -> StatisticsTable:
        """Give some of the series."""
        picked = {name: values[:, list(keep)] for name, values in self.statistics.items()}
        return StatisticsTable(self.interval_ns, self.buckets, picked)


def empty(interval_ns: int, names: Sequence[str], n_series: int, buckets: Any = ()) -> StatisticsTable:
    """Make a table in which nothing was recorded, with or without rows."""
    rows = np.asarray(buckets, dtype=np.int64)
    shape = (len(rows), n_series)
    none: dict[str, Values] = {name: np.full(shape, np.nan) for name in names if name not in {COVERAGE, SKETCH}}
    none |= {COVERAGE: np.zeros(shape, np.int64)}
    if SKETCH in names:
        none[SKETCH] = np.zeros((*shape, sketch.WORDS), np.int64)
    return StatisticsTable(interval_ns, rows, {name: none[name] for name in names})


def read_tables(schema: Schema, slabs: Sequence[Slab], n_series: int) -> list[StatisticsTable]:
    """Read every tier, coarse windows that were not folded yet folded as the next writer would."""
    tables = [read_tier(schema, 0, slabs[0], range(n_series))]
    newest = int(tables[0].buckets[-1]) if len(tables[0].buckets) else 0
    taken_back = False
    for tier in range(1, len(slabs)):
        ratio, finer = schema.ratio(tier), tables[-1]
        newest //= ratio
        next_window = slabs[tier].next_window
        taken_back = taken_back or (tier == 1 and 0 < newest < next_window)
        if taken_back:  # the last writer was killed while it took a future back
            next_window = min(next_window, newest)
        again = fold(schema.kind, finer.rows(finer.buckets >= next_window * ratio), schema.tiers[tier].interval_ns)
        old = read_tier(schema, tier, slabs[tier], range(n_series))
        stays = old.buckets != next_window
        if taken_back:
            stays &= old.buckets < next_window
        old = old.rows(stays & ~_among(old.buckets, again.buckets))
        tables.append(_stack(old, again))
    return tables


def read_tier(schema: Schema, tier: int, slab: Slab, columns: Sequence[int]) -> StatisticsTable:
    """Read the rows that one tier holds, of some of its series."""
    headers, newest = slab.headers().copy(), MAX_INSTANT_NS // slab.spec.interval_ns
    held = (headers > 0) & (headers <= newest) & (headers % len(headers) == np.arange(len(headers)))
    slots = np.flatnonzero(held)
    slots = slots[np.argsort(headers[slots], kind="stable")]
    picked = np.ix_(slots, np.asarray(columns, np.intp))
    cells: dict[str, Values] = {cell: slab.block(cell)[picked] for cell in schema.cells(tier)}
    if tier:
        covered = cells[COVERAGE] > 0
        if SKETCH in cells:
            cells[SKETCH] = sketch_bytes.unpack(cells[SKETCH])
        cells = {name: each if name == COVERAGE else _where(covered, name, each) for name, each in cells.items()}
    else:
        cells = cell_statistics(schema.kind, cells)
    cells[COVERAGE] = cells[COVERAGE].astype(np.int64)
    if SKETCH in cells:
        cells[SKETCH] = sketch.resized(cells[SKETCH])
    return StatisticsTable(schema.tiers[tier].interval_ns, headers[slots], cells)


def _where(there: Any, name: str, values: Any) -> Any:
    """Give a statistic's values where they are there, and what means absent elsewhere."""
    return np.where(there[..., None], values, 0) if name == SKETCH else np.where(there, values, np.nan)


def _among(values: Any, others: Any) -> Any:
    return np.isin(values, others, assume_unique=True)


def _stack(one: StatisticsTable, other: StatisticsTable) -> StatisticsTable:
    buckets = np.concatenate([one.buckets, other.buckets])
    statistics = {name: np.concatenate([each, other.statistics[name]]) for name, each in one.statistics.items()}
    return StatisticsTable(one.interval_ns, buckets, statistics).rows(np.argsort(buckets, kind="stable"))


def fold(kind: Kind, table: StatisticsTable, interval_ns: int) -> StatisticsTable:
    """Merge the rows of each longer bucket, whose interval is a multiple of the table's, into one.

    A statistic that some covered row of a window does not have is absent from the window.
    """
    ratio = interval_ns // table.interval_ns
    if ratio == 1 or not len(table.buckets):
        return attrs.evolve(table, interval_ns=interval_ns)
    windows, first, row = np.unique(table.buckets // ratio, return_index=True, return_inverse=True)
    rank = np.arange(len(row)) - first[row]
    deepest = int(rank.max()) + 1
    merge = WindowMerge(row * deepest + rank, len(windows), deepest)
    folded = {}
    for name, values in table.statistics.items():
        folded[name] = merge(name, values)
        if name != COVERAGE:
            partly = np.logical_or.reduceat(unknown(kind, table, name), first, axis=0)
            folded[name][partly] = 0 if name == SKETCH else np.nan
    return StatisticsTable(interval_ns, windows, folded)


def unknown(kind: Kind, table: StatisticsTable, name: str) -> Any:
    """Say which cells hold samples, but not this statistic of them."""
    if name == SKETCH:  # which is empty too where nothing was observed
        observed: Values = table.statistics["count"] > 0 if "count" in table.statistics else table.coverage > 0
        return observed & (table.statistics[name][..., 0] == 0)
    missing: Values = (table.coverage > 0) & np.isnan(table.statistics[name])
    if kind == "summary" and name in {"min", "max"}:  # a bucket without an observation has none
        missing &= table.statistics["count"] > 0 if "count" in table.statistics else False
    return missing


def choose(
    kind: Kind, names: Sequence[str], tables: Sequence[StatisticsTable], interval_ns: int, n_series: int
) -> tuple[StatisticsTable, Any]:
    """Make the table of an interval: each cell from the tier that still has all of its samples.

    The tier of that very interval comes first, then the finest that divides it.
    Returns: the table, with the statistics of these names; which of its rows the tier of that interval had.
    """
    sources = [fold(kind, each, interval_ns) for each in tables if interval_ns % each.interval_ns == 0]
    same = any(each.interval_ns == interval_ns for each in tables)
    if same:  # the coarsest of those that divide it
        sources.insert(0, sources.pop())
    windows = np.unique(np.concatenate([np.empty(0, np.int64), *(each.buckets for each in sources)]))
    chosen = empty(interval_ns, names, n_series, windows)
    places = [np.searchsorted(windows, each.buckets) for each in sources]
    for each, rows in zip(sources, places, strict=True):
        chosen.coverage[rows] = np.maximum(chosen.coverage[rows], each.coverage)
    for name in names:
        if name == COVERAGE:
            continue
        filled = np.zeros(chosen.coverage.shape, dtype=bool)
        for each, rows in zip(sources, places, strict=True):
            if name not in each.statistics:
                continue
            take = (each.coverage == chosen.coverage[rows]) & (each.coverage > 0) & ~filled[rows]
            take &= ~unknown(kind, each, name)
            taken = take[..., None] if name == SKETCH else take
            chosen.statistics[name][rows] = np.where(taken, each.statistics[name], chosen.statistics[name][rows])
            filled[rows] |= take
    kept = np.isin(windows, sources[0].buckets) if same else np.zeros(len(windows), dtype=bool)
    return chosen, kept


def fine_cells(kind: Kind, table: StatisticsTable) -> dict[str, Values]:
    """Write statistics of single buckets as the cells of a finest tier; of a counter or a gauge, all it can have."""
    statistics = table.statistics
    if kind != "summary":
        return statistics
    count = statistics["count"]
    none = np.isnan(count)
    cells = {"count": count, "count_base": statistics["count_base"], "sum_base": statistics["sum_base"]}
    for copy, full in (("0", True), ("1", False)):
        for name, start in (("sum", 0.0), ("min", np.inf), ("max", -np.inf)):
            values = np.where(count > 0, statistics[name], start) if full else np.full(count.shape, start)
            cells[name + copy] = np.where(none, np.nan, values)
    if SKETCH in statistics:
        heads, banks = sketch.to_cells(statistics[SKETCH])
        cells |= dict(zip(SKETCH_CELLS, (heads, *banks), strict=True))
    return cells


def write_table(schema: Schema, tier: int, slab: Slab, table: StatisticsTable) -> None:
    """Put the rows into a slab that was never used."""
    cells = table.statistics if tier else fine_cells(schema.kind, table)
    slots, n_series = table.buckets % slab.spec.slot_count, table.coverage.shape[1]
    for name in schema.cells(tier):
        block = slab.block(name)
        if not tier and block.dtype.kind == "f":
            block[slots] = np.nan
        block[slots, :n_series] = sketch_bytes.written(cells[name], block) if name == SKETCH else cells[name]
    slab.headers()[slots] = table.buckets
    for slot in slots.tolist():
        slab.seal(slot)
