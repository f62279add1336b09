"""Gauges that are changed by an amount, read from a function, one of several states; and what goes on in each bucket."""

import gc
import math
import threading
import weakref

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import UsageError
from rondo_core.maintain.check import check_store

TIERS = (Tier("1s", "10s"), Tier("5s", "1m"))
INVALID = "rondo_samples_invalid_total"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=[False, True], ids=["plain", "peaks"])
def store(tmp_path, clock, request):
    with Store(tmp_path / "s", [Schema("g", "gauge", 8, TIERS, peaks=request.param)], clock=clock) as store:
        yield store
    assert [each for each in check_store(tmp_path / "s", clock()) if each.severity == "damage"] == []


def values(store, selector, **how):
    found = store.query(selector, **how)
    return found[0].values.tolist() if len(found) else []


def causes(store):
    store.tick()
    found = store.query(INVALID) if store.view.series(INVALID) else ()
    return {dict(each.series.labels)["cause"]: each.values[-1] for each in found}


def pass_seconds(store, clock, seconds):
    for _ in range(seconds):
        clock.advance(1)
        store.tick()


@pytest.mark.parametrize("n_absent", [0, 1, 4, 5, 8])
def test_a_gauge_is_changed_from_its_last_number_however_many_others_are_absent(store, clock, n_absent):
    """Infinity and the largest numbers are no absence, whatever their bytes have in common; -NaN is one."""
    numbers = [math.inf, -math.inf, 1.7e308, -1.7e308, 0.0, -0.5, 1e-310, 3.0]
    gauges = [store.gauge("load", cpu=cpu) for cpu in range(8)]
    for gauge, number in zip(gauges, reversed(numbers), strict=True):
        gauge.set(number)
    pass_seconds(store, clock, 1)
    gauges[0].set(-math.nan if n_absent else numbers[0])
    for gauge, number in list(zip(gauges, numbers, strict=True))[max(n_absent, 1) :]:
        gauge.set(number)
    pass_seconds(store, clock, 2)
    for gauge in gauges:
        gauge.inc(1.0)
    last = [*reversed(numbers)][:n_absent] + numbers[n_absent:]
    now = [values(store, f"load{{cpu={cpu}}}", tier=0)[-1] for cpu in range(8)]
    assert now == [number + 1.0 for number in last]


def test_a_changed_gauge_goes_on_in_each_bucket(store, clock):
    """From 0, or from what was set in this run, however long ago and whether or not a bucket of it is left."""
    jobs, pool = store.gauge("jobs"), store.gauge("pool")
    jobs.inc(), jobs.inc(7), jobs.dec(2), jobs.dec()
    pool.set(10)
    pass_seconds(store, clock, 30)
    pool.dec(3)
    pass_seconds(store, clock, 2)
    assert values(store, "jobs", tier=0) == [5.0] * 10
    assert values(store, "pool", tier=0) == [7.0] * 3
    clock.advance(25)
    jobs.inc()
    assert values(store, "jobs", tier=0)[-1] == 6.0


def test_a_batch_and_a_set_count_for_what_is_changed(store, clock):
    """The last value is the last, whoever set it."""
    gauges = [store.gauge("g", n=n) for n in range(2)]
    store.batch(gauges).set([4.0, 5.0])
    gauges[0].inc()
    clock.advance(1)
    gauges[1].inc()
    gauges[0].set(1.0)
    store.tick()
    assert [values(store, f"g{{n={n}}}")[-1] for n in range(2)] == [1.0, 6.0]


def test_an_absent_gauge_stays_absent_until_it_is_changed_again(store, clock):
    """NaN takes it out of the next buckets too."""
    gauge = store.gauge("g")
    gauge.inc(3)
    clock.advance(1)
    gauge.set(math.nan)
    pass_seconds(store, clock, 3)
    assert values(store, "g", tier=0) == [3.0]


