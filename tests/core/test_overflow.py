"""A schema that is full hurts no one: what has no room is counted all the same, said once, and has room next time."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import CapacityError, LabelError
from rondo_core.maintain import check_store, migrate_store
from rondo_core.model.overflow import is_overflow
from rondo_core.record.overflow import DistinctLabelSets
from rondo_core.storage.directory import size_bytes

TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
SMALL = (
    Schema("counters", "counter", 4, TIERS),
    Schema("gauges", "gauge", 4, TIERS),
    Schema("summaries", "summary", 4, TIERS),
)
REFUSED = "rondo_series_refused_total"
FULL = "has no room for them"


def total(store, kind, fn="last"):
    """Add up what all series of a kind say, rondo's own left out."""
    series = [each for each in store.registry if each.kind == kind and each.schema != "rondo"]
    return sum(float(data.values.sum()) for data in store.view.query(series, fn=fn, tier=0))


def names(store):
    """Give the overflow series, as they are written."""
    return sorted(str(each) for each in store.registry if is_overflow(each))


def test_ten_thousand_label_sets_do_no_harm(path, caplog):
    """Thrown at a default store: no exception, the total exact, few handles held, one warning, and it is counted."""
    with Store(path, clock=ManualClock()) as store:
        for number in range(10_000):
            store.counter("http_requests_total", route=f"/{number}", code=200).inc()
        assert total(store, "counter") == 10_000
        assert store.counter("http_requests_total", rondo_overflow="true").value == 10_000 - 100
        assert len(store._declarations._handles) < 200
        assert store._declarations._overflow._handles.keys() == {("counters", "http_requests_total")}
        assert store.counter(REFUSED).value == pytest.approx(9_900, rel=0.02)
    (said,) = caplog.messages
    assert "schema counters has room for 100 series" in said
    assert "rondo migrate" in said


def test_every_kind_has_an_overflow(path, clock):
    """A counter adds up, a gauge has the last writer's value, a summary all observations, one with a sketch also."""
    schemas = (Schema("sketched", "summary", 2, TIERS, "slow_seconds", sketch=True), *SMALL)
    with Store(path, schemas, clock=clock) as store:
        for number in range(10):
            store.counter("a_total", n=number).inc(2)
            store.gauge("b", n=number).set(number)
            store.summary("c", n=number).observe(number)
            store.summary("slow_seconds", n=number).observe(number + 1)
        assert store.counter("a_total", rondo_overflow="true").value == 6 * 2
        assert store.query('b{rondo_overflow="true"}', fn="last")[0].values.tolist() == [9]
        assert store.query('c{rondo_overflow="true"}', fn="sum", open=True)[0].values.tolist() == [
            4 + 5 + 6 + 7 + 8 + 9
        ]
        (slow,) = store.query('rondo_overflow_observed{schema="sketched"}', fn="p50")
        assert slow.values.tolist() == pytest.approx([6.5], rel=0.1)
        assert total(store, "summary", "count") == 20
    assert not check_store(path)


def test_metrics_beyond_the_reserve_share_one_series(path, clock):
    """By name while there is room, then all of a schema in one, which is kept for that; another kind's name too."""
    with Store(path, SMALL, clock=clock) as store:
        for number in range(4):
            store.counter("full_total", n=number)
        for number in range(50):
            store.counter(f"more{number}_total", n=number).inc()
        assert names(store) == [
            'more0_total{rondo_overflow="true"}', 'rondo_overflow_total{rondo_overflow="true",schema="counters"}'
        ]  # fmt: skip
        assert total(store, "counter") == 50
        for number in range(5):
            store.gauge("more0_total", n=f"g{number}").set(1)
        assert names(store)[-1] == 'rondo_overflow_value{rondo_overflow="true",schema="gauges"}'


def test_what_a_user_asks_for_is_what_a_user_gets(path, clock):
    """The reserve is beside `max_series`; before a schema is full it gives nothing away."""
    with Store(path, SMALL, clock=clock) as store:
        for number in range(4):
            assert not is_overflow(store.counter("a_total", n=number).series)
        assert is_overflow(store.counter("a_total", n=4).series)
        assert store.registry.counts["counters"] == 4 + 1
    with Store(path, [Schema("counters", "counter", 8, TIERS), *SMALL[1:]], clock=clock) as store:
        for number in range(8):
            assert not is_overflow(store.counter("a_total", n=number).series)
        assert is_overflow(store.counter("a_total", n=8).series)


