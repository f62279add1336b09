"""Fold what a killed process left unfolded, without a new run: the store stays as its last writer ended."""

from __future__ import annotations

import contextlib
from pathlib import Path

from rondo_core.errors import StoreError
from rondo_core.model import layout
from rondo_core.model.schema import Schema
from rondo_core.record.consolidation import Consolidation
from rondo_core.record.writer import Writer
from rondo_core.storage.files import Folder
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.recovery import StoreParts, opened, recovery_of
from rondo_core.storage.slab import Slab


def fold_dead(path: Path | Folder) -> bool:
    """Fold every window of a store whose process is gone, the open ones too; say whether that was to be done.

    A store that is written, or may not be written by this process, stays as it is. Killed in it, the next call goes on.
    Raises: StoreError and those below it: the store cannot be read.
    """
    folder = Folder(path)
    if not recovery_of(folder).killed:
        return False
    with contextlib.ExitStack() as held:
        try:
            lock = WriterLock(folder / layout.LOCK_FILE)
        except StoreError:
            return False
        held.callback(lock.release)
        if not recovery_of(folder).killed:  # it was opened and closed meanwhile
            return False
        recover_parts(held.enter_context(opened(folder, writable=True)), str(folder), fold=True)
    return True


def recover_parts(parts: StoreParts, path: str, *, fold: bool) -> None:
    """Do to every row what its last run has left to be done, and `fold` all windows, the open ones too."""
    for schema in parts.meta.schemas:
        own, n_series = parts.slabs[schema.name], parts.registry.counts[schema.name]
        lost = parts.recovery.recover_rows(own, n_series)
        if fold:
            fold_slabs(schema, own, n_series, path, anew=parts.recovery.moved or lost > 0)


def fold_slabs(schema: Schema, slabs: list[Slab], n_series: int, path: str, *, anew: bool) -> None:
    """Fold rows that were taken up as far as the next writer would, the open windows too.

    Args: `anew`: see `Consolidation`; what was copied is folded from all rows that there are.
    """
    if not n_series:
        return
    newest_ns = slabs[0].spec.interval_ns * max(0, *slabs[0].headers().tolist())
    writer = Writer(schema, slabs[0], n_series, lambda: newest_ns, path)
    consolidation = Consolidation(schema, slabs, writer, anew=anew)
    writer.finish_clock_step()
    writer.seal()
    consolidation.fold_all()
