"""A counter that follows a total which another keeps, and which starts again when the other does."""

from __future__ import annotations

from rondo_core.handles import Counter


class Total:
    """Turns a guest's running total into what a counter adds."""

    __slots__ = ("_inc", "_last")

    def __init__(self, counter: Counter) -> None:
        """Follow from 0 on: the guest has just started."""
        self._inc, self._last = counter.inc, 0.0

    def set(self, total: float, now_ns: int) -> None:
        """Add what came since; a total that fell has started again."""
        self._inc(total - self._last if total >= self._last else total, now_ns)
        self._last = total
