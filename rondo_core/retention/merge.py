"""Merge what several stores hold of equal series, bucket by bucket at their own times, into one store's tiers.

Totals add up: a counter stands, at every instant, at the sum of what each process had counted by then, before its
birth 0 and after its end its last total; so what the merged series has grown in any span is what all of them had.
Summaries merge whole, sketches too. A gauge is the sum of the processes' gauges: its sum is exact in every tier, and
its least and greatest value are too wherever the finer tier is still there or one process alone had a value; elsewhere
they are bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.fold.tables import StatisticsTable, empty, fold
from rondo_core.model import sketch
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, SKETCH, coarse_statistics

Values = NDArray[Any]
_HIGHEST = float(np.finfo(np.float64).max)


@attrs.frozen(eq=False)
class StoreTables:
    """What one store holds of some series of one schema: a table a tier, finest first.

    Attributes: `columns`, where each of the series goes in what is merged; `born_ns`, when each was declared.
    """

    tables: Sequence[StatisticsTable]
    columns: NDArray[np.intp]
    born_ns: NDArray[np.int64]


def rows_of(
    schema: Schema, held: Sequence[Sequence[NDArray[np.int64]]], births: Sequence[Sequence[int]]
) -> list[NDArray[np.int64]]:
    """Give the buckets that every tier of a merged store holds, ascending.

    Args: `held`: of each store, of each tier, the buckets that it holds; `births`: of each store that is new, of each
        tier, its first: the one before is held too, so that a rate is that of the bucket, and not since the last death.
    Returns: as many of the newest as the ring has slots for, and the newest itself in every tier; none where none is.
    """
    finest_ns = schema.tiers[0].interval_ns
    newest = max((int(each[0].max()) for each in held if len(each[0])), default=0)
    rows = []
    for tier, kept in enumerate(schema.tiers):
        last = newest * finest_ns // kept.interval_ns
        more = [each[tier] - 1 for each in births] + ([last] if newest else [])
        found = np.unique(np.concatenate([np.array(more, np.int64), *(each[tier] for each in held)]))
        rows.append(found[(found > max(0, last - kept.slot_count)) & (found <= last)])
    return rows


def merge_parts(
    schema: Schema, parts: Sequence[StoreTables], rows: Sequence[NDArray[np.int64]], n_series: int
) -> list[StatisticsTable]:
    """Merge the parts of one schema's series into a table a tier, of these rows: see `rows_of`.

    A coarse window is folded from the finer tier's merged rows where these have all of it; else it is the merge of the
    parts' own windows.
    """
    steps = {name: [_Step(schema, part, name) for part in parts] for name in _totals(schema)}
    with np.errstate(all="ignore"):
        tables = [_merge_tier(schema, 0, parts, steps, rows[0], n_series)]
        _keep_totals(schema, tables[0], parts, steps)
        for tier in range(1, len(schema.tiers)):
            table = _merge_tier(schema, tier, parts, steps, rows[tier], n_series)
            _fold_whole(schema, tier, tables[-1], table, parts)
            tables.append(table)
    return tables


def _totals(schema: Schema) -> tuple[str, ...]:
    return {"counter": ("last",), "summary": ("count", "sum")}.get(schema.kind, ())


class _Step:
    """The running total of one part's series at any instant, from all of its tiers: each row tells it at its end.

    Attributes: `since_ns`, the end of the first row that tells it, of each series.
    """

    def __init__(self, schema: Schema, part: StoreTables, name: str) -> None:
        kept = [table for table in part.tables if name in table.statistics]
        if name != "last":
            kept = [table for table in kept if f"{name}_base" in table.statistics]
        rows = [_covered(table, name) + _base(table, name) for table in kept]
        ends = np.concatenate([np.empty(0, np.int64), *((each.buckets + 1) * each.interval_ns for each in kept)])
        order = np.argsort(ends, kind="stable")
        self.ends = ends[order]
        n_series = len(part.columns)
        values = np.concatenate([np.empty((0, n_series)), *rows])[order]
        known = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
        first = np.argmax(known >= 0, axis=0) if len(values) else np.zeros(n_series, np.intp)
        earliest = values[first, np.arange(n_series)] if len(values) else np.zeros(n_series)
        if name == "last":
            self.before = np.where(part.born_ns >= _oldest_ns(schema, part), 0.0, np.nan_to_num(earliest, nan=0.0))
        else:
            bases = np.concatenate([np.empty((0, n_series)), *(_base(each, name) for each in kept)])[order]
            self.before = np.nan_to_num(bases[first, np.arange(n_series)]) if len(bases) else np.zeros(n_series)
        at = np.maximum.accumulate(known, axis=0) if len(known) else known
        filled = np.take_along_axis(values, np.maximum(at, 0), axis=0) if len(values) else values
        self.values = np.where(at >= 0, filled, self.before)
        never = np.iinfo(np.int64).max
        known_at_all = (known >= 0).any(axis=0) if len(values) else np.zeros(n_series, dtype=bool)
        self.since_ns = np.where(known_at_all, self.ends[first], never) if len(values) else np.full(n_series, never)

    def at(self, instants_ns: NDArray[np.int64]) -> Values:
        """Give the totals at these instants: float64 [instants, series]; before the birth 0."""
        if not len(self.values):
            return np.zeros((len(instants_ns), len(self.before)))
        row = self.ends.searchsorted(instants_ns, "right") - 1
        return np.where((row >= 0)[:, None], self.values[np.maximum(row, 0)], self.before)


def _covered(table: StatisticsTable, name: str) -> Values:
    return np.where(table.coverage > 0, table.statistics[name], np.nan)


def _base(table: StatisticsTable, name: str) -> Values:
    if name == "last":
        return np.zeros(table.coverage.shape)
    return np.where(table.coverage > 0, table.statistics[f"{name}_base"], np.nan)


def _oldest_ns(schema: Schema, part: StoreTables) -> int:
    """Give from when on the part has all that was recorded, in one tier or another."""
    if not len(part.tables[0].buckets):
        return 0
    newest_ns = int(part.tables[0].buckets[-1]) * schema.tiers[0].interval_ns
    last = schema.tiers[-1]
    return (newest_ns // last.interval_ns - last.slot_count + 1) * last.interval_ns


def _merge_tier(
    schema: Schema,
    tier: int,
    parts: Sequence[StoreTables],
    steps: dict[str, list[_Step]],
    rows: NDArray[np.int64],
    n_series: int,
) -> StatisticsTable:
    merging = _Merging(schema, tier, rows, n_series)
    for at, part in enumerate(parts):
        table = part.tables[tier]
        table = table.rows(np.isin(table.buckets, rows))
        merging.add(table, part)
        for total, all_steps in steps.items():
            _add_total(schema, merging.merged, table, part, (total, all_steps[at]))
    merged = merging.finished()
    if schema.kind == "counter":
        _fill_counters(merged, parts, steps["last"])
    for name, values in merged.statistics.items():
        if _is_total(schema, name):
            values[merged.coverage == 0] = np.nan
    return merged


class _Merging:
    """One tier of one schema, to which parts are added; running totals are added elsewhere."""

    def __init__(self, schema: Schema, tier: int, rows: NDArray[np.int64], n_series: int) -> None:
        names = schema.cells(tier) if tier else coarse_statistics(schema.kind, schema.sketch)
        interval_ns = schema.tiers[tier].interval_ns
        self.merged = empty(interval_ns, names, n_series, rows)
        self._schema, self._fine = schema, not tier
        self._most = interval_ns // schema.tiers[0].interval_ns
        self._sketches: list[tuple[Values, Values, Values]] = []
        # The sums of what is negative of least values, and of what is positive of greatest ones.
        self._bounds = {"min": np.zeros((len(rows), n_series)), "max": np.zeros((len(rows), n_series))}

    def add(self, table: StatisticsTable, part: StoreTables) -> None:
        """Add a part's rows, all of which are among those of the tier."""
        merged = self.merged
        place = np.ix_(np.searchsorted(merged.buckets, table.buckets), part.columns)
        there, seen = table.coverage > 0, merged.coverage[place] > 0
        for name, values in table.statistics.items():
            if name == SKETCH:
                self._sketches.append((place[0].ravel(), part.columns, np.where(there[..., None], values, 0)))
            elif name not in merged.statistics or name == COVERAGE or _is_total(self._schema, name):
                continue
            elif name in self._bounds:
                self._add_bound(name, place, there, values)
            else:
                into = merged.statistics[name]
                into[place] = np.where(there, _add(np.where(seen, into[place], 0.0), values), into[place])
        merged.coverage[place] = np.minimum(merged.coverage[place] + np.where(there, table.coverage, 0), self._most)

    def _add_bound(self, name: str, place: Any, there: Values, values: Values) -> None:
        into, least = self.merged.statistics[name], name == "min"
        into[place] = np.where(there, (np.fmin if least else np.fmax)(into[place], values), into[place])
        signed = np.where(there & ((values < 0) if least else (values > 0)), values, 0.0)
        self._bounds[name][place] += signed

    def finished(self) -> StatisticsTable:
        """Give the table. A sum of gauges is at least what is negative of them, and at most what is positive."""
        statistics = self.merged.statistics
        if self._schema.kind == "gauge":
            for name, bound in self._bounds.items():
                if self._fine and not self._schema.peaks:
                    statistics[name] = statistics["last"]
                elif name in statistics:
                    statistics[name] = np.where(bound != 0.0, bound, statistics[name])
        if SKETCH in statistics:
            _merge_sketches(statistics[SKETCH], self._sketches)
        return self.merged


