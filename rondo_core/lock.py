"""Who writes a store: a lock that names its holder and goes when the holder's process does.

Within the process threads take turns by locks of their own; `held_here` asks one of those.

An open-file-description lock (fcntl, Linux): it can be asked about without being taken, so readers never stand
in a writer's way. On NFS it is as good as the server's own lock manager.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
from pathlib import Path

from rondo_core import faults
from rondo_core.errors import StoreError, StoreLockedError
from rondo_core.files import StrPath, open_file

# struct flock of the kernel's fcntl.h on 64-bit machines: type, whence, start, length, pid
_FLOCK = struct.Struct("hhqqi4x")


def held_here(lock: threading.RLock) -> bool:
    """Say whether this very thread holds the lock: who asks is then called from its middle, or is a signal handler."""
    return bool(lock._is_owned())  # type: ignore[attr-defined]  # noqa: SLF001 - what threading.Condition asks of it


class WriterLock:
    """The right to write a store, held until `release` or the end of the process.

    After fork the child must call `abandon`: it shares the lock, and would hold it beyond the parent's death.
    """

    def __init__(self, path: StrPath) -> None:
        """Take the lock.

        Raises: StoreLockedError: another process has it; StoreError: the file cannot be written.
        """
        self._descriptor = open_file(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError:
            pid = _read_pid(self._descriptor)
            os.close(self._descriptor)
            raise StoreLockedError(str(Path(path).parent), pid) from None
        faults.point("lock.taken")
        with contextlib.suppress(OSError):  # a full disk; who holds the lock is then not known, but held it is
            os.pwrite(self._descriptor, f"{os.getpid():<20d}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock back; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    abandon = release


def writer_pid(path: StrPath) -> int | None:
    """Tell who holds the lock, without taking it: a pid (0: not known), or None where no one is known to."""
    try:
        return ask_writer(path)
    except StoreError:
        return None


def ask_writer(path: StrPath) -> int | None:
    """Tell who holds the lock, without taking it: a pid (0: not known), or None where no one does.

    Raises: StoreError: it cannot be asked, and no one may say that the store is not being written.
    """
    descriptor = open_file(path)
    try:
        asked = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked)
        held = _FLOCK.unpack(answer)[0] != fcntl.F_UNLCK
        return _read_pid(descriptor) if held else None
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; it does not tell who writes the store") from None
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        return max(0, int(os.pread(descriptor, 32, 0).split()[0]))
    return 0
