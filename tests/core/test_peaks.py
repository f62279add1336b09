"""Gauges with peaks: the least and the greatest value of each bucket, however short it was, is there in every tier."""

import math

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, Tier, read_schemas
from rondo_core.errors import SchemaError
from rondo_core.maintain.check import check_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.maintain.plan import plan_store
from rondo_core.maintain.recover import schemas_of_slabs
from rondo_core.model.schema_file import write_schemas
from rondo_core.record import consolidation

TIERS = (Tier("1s", "30s"), Tier("5s", "2m"), Tier("10s", "5m"))
PEAKS = Schema("p", "gauge", 4, TIERS, peaks=True)


@pytest.fixture
def clock():
    return ManualClock()


def read(store, fn, tier, name="queue"):
    found = store.query(name, tier=tier, fn=fn)[0]
    return [each for each in found.values.tolist() if not math.isnan(each)]


def fill(store, clock, seconds=20):
    queue = store.gauge("queue", peaks=True)
    for second in range(seconds):
        for value in (second, 100.0 + second, -5.0, second + 0.5):
            queue.set(value)
        store.tick()
        clock.advance(1)
    store.tick()


@pytest.mark.parametrize("with_numpy", [True, False])
def test_a_peak_within_a_second_is_in_every_tier(tmp_path, clock, with_numpy, monkeypatch):
    """Whichever way a window is folded; the last value and the mean are what they are without peaks."""
    if not with_numpy:
        monkeypatch.setattr(consolidation, "without_numpy", lambda: True)
    with Store(tmp_path / "s", [PEAKS, Schema("g", "gauge", 4, TIERS)], clock=clock) as store:
        plain = store.gauge("plain")
        plain.set(1.0)
        fill(store, clock)
        for tier, width in enumerate((1, 5, 10)):
            ends = range(width - 1, 20, width)
            assert read(store, "max", tier)[: len(ends)] == [100.0 + end for end in ends]
            assert set(read(store, "min", tier)) == {-5.0}
            assert read(store, "last", tier)[: len(ends)] == [end + 0.5 for end in ends]
        assert read(store, "avg", 1)[0] == pytest.approx(2.5)
        assert plain.series.schema == "g"
    assert [each for each in check_store(tmp_path / "s", clock()) if each.severity == "damage"] == []


def test_changes_batches_and_late_values_have_their_peaks(tmp_path, clock):
    """As single values have; a bucket that a gauge goes on into begins with its value as both."""
    with Store(tmp_path / "s", [PEAKS], clock=clock) as store:
        jobs, one, other = (store.gauge(name) for name in ("jobs", "one", "other"))
        jobs.inc(5), jobs.dec(4), jobs.inc()
        batch = store.batch([one, other])
        batch.set([1.0, 2.0]), batch.set(np.array([9.0, -2.0])), batch.set((3.0, 0.5))
        clock.advance(1)
        store.tick()
        jobs.inc()
        one.set(50.0, clock() - 10**9)
        batch.set([-7.0, 4.0], clock() - 10**9)
        assert read(store, "max", 0, "jobs") == [5.0, 3.0]
        assert read(store, "min", 0, "jobs") == [1.0, 2.0]
        assert (read(store, "min", 0, "one"), read(store, "max", 0, "one")) == ([-7.0], [50.0])
        assert (read(store, "min", 0, "other"), read(store, "max", 0, "other")) == ([-2.0], [4.0])
        assert read(store, "last", 0, "one") == [-7.0]


def test_an_absent_value_has_no_peak(tmp_path, clock):
    """NaN makes the bucket absent, and what comes after begins anew."""
    with Store(tmp_path / "s", [PEAKS], clock=clock) as store:
        queue = store.gauge("queue")
        queue.set(100.0), queue.set(math.nan)
        assert read(store, "max", 0) == []
        queue.set(2.0)
        assert (read(store, "max", 0), read(store, "min", 0)) == ([2.0], [2.0])