def _fill_counters(merged: StatisticsTable, parts: Sequence[StoreTables], steps: Sequence[_Step]) -> None:
    """Let a counter stand in each row from its birth on: it has no gaps, as in a process that lives."""
    since_ns = np.full(merged.coverage.shape[1], np.iinfo(np.int64).max)
    for part, step in zip(parts, steps, strict=True):
        since_ns[part.columns] = np.minimum(since_ns[part.columns], step.since_ns)
    ends_ns = (merged.buckets + 1) * merged.interval_ns
    stands = (merged.coverage == 0) & (ends_ns[:, None] >= since_ns)
    merged.coverage[stands] = 1


def _is_total(schema: Schema, name: str) -> bool:
    """Say whether a statistic is of a running total, which stands on where a part has ended."""
    return name in ({"first", "last"} if schema.kind == "counter" else {"count_base", "sum_base"})


def _add_total(
    schema: Schema, merged: StatisticsTable, table: StatisticsTable, part: StoreTables, of: tuple[str, _Step]
) -> None:
    """Add a part's running totals to every row: where it has a row by that, else by where it stood then."""
    (total, step), rows, interval_ns = of, merged.buckets, merged.interval_ns
    place, there = np.searchsorted(rows, table.buckets), table.coverage > 0
    at_end = schema.kind == "counter"
    stands = step.at((rows + int(at_end)) * interval_ns)
    for name in ("first", "last") if at_end else (f"{total}_base",):
        if name not in merged.statistics:
            continue
        values = stands.copy()
        if name in table.statistics:
            values[place] = np.where(there, table.statistics[name], values[place])
        into = merged.statistics[name][:, part.columns]
        merged.statistics[name][:, part.columns] = _add(np.where(np.isnan(into), 0.0, into), values)


