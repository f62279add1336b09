"""Samples as PromQL reads them: the statistic that a function asks for, of the finest tier that still has each part.

A point's timestamp is the start of the last of the finest buckets in its own, as an exporter sends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model.consolidator import Consolidator
from rondo_core.model.labels import KINDS, Kind, Series
from rondo_core.model.prometheus import NS_PER_MS, STALE_BITS, Column, needs_of, values_of, zeroes_ns
from rondo_core.model.ranges import Range
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE
from rondo_core.read.budget import Budget
from rondo_core.read.schema_query import SchemaQuery, depth_of

# What a function over a range reads of a gauge, the best first; other functions read the last value, or the mean.
_GAUGE_NEEDS = {
    "max_over_time": (("max",), ("last",), ("sum",)),
    "min_over_time": (("min",), ("last",), ("sum",)),
    "avg_over_time": (("sum",), ("last",)),
    "sum_over_time": (("sum",), ("last",)),
}
_COUNTER_NEEDS = {"min_over_time": (("first",), ("last",))}
_WEIGHED = frozenset({"avg_over_time", "count_over_time"})
FOR_EVER_NS = 1 << 62
Needs = tuple[str, ...]
Bounds = tuple[int, int]


@attrs.frozen(eq=False)
class Lives:
    """When lives ended and what is over, of one store.

    Attributes: `stale_ms`, int64, ascending: after the newest sample of each run that has ended; `closed_ns`, until
    when buckets are over.
    """

    stale_ms: NDArray[np.int64]
    closed_ns: int

    @classmethod
    def unknown(cls) -> Lives:
        """Give what is known of lives that no one asks about."""
        return cls(np.empty(0, np.int64), FOR_EVER_NS)

    def reach(self, start_ms: int) -> bool:
        """Say whether a dead store's last life ended at an instant or after it."""
        return bool(len(self.stale_ms)) and int(self.stale_ms[-1]) >= start_ms

    def within(self, span_ms: Bounds) -> NDArray[np.int64]:
        """Give the ends that lie in a span, both of its ends included."""
        if not len(self.stale_ms):
            return self.stale_ms
        return self.stale_ms[slice(*self.stale_ms.searchsorted((span_ms[0], span_ms[1] + 1)).tolist())]


class StoreRows(Protocol):
    """The rows of one store, open or not, by schema."""

    lives: Lives

    def schema(self, name: str) -> Schema:
        """Give a schema by its name."""

    def newest_ns(self, schema: str) -> int:
        """Give when the newest bucket begins in which a schema may have a sample, ns since the epoch; 0: none."""

    def read(self, schema: str, series: Sequence[Series], needs: Needs, span_ms: Bounds) -> StitchedRows:
        """Read statistics of a schema's series; see `read_rows`. Raises: QueryLimitError; StoreError."""


@attrs.frozen(eq=False)
class StitchedRows:
    """Rows of one schema in a span of time.

    Attributes:
        stamps_ms: int64 [rows], ascending; starts_ns, intervals_ns: int64 [rows], of their buckets.
        statistics: name -> [rows, series].
        finest_ns: the length of the finest buckets.
        coarse: whether a coarser tier gave some of them.
    """

    stamps_ms: NDArray[np.int64]
    starts_ns: NDArray[np.int64]
    intervals_ns: NDArray[np.int64]
    statistics: dict[str, Any]
    finest_ns: int
    coarse: bool

    def rows(self, keep: Any) -> StitchedRows:
        """Give some of the rows."""
        if keep.__class__ is slice and keep == slice(0, len(self.stamps_ms)):
            return self
        cut = {name: each[keep] for name, each in self.statistics.items()}
        stamps, starts, intervals = self.stamps_ms[keep], self.starts_ns[keep], self.intervals_ns[keep]
        coarse = self.coarse and bool((intervals > self.finest_ns).any())
        return StitchedRows(stamps, starts, intervals, cut, self.finest_ns, coarse)

    def n_bytes(self) -> int:
        """Count the bytes of its arrays."""
        return sum(int(each.nbytes) for each in (self.stamps_ms, self.starts_ns, *self.statistics.values()))

    def between(self, start_ms: int, end_ms: int) -> slice:
        """Give the places of the rows that are neither before the start nor after the end."""
        return slice(*self.stamps_ms.searchsorted((start_ms, end_ms + 1)).tolist())

    def coarse_ns(self, span_ms: Bounds) -> dict[int, int]:
        """Give the lengths of coarser tiers' buckets that overlap a span, and how much time those of each cover."""
        if not self.coarse:
            return {}
        overlaps = self.starts_ns <= span_ms[1] * NS_PER_MS
        overlaps &= self.starts_ns + self.intervals_ns > span_ms[0] * NS_PER_MS
        overlaps &= self.intervals_ns > self.finest_ns
        lengths, counts = np.unique(self.intervals_ns[overlaps], return_counts=True)
        return dict(zip(lengths.tolist(), (lengths * counts).tolist(), strict=True))


