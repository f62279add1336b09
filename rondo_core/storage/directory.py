"""A store's directory: make it whole or not at all, and read what it says it is."""

from __future__ import annotations

import contextlib
import os
import struct
from _thread import LockType, allocate_lock, start_new_thread
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from rondo_core import faults
from rondo_core.clock import NS_PER_S
from rondo_core.errors import (
    CorruptStoreError,
    FormatVersionError,
    SchemaError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from rondo_core.model import layout
from rondo_core.model.labels import Labels
from rondo_core.model.paths import is_there
from rondo_core.model.schema import Schema
from rondo_core.storage.events import create_events
from rondo_core.storage.files import UNFINISHED, Folder, lock_alive, sync_directory
from rondo_core.storage.journal import MENDED_BY, Journal, create_journal
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.registry import create_registry, registry_bytes
from rondo_core.storage.runs import create_runs
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab, allocate, create_slab

LOCK_BYTES = 64
_TRIES = 8
MAX_META_BYTES = 4 << 20
MAX_SCHEMAS = 4096
DROP_RESIDENT_NS = 3600 * NS_PER_S  # how often a writer gives memory back
SYNCED_AT_ONCE = 16  # files of a new store


class Meta(NamedTuple):
    """What a store says of itself: its id, when it was made (ns since the epoch), its schemas, and the labels that tell
    it apart from the others of a directory.
    """

    store_id: str
    created_ns: int
    schemas: tuple[Schema, ...]
    labels: Labels = ()


def meta_record(store_id: str, created_ns: int, schemas: Iterable[Schema], labels: Labels = ()) -> bytes:
    """Pack what a store is, as its `meta` keeps it.

    Raises: SchemaError: more schemas than a store can name.
    """
    plain: dict[str, Any] = {
        "format": layout.FORMAT_VERSION,
        "store_id": store_id,
        "created_ns": created_ns,
        "schemas": [schema.to_dict() for schema in schemas],
    }
    if labels:
        plain["labels"] = labels
    packed: bytes = msgpack.packb(plain)
    if len(plain["schemas"]) > MAX_SCHEMAS or len(packed) > MAX_META_BYTES - layout.PAGE_BYTES:
        raise SchemaError(f"{len(plain['schemas'])} schemas of {len(packed)} bytes: too many; keep fewer in a store")
    return packed


def _meta_bytes(record: bytes) -> int:
    size = layout.JOURNAL_HEADER.size + layout.JOURNAL_RECORD.size + len(record)
    return layout.round_up(size, layout.PAGE_BYTES)


def file_sizes(schemas: Sequence[Schema]) -> dict[str, int]:
    """Give every file of a store with these schemas, by name, with its exact size in bytes."""
    sizes = {
        layout.META_FILE: _meta_bytes(meta_record("0" * 32, 2**62, schemas)),
        layout.REGISTRY_FILE: registry_bytes(schemas),
        layout.RUNS_FILE: layout.FEW_RUNS_FILE_BYTES,
        layout.EVENTS_FILE: events_bytes(schemas),
        layout.LOCK_FILE: LOCK_BYTES,
    }
    for schema in schemas:
        for tier in range(len(schema.tiers)):
            sizes[schema.slab_name(tier)] = schema.slab_spec(tier).file_bytes
    return sizes


def events_bytes(schemas: Iterable[Schema]) -> int:
    """Give the size of the file of marks and notes of a store with these schemas."""
    return layout.events_file_bytes(sum(schema.size_bytes() for schema in schemas))


def size_bytes(schemas: Sequence[Schema]) -> int:
    """Give the exact size of a store with these schemas, but for export cursors; its eighth run takes 60 KiB more."""
    return sum(file_sizes(schemas).values())


def create(
    path: Path,
    schemas: Sequence[Schema],
    created_ns: int,
    *,
    store_id: str = "",
    labels: Labels = (),
    fill: Callable[[Path], object] | None = None,
    synced: bool = True,
) -> None:
    """Make the directory with every file at its full size; it appears under its name when it is complete.

    Args: `store_id`: by default a new one; `labels`: see `Meta`; `fill`: called with the directory before it appears,
        to fill its files; `synced`: it is on the disk then; False: whoever made it has it written there in its own
        time.
    Raises: SchemaError: more schemas than a store can name;
    StoreExistsError: something is there; StoreError: no room, or no permission. Nothing is left behind.
    """
    if os.path.lexists(path):
        raise StoreExistsError(f"{path}: exists already; choose another path or open it")
    record = meta_record(store_id or os.urandom(16).hex(), created_ns, schemas, labels)
    try:
        make_directory(path.parent)
        unfinished, held = make_unfinished(path)
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; choose a directory that can be written") from None
    try:
        make_files(unfinished, record, schemas)
        if fill is not None:
            fill(unfinished)
        if synced:
            sync_made(unfinished)
        faults.point("create.whole")
        unfinished.rename(path)
        faults.point("create.named")
        if synced:
            sync_directory(path.parent)
    except OSError as error:
        _remove(unfinished)
        if is_there(path):
            raise StoreExistsError(f"{path}: exists already; choose another path or open it") from None
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; choose a directory that can be written") from None
    except BaseException:
        _remove(unfinished)
        raise
    finally:
        held.unlock()


def sync_made(directory: Path) -> None:
    """Write every file of a store, and their names, to the disk, and wait for it. Raises: OSError."""
    sync_files([directory / name for name in os.listdir(directory)])  # noqa: PTH208 - quicker, and it is asked here
    sync_directory(directory)


def make_unfinished(path: Path, kind: str = "") -> tuple[Path, Folder]:
    """Make a directory beside `path`, in which what is to lie there is made.

    Returns: its path, and what its maker keeps for as long: by that `is_abandoned` knows that the maker lives.
    Raises: OSError.
    """
    while True:
        unfinished = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{kind}{UNFINISHED}")
        unfinished.mkdir()
        with contextlib.suppress(StoreNotFoundError):  # it was taken for an abandoned one before it was locked
            folder = Folder(unfinished)
            if lock_alive(folder.descriptor) is not False and folder.is_at_its_path():
                return unfinished, folder


def is_abandoned(unfinished: Path) -> bool:
    """Say whether who made such a directory is gone, on whatever host or in whatever container that was."""
    try:
        folder = Folder(unfinished)
    except StoreError:
        return False
    return lock_alive(folder.descriptor) is True


def make_files(
    directory: Path,
    record: bytes,
    schemas: Sequence[Schema],
    series: tuple[bytes, ...] = (),
) -> None:
    """Make every file of a store, at its full size and without a row, in an empty directory; see `sync_made`.

    Args: `record`: what the store is, as `meta_record` packs it; `series`: its series, as records.
    Raises: StoreError: no room, or no permission.
    """
    create_journal(directory / layout.META_FILE, _meta_bytes(record), (record,))
    faults.point("create.meta")
    create_registry(directory / layout.REGISTRY_FILE, schemas, series)
    create_runs(directory / layout.RUNS_FILE)
    create_events(directory / layout.EVENTS_FILE, events_bytes(schemas))
    os.close(allocate(directory / layout.LOCK_FILE, LOCK_BYTES))
    for schema in schemas:
        for tier in range(len(schema.tiers)):
            faults.point("create.slab")
            create_slab(directory / schema.slab_name(tier), schema.slab_spec(tier))


def _remove(unfinished: Path) -> None:
    import shutil

    shutil.rmtree(unfinished, ignore_errors=True)


def sync_files(paths: Iterable[Path]) -> None:
    """Write files to the disk, and wait for it: several at once, of which a file system makes few transactions.

    Raises: OSError: one cannot be written.
    """
    waiting, failed = iter(list(paths)), list[OSError]()

    def sync() -> None:
        for path in waiting:
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                failed.append(error)

    def sync_beside(at_end: LockType) -> None:
        try:
            sync()
        finally:
            at_end.release()

    # Not of threading, whose functions and locks a library that takes threads' place (gevent) may just be changing.
    ends = list[LockType]()
    with contextlib.suppress(RuntimeError):  # no more threads are to be had: this one does it
        for _ in range(SYNCED_AT_ONCE - 1):
            at_end = allocate_lock()
            at_end.acquire()
            start_new_thread(sync_beside, (at_end,))
            ends.append(at_end)
    sync()
    for at_end in ends:
        at_end.acquire()
    if failed:
        raise failed[0]


def make_directory(path: Path) -> None:
    """Make a directory and those above it, where they are missing, and have the disk hold their names.

    Raises: OSError: one cannot be made.
    """
    made = [each for each in (path, *path.parents) if not is_there(each)]
    path.mkdir(parents=True, exist_ok=True)
    for each in made:
        sync_directory(each.parent)


def drop_resident(slabs: Mapping[str, Sequence[Slab]], *, new: bool) -> None:
    """Give back a writer's memory for rows that it will not write again soon. `new`: of files that hold nothing yet."""
    for slab in (each for tiers in slabs.values() for each in tiers):
        if new:
            slab.drop_cached()
        else:
            slab.drop_resident_for_writing()


def open_slabs(path: Path | Folder, meta: Meta, *, writable: bool, blank: bool = False) -> dict[str, list[Slab]]:
    """Map every slab of the store; `blank`: see `Slab`.

    Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
    """
    return {
        schema.name: [
            Slab(path / schema.slab_name(tier), schema.slab_spec(tier), writable=writable, blank=blank)
            for tier in range(len(schema.tiers))
        ]
        for schema in meta.schemas
    }


def read_meta(store: Path | Folder) -> Meta:
    """Read what a store is, by its path or its open directory.

    Raises: StoreNotFoundError: nothing there; StoreError: it is a file, or a directory without a store;
    FormatVersionError: made by a newer rondo; CorruptStoreError: its metadata does not read.
    """
    file = (store if isinstance(store, Folder) else Folder(store)) / layout.META_FILE
    try:
        journal = Journal(file, writable=False, max_bytes=MAX_META_BYTES)
    except StoreNotFoundError:
        what = f"a directory, but not a store: it has no {layout.META_FILE}; check the path"
        raise StoreNotFoundError(f"{store}: {what}") from None
    if not journal.payloads:
        what = f"no whole record of what the store is; {MENDED_BY}"
        raise CorruptStoreError(str(file), what, layout.JOURNAL_HEADER.size)
    try:
        return decode_meta(journal.payloads[0], str(file))
    except ValueError as error:
        what = f"metadata does not read ({error}); {MENDED_BY}"
        raise CorruptStoreError(str(file), what, layout.JOURNAL_HEADER.size) from None


def open_alone(path: Path, make: Callable[[], None] | None = None) -> tuple[Folder, Meta, WriterLock]:
    """Open a store's directory, read what is in it, and take its lock.

    Args: `make`: makes it where it is missing; None: it has to be there.
    Raises: as `make`, `read_meta` and `WriterLock`.
    """
    for _ in range(_TRIES):
        if make is not None and not is_there(path):
            with contextlib.suppress(StoreExistsError):  # another process was faster; open what it made
                make()
        try:
            folder = Folder(path)
            meta = read_meta(folder)
        except StoreNotFoundError:
            if make is None or os.path.lexists(path):
                raise
            continue  # what was just made was deleted: by an agent that found no run in it, and no process
        lock = WriterLock(folder / layout.LOCK_FILE)
        if folder.is_at_its_path():
            return folder, meta, lock
        lock.release()  # it was renamed, or another took its place, just before
    raise StoreError(f"{path}: other stores take its place all the time; open it when that is over")


@lru_cache(16)
def _decode_schemas(packed: bytes) -> tuple[Schema, ...]:
    """Read the schemas of a store; those of a directory of stores are mostly the same. Raises: as they do."""
    schemas = tuple(Schema.from_dict(each) for each in msgpack.unpackb(packed))
    for schema in schemas:
        if not isinstance(schema.match, str):
            raise TypeError(f"schema {schema.name}: match {schema.match!r}")
        for tier in range(len(schema.tiers)):
            layout.pack_slab_header(schema.slab_spec(tier))
    return schemas


@lru_cache(1024)  # an agent looks at all stores of its directory in each walk
def decode_meta(payload: bytes, file: str) -> Meta:
    """Read the record of what a store is.

    Raises: ValueError: it does not read; FormatVersionError.
    """
    try:
        plain: dict[str, Any] = msgpack.unpackb(payload, max_array_len=MAX_SCHEMAS)
        if plain["format"] > layout.FORMAT_VERSION:
            raise FormatVersionError(file, plain["format"], layout.FORMAT_VERSION)
        schemas = _decode_schemas(msgpack.packb(plain["schemas"]))
        labels = tuple((str(name), str(value)) for name, value in plain.get("labels", ()))
        whole = Meta(str(plain["store_id"]), int(plain["created_ns"]), schemas, labels)
    except (KeyError, TypeError, OverflowError, struct.error, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if len({schema.name for schema in schemas}) < len(schemas) or not schemas:
        raise ValueError("a schema twice, or none")
    if not 0 <= whole.created_ns < MAX_INSTANT_NS:
        raise ValueError(f"made at {whole.created_ns} ns")
    return whole
