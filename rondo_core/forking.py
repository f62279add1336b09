"""Let no fork fall into an import of rondo's own: the child would wait for ever for the lock of a module half loaded.

rondo loads numpy, and what folds and reads with it, at their first use, which may be on a thread of its own: a fork
waits for the end of such a load. A master of uWSGI forks without a word to Python: it has no threads of rondo's, and
each of its records looks whose process it is.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from importlib import import_module

WAIT_S = 30.0  # at most: a load that takes longer is not waited for

_loading = threading.RLock()


class _ForkCall:
    """A call around a fork, until it is dropped.

    A function that the interpreter itself holds, until its very last collection of garbage, keeps all that its module
    knows, and by that much of what the program knows: freed that late it takes tens of milliseconds more.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[[], object]) -> None:
        self.function: Callable[[], object] | None = function

    def __call__(self) -> None:
        if self.function is not None:
            self.function()


_calls: list[_ForkCall] = []


def at_fork(**functions: Callable[[], object]) -> None:
    """Have functions called around each fork, by the names of os.register_at_fork, until the interpreter ends."""
    calls = {name: _ForkCall(function) for name, function in functions.items()}
    _calls.extend(calls.values())
    os.register_at_fork(**calls)


def _drop_calls() -> None:
    for call in _calls:
        call.function = None


atexit.register(_drop_calls)  # before any store is opened, so that it is called when they are closed


def load(*names: str) -> None:
    """Import modules whose first use may be on any thread; forks of other threads wait meanwhile."""
    with _loading:
        for name in names:
            import_module(name)


def is_untold_parent() -> bool:
    """Say whether this process's children are told nothing of their fork: a master of uWSGI, before it has forked."""
    master = getattr(sys.modules.get("uwsgi"), "masterpid", None)  # of the module that uWSGI brings itself
    return master is not None and master() == os.getpid()


def _before() -> None:
    _loading.acquire(timeout=WAIT_S)


def _in_parent() -> None:
    if _loading._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - not where the wait was given up
        _loading.release()


def _in_child() -> None:
    global _loading  # noqa: PLW0603 - the parent's may be held by a thread that the child has not
    _loading = threading.RLock()


at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
