"""Open the files of a store, which may be damaged or hostile: regular files only, and never more of them than is there.

No symbolic link is followed, so that a store never leads out of its directory, and no FIFO is waited for. Who keeps a
store open keeps its `Folder` open, and reaches its files through that: a path may lead to another store by then.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple, Self

from rondo_core import faults
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import CorruptStoreError, OpenFilesError, StoreError, StoreNotFoundError

BLOCK = 1 << 20
_NO_FSYNC = frozenset({errno.EBADF, errno.EINVAL, errno.EOPNOTSUPP})  # of a directory, by its file system or O_PATH
NO_MORE_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_SETTLED_NS = NS_PER_S  # a file's times move by ticks of a clock: two writes within one are not told apart
UNFINISHED = ".unfinished"  # what the name of a file or directory that is being made ends with
_ZEROES = bytes(BLOCK)
_STAT_BLOCK_BYTES = 512  # whatever the file system's are. Source: inode(7), st_blocks
StrPath = str | os.PathLike[str]
_SAFE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Closeable:
    """What is closed at the end of a `with`; `close` may be called more than once."""

    __slots__ = ()

    def close(self) -> None:
        """Release what is held."""

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_raised: object) -> None:
        """Close it."""
        self.close()


class Folder(Closeable):
    """A store's directory, held open: its files are had through it wherever it was moved to, and no others.

    Attributes: `path`, what it was opened as, for messages; `descriptor`; `identity`, device and inode.
    It is closed with its last user, or at the end of a `with`; after fork the child shares it, until it calls `renew`.
    """

    __slots__ = ("_whole_path", "descriptor", "identity", "path")

    def __init__(self, path: StrPath | Folder, *, follow: bool = True) -> None:
        """Open the directory, or one that is open once more, to be locked and closed by itself.

        Args: `follow`: the path may be a link to it.
        Raises: StoreNotFoundError: nothing is there; OpenFilesError: too many files are open; StoreError: it is no
            directory, or may not be opened.
        """
        self.descriptor, self.identity = -1, (0, 0)
        self.path: str
        self._whole_path: str
        if isinstance(path, Folder):
            self.path, self._whole_path = path.path, path._whole_path  # noqa: SLF001 - of the same class
        else:
            self.path = self._whole_path = os.fspath(path)
            if not self.path.startswith("/"):
                with contextlib.suppress(OSError):  # the working directory is gone
                    self._whole_path = str(Path(path).absolute())
        try:
            if isinstance(path, Folder):
                self.descriptor = _open_folder(".", path.descriptor)
            else:
                self.descriptor = _open_folder(path, follow=follow)
        except FileNotFoundError:
            raise StoreNotFoundError(f"{path}: no such store; check the path") from None
        except NotADirectoryError:
            what = (
                "a link, which is not followed; name what it leads to"
                if Path(self.path).is_symlink()
                else "a file, not a store; a store is a directory"
            )
            raise StoreError(f"{path}: {what}") from None
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in NO_MORE_FILES:
                raise OpenFilesError(self.path) from None
            what = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
            raise StoreError(f"{path}: {what}; check its owner and mode") from None
        self.identity = identity(os.fstat(self.descriptor))

    def __truediv__(self, name: str) -> FolderFile:
        """Name a file in it."""
        return FolderFile(self, name)

    def __str__(self) -> str:
        """Give the path that it was opened as."""
        return self.path

    @property
    def place(self) -> str:
        """Name the directory among all of this boot, by its inode and device: a copy has another name."""
        device, inode = self.identity
        return f"{inode:x}.{device:x}"

    def is_at_its_path(self) -> bool:
        """Say whether its path still leads to it: not where it was renamed or removed, or another took its place."""
        try:
            return identity(Path(self._whole_path).stat()) == self.identity
        except OSError:
            return False

    def is_at(self, path: Path) -> bool:
        """Say whether a path still is, or has become, that of this directory; a link to it is not."""
        return identity_at(path) == self.identity

    def unlock(self) -> None:
        """Give a lock of the directory back, also where a child that was forked meanwhile has it open yet."""
        if self.is_open():  # it is closed already where a collector took it first
            with contextlib.suppress(OSError):
                fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def renew(self) -> None:
        """Open it anew: what a child does that shall share no lock with its parent."""
        shared, self.descriptor = self.descriptor, -1
        if is_still(shared, self.identity):
            with contextlib.suppress(OSError):  # then it has none any more
                self.descriptor = _open_folder(".", shared)
            os.close(shared)

    def is_open(self) -> bool:
        """Say whether the descriptor is still the directory's: a program may close what it has not opened."""
        return is_still(self.descriptor, self.identity)

    def open_again(self) -> None:
        """Open the same directory anew, at its path. Raises: StoreError: it does not lie there any more."""
        self.close()
        with contextlib.suppress(OSError):
            self.descriptor = _open_folder(self._whole_path)
        if not self.is_open():
            with contextlib.suppress(OSError):
                os.close(self.descriptor)
            self.descriptor = -1
            raise StoreError(f"{self.path}: renamed or removed, or another has taken its place")

    def close(self) -> None:
        """Close it, whoever else has it, where it is still open; more than once is once."""
        if self.is_open():
            os.close(self.descriptor)
        self.descriptor = -1

    def __del__(self) -> None:
        """Close it."""
        self.close()


