"""Sketches in a migration: kept where both schemas have them, absent for what was recorded without, never in part."""

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier, read_schemas
from rondo_core.errors import StoreError
from rondo_core.maintain.check import check_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.model.schema_file import write_schemas

START_NS = 1_700_000_000 * 10**9
OLD = (Tier("1s", "1m"), Tier("10s", "10m"), Tier("1m", "2h"))
SHARES = ("p50", "p90", "p99.9")


def schema(sketch, tiers=OLD, room=2):
    return [Schema("summaries", "summary", room, tiers, sketch=sketch)]


def record(store, clock, seconds, *, tick=True):
    """Two series of one value for each second: another decade every minute, with zeroes, and seconds without one."""
    summaries = [store.summary("wait_seconds", i=i) for i in range(2)]
    for _ in range(seconds):
        second = clock() // 10**9
        for i, summary in enumerate(summaries):
            for number in range((second + i) % 4):
                summary.observe(0.0 if number == 2 else 10.0 ** (second // 60 % 5) * (1 + second % 7))
        if tick:
            store.tick()
        clock.advance(1)


def made(path, sketch, seconds, tiers=OLD):
    clock = ManualClock(START_NS)
    with Store(path, schema(sketch, tiers), clock=clock) as store:
        record(store, clock, seconds)
    return clock


def readings(path, tier, fn):
    with StoreReader(path) as reader:
        found = reader.query("wait_seconds", "all", tier=tier, fn=fn)
        return [dict(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True)) for data in found]


@pytest.mark.parametrize("by_file", [True, False])
@pytest.mark.parametrize("seconds", [37, 240, 900])
def test_quantiles_are_as_they_were(tmp_path, seconds, by_file):
    """With more room and longer tiers, from a file of schemas too, and as a store recorded with them at once."""
    clock = made(tmp_path / "store", True, seconds)
    wanted = {(tier, fn): readings(tmp_path / "store", tier, fn) for tier in range(3) for fn in (*SHARES, "count")}
    new = schema(True, (Tier("1s", "2m"), Tier("10s", "20m"), Tier("1m", "3h")), room=5)
    if by_file:
        (tmp_path / "schemas.toml").write_text(write_schemas(new))
        new = read_schemas(tmp_path / "schemas.toml")
    clock.advance(60)
    assert migrate_store(tmp_path / "store", new, clock=clock).changed
    for (tier, fn), before in wanted.items():
        for old, kept in zip(before, readings(tmp_path / "store", tier, fn), strict=True):
            assert old.items() <= kept.items(), (tier, fn)
    assert check_store(tmp_path / "store", clock()) == []
    with Store(tmp_path / "store", clock=clock) as store:
        record(store, clock, 200)
    assert check_store(tmp_path / "store", clock()) == []


def test_a_new_tier_has_the_sketches_of_the_finer_one(tmp_path):
    """Folded as if it had been there from the start."""
    clock = made(tmp_path / "store", True, 240, OLD[:2])
    made(tmp_path / "direct", True, 240)
    clock.advance(60)
    migrate_store(tmp_path / "store", schema(True), clock=clock)
    for fn in SHARES:
        had, direct = readings(tmp_path / "store", 2, fn), readings(tmp_path / "direct", 2, fn)
        assert had == direct
        assert any(had)
    assert check_store(tmp_path / "store", clock()) == []


def test_what_was_recorded_without_a_sketch_has_no_quantile(tmp_path):
    """Counts, sums and extremes stay; quantiles begin with the first window that is recorded with one, whole."""
    clock = made(tmp_path / "store", False, 125)
    wanted = {(tier, fn): readings(tmp_path / "store", tier, fn) for tier in range(3) for fn in ("count", "max")}
    with pytest.raises(StoreError, match=r"has an open window that .* could not give back; migrate after its end"):
        migrate_store(tmp_path / "store", schema(True), clock=clock)
    clock.advance(120)
    migrate_store(tmp_path / "store", schema(True), clock=clock)
    began_ns = clock()
    assert check_store(tmp_path / "store", clock()) == []
    with Store(tmp_path / "store", clock=clock) as store:
        record(store, clock, 50)
    assert check_store(tmp_path / "store", clock()) == []
    for tier, span_ns in enumerate((10**9, 10**10, 6 * 10**10)):
        for fn in ("count", "max"):
            for old, kept in zip(wanted[tier, fn], readings(tmp_path / "store", tier, fn), strict=True):
                seen = {stamp: value for stamp, value in old.items() if stamp in kept}
                assert seen.items() <= kept.items()
        for fn in SHARES:
            for found in readings(tmp_path / "store", tier, fn):
                assert found
                assert min(found) >= began_ns // span_ns * span_ns
                assert np.isfinite(list(found.values())).all()


def test_sketches_can_be_given_up(tmp_path):
    """All else stays."""
    clock = made(tmp_path / "store", True, 240)
    wanted = {(tier, fn): readings(tmp_path / "store", tier, fn) for tier in range(3) for fn in ("count", "sum", "max")}
    clock.advance(60)
    done = migrate_store(tmp_path / "store", schema(False), clock=clock)
    assert done.bytes_before - done.bytes_after == schema(True)[0].size_bytes() - schema(False)[0].size_bytes() > 0
    assert all(readings(tmp_path / "store", tier, fn) == before for (tier, fn), before in wanted.items())
    assert check_store(tmp_path / "store", clock()) == []
