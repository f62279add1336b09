"""Batch -> bytes of an ExportMetricsServiceRequest, and what to remember once it is acknowledged; no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import pairwise

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
from rondo_core.export.protobuf import message, messages
from rondo_exporter_otlp import wire
from rondo_exporter_otlp.histograms import HistogramTotal, Key, Totals, delta_points, ends

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
_KINDS = {"counter": "sum", "gauge": "gauge"}
Kind = tuple[str, str]


@attrs.frozen
class OtlpRequest:
    """A request's bytes, none where there is nothing to send, and what its acknowledgement moves."""

    body: bytes
    totals: Mapping[Key, HistogramTotal]


class Encoder:
    """Encodes batches for one receiver; it remembers the bytes of label sets and the totals of histograms."""

    def __init__(self, resource: Mapping[str, str], histograms: str = "cumulative") -> None:
        """Say what every metric is about, and the temporality of histograms."""
        self._resource = ResourceMetrics(resource=Resource(attributes=_attributes(resource.items())))
        self._scope = ScopeMetrics(scope=InstrumentationScope(name="rondo", version=version("rondo-tsdb")))
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

    def encode(self, batch: Batch) -> OtlpRequest:
        """Give the request of a batch.

        A point's time is the end of its bucket, which is what its value is of. Metrics come in the order of parts
        and columns, points series by series in time order.
        """
        shells: dict[Kind, Metric] = {}
        points: dict[Kind, list[bytes]] = {}
        moved: dict[Key, HistogramTotal] = {}
        for part in batch.parts:
            what = _sent_as(part)
            written = self._histogram(part, moved) if what == "histogram" else self._numbers(part, what)
            for series, data in written:
                if data:
                    shells.setdefault((what, series.name), _shell(series))
                    points.setdefault((what, series.name), []).append(data)
        for series in batch.ended:
            what = _KINDS.get(series.kind) or ("histogram" if series.schema in batch.sketched else "summary")
            shells.setdefault((what, series.name), _shell(series))
            points.setdefault((what, series.name), []).append(self._end(series, what, batch))
        if not points:
            return OtlpRequest(b"", moved)
        metrics = (
            shells[kind].SerializeToString() + message(_DATA[kind[0]], self._heads[kind[0]], *points[kind])
            for kind in points
        )
        scope = message(2, self._scope.SerializeToString(), messages(2, metrics))
        return OtlpRequest(message(1, self._resource.SerializeToString(), scope), moved)

    def acknowledge(self, request: OtlpRequest) -> None:
        """Take up the totals that the receiver knows now."""
        if self._totals is not None:
            self._totals.acknowledge(request.totals)

    def forget(self, ended: Iterable[Series]) -> None:
        """Keep nothing of series that have ended: whoever sends the stores of others sees ever new ones."""
        for series in ended:
            for what in _POINTS:
                self._labels.pop((what, series), None)
        if self._totals is not None:
            self._totals.forget(ended)

    def _numbers(self, part: Part, what: str) -> Iterator[tuple[Series, bytes]]:
        """Write the points of counters, gauges or summaries without a sketch, series by series."""
        leads = [self._lead(series, what) for series in part.series]
        times = np.broadcast_to(ends(part), (len(leads), part.n_rows))
        created = np.array([series.created_ns for series in part.series], np.int64)[:, None]
        # A total counts since its series was made, in any run; one of a time before that, since its bucket began.
        starts = np.where(created < times, created, times - part.interval_ns)
        at = (
            [wire.field(wire.TIME, times)]
            if what == "gauge"
            else [wire.field(wire.START, starts), wire.field(wire.TIME, times)]
        )
        if what == "summary":
            yield from zip(part.series, _summaries(leads, at, part.statistics), strict=True)
            return
        values = np.ascontiguousarray(part.statistics["last"].T, np.float64)
        fields = [*at, wire.field(wire.AS_DOUBLE, values)]
        yield from zip(part.series, wire.points(leads, fields, ~np.isnan(values)), strict=True)

    def _histogram(self, part: Part, moved: dict[Key, HistogramTotal]) -> Iterator[tuple[Series, bytes]]:
        written = delta_points(part) if self._totals is None else self._totals.points(part, moved)
        for series, points in written:
            lead = self._lead(series, "histogram")
            yield series, messages(1, (lead + point.SerializeToString() for point in points))

    def _end(self, series: Series, what: str, batch: Batch) -> bytes:
        """Write the point that says: from here on there is no value."""
        at_ns = max(batch.ended_ns, batch.ended_until_ns) + 1
        point = _POINTS[what](time_unix_nano=at_ns, flags=DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK)
        if what in {"sum", "summary"} and series.created_ns < at_ns:
            point.start_time_unix_nano = series.created_ns
        return message(1, self._lead(series, what), point.SerializeToString())

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
    return _KINDS[part.kind]


def _summaries(
    leads: list[bytes], at: list[wire.Field], statistics: Mapping[str, NDArray[np.float64]]
) -> Iterator[bytes]:
    """Write running totals, with the bucket's min and max as quantiles 0 and 1 where it has observations."""
    columns = {name: np.ascontiguousarray(values.T, np.float64) for name, values in statistics.items()}
    present, observed = ~np.isnan(columns["count"]), columns["count"] > 0
    totals = np.where(present, columns["count_base"] + columns["count"], 0).astype(np.uint64)
    bare = [*at, wire.field(wire.COUNT, totals), wire.field(wire.SUM, columns["sum_base"] + columns["sum"])]
    whole = [*bare]
    for quantile, name in ((0.0, "min"), (1.0, "max")):
        whole.append(wire.field(wire.QUANTILE, np.full(observed.shape, quantile), wire.QUANTILE_HEAD))
        whole.append(wire.field(wire.QUANTILE_VALUE, columns[name]))
    changes = np.flatnonzero(np.any(observed[:, 1:] != observed[:, :-1], axis=0)) + 1
    written: list[list[bytes]] = []
    # Points with and without bounds differ in size; in spans of rows without a change of that, time order stays.
    for first, end in pairwise([0, *changes.tolist(), observed.shape[1]]):
        span = slice(first, end)
        for fields, sent in ((whole, observed), (bare, present & ~observed)):
            cut = [(before, values[:, span]) for before, values in fields]
            written.append(wire.points(leads, cut, sent[:, span]))
    return (b"".join(each) for each in zip(*written, strict=True))


def _shell(series: Series) -> Metric:
    """Name the metric that a series belongs to; the first series of a name speaks for all."""
    return Metric(name=series.name, description=series.help, unit=_UCUM.get(series.unit, series.unit))


def _attributes(pairs: object) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in pairs]  # type: ignore[attr-defined]
