"""Recording: what each kind keeps, under threads, in other buckets than the current, after close and fork."""

import math
import os
import signal
import threading
from array import array

import numpy as np
import pytest

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.clock import ManualClock
from rondo_core.errors import LabelError, StoreClosedError, StoreForkedError, UsageError


def points(store, selector, **options):
    (data,) = store.query(selector, "all", open=True, **options)
    return dict(zip((data.timestamps_ns // 10**9).tolist(), data.values.tolist(), strict=True))


def test_a_gauge_keeps_the_last_value_of_a_bucket(store, clock):
    """Two sets in one second: the later one stands."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    clock.advance(0.5)
    gauge.set(2.0)
    assert list(points(store, "g").values()) == [2.0]


@pytest.mark.parametrize("value", [math.inf, -math.inf, 0, -1.5, 2**60])
def test_a_gauge_takes_any_number(store, value):
    """Infinities and integers are values of a gauge."""
    store.gauge("g").set(value)
    assert list(points(store, "g").values()) == [float(value)]


def test_nan_makes_a_gauges_bucket_absent(store):
    """NaN says "not known": the bucket reads as if nothing had been set."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    gauge.set(math.nan)
    assert points(store, "g") == {}


def test_a_summary_keeps_count_sum_min_and_max_of_all_observations(store, clock):
    """Every observation of a bucket counts."""
    summary = store.summary("s")
    for value in (3.0, -1.0, 10.0, 2.0, 2.0):
        summary.observe(value)
    found = {fn: list(points(store, "s", fn=fn).values()) for fn in ("count", "sum", "min", "max", "avg", "total")}
    assert found == {"count": [5], "sum": [16], "min": [-1], "max": [10], "avg": [3.2], "total": [5]}


@pytest.mark.parametrize("late_s", [0, 3])
def test_observations_added_up_elsewhere_count_as_one_by_one(store, clock, late_s):
    """How many, sum, least and greatest, merged in one call, leave what the observations themselves would; also late."""
    one_by_one, merged = store.summary("s", way="each"), store.summary("s", way="sum")
    for values in ((3.0, -1.0, 10.0), (2.0,), (2.0, 4.0)):
        now_ns = clock()
        clock.advance(late_s)
        store.tick()
        for value in values:
            one_by_one.observe(value, now_ns)
        merged.merge(len(values), sum(values), min(values), max(values), now_ns)
    clock.advance(50)
    store.tick()
    for tier in (0, 1):
        for fn in ("count", "sum", "min", "max", "total"):
            each, together = ([*points(store, f"s{{way={way}}}", fn=fn, tier=tier).items()] for way in ("each", "sum"))
            assert each == together
    assert sum(points(store, "s{way=sum}", fn="count", tier=0).values()) == 6


@pytest.mark.parametrize(
    "many", [(0, 0.0, 0.0, 0.0), (-1, 1.0, 1.0, 1.0), (1, math.nan, math.nan, math.nan), (2, 1.0, 1.0, math.inf)]
)
def test_a_summary_refuses_to_merge_what_no_observations_come_to(store, many):
    """None at all, undefined and infinite ones change nothing and are counted."""
    summary = store.summary("s")
    summary.observe(1.0)
    summary.merge(*many)
    store.tick()
    assert list(points(store, "s", fn="count").values()) == [1.0]
    assert list(points(store, "rondo_samples_refused_total{reason=invalid}").values()) == [1]


def test_a_summary_with_a_sketch_takes_no_sums(path):
    """They do not say where each observation counts: an error says so, and nothing changes."""
    with Store(path, [Schema("s", "summary", 1, (Tier("1s", "60s"),), sketch=True)]) as store:
        summary = store.summary("s")
        assert summary.sketched
        with pytest.raises(
            UsageError, match="s: its schema keeps a sketch, which needs every observation; use observe"
        ):
            summary.merge(1, 1.0, 1.0, 1.0)
        summary.observe(1.0)
        assert list(points(store, "s", fn="count").values()) == [1.0]


def test_a_summary_that_saw_nothing_in_a_bucket_is_absent_there(store, clock):
    """No observation is not an observation of zero; the running total goes on."""
    summary = store.summary("s")
    summary.observe(1.0)
    clock.advance(1)
    store.tick()
    clock.advance(1)
    summary.observe(5.0)
    assert list(points(store, "s", fn="avg").values()) == [1.0, 5.0]
    assert list(points(store, "s", fn="total").values()) == [1.0, 1.0, 2.0]


@pytest.mark.parametrize("amount", [-1.0, math.nan, math.inf])
def test_a_counter_refuses_what_would_make_it_lie(store, clock, amount):
    """A negative, infinite or undefined increment changes nothing and is counted."""
    counter = store.counter("c_total")
    counter.inc(2)
    counter.inc(amount)
    assert counter.value == 2
    store.tick()
    assert list(points(store, "rondo_samples_refused_total{reason=invalid}").values()) == [1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_summary_refuses_what_has_no_sum(store, value):
    """Undefined and infinite observations change nothing and are counted."""
    summary = store.summary("s")
    summary.observe(value)
    summary.observe(1.0)
    store.tick()
    assert list(points(store, "s", fn="sum").values()) == [1.0]
    assert list(points(store, "rondo_samples_refused_total{reason=invalid}").values()) == [1]


def test_counters_are_exact_under_eight_threads(path):
    """8 threads x 200,000 increments make 1,600,000, while a reader reads and the maintenance thread ticks."""
    with Store(path, tick_interval_s=0.05) as store:
        counter = store.counter("c_total")
        start = threading.Barrier(8)

        def work():
            start.wait()
            inc = counter.inc
            for _ in range(200_000):
                inc()

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            store.query("c_total")
        for thread in threads:
            thread.join()
        assert counter.value == 1_600_000
    with StoreReader(path) as reader:
        values = reader.query("c_total", tier=0)[0].values
        assert values[-1] == 1_600_000
        assert (np.diff(values) >= 0).all()


def test_every_kind_is_exact_under_eight_threads(path):
    """Eight threads observe and set while one reads and one ticks: all observations count, batches are seen whole."""
    schemas = [
        Schema("c", "counter", 4),
        Schema("g", "gauge", 8),
        Schema("q", "summary", 1, match="q", sketch=True),
        Schema("s", "summary", 4),
    ]
    with Store(path, schemas, tick_interval_s=0.05) as store:
        plain, sketched, batch = (
            store.summary("s"),
            store.summary("q"),
            store.batch([store.gauge("g", n=n) for n in range(8)]),
        )
        start = threading.Barrier(8)

        def work(value):
            start.wait()
            for _ in range(10_000):
                plain.observe(value)
                sketched.observe(value)
                batch.set([value] * 8)

        threads = [threading.Thread(target=work, args=(value,)) for value in range(1, 9)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            (table,) = store.query("g", tier=0, fn="last").tables
            assert (table.values == table.values[:, :1]).all()
            assert (store.query("s", fn="max", tier=0)[0].values <= 8).all()
        for thread in threads:
            thread.join()
        for name in "sq":
            assert store.query(name, fn="count", tier=0, open=True)[0].values.sum() == 80_000
            assert store.query(name, fn="sum", tier=0, open=True)[0].values.sum() == 360_000
            assert store.query(name, fn="total")[0].values[-1] == 80_000


def test_huge_numbers_and_infinities_never_stop_a_tick_or_a_read(store, clock):
    """Whatever the program asks of numpy: a sum of both infinities is absent, all else is there."""
    gauge, huge, summary = store.gauge("g"), store.gauge("huge"), store.summary("s")
    with np.errstate(all="raise"):
        for value in (math.inf, -math.inf, 1.0, 1e308):
            gauge.set(value)
            huge.set(1.7e308)
            summary.observe(1.7e308)
            summary.observe(1.7e308)
            clock.advance(1)
        clock.advance(20)
        store.tick()
        for tier in (1, "auto"):
            for fn in ("avg", "sum", "min", "max"):
                store.query("{__name__!~'rondo.*'}", tier=tier, fn=fn)[0].values.sum(where=False)
        assert list(points(store, "g", tier=1, fn="min").values()) == [-math.inf]
        assert points(store, "g", tier=1, fn="avg") == {}
        assert list(points(store, "huge", tier=1, fn="last").values()) == [1.7e308]
        assert list(points(store, "s", tier=1, fn="max").values()) == [1.7e308]


def test_a_counter_has_no_gap_while_its_process_lives(store, clock):
    """Seconds in which nobody ticked and nothing was added read as the total they had."""
    counter = store.counter("c_total")
    start_s = clock() // 10**9
    counter.inc(3)
    clock.advance(5)
    counter.inc(4)
    assert points(store, "c_total", tier=0) == {start_s + s: 3 for s in range(5)} | {start_s + 5: 7}


def test_a_counter_goes_on_from_its_last_total_when_the_store_is_reopened(path, clock, small_schemas):
    """Totals and summaries' running totals survive the process; the time between is absent, not filled."""
    start_s = clock() // 10**9
    with Store(path, small_schemas, clock=clock) as store:
        store.counter("c_total").inc(5)
        store.summary("s").observe(2.0)
    clock.advance(10)
    with Store(path, small_schemas, clock=clock) as store:
        counter, summary = store.counter("c_total"), store.summary("s")
        assert counter.value == 5
        counter.inc()
        summary.observe(3.0)
        assert points(store, "c_total", tier=0) == {start_s: 5, start_s + 10: 6}
        assert points(store, "s", fn="total", tier=0) == {start_s: 1, start_s + 10: 2}


def test_a_late_increment_counts_from_its_own_bucket_on(store, clock):
    """A counter's rows from the late bucket on all hold it; none ever decreases."""
    counter = store.counter("c_total")
    start_s = clock() // 10**9
    for _ in range(4):
        counter.inc()
        clock.advance(1)
    counter.inc(10, (start_s + 1) * 10**9)
    assert points(store, "c_total", tier=0) == {start_s: 1, start_s + 1: 12, start_s + 2: 13, start_s + 3: 14}


def test_a_late_sample_reaches_the_coarse_tiers(store, clock):
    """A window that was folded before a late sample came is folded again."""
    gauge = store.gauge("g")
    clock.advance(60 - clock() // 10**9 % 60)
    start_s = clock() // 10**9
    for _ in range(25):
        gauge.set(1.0)
        store.tick()
        clock.advance(1)
    gauge.set(100.0, (start_s + 3) * 10**9)
    store.tick()
    assert points(store, "g", tier=1, fn="max")[start_s] == 100.0


def test_too_old_samples_are_refused_and_counted(store, clock):
    """A sample older than the ring changes nothing."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    gauge.set(9.0, clock() - 3600 * 10**9)
    store.tick()
    assert list(points(store, "g").values()) == [1.0]
    assert list(points(store, "rondo_samples_refused_total{reason=late}").values()) == [1]


def test_samples_from_the_future_are_refused_and_counted(store, clock):
    """A time that the clock has not reached is not taken: it would push the present out of the ring."""
    gauge = store.gauge("g")
    gauge.set(1.0)
    gauge.set(9.0, clock() + 3600 * 10**9)
    store.tick()
    assert list(points(store, "g").values()) == [1.0]
    assert list(points(store, "rondo_samples_refused_total{reason=future}").values()) == [1]


@pytest.mark.parametrize("step_s", [-5, -300, -86400, 5, 300, 86400 * 400])
def test_a_clock_step_never_corrupts_the_ring(store, clock, step_s):
    """After a step, back or forward, recording goes on; counters never decrease; no ghost is read."""
    gauge, counter = store.gauge("g"), store.counter("c_total")
    written = {}

    def record(value):
        store.tick()
        gauge.set(value)
        counter.inc()
        written[clock() // 10**9] = value

    for second in range(20):
        record(second)
        clock.advance(1)
    clock.advance(step_s)
    for second in range(20):
        record(1000 + second)
        clock.advance(1)
    found = points(store, "g", tier=0)
    assert found
    assert all(written[second] == value for second, value in found.items())
    assert set(range(clock() // 10**9 - 20, clock() // 10**9)) <= set(found)
    totals = list(points(store, "c_total", tier=0).values())
    assert totals == sorted(totals)
    assert counter.value == 40


def test_a_batch_is_one_store_of_all_its_gauges(store, clock):
    """Arrays, numpy rows and lists do; a wrong number of values is refused and changes nothing."""
    gauges = [store.gauge("g", n=str(n)) for n in range(4)]
    batch = store.batch(gauges)
    for values in (array("d", [1, 2, 3, 4]), np.array([5.0, 6, 7, 8]), [9, 10, 11, 12], (1.5, 2.5, 3.5, 4.5)):
        clock.advance(1)
        batch.set(values)
        batch.set(values)
        assert [data.values[-1] for data in store.query("g")] == list(map(float, values))
    with pytest.raises(ValueError):
        batch.set([1.0])
    with pytest.raises(UsageError, match="order of their declaration"):
        store.batch([gauges[0], gauges[2]])
    assert [data.values[-1] for data in store.query("g")] == [1.5, 2.5, 3.5, 4.5]


def test_a_summary_times_blocks_and_functions(store):
    """A context manager and a decorator observe seconds, also when the block raises."""
    summary = store.summary("work_seconds")
    with summary.time():
        pass

    @summary.timed
    def double(value):
        return value * 2

    assert double(21) == 42
    with pytest.raises(KeyError), summary.time():
        raise KeyError
    assert list(points(store, "work_seconds", fn="count").values()) == [3]


def test_the_same_series_is_the_same_handle(store):
    """Labels may come as keywords or as a mapping, in any order."""
    assert store.counter("c_total", a="1", b="2") is store.counter("c_total", {"b": "2"}, a="1")


def test_a_name_has_one_kind(store):
    """Declaring a counter's name as a gauge is refused."""
    store.counter("x_total")
    with pytest.raises(LabelError, match="is a counter already"):
        store.gauge("x_total")


@pytest.mark.parametrize(
    ("name", "labels"), [("9x", {}), ("a b", {}), ("", {}), ("ok", {"a-b": "1"}), ("ok", {"__x": "1"})]
)
def test_names_that_receivers_could_not_take_are_refused_when_declared(store, name, labels):
    """Bad names never reach a store."""
    with pytest.raises(LabelError):
        store.gauge(name, labels)


def test_a_closed_store_refuses_clearly(path, clock):
    """Recording after close raises StoreClosedError; closing twice is closing once."""
    store = Store(path, clock=clock)
    counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
    store.close()
    store.close()
    for call in (counter.inc, lambda: gauge.set(1), lambda: summary.observe(1), store.tick, lambda: store.gauge("h")):
        with pytest.raises(StoreClosedError, match="closed"):
            call()


def test_a_child_after_fork_refuses_clearly_and_the_parent_goes_on(path):
    """A strict store's handles raise StoreForkedError in the child; the parent's store stays whole and locked."""
    store = Store(path, strict=True)
    counter = store.counter("c_total")
    counter.inc()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            counter.inc()
            os.write(writer, b"recorded")
        except StoreForkedError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    assert "before fork" in said
    counter.inc()
    assert counter.value == 2
    assert store.view.writer_pid() == os.getpid()
    store.close()


def test_a_signal_handler_may_record_through_the_same_handle(path):
    """No lock of the hot path is held when a handler runs, so a handler that records cannot deadlock."""
    with Store(path) as store:
        counter = store.counter("c_total")
        previous = signal.signal(signal.SIGUSR1, lambda *_: counter.inc(1000))
        try:
            for _ in range(100):
                counter.inc()
                signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert counter.value == 100 * 1001


def test_many_summaries_carry_their_totals_on_as_few_do(tmp_path, clock):
    """The totals before a bucket are right for every one of a hundred summaries, those that were idle included."""
    with Store(tmp_path / "s", [Schema("s", "summary", 200, (Tier("1s", "10s"),))], clock=clock) as store:
        summaries = [store.summary("s", n=n) for n in range(100)]
        for second in range(5):
            for n, summary in enumerate(summaries):
                if n % (second + 1) == 0:
                    summary.observe(n)
            if second == 2:
                summaries.append(store.summary("s", n=100))
            clock.advance(1)
        store.tick()
        for n, data in enumerate(store.query("s", fn="total", tier=0)):
            observed = [sum(n % (each + 1) == 0 for each in range(second + 1)) for second in range(5)]
            expected = [*observed, observed[-1]] if n < 100 else [0, 1, 2, 2]
            assert data.values.tolist() == expected


class PassingClock(ManualClock):
    """A clock on which time passes with each look."""

    each_s = 0.0

    def __call__(self):
        now_ns = self.now_ns
        self.advance(self.each_s)
        return now_ns


def test_a_record_that_enters_a_bucket_belongs_to_the_instant_of_its_call(path):
    """What passes while its bucket is entered moves a sample into no later one."""
    clock = PassingClock()
    called_s = clock.now_ns // 10**9 + 1
    schemas = [Schema("g", "gauge", 1), Schema("c", "counter", 1), Schema("s", "summary", 1)]
    with Store(path, schemas, clock=clock) as store:
        gauge, counter, summary = store.gauge("g"), store.counter("c_total"), store.summary("s")
        for record in (lambda: gauge.set(1.0), counter.inc, lambda: summary.observe(1.0)):
            clock.now_ns, clock.each_s = called_s * 10**9, 1.0
            record()
            clock.each_s = 0.0
        assert points(store, "g") == {called_s: 1.0}
        assert max(points(store, "c_total", fn="last")) == called_s
        assert points(store, "s", fn="count") == {called_s: 1.0}
