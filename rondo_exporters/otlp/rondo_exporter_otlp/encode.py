"""Batch -> bytes of an ExportMetricsServiceRequest, and what to remember once it is acknowledged; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version

import attrs
import numpy as np
from numpy.typing import NDArray
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
    DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
    SummaryDataPoint,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from rondo_core import Batch, Part, Series
from rondo_core.clock import Clock, wall_ns
from rondo_exporter_otlp import wire
from rondo_exporter_otlp.histograms import Key, Total, Totals, delta_points

# Field numbers of Metric's data, by what a series is sent as.
_DATA = {"gauge": 5, "sum": 7, "histogram": 10, "summary": 11}
_POINTS = {
    "gauge": NumberDataPoint,
    "sum": NumberDataPoint,
    "histogram": ExponentialHistogramDataPoint,
    "summary": SummaryDataPoint,
}
# Units as UCUM writes them, which OpenTelemetry asks for; any other stands as it is.
_UCUM = {
    "amperes": "A",
    "bytes": "By",
    "celsius": "Cel",
    "grams": "g",
    "hertz": "Hz",
    "joules": "J",
    "meters": "m",
    "milliseconds": "ms",
    "percent": "%",
    "ratio": "1",
    "seconds": "s",
    "volts": "V",
}
Kind = tuple[str, str]


@attrs.frozen
class Request:
    """A request's bytes, none where there is nothing to send, and what its acknowledgement moves."""

    body: bytes
    totals: Mapping[Key, Total]


class Encoder:
    """Encodes batches for one receiver; it remembers the bytes of label sets and the totals of histograms."""

    def __init__(self, resource: Mapping[str, str], histograms: str = "cumulative", clock: Clock = wall_ns) -> None:
        """Say what every metric is about, and the temporality of histograms."""
        self._clock = clock
        self._resource = ResourceMetrics(resource=Resource(attributes=_attributes(resource.items())))
        self._scope = ScopeMetrics(scope=InstrumentationScope(name="rondo", version=version("rondo")))
        temporality = AGGREGATION_TEMPORALITY_DELTA if histograms == "delta" else AGGREGATION_TEMPORALITY_CUMULATIVE
        self._heads = {
            "gauge": b"",
            "sum": Sum(
                aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE, is_monotonic=True
            ).SerializeToString(),
            "histogram": ExponentialHistogram(aggregation_temporality=temporality).SerializeToString(),
            "summary": b"",
        }
        self._totals = None if histograms == "delta" else Totals()
        self._labels: dict[tuple[str, Series], bytes] = {}
        self._schemas: dict[str, tuple[str, int]] = {}

    def encode(self, batch: Batch) -> Request:
        """Give the request of a batch.

        A point's time is the end of its bucket, which is what its value is of. Metrics come in the order of parts
        and columns, points series by series in time order.
        """
        shells: dict[Kind, Metric] = {}
        points: dict[Kind, list[bytes]] = {}
        moved: dict[Key, Total] = {}
        for part in batch.parts:
            what = _sent_as(part)
            self._schemas[part.schema] = what, part.interval_ns
            written = self._histogram(part, moved) if what == "histogram" else self._numbers(part, what)
            for series, data in written:
                if data:
                    shells.setdefault((what, series.name), _shell(series))
                    points.setdefault((what, series.name), []).append(data)
        for series in batch.ended:
            what = {"counter": "sum", "gauge": "gauge"}.get(series.kind, self._schemas.get(series.schema, ("", 0))[0])
            if what:
                shells.setdefault((what, series.name), _shell(series))
                points.setdefault((what, series.name), []).append(self._end(series, what, batch.ended_ns))
        if not points:
            return Request(b"", moved)
        metrics = (
            shells[kind].SerializeToString() + wire.message(_DATA[kind[0]], self._heads[kind[0]], *points[kind])
            for kind in points
        )
        scope = wire.message(2, self._scope.SerializeToString(), wire.messages(2, metrics))
        return Request(wire.message(1, self._resource.SerializeToString(), scope), moved)

    def acknowledge(self, request: Request) -> None:
        """Take up the totals that the receiver knows now."""
        if self._totals is not None:
            self._totals.acknowledge(request.totals)

    def _numbers(self, part: Part, what: str) -> Iterator[tuple[Series, bytes]]:
        """Write the points of counters, gauges or summaries without a sketch, series by series."""
        statistics = part.statistics
        names = ("count", "sum", "min", "max", "count_base", "sum_base") if what == "summary" else ("last",)
        columns = {name: np.ascontiguousarray(statistics[name].T, np.float64) for name in names}
        present = ~np.isnan(columns[names[0]])
        for column, series in enumerate(part.series):
            keep = present[column]
            if keep.any():
                rows = {name: values[column][keep] for name, values in columns.items()}
                times = part.timestamps_ns[keep] + part.interval_ns
                starts = _starts(series, times, part.interval_ns)
                lead = self._lead(series, what)
                yield series, _summaries(lead, starts, times, rows) if what == "summary" else wire.points(
                    lead,
                    [
                        *([wire.field(wire.START, starts)] if what == "sum" else []),
                        wire.field(wire.TIME, times),
                        wire.field(wire.AS_DOUBLE, rows["last"]),
                    ],
                )

    def _histogram(self, part: Part, moved: dict[Key, Total]) -> Iterator[tuple[Series, bytes]]:
        written = delta_points(part) if self._totals is None else self._totals.points(part, moved)
        for series, points in written:
            lead = self._lead(series, "histogram")
            yield series, wire.messages(1, (lead + point.SerializeToString() for point in points))

    def _end(self, series: Series, what: str, ended_ns: int) -> bytes:
        """Write the point that says: from here on there is no value."""
        interval_ns = self._schemas.get(series.schema, ("", 0))[1]
        # Without an interval all was sent by an earlier process, and no point of it lies beyond now.
        at_ns = ended_ns + interval_ns + 1 if interval_ns else max(self._clock(), ended_ns + 1)
        point = _POINTS[what](time_unix_nano=at_ns, flags=DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)
        if what in {"sum", "summary"} and series.created_ns < at_ns:
            point.start_time_unix_nano = series.created_ns
        return wire.message(1, self._lead(series, what), point.SerializeToString())

    def _lead(self, series: Series, what: str) -> bytes:
        """Write the attributes of a series' points."""
        known = self._labels.get((what, series))
        if known is None:
            attributes = _attributes(series.labels)
            known = self._labels[what, series] = _POINTS[what](attributes=attributes).SerializeToString()
        return known


