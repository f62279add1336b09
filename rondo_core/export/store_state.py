"""A store as an exporting process holds it: by its directory, whatever becomes of the path, and never taken for dead.

Who is not known to be gone is not gone. A store whose process is gone may be opened again at any moment, so whatever
is read of it as ended is looked at again after it was read, and before it is sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import attrs

from rondo_core import faults
from rondo_core.errors import OpenFilesError, StoreError, StoreReopenedError, one_line
from rondo_core.model import layout
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.directory import read_meta
from rondo_core.storage.files import Folder
from rondo_core.storage.lock import ask_writer
from rondo_core.storage.runs import newest_run


class Key(NamedTuple):
    """Which store it is: its own id, and which of that store's copies."""

    store_id: str
    device: int
    inode: int


@attrs.frozen
class StoreState:
    """A store as it was at one moment.

    Attributes: `run`, the number of its last run, 0 for none; `ended`, that no process writes it; `unknown`, why
    nobody can say whether one does, empty where that is known; `since_ns`, when the last run ended, or began where its
    end is not on record.
    """

    key: Key
    run: int
    ended: bool
    unknown: str = ""
    since_ns: int = 0


def read_store_state(held: Folder) -> StoreState:
    """Say what store lies in a directory, and whether a process writes it. Raises: StoreError: it does not read."""
    meta = read_meta(held)
    unknown, writer = "", None
    try:
        writer = ask_writer(held / layout.LOCK_FILE)
    except OpenFilesError:
        raise
    except StoreError as error:
        unknown = f"{one_line(error)}: whether a process writes the store is not known; it counts as live"
    last = newest_run(held / layout.RUNS_FILE)
    ended = writer is None and not unknown
    since_ns = (last.ended_ns or last.opened_ns) if last else 0
    return StoreState(Key(meta.store_id, *held.identity), last.number if last else 0, ended, unknown, since_ns=since_ns)


def remove(held: Folder, path: Path) -> None:
    """Delete the directory with all that is in it, `meta` first, without which it is no store; `path`: where it lies.

    Whatever another process removes meanwhile is removed. Raises: OSError.
    """
    names = sorted(os.listdir(held.descriptor), key=lambda name: name != layout.META_FILE)  # noqa: PTH208 - it is open
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(name, dir_fd=held.descriptor)
            except IsADirectoryError:
                shutil.rmtree(name, dir_fd=held.descriptor)
        if name == layout.META_FILE:
            faults.point("agent.no_store")
    if held.is_at(path):
        path.rmdir()


class EndedReader(StoreReader):
    """A store whose process is gone, read to its end; `reopened` says that one has opened it again meanwhile."""

    def __init__(self, path: Path | Folder, run: int) -> None:
        """Open it. Args: `run`: the number of its last run. Raises: as StoreReader."""
        super().__init__(path)
        self._run, self.reopened = run, False

    def confirm(self) -> None:
        """Say that the process was still gone after what was just read was.

        Raises: StoreReopenedError: the store was opened since; StoreError: it cannot be asked any more.
        """
        # The lock before the run: who opens and closes it between the two has begun a run.
        writer, last = ask_writer(self.folder / layout.LOCK_FILE), newest_run(self.folder / layout.RUNS_FILE)
        if writer is not None or (last.number if last else 0) != self._run:
            self.reopened = True
            raise StoreReopenedError(f"{self.path}: opened again while it was sent to its end; send it again")
