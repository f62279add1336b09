"""The context of an evaluation: its steps, its source, its bounds, and what it has to say beside the result."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rondo_promql.budget import QueryBudget
from rondo_promql.language.nodes import Moment
from rondo_promql.source import Source

Times = NDArray[np.int64]


@dataclass(slots=True)
class Annotations:
    """Warnings and infos, each once, in the order in which they came up."""

    warnings: dict[str, None] = field(default_factory=dict)
    infos: dict[str, None] = field(default_factory=dict)

    def warn(self, text: str) -> None:
        """Note that a result may not be what was meant."""
        self.warnings[text] = None

    def inform(self, text: str) -> None:
        """Note what is good to know about a result."""
        self.infos[text] = None


@dataclass(slots=True)
class Context:
    """One query, or a subquery within: `times` are its steps, `start_ms` and `end_ms` always those of the query."""

    times: Times
    step_ms: int
    start_ms: int
    end_ms: int
    source: Source
    lookback_ms: int
    default_step_ms: int
    budget: QueryBudget
    annotations: Annotations

    def moments(self, moment: Moment) -> Times:
        """Give the times that a selector with `@` and offset looks at: int64 ms [steps], which nobody may write to."""
        if moment.at is None:
            return self.times - moment.offset_ms if moment.offset_ms else self.times
        at = {"start": self.start_ms, "end": self.end_ms}.get(str(moment.at), moment.at)
        return np.full(len(self.times), int(at) - moment.offset_ms, dtype=np.int64)

    def at_times(self, times: Times, step_ms: int) -> Context:
        """Give the context of a subquery, with steps of its own."""
        return replace(self, times=times, step_ms=step_ms)
