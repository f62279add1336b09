"""A store as an exporting process holds it: by its directory, whatever becomes of the path, and never taken for dead.

Who is not known to be gone is not gone. A store whose process is gone may be opened again at any moment, so whatever
is read of it as ended is looked at again after it was read, and before it is sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import attrs

from rondo_core import faults
from rondo_core.errors import OpenFilesError, StoreError, StoreReopenedError, one_line
from rondo_core.model import layout
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.directory import Meta, read_meta
from rondo_core.storage.files import Folder, open_file, read_bytes
from rondo_core.storage.lock import ask_writer
from rondo_core.storage.runs import boot_id, known, newest_run

_MARK_BYTES = layout.SLAB_GENERATION + 8 - layout.SLAB_NEXT_WINDOW


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
    end is not on record; `elsewhere`, whether another machine's process did last, by a clock of its own; `marks`, what
    stays as it is while no row is entered or changed in the tiers that were asked for: empty where nobody can say so.
    """

    key: Key
    run: int
    ended: bool
    unknown: str = ""
    since_ns: int = 0
    elsewhere: bool = False
    marks: tuple[bytes, ...] = ()

    @property
    def end(self) -> tuple[int, int]:
        """Give what tells the end of a run from any other of the store, also of one put back as it once was."""
        return self.run, self.since_ns


def read_store_state(held: Folder, tiers: Collection[int] = (), *, events: bool = False) -> StoreState:
    """Say what store lies in a directory, and whether a process writes it.

    Args: `tiers`: those whose `marks` are wanted of a store that has not ended; `events`: marks and notes move these,
        too.
    Raises: StoreError: it does not read.
    """
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
    marks = () if ended or not tiers else _row_marks(held, meta, tiers, events=events)
    since_ns = (last.ended_ns or last.opened_ns) if last else 0
    elsewhere = last is not None and bool(known(last.boot_id) and boot_id()) and last.boot_id != boot_id()
    key = Key(meta.store_id, *held.identity)
    return StoreState(key, last.number if last else 0, ended, unknown, since_ns, elsewhere, marks)


def _row_marks(held: Folder, meta: Meta, tiers: Collection[int], *, events: bool) -> tuple[bytes, ...]:
    """Read the words of each slab that move with its rows: its next window and its generation.

    A reader that maps every slab to find nothing new takes ten times as long.
    """
    marks = []
    with contextlib.suppress(StoreError, OSError):
        for schema in meta.schemas:
            for tier in {min(tier, len(schema.tiers) - 1) for tier in tiers}:
                descriptor = open_file(held / schema.slab_name(tier))
                try:
                    words = os.pread(descriptor, _MARK_BYTES, layout.SLAB_NEXT_WINDOW)
                finally:
                    os.close(descriptor)
                if len(words) < _MARK_BYTES or words[layout.SLAB_GENERATION - layout.SLAB_NEXT_WINDOW] & 1:
                    return ()  # cut, or in the middle of a change
                marks.append(words)
        if events:
            held_events = read_bytes(held / layout.EVENTS_FILE, layout.MAX_EVENTS_FILE_BYTES)
            marks.append(zlib.crc32(held_events).to_bytes(4, "little"))
        return tuple(marks)
    return ()


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
