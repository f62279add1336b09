"""The primitives that merge exactly, their place in a row, and how a fine tier folds into a coarser one.

Averages are never stored: sum and count are, and avg is a reading of them. numpy is imported where values are
folded, so that a process that only records does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.errors import SchemaError
from rondo_core.labels import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[Any]
    Merge = Callable[[Values], Values]

COVERAGE = "coverage"

# The cells of the finest tier, each float64 and one per series. A summary holds two copies of what it
# accumulates: copy 1 is the whole one while `count` is negative, else copy 0; the other is the one being written, so
# storing `count`, its sign turned, publishes an observation in one piece.
FINE_CELLS: dict[Kind, tuple[str, ...]] = {
    "counter": ("last",),
    "gauge": ("last",),
    "summary": ("count", "sum0", "sum1", "min0", "min1", "max0", "max1", "count_base", "sum_base"),
}
# The statistics of coarser tiers. A counter's min and max are its first and last.
COARSE_STATISTICS: dict[Kind, tuple[str, ...]] = {
    "counter": ("first", "last", COVERAGE),
    "gauge": ("first", "last", "min", "max", "sum", COVERAGE),
    "summary": ("count", "sum", "min", "max", "count_base", "sum_base", COVERAGE),
}


def cell_format(cell: str, buckets_per_row: int) -> str:
    """Give a cell's struct format: d (float64), or for coverage H or I, which holds the buckets of a row."""
    if cell != COVERAGE:
        return "d"
    return "H" if buckets_per_row < 1 << 16 else "I"


def check_statistics(kind: Kind, statistics: tuple[str, ...], finer: tuple[str, ...]) -> tuple[str, ...]:
    """Put the statistics of a coarse tier into their canonical order, coverage always among them.

    Raises: SchemaError: one is not kept for this kind, or is not kept by the finer tier that it folds from.
    """
    known = COARSE_STATISTICS[kind]
    for name in statistics:
        if name not in known:
            raise SchemaError(f"statistic {name!r}: a {kind} keeps {', '.join(known)}")
        if name not in finer:
            raise SchemaError(f"statistic {name!r}: the finer tier does not keep it; add it there")
    return tuple(name for name in known if name in statistics or name == COVERAGE)


def lift(kind: Kind, cells: Mapping[str, Values]) -> dict[str, Values]:
    """Read the finest tier's cells as the statistics of one bucket each.

    Args:
        cells: name -> float64, all of one shape; NaN where a bucket holds no sample.
    Returns: every statistic of the kind in that shape; coverage is 1 or 0.
    """
    import numpy as np

    if kind == "summary":
        return _lift_summary(cells)
    last = cells["last"]
    statistics = dict.fromkeys(COARSE_STATISTICS[kind], last)
    statistics[COVERAGE] = (~np.isnan(last)).astype(np.int64)
    return statistics


def _lift_summary(cells: Mapping[str, Values]) -> dict[str, Values]:
    import numpy as np

    count = np.abs(cells["count"])
    second = cells["count"] < 0
    empty = ~(count > 0)
    statistics: dict[str, Values] = {"count": count}
    for name in ("sum", "min", "max"):
        values = np.where(second, cells[name + "1"], cells[name + "0"])
        values[empty] = np.nan
        statistics[name] = values
    statistics["sum"][count == 0] = 0.0
    statistics["count_base"] = cells["count_base"]
    statistics["sum_base"] = cells["sum_base"]
    statistics[COVERAGE] = (~np.isnan(count)).astype(np.int64)
    return statistics


def _first(block: Values) -> Values:
    import numpy as np

    index = np.argmax(~np.isnan(block), axis=1)
    return np.take_along_axis(block, index[:, None, :], axis=1)[:, 0, :]


def _last(block: Values) -> Values:
    return _first(block[:, ::-1, :])


def _sum(block: Values) -> Values:
    import numpy as np

    absent = np.isnan(block)
    sums: Values = np.where(absent, 0.0, block).sum(axis=1)
    sums[absent.all(axis=1)] = np.nan
    return sums


def _min(block: Values) -> Values:
    import numpy as np

    values: Values = np.fmin.reduce(block, axis=1)
    return values


def _max(block: Values) -> Values:
    import numpy as np

    values: Values = np.fmax.reduce(block, axis=1)
    return values


def _count(block: Values) -> Values:
    counts: Values = block.sum(axis=1)
    return counts


MERGES: dict[str, Merge] = {
    "first": _first,
    "last": _last,
    "min": _min,
    "max": _max,
    "sum": _sum,
    "count": _sum,
    "count_base": _first,
    "sum_base": _first,
    COVERAGE: _count,
}


def merge(statistic: str, block: Values) -> Values:
    """Merge the buckets of each window into one.

    Args:
        statistic: its name.
        block: [windows, ratio, series], the statistic of each fine bucket; NaN (coverage: 0) where absent.
    Returns: [windows, series]; NaN (coverage: 0) where every bucket of the window was absent.
    """
    return MERGES[statistic](block)


def absent(statistic: str) -> float:
    """Give the value that stands for "no sample" in a fold: 0 for coverage, NaN for all else."""
    return 0.0 if statistic == COVERAGE else float("nan")


def derived(kind: Kind, statistics: Mapping[str, Values]) -> dict[str, Values]:
    """Mark uncovered buckets as absent, and give a counter the min and max that follow from its first and last."""
    import numpy as np

    covered: NDArray[np.bool_] = statistics[COVERAGE] > 0
    whole = {
        name: values if name == COVERAGE else np.where(covered, values, np.nan) for name, values in statistics.items()
    }
    if kind == "counter":
        if "first" in whole:
            whole["min"] = whole["first"]
        if "last" in whole:
            whole["max"] = whole["last"]
    return whole