def _add(one: Values, other: Values) -> Values:
    """Add up; a sum of finite values that no float holds stands at the last one that does."""
    total = one + other
    over = np.isinf(total) & np.isfinite(one) & np.isfinite(other)
    return np.where(over, np.clip(total, -_HIGHEST, _HIGHEST), total) if over.any() else total


def _merge_sketches(into: Values, sketches: Sequence[tuple[Values, Values, Values]]) -> None:
    """Merge, series by series, the sketches of all parts that have one in a row."""
    for column in range(into.shape[1]):
        mine = [
            (place, values[:, at]) for place, columns, values in sketches for at in np.flatnonzero(columns == column)
        ]
        if mine:
            places = np.concatenate([place for place, _ in mine])
            stacked = np.concatenate([values for _, values in mine])
            used = stacked[:, 0] > 0
            windows, places = np.unique(places[used], return_inverse=True)
            into[windows, column] = sketch.merge(stacked[used][:, None], places, len(windows))[:, 0]


def _keep_totals(
    schema: Schema, table: StatisticsTable, parts: Sequence[StoreTables], steps: dict[str, list[_Step]]
) -> None:
    """Let the newest row tell every summary's totals, so that they outlast the ring in which they were counted."""
    if schema.kind != "summary" or not len(table.buckets):
        return
    newest = {name: values[-1] for name, values in table.statistics.items()}  # views
    missing = np.zeros(table.coverage.shape[1], dtype=bool)
    end_ns = (table.buckets[-1:] + 1) * table.interval_ns
    for name, all_steps in steps.items():
        total = np.zeros(len(missing))
        for part, step in zip(parts, all_steps, strict=True):
            total[part.columns] = _add(total[part.columns], step.at(end_ns)[0])
            missing[part.columns] |= step.since_ns <= end_ns
        missing &= newest[COVERAGE] == 0
        newest[f"{name}_base"][missing], newest[name][missing] = total[missing], 0.0
    newest[COVERAGE][missing] = 1


def _fold_whole(
    schema: Schema, tier: int, finer: StatisticsTable, table: StatisticsTable, parts: Sequence[StoreTables]
) -> None:
    """Fold the windows anew of which the finer tier has all: what it has then agrees with them to the last bit."""
    ratio, slots = schema.ratio(tier), schema.tiers[tier - 1].slot_count
    if not len(finer.buckets):
        return
    whole = (table.buckets * ratio > finer.buckets[-1] - slots)[:, None] & np.ones(table.coverage.shape, dtype=bool)
    for part in parts:  # a part that lost finer rows still has the window
        fine, own = part.tables[tier - 1], part.tables[tier]
        own = own.rows(np.isin(own.buckets, table.buckets))
        again = fold(
            schema.kind, StatisticsTable(fine.interval_ns, fine.buckets, {COVERAGE: fine.coverage}), table.interval_ns
        )
        had = np.zeros_like(own.coverage)
        both = np.isin(own.buckets, again.buckets)
        had[both] = again.coverage[np.searchsorted(again.buckets, own.buckets[both])] if both.any() else 0
        whole[np.ix_(np.searchsorted(table.buckets, own.buckets), part.columns)] &= had >= own.coverage
    rows = np.isin(finer.buckets // ratio, table.buckets[whole.any(axis=1)])
    folded = fold(schema.kind, finer.rows(rows), table.interval_ns)
    place = np.searchsorted(table.buckets, folded.buckets)
    take = whole[place] & (folded.coverage > 0)
    for name, values in table.statistics.items():
        if name in folded.statistics:
            chosen = take[..., None] if name == SKETCH else take
            values[place] = np.where(chosen, folded.statistics[name], values[place])