def read_rows(
    query: SchemaQuery, series: Sequence[Series], needs: Needs, span_ms: Bounds, closed_ns: int, budget: Budget | None
) -> StitchedRows:
    """Read statistics of a schema's series, from one of the finest buckets before the span to one after it.

    Raises: QueryLimitError: it is more than the `budget` allows.
    """
    finest_ns = query.schema.tiers[0].interval_ns
    first, last = span_ms
    span = Range(max(0, first * NS_PER_MS - finest_ns), (last + 1) * NS_PER_MS + finest_ns)
    plan = query.plan_by_series(series, _unread_consolidator(needs))
    starts, intervals, statistics = query.statistics(plan, span, budget)
    # Where all lengths are one number in memory they are those of the finest tier; see `rows.Index`.
    coarse = intervals.strides != (0,) and bool((intervals > finest_ns).any())
    stamps_ms = (starts + intervals - finest_ns if coarse else starts) // NS_PER_MS
    rows = StitchedRows(stamps_ms, starts, intervals, statistics, finest_ns, coarse)
    if not len(starts) or int(starts[-1]) + int(intervals[-1]) <= closed_ns:
        return rows
    return rows.rows(slice(0, int((starts + intervals).searchsorted(closed_ns, "right"))))


@lru_cache(64)
def _unread_consolidator(needs: Needs) -> Consolidator:
    return Consolidator("source", KINDS, needs, _unread, of_one=True)


def _unread(*_: Any) -> Any:
    raise NotImplementedError("source: its statistics are read as they are")


def needs_for(schema: Schema, column: Column, func: str) -> Needs:
    """Name the statistics from which a function's samples of a column are read, of those that most tiers keep."""
    if schema.kind == "summary":
        return needs_of(schema.kind, column)
    choices: tuple[Needs, ...]
    if schema.kind == "counter":
        choices = _COUNTER_NEEDS.get(func, (("last",),))
    else:
        choices = _GAUGE_NEEDS.get(func, (("last",), ("sum",)))
    if len(choices) == 1 or len(schema.tiers) == 1:
        return choices[0]
    return max(choices, key=lambda needs: (depth_of(schema, needs), -choices.index(needs)))


def samples_of(kind: Kind, column: Column, needs: Needs, func: str, rows: StitchedRows) -> NDArray[np.float64]:
    """Read the values [rows, series] that a function is to see; NaN: there is no sample."""
    statistics = rows.statistics
    if kind == "summary":
        return values_of(kind, column, statistics)
    (name,) = needs
    values: NDArray[np.float64] = statistics[name]
    if name == "sum" and rows.coarse and func != "sum_over_time":
        coverage = statistics[COVERAGE]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(coverage > 0, values / coverage, np.nan)
    return values


def weights_of(kind: Kind, func: str, rows: StitchedRows) -> NDArray[np.float64] | None:
    """Give how many samples each value stands for, [rows, series], where a coarser tier answers; None: one each."""
    if kind == "summary" or not rows.coarse or func not in _WEIGHED:
        return None
    weights: NDArray[np.float64] = rows.statistics[COVERAGE].astype(np.float64)
    return weights


