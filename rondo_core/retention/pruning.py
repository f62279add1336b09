"""Keep a directory of stores within its bound: choose among the dead, fold what is beyond, remove it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import attrs

from rondo_core import faults, forking
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import RondoError, StoreError, StoreLockedError, one_line, printable
from rondo_core.model import layout
from rondo_core.retention.bound import Bound
from rondo_core.retention.listing import Listed, list_stores
from rondo_core.storage import replace
from rondo_core.storage.directory import is_abandoned
from rondo_core.storage.ended import ENDED_BYTES, FOLDED, Ended, ended_names
from rondo_core.storage.files import UNFINISHED, Folder, lock_alive
from rondo_core.storage.lock import abandon_after_fork
from rondo_core.units import format_instant

logger = logging.getLogger("rondo.retention")

MAX_ENDED_BYTES = 256 << 20  # what a store of the ended may grow to
FUTURE_NS = 3600 * NS_PER_S  # a store that ended so much later than now has had another clock


@attrs.define
class Pruned:
    """What was folded, or would be: names of stores.

    Attributes: `unexported`: those of `folded` that an exporter had not sent to their end; `waiting`: beyond the bound,
    but not sent yet; `left`: why others beyond it stay, a line each; `busy`: another process is at it.
    """

    folded: list[str] = attrs.field(factory=list)
    unexported: list[str] = attrs.field(factory=list)
    waiting: list[str] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)
    busy: bool = False


class _DirectoryLock:
    """The right to fold in a directory of stores, for one process at a time; a forked child has none of it."""

    def __init__(self, directory: Path) -> None:
        self._folder = Folder(directory)
        self.taken = lock_alive(self._folder.descriptor)
        abandon_after_fork(self)

    def release(self) -> None:
        """Let the next one in."""
        self._folder.unlock()
        self._folder.close()

    def abandon(self) -> None:
        """Release a child's share."""
        self._folder.renew()


def prune(
    directory: str | Path,
    bound: Bound,
    *,
    clock: Clock = wall_ns,
    dry_run: bool = False,
    at_most: int | None = None,
) -> Pruned:
    """Fold the stores beyond the bound into the directory's store of the ended, the oldest first, and remove them.

    A store that a process writes is never one of them, nor one that cannot be read. Safe at any time, in any number of
    processes, and to be killed at any moment.
    Args: `dry_run`: say what would be folded, and change nothing; `at_most`: how many are folded in this call.
    Raises: StoreError: no such directory.
    """
    root, done = Path(directory), Pruned()
    if dry_run:
        _choose(list_stores(root)[0], bound, clock(), done)
        return done
    lock = _DirectoryLock(root)
    try:
        if not lock.taken:
            done.busy = True
            if lock.taken is None:
                done.left.append(f"{root}: its file system locks no directories; nothing is folded")
            return done
        _clean_up(root)
        stores, done.left = list_stores(root)
        for each in stores:
            if each.hidden:
                _remove_hidden(each, done)
        chosen = _choose([each for each in stores if not each.hidden], bound, clock(), done)
        if chosen:
            forking.load("numpy", "rondo_core.retention.folding")
            _Folding(root, stores, done, clock).fold(chosen[:at_most])
    finally:
        lock.release()
    for name in done.unexported:
        logger.warning("%s: folded before it was sent whole: keep_bytes waits for no one", printable(str(root / name)))
    return done


def _choose(stores: Sequence[Listed], bound: Bound, now_ns: int, done: Pruned) -> list[Listed]:
    """Choose what is to be folded, the oldest first."""
    dead = sorted((each for each in stores if each.is_dead), key=lambda each: (each.ended_ns, each.name))
    for each in dead:
        if each.ended_ns > now_ns + FUTURE_NS:
            what = f"ended {format_instant(each.ended_ns)}, which is not yet; its clock was wrong, or this one is"
            done.left.append(printable(f"{each.path}: {what}"))
    dead = [each for each in dead if each.ended_ns <= now_ns + FUTURE_NS]
    n_beyond = 0 if bound.keep_last is None else max(0, len(dead) - bound.keep_last)
    chosen: list[Listed] = []
    for at, each in enumerate(dead):
        too_old = bound.keep_for_ns is not None and each.ended_ns < now_ns - bound.keep_for_ns
        if at < n_beyond or too_old:
            if each.waits_for(bound.exporters):
                done.waiting.append(each.name)
            else:
                chosen.append(each)
    if bound.keep_bytes is not None:
        _choose_by_size(stores, dead, chosen, bound, done)
    chosen.sort(key=lambda each: (each.ended_ns, each.name))
    done.folded = [each.name for each in chosen]
    return chosen


