"""Windows with and without holes fold to the very same bytes by numpy, as tables, and by Python, cell by cell."""

import random

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.record import consolidation, fold_small

START_NS = 1_700_000_100 * 10**9
# The first ring is no multiple of the first window's buckets: windows lie around its end.
TIERS = {
    "even": (Tier("1s", "40s"), Tier("10s", "5m"), Tier("1m", "10m")),
    "odd": (Tier("1s", "41s"), Tier("10s", "5m"), Tier("1m", "10m")),
}


def filled(path, kind, n_series, tiers, holes, seconds=240):
    """Record some minutes, seldom what is no number of the usual size, at times nothing; tick each second."""
    chance, clock = random.Random(7), ManualClock(START_NS)
    with Store(path, [Schema("s", kind, n_series, TIERS[tiers])], clock=clock) as store:
        handles = [getattr(store, kind)("s", n=n) for n in range(n_series)]
        for second in range(seconds):
            for handle in handles:
                value = chance.choice((0.1, -0.0, 1e300, 3.7, 1e-300)) * chance.random()
                if holes and chance.random() < 0.01:
                    continue
                if kind == "counter":
                    handle.inc(abs(value) if value < 1e200 else float(second))
                elif kind == "gauge":
                    handle.set(float("inf") if chance.random() < 0.001 else value)
                else:
                    handle.observe(value)
            store.tick()
            clock.advance(1)
    return {file.name: file.read_bytes() for file in sorted(path.glob("*.slab"))}


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("tiers", ["even", "odd"])
@pytest.mark.parametrize("n_series", [1, 2, 3, 7])
@pytest.mark.parametrize("kind", ["counter", "gauge", "summary"])
def test_whole_windows_fold_to_the_same_bytes(tmp_path, monkeypatch, kind, n_series, tiers, holes):
    """Every slab is byte for byte what the other way makes of the same samples, windows around a ring's end too."""
    monkeypatch.setattr(consolidation, "without_numpy", lambda: False)
    found = filled(tmp_path / "tables", kind, n_series, tiers, holes)
    monkeypatch.setattr(consolidation, "without_numpy", lambda: True)
    assert found == filled(tmp_path / "cells", kind, n_series, tiers, holes)


@pytest.mark.parametrize("n_series", [1, 2])
def test_a_zero_below_zero_adds_up_to_the_same_bytes(tmp_path, monkeypatch, n_series):
    """A window of nothing but -0.0 has that sum, whole or with holes."""
    found = []
    for numpy in (True, False):
        monkeypatch.setattr(consolidation, "without_numpy", lambda without=not numpy: without)
        clock = ManualClock(START_NS)
        with Store(tmp_path / str(numpy), [Schema("s", "gauge", n_series, TIERS["even"])], clock=clock) as store:
            gauges = [store.gauge("s", n=n) for n in range(n_series)]
            for second in range(40):
                for gauge in gauges if second % 20 else ():
                    gauge.set(-0.0)
                store.tick()
                clock.advance(1)
        found.append([file.read_bytes() for file in sorted((tmp_path / str(numpy)).glob("*.slab"))])
    assert found[0] == found[1]


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_many_series_fold_to_the_same_bytes(tmp_path, monkeypatch, kind, holes):
    """Also where their windows are merged where they lie."""
    monkeypatch.setattr(fold_small, "MOST_VALUES", 100_000)
    monkeypatch.setattr(consolidation, "without_numpy", lambda: False)
    found = filled(tmp_path / "tables", kind, 300, "even", holes, seconds=65)
    monkeypatch.setattr(consolidation, "without_numpy", lambda: True)
    assert found == filled(tmp_path / "cells", kind, 300, "even", holes, seconds=65)
