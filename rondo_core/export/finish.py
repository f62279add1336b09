"""What becomes of a store that is exported whole: kept, archived, or deleted if every sample of it is acknowledged.

A store is deleted in two steps, so that nothing is deleted by mistake however this process ends: it takes the name of
what is to go, is looked at there once more, and is given back its own if it is not wholly acknowledged; only then does
`meta` go, without which it is no store, and all the rest.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import attrs

from rondo_core import faults
from rondo_core.errors import StoreError, StoreLockedError, StoreNotFoundError, one_line, printable
from rondo_core.export.cursor import Cursor, cursor_held, cursor_names, load_cursor
from rondo_core.export.store_state import StoreState, read_store_state, remove
from rondo_core.model import layout
from rondo_core.storage.files import UNFINISHED, Folder, identity_at
from rondo_core.storage.lock import WriterLock

DELETED = f".deleted{UNFINISHED}"


@attrs.frozen
class DeliveryReport:
    """What of a store was not acknowledged: samples refused and doubtful, marks and notes of either, by exporter."""

    refused: dict[str, int]
    doubtful: dict[str, int]
    events: dict[str, int]

    def __bool__(self) -> bool:
        """Say whether all is acknowledged."""
        return not any((*self.refused.values(), *self.doubtful.values(), *self.events.values()))

    def __str__(self) -> str:
        """Name the exporters with their counts."""
        said = [
            f"{name}: {self.refused[name]} samples refused, {self.doubtful[name]} doubtful"
            for name in self.refused
            if self.refused[name] or self.doubtful[name]
        ]
        return "; ".join(said + [f"{name}: {count} marks and notes" for name, count in self.events.items() if count])


def delivery_report(
    store: Path | Folder, exporters: Iterable[str], run: int, unsaved: Mapping[str, Cursor] | None = None
) -> DeliveryReport | None:
    """Read from its cursors what became of a store's samples; None: some exporter is not through with this run.

    Cursors of exporters that are no longer asked for count too, with what they were refused. Args: `unsaved`: those
    that the disk did not take, by exporter.
    """
    cursors = {name: (unsaved or {}).get(name) or load_cursor(store, name) for name in exporters}
    if any(cursor.ended_run < run for cursor in cursors.values()):
        return None
    cursors |= {name: load_cursor(store, name) for name in cursor_names(store) if name not in cursors}
    return DeliveryReport(
        {name: cursor.refused for name, cursor in cursors.items()},
        {name: cursor.doubtful for name, cursor in cursors.items()},
        {name: cursor.events.refused + cursor.events.doubtful for name, cursor in cursors.items()},
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

    def store(self, path: Path, state: StoreState, known: DeliveryReport, unsaved: Mapping[str, Cursor]) -> str:
        """Archive or delete the store that was looked at, while no one can write it; give what was done, in words.

        Args: `unsaved`: see `delivery_report`. A full disk keeps no store from being deleted, but from the archive.
        """
        where = self._after
        if where == "delete" and not known:
            where = "archive" if self._archive is not None else "keep"
        if where == "keep" or (unsaved and where == "archive"):
            return "kept"
        try:
            with Folder(path, follow=False) as held:
                return self._finish(held, path, state, where, unsaved)
        except StoreNotFoundError:
            return "gone"
        except (StoreError, OSError) as error:
            self.failures.append(f"{printable(str(path))}: {where}: {one_line(error)}")
        return "kept"

    def _finish(self, held: Folder, path: Path, state: StoreState, where: str, unsaved: Mapping[str, Cursor]) -> str:
        try:
            lock = WriterLock(held / layout.LOCK_FILE)
        except StoreLockedError:
            return "kept"  # it was opened again, or another agent is at it
        try:
            now = read_store_state(held)
            if (now.key, now.end) != (state.key, state.end) or not held.is_at(path) or _is_sent(held):
                return "kept"
            known = delivery_report(held, self._exporters, state.run, unsaved)
            if known is None or (where == "delete" and not known):
                return "kept"
            faults.point("agent.finish")
            if where == "archive" and self._archive is not None:
                return self._move(held, path, self._archive)
            return self._delete(held, path, state.run, unsaved)
        finally:
            lock.release()

    def _move(self, held: Folder, path: Path, archive: Path) -> str:
        place = _free(archive / "-".join(path.relative_to(self._directory).parts))
        try:
            path.rename(place)
        except OSError as error:
            if error.errno == errno.EXDEV:  # a unit's ReadWritePaths= makes a mount of each
                raise StoreError(
                    f"{archive} is another mount, into which nothing can be moved; put it below {self._directory}"
                ) from None
            raise
        if not held.is_at(place):  # another store had come to lie at the path
            _give_back(place, path)
            return "kept"
        self.archived += 1
        faults.point("agent.finished")
        return "archived"

    def _delete(self, held: Folder, path: Path, run: int, unsaved: Mapping[str, Cursor]) -> str:
        going = path.with_name(path.name + DELETED)
        path.rename(going)
        faults.point("agent.deleting")
        if not held.is_at(going) or not delivery_report(held, self._exporters, run, unsaved):
            _give_back(going, path)
            return "kept"
        remove(held, going)
        self.deleted += 1
        faults.point("agent.finished")
        return "deleted"

    def left(self, path: Path) -> None:
        """See to what was to be deleted when an agent was killed: delete it, or give it back its name."""
        if not path.name.endswith(DELETED):
            return
        try:
            with Folder(path, follow=False) as held:
                if identity_at(held / layout.META_FILE) is None:
                    remove(held, path)
                    return
                lock = WriterLock(held / layout.LOCK_FILE)
                try:
                    known = delivery_report(held, self._exporters, read_store_state(held).run)
                    if self._after == "delete" and known and not _is_sent(held) and held.is_at(path):
                        remove(held, path)
                    else:
                        _give_back(path, path.with_name(path.name.removesuffix(DELETED)))
                finally:
                    lock.release()
        except (StoreLockedError, FileNotFoundError):
            return  # another agent is at it
        except (StoreError, OSError) as error:
            self.failures.append(f"{printable(str(path))}: {one_line(error)}")


def _is_sent(store: Folder) -> bool:
    """Say whether some process is sending the store now, through whatever exporter."""
    return any(cursor_held(store, name) for name in cursor_names(store, ".lock"))


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
