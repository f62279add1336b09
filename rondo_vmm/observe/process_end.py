"""The end of a process that is no child of ours, as something that an event loop waits for."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def process_end(loop: asyncio.AbstractEventLoop, pid: int) -> Iterator[asyncio.Event]:
    """Give what is set when the process ends; never, where `pid` is 0: it is not on this host."""
    ended = asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid) if pid else -1
    except ProcessLookupError:
        ended.set()
        descriptor = -1
    if descriptor >= 0:
        loop.add_reader(descriptor, ended.set)
    try:
        yield ended
    finally:
        if descriptor >= 0:
            loop.remove_reader(descriptor)
            os.close(descriptor)
