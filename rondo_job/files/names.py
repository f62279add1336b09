"""Names and sizes of the files of a life, which lie in the directory of its store."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

START, END = "life.start", "life.end"
CHILDREN, INBOX = "life.children", "life.inbox"
STDOUT, STDERR = "life.stdout", "life.stderr"
STREAMS = {"stdout": STDOUT, "stderr": STDERR}
VARIABLE = "RONDO_LIFE"  # names the store of the life that a process is part of


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
