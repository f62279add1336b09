"""Move a store to changed schemas: build the new store beside the old one, and let it take its place in one step.

The old store's writing lock is held meanwhile. A kill at any moment leaves the old store or the new one at the path.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import numpy as np

from rondo_core.clock import Clock, wall_ns
from rondo_core.errors import RondoError, SchemaError, StoreError
from rondo_core.export.cursor import Cursor, load_cursor, save_cursor
from rondo_core.fold.tables import StatisticsTable, read_tables
from rondo_core.maintain.retier import OldSeries, Retiering, retier
from rondo_core.model import layout
from rondo_core.model.labels import Series
from rondo_core.model.overflow import is_of_all, is_overflow
from rondo_core.model.schema import (
    SELF_SCHEMA,
    Schema,
    Tier,
    check_schemas,
    extra_of,
    given_schema_lookup,
    room_taken,
    schema_lookup,
)
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage import replace
from rondo_core.storage.directory import (
    Meta,
    file_sizes,
    make_files,
    make_unfinished,
    meta_record,
    open_slabs,
    read_meta,
    size_bytes,
    sync_made,
)
from rondo_core.storage.events import carry_over
from rondo_core.storage.files import Folder
from rondo_core.storage.grow import like, no_exports, others_in
from rondo_core.storage.lock import WriterLock, check_unwritten
from rondo_core.storage.registry import Registry
from rondo_core.storage.slab import Slab
from rondo_core.units import format_duration

Progress = Callable[[int, int], None]


@attrs.frozen
class TierChange:
    """What became of one tier's windows: `kept` as they were, `folded` from other tiers, `dropped`."""

    schema: str
    tier: Tier
    size_bytes: int
    kept: int = 0
    folded: int = 0
    dropped: int = 0


@attrs.frozen
class Migration:
    """What a migration does, or would do: `after` per new tier, `before` per old one (kept and dropped)."""

    path: Path
    changed: bool
    before: list[TierChange]
    after: list[TierChange]
    bytes_before: int
    bytes_after: int


def migrate_store(
    path: str | Path,
    schemas: Iterable[Schema],
    *,
    dry_run: bool = False,
    clock: Clock = wall_ns,
    progress: Progress | None = None,
) -> Migration:
    """Move the store at `path` to other schemas, with all that both have room for.

    A series goes to the first of the new schemas that takes it. Rondo's own schema stays where none is given.
    Args: `dry_run`: say what would be done, and write nothing; `progress(done, total)` is called now and then.
    Raises: StoreLockedError: a process writes the store; SchemaError: the schemas contradict themselves, or have no
        room for a series; StoreError: an export is running, a window has to end first, or the disk has no room.
        The old store is then as it was.
    """
    root = Path(os.path.realpath(path))
    if not dry_run:
        replace.recover(root)
    meta = read_meta(root)
    given = tuple(schemas)
    own = () if any(schema.name == SELF_SCHEMA for schema in given) else _own(meta)
    target = meta._replace(schemas=check_schemas((*own, *given)))
    with contextlib.ExitStack() as held:
        old: Folder | None = None
        if dry_run:
            check_unwritten(root / layout.LOCK_FILE)
        else:
            lock = WriterLock(root / layout.LOCK_FILE)
            held.callback(lock.release)
            old = lock.folder
            replace.clean_up(root)
            held.enter_context(no_exports(root))
        reader = StoreReader(root)
        held.callback(reader.close)
        job = _Job(reader, target, clock(), progress or _silent)
        if target.schemas != meta.schemas and old is not None:
            _replace(job, root, old, held)
        return job.report(changed=target.schemas != meta.schemas)


def _own(meta: Meta) -> tuple[Schema, ...]:
    return tuple(schema for schema in meta.schemas if schema.name == SELF_SCHEMA)


def _silent(_done: int, _total: int) -> None:
    """Tell no one."""


