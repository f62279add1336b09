"""A metric reader of OpenTelemetry's SDK that records into a store what a program's instruments measure.

Sums that only grow are counters, all others gauges. An explicit-bucket histogram is counters: `_bucket` with `le`,
`_count` and `_sum`. An exponential one is a summary: count, sum, least and greatest as they are; in a schema that keeps
sketches each cell's observations at the middle of the cell, so that quantiles are as right as the cells are narrow.
Names, units and the label `otel_scope_name` are those of OpenTelemetry's Prometheus exporters.
Source: OpenTelemetry specification, compatibility/prometheus_and_openmetrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry.sdk.metrics import (
    Counter,
    Histogram,
    ObservableCounter,
    ObservableGauge,
    ObservableUpDownCounter,
    UpDownCounter,
)
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    ExponentialHistogram,
    ExponentialHistogramDataPoint,
    Metric,
    MetricReader,
    MetricsData,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.metrics.export import Histogram as HistogramData
from opentelemetry.sdk.metrics.export import HistogramDataPoint as BucketsPoint

from rondo_bridges.failures import Failures
from rondo_bridges.process_store import ProcessStore, Source
from rondo_bridges.readings import Readings
from rondo_core import Plugins, hookimpl

PLUGIN = "opentelemetry"
SCOPE = "otel_scope_name"
_DELTA, _CUMULATIVE = AggregationTemporality.DELTA, AggregationTemporality.CUMULATIVE
_TEMPORALITY: dict[type, AggregationTemporality] = {
    Counter: _DELTA,
    Histogram: _DELTA,
    ObservableCounter: _CUMULATIVE,
    UpDownCounter: _CUMULATIVE,
    ObservableUpDownCounter: _CUMULATIVE,
    ObservableGauge: _CUMULATIVE,
}
_UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "kBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "m": "meters", "V": "volts", "A": "amperes",
    "J": "joules", "W": "watts", "g": "grams", "Cel": "celsius", "Hz": "hertz", "%": "percent",
}  # fmt: skip
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


class RondoMetricReader(MetricReader):
    """Reads the SDK's instruments at each tick of a store: `MeterProvider(metric_readers=[RondoMetricReader(store)])`.

    Attributes: `failures`: what could not be recorded.
    """

    def __init__(
        self, store: Source = None, *, max_series: int = 1000, preferred_aggregation: dict[type, Any] | None = None
    ) -> None:
        """Read at the store's ticks, once a second as they should be.

        Args: `store`: one that is ticked, a callable that gives one, or None for `open_store`'s; `max_series`: what is
            beyond is left out; `preferred_aggregation`: as for any reader, for example exponential histograms.
        Raises: whatever opening the store raises.
        """
        super().__init__(preferred_temporality=_TEMPORALITY, preferred_aggregation=preferred_aggregation)
        self.failures = Failures(PLUGIN)
        opened = ProcessStore(store).get()
        self._readings = Readings(opened, self.failures, max_series)
        self._ended = False
        reader = self

        class ReaderRecorder:
            @hookimpl
            def rondo_recorder_bind(self) -> Callable[[int], None]:
                return reader._tick

        plugins = Plugins()
        plugins.register(ReaderRecorder(), PLUGIN)
        opened.bind_recorders(plugins)

    def _tick(self, _now_ns: int) -> None:
        if self._collect is not None and not self._ended:
            self.collect()

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> None:  # noqa: ARG002
        """Record what was collected."""
        for resource in metrics_data.resource_metrics if metrics_data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    try:
                        self._record(metric, scope.scope.name)
                    except Exception as error:  # noqa: BLE001 - one instrument is not the others' fault
                        self.failures.take(error, metric.name)

    def _record(self, metric: Metric, scope: str) -> None:
        data = metric.data
        name = named(metric.name, metric.unit or "", total=isinstance(data, Sum) and data.is_monotonic)
        for point in data.data_points:
            labels = {SCOPE: scope, **(point.attributes or {})}
            if isinstance(point, BucketsPoint) and isinstance(data, HistogramData):
                self._buckets(name, labels, point, metric.description or "")
            elif isinstance(point, ExponentialHistogramDataPoint) and isinstance(data, ExponentialHistogram):
                self._cells(name, labels, point, metric.description or "")
            elif isinstance(point, NumberDataPoint):
                self._number(name, labels, point.value, data, metric.description or "")

    def _number(self, name: str, labels: Mapping[str, Any], value: float, data: Any, help_text: str) -> None:
        if not isinstance(data, Sum) or not data.is_monotonic:
            self._readings.level(name, labels, value, help_text)
        elif data.aggregation_temporality is _DELTA:
            self._add(name, labels, value, help_text)
        else:
            self._readings.total(name, labels, value, help_text)

    def _add(self, name: str, labels: Mapping[str, Any], amount: float, help_text: str) -> None:
        counter = self._readings.handle("counter", name, labels, help_text)
        if counter is not None:
            counter.inc(amount)

    def _buckets(self, name: str, labels: Mapping[str, Any], point: BucketsPoint, help_text: str) -> None:
        below = 0
        for bound, count in zip([*point.explicit_bounds, None], point.bucket_counts, strict=True):
            below += count
            le = "+Inf" if bound is None else repr(float(bound))
            self._add(f"{name}_bucket", {**labels, "le": le}, below, help_text)
        self._add(f"{name}_count", labels, point.count, help_text)
        self._add(f"{name}_sum", labels, point.sum, help_text)

    def _cells(
        self, name: str, labels: Mapping[str, Any], point: ExponentialHistogramDataPoint, help_text: str
    ) -> None:
        summary = self._readings.handle("summary", name, labels, help_text)
        if summary is None or not point.count:
            return
        if not summary.sketched:
            summary.merge(point.count, point.sum, point.min, point.max)
            return
        for _ in range(point.zero_count):
            summary.observe(0.0)
        width = 2.0**-point.scale  # of a cell, in doublings: the widest cells' upper ends are more than a float can be
        for index, count in enumerate(point.positive.bucket_counts, start=point.positive.offset):
            if count:  # beyond those that have some there may be cells whose lower end is no float either
                middle = min(max(2.0 * 2.0 ** (index * width) / (1.0 + 2.0**-width), point.min), point.max)
                for _ in range(count):
                    summary.observe(middle)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Read once more, and no more; the store stays open. Never raises."""
        if not self._ended:
            try:
                self.collect(timeout_millis)
            except Exception as error:  # noqa: BLE001 - the program ends whatever becomes of its numbers
                self.failures.take(error)
            self._ended = True
        logging.getLogger("rondo.bridges").debug("opentelemetry: shut down")


def named(name: str, unit: str, *, total: bool) -> str:
    """Give an instrument's name as Prometheus has it: with its unit as a word, and `_total` where it only grows."""
    plain = "".join(each if each.isalnum() or each in "_:" else "_" for each in name)
    word = _word(unit)
    if word and not plain.removesuffix("_total").endswith(f"_{word}"):
        plain = f"{plain.removesuffix('_total')}_{word}"
    return f"{plain}_total" if total and not plain.endswith("_total") else plain


def _word(unit: str) -> str:
    """Give the word for a unit of UCUM; what is in braces is a comment, and none."""
    if "{" in unit:
        unit = unit[: unit.index("{")] + unit[unit.index("}") + 1 :] if "}" in unit else ""
    above, _, below = unit.partition("/")
    word = _UNITS.get(above, "" if above == "1" else above)
    per = _PER.get(below, below)
    return "_".join(each for each in (word, f"per_{per}" if per else "") if each)
