"""Sources of PromQL: a store's series by matchers, as Prometheus would have them if the store were sent there.

`rondo_promql.evaluate(query, store.source(), ...)` asks one; it satisfies the engine's protocol `Source` by its shape,
and knows nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rondo_core.model.labels import Labels, Series
from rondo_core.model.prometheus import BUCKETS, HISTOGRAM, NS_PER_MS, TYPES, Column, stale_ms
from rondo_core.read.source_names import OF_GROWTH, Choice, Chosen, SourceMatcher, SourceNames
from rondo_core.read.source_sketches import BucketTotals, buckets_of, read_buckets, read_native
from rondo_core.read.source_values import (
    FOR_EVER_NS,
    Bounds,
    Lives,
    Needs,
    Sampled,
    StitchedRows,
    StoreRows,
    needs_for,
    read_rows,
    samples_of,
    weights_of,
    zeroes_ms,
)
from rondo_core.storage.files import Closeable
from rondo_core.units import format_duration

if TYPE_CHECKING:
    from rondo_core.model.schema import Schema
    from rondo_core.read.budget import Budget
    from rondo_core.read.store_reader import View

_WORTH_A_WORD = 0.1  # of the time that is asked for, where points are too far apart
# Labels, timestamps_ms int64 [n], float64 [n] or histograms, and where a coarser tier answers weights, float64 [n]. To
# whose hint `takes_blocks` series with the same timestamps may be one: a list of labels, and float64 [series, n].
Selected = tuple[Any, ...]


class ReadHint(Protocol):
    """What will read the samples; what a source does not know it may leave."""

    @property
    def func(self) -> str:
        """The name of the function or aggregation that reads; empty: none does directly."""

    def note(self, text: str, /) -> None:
        """Tell whoever asked something about the answer."""


class StoreSource(Closeable):
    """The series of one store. Any thread may ask, at the same time as others.

    Attributes: `errors`, what was left out, a line each: nothing, of one store.
    """

    def __init__(
        self, view: View, *, clock: Callable[[], int] | None = None, budget: Budget | None = None, labels: Labels = ()
    ) -> None:
        """Bind to a store's reading side.

        Args: `clock` says what time it is, where the store's writer lives: a bucket that is not over is not answered;
            `budget`: what all that is asked may read together; `labels`: win over the series' own.
        """
        self._view, self._clock, self._budget, self._winning = view, clock, budget, dict(labels)
        self.errors: list[str] = []

    def select(
        self, matchers: Sequence[SourceMatcher], start_ms: int, end_ms: int, hint: ReadHint | None = None
    ) -> list[Selected]:
        """Give the samples, from start to end, both included, of the series that all matchers take.

        Returns: (labels, timestamps_ms, values) for each series, `__name__` among the labels; see docs/querying.md.
        Raises: QueryLimitError: it is more than the `budget` allows; StoreError: the store cannot be read.
        """
        view, span_ms = self._view, (start_ms, end_ms)
        view.refresh()
        func = getattr(hint, "func", "") or ""
        if self._winning:
            choice = Choice(matchers, func)
            chosen = view.names.choose(choice, self._winning)
        else:
            choice, chosen = view.names.choose_again(matchers, func)
        lives = lives_of(view, None if self._clock is None else self._clock(), span_ms)
        buckets = list[BucketTotals]()
        found = read_chosen(OpenRows(view, lives, self._budget), chosen, choice, span_ms, hint, buckets)
        return [*found, *buckets_of(buckets, choice)] if buckets else found

    def series(self, matchers: Sequence[SourceMatcher] = ()) -> list[dict[str, str]]:
        """Give the labels of the series that all matchers take; of classic buckets, asked for by name, but for `le`."""
        self._view.refresh()
        return [each.labels for each in self._view.names.choose(Choice(matchers), self._winning)]

    def metadata(self) -> dict[str, tuple[str, str, str]]:
        """Give the type, the help and the unit of each metric, by its name."""
        self._view.refresh()
        return metadata_of([self._view.names])

    def oldest_ms(self) -> int | None:
        """Give the oldest instant that has a sample, in milliseconds since the epoch; None: none has."""
        starts = []
        for schema in self._view.meta.schemas:
            for number, tier in enumerate(schema.tiers):
                index = self._view.reader(schema.name, number).index()
                starts += [index.first * tier.interval_ns // NS_PER_MS] if index.last else []
        return min(starts, default=None)

    def newest_ms(self) -> int | None:
        """Give the newest instant that has a sample, in milliseconds since the epoch; None: none has."""
        return self._view.newest_ns() // NS_PER_MS or None

    def is_live(self) -> bool:
        """Say whether a process writes the store."""
        return self._view.writer_pid() is not None

    def is_outdated(self) -> bool:
        """Say whether another store lies at the path by now, or a new writer has opened this one; see `StoreReader`."""
        return self._view.is_outdated()

    def close(self) -> None:
        """Close the store, where it was opened for this source."""
        if isinstance(self._view, Closeable):
            self._view.close()


def metadata_of(several: Iterable[SourceNames]) -> dict[str, tuple[str, str, str]]:
    """Give the type, the help and the unit of each metric that stores have, by its name."""
    found: dict[str, tuple[str, str, str]] = {}
    for names in several:
        for name, column, series in names.groups():
            if not column.quantile:
                found.setdefault(name + column.suffix, (TYPES[column.type], series[0].help, series[0].unit))
    return found


def lives_of(view: View, now_ns: int | None, span_ms: Bounds) -> Lives:
    """Find when the lives that a store recorded ended, as far as that matters to a span of time.

    Whether a process writes the store is not asked where the span is over and ends before the newest sample.
    """
    newest_ns = view.newest_ns()
    runs = view.runs()
    before = _newest_before(view, [run.opened_ns for run in runs[1:]]) if len(runs) > 1 else []
    if now_ns is not None and span_ms[1] < newest_ns // NS_PER_MS and _is_over(view, span_ms[1], now_ns):
        return Lives(np.array([stale_ms(each) for each in before], np.int64), FOR_EVER_NS)
    closed_ns = view.closed_ns(now_ns)
    newest = {*before, *([newest_ns] if closed_ns == FOR_EVER_NS and newest_ns else ())}
    return Lives(np.array([stale_ms(each) for each in sorted(newest)], np.int64), closed_ns)


def _newest_before(view: View, opened_ns: Sequence[int]) -> list[int]:
    """Give the newest sample before each of the openings, ascending, each once; those without one have none."""
    opened = np.array(opened_ns, np.int64)
    before = np.zeros(len(opened), np.int64)
    for schema in view.meta.schemas:
        stamps = view.reader(schema.name).index().stamps
        at = stamps.searchsorted(opened)
        before[at > 0] = np.maximum(before[at > 0], stamps[at[at > 0] - 1])
    return sorted(set(before[before > 0].tolist()))


def _is_over(view: View, end_ms: int, now_ns: int) -> bool:
    """Say whether every bucket of every tier that has the instant, or one before it, is over."""
    longest_ns = max(schema.tiers[-1].interval_ns for schema in view.meta.schemas)
    return (end_ms + 1) * NS_PER_MS + 2 * longest_ns <= now_ns


class OpenRows:
    """The rows of a store that is open; see `StoreRows`."""

    def __init__(self, view: View, lives: Lives, budget: Budget | None) -> None:
        """Read through a view, as much as the budget allows."""
        self._view, self.lives, self._budget = view, lives, budget

    def schema(self, name: str) -> Schema:
        """Give a schema by its name."""
        return self._view.schema_query(name).schema

    def read(self, schema: str, series: Sequence[Series], needs: Needs, span_ms: Bounds) -> StitchedRows:
        """Read statistics of a schema's series."""
        return read_rows(self._view.schema_query(schema), series, needs, span_ms, self.lives.closed_ns, self._budget)


