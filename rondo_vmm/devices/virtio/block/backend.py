"""A raw disk image: opened, locked, made where it is missing; read, written, discarded in place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence
from pathlib import Path

from rondo_vmm.errors import DiskError
from rondo_vmm.memory import GuestMemory, Segment

SECTOR_BYTES = 512
NEW_BYTES = 64 << 20
# Source: fcntl(2), struct flock: type, whence, start, length, pid; a length of 0 is up to the end, wherever that is.
FLOCK = struct.Struct("hhqqi4x")
# Source: linux/falloc.h.
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
ZEROES = bytes(1 << 20)


class RawImage:
    """A file, or a block device, whose bytes are the disk's.

    The lock is one of the open file, over all of it: it conflicts with every other writer's, QEMU's too, and a
    read-only image with writers only. It ends with the process, however that ends.
    Attributes: `path`; `read_only`; `sectors`: whole ones of 512 bytes; what is left over stays out of reach.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Open and lock it; make it first where it is missing, of 64 MiB, which are allocated at once.

        Raises: DiskError: it is in use, is missing though it is read-only, or cannot be used.
        """
        self.path, self.read_only = path, read_only
        self._descriptor, made = _open(path, read_only)
        try:
            _lock(self._descriptor, path, read_only)
            if made:
                _allocate(self._descriptor, path)
            self.sectors = _sectors(self._descriptor, path)
        except BaseException:
            os.close(self._descriptor)
            if made:
                path.unlink(missing_ok=True)
            raise

    def read(self, memory: GuestMemory, segments: Sequence[Segment], sector: int) -> None:
        """Read sectors into guest memory. Raises: OSError; EOFError: the file was cut short."""
        memory.read_file(self._descriptor, segments, sector * SECTOR_BYTES)

    def write(self, memory: GuestMemory, segments: Sequence[Segment], sector: int) -> None:
        """Write sectors from guest memory. Raises: OSError."""
        memory.write_file(self._descriptor, segments, sector * SECTOR_BYTES)

    def flush(self) -> None:
        """Bring all that was written to the disk. Raises: OSError."""
        os.fdatasync(self._descriptor)

    def discard(self, sector: int, count: int) -> None:
        """Give sectors back to the file system, which may not be able to take them. Raises: OSError."""
        self._fallocate(PUNCH_HOLE | KEEP_SIZE, sector, count)

    def write_zeroes(self, sector: int, count: int, *, unmap: bool) -> None:
        """Make sectors read as zeroes. Args: `unmap`: they may be given back. Raises: OSError."""
        if self._fallocate((PUNCH_HOLE if unmap else ZERO_RANGE) | KEEP_SIZE, sector, count):
            return
        offset, left = sector * SECTOR_BYTES, count * SECTOR_BYTES
        while left:
            written = os.pwrite(self._descriptor, ZEROES[: min(left, len(ZEROES))], offset)
            offset, left = offset + written, left - written

    def _fallocate(self, mode: int, sector: int, count: int) -> bool:
        """Change how sectors are allocated; give False where the file system cannot."""
        import ctypes

        call = ctypes.CDLL(None, use_errno=True).fallocate
        call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
        if call(self._descriptor, mode, sector * SECTOR_BYTES, count * SECTOR_BYTES) == 0:
            return True
        number = ctypes.get_errno()
        if number not in {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV}:
            raise OSError(number, os.strerror(number))
        return False

    def close(self) -> None:
        """Release it, and its lock; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _open(path: Path, read_only: bool) -> tuple[int, bool]:
    """Give a descriptor, and whether the file was made; never wait, whatever stands there."""
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        if not read_only:
            with contextlib.suppress(FileExistsError):
                return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600), True
        return os.open(path, flags), False
    except OSError as error:
        mend = "make it, or leave out --disk-read-only" if error.errno == errno.ENOENT else "choose another disk image"
        raise DiskError(f"{path}: {error.strerror}; {mend}") from None


def _lock(descriptor: int, path: Path, read_only: bool) -> None:
    kind = fcntl.F_RDLCK if read_only else fcntl.F_WRLCK
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, FLOCK.pack(kind, os.SEEK_SET, 0, 0, 0))
    except (BlockingIOError, PermissionError):
        mend = "stop its user, or take a copy" if read_only else "stop its user, or open it read-only in both"
        raise DiskError(f"{path}: this disk image is in use; {mend}") from None
    except OSError as error:
        raise DiskError(f"{path}: cannot be locked ({error.strerror}); choose another disk image") from None


def _allocate(descriptor: int, path: Path) -> None:
    try:
        os.posix_fallocate(descriptor, 0, NEW_BYTES)
    except OSError as error:
        what = f"no room for a disk image of {NEW_BYTES >> 20} MiB ({error.strerror})"
        raise DiskError(f"{path}: {what}; make a smaller one there first") from None


def _sectors(descriptor: int, path: Path) -> int:
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise DiskError(f"{path}: neither a file nor a block device; choose another disk image")
    sectors = os.lseek(descriptor, 0, os.SEEK_END) // SECTOR_BYTES
    if not sectors:
        raise DiskError(f"{path}: smaller than a sector of {SECTOR_BYTES} bytes; give it a size")
    return sectors
