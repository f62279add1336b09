"""Fold what a killed process left unfolded, without a new run: the store stays as its last writer ended."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rondo_core.errors import StoreError
from rondo_core.model import layout
from rondo_core.model.schema import Schema
from rondo_core.record.consolidation import Consolidation
from rondo_core.record.writer import Writer
from rondo_core.storage.directory import open_slabs, read_meta
from rondo_core.storage.files import Folder
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import Run, Survival, newest_run, survival_at
from rondo_core.storage.slab import Slab, take_up


def fold_dead(path: Path) -> bool:
    """Fold every window of a store whose process is gone, the open ones too; say whether that was to be done.

    A store that is written, or may not be written by this process, stays as it is. Killed in it, the next call goes on.
    Raises: StoreError and those below it: the store cannot be read.
    """
    folder = Folder(path)
    if not _left_open(newest_run(folder / layout.RUNS_FILE)):
        return False
    with contextlib.ExitStack() as held:
        try:
            lock = WriterLock(folder / layout.LOCK_FILE)
        except StoreError:
            return False
        held.callback(lock.release)
        last = newest_run(folder / layout.RUNS_FILE)
        if not _left_open(last):  # it was opened and closed meanwhile
            return False
        meta = read_meta(folder)
        became = survival_at(last, folder.place)
        restarted = became is Survival.RESTARTED
        registry = Registry(folder / layout.REGISTRY_FILE, meta.schemas, writable=True, restarted=restarted)
        held.callback(registry.close)
        slabs = open_slabs(folder, meta, writable=True)
        for many in slabs.values():
            for slab in many:
                held.callback(slab.close)
        for schema in meta.schemas:
            copied = None if became is Survival.SAME_BOOT else not restarted
            fold_slabs(schema, slabs[schema.name], registry.counts[schema.name], str(path), copied=copied)
    return True


def _left_open(last: Run | None) -> bool:
    return last is not None and not last.ended


def fold_slabs(schema: Schema, slabs: list[Slab], n_series: int, path: str, *, copied: bool | None) -> None:
    """Do what the next writer would: drop rows that a stopped machine left in part, seal the others, and fold.

    Args: `copied`: see `take_up`; what was copied is folded anew from all rows that there are.
    """
    lost = sum(take_up(slab, n_series, copied=copied) for slab in slabs)
    if not n_series:
        return
    newest_ns = slabs[0].spec.interval_ns * max(0, *slabs[0].headers().tolist())
    writer = Writer(schema, slabs[0], n_series, lambda: newest_ns, path)
    consolidation = Consolidation(schema, slabs, writer, anew=bool(lost or copied))
    writer.settle()
    writer.seal()
    consolidation.fold_closed(writer.bucket)
    consolidation.fold_open()
