"""Fault points: named places in slow paths where a test has its own process killed, as a user's may be anywhere.

Where nothing is armed a point is a call that does nothing; the hot path has none. Only a call arms a process, which a
test makes in its own: `arm("fold.block:3")`: killed by SIGKILL at the third arrival there; "*:3": at the third arrival
anywhere; "*:0" only counts.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from rondo_core.errors import UsageError

ANYWHERE = "*"

# How often each point was reached since the process was armed.
arrivals: dict[str, int] = {}


def _nothing(_name: str) -> None:
    """Stand at a point while nothing is armed."""


point: Callable[[str], None] = _nothing


def pwrite(name: str, descriptor: int, data: bytes, offset: int) -> None:
    """Write all as os.pwrite does; where armed, in two pieces, with points before, between and after them.

    Raises: OSError: also where a part of it alone was written, as at the end of what a disk or a limit has room for.
    """
    if point is _nothing:
        if os.pwrite(descriptor, data, offset) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return
    point(f"{name}.before")
    half = len(data) // 2
    os.pwrite(descriptor, data[:half], offset)
    point(f"{name}.half")
    os.pwrite(descriptor, data[half:], offset + half)
    point(f"{name}.after")


def arm(spec: str) -> None:
    """Have this process killed at one arrival, or count its arrivals only; an empty text disarms.

    Args: `spec`: "NAME:N" or "*:N"; N is 1 for the first arrival from now on, 0 for none.
    Raises: UsageError: it is neither.
    """
    global point  # noqa: PLW0603 - callers look it up at every call, which is how it costs nothing when disarmed
    arrivals.clear()
    if not spec:
        point = _nothing
        return
    wanted, _, number = spec.rpartition(":")
    if not wanted or not number.isdecimal():
        raise UsageError(f"{spec}: not a fault; write NAME:N or *:N")
    fatal = int(number)

    def reach(name: str) -> None:
        arrivals[name] = arrivals.get(name, 0) + 1
        reached = sum(arrivals.values()) if wanted == ANYWHERE else arrivals.get(wanted, 0)
        if reached == fatal and wanted in {name, ANYWHERE}:
            os.kill(os.getpid(), signal.SIGKILL)

    point = reach