def test_the_keyword_chooses_a_schema_that_keeps_peaks(tmp_path, clock, caplog):
    """One that takes all gauges is taken only where it is asked for, unless there is no other; a selector always."""
    schemas = [PEAKS, Schema("q", "gauge", 2, TIERS, match="queue", peaks=True), Schema("g", "gauge", 4, TIERS)]
    with Store(tmp_path / "s", schemas, clock=clock) as store:
        chosen = [store.gauge("a"), store.gauge("b", peaks=True), store.gauge("queue"), store.gauge("a", peaks=True)]
        assert [each.series.schema for each in chosen] == ["g", "p", "q", "g"]
    with Store(tmp_path / "t", [Schema("g", "gauge", 4, TIERS)], clock=clock) as store:
        store.gauge("a")
        store.gauge("b", peaks=True).set(1.0)
        assert "add a schema of kind gauge with peaks = true" in caplog.text
    with Store(tmp_path / "t", strict=True, clock=clock) as store, pytest.raises(SchemaError, match="peaks = true"):
        store.gauge("c", peaks=True)
    with pytest.raises(SchemaError, match="no peaks"):
        Schema("c", "counter", peaks=True)


def test_a_schema_with_peaks_is_written_read_and_planned(tmp_path):
    """As TOML, as the store's metadata, and in bytes: two numbers more of each series and bucket of the finest tier."""
    file = tmp_path / "schemas.toml"
    file.write_text(write_schemas([PEAKS]))
    assert read_schemas(file) == (PEAKS,)
    assert Schema.from_dict(PEAKS.to_dict()) == PEAKS
    plain = Schema("p", "gauge", 4, TIERS)
    assert "peaks" not in plain.to_dict()
    more = PEAKS.slab_spec(0).row_bytes - plain.slab_spec(0).row_bytes
    assert more == 2 * 8 * PEAKS.n_columns
    plan = {each["name"]: each for each in plan_store([PEAKS]).to_dict()["schemas"]}
    assert (plan["p"]["peaks"], plan["p"]["tiers"][0]["statistics"]) == (True, ["last", "min", "max"])
    file.write_text(file.read_text().replace("peaks = true", 'peaks = "yes"'))
    with pytest.raises(SchemaError, match="true or false"):
        read_schemas(file)


def test_peaks_are_known_from_the_slabs_alone(tmp_path, clock):
    """Where the metadata is lost."""
    Store(tmp_path / "s", [PEAKS], clock=clock).close()
    findings = []
    assert schemas_of_slabs(tmp_path / "s", findings)[1] == PEAKS
    assert findings == []


def test_peaks_survive_a_migration_and_can_be_added_and_left_out(tmp_path, clock):
    """There and back: what the finest tier knew of the peaks stays, what it did not know is the last value."""
    with Store(tmp_path / "s", [PEAKS, Schema("g", "gauge", 4, TIERS)], clock=clock) as store:
        fill(store, clock)
        store.gauge("plain").set(3.0)
        told = [(fn, tier, read(store, fn, tier)) for fn in ("min", "max", "last") for tier in range(3)]
    wider = [Schema("p", "gauge", 6, TIERS, peaks=True), Schema("g", "gauge", 4, TIERS)]
    migrate_store(tmp_path / "s", wider, clock=clock)
    with Store(tmp_path / "s", clock=clock) as store:
        assert [(fn, tier, read(store, fn, tier)) for fn, tier, _ in told] == told
        assert store.gauge("queue").series.schema == "p"
        assert store.gauge("plain").series.schema == "g"
    migrate_store(tmp_path / "s", [Schema("g", "gauge", 8, TIERS)], clock=clock)
    with Store(tmp_path / "s", clock=clock) as store:
        assert read(store, "max", 0) == read(store, "last", 0)
        assert read(store, "max", 1)[0] == 104.0
    migrate_store(tmp_path / "s", [Schema("g", "gauge", 8, TIERS, peaks=True)], clock=clock)
    with Store(tmp_path / "s", clock=clock) as store:
        assert read(store, "max", 0) == read(store, "last", 0)
    assert [each for each in check_store(tmp_path / "s", clock()) if each.severity == "damage"] == []
