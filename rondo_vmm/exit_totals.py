"""One virtual CPU's exits on their way to the plugins: added up by its loop, which has no time for more.

Plugins get the sums of what there is when 10 ms or a second of the wall clock are over and another exit comes, when the
CPU goes to sleep, on every tick, and at the end. So SIGKILL takes at most the exits of 10 ms, and none from before the
last tick.

Why no lock guards the sums: a loop adds an exit, and `flush` takes what was added, in stretches without a call; CPython
hands the interpreter over only at calls, loops and function entries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_vmm.hookspecs import OnExit, OnExits

FLUSH_NS = 10_000_000
# Of the times in the guest, and of those in the monitor, sum, least and greatest, ns; the end of the last exit,
# monotonic ns.
NONE = (0, 1 << 62, -1, 0, 1 << 62, -1, 0)
LAST = 6


class ExitTotals:
    """What of one CPU's exits plugins have not had yet; one thread adds, any may flush.

    Attributes: `wanted`: whether a plugin takes sums; `cells`: these, which the loop keeps, in one stretch with its
    counts of exits by reason; `each`: what takes every exit by itself.
    """

    def __init__(self, exits: list[int], takers: Sequence[OnExits] = (), each: Sequence[OnExit] = ()) -> None:
        """Start empty. `exits`: the loop's counts by the index of the reason."""
        self._exits, self._before = exits, exits[:]
        self._takers, self.each = takers, each
        self._lock = threading.Lock()
        self.wanted = bool(takers)
        self.cells = list(NONE)

    def flush(self) -> int:
        """Hand over what there is, at the time of the last exit; give when to do so again, monotonic ns."""
        with self._lock:
            cells = self.cells
            taken, exits = cells[:], self._exits[:]
            cells[:] = NONE
            now_ns, wall = monotonic_ns(), wall_ns()
            if taken[LAST]:
                counts = [count - before for count, before in zip(exits, self._before, strict=True)]
                self._before = exits
                run, handling = (taken[0], taken[1], taken[2]), (taken[3], taken[4], taken[5])
                for take in self._takers:
                    take(counts, run, handling, wall - now_ns + taken[LAST])
        return now_ns + min(FLUSH_NS, NS_PER_S - wall % NS_PER_S)

    def adder(self) -> Callable[[int, int, int], int]:
        """Give what counts an exit, as `add(reason, before_ns, left_ns)`, where a call is not too much; see KvmVcpu.

        It takes the monotonic clock when the CPU entered the guest and when it left it, and gives it as it is now.
        """
        exits, recorded, cells, flush, each = self._exits, self.wanted, self.cells, self.flush, self.each
        due = 0 if recorded else 1 << 62

        def add(reason: int, before_ns: int, left_ns: int) -> int:
            nonlocal due
            after_ns = monotonic_ns()
            if after_ns >= due:
                due = flush()
                after_ns = monotonic_ns()
            exits[reason] += 1
            if recorded:
                run = left_ns - before_ns
                took = after_ns - left_ns
                cells[0] += run
                if run < cells[1]:
                    cells[1] = run
                if run > cells[2]:
                    cells[2] = run
                cells[3] += took
                if took < cells[4]:
                    cells[4] = took
                if took > cells[5]:
                    cells[5] = took
                cells[6] = after_ns
            for observe in each:
                observe(reason, left_ns - before_ns, after_ns - left_ns, wall_ns())
            return after_ns

        return add
