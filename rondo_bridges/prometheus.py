"""A registry of prometheus_client, recorded into a store at each tick; the program that fills it stays as it is.

Counters, and the counts and sums of summaries and histograms, are counters; a histogram's buckets are counters with
`le`. Gauges, quantiles, infos and enums are gauges. All keep their names and labels. When a metric was created is left
out: a store knows when its series began.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Metric

from rondo_bridges.failures import Failures
from rondo_bridges.process_store import ProcessStore, Source
from rondo_bridges.readings import Readings
from rondo_core import Plugins, hookimpl

PLUGIN = "prometheus_client"
_COUNTED = {"counter": ("_total",), "summary": ("_count", "_sum"), "histogram": ("_bucket", "_count", "_sum")}


def record_registry(
    store: Source = None, registry: CollectorRegistry = REGISTRY, *, max_series: int = 1000
) -> Failures:
    """Record whatever a registry holds, and will hold, at each tick of the store.

    A series that the program or a recorder of the store has declared itself, as rondo's own do of the process, is left
    to them: it would count twice. A registry that raises is counted as any recorder's failure is, in
    rondo_plugin_failures_total; the next tick reads it again.

    Args: `store`: one that is ticked, once a second as it should be; a callable that gives one; None: `open_store`'s.
        `max_series`: what is beyond is left out.
    Returns: what counts the series that were left out.
    Raises: whatever opening the store raises.
    """
    opened, failures = ProcessStore(store).get(), Failures(PLUGIN)
    readings = Readings(opened, failures, max_series, leave_declared=True)

    class RegistryRecorder:
        @hookimpl
        def rondo_recorder_bind(self) -> Callable[[int], None]:
            return lambda _now_ns: _record(registry, readings)

    plugins = Plugins()
    plugins.register(RegistryRecorder(), PLUGIN)
    opened.bind_recorders(plugins)
    return failures


def _record(registry: CollectorRegistry, readings: Readings) -> None:
    """Read the registry once."""
    for metric in registry.collect():
        _record_metric(metric, readings)


def _record_metric(metric: Metric, readings: Readings) -> None:
    """Read one metric's samples; of a summary or histogram the sums last, when it is known which began anew."""
    counted = tuple(metric.name + suffix for suffix in _COUNTED.get(metric.type, ()))
    anew: set[tuple[tuple[str, str], ...]] = set()
    sums = []
    for sample in metric.samples:
        name, labels, value = sample.name, sample.labels, float(sample.value)
        if name in counted:
            if name.endswith("_sum"):
                sums.append(sample)
            elif readings.total(name, labels, value, metric.documentation):
                anew.add(_key(labels))
        elif not (name.endswith("_created") and metric.type in _COUNTED):
            readings.level(name, labels, value, metric.documentation)
    for sample in sums:
        fell = _key(sample.labels) in anew
        readings.total(sample.name, sample.labels, float(sample.value), metric.documentation, begins_anew=fell)


def _key(labels: Any) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, value) for name, value in labels.items() if name != "le"))