def _open_folder(path: StrPath, dir_fd: int | None = None, *, follow: bool = True) -> int:
    flags = _FOLDER | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(path, flags, dir_fd=dir_fd)
    except PermissionError:  # what is in it may be opened yet, though not listed
        return os.open(path, flags | os.O_PATH, dir_fd=dir_fd)


class FolderFile(NamedTuple):
    """A file of a folder that is held open."""

    folder: Folder
    name: str

    def __fspath__(self) -> str:
        """Give the path that it had when the folder was opened."""
        return f"{self.folder.path}/{self.name}"

    def __str__(self) -> str:
        """Say the same, for messages."""
        return self.__fspath__()


def identity(facts: os.stat_result) -> tuple[int, int]:
    """Tell a file from every other of this machine: by its device and inode."""
    return facts.st_dev, facts.st_ino


def is_still(descriptor: int, known: tuple[int, int]) -> bool:
    """Say whether a descriptor is one of the file of this identity; -1 is of none."""
    try:
        return descriptor >= 0 and identity(os.fstat(descriptor)) == known
    except OSError:
        return False


def sibling(path: StrPath, name: str) -> StrPath:
    """Name another file of the same directory."""
    return path.folder / name if isinstance(path, FolderFile) else Path(path).with_name(name)


def identity_at(path: StrPath) -> tuple[int, int] | None:
    """Tell which file has this name now; None: none has."""
    found = facts_at(path)
    return None if found is None else identity(found)


def facts_at(path: StrPath) -> os.stat_result | None:
    """Give what is known of the file that has this name now; None: none has, or nothing is to be known."""
    with contextlib.suppress(OSError):
        if isinstance(path, FolderFile):
            return os.stat(path.name, dir_fd=path.folder.descriptor, follow_symlinks=False)
        return os.lstat(path)
    return None


def file_version(path: StrPath) -> tuple[int, ...]:
    """Give what changes with a write to a file of this name: its times, its size, and which it is; empty: not known."""
    found = facts_at(path)
    if found is None:
        return ()
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_dev, found.st_ino


def is_settled(version: tuple[int, ...]) -> bool:
    """Say whether a version is known, and old enough that a write from now on makes another."""
    return bool(version) and max(version[:2]) < wall_ns() - _SETTLED_NS


