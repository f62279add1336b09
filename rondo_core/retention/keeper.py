"""A thread that keeps the directory of a process's own store within its bound, beside the process's own work."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from rondo_core import forking
from rondo_core.clock import Clock
from rondo_core.errors import one_line
from rondo_core.retention.bound import Bound

logger = logging.getLogger("rondo.retention")
EVERY_S = 60.0


class Keeper:
    """Looks at the directory when a store in it is opened, each minute, and once more when it was closed.

    No failure reaches the program: each is logged once. A forked child has none of it.
    """

    def __init__(self, directory: Path, bound: Bound, clock: Clock) -> None:
        """Begin; the first look is the thread's."""
        self._directory, self._bound, self._clock = directory, bound, clock
        self._told: SimpleQueue[None] = SimpleQueue()  # which takes a word from a finalizer too
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="rondo-retention", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._prune()
            try:
                self._told.get(timeout=EVERY_S)
            except Empty:
                continue
            return

    def _prune(self) -> None:
        try:
            forking.load("rondo_core.retention.pruning")
            from rondo_core.retention.pruning import prune

            lines = prune(self._directory, self._bound, clock=self._clock).left
        except Exception as error:  # noqa: BLE001 - whatever befalls the directory, the program goes on
            lines = [one_line(error)]
        for line in lines:
            if line not in self._said:
                logger.warning("%s", line)
        self._said |= set(lines)

    def stop(self) -> None:
        """Tell the thread to end, and do not wait for it."""
        self._told.put(None)

    def close(self) -> None:
        """End the thread, and look once more: the store that was just closed may be one too many."""
        self.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._prune()
