"""When the next tick is due: just after a whole second of the wall clock."""

from __future__ import annotations

from rondo_core.clock import NS_PER_S, wall_ns


def until_next_second_s(begun_ns: int) -> float:
    """Give how long it is until a second begins that comes after `begun_ns`; 0 where one has: what was begun took long.

    Where the clock has been set back, that is the next second by the clock as it is.
    """
    now_ns = wall_ns()
    if now_ns // NS_PER_S > begun_ns // NS_PER_S:
        return 0.0
    return (NS_PER_S - now_ns % NS_PER_S) / NS_PER_S