@pytest.mark.parametrize("entered", [False, True], ids=["first", "entered"])
@pytest.mark.parametrize("later", [0, 1], ids=["same_bucket", "next_bucket"])
@pytest.mark.parametrize(
    "give",
    [
        lambda store, gauge: gauge.set(5.0),
        lambda store, gauge: gauge.inc(4.0),
        lambda store, gauge: store.batch([gauge]).set([5.0]),
        lambda store, gauge: store.batch([gauge]).set(np.array([5.0])),
    ],
    ids=["set", "inc", "list", "array"],
)
@pytest.mark.parametrize("run", ["first bucket", "second run", "later bucket"])
def test_a_change_after_nan_begins_at_what_was_before_that_bucket(tmp_path, clock, run, give, later, entered):
    """Whoever entered the bucket, whatever was set or changed in it before the NaN, and whatever a run before had."""
    path, schemas = tmp_path / "s", [Schema("g", "gauge", 8, TIERS)]
    if run == "second run":
        with Store(path, schemas, clock=clock) as before:
            before.gauge("g").set(90.0)
            before.gauge("other").set(1.0)
    with Store(path, schemas, clock=clock) as store:
        gauge, other = store.gauge("g"), store.gauge("other")
        if run == "later bucket":
            gauge.set(1.0)
            clock.advance(1)
        if entered:
            other.set(1.0)
        give(store, gauge)
        gauge.set(math.nan)
        clock.advance(later)
        gauge.inc(2.0)
        assert values(store, "g")[-1] == (3.0 if run == "later bucket" else 2.0)


def test_the_next_run_begins_anew_even_in_the_same_second(tmp_path, clock):
    """What was in progress in a process that is gone is in progress no more."""
    for _ in range(2):
        with Store(tmp_path / "s", [Schema("g", "gauge", 8, TIERS)], clock=clock) as store:
            jobs, pool = store.gauge("jobs"), store.gauge("pool")
            jobs.inc(50)
            pool.set(3.0)
            pool.inc()
            store.batch([jobs, pool]).set([60.0, 7.0])
            jobs.inc(), pool.inc()
            assert (values(store, "jobs"), values(store, "pool")) == ([61.0], [8.0])
            clock.advance(0.1)
    clock.advance(1)
    with Store(tmp_path / "s", clock=clock) as store:
        store.gauge("jobs").dec()
        assert values(store, "jobs")[-1] == -1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None, "1", 10**400, [1.0]])
def test_a_change_that_is_no_finite_number_is_counted(store, bad):
    """And the gauge stands where it stood."""
    gauge = store.gauge("g")
    gauge.inc(2)
    gauge.inc(bad), gauge.dec(bad)
    assert sum(causes(store).values()) == 2.0
    assert values(store, "g") == [2.0]
    gauge.inc(1.7e308), gauge.inc(1.7e308)
    assert causes(store)["overflow"] >= 1.0
    assert values(store, "g") == [1.7e308]


@pytest.mark.parametrize("one", [1, True, np.uint8(1), np.float32(1), np.int64(1)])
def test_a_change_is_a_number_of_any_kind(store, one):
    """Also unsigned ones, of which the negative is none."""
    gauge = store.gauge("g")
    for _ in range(2):
        gauge.inc(one), gauge.inc(one), gauge.dec(one)
    assert values(store, "g") == [2.0]


def test_threads_lose_no_change(store, clock):
    """While the store ticks and buckets pass."""
    gauge = store.gauge("g")
    start = threading.Barrier(4)

    def work():
        start.wait()
        for _ in range(10_000):
            gauge.inc(2.0)
            gauge.dec()

    threads = [threading.Thread(target=work) for _ in range(3)]
    [thread.start() for thread in threads]
    start.wait()
    while any(thread.is_alive() for thread in threads):
        pass_seconds(store, clock, 1)
    [thread.join() for thread in threads]
    assert values(store, "g")[-1] == 30_000.0


