"""An event loop's second hand: something is called just after each whole second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rondo_core.clock import NS_PER_S, wall_ns
from rondo_vmm.monitor import TICK_NS


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
