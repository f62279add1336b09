"""A counter that follows a total which another keeps, and which starts again when the other does."""

from __future__ import annotations

from rondo_core.handles import Counter


class Total:
    """Turns another's running total into what a counter adds."""

    __slots__ = ("_inc", "_last")

    def __init__(self, counter: Counter, last: float | None = 0.0) -> None:
        """Follow from `last` on: 0 where the other has just started, None for whatever it stands at when first seen."""
        self._inc, self._last = counter.inc, last

    def set(self, total: float, now_ns: int) -> None:
        """Add what came since; a total that fell has started again."""
        last = total if self._last is None else self._last
        self._inc(total - last if total >= last else total, now_ns)
        self._last = total
