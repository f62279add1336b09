"""Names and sizes of the files of a life, which lie in the directory of its store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

START, END = "life.start", "life.end"
CHILDREN, INBOX = "life.children", "life.inbox"
STDOUT, STDERR = "life.stdout", "life.stderr"
STREAMS = {"stdout": STDOUT, "stderr": STDERR}
ROOM = f"{END}.0"  # what END is written into, made while there is room on the disk
_ROOM_BYTES = 16 << 10
VARIABLE = "RONDO_LIFE"  # names the store of the life that a process is part of


def keep_room(life: Path) -> None:
    """Make room for a life's end, so that a disk which is full by then does not hinder it. Raises: OSError: it is."""
    descriptor = os.open(life / ROOM, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _ROOM_BYTES)
    finally:
        os.close(descriptor)


def write_end(life: Path, data: bytes) -> None:
    """Write a life's end into the room that was kept for it. Raises: OSError."""
    room = life / ROOM
    if not room.exists():
        write_whole(life / END, data)
        return
    with room.open("r+b") as file:
        file.write(data)
        file.truncate()
    room.replace(life / END)


def write_whole(path: Path, data: bytes) -> None:
    """Write a small file that is there whole or not at all; the kernel brings it to the disk in its own time.

    Raises: OSError; nothing is left behind.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        unfinished.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
