"""How long a block or a function takes, observed by a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from time import perf_counter
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from rondo_core.record.handles import Summary

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def time(summary: Summary) -> Iterator[None]:
    """Observe how long the block takes, in seconds, whether or not it raises."""
    start = perf_counter()
    try:
        yield
    finally:
        summary.observe(perf_counter() - start)


def timed(summary: Summary, function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that each call's duration, in seconds, is observed."""

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        with summary.time():
            return function(*args, **kwargs)

    return wrapper