def test_a_series_that_is_there_is_found_when_the_schema_is_full(path, clock):
    """In this run and in the next, before and after others overflowed; of another kind it is the error that it was."""
    with Store(path, SMALL, clock=clock) as store:
        for number in range(9):
            store.counter("a_total", n=number).inc(number)
    with Store(path, clock=clock, max_bytes=0) as store:
        for number in range(30):
            store.counter("b_total", n=number)
        assert [store.counter("a_total", n=number).value for number in range(4)] == [0, 1, 2, 3]
        assert store.counter("a_total", n=8).value == 4 + 5 + 6 + 7 + 8
        with pytest.raises(LabelError, match="is a counter already"):
            store.gauge("a_total", n=1)


def test_strict_raises_and_counts(path, clock, caplog):
    """As an error that names the mend; rondo's own series and those that are there are had all the same."""
    with Store(path, SMALL, clock=clock, strict=True) as store:
        for number in range(4):
            store.gauge("g", n=number)
        for _ in range(2):
            with pytest.raises(CapacityError, match=r"room for 4 series.*rondo plan.*rondo migrate"):
                store.gauge("one_more")
        assert store.counter(REFUSED).value == 1
        assert store.gauge("g", n=3).series.column == 3
        assert not names(store)
    assert not caplog.messages


def test_no_one_takes_rondos_own_series(path, clock):
    """Names that begin as its own do, thrown at it by the hundred, and labels of a kilobyte: its counts are all there."""
    with Store(path, SMALL, clock=clock) as store:
        for number in range(300):
            store.counter("rondo_mine_total", n=number, long="x" * 1000).inc()
        assert total(store, "counter") == 300
        assert {each.name for each in store.registry.by_schema["rondo"]} <= {REFUSED}
        store.self_metrics.set_total("rondo_rows_lost_total", 1)
        store.tick()
        assert store.counter("rondo_rows_lost_total").value == 1
    assert not check_store(path)


def test_long_labels_overflow_too(path, clock):
    """They fill the registry's file before the columns; what comes then is counted, and nothing raises."""
    with Store(path, [Schema("counters", "counter", 40, TIERS)], clock=clock) as store:
        for number in range(200):
            store.counter(f"a{number % 3}_total", "h" * 500, n=number, long="x" * 1000).inc()
        assert store.registry.counts["counters"] < 40
        assert total(store, "counter") == 200
    with Store(path, clock=clock) as store:
        assert total(store, "counter") == 200


