"""The readings that every time-series user knows: avg, min, max, sum, count, first, last, rate, increase, total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rondo_core import Consolidator, hookimpl
from rondo_core.model.labels import KINDS

Statistics = Mapping[str, Any]


def _statistic(name: str) -> Any:
    def read(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
        return statistics[name]

    return read


def _gauge_avg(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    return _ratio(statistics["sum"], statistics["coverage"])


def _summary_avg(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    return _ratio(statistics["sum"], statistics["count"])


def _ratio(above: Any, below: Any) -> Any:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def _coverage(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    return statistics["coverage"].astype(float)


def _positive(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    import numpy as np

    return np.where(statistics["count"] > 0, statistics["count"], np.nan)


def _observed_sum(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    import numpy as np

    return np.where(statistics["count"] > 0, statistics["sum"], np.nan)


def _total(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    return statistics["count_base"] + statistics["count"]


def _increase(statistics: Statistics, _timestamps_ns: Any, _interval_ns: Any) -> Any:
    """Take each point's difference from the newest one before it; the first of a series, from 0 at its birth."""
    import numpy as np

    last = statistics["last"]
    there = ~np.isnan(last)
    rows = np.where(there, np.arange(len(last))[:, None], -1)
    before = (
        np.maximum.accumulate(np.vstack([np.full((1, last.shape[1]), -1), rows[:-1]]), axis=0) if len(last) else rows
    )
    previous = np.take_along_axis(last, np.maximum(before, 0), axis=0) if len(last) else last
    return np.where(before >= 0, last - previous, last - statistics.get("birth", np.nan))


def _rate(statistics: Statistics, timestamps_ns: Any, interval_ns: Any) -> Any:
    import numpy as np

    last = statistics["last"]
    there = ~np.isnan(last)
    ends = ((timestamps_ns + interval_ns) / 1e9)[:, None]
    increase = _increase(statistics, timestamps_ns, interval_ns)
    began = {"birth": (timestamps_ns / 1e9)[:, None]}
    elapsed = _increase({"last": np.where(there, ends, np.nan), **began}, timestamps_ns, interval_ns)
    return increase / elapsed


@hookimpl
def rondo_consolidator_define() -> list[Consolidator]:
    """Describe them; where kinds read a name differently, there is one description for each."""
    any_kind = KINDS
    return [
        Consolidator("avg", ("gauge",), ("sum", "coverage"), _gauge_avg, "mean of the samples", of_one=True),
        Consolidator("avg", ("summary",), ("sum", "count"), _summary_avg, "mean of the observations"),
        Consolidator("min", any_kind, ("min",), _statistic("min"), "smallest value", of_one=True),
        Consolidator("max", any_kind, ("max",), _statistic("max"), "largest value", of_one=True),
        Consolidator("sum", ("gauge",), ("sum",), _statistic("sum"), "sum of the samples", of_one=True),
        Consolidator("sum", ("summary",), ("sum", "count"), _observed_sum, "sum of the observations", accumulates=True),
        Consolidator("count", ("counter", "gauge"), ("coverage",), _coverage, "number of samples"),
        Consolidator("count", ("summary",), ("count",), _positive, "number of observations", accumulates=True),
        Consolidator("first", ("counter", "gauge"), ("first",), _statistic("first"), "oldest value", of_one=True),
        Consolidator("last", ("counter", "gauge"), ("last",), _statistic("last"), "newest value", of_one=True),
        Consolidator("total", ("summary",), ("count", "count_base"), _total, "observations since the series began"),
        Consolidator(
            "increase", ("counter",), ("last",), _increase, "growth since the point before", grows=True, adds_up=True
        ),
        Consolidator("rate", ("counter",), ("last",), _rate, "growth per second since the point before", grows=True),
    ]
