"""What a store's series are in Prometheus: their names, labels and values, where a total was 0 and where a life ended.

Whoever sends a store to a receiver and whoever answers a query over it reads this one account, so that a dashboard made
for the one works on the other. Pure; numpy is imported where values are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core.model import sketch
from rondo_core.model.labels import Kind, Labels, Series, overridden

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

# Source: io.prometheus.write.v2.Metadata.MetricType.
COUNTER, GAUGE, CLASSIC_HISTOGRAM, GAUGE_HISTOGRAM, SUMMARY = 1, 2, 3, 4, 5
# Source: remote-write 1.0, "Stale Markers": a NaN with these bits, which no arithmetic gives.
STALE_BITS = 0x7FF0000000000002
TYPES = {COUNTER: "counter", GAUGE: "gauge", SUMMARY: "summary", CLASSIC_HISTOGRAM: "histogram"}
TYPES[GAUGE_HISTOGRAM] = "gaugehistogram"
NS_PER_MS = 1_000_000
# Source: prompb, io.prometheus.write.v2.Histogram.schema: -4 to 8. A sketch's scale is never below -4.
MAX_HISTOGRAM_SCHEMA = 8
# Sketches are looked at so many cells at a time: a copy of that many takes about 1 MB.
SKETCHES_AT_ONCE = 1024


class Column(NamedTuple):
    """One of the series that a series of the store is in Prometheus.

    Attributes:
        suffix: what follows the name.
        quantile: the value of the label `quantile`; empty: it has none.
        type: the metadata's type.
        cumulative: it counts on from a start, where it was 0.
    """

    suffix: str = ""
    quantile: str = ""
    type: int = GAUGE
    cumulative: bool = False


PLAIN: dict[Kind, tuple[Column, ...]] = {
    "counter": (Column(type=COUNTER, cumulative=True),),
    "gauge": (Column(),),
    "summary": (
        Column("_count", type=SUMMARY, cumulative=True),
        Column("_sum", type=SUMMARY, cumulative=True),
        Column("_min"),
        Column("_max"),
    ),
}
QUANTILES = tuple(Column(quantile=each, type=SUMMARY) for each in ("0.5", "0.9", "0.99", "0.999"))
HISTOGRAM = Column(type=GAUGE_HISTOGRAM)
# Not sent: what answers where a sketch is asked for as the classic histogram that other instruments have.
BUCKETS = Column("_bucket", type=CLASSIC_HISTOGRAM, cumulative=True)
_NEEDS = {
    "_count": ("count_base", "count"),
    "_sum": ("sum_base", "sum", "count"),
    "_min": ("min", "count"),
    "_max": ("max", "count"),
}


def sample_columns(kind: Kind, *, sketched: bool) -> tuple[Column, ...]:
    """Name the series of samples that a series of a kind is; `sketched`: its schema keeps sketches."""
    return PLAIN[kind] + (QUANTILES if sketched and kind == "summary" else ())


def all_columns(kind: Kind, *, sketched: bool) -> tuple[Column, ...]:
    """Name all that a series can be asked for as: its samples, and where it has a sketch its histograms."""
    further = (HISTOGRAM, BUCKETS) if sketched and kind == "summary" else ()
    return sample_columns(kind, sketched=sketched) + further


def needs_of(kind: Kind, column: Column) -> tuple[str, ...]:
    """Name the statistics that `values_of` reads a column from."""
    if column.quantile:
        return ("sketch", "min", "max", "count")
    return _NEEDS[column.suffix] if kind == "summary" else ("last",)


def values_of(kind: Kind, column: Column, statistics: Mapping[str, Any]) -> Values:
    """Read the values of a column from statistics [rows, series]; NaN: there is no sample."""
    import numpy as np

    if kind != "summary":
        plain: Values = statistics["last"]
        return plain
    count = statistics["count"]
    if column.quantile:
        lowest, highest = (np.where(count > 0, statistics[name], np.nan) for name in ("min", "max"))
        # Exact bounds are known: no estimate lies outside of what was observed.
        return np.clip(_quantile(statistics["sketch"], float(column.quantile)), lowest, highest)
    with np.errstate(invalid="ignore"):
        if column.suffix == "_count":
            return statistics["count_base"] + count  # type: ignore[no-any-return]
        if column.suffix == "_sum":
            return np.where(np.isnan(count), np.nan, statistics["sum_base"] + statistics["sum"])
        return np.where(count > 0, statistics[column.suffix[1:]], np.nan)


def _quantile(sketches: NDArray[np.int64], share: float) -> Values:
    import numpy as np

    rows_at_once = max(1, SKETCHES_AT_ONCE // max(1, sketches.shape[1]))
    found = np.empty(sketches.shape[:2])
    for first in range(0, len(sketches), rows_at_once):
        rows = slice(first, first + rows_at_once)
        found[rows] = sketch.quantile(sketches[rows], share)
    return found


def whole_labels(series: Series, column: Column, winning: Mapping[str, str]) -> dict[str, str]:
    """Give the whole label set of a column, its name as `__name__`; labels that win displace its own."""
    labels = dict(overridden(series.labels, winning) if winning else series.labels)
    labels["__name__"] = series.name + column.suffix
    if column.quantile:
        labels["quantile"] = column.quantile
    return labels


def sorted_labels(labels: Mapping[str, str]) -> Labels:
    """Give a label set sorted by name, as receivers want it."""
    return tuple(sorted(labels.items()))


def zero_ns(created_ns: int, finest_ns: int) -> int:
    """Give when the totals of a series were 0: one of the finest buckets before that in which it was declared.

    Its first sample is of that bucket, as a total is there from its declaration on. 0: not known.
    """
    return max(0, (created_ns // finest_ns - 1) * finest_ns) if created_ns > 0 else 0


def zeroes_ns(
    created_ns: NDArray[np.int64],
    starts_ns: NDArray[np.int64],
    intervals_ns: NDArray[np.int64] | int,
    finest_ns: int,
    there: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Find which series begin within some rows, and when their totals were 0: int64 [series]; -1: not in these rows.

    Args: `created_ns`, [series], when each was declared; `starts_ns`, `intervals_ns`, [rows], of the rows' buckets,
        ascending; `there`, [rows, series], whether a cell holds a sample.
    """
    import numpy as np

    found = np.full(len(created_ns), -1, np.int64)
    if not len(starts_ns) or not len(created_ns) or int(created_ns.max()) < int(starts_ns[0]):
        return found
    row = starts_ns.searchsorted(created_ns, "right") - 1
    born = (row >= 0) & (created_ns > 0)
    row[row < 0] = 0
    lengths = intervals_ns if isinstance(intervals_ns, int) else intervals_ns[row]
    born &= (created_ns < starts_ns[row] + lengths) & there[row, np.arange(len(created_ns))]
    for index in np.flatnonzero(born).tolist():
        found[index] = zero_ns(int(created_ns[index]), finest_ns)
    return found


def stale_ms(newest_ns: int) -> int:
    """Give when the series of a life ended: a millisecond after the newest sample of any of them."""
    return newest_ns // NS_PER_MS + 1
