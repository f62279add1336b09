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
from rondo_core.read.source_names import Choice, Chosen, SourceMatcher, SourceNames
from rondo_core.read.source_notes import ReadNotes
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

if TYPE_CHECKING:
    from rondo_core.model.schema import Schema
    from rondo_core.read.budget import Budget
    from rondo_core.read.store_reader import View

# Labels, timestamps_ms int64 [n], float64 [n] or histograms, and where a coarser tier answers weights, float64 [n]. To
# whose hint `takes_blocks` series with the same timestamps may be one: a list of labels, and float64 [series, n].
Selected = tuple[Any, ...]


_NONE_ENDED = Lives.unknown()


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
        now_ns = None if self._clock is None else self._clock()
        lives = lives_of(view, now_ns, span_ms, chosen[0].series.schema if chosen else "")
        buckets = list[BucketTotals]()
        notes = ReadNotes.of(hint, func, span_ms)
        blocks = bool(getattr(hint, "takes_blocks", False))
        found = read_chosen(OpenRows(view, lives, self._budget), chosen, choice, notes, buckets, blocks=blocks)
        if hint is not None and chosen:
            for text in notes.texts():
                hint.note(text)
        return [*found, *buckets_of(buckets, choice)] if buckets else found

    def series(self, matchers: Sequence[SourceMatcher] = ()) -> list[dict[str, str]]:
        """Give the labels of the series that all matchers take; of classic buckets, asked for by name, but for `le`."""
        self._view.refresh()
        return [each.labels for each in self._view.names.choose(Choice(matchers), self._winning)]

    def metadata(self) -> dict[str, tuple[str, str, str]]:
        """Give the type, the help and the unit of each metric, by its name."""
        self._view.refresh()
        return metadata_of([self._view.names])

    def sampled_ms(self, matchers: Sequence[SourceMatcher]) -> tuple[int, int] | None:
        """Give between which instants the series that all matchers take may have samples, in ms; None: none has."""
        self._view.refresh()
        chosen = self._view.names.choose(Choice(matchers), self._winning)
        return sampled_ms(OpenRows(self._view, Lives.unknown(), None), chosen)

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


def lives_of(view: View, now_ns: int | None, span_ms: Bounds, read: str = "") -> Lives:
    """Find when the lives that a store recorded ended, as far as that matters to a span of time.

    Whether a process writes the store is not asked where the span is over and ends before the newest sample.
    Args: `read`: a schema that is read anyway, whose newest sample may tell that alone.
    """
    is_over = now_ns is not None and _is_over(view, span_ms[1], now_ns) and _has_after(view, span_ms[1], read)
    newest_ns = 0 if is_over else view.newest_ns()
    runs = view.runs()
    before = _newest_before(view, [run.opened_ns for run in runs[1:]]) if len(runs) > 1 else []
    if is_over and not before:
        return _NONE_ENDED
    if is_over:
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
    return (end_ms + 1) * NS_PER_MS + 2 * view.longest_ns <= now_ns


def _has_after(view: View, end_ms: int, first: str) -> bool:
    """Say whether some schema has a sample after an instant; one, if any, is looked at before the others."""
    if first and view.schema_query(first).newest_ns() // NS_PER_MS > end_ms:
        return True
    return view.newest_ns() // NS_PER_MS > end_ms


def sampled_ms(store: StoreRows, chosen: Iterable[Chosen]) -> tuple[int, int] | None:
    """Give between which instants series of a store may have samples, in ms since the epoch; None: they have none."""
    found = []
    for name in {each.series.schema for each in chosen}:
        if newest_ns := store.newest_ns(name):
            declared = [each.series.created_ns for each in chosen if each.series.schema == name]
            kept_ns = max(tier.retention_ns for tier in store.schema(name).tiers)
            found.append((max(min(declared), newest_ns - kept_ns), newest_ns))
    if not found:
        return None
    return min(first for first, _ in found) // NS_PER_MS, max(last for _, last in found) // NS_PER_MS


class OpenRows:
    """The rows of a store that is open; see `StoreRows`."""

    def __init__(self, view: View, lives: Lives, budget: Budget | None) -> None:
        """Read through a view, as much as the budget allows."""
        self._view, self.lives, self._budget = view, lives, budget

    def schema(self, name: str) -> Schema:
        """Give a schema by its name."""
        return self._view.schema_query(name).schema

    def newest_ns(self, schema: str) -> int:
        """Give when the newest bucket of a schema begins, ns since the epoch; 0: there is none."""
        return self._view.schema_query(schema).newest_ns()

    def read(self, schema: str, series: Sequence[Series], needs: Needs, span_ms: Bounds) -> StitchedRows:
        """Read statistics of a schema's series."""
        return read_rows(self._view.schema_query(schema), series, needs, span_ms, self.lives.closed_ns, self._budget)


def read_chosen(
    store: StoreRows,
    chosen: Sequence[Chosen],
    choice: Choice,
    notes: ReadNotes,
    buckets: list[BucketTotals],
    *,
    blocks: bool = False,
) -> list[Selected]:
    """Read the samples of a store's series that were chosen, those of equal columns together.

    Args: `notes` has the span, and takes what is to be said of the read; `buckets` takes what classic buckets are made
        of, once all stores were read; `blocks`: series with the same timestamps may be given as one.
    """
    groups: dict[tuple[str, Column], list[Chosen]] = {}
    for each in chosen:
        groups.setdefault((each.series.schema, each.column), []).append(each)
    found: list[Selected] = []
    for (schema, column), several in groups.items():
        notes.finest_ns.add(store.schema(schema).tiers[0].interval_ns)
        if column == HISTOGRAM:
            found += read_native(store, several, choice.func, notes.span_ms, notes.coarse)
        elif column == BUCKETS:
            buckets += read_buckets(store, several, notes.span_ms, notes.coarse)
        else:
            found += _read_samples(store, several, choice.func, notes, blocks=blocks)
    return found


def _read_samples(
    store: StoreRows, several: Sequence[Chosen], func: str, notes: ReadNotes, *, blocks: bool
) -> list[Selected]:
    span_ms = notes.span_ms
    schema, column = store.schema(several[0].series.schema), several[0].column
    series = [each.series for each in several]
    needs = needs_for(schema, column, func)
    rows = store.read(schema.name, series, needs, span_ms)
    values = samples_of(schema.kind, column, needs, func, rows)
    zeroes = zeroes_ms(series, rows, ~np.isnan(values), span_ms) if column.cumulative else None
    within = rows.between(*span_ms)
    weights = None
    if rows.coarse:
        notes.coarse |= rows.coarse_ns(span_ms)
        weights = weights_of(schema.kind, func, rows.rows(within))
    oldest_ns = int(rows.starts_ns[0]) if len(rows.starts_ns) else FOR_EVER_NS
    if oldest_ns > notes.asked_ns:
        notes.look_at_begin(schema, series, oldest_ns, store.newest_ns(schema.name))
    sampled = Sampled(rows.stamps_ms[within], values[within], weights)
    del rows, values, weights  # what was read is not held beside both of its copies
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
