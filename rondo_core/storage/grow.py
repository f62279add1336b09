"""Build a store anew, with room for more series or without some of them: rows as they were, and one step to take over.

Rows stay in their slots, and where the store grows columns too, so that exporters' cursors, rows that are set aside and
what a killed process left half done mean what they meant. A kill at any moment leaves the old store or the new one
at the path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import nan
from pathlib import Path

import attrs

from rondo_core import faults
from rondo_core.errors import RondoError, StoreError
from rondo_core.model import layout
from rondo_core.model.schema import Schema
from rondo_core.storage import replace
from rondo_core.storage.directory import Meta, file_sizes, make_files, make_unfinished, meta_record, sync_made
from rondo_core.storage.events import carry_over
from rondo_core.storage.files import UNFINISHED, Folder
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.recovery import opened
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import write_run
from rondo_core.storage.slab import Slab


@attrs.frozen
class Contents:
    """What a store that is built anew takes of the old one.

    Attributes: `records`, of its registry; `columns`, of a schema those that are kept, in their new order, where they
    are not all of them as they were; `adjust`, called with the new directory when all else is there.
    """

    records: tuple[bytes, ...]
    columns: Mapping[str, Sequence[int]] = attrs.field(factory=dict)
    adjust: Callable[[Path], None] | None = None


def _everything(registry: Registry) -> Contents:
    return Contents(tuple(registry.records))


def grow(path: Path, old: WriterLock, meta: Meta, schemas: Sequence[Schema]) -> tuple[Folder, Meta, WriterLock]:
    """Let a store with these schemas take the place of the one at `path`, of which `old` is the writing lock.

    Args: `schemas`: those of `meta`, each with as many columns or more, and others.
    Returns: the new store's directory, what it is, and its lock; `old` is given back.
    Raises: StoreError and those below it: an export is running, the disk has no room, or the store is damaged; it is
        then as it was, and `old` is held.
    """
    return rebuild(path, old, meta, meta._replace(schemas=tuple(schemas)), _everything)


def rebuild(
    path: Path, old: WriterLock, meta: Meta, target: Meta, contents: Callable[[Registry], Contents]
) -> tuple[Folder, Meta, WriterLock]:
    """Let a store with some contents of the one at `path`, of which `old` is the writing lock, take its place.

    Args: `target`: what it is: each schema of `meta`, with as many columns or more, and others; `contents`: called with
        the old registry.
    Returns and Raises: as `grow`; and what `contents` raises.
    """
    root = Path(os.path.realpath(path))
    with no_exports(root):
        replace.clean_up(root)
        try:
            new, making = make_unfinished(root, ".migration")
        except OSError as error:
            raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; the store is as it was") from None
        lock: WriterLock | None = None
        try:
            _build(old.folder, meta, root, new, target, contents)
            lock = WriterLock(making / layout.LOCK_FILE)
            faults.point("grow.whole")
            replaced = replace.replace(root, new, old.folder)
        except BaseException as error:
            if lock is not None:
                lock.release()
            replace.discard(new)
            if isinstance(error, OSError) and not isinstance(error, RondoError):
                raise StoreError(f"{root}: {os.strerror(error.errno or 0)}; the store is as it was") from None
            raise
        faults.point("grow.replaced")
    old.release()
    replace.discard(replaced)
    return Folder(path), target, lock


def _build(
    old: Folder, meta: Meta, root: Path, new: Path, target: Meta, contents: Callable[[Registry], Contents]
) -> None:
    """Make every file of the new store, and have it on the disk."""
    with opened(old, writable=False) as parts:
        record = meta_record(*target)
        wanted = contents(parts.registry)
        make_files(new, record, target.schemas, wanted.records)
        for after in target.schemas:
            for tier, slab in enumerate(parts.slabs.get(after.name, ())):
                faults.point("grow.slab")
                made = Slab(new / after.slab_name(tier), after.slab_spec(tier), writable=True)
                _copy_rows(slab, made, wanted.columns.get(after.name))
    last = parts.recovery.last
    shutil.copyfile(root / layout.RUNS_FILE, new / layout.RUNS_FILE)
    if last is not None and last.place == old.place:
        # It is not a copy: all that a killed process has recorded came along.
        write_run(new / layout.RUNS_FILE, last._replace(place=Folder(new).place))
    with contextlib.suppress(StoreError):  # their file is damaged: the numbers do not wait for it
        carry_over(root / layout.EVENTS_FILE, new / layout.EVENTS_FILE)
    known = set(file_sizes(meta.schemas))
    for file in others_in(root, known):
        if not (new / file.name).exists():
            shutil.copy2(file, new / file.name)
    if wanted.adjust is not None:
        wanted.adjust(new)
    like(root, new)
    sync_made(new)


def _copy_rows(old: Slab, new: Slab, columns: Sequence[int] | None = None) -> None:
    """Put every row that was ever used into the new one of its slot, sealed where it was; and the header's words.

    Args: `columns`: those that are kept, in order; None: all.
    """
    first, end = layout.SLAB_NEXT_WINDOW // 8, layout.PAGE_BYTES // 8
    new.words[first:end] = old.words[first:end]
    new.overflowed = 0
    if columns is not None and not old.spec.tier:
        new.given = len(columns)
    pieces = _pieces(old.spec, new.spec, range(old.spec.max_series) if columns is None else columns)
    of_old, of_new = memoryview(old.words).cast("B"), memoryview(new.words).cast("B")
    for slot in range(old.spec.slot_count):
        if not old.words[old.row_word(slot)] and not old.words[old.row_word(slot) + 1]:
            continue
        row = of_old[old.row_word(slot) * 8 :]
        whole = b"".join([row[piece] if isinstance(piece, slice) else piece for piece in pieces])
        at = new.row_word(slot) * 8
        of_new[at : at + len(whole)] = whole
        if old.seal_of(slot):
            new.seal(slot, old.words[old.row_word(slot) + 1] >> 32 & layout.PROVISIONAL)
    of_old.release()
    of_new.release()
    new.close()


def _pieces(old: layout.SlabSpec, new: layout.SlabSpec, columns: Sequence[int]) -> list[slice | bytes]:
    """Give what a new row is made of: stretches of the old one, and empty columns."""
    firsts = [at for at, column in enumerate(columns) if not at or column != columns[at - 1] + 1]
    runs = [(columns[first], end - first) for first, end in pairwise([*firsts, len(columns)])]
    pieces: list[slice | bytes] = [slice(0, layout.ROW_HEADER_BYTES)]
    size = layout.ROW_HEADER_BYTES
    for before, after in zip(old.cells, new.cells, strict=True):
        kind = after.format[-1]
        one = array(kind, [nan if kind == "d" else 0]).tobytes() * after.each
        pieces.append(bytes(after.offset - size))
        for first, count in runs:
            pieces.append(slice(before.offset + first * len(one), before.offset + (first + count) * len(one)))
        pieces.append(one * (new.max_series - len(columns)))
        size = after.offset + new.max_series * len(one)
    pieces.append(bytes(new.row_bytes - size))
    return pieces


def others_in(root: Path, known: set[str]) -> Iterator[Path]:
    """Give what is kept in a store's directory beside its own files: cursors, and whatever else someone has there."""
    for file in root.iterdir():
        if file.name not in known and file.is_file() and not file.is_symlink() and not file.name.endswith(UNFINISHED):
            yield file


def like(root: Path, new: Path) -> None:
    """Give the new files the owner and the mode of the old ones."""
    for file in (new, *new.iterdir()):
        old = root if file == new else root / (file.name if (root / file.name).exists() else layout.META_FILE)
        facts = old.stat()
        with contextlib.suppress(PermissionError):
            os.chown(file, facts.st_uid, facts.st_gid)
        file.chmod(facts.st_mode & 0o7777)


@contextlib.contextmanager
def no_exports(root: Path) -> Iterator[None]:
    """Hold every exporter's cursor still.

    Raises: StoreError: a process exports the store now.
    """
    descriptors = []
    try:
        for file in sorted(root.glob("cursor_*.lock")):
            descriptors.append(os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
            try:
                fcntl.flock(descriptors[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                name = file.stem.removeprefix("cursor_")
                raise StoreError(f"{root}: another process exports it through {name}; stop that one first") from None
        yield
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
