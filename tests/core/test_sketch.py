"""Quantiles of summaries: within the stated error, over any window, whatever the schedule."""

import math
import random
import sys
import threading

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import ConsolidatorError, SchemaError
from rondo_core.model import sketch

SKETCHED = [Schema("s", "summary", 4, (Tier("1s", "10m"), Tier("10s", "1h"), Tier("5m", "1d")), sketch=True)]
START = 1_700_000_100


def exact(values, share):
    """The smallest observation that at least the share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def record(store, clock, draw, seconds=300, each=40):
    """Observe random values for five minutes; give them by second."""
    summary, observed = store.summary("latency_seconds", path="/"), {}
    for second in range(START, START + seconds):
        observed[second] = [draw() for _ in range(each)]
        for value in observed[second]:
            summary.observe(value)
        clock.advance(1)
        store.tick()
    return observed


@pytest.mark.parametrize(("decades", "error"), [(2, 0.025), (3.9, 0.0433)])
@pytest.mark.parametrize("tier", [0, 1, 2])
def test_a_quantile_is_that_of_the_raw_observations_within_the_stated_error(tmp_path, clock, tier, decades, error):
    """p50 to p99.9 of a second, ten seconds and five minutes: 2.2 % off at most over two decades, 4.4 % over four."""
    clock.now_ns = START * 10**9
    chance = random.Random(5)
    with Store(tmp_path / "s", SKETCHED, clock=clock) as store:
        observed = record(store, clock, lambda: 10 ** chance.uniform(-3, -3 + decades))
        for fn, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)):
            (data,) = store.query("latency_seconds", fn=fn, tier=tier)
            assert len(data) == 300 * 10**9 // SKETCHED[0].tiers[tier].interval_ns
            assert 0 < data.error <= error + 1e-4
            for stamp, value, interval in zip(data.timestamps_ns, data.values, data.interval_ns, strict=True):
                seconds = range(int(stamp // 10**9), int((stamp + interval) // 10**9))
                wanted = exact([each for second in seconds for each in observed[second]], share)
                assert abs(value - wanted) <= data.error * wanted * (1 + 1e-9)


positive = st.floats(1e-300, 1e300)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.one_of(positive, st.just(0.0)), max_size=30), min_size=1, max_size=6))
def test_merging_is_exact(parts):
    """The merge of the parts' sketches counts what one sketch of all of them would, cell by cell, at its scale."""
    rows = np.stack([sketch_of(part) for part in parts])[:, None, :]
    merged = sketch.merge(rows, np.zeros(len(parts), np.int64), 1)[0, 0]
    values = [value for part in parts for value in part]
    assert counts_by_index(merged) == tally(values, int(sketch.scales(merged)))
    assert sketch.zeroes(merged) == values.count(0.0)


def sketch_of(values):
    """Take the values one by one, as a store does, and give the statistic."""
    width = sketch.CELLS + 1
    row = memoryview(bytearray(8 * (1 + width))).cast("d")
    cells = sketch.SketchCells(0, (2, 2 + width))
    for value in values:
        cells.add(row, 0, value)
    words = np.frombuffer(row, np.uint32)[2:].reshape(2, width)
    return sketch.of_cells(np.frombuffer(row, np.int64)[:1], (words[:1], words[1:]))[0]


def counts_by_index(whole):
    """The cells that are not empty, by index at the sketch's own scale."""
    first = int(whole[1]) - (1 << 31)
    cells = sketch.counts_of(whole)
    return {first + place: int(cells[place]) for place in np.flatnonzero(cells).tolist()}


def tally(values, scale):
    """Count the values by index: by the finest scale's, halved down, which is what lowering a scale does."""
    counts = {}
    for value in values:
        if value:
            index = sketch.index_of(value, sketch.MAX_SCALE) >> (sketch.MAX_SCALE - scale)
            counts[index] = counts.get(index, 0) + 1
    return counts


