"""A counter that follows a total which another keeps, and which starts again when the other does."""

from __future__ import annotations

from collections.abc import Callable

from rondo_core.errors import CapacityError
from rondo_core.hookspecs import Declare
from rondo_core.record import Counter

Follow = Callable[[float, int], None]


class FollowingCounter:
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


class Discovery:
    """Tells what was there when first looked from what came later, as a hotplugged disk: that one's totals began at 0.

    Attributes: `fresh`: whether there was a look before this one.
    """

    __slots__ = ("fresh",)

    def __init__(self) -> None:
        """Not have looked yet."""
        self.fresh = False

    def mark_scanned(self) -> None:
        """Take what comes from now on for new."""
        self.fresh = True


class Follower:
    """Declares counters that follow the totals of one thing, a disk for example, where the store has room for them."""

    def __init__(self, declare: Declare, *, fresh: bool = False, **labels: object) -> None:
        """Follow from 0 what is `fresh`, as what has just begun, else from where it stands when it is first seen."""
        self._declare, self._labels = declare, labels
        self._last = 0.0 if fresh else None
        self._said = False

    def __call__(self, name: str, words: str, unit: str = "", **labels: object) -> Follow:
        """Declare one; where the store has no room that is said, once."""
        try:
            counter = self._declare.counter(name, help=words, unit=unit, **self._labels, **labels)
            return FollowingCounter(counter, self._last).set
        except CapacityError as error:
            if not self._said:
                import logging

                self._said = True
                what = ", ".join(f"{label} {value}" for label, value in self._labels.items()) or name
                logging.getLogger("rondo.vmm").warning("%s: not all of it is recorded: %s", what, error)
            return _left_out


def _left_out(_total: float, _now_ns: int) -> None:
    """Take what the store has no room for; it counts such series itself."""