def open_file(path: StrPath, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and give its descriptor; see `open_known`."""
    return open_known(path, flags)[0]


def open_sized(path: StrPath, flags: int = os.O_RDONLY) -> tuple[int, int]:
    """Open a regular file and give its descriptor and its size in bytes; see `open_known`."""
    descriptor, found = open_known(path, flags)
    return descriptor, found.st_size


def open_known(path: StrPath, flags: int = os.O_RDONLY) -> tuple[int, os.stat_result]:
    """Open a regular file and give its descriptor and what is known of it.

    Raises: StoreNotFoundError: it is missing; CorruptStoreError: a link, a directory or a FIFO lies in its place;
    OpenFilesError: too many files are open; StoreError: it may not be opened.
    """
    try:
        if isinstance(path, FolderFile):
            descriptor = os.open(path.name, flags | _SAFE, 0o644, dir_fd=path.folder.descriptor)
        else:
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
    return descriptor, found


def sync_file(path: StrPath) -> None:
    """Write a file's data to the disk, and wait for it. Raises: as `open_file`; OSError: the disk does not take it."""
    descriptor = open_file(path)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(name: str, path: StrPath, data: bytes | Callable[[IO[bytes]], object], *, mode: int = 0o644) -> None:
    """Put a file in the place of another, on the disk before it takes its name: killed, the one or the other is there.

    Args: `name`: of its fault points; `data`: its bytes, or what writes them.
    Raises: OSError, and what `data` raises: the old one stays; but where the file's name does not get to the disk.
    """
    place = path if isinstance(path, FolderFile) else Folder(Path(path).parent) / Path(path).name
    folder = place.folder.descriptor
    faults.point(f"{name}.before")
    unfinished, descriptor = _make_unfinished(place, mode)
    try:
        try:
            with open(descriptor, "wb", closefd=False) as file:
                if callable(data):
                    data(file)
                else:
                    file.write(data)
            faults.point(f"{name}.buffered")
            os.fsync(descriptor)
            faults.point(f"{name}.written")
            os.replace(unfinished, place.name, src_dir_fd=folder, dst_dir_fd=folder)
            faults.point(f"{name}.renamed")
        finally:
            os.close(descriptor)
    except Exception:
        with contextlib.suppress(OSError):
            os.unlink(unfinished, dir_fd=folder)
        raise
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_FSYNC:
            raise


def fill_holes(path: StrPath, descriptor: int, found: os.stat_result) -> None:
    """Give each byte of a file its place on the disk, which copies do not keep: a store into a mapped hole is a SIGBUS.

    Raises: StoreError: the disk has no room.
    """
    if found.st_blocks * _STAT_BLOCK_BYTES >= found.st_size:
        return
    try:
        os.posix_fallocate(descriptor, 0, found.st_size)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:  # others: this file system cannot, or has room elsewhere
            what = f"a copy with holes, and no room to fill them: {os.strerror(error.errno)}"
            raise StoreError(f"{path}: {what}; free some space") from None


def sync_directory(path: StrPath) -> None:
    """Write a directory's entries to the disk, and wait for it, as far as the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, _FOLDER)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _make_unfinished(place: FolderFile, mode: int = 0o644) -> tuple[str, int]:
    """Make a hidden file beside the one of that name, locked while its maker lives, by which `sweep` knows."""
    folder = place.folder.descriptor
    while True:
        name = f".{place.name}.{os.urandom(6).hex()}{UNFINISHED}"
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)
        if lock_alive(descriptor) is not False and identity_at(place.folder / name):
            return name, descriptor
        os.close(descriptor)  # it was swept away before it was locked


def sweep(path: StrPath) -> None:
    """Remove what makers of this file left unfinished that were killed, on whatever host or in whatever container."""
    place = path if isinstance(path, FolderFile) else Folder(Path(path).parent) / Path(path).name
    stem = place.name.removesuffix(".json")
    with contextlib.suppress(OSError):
        for name in os.listdir(place.folder.descriptor):  # noqa: PTH208 - of a directory that is open
            if name.removeprefix(".").startswith(f"{stem}.") and name.endswith(UNFINISHED):
                with contextlib.suppress(OSError, StoreError):
                    descriptor = open_file(place.folder / name)
                    try:
                        if lock_alive(descriptor) is True:
                            os.unlink(name, dir_fd=place.folder.descriptor)
                    finally:
                        os.close(descriptor)


def lock_alive(descriptor: int) -> bool | None:
    """Lock what is being made until its descriptor is closed, or its maker dies.

    Returns: False: another process has it, who lives; None: the file system has no such locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in {errno.EWOULDBLOCK, errno.EACCES} else None
    return True


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