def _choose_by_size(
    stores: Sequence[Listed], dead: Sequence[Listed], chosen: list[Listed], bound: Bound, done: Pruned
) -> None:
    """Choose more of the dead, sent or not, until the rest and the store of the ended take no more than they may."""
    size = sum(each.size_bytes for each in stores) - sum(each.size_bytes for each in chosen)
    first = not any(each.folded for each in stores)
    if first and chosen:
        size, first = size + chosen[0].size_bytes + ENDED_BYTES, False
    for each in dead:
        if bound.keep_bytes is None or size <= bound.keep_bytes:
            break
        if each in chosen:
            continue
        chosen.append(each)
        size += ENDED_BYTES if first else -each.size_bytes
        first = False
        if each.name in done.waiting:
            done.waiting.remove(each.name)
        if each.waits_for(bound.exporters):
            done.unexported.append(each.name)


class _Folding:
    """One process's folding of chosen stores, a batch at a time."""

    def __init__(self, root: Path, stores: Sequence[Listed], done: Pruned, clock: Clock) -> None:
        self.root, self.done, self.clock = root, done, clock
        self.there = {(each.store_id, each.name) for each in stores}

    def fold(self, chosen: Sequence[Listed]) -> None:
        from rondo_core.retention.folding import AT_ONCE

        self.done.folded, unexported = [], set(self.done.unexported)
        waiting = list(chosen)
        for name in ended_names():
            passed: list[Listed] = []
            while waiting:
                batch, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
                try:
                    passed += self._fold_batch(self.root / name, batch, unexported)
                except (RondoError, OSError) as error:  # none of them is folded, into whatever store
                    self.done.left.append(printable(one_line(error)))
            waiting = passed + waiting
            if not waiting:
                break
        for each in waiting:
            self.done.left.append(
                printable(f"{each.path}: no store of the ended has room for it; archive it, or keep it")
            )
        self.done.unexported = [name for name in self.done.unexported if name in self.done.folded]

    def _fold_batch(self, path: Path, batch: Sequence[Listed], unexported: set[str]) -> list[Listed]:
        """Fold what the store of the ended at `path` takes; give back what it does not."""
        from rondo_core.retention.folding import LockedStore, MergedStore, fold_into, mark_of, remove_folded, taken

        passed: list[Listed] = []
        with contextlib.ExitStack() as held:
            old: LockedStore | None = None
            merged_store = MergedStore.nothing()
            if os.path.lexists(path / layout.META_FILE):
                old = held.enter_context(taken(path, fold=False))
                merged_store.add(old)
            mark = mark_of(old)
            members: list[LockedStore] = []
            for each in batch:
                try:
                    store = held.enter_context(taken(each.path))
                except StoreLockedError:
                    continue  # it was opened again meanwhile
                except (RondoError, OSError) as error:
                    self.done.left.append(printable(one_line(error)))
                    continue
                if store.meta.store_id != each.store_id:
                    continue
                wider = None if merged_store.refuses(store) else merged_store.with_store(store)
                if wider is None or wider.size_bytes > max(MAX_ENDED_BYTES, merged_store.size_bytes, each.size_bytes):
                    passed.append(each)
                    continue
                merged_store = wider
                members.append(store)
            if not members:
                return passed
            names = {store.path.name for store in members}
            still = tuple(member for member in mark.members if member in self.there)
            mark = Ended(
                (*still, *(store.member for store in members)),
                mark.stores + len(members),
                mark.unexported + len(names & unexported),
                self.clock(),
            )
            fold_into(path, old, members, merged_store, mark, self.clock())
            self.done.folded += sorted(names)
            for store in members:
                try:
                    remove_folded(store.folder, store.path)
                except OSError as error:
                    self.done.left.append(printable(f"{store.path}: folded, but: {one_line(error)}"))
        return passed


def _clean_up(root: Path) -> None:
    """Remove what killed processes left: of stores of the ended half made, and of folded ones half removed."""
    with contextlib.suppress(OSError):
        for name in ended_names():
            replace.recover(root / name)
        for name in os.listdir(root):  # noqa: PTH208 - quicker
            if not name.endswith(UNFINISHED):
                continue
            path = root / name
            stem = name.removeprefix(".").partition(".rondo.")[0]
            half_made = f"{stem}.rondo" in ended_names() and name.startswith(".") and is_abandoned(path)
            if half_made or name.endswith(FOLDED):
                faults.point("retention.clean")
                shutil.rmtree(path, ignore_errors=True)


def _remove_hidden(store: Listed, done: Pruned) -> None:
    from rondo_core.retention.folding import remove_folded

    try:
        with Folder(store.path, follow=False) as held:
            remove_folded(held, store.path)
    except (OSError, StoreError) as error:
        done.left.append(printable(f"{store.path}: folded, but: {one_line(error)}"))
