"""One virtual CPU's exits on their way from its loop, which has no time, to the plugins, which get them in batches.

The loop adds four numbers per exit to a list. Plugins get what is there 10 ms after they last did, when the CPU goes to
sleep, on every tick, and at the end. So SIGKILL takes at most the exits of 10 ms, and none from before the last tick.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Sequence

from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_vmm.hookspecs import OnExits

FLUSH_NS = 10_000_000
FIELDS = 4


class ExitLog:
    """Exits that plugins have not had yet; one thread adds, any may flush.

    Attributes: `wanted`: whether there is a plugin that takes them; `add`: takes (reason, ns in the guest, ns in the
    monitor, monotonic ns at its end), and is no more than a list's own method.
    """

    def __init__(self, observers: Sequence[OnExits]) -> None:
        """Start empty."""
        self._observers = observers
        self._waiting: list[int] = []
        self._lock = threading.Lock()
        self.wanted = bool(observers)
        self.add = self._waiting.extend

    def flush(self) -> int:
        """Hand over what there is, each second of the wall clock by itself; give when to do so again, monotonic ns."""
        with self._lock:
            exits = self._waiting[:]  # whole exits: a list is extended in one piece
            del self._waiting[: len(exits)]
            now_ns = monotonic_ns()
            if exits:
                self._hand_over(exits, wall_ns() - now_ns)
        return now_ns + FLUSH_NS

    def _hand_over(self, exits: list[int], to_wall_ns: int) -> None:
        reasons, run_ns, exit_ns, after_ns = (exits[field::FIELDS] for field in range(FIELDS))
        begin, end = 0, len(after_ns)
        while begin < end:
            second_ns = (after_ns[begin] + to_wall_ns) // NS_PER_S * NS_PER_S
            until = bisect_left(after_ns, second_ns + NS_PER_S - to_wall_ns, begin + 1)
            now_ns = after_ns[until - 1] + to_wall_ns
            for observe in self._observers:
                observe(reasons[begin:until], run_ns[begin:until], exit_ns[begin:until], now_ns)
            begin = until
