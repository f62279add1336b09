"""Random lives of many processes, folded under random bounds: what a directory answers is the same before and after."""

import gc
import tempfile
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rondo_core import ManualClock, Schema, Store, StoresReader, Tier
from rondo_core.errors import UnknownSeriesError
from rondo_core.fold.tables import read_tier
from rondo_core.maintain.check import check_store
from rondo_core.model import sketch
from rondo_core.retention import Bound, prune
from rondo_core.retention.folding import taken

START_S = 1_700_000_000
LADDERS = (
    (Tier("1s", "20s"), Tier("5s", "60s"), Tier("15s", "10m")),
    (Tier("1s", "60s"), Tier("10s", "10m")),
    (Tier("1s", "8s"), Tier("4s", "40s"), Tier("8s", "4m")),
    (Tier("1s", "5m"),),
)
READINGS = {
    "c": ("increase", "rate", "last"),
    "g": ("sum",),
    "s": ("count", "sum", "min", "max"),
    "q": ("count", "sum", "min", "max"),
}
ADDED = {"increase", "rate", "sum", "count", "last"}

LIFE = st.fixed_dictionaries(
    {
        "born": st.integers(0, 60),
        "seconds": st.integers(1, 45),
        "amounts": st.lists(st.integers(0, 9), min_size=3, max_size=9),
        "closes": st.booleans(),
        "extra": st.booleans(),
    }
)


def schemas(tiers):
    return [
        Schema("counters", "counter", 4, tiers),
        Schema("gauges", "gauge", 4, tiers),
        Schema("sketched", "summary", 4, tiers, match="q", sketch=True),
        Schema("summaries", "summary", 4, tiers),
    ]


def live(path, kept, life):
    """One process's life: a tick and some records each second; closed in order, or dropped as it was."""
    clock = ManualClock((START_S + life["born"]) * 10**9)
    store = Store(path, kept, clock=clock)
    amounts = life["amounts"]
    for second in range(life["seconds"]):
        amount = amounts[second % len(amounts)]
        store.counter("c", route="/").inc(amount)
        store.gauge("g").set(amount - 4)
        if amount:
            store.summary("s").observe(amount - 5)
            store.summary("q").observe(amount * 10.0 ** (amount % 3))
        if life["extra"] and second % 3 == 0:
            store.counter("c", route="/more").inc()
        store.tick()
        clock.advance(1)
    if life["closes"]:
        store.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del store
        gc.collect()


def answers(root, n_tiers):
    """(series, labels, reading, tier) -> {instant: value over all stores}."""
    found = {}
    with StoresReader(root) as reader:
        assert reader.errors == []
        for name, readings in READINGS.items():
            for fn in readings:
                for tier in range(n_tiers):
                    try:
                        many = reader.query(name, fn=fn, tier=tier)
                    except UnknownSeriesError:
                        continue
                    for data in many:
                        key = name, dict(data.series.labels).get("route", ""), fn, tier
                        into = found.setdefault(key, {})
                        for at, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                            into.setdefault(at, []).append(value)
    merge = {"min": min, "max": max}
    return {key: {at: merge.get(key[2], sum)(values) for at, values in each.items()} for key, each in found.items()}


def sketches(root, kept, n_tiers):
    """(tier, bucket) -> the cells of `q` of all stores, merged: what every quantile is read from."""
    (schema,) = [each for each in kept if each.sketch]
    found = {}
    with StoresReader(root) as reader:
        for _, store in reader.opened():
            for series in store.series("q"):
                for tier in range(n_tiers):
                    table = read_tier(schema, tier, store.slabs[schema.name][tier], [series.column])
                    for bucket, cells in zip(table.buckets.tolist(), table.statistics["sketch"], strict=True):
                        if cells[0, 0]:
                            found.setdefault((tier, bucket), []).append(cells)
    return {key: sketch.merge(np.array(many), np.zeros(len(many), int), 1)[0, 0] for key, many in found.items()}


def quantiles(cells):
    """How many observations, how many zeroes, and quantiles, at the scale that the cells have."""
    return cells[2:].sum(), cells[-1], [sketch.quantile(cells, share).item() for share in (0.01, 0.5, 0.9, 0.99)]


def total(root, name="c"):
    with StoresReader(root) as reader:
        return sum(float(data.values[-1]) for data in reader.query(name))


@settings(
    max_examples=30,
    deadline=None,
    report_multiple_bugs=False,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
@given(
    st.lists(LIFE, min_size=1, max_size=5),
    st.sampled_from(LADDERS),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_a_directory_answers_after_a_fold_what_it_answered_before(lives, tiers, bounds):
    """Growth, rates, counts, sums and bounds of every second that the rings still have; totals for ever; and it is sound."""
    kept = schemas(tiers)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for at, life in enumerate(lives):
            live(root / f"p{at}.rondo", kept, life)
            with taken(root / f"p{at}.rondo"):
                pass  # which folds the windows that a dropped one left open
        clock = ManualClock((START_S + 200) * 10**9)
        before, counted = answers(root, len(tiers)), total(root)
        cells_before = sketches(root, kept, len(tiers))
        n_dead = len(lives)
        for keep_last in bounds:
            done = prune(root, Bound(keep_last=keep_last), clock=clock)
            assert not done.left
            n_dead = min(n_dead, keep_last)
            assert len(list(root.glob("p*.rondo"))) == n_dead
            assert total(root) == counted
            ended = root / "ended.rondo"
            if ended.exists():
                assert check_store(ended, clock()) == []
        after = answers(root, len(tiers))
        if not ended.exists():
            assert after == before
            return
        newest_s = max(life["born"] + life["seconds"] for life in lives)
        for key, values in before.items():
            _, _, fn, tier = key
            if fn == "last":
                continue  # a sum over the living falls with each death; see `total`
            interval_s = tiers[tier].interval_ns // 10**9
            oldest_s = START_S + newest_s - tiers[tier].retention_ns // 10**9 + 2 * interval_s
            for at, value in values.items():
                if at < oldest_s * 10**9:
                    continue  # given away by the ring of the ended
                assert at in after[key], key
                assert after[key][at] == pytest.approx(value, rel=1e-12, abs=1e-12), (key, at)
        cells_after = sketches(root, kept, len(tiers))
        for (tier, bucket), cells in cells_before.items():
            interval_ns = tiers[tier].interval_ns
            if bucket * interval_ns < (START_S + newest_s) * 10**9 - tiers[tier].retention_ns + 2 * interval_ns:
                continue
            (n, zeroes, before_q), (m, nulls, after_q) = quantiles(cells), quantiles(cells_after[tier, bucket])
            assert (n, zeroes) == (m, nulls)
            assert after_q == pytest.approx(before_q, rel=2 * sketch.relative_error(sketch.scales(cells)).item())