def test_cells_are_those_of_opentelemetry():
    """Powers of two lie at the upper edge of their cell: base 2 at scale 0, 4 at -1, the square root of 2 at 1."""
    assert [sketch.index_of(value, 0) for value in (0.5, 1.0, 1.5, 2.0, 2.5, 4.0)] == [-2, -1, 0, 0, 1, 1]
    assert [sketch.index_of(value, -1) for value in (1.0, 4.0, 4.5, 16.0)] == [-1, 0, 1, 1]
    assert [sketch.index_of(value, 1) for value in (1.0, 1.4, 1.5, 2.0)] == [-1, 0, 1, 1]


def test_the_whole_range_of_floats_fits(tmp_path, clock):
    """From the smallest to the largest float: nothing is lost, the error is stated."""
    with Store(tmp_path / "s", SKETCHED, clock=clock) as store:
        summary = store.summary("s")
        for value in (5e-324, 1.0, 1.7e308, 0.0):
            summary.observe(value)
        (lowest,), (highest,) = (store.query("s", fn=fn) for fn in ("p50", "p99"))
        assert lowest.values[0] == pytest.approx(5e-324)
        assert highest.values[0] == pytest.approx(1.7e308, rel=highest.error)


def test_eight_threads_lose_no_observation_in_the_sketch(tmp_path):
    """Cells and count agree when all threads are done, with ranges that grow while they observe."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads take turns as often as can be, also while cells move
    with Store(tmp_path / "s", SKETCHED, tick_interval_s=0.05) as store:
        summary = store.summary("s")

        def observe(thread):
            chance = random.Random(thread)
            for n in range(4000):
                summary.observe(10 ** chance.uniform(0, 1 + n / 1000))

        threads = [threading.Thread(target=observe, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.setswitchinterval(before)
    with StoreReader(tmp_path / "s") as reader:
        rows = reader.reader("s").rows(0, 1 << 40, [0], ("count", "sketch_head", "sketch0", "sketch1"))
        cells = sketch.of_cells(rows.cells["sketch_head"], (rows.cells["sketch0"], rows.cells["sketch1"]))
        counts = np.abs(rows.cells["count"])[:, 0]
        assert counts.sum() == 32_000
        assert cells[:, 0, sketch.HEAD_WORDS :].sum(axis=-1).tolist() == counts.tolist()


def test_late_observations_and_a_reopened_store_count_in_their_own_buckets(tmp_path, clock):
    """A late value lands in its second's sketch, and a reopened store goes on in the one it left."""
    with Store(tmp_path / "s", SKETCHED, clock=clock) as store:
        summary = store.summary("s")
        for value in (10.0, 20.0, 30.0):
            summary.observe(value)
        clock.advance(1)
        summary.observe(5.0)
        summary.observe(40.0, clock() - 10**9)
    with Store(tmp_path / "s", clock=clock) as store:
        store.summary("s").observe(7.0)
        (data,) = store.query("s", fn="p99", tier=0)
        assert data.values.tolist() == [pytest.approx(40.0, rel=0.05), pytest.approx(7.0, rel=0.05)]
        (data,) = store.query("s", fn="count", tier=0, open=True)
        assert data.values.tolist() == [4, 2]


def test_what_a_sketch_cannot_take_is_refused_and_counted(tmp_path, clock):
    """Negative values, NaN and infinities change nothing and are counted."""
    with Store(tmp_path / "s", SKETCHED, clock=clock) as store:
        summary = store.summary("s")
        for value in (-1.0, math.nan, math.inf, 2.0):
            summary.observe(value)
        store.tick()
        assert store.query("s", fn="count", open=True)[0].values.tolist() == [1]
        assert store.query("rondo_samples_refused_total{reason=invalid}")[0].values.tolist() == [3]


def test_without_a_sketch_quantiles_are_refused_in_words(tmp_path, clock):
    """A summary that keeps none says so; a counter's schema cannot ask for one."""
    with Store(tmp_path / "s", clock=clock) as store:
        store.summary("s").observe(1)
        with pytest.raises(ConsolidatorError, match=r"p99.*sketch"):
            store.query("s", fn="p99")
    with pytest.raises(SchemaError, match="only summaries"):
        Schema("c", "counter", sketch=True)
