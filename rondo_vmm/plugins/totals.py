"""A counter that follows a total which another keeps, and which starts again when the other does."""

from __future__ import annotations

from collections.abc import Callable

from rondo_core.errors import CapacityError
from rondo_core.handles import Counter
from rondo_core.hookspecs import Declare

Follow = Callable[[float, int], None]


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


def follow(declare: Declare, name: str, words: str, unit: str = "", **labels: object) -> Follow:
    """Declare a counter that follows a total from when it is first seen, where the store has room for it."""
    try:
        return Total(declare.counter(name, help=words, unit=unit, **labels), None).set
    except CapacityError:
        return _left_out


def _left_out(_total: float, _now_ns: int) -> None:
    """Take what the store has no room for; it counts such series itself."""
