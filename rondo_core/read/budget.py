"""Budgets of queries: what one may read, and until when."""

from __future__ import annotations

from rondo_core.clock import monotonic_ns
from rondo_core.errors import QueryLimitError


class Budget:
    """What one query may read, and until when: for queries of those who do not own the machine that answers.

    What is read is counted before it is read: a query that is too large costs nothing. Of one thread.
    """

    __slots__ = ("_end_ns", "_points", "_timeout_ns", "_values", "max_points")

    def __init__(self, max_points: int, max_values: int, timeout_ns: int) -> None:
        """Begin now.

        Args: `max_points`: buckets times series that are given back; `max_values`: float64 that are read for them.
        """
        self.max_points, self._points, self._values = max_points, max_points, max_values
        self._timeout_ns, self._end_ns = timeout_ns, monotonic_ns() + timeout_ns

    def spend(self, n_rows: int, n_series: int, n_values: int) -> None:
        """Count so many buckets of so many series, each point made of `n_values`.

        Raises: QueryLimitError: the points, the values or the time are used up.
        """
        self._points -= n_rows * n_series
        self._values -= n_rows * n_series * n_values
        if self._points < 0 or self._values < 0:
            over = f"more than {self.max_points} points" if self._points < 0 else "more than may be read at once"
            raise QueryLimitError(f"the query asks for {over}; give a shorter range, a coarser tier or fewer series")
        self.check()

    def check(self) -> None:
        """Let the query go on. Raises: QueryLimitError: its time is over."""
        if monotonic_ns() > self._end_ns:
            raise QueryLimitError(
                f"the query takes longer than {self._timeout_ns / 1e9:g} s; give a simpler selector or fewer series"
            )