KILLED = """
import os, signal, sys
from rondo_core import Store
store = Store(sys.argv[1])
for number in range(120):
    store.counter("a_total", n=number).inc()
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_count_is_there_where_the_process_was_killed_before_a_tick(path):
    """In the self-metric, in what `rondo info` shows, and in what the next opening goes by."""
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -signal.SIGKILL
    with StoreReader(path) as reader:
        assert reader.query(REFUSED, fn="last")[0].values.tolist() == [20]
        assert reader.slabs["counters"][0].overflowed == 20
        assert sum(float(data.values[-1]) for data in reader.query("a_total", fn="last")) == 120
    told = subprocess.run([sys.executable, "-m", "rondo_cli", "info", path], check=True, capture_output=True, text=True)
    assert "overflow counters: about 20 label sets had no room" in told.stdout
    with Store(path) as store:
        assert [each.max_series for each in store.meta.schemas if each.name == "counters"] == [200]
        assert sum(store.counter("a_total", n=number).value for number in range(100)) == 100


def test_many_threads_at_capacity_lose_nothing(path):
    """Eight that declare and count at once: the total is exact, and each overflow series is there once."""
    with Store(path, SMALL) as store:
        start = threading.Barrier(8)

        def work(me):
            start.wait()
            for number in range(300):
                store.counter(f"a{number % 3}_total", n=number, me=me).inc()
                store.summary("b", n=number, me=me).observe(1)

        threads = [threading.Thread(target=work, args=(me,)) for me in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counters = [each for each in store.registry if each.kind == "counter" and each.schema != "rondo"]
        assert sum(store.counter(each.name, dict(each.labels)).value for each in counters) == 8 * 300
        assert store.registry.counts["counters"] <= 6
    assert not check_store(path)


def test_gauges_of_a_batch_may_overflow(path, clock):
    """A batch is set all the same: also when its gauges have their own series again, not side by side."""
    for _ in range(2):
        with Store(path, SMALL, clock=clock) as store:
            batch = store.batch([store.gauge("g", n=number) for number in range(9)])
            batch.set([float(number) for number in range(9)])
            assert len(batch.series) == 9
            with pytest.raises(ValueError, match="batch of 9 gauges: 1 values"):
                batch.set([1.0])
            last = {str(each.series): each.values[-1] for each in store.query("g", fn="last")}
    assert {last[f'g{{n="{number}"}}'] for number in range(9)} == set(range(9))


def test_a_batch_that_overflows_is_recorded_in_one_bucket_or_not_at_all(path):
    """As one whose series lie side by side: the clock is read once, and what is no number or no amount refuses all."""
    now_ns = 1_700_000_000 * 10**9

    def clock():
        nonlocal now_ns
        now_ns += 150_000_000
        return now_ns

    with Store(path, SMALL, clock=clock) as store:
        gauges = store.batch([store.gauge("g", n=number) for number in range(9)])
        counters = store.counter_batch([store.counter("c_total", n=number) for number in range(9)])
        for number in range(20):
            gauges.set([float(number)] * 9)
            counters.inc([1.0] * 9)
        for wrong in ([1.0] * 8 + ["1"], [-1.0] * 8 + [None]):
            gauges.set(wrong)
            counters.inc(wrong)
        counters.inc([1.0] * 8 + [-1.0])
        levels = store.query("g", fn="last", tier=0)
        times = {tuple(each.timestamps_ns.tolist()) for each in levels}
        values = {tuple(each.values.tolist()) for each in levels}
        assert len(levels) == 5
        assert (len(times), len(values)) == (1, 1)
        assert len(min(times)) > 2
        assert sum(counter.value for counter in set(counters.counters)) == 20 * 9
        refused = store._refused
        assert sum(each.get("not_a_number", 0) for each in refused) == 4 * 9
        assert sum(each.get("negative", 0) for each in refused) == 9


def test_gauges_with_peaks_families_and_batches_of_counters_may_overflow(path, clock):
    """What has no room shares a series that keeps what its schema keeps; none of a batch is lost."""
    schemas = [Schema("counters", "counter", 4, TIERS), Schema("peaks", "gauge", 2, TIERS, peaks=True)]
    with Store(path, schemas, clock=clock) as store:
        queue = store.gauge("queue", labels=["n"], peaks=True)
        for n in range(9):
            queue.labels(n).set(10.0 * n)
            queue.labels(n).inc(0.5)
        queue.labels(8).set(1.0)
        together = store.counter_batch([store.counter("c_total", n=n) for n in range(9)])
        together.inc([1.0] * 9)
        together.inc(np.ones(9))
        assert len(together.series) == 9
        with pytest.raises(ValueError, match="batch of 9 counters: 1 values"):
            together.inc([1.0])
        most = {str(each.series): each.values[-1] for each in store.query("queue", fn="max", tier=0)}
        last = {str(each.series): each.values[-1] for each in store.query("queue", fn="last", tier=0)}
        totals = [each.values[-1] for each in store.query("c_total", fn="last", tier=0)]
    assert most['queue{rondo_overflow="true"}'] == 80.5
    assert last['queue{rondo_overflow="true"}'] == 1.0
    assert (len(most), most['queue{n="1"}']) == (3, 10.5)
    assert (len(totals), sum(totals)) == (5, 18.0)
    assert not check_store(path)


def test_handles_of_a_store_without_room_for_any_overflow_take_everything(path, clock):
    """Every call of every handle: changes, functions, timers, many at once, states; and keep nothing of it."""
    bare = [Schema(each.name, each.kind, each.max_series, TIERS, reserve=0) for each in SMALL]
    with Store(path, bare, clock=clock) as store:
        kinds = {"counter": store.counter, "gauge": store.gauge, "summary": store.summary}
        for kind, declare in kinds.items():
            for n in range(max(each.max_series for each in bare if each.kind == kind)):
                declare(f"full_{kind}", n=n)
        gauge, summary = store.gauge("beyond"), store.summary("beyond_seconds")
        gauge.inc(), gauge.dec(2.0), gauge.set_to_current_time(), gauge.set_function(lambda: 1.0)
        with gauge.track_inprogress(), summary.time():
            summary.observe_many([1.0, 2.0])
        stage = store.state("stage", ["load", "sort"])
        stage.set("load"), stage.set("unknown")
        store.counter_batch([store.counter("beyond_total"), store.counter("beyond_total")]).inc([1.0, 2.0])
        store.tick()
        names = {each.series.name for each in store.query("{}")}
    assert {name for name in names if not name.startswith("rondo_")} == {f"full_{kind}" for kind in kinds}


def test_a_store_without_a_reserve_takes_what_overflows_and_says_that_it_is_lost(path, clock, caplog):
    """As one made before there was such: handles work, nothing is kept of them, and the next opening mends it."""
    bare = [Schema(each.name, each.kind, each.max_series, TIERS, reserve=0) for each in SMALL]
    with Store(path, bare, clock=clock) as store:
        for number in range(9):
            store.counter("a_total", n=number).inc()
            store.gauge("b", n=number).set(1)
            store.summary("c", n=number).observe(1)
            store.counter("a_total", n=number).inc(float("nan"))
        assert total(store, "counter") == 4
        store.batch([store.gauge("b", n=3), store.gauge("b", n=4)]).set([5.0, 6.0])
    assert "is not recorded" in caplog.text
    with Store(path, clock=clock) as store:
        assert [each.reserve for each in store.meta.schemas if each.kind == "summary"] == [2]
        for number in range(9):
            store.counter("a_total", n=number).inc()
        assert total(store, "counter") == 4 + 9


def test_a_migration_keeps_overflow_series(path, clock):
    """Where they are, whatever the schemas' selectors say, beside the room that is asked for."""
    with Store(path, [Schema("errors", "counter", 2, TIERS, "{code=~5..}"), *SMALL], clock=clock) as store:
        for number in range(20):
            store.counter("a_total", code=500 + number).inc()
        before = names(store)
    migrate_store(path, [Schema("errors", "counter", 3, TIERS, "{code=~5..}"), *SMALL], clock=clock)
    with Store(path, clock=clock, max_bytes=0) as store:
        assert names(store) == before
        assert total(store, "counter") == 20
        assert not is_overflow(store.counter("a_total", code=599).series)
        assert is_overflow(store.counter("a_total", code=598).series)


def test_label_sets_are_counted_in_a_fixed_space():
    """Exactly while they are few, within 2 % up to 200,000, and no more than a bit each."""
    seen = DistinctLabelSets()
    new = [seen.add(("a", (("n", str(number)),))) for number in range(100)]
    assert seen.count() in range(99, 101)
    assert not any(seen.add(("a", (("n", str(number)),))) for number in range(100))
    assert sum(new) >= 98
    for number in range(100, 200_000):
        seen.add(("a", (("n", str(number)),)))
    assert seen.count() == pytest.approx(200_000, rel=0.02)
    assert len(seen._bytes) == 8192


def test_the_default_store_has_room_for_a_small_web_application(path):
    """A hundred counters, twenty gauges and some with peaks, twenty summaries and some with sketches, in at most 24 MiB."""
    with Store(path) as store:
        room = {each.name: each.max_series for each in store.meta.schemas}
    assert room["counters"] >= 100
    assert room["gauges"] >= 20
    assert room["peaks"] >= 4
    assert room["summaries"] >= 20
    assert room["quantiles"] >= 2
    assert size_bytes(store.meta.schemas) <= 24 << 20
