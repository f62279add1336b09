"""What of a batch is sent, and under which names and labels: for both versions of the protocol; no I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rondo_core import Batch, Part, Series
from rondo_core.errors import LabelError
from rondo_core.model import canonical_labels, check_metric_name, overridden, sketch
from rondo_exporter_prometheus.wire import Values

logger = logging.getLogger("rondo.export.prometheus")

Labels = tuple[tuple[str, str], ...]

NS_PER_MS = 1_000_000
# Source: io.prometheus.write.v2.Metadata.MetricType.
COUNTER, GAUGE, GAUGE_HISTOGRAM, SUMMARY = 1, 2, 4, 5
# Sketches are looked at so many cells at a time: a copy of that many takes about 1 MB.
SKETCHES_AT_ONCE = 1024


class Column(NamedTuple):
    """One of the series that a series of the store is sent as.

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


PLAIN = {
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


def columns(part: Part) -> Iterator[tuple[Column, Values]]:
    """Give the values [rows, series] of all that is sent of a part as samples; NaN: not sent."""
    statistics = part.statistics
    if part.kind != "summary":
        yield PLAIN[part.kind][0], statistics["last"]
        return
    count = statistics["count"]
    with np.errstate(invalid="ignore"):
        values = (
            statistics["count_base"] + count,
            np.where(np.isnan(count), np.nan, statistics["sum_base"] + statistics["sum"]),
            np.where(count > 0, statistics["min"], np.nan),
            np.where(count > 0, statistics["max"], np.nan),
        )
    yield from zip(PLAIN["summary"], values, strict=True)
    if sketch_of(part) is not None:
        for column in QUANTILES:
            # Exact bounds are known: no estimate lies outside of what was observed.
            yield column, np.clip(_quantile(part, float(column.quantile)), values[2], values[3])


def sketch_of(part: Part) -> NDArray[np.int64] | None:
    """Give a part's sketches, int64 [rows, series, words], where its schema keeps them."""
    return part.statistics.get("sketch")  # type: ignore[return-value]


def _quantile(part: Part, share: float) -> Values:
    sketches = part.statistics["sketch"]
    rows_at_once = max(1, SKETCHES_AT_ONCE // max(1, sketches.shape[1]))
    found = np.empty(sketches.shape[:2])
    for first in range(0, len(sketches), rows_at_once):
        rows = slice(first, first + rows_at_once)
        found[rows] = sketch.quantile(sketches[rows], share)
    return found


def ended_columns(series: Series, sketched: frozenset[str]) -> tuple[Column, ...]:
    """Name the columns, of samples, that a series which has ended was sent as.

    Args: `sketched`: the schemas that keep sketches.
    """
    return PLAIN[series.kind] + (QUANTILES if series.kind == "summary" and series.schema in sketched else ())


def start_ms(series: Series, interval_ns: int) -> int:
    """Give when a running total was 0: at the bucket before the one in which the series was declared; 0: unknown."""
    if series.created_ns <= 0:
        return 0
    return max(0, (series.created_ns // interval_ns - 1) * interval_ns // NS_PER_MS)


class LabelSets:
    """Which label set each series is sent under, and whose it is."""

    def __init__(self, external_labels: Labels = ()) -> None:
        """Add `external_labels` to every series; they win over its own, see `overridden`.

        Attributes: `written`, the bytes of label sets, kept by whoever writes them for as long as they are known.
        """
        self._external = dict(external_labels)
        self._labels: dict[tuple[str, Labels, Column], Labels] = {}
        self._owners: dict[Labels, tuple[str, Labels, str, bool]] = {}
        self._left_out: set[tuple[str, Labels]] = set()
        self.written: dict[Labels, bytes] = {}

    def of(self, series: Series, column: Column) -> Labels:
        """Give the whole label set, sorted by name; empty where another series has it already, or none may be sent.

        Where two series of the store become one label set (`x_count` beside a summary `x`, or by external labels), the
        first to come keeps it; the other is left out, and a warning says so.
        """
        key = (series.name, series.labels, column)
        known = self._labels.get(key)
        if known is not None:
            return known
        labels: Labels = ()
        what = series.name + column.suffix
        try:
            labels = self._whole(series, column, what)
        except LabelError as error:
            # Such a series cannot be declared; only one made by hand comes here.
            logger.warning("%s: left out as %s; %s", series, what, error)
        owner = (series.name, series.labels, column.suffix, column == HISTOGRAM)
        if labels and self._owners.setdefault(labels, owner) != owner:
            logger.warning("%s: left out as %s; another series is sent under that name and these labels", series, what)
            labels = ()
        if not labels:
            self._left_out.add(key[:2])
        self._labels[key] = labels
        return labels

    def n_left_out(self, batch: Batch) -> int:
        """Count the samples of a batch that are not, or not wholly, in the request that was made of it."""
        if not self._left_out:
            return 0
        left_out = batch.where(lambda series: (series.name, series.labels) in self._left_out)
        return left_out.n_samples

    def forget(self, ended: Iterable[Series]) -> None:
        """Keep nothing of series that have ended: whoever sends the stores of others sees ever new ones."""
        for series in ended:
            for column in (*PLAIN[series.kind], *QUANTILES, HISTOGRAM):
                labels = self._labels.pop((series.name, series.labels, column), ())
                self._owners.pop(labels, None)
                self.written.pop(labels, None)
            self._left_out.discard((series.name, series.labels))

    def _whole(self, series: Series, column: Column, what: str) -> Labels:
        own = canonical_labels((name, value) for name, value in series.labels if value)
        labels = {**dict(overridden(own, self._external)), "__name__": check_metric_name(what)}
        if column.quantile:
            labels["quantile"] = column.quantile
        return tuple(sorted(labels.items()))