def read_chosen(
    store: StoreRows,
    chosen: Sequence[Chosen],
    choice: Choice,
    span_ms: Bounds,
    hint: ReadHint | None,
    buckets: list[BucketTotals],
) -> list[Selected]:
    """Read the samples of a store's series that were chosen, those of equal columns together.

    Args: `buckets` takes what classic buckets are made of, once all stores were read.
    """
    groups: dict[tuple[str, Column], list[Chosen]] = {}
    for each in chosen:
        groups.setdefault((each.series.schema, each.column), []).append(each)
    found: list[Selected] = []
    coarse: dict[int, int] = {}
    for (_, column), several in groups.items():
        if column == HISTOGRAM:
            found += read_native(store, several, choice.func, span_ms, coarse)
        elif column == BUCKETS:
            buckets += read_buckets(store, several, span_ms, coarse)
        else:
            blocks = bool(getattr(hint, "takes_blocks", False))
            found += _read_samples(store, several, choice.func, span_ms, coarse, blocks=blocks)
    if coarse and hint is not None:
        hint.note(coarse_words(coarse))
        range_ns, span_ns = getattr(hint, "range_ms", 0) * NS_PER_MS, (span_ms[1] - span_ms[0]) * NS_PER_MS
        too_long = {length: covered for length, covered in coarse.items() if range_ns < 2 * length}
        if choice.func in OF_GROWTH and sum(too_long.values()) > span_ns * _WORTH_A_WORD:
            hint.note(short_range_words(choice.func, range_ns, max(too_long)))
    return found


def coarse_words(lengths_ns: Iterable[int]) -> str:
    """Say that coarser tiers answered, and what they cannot tell."""
    lengths = ", ".join(map(format_duration, sorted(lengths_ns)))
    return f"older points stand for {lengths} each: they hold its last value, sums and extremes, not the time of each"


def short_range_words(func: str, range_ns: int, length_ns: int) -> str:
    """Say why a function of two points has no value where a range holds one of them at most."""
    wanted, given, length = map(format_duration, (2 * length_ns, range_ns, length_ns))
    return f"{func} needs two points: where these are {length} apart [{given}] may have none; give [{wanted}] or more"


def _read_samples(
    store: StoreRows, several: Sequence[Chosen], func: str, span_ms: Bounds, coarse: dict[int, int], *, blocks: bool
) -> list[Selected]:
    schema, column = store.schema(several[0].series.schema), several[0].column
    series = [each.series for each in several]
    needs = needs_for(schema, column, func)
    rows = store.read(schema.name, series, needs, span_ms)
    values = samples_of(schema.kind, column, needs, func, rows)
    zeroes = zeroes_ms(series, rows, ~np.isnan(values), span_ms) if column.cumulative else None
    within = rows.between(*span_ms)
    kept = rows.rows(within)
    coarse |= kept.coarse_ns()
    sampled = Sampled(kept.stamps_ms, values[within], weights_of(schema.kind, func, kept))
    del rows, kept, values  # what was read is not held beside both of its copies
    if zeroes is not None:
        sampled.add_zeroes(zeroes)
    sampled.end_lives(store.lives.within(span_ms))
    if blocks and (block := sampled.block()) is not None:
        return [([each.labels.copy() for each in several], *block)]
    found = []
    for index, each in enumerate(several):
        if (read := sampled.of(index)) is not None:
            found.append((each.labels.copy(), *read))
    return found
