"""The door to the data: what the engine asks of whatever has series, and what it tells of why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rondo_promql.arrays.histograms import Histograms
from rondo_promql.language.matchers import LabelMatcher

# Labels with __name__ among them, as a mapping or as pairs; timestamps in ms, rising; and values, and weights if any.
Series: TypeAlias = (
    tuple[Mapping[str, str] | Iterable[tuple[str, str]], NDArray[np.int64], NDArray[np.float64] | Histograms]
    | tuple[
        Mapping[str, str] | Iterable[tuple[str, str]],
        NDArray[np.int64],
        NDArray[np.float64] | Histograms,
        NDArray[np.float64] | None,
    ]
)


@dataclass(frozen=True, slots=True)
class Hint:
    """Why series are asked for; a source may choose a coarser tier by it, or ignore it.

    Args:
        func: the function or aggregation that reads the series, "" if none does directly.
        range_ms: the range that the function reads at each step; 0 for an instant selector.
        step_ms: the distance of two steps; 0 for an instant query.
        by: the labels by which an aggregation groups what is read; None if it does not say.
        note: called with a text that becomes one of the result's infos.
        takes_blocks: series with the same timestamps may be given as one: a list of as many labels, and values and
            weights float64 [series, n]. The engine may write into what is not read-only.
        lookback_ms: how old a sample may be that an instant selector sees; a range has nothing to do with it.
    """

    func: str
    range_ms: int
    step_ms: int
    by: tuple[str, ...] | None
    note: Callable[[str], None]
    takes_blocks: bool = True
    lookback_ms: int = 300_000


class Source(Protocol):
    """Whatever has series."""

    def select(self, matchers: Sequence[LabelMatcher], start_ms: int, end_ms: int, hint: Hint, /) -> Iterable[Any]:
        """Select the series that all matchers fit, with their samples from start to end, both included.

        A matcher tests a label's value, `matcher.matches(labels.get(matcher.name, ""))`; the range is already widened
        by the query's ranges, offsets and lookback.
        Returns: `Series` tuples: labels, timestamps int64 [n] rising, and float64 [n] values or Histograms;
            Prometheus's stale NaN (0x7ff0000000000002) ends a series. A fourth item, float64 [n], says how many
            observations each value stands for, for avg_over_time and count_over_time.
        """
        ...
