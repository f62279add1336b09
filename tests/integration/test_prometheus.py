"""What leaves a store by the exporter `prometheus` arrives in a real Prometheus, and nothing else does."""

import signal
import time

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export.runner import open_runner

pytestmark = pytest.mark.prometheus

TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
S = 10**9
# A summary's bucket is one sample to rondo and four to Prometheus; `_count` is there for every one.
SAME_ROW = ("_sum", "_min", "_max")


@pytest.fixture
def near_now():
    """A clock two minutes ago: Prometheus refuses what is far from its own time."""
    return ManualClock((int(time.time()) - 120) * S)


@pytest.fixture
def recording(path, near_now):
    """A store in which every kind was recorded for a minute, with gaps, and what a receiver must then hold."""
    schemas = [Schema(f"{kind}s", kind, 8, TIERS) for kind in ("counter", "gauge", "summary")]
    expected = {}

    def expect(name, ms, value, **labels):
        key = frozenset({"__name__": name, "instance": "vm1", **labels}.items())
        expected.setdefault(key, []).append((ms, value))

    with Store(path, schemas, clock=near_now) as store:
        requests = store.counter("requests_total", code="200")
        heat = store.gauge("heat_celsius", room='a b"c\\d é', instance="its own")
        level = store.gauge("level")
        latency = store.summary("latency_seconds", path="/x")
        steady = store.summary("steady")
        total, count, summed = 0, 0, 0.0
        for second in range(60):
            ms = near_now() // 10**6
            near_now.advance(0.25)
            if second % 7 != 4:
                requests.inc(second + 0.1)
                total += second + 0.1
            expect("requests_total", ms, total, code="200")  # a total stands until it grows
            if second % 5:
                heat.set(-0.1 * second)
                expect("heat_celsius", ms, -0.1 * second, room='a b"c\\d é', exported_instance="its own")
            if second < 30:
                level.set(float("inf") if second == 9 else second * 1e-300)
                expect("level", ms, float("inf") if second == 9 else second * 1e-300)
            steady.observe(-2)
            for statistic, value in (("count", second + 1), ("sum", -2 * (second + 1)), ("min", -2), ("max", -2)):
                expect(f"steady_{statistic}", ms, value)
            if second % 4 != 2:
                seen = [0.001 * second, 1.5 + second, 0.3]
                in_bucket = 0.0
                for value in seen:
                    latency.observe(value)
                    in_bucket += value
                count, summed = count + 3, summed + in_bucket
                expect("latency_seconds_min", ms, min(seen), path="/x")
                expect("latency_seconds_max", ms, max(seen), path="/x")
            # The totals stand while there is nothing to observe.
            expect("latency_seconds_count", ms, count, path="/x")
            expect("latency_seconds_sum", ms, summed, path="/x")
            near_now.advance(0.75)
    return expected


def export(path, prometheus, ended_run=1, **config):
    # What was recorded arrives, and no more: no zeroes before it.
    config = {"url": prometheus.write_url, "external_labels": {"instance": "vm1"}, "zeroes": False, **config}
    with StoreReader(path) as reader:
        return open_runner(reader, "prometheus", config).finish(ended_run=ended_run, deadline_s=30)


def own(arrived):
    """Leave out what the store says of itself."""
    return {key: points for key, points in arrived.items() if not dict(key)["__name__"].startswith("rondo_")}


def test_every_closed_point_arrives_once_and_the_ended_series_go_stale(path, recording, near_now, prometheus):
    """Every point arrives with equal value and ms; a second export sends none; ended series leave instant queries."""
    outcome = export(path, prometheus)
    assert not outcome.error, outcome
    assert not outcome.stopped, outcome
    everything, end_s = '{__name__=~".+"}', near_now() / S
    arrived = prometheus.raw(everything, end_s + 10, "10m")
    assert own(arrived) == recording
    n_rows = sum(len(points) for key, points in arrived.items() if not dict(key)["__name__"].endswith(SAME_ROW))
    assert outcome.samples == n_rows > 100

    again = export(path, prometheus)
    assert (again.samples, again.requests, again.error) == (0, 0, "")
    assert prometheus.raw(everything, end_s + 10, "10m") == arrived

    with StoreReader(path) as reader:
        newest_s = reader.newest_ns() / S
    before, after = (own(prometheus.instant(everything, newest_s + wait_s)) for wait_s in (0, 0.001))
    assert before == {key: points[-1][1] for key, points in recording.items()}
    assert after == {}
    assert prometheus.instant(everything, end_s + 1) == {}


def test_what_was_recorded_while_the_receiver_was_away_arrives_later(path, recording, near_now, prometheus):
    """An export that finds no receiver moves no cursor; the next one delivers every point."""
    prometheus.stop(signal.SIGKILL)
    with StoreReader(path) as reader:
        missed = open_runner(reader, "prometheus", {"url": prometheus.write_url}).finish(ended_run=0, deadline_s=0)
    assert missed.samples == 0
    assert "no connection" in missed.error
    prometheus.start()
    outcome = export(path, prometheus)
    assert not outcome.error, outcome
    assert own(prometheus.raw('{__name__=~".+"}', near_now() / S + 10, "10m")) == recording


def test_an_export_while_the_run_goes_on_marks_nothing_stale(path, recording, near_now, prometheus):
    """Series of a run that has not ended stay in instant queries, and a later export marks them."""
    outcome = export(path, prometheus, ended_run=0)
    assert not outcome.error, outcome
    end_s = near_now() / S
    seen = own(prometheus.instant('{__name__=~".+"}', end_s + 1))
    assert seen == {key: points[-1][1] for key, points in recording.items()}
    last = export(path, prometheus)
    assert (last.samples, last.requests, last.error) == (0, 1, "")
    assert own(prometheus.instant('{__name__=~".+"}', end_s + 1)) == {}


def test_two_series_that_become_one_label_set_do_not_stop_the_export(path, near_now, prometheus):
    """Of two series that external labels make one, the first is sent whole; the other counts as refused."""
    with Store(path, [Schema("gauges", "gauge", 8, TIERS)], clock=near_now) as store:
        here, there = store.gauge("level", exported_instance="a"), store.gauge("level", instance="a")
        for second in range(5):
            here.set(second)
            there.set(-second)
            near_now.advance(1)
    outcome = export(path, prometheus)
    assert (outcome.error, outcome.refused_samples) == ("", 5)  # what was left out is not acknowledged
    arrived = own(prometheus.raw("level", near_now() / S + 10, "10m"))
    assert [[value for _, value in points] for points in arrived.values()] == [[0, 1, 2, 3, 4]]
