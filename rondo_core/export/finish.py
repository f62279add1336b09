"""What becomes of a store that is exported whole: kept, archived, or deleted if every sample of it is acknowledged.

A store is deleted in two steps, so that nothing is deleted by mistake however this process ends: it takes the name of
what is to go, is looked at there once more, and is given back its own if it is not wholly acknowledged; only then does
`meta` go, without which it is no store, and all the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import attrs

from rondo_core import faults
from rondo_core.errors import StoreError, StoreLockedError, StoreNotFoundError, one_line, printable
from rondo_core.export.cursor import cursor_held, cursor_names, load_cursor
from rondo_core.export.held import HeldStore, Look
from rondo_core.model import layout
from rondo_core.storage.files import UNFINISHED
from rondo_core.storage.lock import WriterLock

DELETED = f".deleted{UNFINISHED}"


@attrs.frozen
class Settled:
    """What every exporter of a store has settled, in samples: refused and doubtful ones, by exporter."""

    refused: dict[str, int]
    doubtful: dict[str, int]

    def __bool__(self) -> bool:
        """Say whether every sample is acknowledged."""
        return not any(self.refused.values()) and not any(self.doubtful.values())

    def __str__(self) -> str:
        """Name the exporters with their counts."""
        return "; ".join(
            f"{name}: {self.refused[name]} samples refused, {self.doubtful[name]} doubtful"
            for name in self.refused
            if self.refused[name] or self.doubtful[name]
        )


def settled(store: Path, exporters: Iterable[str], run: int) -> Settled | None:
    """Read from its cursors what became of a store's samples; None: some exporter is not through with this run.

    Cursors of exporters that are no longer asked for count too, with what they were refused.
    """
    cursors = {name: load_cursor(store, name) for name in exporters}
    if any(cursor.ended_run < run for cursor in cursors.values()):
        return None
    cursors |= {name: load_cursor(store, name) for name in cursor_names(store) if name not in cursors}
    return Settled(
        {name: cursor.refused for name, cursor in cursors.items()},
        {name: cursor.doubtful for name, cursor in cursors.items()},
    )


class Finish:
    """Does with finished stores as `agent.after` says.

    Attributes: `archived`, `deleted`: how many stores; `failures`: what could not be done, a line each.
    """

    def __init__(self, after: str, archive: Path | None, directory: Path, exporters: Iterable[str]) -> None:
        """Do nothing yet. Args: `archive`: where stores go that are not deleted; None: they stay."""
        self._after, self._archive, self._directory = after, archive, directory
        self._exporters = tuple(exporters)
        self.archived = self.deleted = 0
        self.failures: list[str] = []

    def store(self, path: Path, look: Look, known: Settled) -> str:
        """Archive or delete the store that was looked at, while no one can write it; give what was done, in words."""
        where = self._after
        if where == "delete" and not known:
            where = "archive" if self._archive is not None else "keep"
        if where == "keep":
            return "kept"
        try:
            with HeldStore(path) as held:
                return self._finish(held, look, where)
        except StoreNotFoundError:
            return "gone"
        except (StoreError, OSError) as error:
            self.failures.append(f"{printable(str(path))}: {where}: {one_line(error)}")
        return "kept"

    def _finish(self, held: HeldStore, look: Look, where: str) -> str:
        try:
            lock = WriterLock(held.inside / layout.LOCK_FILE)
        except StoreLockedError:
            return "kept"  # it was opened again, or another agent is at it
        try:
            run = held.look().run
            if run != look.run or held.look().key != look.key or not held.is_at(held.path) or _is_sent(held.inside):
                return "kept"
            known = settled(held.inside, self._exporters, run)
            if known is None or (where == "delete" and not known):
                return "kept"
            faults.point("agent.finish")
            if where == "archive" and self._archive is not None:
                return self._move(held, self._archive)
            return self._delete(held, run)
        finally:
            lock.release()

    def _move(self, held: HeldStore, archive: Path) -> str:
        place = _free(archive / "-".join(held.path.relative_to(self._directory).parts))
        held.path.rename(place)
        if not held.is_at(place):  # another store had come to lie at the path
            _give_back(place, held.path)
            return "kept"
        self.archived += 1
        faults.point("agent.finished")
        return "archived"

    def _delete(self, held: HeldStore, run: int) -> str:
        going = held.path.with_name(held.path.name + DELETED)
        held.path.rename(going)
        faults.point("agent.deleting")
        if not held.is_at(going) or not settled(going, self._exporters, run):
            _give_back(going, held.path)
            return "kept"
        held.path = going
        held.remove()
        self.deleted += 1
        faults.point("agent.finished")
        return "deleted"

    def left(self, path: Path) -> None:
        """See to what was to be deleted when an agent was killed: delete it, or give it back its name."""
        if not path.name.endswith(DELETED):
            return
        try:
            with HeldStore(path) as held:
                if not os.path.lexists(held.inside / layout.META_FILE):
                    held.remove()
                    return
                lock = WriterLock(held.inside / layout.LOCK_FILE)
                try:
                    known = settled(held.inside, self._exporters, held.look().run)
                    if self._after == "delete" and known and not _is_sent(held.inside) and held.is_at(path):
                        held.remove()
                    else:
                        _give_back(path, path.with_name(path.name.removesuffix(DELETED)))
                finally:
                    lock.release()
        except (StoreLockedError, FileNotFoundError):
            return  # another agent is at it
        except (StoreError, OSError) as error:
            self.failures.append(f"{printable(str(path))}: {one_line(error)}")


def _is_sent(store: Path) -> bool:
    """Say whether some process is sending the store now, through whatever exporter."""
    return any(cursor_held(store, file.stem.removeprefix("cursor_")) for file in store.glob("cursor_*.lock"))


def _give_back(path: Path, name: Path) -> None:
    """Give a store back its name, or where that is taken, one like it."""
    path.rename(_free(name))


def _free(wanted: Path) -> Path:
    """Find a name that nothing has yet: the one wanted, or that with a number."""
    number, place = 1, wanted
    while os.path.lexists(place):
        number += 1
        place = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return place
