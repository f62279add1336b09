"""Counters that follow a total which is kept elsewhere, and files of control groups that are read again and again."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rondo_core import Counter


class Total:
    """A counter that follows the highest that a total has been: one that shrinks, as processes end, is waited for."""

    __slots__ = ("_counter", "_reached")

    def __init__(self, counter: Counter, reached: float | None = 0.0) -> None:
        """Begin at `reached`; None: at what comes first."""
        self._counter, self._reached = counter, reached

    def follow(self, total: float, now_ns: int) -> None:
        """Count what the total has grown by."""
        reached = self._reached
        if reached is None:
            self._reached = total
        elif total > reached:
            self._reached = total
            self._counter.inc(total - reached, now_ns)


class GroupFile:
    """A file of a control group, read through a descriptor that is kept."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path) -> None:
        """Open it. Raises: OSError: it is not there."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> bytes:
        """Give what is in it now; nothing where the group is gone."""
        with contextlib.suppress(OSError):
            return os.pread(self._descriptor, 8192, 0)
        return b""

    def keys(self, wanted: frozenset[bytes]) -> dict[bytes, int]:
        """Give the numbers of some of its lines."""
        found = {}
        for line in self.read().splitlines():
            key, _, number = line.partition(b" ")
            if key in wanted:
                found[key] = int(number)
        return found

    def __del__(self) -> None:
        """Leave no descriptor behind."""
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


def open_group_file(path: Path) -> GroupFile | None:
    """Open a file of a control group; None where it cannot be read."""
    try:
        return GroupFile(path)
    except OSError:
        return None
