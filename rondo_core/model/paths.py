"""Paths that someone named, in an option or a config: whatever lies there, a question is answered, and a read ends."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import Any

from rondo_core.errors import StoreError, UsageError, printable

MAX_TOML_BYTES = 1 << 20
_PIECE = 1 << 20
_told: set[str] = set()  # files of which it was said that others may read them


def state_directory() -> Path:
    """Give the directory of the stores of programs that name none: RONDO_DIR, or rondo's own of the user's state."""
    if given := os.environ.get("RONDO_DIR"):
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - raises nothing
    return Path(state) / "rondo"


def is_there(path: str | Path) -> bool:
    """Say whether a path leads to anything; one that cannot be looked at leads to nothing, until it is opened."""
    return os.path.exists(path)  # noqa: PTH110 - which raises nothing


def is_directory(path: str | Path) -> bool:
    """Say whether a path leads to a directory, likewise."""
    return os.path.isdir(path)  # noqa: PTH112 - which raises nothing


def read_named(path: str | Path, limit: int) -> bytes:
    """Read a whole small file, or a pipe that someone writes.

    Raises: OSError: says in `strerror` why not: it is missing, may not be read, is a directory or a pipe that nobody
    writes, or is longer than `limit` bytes, as what has no end is.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    parts = list[bytes]()
    try:
        found = os.fstat(descriptor)
        piece = min(limit + 1, max(_PIECE, found.st_size + 1))
        with contextlib.suppress(BlockingIOError):
            parts.append(os.read(descriptor, piece))
            if not parts[0] and stat.S_ISFIFO(found.st_mode):
                raise OSError(errno.ENXIO, "a pipe that nobody writes", str(path))
        os.set_blocking(descriptor, True)
        size = sum(map(len, parts))
        while size <= limit and (not parts or parts[-1]):
            parts.append(os.read(descriptor, min(piece, limit + 1 - size)))
            size += len(parts[-1])
    finally:
        os.close(descriptor)
    if size > limit:
        raise OSError(errno.EFBIG, f"more than {limit} bytes", str(path))
    return b"".join(parts) if len(parts) > 1 and parts[1] else parts[0]


def read_secret(option: str, path: str | Path, limit: int) -> bytes:
    """Read a small file that holds a credential; log a line, once in a process, where every user may read it.

    Args: `option`: what the file was given for. Raises: as `read_named`.
    """
    held = read_named(path, limit)
    warn_where_others_read(option, path)
    return held


def warn_where_others_read(option: str, path: str | Path) -> None:
    """Log a line, once in a process, where every user of this machine may read a file that holds a credential."""
    key = os.fspath(path)
    if key in _told:
        return
    with contextlib.suppress(OSError):
        if os.stat(key).st_mode & stat.S_IROTH:  # noqa: PTH116 - as it was given
            import logging

            _told.add(key)
            what = "every user of this machine may read the credential in it; chmod o-r"
            logging.getLogger("rondo").warning("%s", printable(f"{option}: {key}: {what} {key}"))


def read_toml(path: Path, kind: type[UsageError] = UsageError) -> dict[str, Any]:
    """Read a TOML file. Raises: StoreError: it cannot be read; `kind`: it is no TOML."""
    import tomllib

    try:
        return tomllib.loads(read_named(path, MAX_TOML_BYTES).decode())
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; check the path") from None
    except (UnicodeDecodeError, RecursionError) as error:
        what = "is text in UTF-8" if isinstance(error, UnicodeError) else "is not nested that deep"
        raise kind(f"{path}: not TOML, which {what}; check the path") from None
    except tomllib.TOMLDecodeError as error:
        raise kind(f"{path}: not TOML: {error}") from None
