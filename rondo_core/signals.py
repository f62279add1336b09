"""The signals that ask for an end, as an orderly stop, on a thread: a handler would wait for locks of its own code."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_IGNORABLE = (signal.SIGHUP, signal.SIGQUIT)  # nohup, and a shell for what it runs in the background, have them ignored
_OVER = b"\0"  # no signal has the number 0


@contextmanager
def stopped_by_signals(stop: Callable[[int], object]) -> Iterator[list[int]]:
    """Call `stop` with the number of each of STOP_SIGNALS that comes while the block runs; give those that came.

    A SIGHUP or SIGQUIT that this process was started to ignore stays ignored.
    Where this is not the main thread, whose signals they are, nothing is done. `stop` runs on another thread, also
    while the main thread is in a system call or holds a lock: the interpreter writes the number into a pipe when the
    signal comes, not when its main thread next gets round to it.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def listen() -> None:
        while (byte := os.read(reading, 1)) != _OVER:
            if byte[0] in STOP_SIGNALS:
                came.append(byte[0])
                stop(byte[0])

    listener = threading.Thread(target=listen, name="rondo-signals", daemon=True)
    listener.start()
    before = {number: signal.signal(number, _leave) for number in STOP_SIGNALS if not _ignored(number)}
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield came
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.write(writing, _OVER)
        listener.join()
        os.close(reading)
        os.close(writing)


def _leave(_number: int, _frame: object) -> None:
    """Do nothing: the number is in the pipe already."""


def _ignored(number: signal.Signals) -> bool:
    return number in _IGNORABLE and signal.getsignal(number) is signal.SIG_IGN
