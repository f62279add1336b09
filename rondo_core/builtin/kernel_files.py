"""Files of /proc and /sys as recorders read them: on every tick, by one read of a descriptor that is kept."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core.clock import own_cpu_ns
from rondo_core.errors import CapacityError
from rondo_core.storage.files import identity, is_still

if TYPE_CHECKING:
    from rondo_core.hookspecs import Declare
    from rondo_core.record.gauges import Gauge
    from rondo_core.record.handles import Counter

Tick = Callable[[int], None]
Take = Callable[[bytes, int], None]

# What takes longer is read once a minute, so that a recorder stays below 200 us of CPU a second. A reading that takes
# up to four times as long may have found the CPU's caches cold, and is looked at again.
LONG_NS = 50_000
COLD = 4
SPARED_TICKS = 59


class KernelFile:
    """A file of the kernel's, and who takes what is in it; what cannot be read, or is not of its form, is left out.

    A forked child opens the file anew, so that /proc/self is its own. A descriptor that the program closed and was
    given again for another file is noticed when its content does not read, and is never closed here.
    """

    __slots__ = ("_descriptor", "_identity", "_path", "_pid", "_take")

    def __init__(self, path: Path, take: Take) -> None:
        """Open the file. Raises: OSError: it is not there, or forbidden."""
        self._path, self._take = str(path), take
        self._descriptor, self._identity, self._pid = -1, (0, 0), 0
        self._open()

    def tick(self, now_ns: int) -> None:
        """Read the file as it is now, and let it be taken."""
        try:
            if os.getpid() != self._pid:
                self._open()
            data = piece = os.pread(self._descriptor, 4096, 0)
            while len(piece) > 2048:  # the kernel gives whole lines, about a page of them at a time
                piece = os.pread(self._descriptor, 4096, len(data))
                data += piece
            if data:
                self._take(data, now_ns)
        except (OSError, ValueError, LookupError):
            self._pid = 0

    def _open(self) -> None:
        self.close()
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._identity, self._pid = identity(os.fstat(self._descriptor)), os.getpid()

    def close(self) -> None:
        """Close the descriptor, where it is still this file's."""
        if is_still(self._descriptor, self._identity):
            os.close(self._descriptor)
        self._descriptor = -1

    def __del__(self) -> None:
        """Leave no descriptor behind."""
        if hasattr(self, "_descriptor"):
            self.close()


def open_files(wanted: Iterable[tuple[Path | None, Callable[[], Take]]]) -> list[Tick]:
    """Open the files that are there and may be read, let series be declared for each of these, and give their ticks.

    A file whose series have no room in a store is left out; the store counts them.
    """
    ticks = list[Tick]()
    for path, make in wanted:
        if path is not None and read_first([path]):
            with contextlib.suppress(OSError, CapacityError):
                ticks.append(KernelFile(path, make()).tick)
    return ticks


def read_first(paths: Iterable[Path]) -> tuple[Path, str] | None:
    """Find the first of several files that can be read and is not empty, and give its path and what is in it."""
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            if text := os.fsdecode(path.read_bytes()):  # which may name paths, of any bytes
                return path, text
    return None


class FollowedTotal:
    """A counter that follows a total which is kept elsewhere."""

    __slots__ = ("_counter", "counted")

    def __init__(self, counter: Counter, counted: float | None = None) -> None:
        """Begin at `counted`; None: at what is read first."""
        self._counter, self.counted = counter, counted

    def follow(self, total: float, now_ns: int) -> None:
        """Count what the total has grown by; one that shrank began anew, and is followed from there."""
        counted = self.counted
        if counted is None or total < counted:
            self.counted = total
        elif total > counted:
            self.counted = total
            self._counter.inc(total - counted, now_ns)


class LateGauge:
    """A gauge that is declared when it first has a value."""

    __slots__ = ("_declare", "_facts", "_gauge")

    def __init__(self, declare: Declare, name: str, text: str, unit: str = "", **labels: str) -> None:
        """Declare nothing yet."""
        self._declare, self._facts = declare, (name, text, unit, labels)
        self._gauge: Gauge | None = None

    def set(self, value: float, now_ns: int) -> None:
        """Set the gauge."""
        if self._gauge is None:
            name, text, unit, labels = self._facts
            self._gauge = self._declare.gauge(name, labels, help=text, unit=unit)
        self._gauge.set(value, now_ns)


def rate_limited(tick: Tick, long_ns: int = LONG_NS) -> Tick:
    """Call what may take long on each tick while a call takes little CPU time, else on each 60th."""
    spared = 0

    def timed(now_ns: int) -> int:
        began = own_cpu_ns()
        tick(now_ns)
        return own_cpu_ns() - began

    def limited(now_ns: int) -> None:
        nonlocal spared
        if spared:
            spared -= 1
            return
        took_ns = timed(now_ns)
        if took_ns >= long_ns and (took_ns >= COLD * long_ns or timed(now_ns) >= long_ns):
            spared = SPARED_TICKS

    return limited
