"""Fold stores whose processes are gone into the directory's store of the ended, and remove them.

The new store of the ended is built whole beside the old one, with the names of those that are folded into it, and takes
its place in one step: by that their samples are in it, and their own directories, though there, count no more. Killed
before, nothing has happened; killed after, the next one removes what is left. One process folds at a time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from rondo_core import faults
from rondo_core.errors import StoreError
from rondo_core.export.fold import recover_parts
from rondo_core.export.store_state import remove
from rondo_core.fold.tables import StatisticsTable, fine_cells, read_tier
from rondo_core.model import layout, ring, sketch_bytes
from rondo_core.model.labels import Labels
from rondo_core.model.schema import MAX_SERIES, Schema
from rondo_core.model.sketch import LAYOUT
from rondo_core.model.statistics import SKETCH
from rondo_core.record.end_words import CLOSED
from rondo_core.retention.merge import StoreTables, merge_parts, rows_of
from rondo_core.storage import replace
from rondo_core.storage.directory import (
    Meta,
    make_files,
    make_unfinished,
    meta_record,
    open_slabs,
    size_bytes,
    sync_made,
)
from rondo_core.storage.ended import FOLDED, Ended, create_ended, read_ended
from rondo_core.storage.files import Folder, sync_directory
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.recovery import opened
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import newest_run, on_record, this_run, write_run
from rondo_core.storage.slab import Slab

AT_ONCE = 16  # stores that one new store of the ended takes in
_CELLS_AT_ONCE = 1 << 20  # values of a tier's statistic in memory at a time, of one store
WRITER = "rondo fold"


@attrs.frozen(eq=False)
class LockedStore:
    """A store that no process writes, its lock held, folded up to its end."""

    path: Path
    folder: Folder
    meta: Meta
    registry: Registry
    slabs: Mapping[str, Sequence[Slab]]

    @property
    def member(self) -> tuple[str, str]:
        """What the store of the ended knows it by."""
        return self.meta.store_id, self.path.name


@contextlib.contextmanager
def taken(path: Path, *, fold: bool = True) -> Iterator[LockedStore]:
    """Take a store whose process is gone, for as long as the block runs.

    Raises: StoreLockedError: a process writes it; StoreError and those below it: it cannot be read, or not written.
    """
    with contextlib.ExitStack() as held:
        folder = held.enter_context(Folder(path, follow=False))
        lock = WriterLock(folder / layout.LOCK_FILE)
        held.callback(lock.release)
        parts = held.enter_context(opened(folder, writable=True))
        recover_parts(parts, str(folder), fold=fold)
        yield LockedStore(path, folder, parts.meta, parts.registry, parts.slabs)


@attrs.define
class MergedStore:
    """What a store of the ended comes to hold: its schemas, and of each its series with their identities."""

    schemas: dict[str, Schema]
    series: dict[str, dict[tuple[str, Labels], _Facts]]
    homes: dict[tuple[str, Labels], str]

    @classmethod
    def nothing(cls) -> MergedStore:
        """Hold nothing yet."""
        return cls({}, {}, {})

    def refuses(self, store: LockedStore) -> str:
        """Say why a store cannot be added; empty where it can."""
        for schema in store.meta.schemas:
            known = self.schemas.get(schema.name)
            kept = _as_kept(schema)
            if known is not None and known._replace(max_series=kept.max_series) != kept:
                return f"schema {schema.name} is kept otherwise"
        for each in store.registry:
            if self.homes.get((each.name, each.labels), each.schema) != each.schema:
                return f"{each} is kept by another schema"
        return ""

    def add(self, store: LockedStore) -> None:
        """Add a store's schemas and series; a schema with too little room gets twice as much."""
        for schema in store.meta.schemas:
            self.schemas.setdefault(schema.name, _as_kept(schema))
            self.series.setdefault(schema.name, {})
        for each in store.registry:
            identity, group = (each.name, each.labels), self.series[each.schema]
            known = group.get(identity)
            if known is None:
                self.homes[identity] = each.schema
                group[identity] = _Facts(len(group), each.help, each.unit, each.created_ns)
            else:
                born_ns = min(known.born_ns, each.created_ns)
                group[identity] = _Facts(known.column, known.help or each.help, known.unit or each.unit, born_ns)
        for name, group in self.series.items():
            room = self.schemas[name].max_series
            while room < len(group) and room < MAX_SERIES:
                room = min(2 * room, MAX_SERIES)
            self.schemas[name] = self.schemas[name]._replace(max_series=room)

    def with_store(self, store: LockedStore) -> MergedStore:
        """Give what both hold."""
        merged_store = MergedStore(
            self.schemas.copy(), {name: group.copy() for name, group in self.series.items()}, self.homes.copy()
        )
        merged_store.add(store)
        return merged_store

    @property
    def size_bytes(self) -> int:
        """Count the bytes of such a store."""
        return size_bytes(tuple(self.schemas.values()))


