"""A registry of prometheus_client, recorded as it is."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Enum, Gauge, Histogram, Info, Summary
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from rondo_bridges.prometheus import record_registry
from rondo_core import Store


@pytest.fixture
def registry():
    return CollectorRegistry()


def tick(store, clock):
    clock.advance(1)
    store.tick()


def test_every_kind_keeps_its_names_labels_and_values(store, recorded, clock, registry):
    """What a scrape of the registry shows is what the store holds, but for when metrics were created."""
    counter = Counter("jobs", "Jobs.", ["kind"], registry=registry)
    gauge, summary = Gauge("depth", "Depth.", registry=registry), Summary("wait_seconds", "Wait.", registry=registry)
    histogram = Histogram("took_seconds", "Took.", ["kind"], buckets=[0.1, 1], registry=registry)
    Info("build", "Build.", registry=registry).info({"version": "1.2"})
    enum = Enum("stage", "Stage.", states=["load", "run"], registry=registry)
    record_registry(store, registry)
    counter.labels("a").inc(2)
    gauge.set(-3)
    summary.observe(0.5)
    for value in (0.05, 0.5, 5):
        histogram.labels("a").observe(value)
    enum.state("run")
    tick(store, clock)
    shown = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in registry.collect()
        for sample in metric.samples
        if not sample.name.endswith("_created")
    }
    held = {
        (each.series.name, each.series.labels): float(each.values[-1])
        for each in store.query('{__name__!~"rondo_.*"}', fn="last", tier=0)
    }
    assert held == shown
    kinds = {each.name: each.kind for each in store.view.series()}
    assert kinds["took_seconds_bucket"] == kinds["jobs_total"] == kinds["wait_seconds_sum"] == "counter"
    assert kinds["depth"] == kinds["build_info"] == kinds["stage"] == "gauge"
    assert store.view.series("jobs_total")[0].help == "Jobs."


def test_what_a_recorder_of_the_store_records_already_is_left_to_it(store, recorded, clock, registry, caplog):
    """As rondo's own of the process, which are on by default: nothing counts twice, and nothing is said of other words.

    So it is where a registry is given twice, and where a store is opened again the registry's totals go on.
    """
    cpu, jobs = (
        Counter("process_cpu_seconds", "Their words.", registry=registry),
        Counter("jobs", "J", registry=registry),
    )
    own = store.counter("process_cpu_seconds_total", "The recorder's words.")
    for _ in range(2):
        record_registry(store, registry)
    own.inc(2), cpu.inc(2), jobs.inc(3)
    tick(store, clock)
    assert recorded.total("process_cpu_seconds_total") == 2
    assert recorded.total("jobs_total") == 3
    assert [each for each in caplog.records if "Their words" in each.getMessage()] == []
    path = store.path
    store.close()
    with Store(path, clock=clock) as again:
        record_registry(again, registry)
        tick(again, clock)
        assert again.counter("jobs_total").value == 6


def test_totals_grow_as_the_registry_does_and_go_on_where_it_begins_anew(store, recorded, clock, registry):
    """A counter that was reset lost nothing before: the store's total only grows."""
    counter = Counter("jobs", "Jobs.", registry=registry)
    record_registry(store, registry)
    for amount in (3, 0, 4):
        counter.inc(amount)
        tick(store, clock)
    assert recorded.total("jobs_total") == 7
    counter.reset()
    counter.inc(2)
    tick(store, clock)
    assert recorded.total("jobs_total") == 9


def test_a_sum_that_falls_is_waited_for_and_one_that_begins_anew_is_added(store, recorded, clock, registry):
    """Observations below nought let a histogram's sum fall; that is no beginning."""
    histogram = Histogram("t", "T.", buckets=[1], registry=registry)
    record_registry(store, registry)
    for value, total in ((10, 10), (-4, 10), (3, 10), (2, 11)):
        histogram.observe(value)
        tick(store, clock)
        assert recorded.total("t_sum") == total
    histogram.clear() if hasattr(histogram, "clear") else None
    registry.unregister(histogram)
    again = Histogram("t", "T.", buckets=[1], registry=registry)
    again.observe(5)
    tick(store, clock)
    assert recorded.total("t_sum") == 16
    assert recorded.total("t_count") == 5


def test_what_custom_collectors_give_is_recorded(store, recorded, clock, registry):
    """Quantiles and gauges as gauges, counts as counters; labels that come later too."""

    class Collector:
        labels = ("a",)

        def collect(self):
            gauge = GaugeMetricFamily("temperature", "T.", labels=["where"])
            for where in self.labels:
                gauge.add_metric([where], 20.0)
            yield gauge
            yield CounterMetricFamily("reads", "R.", value=4)
            summary = SummaryMetricFamily("rpc_seconds", "R.", count_value=2, sum_value=3.0)
            summary.add_sample("rpc_seconds", {"quantile": "0.5"}, 1.5)
            yield summary

    collector = Collector()
    registry.register(collector)
    record_registry(store, registry)
    tick(store, clock)
    collector.labels = ("a", "b")
    tick(store, clock)
    assert recorded.counts("temperature") == {("a",): 20, ("b",): 20}
    assert recorded.total("reads_total") == 4
    assert recorded.last("rpc_seconds{quantile=0.5}") == 1.5
    assert recorded.total("rpc_seconds_count") == 2


def test_a_registry_that_raises_is_counted_and_read_again(store, recorded, clock, registry, caplog):
    """Recording goes on; one warning says what it was."""

    class Broken:
        raises = False

        def collect(self):
            if self.raises:
                raise OSError("sensor gone")
            return []

    broken, gauge = Broken(), Gauge("depth", "D.", registry=registry)
    registry.register(broken)
    record_registry(store, registry)
    broken.raises = True
    for _ in range(3):
        tick(store, clock)
    broken.raises = False
    gauge.set(5)
    tick(store, clock)
    tick(store, clock)
    assert recorded.total("rondo_plugin_failures_total{plugin=prometheus_client}") == 3
    assert recorded.last("depth") == 5
    assert len([line for line in caplog.messages if "sensor gone" in line]) == 1


def test_series_are_bounded(store, recorded, clock, registry, caplog):
    """What is beyond the bound is left out, counted and said once; what was there before goes on."""
    gauge = Gauge("depth", "D.", ["n"], registry=registry)
    failures = record_registry(store, registry, max_series=5)
    for number in range(50):
        gauge.labels(number).set(number)
        tick(store, clock)
    gauge.labels(3).set(33)
    tick(store, clock)
    assert len(store.view.series("depth")) == 5
    assert recorded.last("depth{n=3}") == 33
    assert failures.count == 1
    assert len([record for record in caplog.records if record.name == "rondo.bridges"]) == 1


def test_a_store_without_room_takes_what_it_can(tmp_path, clock, registry, caplog):
    """The first series, as ever; that there is no room for the others is said once, not each second."""
    from rondo_core import Schema, Store

    gauge = Gauge("depth", "D.", ["n"], registry=registry)
    for number in range(5):
        gauge.labels(number).set(number)
    with Store(tmp_path / "small", [Schema("g", "gauge", 2)], clock=clock) as small:
        record_registry(small, registry)
        for _ in range(3):
            tick(small, clock)
        for number in range(2):
            (found,) = small.query(f"depth{{n={number}}}", fn="last")
            assert found.values[-1] == number
    assert len([record for record in caplog.records if "room for" in record.getMessage()]) == 1
