"""A store's own thread: a tick at every interval, for as long as the store is there."""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from rondo_core.clock import NS_PER_S, Clock
from rondo_core.errors import StoreClosedError, UsageError, one_line
from rondo_core.units import Duration, seconds

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices

SHORTEST_TICK_S, _DAY_S = 0.001, 86_400.0


def interval_s(what: str, given: Duration | None, least_s: float) -> float | None:
    """Read an interval as seconds. Raises: UsageError: it is none, or not from `least_s` to a day."""
    if given is None:
        return None
    every_s = seconds(f"{what}_interval_s", given)
    if not least_s <= every_s <= _DAY_S:
        raise UsageError(f"{what} interval {every_s:g} s: from {least_s:g} s to a day")
    return every_s


class Ticked(Protocol):
    """A store, as far as its thread knows one."""

    clock: Clock

    def tick(self) -> None:
        """Run the recorders, and fold what is to be folded."""


class TickThread(threading.Thread):
    """Ticks a store that it does not keep alive. It ends with the store, or when it is told to."""

    def __init__(self, store: Ticked, every_s: float, notices: Notices, *, later: bool = False) -> None:
        """Take the store; `start` begins. Failures go to `notices`, once per kind.

        Args: `later`: the first tick waits for an interval more, as that of a child does, which may soon end.
        """
        super().__init__(name="rondo-tick", daemon=True)
        from queue import Empty, SimpleQueue  # which a store that is ticked by others does without

        self._store, self._clock, self._notices = weakref.ref(store), store.clock, notices
        self._interval_ns = round(every_s * NS_PER_S)
        self._in_time, self._later_ns = Empty, self._interval_ns if later else 0
        self.told: SimpleQueue[None] = SimpleQueue()  # which takes a word from a finalizer too, unlike an Event

    def run(self) -> None:
        """Tick until the end."""
        while True:
            wait_ns = self._interval_ns - self._clock() % self._interval_ns + self._later_ns
            self._later_ns = 0
            try:
                self.told.get(timeout=wait_ns / NS_PER_S)
            except self._in_time:
                if self._tick():
                    continue
            return

    def _tick(self) -> bool:
        store = self._store()
        if store is None:
            return False
        try:
            store.tick()
        except StoreClosedError:
            return False
        except Exception as error:  # noqa: BLE001 - the next second is ticked whatever befell this one
            line = one_line(error)
            self._notices.once(line, f"tick: {line}")
        return True

    def _delete(self) -> None:
        """Leave the list of threads, where it still has this one under its number: gevent gives threads others."""
        with contextlib.suppress(KeyError):
            super()._delete()  # type: ignore[misc]

    def end(self, wait_s: float | None = None) -> None:
        """Tell it to end, and wait for that, unless it is this very thread that asks."""
        self.told.put(None)
        if self is not threading.current_thread():
            self.join(wait_s)
