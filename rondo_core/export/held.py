"""A store as an exporting process holds it: by its directory, whatever becomes of the path, and never taken for dead.

Who is not known to be gone is not gone. A store whose process is gone may be opened again at any moment, so whatever
is read of it as ended is looked at again after it was read, and before it is sent.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import attrs

from rondo_core import faults
from rondo_core.errors import (
    OpenFilesError,
    RondoError,
    StoreError,
    StoreNotFoundError,
    StoreReopenedError,
    one_line,
)
from rondo_core.model import layout
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.directory import read_meta
from rondo_core.storage.files import NO_MORE_FILES
from rondo_core.storage.lock import ask_writer
from rondo_core.storage.runs import newest_run


class Key(NamedTuple):
    """Which store it is: its own id, and which of that store's copies."""

    store_id: str
    device: int
    inode: int


@attrs.frozen
class Look:
    """A store as it was at one moment.

    Attributes: `run`, the number of its last run, 0 for none; `ended`, that no process writes it; `unknown`, why
    nobody can say whether one does, empty where that is known.
    """

    key: Key
    run: int
    ended: bool
    unknown: str = ""


class HeldStore:
    """A store's directory, held open. An error that leaves it by `with` names the store as people call it.

    Attributes: `path`, what it is called; `inside`, a path that leads into this directory for as long as it is held.
    """

    def __init__(self, path: Path, *, follow: bool = False) -> None:
        """Open the directory. Args: `follow`: the path may be a link to it.

        Raises: StoreNotFoundError: it is gone; OpenFilesError; StoreError: it may not be opened, or is a link.
        """
        self.path = path
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        try:
            self._descriptor = os.open(path, flags)
        except FileNotFoundError:
            raise StoreNotFoundError(f"{path}: gone while it was looked at") from None
        except OSError as error:
            if error.errno in NO_MORE_FILES:
                raise OpenFilesError(str(path)) from None
            raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; check its owner and mode") from None
        self.inside = Path(f"/proc/self/fd/{self._descriptor}")
        found = os.fstat(self._descriptor)
        self._copy = found.st_dev, found.st_ino

    def look(self) -> Look:
        """Say what store this is, and whether a process writes it. Raises: StoreError: it does not read."""
        meta = read_meta(self.inside)
        unknown, writer = "", None
        try:
            writer = ask_writer(self.inside / layout.LOCK_FILE)
        except OpenFilesError:
            raise
        except StoreError as error:
            unknown = (
                f"{self.named(one_line(error))}: whether a process writes the store is not known; it counts as live"
            )
        last = newest_run(self.inside / layout.RUNS_FILE)
        ended = writer is None and not unknown
        return Look(Key(meta.store_id, *self._copy), last.number if last else 0, ended, unknown)

    def is_at(self, path: Path) -> bool:
        """Say whether a path still is, or has become, that of this directory."""
        try:
            found = path.lstat()
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._copy

    def remove(self) -> None:
        """Delete the directory with all that is in it, `meta` first, without which it is no store.

        Whatever another process removes meanwhile is removed. Raises: OSError.
        """
        names = sorted(os.listdir(self._descriptor), key=lambda name: name != layout.META_FILE)  # noqa: PTH208
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                try:
                    os.unlink(name, dir_fd=self._descriptor)
                except IsADirectoryError:
                    shutil.rmtree(name, dir_fd=self._descriptor)
            if name == layout.META_FILE:
                faults.point("agent.no_store")
        if self.is_at(self.path):
            self.path.rmdir()

    def named(self, text: str) -> str:
        """Give a text with the store called as people call it."""
        return text.replace(str(self.inside), str(self.path))

    def close(self) -> None:
        """Let go of it; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of it."""
        if isinstance(error, RondoError):
            error.message = self.named(error.message)
        self.close()


class EndedReader(StoreReader):
    """A store whose process is gone, read to its end; `reopened` says that one has opened it again meanwhile."""

    def __init__(self, path: Path, run: int) -> None:
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
