"""Ticks on an event loop: something is awaited just after each whole second of the wall clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rondo_core.clock import wall_ns
from rondo_vmm.observe.ticks import until_next_second_s


async def every_second(call: Callable[[], Awaitable[object]], until: Awaitable[object], begun_ns: int) -> None:
    """Await `call()` just after each second of the wall clock begins, from `begun_ns` on, until `until` is there.

    Where a call takes longer, the next follows at once: its second has a call too.
    """
    ending = asyncio.ensure_future(until)
    try:
        while not ending.done():
            await asyncio.wait((ending,), timeout=until_next_second_s(begun_ns))
            if not ending.done():
                begun_ns = wall_ns()
                await call()
    finally:
        ending.cancel()
