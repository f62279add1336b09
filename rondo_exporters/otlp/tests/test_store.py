"""What a store holds arrives, point for point: values, times, starts, temporality, and the end."""

import numpy as np
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from rondo_exporter_otlp.encode import Encoder

from rondo_core import Batch, ManualClock, Part, Schema, Series, Store, StoreReader, Tier
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.export.runner import open_runner
from rondo_core.testing import read_batches

S = 10**9
START_NS = 1_700_000_000 * S
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))


@pytest.fixture
def clock():
    return ManualClock(START_NS + S // 4)


@pytest.fixture
def schemas():
    return [
        Schema("counters", "counter", 8, TIERS),
        Schema("gauges", "gauge", 8, TIERS),
        Schema("sketched", "summary", 8, TIERS, '{__name__=~".*_seconds"}', sketch=True),
        Schema("summaries", "summary", 8, TIERS),
    ]


@pytest.fixture
def path(tmp_path, clock, schemas):
    """Thirty seconds of every kind, with gaps, in a store that is closed."""
    with Store(tmp_path / "store.rondo", schemas, clock=clock) as store:
        record(store, clock, 30)
    return tmp_path / "store.rondo"


def record(store, clock, seconds):
    done = store.counter("jobs_total", help="Jobs done.", queue='a "b" é')
    level = store.gauge("level_bytes", unit="bytes")
    plain, timed = store.summary("plain"), store.summary("timed_seconds", unit="seconds", help="Time.")
    for second in range(seconds):
        store.tick()
        if second % 3:
            done.inc(second)
            level.set(-second)
        for value in range(second % 4):
            plain.observe(value - 1.5)
            timed.observe(value * 0.25)
        clock.advance(1)


def export(path, receiver, *, runs=1, **config):
    with StoreReader(path) as reader:
        return open_runner(reader, "otlp", {"endpoint": receiver.url, **config}).finish(runs, 30)


def points(receiver, name, **labels):
    return receiver.taken[name, frozenset(labels.items())]


def stored(path, selector, fn):
    with StoreReader(path) as reader:
        data = reader.query(selector, tier=0, fn=fn)[0]
        return list(zip((data.timestamps_ns + S).tolist(), data.values.tolist(), strict=True))


def test_every_number_arrives_with_its_value_and_the_end_of_its_bucket(path, receiver):
    """Counters are cumulative monotonic sums since they were made; gauges come where they were set."""
    assert export(path, receiver).refused_samples == 0
    *sums, end = points(receiver, "jobs_total", queue='a "b" é')
    assert [(point.time_unix_nano, point.as_double) for point in sums] == stored(path, "jobs_total", "last")
    assert {point.start_time_unix_nano for point in sums} == {START_NS + S // 4}
    assert (end.flags, end.time_unix_nano) == (1, START_NS + 30 * S + 1)
    *gauges, end = points(receiver, "level_bytes")
    assert [(point.time_unix_nano, point.as_double) for point in gauges] == stored(path, "level_bytes", "last")
    assert len(gauges) == 20
    assert end.flags == 1
    metric = receiver.metrics["jobs_total"]
    assert (metric.description, metric.unit, metric.WhichOneof("data")) == ("Jobs done.", "", "sum")
    assert receiver.metrics["level_bytes"].unit == "By"


def test_a_summary_without_a_sketch_is_running_totals_and_the_buckets_bounds(path, receiver):
    """count and sum since the start; the bucket's min and max as quantiles 0 and 1, none where it saw nothing."""
    export(path, receiver)
    *arrived, end = points(receiver, "plain")
    assert end.flags == 1
    count = total = 0
    for second, point in enumerate(arrived):
        seen = [value - 1.5 for value in range(second % 4)]
        count, total = count + len(seen), total + sum(seen)
        assert (point.count, point.sum) == (count, pytest.approx(total))
        assert [each.value for each in point.quantile_values] == ([min(seen), max(seen)] if seen else [])
    assert len(arrived) == 30


def edges(point):
    """The upper edge and count of every cell of a histogram's point, by the specification's formula."""
    base = 2.0 ** (2.0**-point.scale)
    return [(base ** (point.positive.offset + at + 1), n) for at, n in enumerate(point.positive.bucket_counts) if n]


def test_a_sketch_is_a_cumulative_histogram(path, receiver):
    """Totals since the first bucket sent: counts, sum, min and max, and every observation in the cell that holds it."""
    export(path, receiver)
    *arrived, end = points(receiver, "timed_seconds")
    assert receiver.metrics["timed_seconds"].exponential_histogram.aggregation_temporality == 2
    assert (receiver.metrics["timed_seconds"].unit, end.flags) == ("s", 1)
    seen = []
    for second, point in enumerate(arrived):
        seen += [value * 0.25 for value in range(second % 4)]
        assert (point.start_time_unix_nano, point.time_unix_nano) == (START_NS, START_NS + (second + 1) * S)
        assert (point.count, point.sum, point.zero_count) == (len(seen), pytest.approx(sum(seen)), seen.count(0))
        if seen:
            assert (point.min, point.max) == (min(seen), max(seen))
        base = 2.0 ** (2.0**-point.scale)
        for edge, n in edges(point):
            inside = [value for value in seen if edge / base * (1 - 1e-9) < value <= edge * (1 + 1e-9)]
            assert len(inside) == n
    assert len(arrived) == 30


def test_delta_histograms_are_each_buckets_own(path, receiver):
    """With histograms = delta a point covers its bucket alone, whatever was sent before."""
    export(path, receiver, histograms="delta")
    *arrived, _ = points(receiver, "timed_seconds")
    assert receiver.metrics["timed_seconds"].exponential_histogram.aggregation_temporality == 1
    for second, point in enumerate(arrived):
        assert point.time_unix_nano - point.start_time_unix_nano == S
        assert point.count == second % 4
        assert point.sum == sum(value * 0.25 for value in range(second % 4))


def test_a_second_run_goes_on_and_histograms_say_that_they_start_anew(path, receiver, clock):
    """A reopened counter keeps its start and total; an exporter opened anew begins its histograms with a new start."""
    export(path, receiver)
    clock.advance(60)
    with Store(path, clock=clock) as store:
        record(store, clock, 5)
    export(path, receiver, runs=2)
    sums = points(receiver, "jobs_total", queue='a "b" é')
    assert len({point.start_time_unix_nano for point in sums}) == 1
    assert sums[-2].as_double > sums[29].as_double > 0
    histograms = [point for point in points(receiver, "timed_seconds") if not point.flags]
    assert len({point.start_time_unix_nano for point in histograms}) == 2
    assert histograms[30].start_time_unix_nano == histograms[30].time_unix_nano - S


def test_what_is_sent_again_is_the_same_bytes(path, receiver):
    """After a crash between answer and cursor the same points leave again, byte for byte."""
    export(path, receiver)
    first = receiver.requests[0][2].SerializeToString(deterministic=True)
    receiver.taken.clear()
    save_cursor(path, Cursor("otlp"))
    export(path, receiver)
    again = [request.SerializeToString(deterministic=True) for _, _, request in receiver.requests[1:]]
    assert first in again


def test_a_refused_series_costs_the_others_nothing(path, receiver):
    """400 for requests that hold one series: the rest arrives, histograms whole, and only that one is counted."""

    def refuse(request):
        names = [m.name for r in request.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return (400, {}, b"no") if "plain" in names else None

    receiver.refuse = refuse
    outcome = export(path, receiver, runs=0)
    assert outcome.refused_samples == 30
    assert len(points(receiver, "level_bytes")) == 20
    assert ("plain", frozenset()) not in receiver.taken
    arrived = points(receiver, "timed_seconds")
    assert (len(arrived), arrived[-1].count) == (30, sum(second % 4 for second in range(30)))


def test_resource_and_scope_say_who_sends(path, receiver):
    """service.name, service.instance.id and further attributes stand in every request."""
    export(path, receiver, service_instance_id="vm1", resource={"deployment.environment.name": "lab"})
    expected = {"service.name": "rondo", "service.instance.id": "vm1", "deployment.environment.name": "lab"}
    assert all(each == expected for each in receiver.resources)


def test_a_clock_that_stepped_back_starts_histograms_anew(path, receiver, clock, schemas):
    """Buckets that come again are a new total with a new start, never a total that runs backwards."""
    batches = read_batches(path)
    part = next(part for part in batches[0].parts if part.schema == "sketched")
    encoder = Encoder({})
    moved = {}
    list(encoder._totals.points(part, moved))
    encoder._totals.acknowledge(moved)
    again = dict(encoder._totals.points(part.rows(slice(10, 20)), {}))
    arrived = next(iter(again.values()))
    assert arrived[0].start_time_unix_nano == part.timestamps_ns[10]
    assert arrived[-1].count == sum(second % 4 for second in range(10, 20))


def test_a_sample_from_before_its_series_was_made_has_a_start_before_it():
    """Where the clock was set back after a counter was made, older buckets count from where they begin."""
    stamps = np.array([START_NS, START_NS + 5 * S, START_NS + 6 * S])
    series = Series("c_total", (), "counter", "counters", 0, created_ns=START_NS + 5 * S + 7)
    part = Part("counters", 0, S, "counter", (series,), stamps, {"last": np.array([[1.0], [2.0], [3.0]])})
    request = ExportMetricsServiceRequest.FromString(Encoder({}).encode(Batch((part,))).body)
    arrived = request.resource_metrics[0].scope_metrics[0].metrics[0].sum.data_points
    assert [point.time_unix_nano for point in arrived] == (stamps + S).tolist()
    assert [point.start_time_unix_nano for point in arrived] == [START_NS, *[series.created_ns] * 2]


def test_infinities_and_extremes_arrive_as_they_are(tmp_path, receiver, clock):
    """What a gauge can hold, a point carries."""
    path = tmp_path / "odd.rondo"
    values = [np.inf, 5e-324, -0.0, 1.7976931348623157e308]
    with Store(path, [Schema("gauges", "gauge", 8, TIERS)], clock=clock) as store:
        for value in values:
            store.gauge("g").set(value)
            clock.advance(1)
    export(path, receiver)
    assert [point.as_double for point in points(receiver, "g")][:-1] == values