class Sampled:
    """Samples of several series over the same instants.

    Attributes: `stamps_ms`, int64 [instants]; `values`, float64 [series, instants]; `weights`, float64, likewise, or
    None.
    """

    __slots__ = ("_dense", "_real", "_there", "_whole", "stamps_ms", "values", "weights")

    def __init__(
        self, stamps_ms: NDArray[np.int64], values: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> None:
        """Take values and weights, [rows, series]; NaN: no sample. They are not written to."""
        self.stamps_ms = stamps_ms
        self.values = values.T if values.strides[0] == values.itemsize else np.ascontiguousarray(values.T)
        self.weights = None if weights is None else np.ascontiguousarray(weights.T)
        absent = np.isnan(self.values)
        self._whole = bool(len(stamps_ms)) and not np.count_nonzero(absent)
        self._there: Any = None if self._whole else ~absent
        self._real: Any = None if self._whole else ~absent.all(axis=1)  # None: all series have a sample
        self._dense: Any = None  # which series have all; None: not looked at

    @property
    def there(self) -> Any:
        """Whether there is a sample: bool [series, instants], which may be written to."""
        if self._there is None:
            self._there = ~np.isnan(self.values)
        return self._there

    def add_zeroes(self, zeroes_ms: NDArray[np.int64]) -> None:
        """Let each series have a sample of 0 where its total was; negative: it has none."""
        has = np.flatnonzero(zeroes_ms >= 0)
        if len(has):
            given = self.values
            zeroes = zeroes_ms[has]
            self._widen(zeroes[:1] if (zeroes == zeroes[0]).all() else np.unique(zeroes))
            at = self.stamps_ms.searchsorted(zeroes_ms[has])
            there = self.there
            free = ~there[has, at]
            if self.values is given:
                self.values = given.copy()
            self.values[has[free], at[free]] = 0.0
            there[has[free], at[free]] = True
            if self._real is not None:
                self._real[has] = True
            self._look_again()

    def end_lives(self, stale_ms: NDArray[np.int64]) -> None:
        """Let the series end where a life did; another's sample may follow."""
        new = np.setdiff1d(stale_ms, self.stamps_ms) if len(stale_ms) else stale_ms
        if len(new):
            self._widen(new)
            at = self.stamps_ms.searchsorted(new)
            self.values.view(np.uint64)[:, at] = STALE_BITS  # widened, it is a copy
            self.there[:, at] = True
            self._look_again()

    def _look_again(self) -> None:
        """See whether samples that came in have made it whole, or what they left free not."""
        self._whole = np.count_nonzero(self.there) == self.there.size
        self._dense = None

    def _widen(self, stamps_ms: NDArray[np.int64]) -> None:
        """Make room for further instants, with no sample in them."""
        if len(stamps_ms) == 1:
            place = int(self.stamps_ms.searchsorted(stamps_ms[0]))
            if place < len(self.stamps_ms) and self.stamps_ms[place] == stamps_ms[0]:
                return
            self._there = _inserted(self.there, place, False)
            self.values = _inserted(self.values, place, np.nan)
            self.weights = None if self.weights is None else _inserted(self.weights, place, 1.0)
            self.stamps_ms = _inserted(self.stamps_ms, place, stamps_ms[0])
            return
        whole = np.union1d(self.stamps_ms, stamps_ms)
        if len(whole) == len(self.stamps_ms):
            return
        at = whole.searchsorted(self.stamps_ms)
        shape = (len(self.values), len(whole))
        values, there = np.full(shape, np.nan), np.zeros(shape, np.bool_)
        values[:, at], there[:, at] = self.values, self.there
        if self.weights is not None:
            weights = np.ones(shape)
            weights[:, at] = self.weights
            self.weights = weights
        self.stamps_ms, self.values, self._there = whole, values, there

    def block(self) -> tuple[Any, ...] | None:
        """Give timestamps, values and weights, if any, of all series, [series, instants]; None: some have no sample."""
        if not self._whole:
            return None
        found = self.stamps_ms, self.values
        return found if self.weights is None else (*found, self.weights)

    def _has_all(self, index: int) -> bool:
        if self._dense is None:
            self._dense = self.there.all(axis=1)
        return bool(self._dense[index])

    def of(self, index: int) -> tuple[Any, ...] | None:
        """Give one series' timestamps, values and, where there are any, weights; None: it has no sample."""
        if self._real is not None and not self._real[index]:
            return None
        stamps, values = self.stamps_ms, self.values[index]
        weights = None if self.weights is None else self.weights[index]
        if not self._whole and not self._has_all(index):
            keep = self.there[index]
            stamps, values = stamps[keep], values[keep]
            weights = None if weights is None else weights[keep]
        return (stamps, values) if weights is None else (stamps, values, weights)


def _inserted(array: NDArray[Any], place: int, value: Any) -> NDArray[Any]:
    """Copy an array with one more place in its last dimension: `np.insert` for one, at a tenth of its time."""
    whole = np.empty((*array.shape[:-1], array.shape[-1] + 1), array.dtype)
    whole[..., :place], whole[..., place], whole[..., place + 1 :] = array[..., :place], value, array[..., place:]
    return whole


def zeroes_ms(
    series: Sequence[Series], rows: StitchedRows, there: NDArray[np.bool_], span_ms: Bounds
) -> NDArray[np.int64]:
    """Give when the totals of series were 0, int64 [series]; -1 where that is not in the span, or not known.

    Args: `there`, bool [rows, series], whether a cell holds a sample.
    """
    created = np.fromiter((each.created_ns for each in series), np.int64, len(series))
    zeroes = zeroes_ns(created, rows.starts_ns, rows.intervals_ns, rows.finest_ns, there)
    found = zeroes // NS_PER_MS  # -1 where it is -1
    return np.where((found >= max(0, span_ms[0])) & (found <= span_ms[1]), found, -1)
