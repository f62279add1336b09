"""One value for a whole range, of one store and of many: what one look at all samples would have given."""

import math
import random
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier
from rondo_core.errors import ConsolidatorError

TIERS = (Tier("1s", "20s"), Tier("10s", "2m"), Tier("1m", "20m"))  # most of a run is in the coarser ones only
SCHEMAS = [
    Schema("plain", "summary", 4, TIERS),
    Schema("sketched", "summary", 4, TIERS, sketch=True),
    Schema("g", "gauge", 4, TIERS),
    Schema("c", "counter", 4, TIERS),
]
START_NS = 1_700_000_100 * 10**9  # the first second of a window of a minute
SHARES = {"p0": 0.0, "p10": 0.1, "p50": 0.5, "p99": 0.99, "p99.9": 0.999, "p100": 1.0}


def run(path, seed, seconds=240):
    """Record a life; give what was observed and what the gauge was, second by second."""
    chance, clock = random.Random(seed), ManualClock(START_NS)
    observed, gauged = {}, {}
    low, decades = 10 ** chance.uniform(-4, 2), chance.uniform(0.1, 1.9)
    with Store(path, SCHEMAS, clock=clock) as store:
        summary, gauge = store.summary("job_seconds", quantiles=True), store.gauge("load")
        counter = store.counter("jobs_total")
        for second in range(seconds):
            observed[second] = [low * 10 ** chance.uniform(0, decades) for _ in range(chance.randrange(6))]
            for value in observed[second]:
                summary.observe(value)
                counter.inc()
            if chance.random() < 0.8:
                gauged[second] = chance.uniform(-5, 5)
                gauge.set(gauged[second])
            if chance.random() < 0.8:
                store.tick()
            clock.advance(1)
    return observed, gauged


def exact(values, share):
    """The smallest observation that at least the share of all do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]


@pytest.mark.parametrize("seed", range(6))
def test_a_quantile_of_a_run_is_that_of_all_its_observations(tmp_path, seed):
    """Over all tiers, and over each range of whole minutes; one point that spans what it merges."""
    observed, _ = run(tmp_path / "s", seed)
    values = [value for each in observed.values() for value in each]
    with StoreReader(tmp_path / "s") as reader:
        for fn, share in SHARES.items():
            (data,) = reader.query("job_seconds", fn=fn, agg=True)
            assert len(data) == 1
            assert data.error <= 0.025
            assert data.values[0] == pytest.approx(exact(values, share), rel=data.error + 1e-9)
            assert data.values[0] == pytest.approx(np.quantile(values, share, method="inverted_cdf"), rel=0.025)
        first, last = START_NS // 10**9 + 60, START_NS // 10**9 + 180
        (data,) = reader.query("job_seconds", f"{first}..{last}", fn="p90", agg=True)
        part = [value for second in range(60, 180) for value in observed[second]]
        assert data.values[0] == pytest.approx(exact(part, 0.9), rel=0.025)
        assert (int(data.timestamps_ns[0]), int(data.interval_ns[0])) == (first * 10**9, 120 * 10**9)


def test_other_readings_of_a_run_are_those_of_all_its_samples(tmp_path):
    """Means, extremes, sums and counts; a counter's growth from its birth, and its rate."""
    observed, gauged = run(tmp_path / "s", 7)
    values, levels = [value for each in observed.values() for value in each], list(gauged.values())
    expected = {
        "job_seconds": {"avg": np.mean(values), "min": min(values), "max": max(values), "sum": sum(values)},
        "load": {"avg": np.mean(levels), "min": min(levels), "max": max(levels), "last": levels[-1]},
        "jobs_total": {"increase": len(values), "rate": len(values) / 240, "last": len(values)},
    }
    with StoreReader(tmp_path / "s") as reader:
        for name, readings in expected.items():
            for fn, wanted in readings.items():
                (data,) = reader.query(name, fn=fn, agg=True)
                assert data.values.tolist() == pytest.approx([wanted]), (name, fn)
        first = START_NS // 10**9 + 60
        (data,) = reader.query("jobs_total", f"{first}..{first + 120}", fn="increase", agg=True)
        assert data.values.tolist() == [sum(len(observed[second]) for second in range(60, 180))]
        assert not len(reader.query("load", "1..2", agg=True)[0])


def test_one_number_for_all_workers(tmp_path):
    """Each worker has a store; the merge is that of what all of them observed, under the series' own name."""
    lives = [run(tmp_path / f"worker-{n}", 20 + n, seconds=60 + 60 * n) for n in range(4)]
    values = [value for observed, _ in lives for each in observed.values() for value in each]
    with StoresReader(tmp_path) as reader:
        for fn, share in SHARES.items():
            (data,) = reader.query("job_seconds", fn=fn, agg=True)
            assert str(data.series) == "job_seconds"
            assert data.values[0] == pytest.approx(exact(values, share), rel=data.error + 1e-9)
        (data,) = reader.query("job_seconds", fn="count", agg=True)
        assert data.values.tolist() == [len(values)]
        (data,) = reader.query("load", fn="avg", agg=True)
        assert data.values[0] == pytest.approx(np.mean([level for _, gauged in lives for level in gauged.values()]))
        apart = reader.query('job_seconds{rondo_store=~".+"}', fn="p50", agg=True)
        assert len({str(data.series) for data in apart}) == 4
        assert len(reader.query("jobs_total", fn="last", agg=True)) == 4  # a last of several has no meaning


observations = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 150), st.floats(0, 2)), min_size=1, max_size=120
)  # of which store, in which second, how many decades above the least


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    observations, st.floats(-6, 6), st.sets(st.integers(0, 150)), st.sampled_from([0.0, 12.5, 50.0, 90.0, 99.99, 100.0])
)
def test_however_observations_are_split_their_quantile_is_that_of_all(tmp_path, many, least, ticks, percent):
    """Over stores, seconds, tiers and schedules of ticks: numpy's of all values, within 2.5 % over two decades."""
    values, lives = [], {}
    for store, second, decades in many:
        lives.setdefault(store, []).append((second, 10 ** (least + decades)))
        values.append(10 ** (least + decades))
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        for number, life in lives.items():
            clock = ManualClock(START_NS)
            with Store(Path(directory) / str(number), SCHEMAS[1:2], clock=clock) as store:
                summary = store.summary("s", quantiles=True)
                for second in range(151):
                    for _, value in filter(lambda each, now=second: each[0] == now, life):
                        summary.observe(value)
                    if second in ticks:
                        store.tick()
                    clock.advance(1)
        with StoresReader(directory) as reader:
            (data,) = reader.query("s", fn=f"p{percent:g}", agg=True)
    wanted = np.quantile(values, percent / 100, method="inverted_cdf")
    assert data.error <= 0.025
    assert data.values.tolist() == pytest.approx([wanted], rel=0.025)


def test_a_summary_without_quantiles_says_what_to_declare(tmp_path):
    """The series, and the keyword that keeps them; a name that is none is refused as any other."""
    clock = ManualClock(START_NS)
    with Store(tmp_path / "s", SCHEMAS, clock=clock) as store:
        store.summary("plain_seconds").observe(1.0)
        store.summary("job_seconds", quantiles=True).observe(1.0)
        with pytest.raises(ConsolidatorError, match=r"fn p99: plain_seconds .*quantiles=True"):
            store.query("plain_seconds", fn="p99", agg=True)
        for odd in ("p101", "p", "p1e2", "p-1", "P99"):
            with pytest.raises(ConsolidatorError, match="no such consolidator"):
                store.query("job_seconds", fn=odd)