def _sent_as(part: Part) -> str:
    if part.kind == "summary":
        return "histogram" if "sketch" in part.statistics else "summary"
    return "sum" if part.kind == "counter" else "gauge"


def _starts(series: Series, times: NDArray[np.int64], interval_ns: int) -> NDArray[np.int64]:
    """Give the instant since which a total counts: when the series was made, which every run goes on from.

    A sample recorded under a time before that counts since its bucket began.
    """
    return np.where(series.created_ns < times, np.int64(series.created_ns), times - interval_ns)


def _summaries(
    lead: bytes, starts: NDArray[np.int64], times: NDArray[np.int64], rows: Mapping[str, NDArray[np.float64]]
) -> bytes:
    """Write running totals, with the bucket's min and max as quantiles 0 and 1 where it has observations."""
    counts = (rows["count_base"] + rows["count"]).astype(np.uint64)
    fields = [
        wire.field(wire.START, starts),
        wire.field(wire.TIME, times),
        wire.field(wire.COUNT, counts),
        wire.field(wire.SUM, rows["sum_base"] + rows["sum"]),
    ]
    bounds = []
    for quantile, name in ((0.0, "min"), (1.0, "max")):
        bounds += [
            wire.field(wire.QUANTILE, np.full(len(times), quantile), wire.QUANTILE_HEAD),
            wire.field(wire.QUANTILE_VALUE, rows[name]),
        ]
    observed = rows["count"] > 0
    written = []
    # Runs of rows with, and of rows without observations: points of one size each, in time order.
    for run in np.split(np.arange(len(times)), np.flatnonzero(np.diff(observed)) + 1):
        mine = [*fields, *bounds] if observed[run[0]] else fields
        written.append(wire.points(lead, [(before, values[run]) for before, values in mine]))
    return b"".join(written)


def _shell(series: Series) -> Metric:
    """Name the metric that a series belongs to; the first series of a name speaks for all."""
    return Metric(name=series.name, description=series.help, unit=_UCUM.get(series.unit, series.unit))


def _attributes(pairs: object) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs]  # type: ignore[attr-defined]
