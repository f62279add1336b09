"""The only module that reads the time; everywhere else the time is an argument or a clock handed in."""

from __future__ import annotations

import time
from typing import Protocol

NS_PER_S = 1_000_000_000


def wall_ns() -> int:
    """Read the wall clock, ns since the epoch: whatever `time.time_ns` is by now, a test's own clock also."""
    return time.time_ns()


monotonic_ns = time.monotonic_ns
process_cpu_ns = time.process_time_ns
own_cpu_ns = time.thread_time_ns


def thread_cpu_ns(thread_id: int) -> int:
    """Read the CPU time of a thread of this process by the kernel's id of it, ns.

    Raises: OSError: it has ended. Source: the kernel's MAKE_THREAD_CPUCLOCK, of include/linux/posix-timers.h.
    """
    return time.clock_gettime_ns((~thread_id << 3) | 6)


def boot_ns() -> int:
    """Tell how long the kernel has been up, suspends included, ns."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Clock(Protocol):
    """Nanoseconds since the epoch, as int64."""

    def __call__(self) -> int:
        """Read the clock."""


class ManualClock:
    """A clock that stands still until it is told to move: for tests and for replay."""

    def __init__(self, now_ns: int = 1_700_000_000 * NS_PER_S) -> None:
        """Start at `now_ns`, nanoseconds since the epoch."""
        self.now_ns = now_ns

    def __call__(self) -> int:
        """Read the clock, ns."""
        return self.now_ns

    def advance(self, seconds: float) -> int:
        """Move by `seconds` (negative: back) and give the new instant, ns."""
        self.now_ns += round(seconds * NS_PER_S)
        return self.now_ns