def _as_kept(schema: Schema) -> Schema:
    """Give a store's schema as a store of the ended has it: nothing overflows there, and nothing grows by itself."""
    room = min(schema.n_columns, MAX_SERIES)
    return schema._replace(max_series=room, reserve=0, grown=0, sketch_layout=LAYOUT)


@attrs.frozen
class _Facts:
    column: int
    help: str
    unit: str
    born_ns: int


def fold_into(
    path: Path,
    old: LockedStore | None,
    stores: Sequence[LockedStore],
    merged_store: MergedStore,
    mark: Ended,
    now_ns: int,
) -> None:
    """Put a store at `path`, in the place of `old`, that holds what that and all the others hold.

    Args: `mark`: what the new one says of itself. Raises: StoreError: no room, or no permission; all is as it was.
    """
    try:
        new, making = make_unfinished(path, ".migration")
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; nothing was folded") from None
    lock: WriterLock | None = None
    try:
        members = [*([old] if old else []), *stores]
        schemas = tuple(merged_store.schemas.values())
        meta = (old or stores[0]).meta._replace(schemas=schemas)
        if old is None:
            meta = meta._replace(store_id=os.urandom(16).hex(), created_ns=on_record(now_ns), labels=())
        make_files(new, meta_record(*meta), schemas)
        _declare(new, merged_store)
        slabs = open_slabs(Folder(new), meta, writable=True)
        for schema in schemas:
            _fill(schema, slabs[schema.name], old, members, merged_store)
        for slab in (each for many in slabs.values() for each in many):
            slab.close()
        create_ended(new, mark)
        last = newest_run(old.folder / layout.RUNS_FILE) if old else None
        run = this_run(last.number + 1 if last else 1, now_ns, WRITER, making.place)
        write_run(new / layout.RUNS_FILE, run._replace(ended_ns=on_record(now_ns), ended=CLOSED))
        sync_made(new)
        faults.point("retention.built")
        lock = WriterLock(making / layout.LOCK_FILE)
        if old is None:
            new.rename(path)
            sync_directory(path.parent)
        else:
            faults.point("retention.replace")
            replaced = replace.replace(path, new, old.folder)
            faults.point("retention.replaced")
            replace.discard(replaced)
    except OSError as error:
        replace.discard(new)
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; nothing was folded") from None
    except BaseException:
        replace.discard(new)
        raise
    finally:
        if lock is not None:
            lock.release()
    faults.point("retention.folded")


def remove_folded(store: Folder, path: Path) -> None:
    """Remove the directory of a store that was folded; killed meanwhile, what is left of it has a name that says so.

    Raises: OSError: it cannot be removed.
    """
    going = path.with_name(f".{path.name}{FOLDED}")
    path.rename(going)
    faults.point("retention.removing")
    remove(store, going)
    faults.point("retention.removed")