def test_a_clock_that_steps_back_loses_no_change(store, clock):
    """By a part of a second, and by far."""
    gauge = store.gauge("g")
    gauge.inc()
    clock.advance(1)
    gauge.inc()
    clock.advance(-1)
    gauge.inc()
    clock.advance(-30)
    store.tick()
    gauge.inc()
    assert values(store, "g")[-1] == 4.0


def test_a_function_is_read_on_each_tick(store, clock, caplog):
    """One that raises, or gives no number, is counted and logged once, and stops neither tick nor other functions."""
    level, wrong, none = [0], store.gauge("wrong"), store.gauge("none")

    def read():
        level[0] += 1
        return level[0]

    wrong.set_function(lambda: 1 / 0)
    none.set_function(lambda: "none")
    store.gauge("level").set_function(read)
    pass_seconds(store, clock, 4)
    assert values(store, "level") == [1.0, 2.0, 3.0, 4.0]
    counted = causes(store)
    assert (counted["function_raised"], counted["not_a_number"]) == (5.0, 5.0)
    assert [each for each in caplog.messages if "ZeroDivisionError" in each] != []
    assert len([each for each in caplog.messages if "its function raised" in each]) == 1
    wrong.set_function(None)
    clock.advance(1)
    assert causes(store)["function_raised"] == 5.0


def test_a_function_is_let_go_of_with_the_store(tmp_path, clock):
    """Nothing that it holds lives on because it was read."""

    class Pool:
        def size(self):
            return 3

    pool = Pool()
    there = weakref.ref(pool)
    store = Store(tmp_path / "s", [Schema("g", "gauge", 8, TIERS)], clock=clock)
    gauge = store.gauge("pool")
    gauge.set_function(pool.size)
    store.tick()
    store.close()
    del pool
    gc.collect()
    assert there() is None
    assert gauge.series.name == "pool"


def test_a_gauge_says_what_the_time_is(store, clock):
    """In seconds since the epoch."""
    store.gauge("last_success_timestamp_seconds").set_to_current_time()
    assert values(store, "last_success_timestamp_seconds") == [clock() / 1e9]


def test_a_state_is_one_of_several(store, clock):
    """Each in every bucket from the first that was set; one that was not declared is counted, and changes nothing."""
    stage = store.state("stage", ["load", "transform", "write"], help="Where it is.", job="a")
    assert (stage.value, len(store.query("stage"))) == ("", 3)
    stage.set("load")
    pass_seconds(store, clock, 2)
    stage.set("transform")
    stage.set("lost"), stage.set(["load"])
    pass_seconds(store, clock, 1)
    of = {dict(each.series.labels)["stage"]: each.values.tolist() for each in store.query("stage")}
    assert of == {"load": [1.0, 1.0, 0.0, 0.0], "transform": [0.0, 0.0, 1.0, 1.0], "write": [0.0] * 4}
    assert stage.value == "transform"
    assert causes(store) == {"unknown_state": 2.0}
    for wrong in ([], ["a", "a"], "ab", [1]):
        with pytest.raises(UsageError, match="write each once"):
            store.state("other", wrong)


def test_states_that_lie_apart_are_set_too(store, clock):
    """A state that is new in this version has its place after other series."""
    first, _, second = store.gauge("stage", stage="a"), store.gauge("between"), store.gauge("stage", stage="b")
    stage = store.state("stage", ["a", "b"])
    stage.set("a")
    clock.advance(1)
    stage.set("b")
    assert [values(store, f"stage{{stage={name}}}") for name in ("a", "b")] == [[1.0, 0.0], [0.0, 1.0]]
    assert (first.series.column, second.series.column) == (0, 2)


def test_facts_are_a_point_in_every_window(store, clock):
    """Under the name that receivers expect."""
    store.info("build", version="1.4.2", commit="abc")
    pass_seconds(store, clock, 12)
    series = store.query("build_info", tier=1)[0]
    assert str(series.series) == 'build_info{commit="abc",version="1.4.2"}'
    assert series.values.tolist() == [1.0] * len(series)
    assert len(series) >= 2
