"""Who writes a store: a lock that names its holder and goes when the holder's process does.

Within the process threads take turns by locks of their own; `held_by_thread` asks one of those.

The lock lies on what a store cannot do without: on the registry, as an open-file-description lock (fcntl, Linux), which
can be asked about without being taken, so that readers never stand in a writer's way; and on the directory itself, so
that a second writer is kept out where files in it were removed or replaced. The file `lock` is locked too, for older
rondos, and holds the writer's pid. On NFS all of it is as good as the server's own lock manager.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import weakref
from pathlib import Path
from typing import Protocol

from rondo_core import faults
from rondo_core.errors import CorruptStoreError, StoreError, StoreLockedError, StoreNotFoundError
from rondo_core.forking import at_fork
from rondo_core.model import layout
from rondo_core.storage.files import Folder, FolderFile, StrPath, open_file, sibling
from rondo_core.storage.held import HeldFile
from rondo_core.storage.runs import newest_run

# struct flock of the kernel's fcntl.h on 64-bit machines: type, whence, start, length, pid
_FLOCK = struct.Struct("hhqqi4x")

# The directories, by identity, whose lock this very process holds.
_held: set[tuple[int, int]] = set()


class Lock(Protocol):
    """What has a lock that a forked child shares: it would hold a file's beyond its parent's death, and wait for ever
    for one that a thread of the parent has.
    """

    def abandon(self) -> None:
        """Release the child's share; the parent keeps its own."""


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def abandon_after_fork(lock: Lock) -> None:
    """Have a child that is forked at any moment from here on abandon the lock."""
    _locks.add(lock)


def _in_child() -> None:
    _held.clear()
    for lock in tuple(_locks):
        lock.abandon()
    _locks.clear()


at_fork(after_in_child=_in_child)


def held_by_thread(lock: threading.RLock) -> bool:
    """Say whether this very thread holds the lock: who asks is then called from its middle, or is a signal handler."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - what threading.Condition asks of it


class WriterLock:
    """The right to write a store, held until `release` or the end of the process.

    Attributes: `folder`, the store's directory: who renames or removes the store looks whether it is still this one.
    """

    def __init__(self, path: StrPath) -> None:
        """Take the lock of the store whose file `lock` has this path.

        Raises: StoreLockedError: it is taken; StoreError: a file cannot be written.
        """
        self.folder = path.folder if isinstance(path, FolderFile) else Folder(Path(path).parent)
        self._files: list[HeldFile] = []
        abandon_after_fork(self)
        taken = False
        try:
            taken = self._take(path)
        finally:
            if not taken:
                self._release()
        if not taken:
            raise StoreLockedError(self.folder.path, _pid_of(path), here=self.folder.identity in _held)
        _held.add(self.folder.identity)
        faults.point("lock.taken")
        with contextlib.suppress(OSError):  # a full disk; who holds the lock is then not known, but held it is
            os.pwrite(self._files[0].descriptor, f"{os.getpid():<20d}\n".encode(), 0)

    def _take(self, path: StrPath) -> bool:
        try:
            fcntl.flock(self.folder.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system that locks no directories
        for file, flags in ((path, os.O_RDWR | os.O_CREAT), (sibling(path, layout.REGISTRY_FILE), os.O_RDWR)):
            self._files.append(HeldFile(file, flags))
            try:
                fcntl.fcntl(self._files[-1].descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK))
            except OSError:
                return False
        return True

    def _release(self) -> None:
        for file in self._files:
            if file.is_open():
                fcntl.fcntl(file.descriptor, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK))  # a child may have it open yet
        self.folder.unlock()
        self._close()

    def _close(self) -> None:
        while self._files:
            self._files.pop().close()

    def release(self) -> None:
        """Give the lock back; more than once is once."""
        if self._files:
            _held.discard(self.folder.identity)
            self._release()

    def is_open(self) -> bool:
        """Say whether all that holds the lock is open: it went where the program has closed that."""
        return self.folder.is_open() and all(file.is_open() for file in self._files)

    def take_again(self) -> None:
        """Take it anew, where the program has closed what held it. Raises: as it was taken; OSError."""
        self._close()
        self.folder.open_again()
        path = self.folder / layout.LOCK_FILE
        if not self._take(path):
            self.release()
            raise StoreLockedError(self.folder.path, _pid_of(path))

    def abandon(self) -> None:
        """Release what a forked child has of its parent's lock; the parent keeps it."""
        self._close()
        self.folder.renew()


def check_unwritten(path: StrPath) -> None:
    """Refuse a store that is written; `path` is that of its file `lock`. Raises: StoreLockedError."""
    pid = writer_pid(path)
    if pid is not None:
        folder = path.folder if isinstance(path, FolderFile) else Folder(Path(path).parent)
        raise StoreLockedError(folder.path, pid, here=folder.identity in _held)


def writer_pid(path: StrPath) -> int | None:
    """Tell who writes the store whose file `lock` has this path, without taking the lock: a pid; None: no one does.

    0: who does is not known, or whether anyone does, as `lock` may not be opened.
    """
    try:
        return ask_writer(path)
    except StoreError:
        return 0


def ask_writer(path: StrPath) -> int | None:
    """Tell so as `writer_pid` does.

    Raises: StoreError: it cannot be asked, and no one may say that the store is not being written.
    """
    unknown: StoreError | None = None
    for file in (sibling(path, layout.REGISTRY_FILE), path):
        try:
            if _is_held(file):
                return _pid_of(path)
        except (StoreNotFoundError, CorruptStoreError):
            continue
        except StoreError as error:
            unknown = error
    if unknown is not None:
        raise unknown
    return None


def _is_held(path: StrPath) -> bool:
    descriptor = open_file(path)
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _flock(fcntl.F_RDLCK))
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; it does not tell who writes the store") from None
    finally:
        os.close(descriptor)


def _flock(kind: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def _pid_of(path: StrPath) -> int:
    """Read the pid of the process that holds the lock; 0: not known."""
    with contextlib.suppress(OSError, ValueError, IndexError, StoreError):
        descriptor = open_file(path)
        try:
            return max(0, int(os.pread(descriptor, 32, 0).split()[0]))
        finally:
            os.close(descriptor)
    with contextlib.suppress(StoreError):
        last = newest_run(sibling(path, layout.RUNS_FILE))
        return last.pid if last and not last.ended else 0
    return 0
