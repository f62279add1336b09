"""An event loop's second hand: something is called just after each whole second, until an end or a signal."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_vmm.monitor import STOP_SIGNALS, TICK_NS


async def every_second(call: Callable[[], Awaitable[object]], until: Awaitable[object]) -> None:
    """Await `call()` just after each whole second of the wall clock, until `until` has been waited for."""
    ending = asyncio.ensure_future(until)
    try:
        while not ending.done():
            await asyncio.wait((ending,), timeout=(TICK_NS - wall_ns() % TICK_NS) / NS_PER_S)
            if not ending.done():
                await call()
    finally:
        ending.cancel()


@contextlib.contextmanager
def stop_signals(loop: asyncio.AbstractEventLoop, stop: Callable[[str], None]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an orderly stop while the loop runs, where this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop, f"signal {int(number)}")
    try:
        yield
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)
