"""What a store holds, tier by tier, and how what a killed process left compares with an undisturbed run."""

import itertools

import numpy as np

from rondo_core.model.statistics import COARSE_STATISTICS, COVERAGE, cell_statistics, complete_statistics
from rondo_core.read.rows import SlabReader, occupants

FOREVER = 1 << 62


class Tiers:
    """Every row of every tier: (schema, tier) -> bucket -> float64 [statistics, series], NaN where absent."""

    def __init__(self, view, schemas):
        self.rows, self.next_window, self.taken = {}, {}, {}
        for schema in schemas:
            n_series = len(view.registry.by_schema[schema.name])
            for tier, slab in enumerate(view.slabs[schema.name]):
                rows = SlabReader(slab, lambda: False).rows(1, FOREVER, range(n_series), schema.cells(tier))
                found = complete_statistics(
                    schema.kind, rows.cells if tier else cell_statistics(schema.kind, rows.cells)
                )
                there = found[COVERAGE] > 0
                stacked = [np.where(there, found[name], np.nan) for name in COARSE_STATISTICS[schema.kind]]
                whole = np.full((len(rows.buckets), len(stacked), schema.max_series), np.nan)
                whole[:, :, :n_series] = np.stack(stacked, axis=1) if len(rows.buckets) else whole[:, :, :n_series]
                self.rows[schema.name, tier] = dict(zip(rows.buckets.tolist(), whole, strict=True))
                self.next_window[schema.name, tier] = slab.next_window
                self.taken[schema.name, tier] = occupants(slab.headers())

    def newest(self, schema):
        """Give the newest row of the finest tier; None where there is none."""
        rows = self.rows[schema, 0]
        return rows[max(rows)] if rows else None


class Blur:
    """Where a call that a kill cut short may have landed in part: buckets first..last of the finest tier."""

    def __init__(self, schema, column, first, last, amount, only=None):
        self.schema, self.column, self.first, self.last, self.amount = schema, column, first, last, amount
        self.only = only  # one statistic


def same(one, other):
    return (one == other) | (np.isnan(one) & np.isnan(other))


def differences(dead, whole, schemas, blurs, dropped_from=None):
    """Say what a killed process left that was neither there before nor after the call that the kill cut short.

    Args:
        dead: Tiers of the killed store; `whole`: of the undisturbed one before and after that call, and in passing.
        blurs: where calls may have landed in part.
        dropped_from: a bucket of the finest tier, from whose windows on coarse rows may be missing.
    """
    found = []
    for schema in schemas:
        for tier in range(len(schema.tiers)):
            key = schema.name, tier
            span = schema.tiers[tier].interval_ns // schema.tiers[0].interval_ns
            absent = np.full((len(COARSE_STATISTICS[schema.kind]), schema.max_series), np.nan)
            pending = dead.next_window[key] if tier else FOREVER
            if tier and dropped_from is not None:
                pending = min(pending, dropped_from // span)
            for bucket in set().union(*(tiers.rows[key] for tiers in (dead, *whole))):
                rows = [tiers.rows[key].get(bucket, absent) for tiers in (dead, *whole)]
                wrong = ~np.logical_or.reduce([same(rows[0], row) for row in rows[1:]])
                if bucket >= pending:
                    wrong &= ~np.isnan(rows[0])
                taken = whole[0].taken[key]
                taker = taken[bucket % len(taken)]
                if tier and bucket >= whole[0].next_window[key] and bucket not in whole[-1].rows[key]:
                    continue  # the call that was cut short folded the window once more, before it gave its slot away
                gaps = [each for each in blurs if each.amount is None and each.schema == schema.name]
                early = tier or any(each.first <= taker <= each.last for each in gaps)
                if early and taker > bucket and bucket not in whole[0].rows[key]:
                    continue  # the undisturbed store gave the slot away earlier: at a close, or in a span it lived through
                for statistic, column in np.argwhere(wrong).tolist():
                    near = [each for each in blurs if each.schema == schema.name and each.column in {column, None}]
                    near = [each for each in near if each.first < (bucket + 1) * span and each.last >= bucket * span]
                    name = COARSE_STATISTICS[schema.kind][statistic]
                    near = [each for each in near if each.only in {name, None}]
                    values = [float(row[statistic, column]) for row in rows]
                    if not explained(schema.kind, name, values, near):
                        found.append(f"{schema.name}.{tier} bucket {bucket} column {column} {name}: {values}")
    return found


def explained(kind, name, values, near):
    """Say whether calls that landed in part account for a value."""
    if not near:
        return False
    if any(each.amount is None for each in near):  # a span that a process did not live through, or a row in passing
        return True
    if kind == "summary" and name in {"min", "max", COVERAGE}:
        return True
    dead, *whole = values
    amounts = [1.0 if name in {"count", "count_base"} else each.amount for each in near]
    if np.isnan(dead):
        return np.isnan(whole).any()
    whole = [0.0 if np.isnan(value) and name in {"count", "sum"} else value for value in whole]
    sums = {sum(some) for size in range(len(amounts) + 1) for some in itertools.combinations(amounts, size)}
    # In part there, or the whole of it: what was there before is in the undisturbed run's value too.
    return any(abs(value - dead) in sums for value in whole) or np.isnan(whole).all()
