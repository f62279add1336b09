"""What one query may take: time, samples read, points made; and a way to end it from elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rondo_promql.errors import QueryCanceledError, QueryTimeoutError, TooManySamplesError


@dataclass(slots=True)
class QueryBudget:
    """The bounds of one query; None is no bound. An object serves one query, since its time starts when it is made.

    Args:
        deadline_s: seconds of the monotonic clock from now; looked at between array operations, not within one.
        max_samples: samples that all selectors together may read from the source.
        max_points: points, series times steps, that any one intermediate result may have.
        canceled: called between array operations; true ends the query.
    """

    deadline_s: float | None = None
    max_samples: int | None = None
    max_points: int | None = None
    canceled: Callable[[], bool] | None = None
    samples: int = field(default=0, init=False)
    _ends_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Start the clock."""
        self._ends_at = time.monotonic() + (self.deadline_s or 0.0)

    def check(self) -> None:
        """Raise a QueryTimeoutError past the deadline, a QueryCanceledError when nobody waits any more."""
        if self.canceled is not None and self.canceled():
            raise QueryCanceledError
        if self.deadline_s is not None and time.monotonic() > self._ends_at:
            raise QueryTimeoutError

    def read(self, n_samples: int) -> None:
        """Count samples that a selector read, and raise a TooManySamplesError above `max_samples`."""
        self.samples += n_samples
        if self.max_samples is not None and self.samples > self.max_samples:
            raise TooManySamplesError("query processing would load too many samples into memory in query execution")
        self.check()

    def make(self, n_points: int) -> None:
        """Allow a result of so many points, or raise a TooManySamplesError above `max_points`."""
        if self.max_points is not None and n_points > self.max_points:
            raise TooManySamplesError(
                f"query processing would make {n_points} points where {self.max_points} are allowed; "
                "ask for fewer series, a shorter range or a longer step"
            )
        self.check()
