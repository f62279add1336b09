"""Instruments of OpenTelemetry's SDK, recorded at a store's ticks."""

import pytest

pytest.importorskip("opentelemetry.sdk.metrics")

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation

from rondo_bridges.opentelemetry import RondoMetricReader, named
from rondo_core import Schema, Store, Tier

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))


def provided(store, **options):
    reader = RondoMetricReader(store, **options)
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    return reader, provider, provider.get_meter("shop")


def tick(store, clock):
    clock.advance(1)
    store.tick()


def test_sums_are_counters_where_they_only_grow_and_gauges_else(store, recorded, clock):
    """Asynchronous ones too; a total that is observed anew from nought goes on."""
    observed = [5]
    _, provider, meter = provided(store)
    counter, up_down = meter.create_counter("orders", "1", "Orders."), meter.create_up_down_counter("queue.depth")
    meter.create_observable_counter("reads", [lambda _options: [Observation(observed[0], {"disk": "a"})]])
    meter.create_observable_gauge("temperature", [lambda _options: [Observation(20.5)]], "Cel")
    for _ in range(3):
        counter.add(2, {"shop.kind": "b"})
        up_down.add(3)
        tick(store, clock)
    up_down.add(-8)
    observed[0] = 9
    tick(store, clock)
    observed[0] = 1
    tick(store, clock)
    provider.shutdown()
    assert recorded.total('orders_total{otel_scope_name=shop,shop_kind="b"}') == 6
    assert recorded.total("reads_total{disk=a}") == 10
    assert recorded.last("queue_depth") == 1
    assert recorded.last("temperature_celsius") == 20.5
    kinds = {each.name: each.kind for each in store.view.series()}
    assert (kinds["orders_total"], kinds["queue_depth"]) == ("counter", "gauge")


def test_a_histogram_of_buckets_is_counters(store, recorded, clock):
    """Its buckets with `le`, each with all below; its count and its sum."""
    _, provider, meter = provided(store)
    histogram = meter.create_histogram("took", "s", "Took.", explicit_bucket_boundaries_advisory=[0.1, 1.0])
    for value in (0.05, 0.5, 0.75, 5.0):
        histogram.record(value)
        tick(store, clock)
    provider.shutdown()
    found = {dict(each.series.labels)["le"]: float(each.values[-1]) for each in store.query("took_seconds_bucket")}
    assert found == {"0.1": 1, "1.0": 3, "+Inf": 4}
    assert recorded.total("took_seconds_count") == 4
    assert recorded.total("took_seconds_sum") == 6.3


@pytest.mark.parametrize("sketched", [False, True])
def test_an_exponential_histogram_is_a_summary(tmp_path, clock, sketched):
    """Count, least and greatest are exact; the sum too without a sketch, and with one quantiles are right to its cells."""
    schemas = [Schema("s", "summary", 2, TIERS, sketch=sketched), Schema("c", "counter", 2, TIERS)]
    with Store(tmp_path / "s", schemas, clock=clock) as store:
        aggregation = {Histogram: ExponentialBucketHistogramAggregation()}
        _, provider, meter = provided(store, preferred_aggregation=aggregation)
        histogram = meter.create_histogram("took", "s")
        values = [number / 100 for number in range(1, 501)]
        for value in [0.0, *values]:
            histogram.record(value)
        tick(store, clock)
        provider.shutdown()

        def read(fn):
            (found,) = store.query("took_seconds", tier=0, fn=fn, open=True)
            return float(found.values[-1])

        assert (read("count"), read("min"), read("max")) == (501, 0.0, 5.0)
        assert read("sum") == pytest.approx(sum(values), rel=0.05 if sketched else 1e-12)
        if sketched:
            for fn, exact in (("p50", 2.5), ("p99", 4.95)):
                assert read(fn) == pytest.approx(exact, rel=0.08)


@pytest.mark.parametrize("max_size", [2, 4, 160])
def test_cells_of_every_scale_are_taken(tmp_path, clock, max_size):
    """The fewer cells and the further apart the values, the wider a cell is: up to all that a float can be."""
    schemas = [Schema("s", "summary", 2, TIERS, sketch=True), Schema("c", "counter", 2, TIERS)]
    with Store(tmp_path / "s", schemas, clock=clock) as store:
        aggregation = {Histogram: ExponentialBucketHistogramAggregation(max_size=max_size)}
        reader, provider, meter = provided(store, preferred_aggregation=aggregation)
        histogram = meter.create_histogram("took", "s")
        for value in (1e-300, 1.0, 1.7e308):
            histogram.record(value)
        provider.shutdown()
        (found,) = store.query("took_seconds", tier=0, fn="count", open=True)
        assert float(found.values[-1]) == 3
        assert reader.failures.count == 0


def test_what_was_measured_last_is_recorded_at_shutdown(store, recorded):
    """And nothing after it; twice is once."""
    reader, provider, meter = provided(store)
    counter = meter.create_counter("orders")
    counter.add(4)
    provider.shutdown()
    reader.shutdown()
    store.tick()
    assert recorded.total("orders_total") == 4


def test_series_are_bounded_and_an_instrument_that_raises_is_its_own_fault(store, recorded, clock, caplog):
    """What is beyond is left out and said once; the others are recorded."""
    reader, provider, meter = provided(store, max_series=5)
    counter = meter.create_counter("orders")

    def raises(_options):
        raise OSError("no sensor")

    meter.create_observable_gauge("broken", [raises])
    for number in range(50):
        counter.add(1, {"n": number})
    tick(store, clock)
    provider.shutdown()
    assert len(store.view.series("orders_total")) == 5
    assert reader.failures.count == 1
    assert len([record for record in caplog.records if record.name == "rondo.bridges"]) == 1


@pytest.mark.parametrize(
    ("name", "unit", "total", "expected"),
    [
        ("http.server.duration", "s", False, "http_server_duration_seconds"),
        ("io", "By", True, "io_bytes_total"),
        ("io_bytes_total", "By", True, "io_bytes_total"),
        ("requests", "{request}", True, "requests_total"),
        ("speed", "By/s", False, "speed_bytes_per_second"),
        ("share", "1", False, "share"),
        ("odd", "{never closed", False, "odd"),
    ],
)
def test_names_are_those_of_opentelemetrys_prometheus_exporters(name, unit, total, expected):
    """A dashboard made for these finds them."""
    assert named(name, unit, total=total) == expected
