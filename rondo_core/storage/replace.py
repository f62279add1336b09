"""Put one directory in another's place, so that a kill at any moment leaves the one or the other, whole.

What is being made, or was replaced, has a name of the form .NAME.*.unfinished beside it, which no reader looks into.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from rondo_core import faults
from rondo_core.errors import RondoError
from rondo_core.model.paths import is_directory, is_there
from rondo_core.storage.directory import read_meta
from rondo_core.storage.files import Folder, sync_directory

# Source: Linux, include/uapi/linux/fs.h and fcntl.h
_RENAME_EXCHANGE = 2
_AT_FDCWD = -100
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


def _backup(path: Path) -> Path:
    return path.with_name(f".{path.name}.before-migration.unfinished")


def replace(path: Path, new: Path, old: Folder) -> Path:
    """Let `new` be at `path`, where `old` lies; both are directories of one file system.

    Returns: where the old one is now. Raises: OSError: nothing has changed; ESTALE: another one lies at `path` by now.
    """
    try:
        _exchange(path, new)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return _replace_by_two_renames(path, new, old)
    try:
        _check(new, old)
    except OSError:
        _exchange(path, new)
        raise
    sync_directory(path.parent)
    return new


def _check(path: Path, folder: Folder) -> None:
    if Folder(path).identity != folder.identity:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))


def _exchange(one: Path, other: Path) -> None:
    import ctypes

    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _replace_by_two_renames(path: Path, new: Path, old: Folder) -> Path:
    """Do it where the file system cannot exchange; killed in between, `recover` puts the old one back."""
    backup = _backup(path)
    path.rename(backup)
    faults.point("replace.between")
    try:
        _check(backup, old)
        new.rename(path)
    except BaseException:
        backup.rename(path)
        raise
    sync_directory(path.parent)
    return backup


def recover(path: Path) -> bool:
    """Put the old directory back where a kill came between two renames; say whether that was so."""
    backup = _backup(path)
    if is_there(path) or not is_directory(backup):
        return False
    backup.rename(path)
    sync_directory(path.parent)
    return True


def clean_up(path: Path) -> None:
    """Remove what replacements of the store at `path` left behind that were killed.

    Call it only when no one else replaces it. An old store whose successor this one is not stays.
    """
    with contextlib.suppress(RondoError):
        if read_meta(_backup(path)).store_id == read_meta(path).store_id:
            discard(_backup(path))
    with contextlib.suppress(OSError):
        left = [each for each in path.parent.iterdir() if each.name.startswith(f".{path.name}.")]
        for each in left:
            if each.name.endswith(".migration.unfinished"):
                discard(each)


def discard(path: Path) -> None:
    """Remove a directory and all that is in it."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)
