"""Open the files of a store, which may be damaged or hostile: regular files only, and never more of them than is there.

No symbolic link is followed, so that a store never leads out of its directory, and no FIFO is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from rondo_core.errors import CorruptStoreError, OpenFilesError, StoreError, StoreNotFoundError

BLOCK = 1 << 20
NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_ZEROES = bytes(BLOCK)
StrPath = str | os.PathLike[str]
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


def open_file(path: StrPath, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and give its descriptor; see `open_sized`."""
    return open_sized(path, flags)[0]


def open_sized(path: StrPath, flags: int = os.O_RDONLY) -> tuple[int, int]:
    """Open a regular file and give its descriptor and its size in bytes.

    Raises: StoreNotFoundError: it is missing; CorruptStoreError: a link, a directory or a FIFO lies in its place;
    OpenFilesError: too many files are open; StoreError: it may not be opened.
    """
    try:
        descriptor = os.open(path, flags | _SAFE, 0o644)
    except FileNotFoundError:
        raise StoreNotFoundError(f"{path}: missing; the store is incomplete") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CorruptStoreError(str(path), "a symbolic link; put the file itself in its place") from None
        if error.errno in NO_MORE_FILES:
            raise OpenFilesError(str(path)) from None
        if error.errno in {errno.EISDIR, errno.ENXIO}:
            raise CorruptStoreError(str(path), "not a regular file; put the store's own in its place") from None
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; check its owner and mode") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise CorruptStoreError(str(path), "not a regular file; put the store's own in its place")
    return descriptor, found.st_size


def read_bytes(path: StrPath, limit: int) -> bytes:
    """Read a whole small file.

    Raises: as `open_file`; CorruptStoreError: it is longer than `limit` bytes.
    """
    descriptor, size = open_sized(path)
    try:
        if size > limit:
            raise CorruptStoreError(str(path), f"{size} bytes where at most {limit} can be", limit)
        return read_at(descriptor, 0, size)
    except OSError as error:
        if isinstance(error, StoreError):
            raise
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; check the disk") from None
    finally:
        os.close(descriptor)


def read_at(descriptor: int, offset: int, size: int) -> bytes:
    """Read `size` bytes from `offset` on, or as many as the file has."""
    parts = []
    while size > 0 and (part := os.pread(descriptor, min(size, BLOCK), offset)):
        parts.append(part)
        offset, size = offset + len(part), size - len(part)
    return b"".join(parts)


def is_zero(data: bytes) -> bool:
    """Say whether all of at most a block's bytes are zeroes."""
    return data == _ZEROES[: len(data)]


def read_used(descriptor: int, offset: int = 0) -> bytes:
    """Read from `offset` up to the first MiB that is all zeroes: what is used of a file made at full size."""
    parts, size = [], os.fstat(descriptor).st_size
    while offset < size and (part := os.pread(descriptor, min(BLOCK, size - offset), offset)) and not is_zero(part):
        parts.append(part)
        offset += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def used_from(descriptor: int, offset: int) -> int | None:
    """Find the first block from `offset` on that is not all zeroes, holes passed over; None where there is none."""
    with contextlib.suppress(OSError):  # ENXIO: nothing but a hole up to the end
        while True:
            offset = os.lseek(descriptor, offset, os.SEEK_DATA)
            part = os.pread(descriptor, BLOCK, offset)
            if not part:
                return None
            if not is_zero(part):
                return offset
            offset += len(part)
    return None
