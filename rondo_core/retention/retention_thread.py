"""A thread that keeps the directory of a process's own store within its bound, beside the process's own work."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from rondo_core import forking
from rondo_core.clock import Clock
from rondo_core.errors import one_line
from rondo_core.retention.bound import Bound

FIRST_S, EVERY_S = 1.0, 60.0  # a program's start has its processor to itself
AT_ONCE = 16  # stores that are folded between two looks whether it is time to end
ROUNDS = 4  # at most, at the end


class RetentionThread:
    """Looks at the directory a second after a store in it was opened, each minute, and once more when it was closed.

    No failure reaches the program: each is logged once. A forked child has none of it.
    """

    def __init__(self, directory: Path, bound: Bound, clock: Clock) -> None:
        """Begin; the first look is the thread's."""
        self._directory, self._bound, self._clock = directory, bound, clock
        self._wakes: SimpleQueue[None] = SimpleQueue()  # which takes a word from a finalizer too
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="rondo-retention", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s = FIRST_S
        while True:
            try:
                self._wakes.get(timeout=wait_s)
            except Empty:
                wait_s = 0.0 if self._prune() else EVERY_S
                continue
            return

    def _prune(self) -> int:
        """Fold what is beyond the bound, the oldest first, as many as at once; count them."""
        folded = 0
        if self._is_within():
            return folded
        try:
            forking.load("rondo_core.retention.pruning")
            from rondo_core.retention.pruning import prune

            done = prune(self._directory, self._bound, clock=self._clock, at_most=AT_ONCE)
            folded, lines = len(done.folded), done.left
        except Exception as error:  # noqa: BLE001 - whatever befalls the directory, the program goes on
            lines = [one_line(error)]
        if not self._said.issuperset(lines):
            import logging

            for line in set(lines) - self._said:
                logging.getLogger("rondo.retention").warning("%s", line)
            self._said |= set(lines)
        return folded

    def _is_within(self) -> bool:
        """Say whether there are so few stores, whatever they are, that none can be one too many."""
        bound = self._bound
        if bound.keep_last is None or bound.keep_for_ns is not None or bound.keep_bytes is not None:
            return False
        try:
            return len(os.listdir(self._directory)) <= bound.keep_last  # noqa: PTH208 - quicker
        except OSError:
            return False

    def stop(self) -> None:
        """Tell the thread to end, and do not wait for it."""
        self._wakes.put(None)

    def close(self) -> None:
        """End the thread, and look once more: the store that was just closed may be one too many."""
        self.stop()
        if self._thread is not threading.current_thread():
            self._thread.join()
        for _ in range(ROUNDS):  # those that ended meanwhile found this process at it, and left it to it
            if not self._prune():
                break
