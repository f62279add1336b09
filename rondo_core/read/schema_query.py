"""Read one schema's tiers through a consolidator, stitched from the finest tier that still has each part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.errors import ConsolidatorError
from rondo_core.model.consolidator import Consolidator
from rondo_core.model.labels import Series
from rondo_core.model.ranges import Range
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, SKETCH, cell_statistics, cells_for, complete_statistics
from rondo_core.read.aggregate import Aggregate, aggregate
from rondo_core.read.budget import Budget
from rondo_core.read.query import Table
from rondo_core.read.rows import Index, SlabReader, occupants, picker
from rondo_core.storage.slab import Slab

if TYPE_CHECKING:
    Keep = slice | NDArray[np.intp]

BIRTH = "birth"
_TRIES = 8
_PLANNED_SERIES, _PLANS_KEPT = 8, 256  # of a plan that is remembered, and such plans


@attrs.frozen(eq=False)
class Plan:
    """What to read of one schema: which series, of which tier (None: stitched), through which consolidator.

    Attributes: `needs`, the statistics; `plain`: in the finest tier the samples themselves are the reading;
        `by_series`: what is copied has the values of a series side by side, not those of a row.
    """

    series: tuple[Series, ...]
    picked: Any
    tier: int | None
    consolidator: Consolidator
    needs: tuple[str, ...]
    plain: bool
    by_series: bool = False


@attrs.frozen(eq=False)
class _Stitch:
    """Which rows of each tier's index make up the whole, where every tier is read as far as it still has it."""

    indexes: tuple[Index, ...]
    kept: tuple[Any, ...]