def _declare(new: Path, merged_store: MergedStore) -> None:
    registry = Registry(new / layout.REGISTRY_FILE, merged_store.schemas.values(), writable=True)
    try:
        for name, group in merged_store.series.items():
            for (series, labels), facts in group.items():
                known = {"help_text": facts.help, "unit": facts.unit, "created_ns": facts.born_ns}
                registry.declare(series, labels, merged_store.schemas[name], **known)  # type: ignore[arg-type]
        registry.note_synced()  # the store has its name when it is
    finally:
        registry.close()


def _fill(
    schema: Schema,
    slabs: Sequence[Slab],
    old: LockedStore | None,
    members: Sequence[LockedStore],
    merged_store: MergedStore,
) -> None:
    """Write the merged rows of one schema, some series at a time."""
    having = [each for each in members if schema.name in each.slabs]
    held = [[np.array(sorted(slab.held_buckets()), np.int64) for slab in each.slabs[schema.name]] for each in having]
    births = [
        [int(tier[0]) for tier in kept]
        for each, kept in zip(having, held, strict=True)
        if each is not old and all(map(len, kept))
    ]
    rows, group = rows_of(schema, held, births), merged_store.series[schema.name]
    if not group or not len(rows[0]):
        return
    deepest = max(len(each) for each in rows)
    each_bytes = max(slab.spec.row_bytes // slab.spec.max_series for slab in slabs) // 8 + 1
    step = max(1, _CELLS_AT_ONCE // (deepest * each_bytes) * 4)
    for first in range(0, len(group), step):
        chosen = range(first, min(first + step, len(group)))
        parts = [_part(schema, each, group, chosen) for each in having]
        tables = merge_parts(schema, [each for each in parts if len(each.columns)], rows, len(chosen))
        for tier, (slab, table) in enumerate(zip(slabs, tables, strict=True)):
            _write(schema, tier, slab, table, slice(chosen.start, chosen.stop))
        faults.point("retention.filled")
    for tier, slab in enumerate(slabs):
        _seal(slab, rows[tier], mark=tier + 1 < len(slabs))
        if tier:
            slab.next_window = int(rows[tier][-1]) + 1
    slabs[0].given = len(group)


def _part(schema: Schema, store: LockedStore, group: Mapping[tuple[str, Labels], _Facts], chosen: range) -> StoreTables:
    mine = [(each, group[each.name, each.labels].column) for each in store.registry.by_schema[schema.name]]
    mine = [(each, column) for each, column in mine if column in chosen]
    columns = [each.column for each, _ in mine]
    tables = [read_tier(schema, tier, slab, columns) for tier, slab in enumerate(store.slabs[schema.name])]
    places = np.array([column - chosen.start for _, column in mine], np.intp)
    return StoreTables(tables, places, np.array([each.created_ns for each, _ in mine], np.int64))


def _write(schema: Schema, tier: int, slab: Slab, table: StatisticsTable, columns: slice) -> None:
    cells: Mapping[str, Any] = table.statistics if tier else fine_cells(schema.kind, table)
    slots = table.buckets % slab.spec.slot_count
    for name in schema.cells(tier):
        block = slab.block(name)
        if not tier and not columns.start and block.dtype.kind == "f":
            block[slots] = np.nan
        block[slots, columns] = sketch_bytes.written(cells[name], block) if name == SKETCH else cells[name]


def _seal(slab: Slab, rows: Any, *, mark: bool) -> None:
    """Say of each slot which bucket it holds; of one that holds none, that it was given away, if that is to be said."""
    slots, count = rows % slab.spec.slot_count, slab.spec.slot_count
    slab.headers()[slots] = rows
    slab.seal_all(slots)
    if mark:  # else what only a coarser tier has of it would not be read from there
        newest = int(rows[-1])
        for slot in np.setdiff1d(np.arange(count), slots).tolist():
            bucket = ring.latest_in(slot, newest, count)
            if bucket > 0:
                slab.words[slab.row_word(slot)] = ~bucket


def mark_of(old: LockedStore | None) -> Ended:
    """Read what a store of the ended says of itself. Raises: StoreError: that cannot be read."""
    return (read_ended(old.folder) if old else None) or Ended()
