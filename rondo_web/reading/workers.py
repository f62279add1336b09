"""Workers: the threads that read, so that the server's loop answers meanwhile; a bounded number of calls waits."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import RondoError
from rondo_web.errors import BusyError

T = TypeVar("T")
# Answers that are in memory at once, with what a slow client has not taken yet.
MAX_ANSWERS, MAX_LARGE = 128, 8
MAX_WAITING, PATIENCE_S = 128, 20.0


class WorkerPool:
    """Some threads, which end with the process. The calls of one event loop come in order."""

    def __init__(self, n_threads: int, max_waiting: int, patience_s: float) -> None:
        """Start the threads.

        Args: `max_waiting`: calls that no thread has begun yet; `patience_s`: how long one of them waits at most.
        """
        self._max_waiting, self._patience_ns = max_waiting, int(patience_s * NS_PER_S)
        self._asked: queue.SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any] | None, int]] = queue.SimpleQueue()
        for number in range(n_threads):
            threading.Thread(target=self._work, name=f"rondo-worker-{number}", daemon=True).start()

    async def run(self, call: Callable[[], T]) -> T:
        """Have a thread call it, and give back what it gives, or raise what it raises.

        Raises: BusyError: too many calls wait already, or this one has waited too long.
        """
        if self._asked.qsize() >= self._max_waiting:
            raise BusyError
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put((call, future, monotonic_ns() + self._patience_ns))
        return await future

    def submit(self, call: Callable[[], None]) -> None:
        """Have a thread call it some time, unless there is much to do; nobody learns what came of it."""
        if not self._asked.qsize():
            self._asked.put((call, None, monotonic_ns() + self._patience_ns))

    def _work(self) -> None:
        while True:
            call, future, until_ns = self._asked.get()
            result, error = None, None
            try:
                if monotonic_ns() > until_ns:
                    raise BusyError  # noqa: TRY301 - as `call` would
                result = call()
            except Exception as raised:  # noqa: BLE001 - whoever waits for the call gets it
                error = raised
            except BaseException as raised:  # noqa: BLE001 - a panic of a library's; the thread is for others too
                error = RondoError(f"the request could not be answered: {type(raised).__name__}")
            with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
                if future is not None:
                    future.get_loop().call_soon_threadsafe(_resolve, future, result, error)
            del call, future, result, error  # what was answered is not kept until the next call comes


def _resolve(future: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


class Workers:
    """The threads that the stores of one process share: one for small reads, one for large ones, one for health.

    Every request is tried as a small one; one that turns out not to be waits for the large ones before it, and keeps
    no small one waiting.

    Attributes: `n_answers`, `n_large`: answers that are in memory now, and how many of them are large.
    """

    def __init__(self) -> None:
        """Start the threads."""
        self.small, self.large, self.health = (WorkerPool(1, MAX_WAITING, PATIENCE_S) for _ in range(3))
        self.n_answers = self.n_large = 0
