# cython: annotation_typing=False
"""One virtual CPU's exits on their way to the plugins: added up by its loop, which has no time for more.

Plugins get the sums of what there is when 250 ms or a second of the wall clock are over and another exit comes, on
every tick, and at the end. So SIGKILL takes at most the exits of 250 ms, and none from before the last tick. More often
would be dear where there are many machines that only wake now and then.

Why no lock guards the sums: a loop adds an exit, and `flush` takes what was added, in stretches without a call; CPython
hands the interpreter over only at calls, loops and function entries, and compiled code nowhere in between.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_vmm.hookspecs import OnExit, OnExits

if TYPE_CHECKING:
    import cython  # as in rondo_core.record.handles
else:
    from rondo_core.record import cython_shadow as cython
if cython.compiled:
    from cython.cimports.rondo_core.record import system_time as time
else:
    import time

FLUSH_NS = 250_000_000
FAR_NS = 1 << 62  # longer than anything takes, later than any clock says


class ExitTotals:
    """What of one CPU's exits plugins have not had yet; one thread adds, any may flush.

    Attributes: `due_ns`: when the next exit is to flush, monotonic.
    """

    __slots__ = (
        "_before",
        "_clock",
        "_each",
        "_exits",
        "_last",
        "_lock",
        "_run",
        "_run_max",
        "_run_min",
        "_system_clock",
        "_system_wall",
        "_takers",
        "_took",
        "_took_max",
        "_took_min",
        "_wall",
        "_wanted",
        "due_ns",
    )

    def __cinit__(self) -> None:
        """Have nothing to add to, and no clock, where compiled code would look for them."""
        self._exits: list[int] = []
        self._before: list[int] = []
        self._takers: tuple[OnExits, ...] = ()
        self._each: tuple[OnExit, ...] = ()

    def __init__(
        self,
        exits: list[int],
        takers: Sequence[OnExits] = (),
        each: Sequence[OnExit] = (),
        clock: Callable[[], int] = monotonic_ns,
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        """Start empty.

        Args: `exits`: the CPU's counts by the index of the reason, which `add` keeps; `takers` get sums, `each` every
            exit by itself.
        """
        self._exits, self._before = exits, exits[:]
        self._takers, self._each = tuple(takers), tuple(each)
        self._clock, self._system_clock = clock, clock is monotonic_ns
        self._wall, self._system_wall = wall, wall is wall_ns
        self._lock = threading.Lock()
        self._wanted = bool(takers)
        self._run, self._run_min, self._run_max = 0, FAR_NS, -1
        self._took, self._took_min, self._took_max = 0, FAR_NS, -1
        self._last = 0
        self.due_ns = 0 if takers else FAR_NS

    def _read(self) -> int:
        """Read the clock where it is not the system's."""
        return self._clock()

    def add(self, reason: int, before_ns: int, left_ns: int) -> int:
        """Count an exit that has been handled just now.

        Args: `before_ns`, `left_ns`: when the CPU entered the guest and when it left it, by the monotonic clock.
        Returns: what that clock says now.
        """
        after = time.monotonic_ns() if self._system_clock else self._read()
        if after >= self.due_ns:
            self.flush()
            after = time.monotonic_ns() if self._system_clock else self._read()
        self._exits[reason] += 1
        if self._wanted:
            run = left_ns - before_ns
            took = after - left_ns
            self._run += run
            if run < self._run_min:
                self._run_min = run
            if run > self._run_max:
                self._run_max = run
            self._took += took
            if took < self._took_min:
                self._took_min = took
            if took > self._took_max:
                self._took_max = took
            self._last = after
        if self._each:
            for observe in self._each:
                observe(reason, left_ns - before_ns, after - left_ns, self._wall())
        return after

    def flush(self) -> None:
        """Hand over what there is, at the time of the last exit, and let exits flush again when they are to."""
        with self._lock:
            exits = self._exits[:]
            run = self._run, self._run_min, self._run_max
            took = self._took, self._took_min, self._took_max
            last = self._last
            self._run, self._run_min, self._run_max = 0, FAR_NS, -1
            self._took, self._took_min, self._took_max = 0, FAR_NS, -1
            self._last = 0
            now_ns = time.monotonic_ns() if self._system_clock else self._read()
            wall = time.time_ns() if self._system_wall else self._wall()
            if last:
                before, self._before = self._before, exits
                counts = exits[:]
                for reason in range(len(counts)):
                    counts[reason] -= before[reason]
                for take in self._takers:
                    take(counts, run, took, wall - now_ns + last)
        if self._wanted:
            self.due_ns = now_ns + min(FLUSH_NS, NS_PER_S - wall % NS_PER_S)
