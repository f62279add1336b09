"""What the guest says on its way to whoever reads it: by a thread of its own, so that no reader holds up a machine."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core.errors import RondoError, one_line

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.record import Counter

BUFFER_BYTES = 1 << 18
CHUNK_BYTES = 4096  # at a time, so that little of what a reader has taken counts as dropped when it fails
# At the end, with a reader that takes some: of a machine that ended by itself, and of one that was stopped; and with
# one that takes nothing.
DRAIN_TIMEOUT_S, STOPPED_DRAIN_TIMEOUT_S = 5.0, 0.5
STALL_TIMEOUT_S = 0.3


class ConsoleOutput:
    """Hands bytes over to a sink, which may block, raise or be slow: what there is no room for is dropped and counted.

    Attributes: `dropped_bytes`; `trouble`: what the sink last raised, in one line.
    """

    def __init__(self, sink: Callable[[bytes], object], *, at_once: bool = False) -> None:
        """Start the thread.

        Args: `sink` takes bytes, or raises; `at_once`: hand over every byte when it comes, not when its line is whole.
        """
        self._sink, self._at_once = sink, at_once
        self._held = bytearray()
        self._work = threading.Event()
        self._changed = threading.Condition(threading.Lock())
        self._in_hand = self._handed_over = 0
        self._begun_s = 0.0
        self._discarding = self._closing = self._over = False
        self.dropped_bytes = 0
        self.trouble = ""
        self._thread = threading.Thread(target=self._run, name="rondo-output", daemon=True)
        self._thread.start()

    def __call__(self, data: bytes) -> None:
        """Take bytes; never waits, never raises."""
        with self._changed:
            free_bytes = 0 if self._discarding else BUFFER_BYTES - len(self._held)
            if len(data) <= free_bytes:
                self._held += data
            else:
                self._held += data[:free_bytes]
                self.dropped_bytes += len(data) - free_bytes
        if (self._at_once or b"\n" in data or len(self._held) >= CHUNK_BYTES) and not self._work.is_set():
            self._work.set()

    def abandon(self) -> None:
        """Give up what has not been handed over; from any thread."""
        with self._changed:
            if not self._over:
                self._over = self._discarding = True
                self.dropped_bytes += len(self._held) + self._in_hand
                self._held.clear()
            self._changed.notify_all()

    def close(self, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Hand over the rest, as long as the sink takes of it, and give up what is left then."""
        now_s = time.monotonic()
        until_s = now_s + timeout_s
        with self._changed:
            self._closing = True
            self._work.set()
            if not self._in_hand:
                self._begun_s = now_s
            while not self._over:
                before = self._handed_over
                left_s = min(until_s, self._begun_s + STALL_TIMEOUT_S) - time.monotonic()
                self._changed.wait_for(lambda: self._over or self._handed_over != before, left_s)  # noqa: B023 - called here and now
                if self._handed_over == before:
                    break
        self.abandon()

    def _run(self) -> None:
        # A terminal may refuse what is in its background (stty tostop), by a signal that stops the whole process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
        while not self._over:
            self._work.wait()
            self._work.clear()
            while chunk := self._next():
                trouble, gone = "", False
                try:
                    self._sink(chunk)
                except Exception as error:  # noqa: BLE001 - whatever it was, the machine is not to know
                    trouble, gone = one_line(error), isinstance(error, BrokenPipeError)
                self._done(len(chunk), trouble, gone)

    def _next(self) -> bytes:
        with self._changed:
            chunk = bytes(self._held[:CHUNK_BYTES])
            del self._held[: len(chunk)]
            self._in_hand, self._begun_s = len(chunk), time.monotonic()
            if not chunk and self._closing:
                self._over = True
                self._changed.notify_all()
            return chunk

    def _done(self, size: int, trouble: str, gone: bool) -> None:
        with self._changed:
            if self._over:  # given up, and counted
                return
            self._in_hand = 0
            self._handed_over += 1
            if trouble:
                self.trouble = trouble
                self.dropped_bytes += size
            if gone:
                self._discarding = True
                self.dropped_bytes += len(self._held)
                self._held.clear()
            self._changed.notify_all()


class DroppedBytes:
    """Counts what an output drops, in a series that there is from the first dropped byte on."""

    def __init__(self, store: Store, output: ConsoleOutput) -> None:
        """Declare nothing yet."""
        self._store, self._output = store, output
        self._counter: Counter | None = None
        self._counted = 0

    def __call__(self, now_ns: int) -> None:
        """Add what was dropped since the last call; where the store has no room, it counts that itself."""
        dropped = self._output.dropped_bytes - self._counted
        if not dropped:
            return
        self._counted += dropped
        try:
            if self._counter is None:
                words = "What the guest wrote to its console and no one took."
                self._counter = self._store.counter("vmm_console_dropped_bytes_total", help=words, unit="bytes")
            self._counter.inc(dropped, now_ns)
        except RondoError:
            return
