"""Windows without a hole fold by a quicker way, to the very same bytes."""

import random

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.fold import full_windows, windows
from rondo_core.record import consolidation

START_NS = 1_700_000_100 * 10**9
# The first ring is no multiple of the first window's buckets: windows lie around its end.
TIERS = {
    "even": (Tier("1s", "40s"), Tier("10s", "5m"), Tier("1m", "10m")),
    "odd": (Tier("1s", "41s"), Tier("10s", "5m"), Tier("1m", "10m")),
}


def filled(path, kind, n_series, tiers, holes):
    """Record four minutes, seldom what is no number of the usual size, at times nothing; tick each second."""
    chance, clock = random.Random(7), ManualClock(START_NS)
    with Store(path, [Schema("s", kind, n_series, TIERS[tiers])], clock=clock) as store:
        handles = [getattr(store, kind)("s", n=n) for n in range(n_series)]
        for second in range(240):
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


@pytest.mark.parametrize("at_once", [1 << 17, 100])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("tiers", ["even", "odd"])
@pytest.mark.parametrize("n_series", [1, 2, 7])
@pytest.mark.parametrize("kind", ["counter", "gauge", "summary"])
def test_whole_windows_fold_to_the_same_bytes(tmp_path, monkeypatch, kind, n_series, tiers, holes, at_once):
    """Every slab is byte for byte what the general way makes of the same samples, in parts of the series or in one."""
    monkeypatch.setattr(consolidation, "without_numpy", lambda: False)
    monkeypatch.setattr(full_windows, "_AT_ONCE", at_once)
    monkeypatch.setattr(full_windows, "_LEAST", 3)
    whole = []
    quick = windows.fold_whole

    def counted(*args):
        folded = quick(*args)
        whole.append(folded is not None)
        return folded

    monkeypatch.setattr(windows, "fold_whole", counted)
    found = filled(tmp_path / "quick", kind, n_series, tiers, holes)
    assert any(whole)
    monkeypatch.setattr(windows, "_fold_whole", lambda *_: 0)
    assert found == filled(tmp_path / "general", kind, n_series, tiers, holes)
