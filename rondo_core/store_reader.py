"""StoreReader: look into a store, live or finished, from any process, without a lock."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from rondo_core import layout
from rondo_core.directory import Meta, read_meta
from rondo_core.errors import UnknownSeriesError
from rondo_core.labels import Series
from rondo_core.lock import writer_pid
from rondo_core.query import AUTO, Consolidators, Range, SchemaQuery, SeriesData, parse_range, pick, tier_index
from rondo_core.registry import Registry
from rondo_core.runs import Run, read_runs
from rondo_core.schema import SELF_SCHEMA
from rondo_core.selector import Selector, parse_selector
from rondo_core.slab import Slab


class View:
    """Queries over mapped slabs and a registry: what a writing store and a reader have in common."""

    def __init__(self, path: Path, meta: Meta, registry: Registry, slabs: dict[str, list[Slab]]) -> None:
        """Bind to what is open already."""
        self.path, self.meta, self.registry, self.slabs = path, meta, registry, slabs
        self._queries = {
            schema.name: SchemaQuery(schema, slabs[schema.name], lambda: self.writer_pid() is not None)
            for schema in meta.schemas
        }
        self._consolidators: Consolidators | None = None

    def writer_pid(self) -> int | None:
        """Tell which process writes the store now; None where none does."""
        return writer_pid(self.path / layout.LOCK_FILE)

    @property
    def consolidators(self) -> Consolidators:
        """The consolidators of every installed plugin, loaded at the first look."""
        if self._consolidators is None:
            from rondo_core.plugins import load_consolidators

            self._consolidators = load_consolidators()
        return self._consolidators

    @consolidators.setter
    def consolidators(self, known: Consolidators) -> None:
        self._consolidators = known

    def series(self, selector: str | Selector = "") -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration; all for an empty one.

        Raises: SelectorError: it does not parse.
        """
        parsed = parse_selector(selector) if isinstance(selector, str) else selector
        return [series for series in self.registry if parsed.matches(series)]

    def newest_ns(self) -> int:
        """Give the start of the newest bucket, ns since the epoch; 0 where there is none."""
        return max((query.newest_ns() for query in self._queries.values()), default=0)

    def end_ns(self) -> int:
        """Give the end of the newest bucket that holds more than rondo's own counts, ns since the epoch; 0: none."""
        ends = {}
        for schema in self.meta.schemas:
            start = self._queries[schema.name].newest_ns()
            ends[schema.name] = start + schema.tiers[0].interval_ns if start else 0
        own = ends.pop(SELF_SCHEMA, 0)
        return max(ends.values(), default=0) or own

    def query(
        self,
        selector: str | Selector | Sequence[Series],
        span: str | Range = "all",
        *,
        tier: int | str = AUTO,
        fn: str | None = None,
        now_ns: int | None = None,
    ) -> list[SeriesData]:
        """Read the points of every series that the selector matches.

        Args:
            selector: `name{key=value}`, or series found before.
            span: "all", "15m", "START..END" or a Range; a relative one ends at `now_ns`, or where that is not
                given with the newest bucket.
            tier: its number, or "auto": each part from the finest tier that still has it.
            fn: the consolidator; by default last for a counter, avg for a gauge or a summary.
        Returns: one SeriesData per series, in the order of their declaration; one without points stays in.
        Raises: SelectorError, RangeError, ConsolidatorError: the input is wrong; UnknownSeriesError: no match.
        """
        if isinstance(selector, str | Selector):
            parsed = parse_selector(selector) if isinstance(selector, str) else selector
            found = self.series(parsed)
            if not found:
                raise UnknownSeriesError(parsed.text, self.registry.nearest(parsed.name))
        else:
            found = list(selector)
        asked = parse_range(span) if isinstance(span, str) else span
        asked = asked.anchored(self.end_ns() - 1 if now_ns is None else now_ns)
        results: dict[tuple[str, int], SeriesData] = {}
        for schema in self.meta.schemas:
            group = [each for each in found if each.schema == schema.name]
            if not group:
                continue
            consolidator = pick(fn, schema.kind, self.consolidators)
            for data in self._queries[schema.name].read(group, asked, tier_index(tier, schema), consolidator):
                results[schema.name, data.series.column] = data
        return [results[each.schema, each.column] for each in found]


class StoreReader(View):
    """A store opened for reading only. Any number of processes may; the files may be read-only."""

    def __init__(self, path: str | Path) -> None:
        """Open the store at `path`.

        Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
        """
        root = Path(path)
        meta = read_meta(root)
        registry = Registry(root / layout.REGISTRY_FILE, meta.schemas, writable=False)
        super().__init__(root, meta, registry, open_slabs(root, meta, writable=False))

    def refresh(self) -> None:
        """Take in the series that the writing process has declared since."""
        self.registry.refresh()

    def runs(self) -> list[Run]:
        """Give who wrote the store and how each run ended, oldest first; the last fifteen."""
        return read_runs(self.path / layout.RUNS_FILE)

    def close(self) -> None:
        """Let go of the files."""
        for slabs in self.slabs.values():
            for slab in slabs:
                slab.close()
        self.registry.close()

    def __enter__(self) -> Self:
        """Give the reader itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def __repr__(self) -> str:
        """Say where it is and how much is in it."""
        return f"<StoreReader {self.path}: {len(self.registry)} series>"


def open_slabs(root: Path, meta: Meta, *, writable: bool) -> dict[str, list[Slab]]:
    """Map every slab of the store.

    Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
    """
    return {
        schema.name: [
            Slab(root / schema.slab_name(tier), schema.slab_spec(tier), writable=writable)
            for tier in range(len(schema.tiers))
        ]
        for schema in meta.schemas
    }
