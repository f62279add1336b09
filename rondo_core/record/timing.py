"""Timer and InProgress: what a block of code, or each call of a function, is observed by."""

from __future__ import annotations

from math import nan
from time import perf_counter
from typing import TYPE_CHECKING, Any

from rondo_core.record import wrapping

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import ParamSpec, Self, TypeVar

    from rondo_core.record.gauges import Gauge
    from rondo_core.record.handles import Summary

    P = ParamSpec("P")
    R = TypeVar("R")


class Timer:
    """Observes how long a block takes, in seconds, whether or not it raises.

    For `with`, `async with`, and as a decorator. A block may be inside another's of the same object; threads, and
    coroutines, take one each, as `Summary.time()` gives them.
    """

    __slots__ = ("_outer", "_start", "_summary")

    def __init__(self, summary: Summary) -> None:
        """Observe by this summary."""
        self._summary = summary
        self._start = nan
        self._outer: Any = None

    def __enter__(self) -> Self:
        """Begin."""
        if self._start == self._start:
            self._outer = (self._start, self._outer)
        self._start = perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and observe."""
        elapsed: float = perf_counter() - self._start
        if self._outer is None:
            self._start = nan
        else:
            self._start, self._outer = self._outer
        self._summary.observe(elapsed)

    async def __aenter__(self) -> Self:
        """Begin."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, and observe."""
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function; see `Summary.timed`."""
        return self._summary.timed(function)


class InProgress:
    """Counts by a gauge what is in progress: one more while a block runs, also where several threads run it."""

    __slots__ = ("_gauge",)

    def __init__(self, gauge: Gauge) -> None:
        """Count by this gauge."""
        self._gauge = gauge

    def __enter__(self) -> Self:
        """Count one more."""
        self._gauge.inc()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count one less."""
        self._gauge.dec()

    async def __aenter__(self) -> Self:
        """Count one more."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Count one less."""
        self.__exit__(kind, error, trace)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function: it is in progress from its call, or its first step, to its end."""
        counted: Callable[P, R] = wrapping.inside(self._gauge.track_inprogress, function)
        return counted