class _Job:
    """The old store's data, and what goes where."""

    def __init__(self, reader: StoreReader, target: Meta, now_ns: int, progress: Progress) -> None:
        self.reader, self.meta, self.target = reader, reader.meta, target
        self.placed = place(list(reader.registry), reader.meta.schemas, target.schemas, reader.path)
        self.tables: dict[str, list[StatisticsTable]] = {}
        self.retierings: list[Retiering] = []
        total = len(self.meta.schemas) + len(target.schemas)
        for done, schema in enumerate(self.meta.schemas, 1):
            n_series = reader.registry.counts[schema.name]
            self.tables[schema.name] = read_tables(schema, reader.slabs[schema.name], n_series)
            progress(done, total)
        for done, schema in enumerate(target.schemas, len(self.meta.schemas) + 1):
            self._check_finest(schema)
            try:
                self.retierings.append(retier(schema, self._sources(schema), len(self.placed[schema.name]), now_ns))
            except StoreError as error:
                raise StoreError(f"{reader.path}: {error}") from None
            progress(done, total)

    def _check_finest(self, schema: Schema) -> None:
        """Refuse another finest interval: it is the unit of what coverage counts and of what sums sum."""
        for name in {series.schema for series in self.placed[schema.name]}:
            finest = self.tables[name][0]
            if len(finest.buckets) and finest.interval_ns != schema.tiers[0].interval_ns:
                new, old = format_duration(schema.tiers[0].interval_ns), format_duration(finest.interval_ns)
                raise SchemaError(
                    f"{self.reader.path}: schema {schema.name}: finest interval {new}, but its windows count samples"
                    f" of {old}; keep {old}, or record to a new store"
                )

    def _sources(self, schema: Schema) -> list[OldSeries]:
        columns: dict[str, tuple[list[int], list[int]]] = {}
        for new, series in enumerate(self.placed[schema.name]):
            old_columns, new_columns = columns.setdefault(series.schema, ([], []))
            old_columns.append(series.column)
            new_columns.append(new)
        return [
            OldSeries([table.columns(old) for table in self.tables[name]], new) for name, (old, new) in columns.items()
        ]

    def moved(self, cursor: Cursor) -> Cursor:
        """Let a cursor stand in the new tiers where it stood, or before; what was never sent is sent from its start."""
        intervals = {schema.name: schema.tiers[0].interval_ns for schema in self.meta.schemas}
        positions, held = {}, {}
        for schema in self.target.schemas:
            interval_ns = schema.tiers[0].interval_ns
            for series in self.placed[schema.name]:
                was = cursor.held.get(str(series))
                if was is not None and was.key == f"{series.schema}.0":
                    first = was.position * intervals[series.schema] // interval_ns
                    held[str(series)] = attrs.evolve(was, key=f"{schema.name}.0", position=first)
            names = {series.schema for series in self.placed[schema.name]}
            stood = [(cursor.positions.get(f"{name}.0"), intervals[name]) for name in names]
            reached = [bucket * interval_ns for bucket, interval_ns in stood if bucket is not None]
            if stood and len(reached) == len(stood):
                positions[f"{schema.name}.0"] = min(reached) // interval_ns
        return attrs.evolve(
            cursor, positions=positions, sent={}, in_flight={}, in_flight_from={}, rest_until={}, held=held
        )

    def report(self, *, changed: bool) -> Migration:
        """Count windows and bytes, old and new."""
        after = [
            TierChange(each.schema.name, tier, each.schema.slab_spec(index).file_bytes, kept, len(table.buckets) - kept)
            for each in self.retierings
            for index, (tier, table, kept) in enumerate(zip(each.schema.tiers, each.tables, each.kept, strict=True))
        ]
        before = [self._fate(schema, index) for schema in self.meta.schemas for index in range(len(schema.tiers))]
        sizes = size_bytes(self.meta.schemas), size_bytes(self.target.schemas)
        return Migration(self.reader.path, changed, before, after, *sizes)

    def _fate(self, schema: Schema, tier: int) -> TierChange:
        """Say how many windows of an old tier are in a new tier of the same interval."""
        table = self.tables[schema.name][tier]
        found = np.zeros(len(table.buckets), dtype=bool)
        for each in self.retierings:
            if any(series.schema == schema.name for series in self.placed[each.schema.name]):
                same = (new for new in each.tables if new.interval_ns == table.interval_ns)
                for new in same:
                    found |= np.isin(table.buckets, new.buckets)
        kept = int(found.sum())
        size = schema.slab_spec(tier).file_bytes
        return TierChange(schema.name, schema.tiers[tier], size, kept, dropped=len(found) - kept)