class SchemaQuery:
    """Reads of one schema's tiers, in this process or another."""

    def __init__(self, schema: Schema, slabs: Sequence[Slab], is_live: Callable[[], bool]) -> None:
        """Bind to the mapped slabs; `is_live` says whether some process writes them."""
        self.schema = schema
        self.readers = [SlabReader(slab, is_live) for slab in slabs]
        self._intervals_ns = [tier.interval_ns for tier in schema.tiers]
        self._stitches: dict[int, _Stitch] = {}
        self._plans: dict[tuple[object, ...], Plan] = {}

    def forget(self) -> None:
        """Release what was remembered of the slabs."""
        self._stitches.clear()
        for reader in self.readers:
            reader.forget()

    def newest_ns(self) -> int:
        """Give the start of the newest bucket of the finest tier, ns since the epoch; 0 where there is none."""
        return self.readers[0].index().last * self._intervals_ns[0]

    def plan(
        self, series: Sequence[Series], tier: int | None, consolidator: Consolidator, *, by_series: bool = False
    ) -> Plan:
        """Fix what to read of these series, all of this schema.

        Raises: ConsolidatorError: the tier does not keep what the consolidator needs.
        """
        if SKETCH in consolidator.needs and not self.schema.sketch:
            what = f"fn {consolidator.name}: {series[0].name if series else self.schema.name} keeps no quantiles"
            mend = "declare it with quantiles=True, under a schema with sketch = true: in a new store, or rondo migrate"
            raise ConsolidatorError(f"{what}; {mend}")
        if tier is not None and not self._keeps(tier, consolidator.needs):
            kept = ", ".join(self.schema.cells(tier))
            raise ConsolidatorError(f"fn {consolidator.name}: tier {tier} of {self.schema.name} keeps only {kept}")
        needs = tuple(dict.fromkeys((*consolidator.needs, COVERAGE)))
        plain = consolidator.of_one and self.schema.kind != "summary"
        plain = plain and not (self.schema.peaks and {"min", "max"} & set(needs))
        picked = picker([each.column for each in series])
        return Plan(tuple(series), picked, tier, consolidator, needs, plain, by_series)

    def plan_by_series(self, series: Sequence[Series], consolidator: Consolidator) -> Plan:
        """Fix what to read of these series of all tiers, each one's side by side; what is read of few is remembered.

        Args: `consolidator`: one that is told by what it needs. Raises: as `plan`.
        """
        if len(series) > _PLANNED_SERIES:
            return self.plan(series, None, consolidator, by_series=True)
        key = consolidator.needs, *[each.column for each in series]
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            plan = self._plans[key] = self.plan(series, None, consolidator, by_series=True)
        return plan

    def _keeps(self, tier: int, needs: Sequence[str]) -> bool:
        return _keeps(self.schema, tier, needs)

    def read(self, plan: Plan, span: Range, budget: Budget | None = None) -> Table:
        """Read the points of a plan's series in the span, ascending.

        Raises: QueryLimitError: they are more than the `budget` has left; nothing is read then.
        """
        grows, whole = plan.consolidator.grows, span
        if grows or budget is not None:
            whole = self._from_point_before(plan, span, budget)
        table = self._stitched(plan, whole) if plan.tier is None else self._one_tier(plan, whole, plan.tier)
        return table.since(span.start_ns) if grows else table

    def aggregate(self, plan: Plan, span: Range, budget: Budget | None = None) -> Aggregate:
        """Merge all that a plan's series recorded in the span. Raises: as `read`."""
        whole = self._from_point_before(plan, span, budget)
        rows = self._rows(plan, whole) if plan.tier is None else None
        if rows is None:
            tier = plan.tier or 0
            index = self.readers[tier].index()
            rows = self._part(plan, tier, index, self._within(tier, index, index.whole, whole))[:3]
        found = aggregate(plan.series, plan.consolidator, rows, span.start_ns, self._intervals_ns[0])
        if plan.consolidator.grows:
            born = self._with_birth(plan, found.stamps, found.intervals, found.statistics)
            found = attrs.evolve(found, statistics=born)
        return found

    def statistics(self, plan: Plan, span: Range, budget: Budget | None = None) -> tuple[Any, Any, dict[str, Any]]:
        """Read what a plan needs, stitched: where each bucket begins, its length, and statistics [rows, series].

        Where the finest tier alone answers, and the samples themselves are the reading, "last" stands for all of them.
        Raises: as `read`.
        """
        self._from_point_before(plan, span, budget)
        rows = self._rows(plan, span)
        if rows is not None:
            return rows
        if plan.plain:
            stamps, intervals, values = self._samples(plan, span)
            return stamps, intervals, {name: values for name in (*plan.needs, "last") if name != COVERAGE}
        index = self.readers[0].index()
        return self._part(plan, 0, index, self._within(0, index, index.whole, span))[:3]

    def _from_point_before(self, plan: Plan, span: Range, budget: Budget | None) -> Range:
        """Let the span begin with the point before it, where that is read too; count what is read."""
        if plan.consolidator.grows:
            span = attrs.evolve(span, start_ns=self._point_before(plan, span.start_ns))
        if budget is not None:
            self._spend(plan, span, budget)
        return span

    def _spend(self, plan: Plan, span: Range, budget: Budget) -> None:
        """Count what the plan reads: of all tiers together, where they are stitched, at most what each one has."""
        depth = self._depth(plan)
        stitch = self._stitch(depth) if plan.tier is None else None
        tiers = range(depth) if plan.tier is None else (plan.tier,)
        for tier in tiers:
            index = stitch.indexes[tier] if stitch else self.readers[tier].index()
            n_rows = _count(self._within(tier, index, stitch.kept[tier] if stitch else index.whole, span))
            spec = self.readers[tier].slab.spec
            n_values = -(-spec.row_bytes // (8 * spec.max_series)) if SKETCH in plan.needs else len(plan.needs)
            budget.spend(n_rows, len(plan.series), n_values)

    def _point_before(self, plan: Plan, start_ns: int) -> int:
        """Give an instant from which on the point before `start_ns` is read, whichever tier has it; that itself: none.

        Where the bucket before is not there, as between two runs, a coarser one may begin behind the finest tier's
        newest point, and is not what is read: then the earliest of all tiers' points is far enough back.
        """
        tiers = range(len(self.readers)) if plan.tier is None else (plan.tier,)
        stamps = [(self.readers[tier].index().stamps, tier) for tier in tiers if self._keeps(tier, plan.needs)]
        found = [(int(each[at - 1]), tier) for each, tier in stamps if (at := int(each.searchsorted(start_ns)))]
        if found and found[0][0] + self._intervals_ns[found[0][1]] >= start_ns:
            return found[0][0]
        return min((stamp for stamp, _ in found), default=start_ns)

    # -- one tier

    def _samples(self, plan: Plan, span: Range) -> tuple[Any, Any, Any]:
        """Read the samples of the finest tier: timestamps, intervals, and values [rows, series]."""
        reader, interval_ns = self.readers[0], self._intervals_ns[0]
        index = reader.index()
        keep = index.between(span.start_ns // interval_ns, (span.end_ns - 1) // interval_ns)
        copied, good = reader.copy(index, keep, plan.picked, ("last",), by_series=plan.by_series)
        stamps, intervals = index.stamps, index.intervals
        if keep is not index.whole:
            stamps, intervals = stamps[keep], intervals[keep]
        if good is not None:
            stamps, intervals = stamps[good], intervals[good]
        return stamps, intervals, copied["last"]

    def _one_tier(self, plan: Plan, span: Range, tier: int) -> Table:
        if plan.plain and not tier:
            stamps, intervals, values = self._samples(plan, span)
            finest_ns = self._intervals_ns[0]
            return Table(plan.series, plan.consolidator.name, stamps, intervals, values, None, None, finest_ns)
        index, interval_ns = self.readers[tier].index(), self._intervals_ns[tier]
        keep = index.between(span.start_ns // interval_ns, (span.end_ns - 1) // interval_ns)
        stamps, intervals, statistics, _ = self._part(plan, tier, index, keep)
        return self._table(plan, stamps, intervals, statistics)

    def _part(self, plan: Plan, tier: int, index: Index, keep: Keep) -> tuple[Any, Any, dict[str, Any], bool]:
        """Read some rows of one tier: timestamps, intervals, statistics, and whether every row was had."""
        schema, reader = self.schema, self.readers[tier]
        kept = schema.cells(tier)
        cells = tuple(dict.fromkeys(cell for name in plan.needs for cell in cells_for(schema.kind, kept, name)))
        copied, good = reader.copy(index, keep, plan.picked, cells, by_series=plan.by_series)
        with np.errstate(all="ignore"):  # whatever the owner's program asks of its own arithmetic
            statistics = complete_statistics(schema.kind, copied if tier else cell_statistics(schema.kind, copied))
        stamps, intervals = index.stamps[keep], index.intervals[keep]
        if good is not None:
            stamps, intervals = stamps[good], intervals[good]
        return stamps, intervals, {name: statistics[name] for name in plan.needs}, good is None

    def _table(self, plan: Plan, stamps: Any, intervals: Any, statistics: dict[str, Any]) -> Table:
        coverage = statistics[COVERAGE]
        if plan.consolidator.grows:
            statistics = self._with_birth(plan, stamps, intervals, statistics)
        with np.errstate(all="ignore"):
            values = np.where(coverage > 0, plan.consolidator.read(statistics, stamps, intervals), np.nan)
            error = plan.consolidator.error(statistics) if plan.consolidator.error else None
        finest_ns = self._intervals_ns[0]
        return Table(plan.series, plan.consolidator.name, stamps, intervals, values, coverage, error, finest_ns)

    def _with_birth(self, plan: Plan, stamps: Any, intervals: Any, statistics: Mapping[str, Any]) -> dict[str, Any]:
        born = np.array([each.created_ns for each in plan.series], np.int64)
        inside = (stamps[:, None] <= born) & (born < (stamps + intervals)[:, None])
        return {**statistics, BIRTH: np.where(inside, 0.0, np.nan)}

    # -- all tiers

    def _stitched(self, plan: Plan, span: Range) -> Table:
        rows = self._rows(plan, span)
        return self._one_tier(plan, span, 0) if rows is None else self._table(plan, *rows)

    def _rows(self, plan: Plan, span: Range) -> tuple[Any, Any, dict[str, Any]] | None:
        """Read timestamps, intervals and statistics, ascending, of all tiers; None: the finest alone has all rows."""
        depth = self._depth(plan)
        if depth == 1:
            return None
        parts: list[tuple[Any, Any, dict[str, Any], bool]] = []
        for _ in range(_TRIES):  # a row that is given away meanwhile is had from the next tier
            stitch = self._stitch(depth)
            chosen = [
                (tier, self._within(tier, index, keep, span))
                for tier, (index, keep) in enumerate(zip(stitch.indexes, stitch.kept, strict=True))
            ]
            filled = [(tier, keep) for tier, keep in chosen if _count(keep)]
            if len(filled) < 2 and (not filled or filled[0][0] == 0):
                return None
            # The coarsest first, which is older as a rule: then all is in the order of time already.
            parts = [self._part(plan, tier, stitch.indexes[tier], keep) for tier, keep in reversed(filled)]
            if all(part[3] for part in parts):
                break
        stamps = np.concatenate([part[0] for part in parts])
        intervals = np.concatenate([part[1] for part in parts])
        statistics = {name: np.concatenate([part[2][name] for part in parts]) for name in plan.needs}
        if (stamps[1:] >= stamps[:-1]).all():
            return stamps, intervals, statistics
        order = np.argsort(stamps, kind="stable")
        return stamps[order], intervals[order], {name: each[order] for name, each in statistics.items()}

    def _depth(self, plan: Plan) -> int:
        """Count the tiers, from the finest on, that keep what the plan needs."""
        return depth_of(self.schema, plan.needs)

    def _within(self, tier: int, index: Index, keep: Any, span: Range) -> Any:
        """Narrow positions, a slice or an ascending array, to the buckets that the span overlaps."""
        interval_ns = self._intervals_ns[tier]
        inside = index.between(span.start_ns // interval_ns, (span.end_ns - 1) // interval_ns)
        if isinstance(keep, slice):
            return slice(max(keep.start, inside.start), max(keep.start, inside.start, min(keep.stop, inside.stop)))
        return keep[(keep >= inside.start) & (keep < inside.stop)]

    def _stitch(self, depth: int) -> _Stitch:
        """Find which rows of each tier to take; what was found stands until one of the tiers changes."""
        indexes = tuple(reader.index() for reader in self.readers[:depth])
        known = self._stitches.get(depth)
        if known is not None and all(a is b for a, b in zip(known.indexes, indexes, strict=True)):
            return known
        kept: list[NDArray[np.intp]] = [np.arange(len(indexes[0].slots))]
        for tier in range(1, depth):
            taken = self._overwritten(tier, indexes)
            if len(taken):
                windows, interval_ns = indexes[tier].buckets[taken], self._intervals_ns[tier]
                kept = [
                    finer[~_member(indexes[at].stamps[finer] // interval_ns, windows)] for at, finer in enumerate(kept)
                ]
            kept.append(taken)
        self._stitches[depth] = stitch = _Stitch(indexes, tuple(_as_slice(each) for each in kept))
        return stitch

    def _overwritten(self, tier: int, indexes: Sequence[Index]) -> NDArray[np.intp]:
        """Give the positions of a coarse tier's rows in whose window the finer one has given a slot to a newer bucket.

        Written without masks of a byte for each row: numpy keeps small blocks of every size that it ever gave,
        and a filling tier has another size every hour.
        """
        ratio, held = self.schema.ratio(tier), occupants(indexes[tier - 1].headers)
        first = indexes[tier].buckets * ratio
        oldest, newest = int(held.min()), int(held.max())
        # Slots all taken: whatever is older than the oldest is gone; what is a ring behind the newest may be.
        gone = int(first.searchsorted(oldest)) if oldest > 0 else 0
        behind = int(first.searchsorted(newest - len(held), "right"))
        if behind <= gone:
            return np.arange(gone)
        buckets = first[gone:behind, None] + np.arange(ratio)
        lost = np.flatnonzero((held[buckets % len(held)] > buckets).any(axis=1))
        return np.concatenate([np.arange(gone), gone + lost])


def depth_of(schema: Schema, needs: Sequence[str]) -> int:
    """Count the tiers of a schema, from the finest on, that keep these statistics; the finest counts as if it did."""
    depth = 1
    while depth < len(schema.tiers) and _keeps(schema, depth, needs):
        depth += 1
    return depth


def _keeps(schema: Schema, tier: int, needs: Sequence[str]) -> bool:
    return all(cells_for(schema.kind, schema.cells(tier), name) for name in needs)


def _count(keep: Any) -> int:
    return keep.stop - keep.start if isinstance(keep, slice) else len(keep)


def _as_slice(positions: NDArray[np.intp]) -> Any:
    """Write ascending positions as a slice where they have no gap."""
    if not len(positions):
        return slice(0, 0)
    start, stop = int(positions[0]), int(positions[-1]) + 1
    return slice(start, stop) if stop - start == len(positions) else positions


def _member(values: NDArray[np.int64], sorted_set: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say of each value whether it is in the set, which is ascending and not empty."""
    at = np.minimum(sorted_set.searchsorted(values), len(sorted_set) - 1)
    found: NDArray[np.bool_] = sorted_set[at] == values
    return found
