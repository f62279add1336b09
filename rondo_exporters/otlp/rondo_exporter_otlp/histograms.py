"""Sketches of buckets -> exponential histograms: the bucket's own (delta), or totals since a start (cumulative)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs
import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.metrics.v1.metrics_pb2 import ExponentialHistogramDataPoint

from rondo_core import Part, Series
from rondo_core.model import Labels, sketch

# What tells totals apart: a receiver's series, and when it was made, as the same one may be made anew.
Key = tuple[str, Labels, int]
Point = ExponentialHistogramDataPoint


@attrs.frozen(eq=False)
class HistogramTotal:
    """What a series has observed since `start_ns`, and up to the end of the bucket that ends at `until_ns`."""

    start_ns: int
    until_ns: int
    cells: NDArray[np.int64]
    sum: float
    min: float
    max: float


class Totals:
    """The totals of every series that the receiver has acknowledged since the exporter was opened.

    A store keeps the sketch of each bucket and no running one, so the totals of an exporter that is opened anew start
    anew, and say so by their start. What was not acknowledged is not in them: a batch gives the same points again.
    """

    def __init__(self) -> None:
        """Begin with no total."""
        self._acknowledged: dict[Key, HistogramTotal] = {}

    def points(self, part: Part, moved: dict[Key, HistogramTotal]) -> Iterator[tuple[Series, list[Point]]]:
        """Give the cumulative points of a part, series by series; `moved` takes up what is acknowledged with them."""
        for column, series in enumerate(part.series):
            key, written = _key(series), []
            total = moved.get(key) or self._acknowledged.get(key)
            for bucket in _buckets(part, column):
                # A bucket that was counted already comes again where the clock stepped back: a new total starts.
                total = bucket if total is None or bucket.until_ns <= total.until_ns else _merged(total, bucket)
                written.append(_point(total))
            if total is not None:
                moved[key] = total
            yield series, written

    def acknowledge(self, moved: Mapping[Key, HistogramTotal]) -> None:
        """Go on from these totals."""
        self._acknowledged.update(moved)

    def forget(self, ended: Iterable[Series]) -> None:
        """Keep no total of series that have ended."""
        for series in ended:
            self._acknowledged.pop(_key(series), None)


def _key(series: Series) -> Key:
    return series.name, series.labels, series.created_ns


def delta_points(part: Part) -> Iterator[tuple[Series, list[Point]]]:
    """Give each bucket's own points, series by series."""
    for column, series in enumerate(part.series):
        yield series, [_point(bucket) for bucket in _buckets(part, column)]


def ends(part: Part) -> NDArray[np.int64]:
    """Give where each bucket of a part ends, ns since the epoch; also of one named by its last finest bucket."""
    return (part.timestamps_ns // part.interval_ns + 1) * part.interval_ns


def _buckets(part: Part, column: int) -> Iterator[HistogramTotal]:
    """Walk over what a series observed in each bucket that it was there for, as totals of that bucket alone."""
    statistics = part.statistics
    cells = statistics["sketch"][:, column].astype(np.int64)
    names = ("count", "sum", "min", "max")
    facts = zip(ends(part).tolist(), *(statistics[name][:, column].tolist() for name in names), strict=True)
    for row, (end_ns, count, total, low, high) in enumerate(facts):
        if count == count:  # noqa: PLR0124 - NaN: absent
            bounds = (low, high) if count else (np.inf, -np.inf)
            yield HistogramTotal(end_ns - part.interval_ns, end_ns, cells[row], total, *bounds)


def _merged(total: HistogramTotal, bucket: HistogramTotal) -> HistogramTotal:
    # Those of a store that was migrated meanwhile may have another number of cells.
    both = np.stack([sketch.resized(total.cells), sketch.resized(bucket.cells)])[:, None, :]
    return HistogramTotal(
        total.start_ns,
        bucket.until_ns,
        sketch.merge(both, np.zeros(2, np.int64), 1)[0, 0],
        total.sum + bucket.sum,
        min(total.min, bucket.min),
        max(total.max, bucket.max),
    )


def _point(total: HistogramTotal) -> Point:
    """Write a total as a point without attributes; the definition of the cells is the same."""
    scale, first, counts, zeroes = sketch.cells(total.cells)
    count = int(counts.sum()) + zeroes
    point = Point(
        start_time_unix_nano=total.start_ns,
        time_unix_nano=total.until_ns,
        count=count,
        sum=total.sum,
        scale=scale,
        zero_count=zeroes,
    )
    if count:
        point.min, point.max = total.min, total.max
    held = np.flatnonzero(counts)
    if len(held):
        low, high = int(held[0]), int(held[-1])
        point.positive.offset = first + low
        point.positive.bucket_counts.extend(counts[low : high + 1].tolist())
    return point