def place(
    series: Sequence[Series], before: Sequence[Schema], schemas: Sequence[Schema], path: Path
) -> dict[str, list[Series]]:
    """Give each schema its series, in the order of their declaration: the first one takes it that would if it were new.

    One whose quantiles or peaks were kept `before` goes where they are kept.
    Raises: SchemaError: no schema takes a series, or one gets more than it has room for.
    """
    placed: dict[str, list[Series]] = {schema.name: [] for schema in schemas}
    schema_for, own_schema_for = given_schema_lookup(schemas), schema_lookup(schemas)
    kept = {schema.name: extra_of(schema) for schema in before}
    for each in series:
        if is_overflow(each):
            found = _overflow_schema(each, schemas)
        else:
            found = (own_schema_for if each.schema == SELF_SCHEMA else schema_for)(each, kept[each.schema])
        if found is None:
            raise SchemaError(f"{path}: {each}: no schema takes this {each.kind}; add one that does")
        placed[found.name].append(each)
    for schema in schemas:
        of_all = sum(map(is_of_all, placed[schema.name]))
        of_metrics = sum(map(is_overflow, placed[schema.name])) - of_all
        needed = room_taken(schema, len(placed[schema.name]) - of_metrics - of_all, of_metrics, of_all)
        if needed > schema.max_series:
            raise SchemaError(
                f"{path}: schema {schema.name}: max_series {schema.max_series}, but {needed} series are there;"
                f" make it {needed} or more"
            )
    return placed


def _overflow_schema(series: Series, schemas: Sequence[Schema]) -> Schema | None:
    """Give the schema of the same name, or else the first one of the kind that is not rondo's own."""
    alike = [schema for schema in schemas if schema.kind == series.kind and schema.name != SELF_SCHEMA]
    return next((schema for schema in alike if schema.name == series.schema), next(iter(alike), None))


def _replace(job: _Job, root: Path, old: Folder, held: contextlib.ExitStack) -> None:
    """Build the new store and let it take the old one's place."""
    try:
        new, making = make_unfinished(root, ".migration")
    except OSError as error:
        raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; the store is as it was") from None
    try:
        _build(job, root, new)
        lock = WriterLock(making / layout.LOCK_FILE)
        held.callback(lock.release)
        replaced = replace.replace(root, new, old)
    except BaseException as error:
        replace.discard(new)
        if isinstance(error, OSError) and not isinstance(error, RondoError):
            raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; the store is as it was") from None
        raise
    replace.discard(replaced)


def _build(job: _Job, root: Path, new: Path) -> None:
    """Make every file of the new store, and have it on the disk."""
    make_files(new, meta_record(*job.target), job.target.schemas)
    registry = Registry(new / layout.REGISTRY_FILE, job.target.schemas, writable=True)
    schema_of = {(each.name, each.labels): name for name, group in job.placed.items() for each in group}
    schemas = {schema.name: schema for schema in job.target.schemas}
    try:
        for each in job.reader.registry:
            schema = schemas[schema_of[each.name, each.labels]]
            registry.declare(
                each.name, each.labels, schema, help_text=each.help, unit=each.unit, created_ns=each.created_ns
            )
        registry.note_synced()  # the store has its name when it is
    finally:
        registry.close()
    slabs = open_slabs(new, job.target, writable=True)
    for part in job.retierings:
        part.write(slabs[part.schema.name])
    _close(slab for group in slabs.values() for slab in group)
    shutil.copyfile(root / layout.RUNS_FILE, new / layout.RUNS_FILE)
    carry_over(root / layout.EVENTS_FILE, new / layout.EVENTS_FILE)
    _copy_others(job, root, new)
    like(root, new)
    sync_made(new)


def _close(slabs: Iterable[Slab]) -> None:
    for slab in slabs:
        slab.close()


def _copy_others(job: _Job, root: Path, new: Path) -> None:
    """Take along the cursors, moved, and whatever else someone keeps in the directory."""
    for file in others_in(root, set(file_sizes(job.meta.schemas))):
        name = file.name
        if name.startswith("cursor_") and file.suffix == ".json":
            save_cursor(new, job.moved(load_cursor(root, file.stem.removeprefix("cursor_"))))
        elif not (new / name).exists():
            shutil.copy2(file, new / name)
