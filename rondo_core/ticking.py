"""A store's own thread: a tick at every interval, for as long as the store is there."""

from __future__ import annotations

import threading
import weakref
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from rondo_core import forking
from rondo_core.clock import NS_PER_S
from rondo_core.errors import StoreClosedError, one_line

if TYPE_CHECKING:
    from rondo_core.store import Store


class TickThread(threading.Thread):
    """Ticks a store that it does not keep alive. It ends with the store, or when it is told to."""

    def __init__(self, store: Store, interval_s: float) -> None:
        """Take the store; `start` begins."""
        super().__init__(name="rondo-tick", daemon=True)
        self._store, self._clock, self._path = weakref.ref(store), store.clock, store.path
        self._interval_ns = round(interval_s * NS_PER_S)
        self.told: SimpleQueue[None] = SimpleQueue()  # which takes a word from a finalizer too, unlike an Event
        self._reported: set[str] = set()

    def run(self) -> None:
        """Tick until the end."""
        while True:
            try:
                self.told.get(timeout=(self._interval_ns - self._clock() % self._interval_ns) / NS_PER_S)
            except Empty:
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
            self._report(error)
        return True

    def _report(self, error: Exception) -> None:
        """Log a failure, once per kind."""
        forking.load("logging")
        import logging

        line = one_line(error)
        if line not in self._reported:
            self._reported.add(line)
            logging.getLogger("rondo.store").warning("%s: tick: %s", self._path, line)

    def end(self, wait_s: float | None = None) -> None:
        """Tell it to end, and wait for that, unless it is this very thread that asks."""
        self.told.put(None)
        if self is not threading.current_thread():
            self.join(wait_s)
