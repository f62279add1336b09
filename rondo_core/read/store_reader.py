"""StoreReader: look into a store, live or finished, from any process, without a lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError
from rondo_core.model import layout
from rondo_core.model.consolidator import Consolidators, pick_consolidator
from rondo_core.model.labels import Series
from rondo_core.model.ranges import ALL, AUTO, Range, parse_range, tier_index
from rondo_core.model.schema import SELF_SCHEMA
from rondo_core.model.selector import Selector, parse_selector
from rondo_core.read.aggregate import Aggregate
from rondo_core.read.budget import Budget
from rondo_core.read.query import QueryResult, Table
from rondo_core.read.rows import SlabReader
from rondo_core.read.schema_query import Plan, SchemaQuery
from rondo_core.read.series_index import SeriesIndex
from rondo_core.storage.directory import Meta, read_meta
from rondo_core.storage.events import Event, read_ring
from rondo_core.storage.files import Closeable, Folder
from rondo_core.storage.lock import writer_pid
from rondo_core.storage.recovery import recovery_of
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import Run, RunsFile
from rondo_core.storage.slab import Slab

if TYPE_CHECKING:
    from rondo_core.read.source import StoreSource
    from rondo_core.read.source_names import SourceNames

_PREPARED_KEPT = 256


class View:
    """Queries over mapped slabs and a registry: what a writing store and a reader have in common."""

    def __init__(
        self, path: Path, folder: Folder, meta: Meta, registry: Registry, slabs: dict[str, list[Slab]]
    ) -> None:
        """Bind to what is open already; `path` is for messages, `folder` leads to the files."""
        self.path, self.folder, self.meta, self.registry, self.slabs = path, folder, meta, registry, slabs
        self._queries = {
            schema.name: SchemaQuery(schema, slabs[schema.name], lambda: self.writer_pid() is not None)
            for schema in meta.schemas
        }
        self.longest_ns = max((schema.tiers[-1].interval_ns for schema in meta.schemas), default=0)
        self._consolidators: Consolidators | None = None
        self._index = SeriesIndex(registry)
        self._prepared: dict[Any, PreparedQuery] = {}
        self._names: SourceNames | None = None
        self._runs = RunsFile(folder / layout.RUNS_FILE)

    def runs(self) -> list[Run]:
        """Give who wrote the store and how each run ended, oldest first; the last 127."""
        return list(self._runs.runs())

    def writer_pid(self) -> int | None:
        """Tell which process writes the store now; None where none does."""
        return writer_pid(self.folder / layout.LOCK_FILE)

    def confirm(self) -> None:
        """Say that what was just read is what this view is of; one of a store that has ended may raise."""

    def forget(self) -> None:
        """Drop what was looked at of the slabs, so that they can be unmapped."""
        self._prepared.clear()
        for query in self._queries.values():
            query.forget()

    def reader(self, schema: str, tier: int = 0) -> SlabReader:
        """Give the reader of one tier of a schema, the finest unless asked otherwise."""
        return self._queries[schema].readers[tier]

    def schema_query(self, schema: str) -> SchemaQuery:
        """Give what reads a schema's tiers."""
        return self._queries[schema]

    def is_outdated(self) -> bool:
        """Say whether the open files are no more those of the store; those of the process that writes it are."""
        return False

    def refresh(self) -> None:
        """Take in the series that were declared since; a store that this process writes has them."""

    @property
    def names(self) -> SourceNames:
        """The series as PromQL has them; made at the first look."""
        if self._names is None:
            from rondo_core.read.source_names import SourceNames

            self._names = SourceNames(self.registry, self.meta.schemas)
        return self._names

    def source(self, *, clock: Callable[[], int] = wall_ns, budget: Budget | None = None) -> StoreSource:
        """Give the store as a source of PromQL: `rondo_promql.evaluate(query, store.source(), ...)`.

        Args: `clock` says what time it is: a bucket that is not over is not answered; `budget`: what all that is asked
            of it may read.
        """
        from rondo_core.read.source import StoreSource

        return StoreSource(self, clock=clock, budget=budget)

    def plan(self, schema: str, series: Sequence[Series], tier: int, fn: str) -> Callable[[Range], Table]:
        """Fix how series of one schema are read from one tier, and give what reads a span of it.

        Raises: ConsolidatorError: the consolidator does not read this schema's kind, or not this tier.
        """
        query = self._queries[schema]
        plan = query.plan(series, tier, pick_consolidator(fn, query.schema.kind, self.consolidators))
        return lambda span: query.read(plan, span)

    @property
    def consolidators(self) -> Consolidators:
        """The consolidators of every installed plugin, loaded at the first look."""
        if self._consolidators is None:
            from rondo_core.plugins.manager import load_consolidators

            self._consolidators = load_consolidators()
        return self._consolidators

    @consolidators.setter
    def consolidators(self, known: Consolidators) -> None:
        self._consolidators = known
        self._prepared.clear()

    def series(self, selector: str | Selector = "") -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration; all for an empty one.

        Raises: SelectorError: it does not parse.
        """
        return self._index.select(parse_selector(selector) if isinstance(selector, str) else selector)

    def newest_ns(self) -> int:
        """Give the start of the newest bucket, ns since the epoch; 0 where there is none."""
        return max((query.newest_ns() for query in self._queries.values()), default=0)

    def end_ns(self) -> int:
        """Give the end of the newest bucket that holds more than rondo's own counts, ns since the epoch; 0: none.

        Where schemas differ in their finest interval, the newest buckets of several overlap: the one that ends first
        tells best where the samples end. A bucket of five minutes would end long after a life of some seconds.
        """
        spans = {}
        for schema in self.meta.schemas:
            if start := self._queries[schema.name].newest_ns():
                spans[schema.name] = start, start + schema.tiers[0].interval_ns
        own = spans.pop(SELF_SCHEMA, (0, 0))
        newest_ns = max((start for start, _ in spans.values()), default=0)
        return min((end for _, end in spans.values() if end > newest_ns), default=own[1])

    def closed_ns(self, now_ns: int | None) -> int:
        """Give until when buckets are over: all of them, where no process writes the store."""
        if self.writer_pid() is None:
            return 1 << 62
        return wall_ns() if now_ns is None else now_ns

    def events(self, range: str | Range = ALL, *, now_ns: int | None = None) -> list[Event]:
        """Give the marks and notes of a range, oldest first; the store keeps the newest.

        A relative range ends at `now_ns`, or where that is not given with the newest sample or event.
        Raises: RangeError: `range` is none; StoreError, CorruptStoreError: their file cannot be read.
        """
        asked = parse_range(range) if isinstance(range, str) else range
        found = sorted(read_ring(self.folder / layout.EVENTS_FILE).events(), key=lambda event: event.time_ns)
        if asked.is_relative and now_ns is None:
            now_ns = max([self.end_ns() - 1, *(event.time_ns for event in found[-1:])])
        asked = asked.anchored(now_ns or 0)
        return [event for event in found if asked.start_ns <= event.time_ns < asked.end_ns]

    def query(
        self,
        selector: str | Selector | Sequence[Series],
        range: str | Range = ALL,
        *,
        tier: int | str = AUTO,
        fn: str | None = None,
        now_ns: int | None = None,
        xff: float = 0.0,
        agg: bool = False,
        open: bool = False,
        budget: Budget | None = None,
    ) -> QueryResult:
        """Read the points of every series that the selector matches.

        Args:
            selector: `name{key=value}`, or series found before.
            range: "all", "15m", "START..END" or a Range; a relative one ends at `now_ns`, or where that is not
                given with the newest bucket.
            tier: its number, or "auto": each part from the finest tier that still has it.
            fn: the consolidator; by default last for a counter, avg for a gauge or a summary.
            xff: leave out points of which less than this share of the finest buckets, 0 to 1, held a sample.
            agg: one point for the whole range: what was recorded in it, merged, and then read; see `aggregate`.
            open: give rate and increase, and a summary's count and sum, of the bucket that is still recorded into, too,
                as far as it has come. One value for the whole range has it always.
            budget: what the query may read, and until when; by default as much as it likes. Nothing of a query that
                has one is remembered.
        Returns: one SeriesData per series, in the order of their declaration; one without points stays in.
            Programs that compute take its `tables`, which hold many series in one array.
        Raises: SelectorError, RangeError, ConsolidatorError: the input is wrong; UnknownSeriesError: no match;
            QueryLimitError: the `budget` does not allow it.
        """
        if budget is None:
            prepared = self.prepare(selector, tier=tier, fn=fn)
        else:
            prepared = PreparedQuery(self, self._plans(self._find(selector, budget), tier, fn))
        found = prepared.read(range, now_ns=now_ns, agg=agg, open=open, budget=budget)
        return found.covered(xff) if xff else found

    def prepare(
        self, selector: str | Selector | Sequence[Series], *, tier: int | str = AUTO, fn: str | None = None
    ) -> PreparedQuery:
        """Fix what a query reads, so that reading it again and again costs only the reading.

        Series that are declared later are not in it. Args and Raises: as `query`.
        """
        key = (selector, tier, fn, len(self.registry)) if isinstance(selector, str) else None
        known = self._prepared.get(key) if key else None
        if known is not None:
            return known
        prepared = PreparedQuery(self, self._plans(self._find(selector), tier, fn))
        if key:
            if len(self._prepared) >= _PREPARED_KEPT:
                self._prepared.clear()
            self._prepared[key] = prepared
        return prepared

    def _find(self, selector: str | Selector | Sequence[Series], budget: Budget | None = None) -> Sequence[Series]:
        if isinstance(selector, Series):
            return [selector]
        if not isinstance(selector, str | Selector):
            return selector
        parsed = parse_selector(selector) if isinstance(selector, str) else selector
        found = self._index.select(parsed, budget)
        if not found:
            from rondo_core.read.unmatched import no_such_series

            raise no_such_series(parsed, self.registry)
        return found

    def _plans(
        self, found: Sequence[Series], tier: int | str, fn: str | None
    ) -> tuple[list[tuple[SchemaQuery, Plan]], list[tuple[int, int]]]:
        groups: dict[str, list[Series]] = {}
        for each in found:
            groups.setdefault(each.schema, []).append(each)
        plans = []
        for name, group in groups.items():
            query = self._queries[name]
            consolidator = pick_consolidator(fn, query.schema.kind, self.consolidators)
            plans.append((query, query.plan(group, tier_index(tier, query.schema), consolidator)))
        if len(plans) == 1:
            return plans, [(0, column) for column in range(len(found))]
        table_of, seen = {name: index for index, name in enumerate(groups)}, dict.fromkeys(groups, 0)
        places = []
        for each in found:
            places.append((table_of[each.schema], seen[each.schema]))
            seen[each.schema] += 1
        return plans, places


class PreparedQuery:
    """A query whose series, tier and consolidator are settled."""

    __slots__ = ("_places", "_plans", "_view", "_waits")

    def __init__(self, view: View, prepared: tuple[list[tuple[SchemaQuery, Plan]], list[tuple[int, int]]]) -> None:
        """Bind to a view; `View.prepare` does this."""
        self._view = view
        self._plans, self._places = prepared
        self._waits = any(plan.consolidator.waits for _, plan in self._plans)

    def read(
        self,
        range: str | Range = ALL,
        *,
        now_ns: int | None = None,
        agg: bool = False,
        open: bool = False,
        budget: Budget | None = None,
    ) -> QueryResult:
        """Read the points as they stand now. Args, Returns and Raises: as `View.query`."""
        asked = self._anchored(range, now_ns)
        if agg:
            tables = [query.aggregate(plan, asked, budget).table() for query, plan in self._plans]
        else:
            tables = [query.read(plan, asked, budget) for query, plan in self._plans]
            if self._waits and not open:
                closed_ns = self._view.closed_ns(now_ns)
                tables = [
                    table.until(closed_ns) if plan.consolidator.waits else table
                    for table, (_, plan) in zip(tables, self._plans, strict=True)
                ]
        return QueryResult(tables, self._places)

    def aggregates(
        self, range: str | Range = ALL, *, now_ns: int | None = None, budget: Budget | None = None
    ) -> list[tuple[Aggregate, int]]:
        """Merge all of the range: for each series, in the order asked for, an aggregate and its column there."""
        asked = self._anchored(range, now_ns)
        found = [query.aggregate(plan, asked, budget) for query, plan in self._plans]
        return [(found[table], column) for table, column in self._places]

    def _anchored(self, span: str | Range, now_ns: int | None) -> Range:
        asked = parse_range(span) if isinstance(span, str) else span
        if not asked.is_relative:
            return asked
        return asked.anchored(self._view.end_ns() - 1 if now_ns is None else now_ns)


class StoreReader(Closeable, View):
    """A store opened for reading only. Any number of processes may; the files may be read-only."""

    def __init__(self, path: str | Path | Folder) -> None:
        """Open the store at `path`, or in a directory that is held open.

        Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
        """
        folder = Folder(path)
        meta = read_meta(folder)
        recovery = recovery_of(folder)
        self._last = _known_by(recovery.last)
        super().__init__(Path(folder.path), folder, meta, *recovery.open(folder, meta, writable=False))
        if recovery.copied is not None and self.writer_pid() is None:
            for query in self._queries.values():
                for reader in query.readers:
                    reader.check_seals(copied=recovery.copied)

    def refresh(self) -> None:
        """Take in the series that the writing process has declared since."""
        self.registry.refresh()

    def is_outdated(self) -> bool:
        """Say whether another store lies at the path by now, or files that a new writer has opened since.

        Who answers for a path, rather than for a store, opens it again then. The writer's run says of files that were
        put in the place of those that are open here, as a file system of layers does when they are opened for writing.
        """
        if not self.folder.is_at_its_path():
            return True
        try:
            runs = self._runs.runs()
        except RondoError:
            return True
        return _known_by(runs[-1] if runs else None) != self._last

    def close(self) -> None:
        """Release the files."""
        self.forget()
        for slabs in self.slabs.values():
            for slab in slabs:
                slab.close()
        self.registry.close()
        self.folder.close()

    def __repr__(self) -> str:
        """Say where it is and how much is in it."""
        return f"<StoreReader {self.path}: {len(self.registry)} series>"


def _known_by(run: Run | None) -> tuple[object, ...]:
    """Give what tells a run from every other, also of other stores."""
    return () if run is None else (run.number, run.opened_ns, run.pid, run.process_start, run.place)
