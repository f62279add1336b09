"""Limits: how much one request may read of a store, when it is tried as a small one and when it is not."""

from __future__ import annotations

import math

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.errors import QueryLimitError
from rondo_core.read import Budget


@attrs.frozen(kw_only=True)
class ReadLimits:
    """How much one request may read.

    Attributes:
        max_points, max_values, max_ns: of a query, see `Budget`.
        max_series: of how many series a page that lists them may tell.
        may_reopen: whether it may open a directory of stores anew, which takes long.
    """

    max_points: int
    max_values: int
    max_ns: int
    max_series: float
    may_reopen: bool

    def budget(self) -> Budget:
        """Give a query's budget, whose time begins now."""
        return Budget(self.max_points, self.max_values, self.max_ns)

    def check_series(self, n_series: int) -> None:
        """Refuse to tell of more series than may be told of. Raises: QueryLimitError."""
        if n_series > self.max_series:
            raise QueryLimitError(f"{n_series} series; at most {self.max_series} are told at once")


SMALL = ReadLimits(max_points=5_000, max_values=100_000, max_ns=NS_PER_S // 5, max_series=1_000, may_reopen=False)
LARGE = ReadLimits(max_points=200_000, max_values=4_000_000, max_ns=5 * NS_PER_S, max_series=math.inf, may_reopen=True)
