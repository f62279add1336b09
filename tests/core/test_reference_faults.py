"""The faults of the engine that the idea comes from, each of which must never come back."""

import os

import pytest

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import RetryableExportError
from rondo_core.export.cursor import cursor_path, load_cursor
from rondo_core.export.runner import Runner


def values(store, selector, **options):
    (data,) = store.query(selector, "all", **options)
    return dict(zip((data.timestamps_ns // 10**9).tolist(), data.values.tolist(), strict=True))


def test_a_slot_reused_after_the_ring_wraps_shows_nothing_for_an_idle_series(store, clock):
    """An idle series has no point under the new timestamp of a slot that another series took again."""
    busy, idle = store.gauge("busy"), store.gauge("idle")
    first_s = clock() // 10**9
    idle.set(42.0)
    for second in range(61):
        busy.set(second)
        clock.advance(1)
    assert max(values(store, "busy", tier=0)) == first_s + 60
    assert values(store, "idle", tier=0) == {}


def test_ticking_every_second_gives_the_merge_of_all_ten_seconds(store, clock):
    """A coarse point is the merge of its whole window, however often the owner ticks."""
    gauge = store.gauge("g")
    clock.advance(10 - clock() // 10**9 % 10)
    start_s = clock() // 10**9
    for second in range(21):
        gauge.set(second)
        store.tick()
        clock.advance(1)
    assert values(store, "g", tier=1, fn="avg") == {start_s: 4.5, start_s + 10: 14.5}
    assert values(store, "g", tier=1, fn="count") == {start_s: 10, start_s + 10: 10}


def test_a_sample_just_after_the_last_tick_is_not_skipped(store, clock):
    """What comes 0.3 s after the last tick of a window is part of it."""
    gauge = store.gauge("g")
    clock.advance(10 - clock() // 10**9 % 10)
    start_s = clock() // 10**9
    for second in range(10):
        gauge.set(second)
        store.tick()
        clock.advance(0.3 if second == 9 else 1)
    gauge.set(1000.0)
    clock.advance(5)
    store.tick()
    assert values(store, "g", tier=1, fn="max")[start_s] == 1000.0


def test_a_late_write_never_moves_the_newest_point_back(store, clock):
    """A late sample lands under its own time; the newest stays the newest."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    now_s = clock() // 10**9
    gauge.set(0.5, clock() - 5 * 10**9)
    clock.advance(1)
    gauge.set(2.0)
    assert values(store, "g", tier=0) == {now_s - 5: 0.5, now_s: 1.0, now_s + 1: 2.0}
    assert store.view.newest_ns() == (now_s + 1) * 10**9


def test_max_over_a_coarse_tier_is_the_true_maximum(store, clock):
    """A peak of one second is still there at every resolution."""
    gauge = store.gauge("g")
    for second in range(120):
        gauge.set(999.0 if second == 37 else second % 7)
        store.tick()
        clock.advance(1)
    store.tick()
    assert max(values(store, "g", tier=1, fn="max").values()) == 999.0
    assert max(values(store, "g", tier=2, fn="max").values()) == 999.0


def test_counters_accumulate(store, clock):
    """Increments within a bucket and across buckets add up; they do not overwrite one another."""
    counter = store.counter("c_total")
    start_s = clock() // 10**9
    for _ in range(3):
        for _ in range(5):
            counter.inc()
        clock.advance(1)
    assert values(store, "c_total") == {start_s: 5, start_s + 1: 10, start_s + 2: 15}


def test_average_over_gaps_is_the_average_of_the_samples(store, clock):
    """A window with three samples and seven gaps averages three samples; averages of averages never arise."""
    gauge = store.gauge("g")
    clock.advance(60 - clock() // 10**9 % 60)
    start_s = clock() // 10**9
    for second in range(61):
        if second in (1, 2, 3, 15):
            gauge.set(second)
        clock.advance(1)
        store.tick()
    assert values(store, "g", tier=1) == {start_s: 2.0, start_s + 10: 15.0}
    assert values(store, "g", tier=2) == {start_s: 21 / 4}


def test_a_relative_range_finds_the_end_of_a_finished_store(path, clock, small_schemas):
    """In a store that no one writes, the last 10 s end at its newest sample, however long ago that was."""
    with Store(path, small_schemas, clock=clock) as store:
        for second in range(30):
            store.gauge("g").set(second)
            clock.advance(1)
    with StoreReader(path) as reader:
        (data,) = reader.query("g", "10s")
    assert data.values.tolist() == [20, 21, 22, 23, 24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize("seconds", [15, 400])
def test_a_coarse_schema_does_not_move_the_end_of_a_finished_store(path, clock, small_schemas, seconds):
    """A bucket of five minutes goes on after the life that it is of: the last 10 s end with the finest newest bucket.

    A sample of the coarse schema alone, later than all others, does move it: to its bucket's end.
    """
    rare = Schema("rare", "gauge", 1, (Tier("5m", "1h"),), match="milestone")
    schemas = [rare, *small_schemas]
    with Store(path, schemas, clock=clock) as store:
        store.gauge("milestone").set(0)
        for second in range(seconds):
            store.gauge("g").set(second)
            clock.advance(1)
        end_ns = clock()
    with StoreReader(path) as reader:
        assert reader.end_ns() == end_ns
        assert reader.query("g", "10s")[0].values.tolist() == list(range(seconds - 10, seconds))
    clock.advance(900)
    with Store(path, schemas, clock=clock) as store:
        store.gauge("milestone").set(1)
    with StoreReader(path) as reader:
        assert reader.end_ns() == (clock() // (300 * 10**9) + 1) * 300 * 10**9


def test_the_cursor_moves_only_after_the_acknowledgement(store, clock, path):
    """What the receiver did not take is sent again; the cursor on disk says what it did take."""
    gauge = store.gauge("g")
    for second in range(5):
        gauge.set(second)
        clock.advance(1)

    class Refusing:
        def send(self, batch):
            assert load_cursor(path, "x").positions == {}
            raise RetryableExportError("not now")

        def close(self):
            pass

    outcome = Runner(store.view, Refusing(), "x", clock=clock).finish(0, deadline_s=0)
    assert (outcome.samples, outcome.failures) == (0, 1)
    assert load_cursor(path, "x").positions == {}


def test_space_is_allocated_when_the_store_is_made(store, path):
    """No file of a store is sparse, so a full disk cannot end the process later."""
    for file in path.iterdir():
        if file.suffix == ".slab" or file.name in {"meta", "series", "runs"}:
            status = file.stat()
            assert status.st_blocks * 512 >= status.st_size, file.name


def test_no_file_grows_while_the_store_is_used(store, clock, path):
    """Disk use is fixed when the store is made."""
    before = {file.name: file.stat().st_size for file in path.iterdir()}
    counter = store.counter("c_total")
    for _ in range(200):
        counter.inc()
        store.gauge("g").set(1)
        store.tick()
        clock.advance(1)
    after = {file.name: file.stat().st_size for file in path.iterdir()}
    assert after == before


@pytest.mark.parametrize("keep", [0, 1, 5, 20])
def test_a_truncated_cursor_does_not_stop_an_export(store, clock, path, keep):
    """A cursor that does not read starts over: everything is sent again, nothing is lost."""
    store.gauge("g").set(1.0)
    clock.advance(3)

    class Taking:
        def __init__(self):
            self.samples = 0

        def send(self, batch):
            self.samples += batch.n_samples

        def close(self):
            pass

    Runner(store.view, Taking(), "x", clock=clock).finish(0, deadline_s=0)
    whole = cursor_path(path, "x").read_bytes()
    cursor_path(path, "x").write_bytes(whole[:keep])
    again = Taking()
    Runner(store.view, again, "x", clock=clock).finish(0, deadline_s=0)
    assert again.samples >= 1


def test_a_torn_registry_tail_does_not_stop_a_store_from_opening(path, clock, small_schemas):
    """A record that a crash cut short is cut off; every series before it is there, and new ones can be declared."""
    with Store(path, small_schemas, clock=clock) as store:
        store.gauge("kept").set(1.0)
        store.tick()
        end = store.registry._journal.offset
        store.gauge("torn").set(2.0)
        assert len(store.registry) == len(StoreReader(path).registry)
        whole = store.registry._journal.offset
    with (path / "series").open("r+b") as file:
        file.seek(end + 12)
        file.write(os.urandom(20) + bytes(whole - end - 32))
    with Store(path, clock=clock) as store:
        assert "kept" in {series.name for series in store.registry}
        assert store.registry.torn_bytes
        store.gauge("new").set(3.0)
    with StoreReader(path) as reader:
        assert {series.name for series in reader.registry} >= {"kept", "new"}
