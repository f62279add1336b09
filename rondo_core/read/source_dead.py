"""Stores that nobody writes, as one of many: known by their names and ends, read without any file held open.

A directory may have hundreds, of which a query reads a series or two each. What was read of one is kept while it stays
as it is, up to a bound of bytes for all of them.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from rondo_core.errors import StoreError
from rondo_core.model import layout
from rondo_core.model.labels import Series
from rondo_core.model.prometheus import NS_PER_MS, stale_ms
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import SKETCH
from rondo_core.read.budget import Budget
from rondo_core.read.schema_query import SchemaQuery
from rondo_core.read.source_names import SourceNames
from rondo_core.read.source_values import FOR_EVER_NS, Bounds, Lives, Needs, StitchedRows, read_rows
from rondo_core.storage.directory import read_meta
from rondo_core.storage.files import Folder
from rondo_core.storage.recovery import recovery_of
from rondo_core.storage.registry import Registry
from rondo_core.storage.slab import Slab

ALL_MS: Bounds = (0, 1 << 52)
# Of numbers that were read, for all dead stores of a directory.
MAX_KEPT_BYTES = 64 << 20


class KeptRows:
    """Rows that were read of dead stores, the least recently used dropped beyond a bound. Threads may share it."""

    def __init__(self, max_bytes: int = MAX_KEPT_BYTES) -> None:
        """Keep nothing yet."""
        self._max_bytes, self._n_bytes = max_bytes, 0
        self._rows: OrderedDict[Hashable, StitchedRows] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> StitchedRows | None:
        """Give what was kept under a key; None: nothing is."""
        with self._lock:
            if key in self._rows:
                self._rows.move_to_end(key)
            return self._rows.get(key)

    def keep(self, key: Hashable, rows: StitchedRows) -> None:
        """Keep rows, unless they would take a good part of the room for themselves."""
        size = rows.n_bytes()
        if size > self._max_bytes // 8:
            return
        with self._lock:
            self._n_bytes += size - (self._rows.pop(key).n_bytes() if key in self._rows else 0)
            self._rows[key] = rows
            while self._n_bytes > self._max_bytes:
                self._n_bytes -= self._rows.popitem(last=False)[1].n_bytes()


class DeadStore:
    """A store that had no writer and one run only when it was looked at.

    Attributes: `names`, its series; `labels`, those it was made with; `version`, what changes when it is written again.
    """

    def __init__(self, path: Path, kept: KeptRows) -> None:
        """Read what it is and which series it has. Raises: as `StoreReader`."""
        self.path, self._kept = path, kept
        with Folder(path) as folder:
            self.version = version_of(path)
            meta, recovery = read_meta(folder), recovery_of(folder)
            with closing(Registry(folder / layout.REGISTRY_FILE, meta.schemas, writable=False)) as registry:
                registry.by_schema  # noqa: B018 - its records are read while its file is open
        self.labels, self.store_id = meta.labels, meta.store_id
        self.names = SourceNames(registry, meta.schemas)
        self._schemas = {each.name: each for each in meta.schemas}
        self._filled = [name for name, count in registry.counts.items() if count]
        self._copied = recovery.copied
        self._lives: Lives | None = None

    @property
    def lives(self) -> Lives:
        """When its life ended."""
        if self._lives is None:
            newest = 0
            with self._opened(self._filled, 1) as queries:
                for query in queries:
                    newest = max(newest, query.readers[0].newest() * query.schema.tiers[0].interval_ns)
            ends = [stale_ms(newest)] if newest else []
            self._lives = Lives(np.array(ends, np.int64), FOR_EVER_NS)
        return self._lives

    @contextmanager
    def _opened(self, names: Sequence[str], n_tiers: int | None = None) -> Iterator[list[SchemaQuery]]:
        """Map the tiers of some schemas, the finest first, for a moment."""
        slabs, queries = list[Slab](), list[SchemaQuery]()
        with Folder(self.path) as folder:
            if version_of(self.path) != self.version:
                raise StoreError(f"{self.path}: it changed while it was read; ask again")
            try:
                for name in names:
                    schema, first = self._schemas[name], len(slabs)
                    for tier in range(len(schema.tiers))[:n_tiers]:
                        slabs.append(Slab(folder / schema.slab_name(tier), schema.slab_spec(tier), writable=False))
                    query = SchemaQuery(schema, slabs[first:], lambda: False)
                    queries.append(query)
                    for reader in query.readers if self._copied is not None else ():
                        reader.check_seals(copied=bool(self._copied))
                yield queries
            finally:
                for query in queries:
                    query.forget()
                for slab in slabs:
                    slab.close()

    def schema(self, name: str) -> Schema:
        """Give a schema by its name."""
        return self._schemas[name]

    def read_schema(
        self, name: str, series: Sequence[Series], needs: Needs, span_ms: Bounds, budget: Budget | None
    ) -> StitchedRows:
        """Read statistics of a schema's series: of all of its time, unless sketches are among them."""
        if SKETCH in needs:
            with self._opened([name]) as (query,):
                return read_rows(query, series, needs, span_ms, FOR_EVER_NS, budget)
        key = (self.store_id, self.version, name, needs, tuple(each.column for each in series))
        rows = self._kept.get(key)
        if rows is None:
            with self._opened([name]) as (query,):
                rows = read_rows(query, series, needs, ALL_MS, FOR_EVER_NS, None)
            for each in rows.statistics.values():
                each.setflags(write=False)
            self._kept.keep(key, rows)
        if budget is not None:
            within = rows.between(*span_ms)
            budget.spend(within.stop - within.start, len(series), len(needs))
        return rows


class DeadRows:
    """The rows of a dead store as one query reads them; see `StoreRows`."""

    def __init__(self, store: DeadStore, budget: Budget | None) -> None:
        """Read a store, as much as the budget allows."""
        self._store, self._budget = store, budget
        self.lives, self.schema = store.lives, store.schema

    def newest_ns(self, _schema: str) -> int:
        """Give when the newest bucket of the store begins; see `StoreRows`."""
        ends = self.lives.stale_ms
        return (int(ends[-1]) - 1) * NS_PER_MS if len(ends) else 0

    def read(self, schema: str, series: Sequence[Series], needs: Needs, span_ms: Bounds) -> StitchedRows:
        """Read statistics of a schema's series."""
        return self._store.read_schema(schema, series, needs, span_ms, self._budget)


def version_of(path: Path) -> tuple[int, ...]:
    """Tell a store's runs from what they are after another opening, or of another store. Raises: StoreError: gone."""
    try:
        found = os.stat(f"{path}/{layout.RUNS_FILE}")  # noqa: PTH116 - it is done for every store, in every query
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; check the path") from None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
