"""What a process's own store is called: a name that says whose it is, and that no other process on any host has."""

from __future__ import annotations

import os
import re
from functools import cache

from rondo_core.clock import wall_ns
from rondo_core.errors import UsageError
from rondo_core.storage.ended import ENDED_STEM
from rondo_core.storage.runs import process_token, this_run
from rondo_core.units import format_instant

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@cache
def _since() -> str:
    """Give when this process first had a store of its own, to the minute, UTC."""
    return format_instant(wall_ns())[: len("2026-11-29T09:12")].replace(":", ".")


os.register_at_fork(after_in_child=_since.cache_clear)


def own_name(name: str) -> str:
    """Name the calling process's store: with a name "web-4711-2026-11-29T09.12-0c5e1fa3b2d4.rondo".

    Raises: UsageError: the name cannot begin a directory's.
    """
    me = this_run(0, 0, "")
    if not name:
        return f"{me.pid}-{me.process_start}-{process_token()}.rondo"
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == ENDED_STEM:
        what = f'letters, digits, _ and - only, 64 at most, and not "{ENDED_STEM}"'
        raise UsageError(f"name {name!r}: {what}")
    return f"{name}-{me.pid}-{_since()}-{process_token()}.rondo"
