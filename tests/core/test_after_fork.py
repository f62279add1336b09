"""After fork the same handles count into the child's own store, and nothing of the parent's is touched."""

import contextlib
import gc
import logging
import math
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier, faults
from rondo_core.errors import StoreClosedError, StoreError, StoreForkedError
from rondo_core.storage.runs import read_runs

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))
SCHEMAS = (
    Schema("c", "counter", 16, TIERS),
    Schema("g", "gauge", 16, TIERS),
    Schema("q", "summary", 4, TIERS, match="sketched", sketch=True),
    Schema("s", "summary", 4, TIERS),
)


def run_in_child(work):
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - the parent sees the status
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def total(directory, selector, fn="last"):
    """Add up the newest values of all stores below the directory; fn count: all values."""
    with StoresReader(directory) as reader:
        found = reader.query(selector, "all", fn=fn, tier=0, open=True)
        return sum(float(data.values.sum() if fn == "count" else data.values[-1]) for data in found if len(data))


@pytest.fixture
def store(tmp_path):
    with Store.for_process(tmp_path, SCHEMAS) as opened:
        yield opened


def test_every_kind_of_handle_goes_on_in_a_childs_own_store(store, tmp_path):
    """Counters, gauges, summaries, sketched ones, batches and timers; the parent's values stay the parent's."""
    counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
    sketched = store.summary("sketched")
    batch = store.batch([store.gauge("b", i=i) for i in range(3)])

    @summary.timed
    def work():
        return None

    def record(number):
        counter.inc(number)
        gauge.set(number)
        summary.observe(number)
        sketched.observe(number)
        batch.set([number] * 3)
        work()

    record(1)
    before = store.path

    def in_the_child():
        assert counter.value == 0.0
        record(10)
        record(10)
        assert counter.value == 20.0
        assert store.path != before
        assert store.run.pid == os.getpid()

    for _ in range(2):
        run_in_child(in_the_child)
    record(1)
    assert store.path == before
    assert counter.value == 2.0
    assert total(tmp_path, "c_total") == 42.0
    assert total(tmp_path, "s", "count") == 12.0
    assert total(tmp_path, "sketched", "count") == 6.0
    with StoresReader(tmp_path) as reader:
        assert len({dict(data.series.labels)["rondo_store"] for data in reader.query("b")}) == 3
        assert {float(data.values[-1]) for data in reader.query("b")} == {1.0, 10.0}


def test_a_childs_store_has_its_series_from_its_birth_on(tmp_path):
    """In the parent's columns, counters at 0 from the child's start, gauges absent until they are set there."""
    clock = ManualClock()
    store = Store.for_process(tmp_path, SCHEMAS, clock=clock)
    store.counter("first_total").inc()
    store.gauge("g").set(1.0)
    counter = store.counter("second_total")
    clock.advance(30)

    def in_the_child():
        counter.inc(3)
        clock.advance(1)
        store.tick()
        store.counter("third_total").inc()
        with StoreReader(store.path) as reader:
            assert [series.column for series in reader.registry if series.schema == "c"] == [0, 1, 2]
            assert {series.created_ns for series in reader.registry} == {clock() - 10**9, clock()}
            (first,), (second,) = reader.query("first_total"), reader.query("second_total")
            assert first.values.tolist() == [0.0, 0.0]
            assert second.values.tolist() == [3.0, 3.0]
            assert not any(len(data) for data in reader.query("g"))
        store.close()
        assert [run.ended for run in read_runs(store.path / "runs")] == ["closed"]

    run_in_child(in_the_child)
    store.close()


def test_growth_is_whole_however_long_a_declaration_or_a_childs_store_takes(tmp_path):
    """Seconds may go by before either is on record: what is counted first has grown from 0, in parent and child."""

    class Slow(ManualClock):
        def __call__(self):
            self.advance(0.3)
            return super().__call__()

    def work():
        for handle in handles:
            handle.inc()
        wait_two_seconds()

    def wait_two_seconds():
        clock.advance(2)
        store.tick()

    clock = Slow(1_700_000_000 * 10**9)
    with Store.for_process(tmp_path, SCHEMAS, clock=clock) as store:
        handles = []
        for number in range(8):
            handles.append(store.counter("c_total", number=number))
            handles[-1].inc()
        wait_two_seconds()
        run_in_child(work)
    with StoresReader(tmp_path) as reader:
        assert len(reader.paths) == 2
        grown = reader.query("c_total", fn="increase", agg=True)
    assert [data.values.tolist() for data in grown] == [[2.0]] * 8


def test_a_fork_of_a_fork_has_a_store_of_its_own(store, tmp_path):
    """Whether or not the generation between has recorded."""
    counter = store.counter("c_total")
    counter.inc()

    def child(records):
        if records:
            counter.inc(10)
        run_in_child(lambda: counter.inc(100))
        counter.inc(1000)

    for records in (True, False):
        run_in_child(lambda records=records: child(records))
    assert total(tmp_path, "c_total") == 1 + 10 + 200 + 2000
    assert len(list(tmp_path.iterdir())) == 5


def test_a_fork_while_other_threads_record_loses_nothing(store, tmp_path):
    """Nor does one thread's record in the child wait for a lock that another thread had."""
    counter, summary = store.counter("c_total"), store.summary("s")
    over, counted = threading.Event(), []

    def record():
        number = 0
        while not over.is_set():
            counter.inc()
            counter.inc(1.0, 5)  # a slow one, which is too late
            summary.observe(1.0)
            number += 1
        counted.append(number)

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()

    def in_the_child():
        for _ in range(100):
            counter.inc(1.0, 5)
            counter.inc()
            summary.observe(1.0)

    for _ in range(10):
        run_in_child(in_the_child)
    over.set()
    for thread in threads:
        thread.join()
    assert total(tmp_path, "c_total") == sum(counted) + 1000
    assert total(tmp_path, "s", "count") == sum(counted) + 1000


def test_threads_of_a_child_that_record_first_at_the_same_time_share_one_store(store, tmp_path):
    """Nothing that they record is lost while it is made."""
    counters = [store.counter("c_total", i=i) for i in range(8)]
    gauge, summary = store.gauge("g"), store.summary("s")

    def in_the_child():
        ready = threading.Barrier(8)

        def record(counter):
            ready.wait()
            for _ in range(1000):
                counter.inc()
                gauge.set(1.0)
                summary.observe(1.0)

        threads = [threading.Thread(target=record, args=(counter,)) for counter in counters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [counter.value for counter in counters] == [1000.0] * 8

    for _ in range(5):
        run_in_child(in_the_child)
    assert total(tmp_path, "c_total") == 5 * 8 * 1000
    assert total(tmp_path, "s", "count") == 5 * 8 * 1000
    assert len(list(tmp_path.iterdir())) == 6


def test_a_child_that_records_nothing_has_a_store_where_the_parents_is_ticked_by_itself(tmp_path):
    """So that its recorders run: the store's thread is there in the child too, and not where there was none."""
    ticked = []
    parent = Store.for_process(tmp_path / "ticked", SCHEMAS, tick_interval_s=0.05)
    parent._ticks.append(lambda _now_ns: ticked.append(os.getpid()))

    def in_the_child():
        while os.getpid() not in ticked:
            time.sleep(0.01)
        assert parent.run.pid == os.getpid()

    run_in_child(in_the_child)
    parent.close()
    with Store.for_process(tmp_path / "quiet", SCHEMAS) as quiet:
        quiet.counter("c_total").inc()
        run_in_child(lambda: None)
    assert len(list((tmp_path / "quiet").iterdir())) == 1


def test_a_recorder_may_fork_in_a_tick(tmp_path):
    """The child's way out of the tick leads into its own store, and the parent's tick ends as ever."""
    with Store.for_process(tmp_path, SCHEMAS) as store:
        counter = store.counter("c_total")
        counter.inc()
        children = []

        def fork(_now_ns):
            if not children:
                children.append(os.fork())

        store._ticks.append(fork)
        store.tick()
        if not children[0]:
            status = 1
            try:
                counter.inc(10)
                store.tick()
                store.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(children[0], 0)[1] == 0
        counter.inc(100)
    assert total(tmp_path, "c_total") == 111.0


def test_a_signal_handler_may_fork_in_the_middle_of_a_slow_record(tmp_path):
    """The record is the parent's; the child's go into its own store, and its way out raises nothing."""
    children = []
    clock = ManualClock()
    with Store.for_process(tmp_path, SCHEMAS, clock=clock) as store:
        counter = store.counter("c_total")
        writer = store._writers["c"]
        inc = writer._inc

        def interrupted(column, amount, now_ns):
            signal.raise_signal(signal.SIGUSR1)
            inc(column, amount, now_ns)

        writer.current.writer._inc = interrupted
        previous = signal.signal(signal.SIGUSR1, lambda *_: children.append(os.fork()))
        clock.advance(1)
        try:
            counter.inc(5)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        if not children[0]:
            status = 1
            try:
                writer.current.writer._inc = inc
                counter.inc(10)
                status = 0 if counter.value == 10.0 else 2
            finally:
                os._exit(status)
        assert os.waitpid(children[0], 0)[1] == 0
        assert counter.value == 5.0
    assert total(tmp_path, "c_total") == 15.0


def test_a_child_holds_nothing_of_its_parents_store(store, tmp_path):
    """No map, no descriptor, no lock: the parent's may be opened by another process while the child lives."""
    counter = store.counter("c_total")
    counter.inc()
    reading, writing = os.pipe()
    held_open, let_end = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.close(let_end)
            store.registry  # noqa: B018
            counter.inc()
            gc.collect()
            path = str(next(each for each in tmp_path.iterdir() if str(each) != str(store.path)))
            held = [line for line in Path("/proc/self/maps").read_text().splitlines() if path in line]
            for descriptor in Path("/proc/self/fd").iterdir():
                with contextlib.suppress(OSError):
                    held += [link for link in [str(descriptor.readlink())] if path in link]
            os.write(writing, (";".join(held) or "nothing").encode())
            os.read(held_open, 1)
            status = 0
        finally:
            os._exit(status)
    os.close(held_open)
    assert os.read(reading, 10_000) == b"nothing"
    path = store.path
    store.close()
    with Store(path) as again:
        assert again.counter("c_total").value == 1.0
    os.close(let_end)
    assert os.waitpid(child, 0)[1] == 0
    os.close(reading)
    os.close(writing)


def test_children_of_children_gather_nothing(store, open_paths):
    """A chain of forks has as many descriptors and maps at its end as at its beginning."""
    counter = store.counter("c_total")

    def held():
        folder = str(store.path.parent)
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if folder in line]
        return len(open_paths(folder)), len(maps)

    counter.inc()

    def deeper(left, first):
        counter.inc()
        now = held()
        assert first is None or now == first
        if left:
            run_in_child(lambda: deeper(left - 1, now))

    run_in_child(lambda: deeper(5, None))


def test_a_child_of_a_closed_store_finds_it_closed(tmp_path):
    """As the parent does."""
    store = Store.for_process(tmp_path, SCHEMAS)
    counter = store.counter("c_total")
    store.close()

    def in_the_child():
        for call in (counter.inc, store.tick, lambda: store.gauge("g")):
            with pytest.raises(StoreClosedError):
                call()

    run_in_child(in_the_child)


def test_a_child_may_close_what_it_has_not_used(store, tmp_path):
    """No store is made for that, and its handles are closed ones from then on; the parent's go on."""
    counter = store.counter("c_total")

    def in_the_child():
        store.close()
        store.close()
        with pytest.raises(StoreClosedError):
            counter.inc()

    run_in_child(in_the_child)
    counter.inc()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_child_whose_store_cannot_be_made_goes_on_and_says_so_once(store, tmp_path, caplog):
    """A strict one raises."""
    counter = store.counter("c_total")
    store.set_child_paths(lambda: iter([tmp_path / "file" / "below"]))
    (tmp_path / "file").write_text("")

    def in_the_child():
        for _ in range(3):
            counter.inc()
            store.gauge("new").set(1.0)
            store.tick()
        store.sync()
        assert store.unkept == "forked"
        assert len(caplog.records) == 1
        assert "no store for process" in caplog.text
        store.close()

    run_in_child(in_the_child)
    counter.inc()
    assert counter.value == 1.0


def test_a_child_that_can_load_no_more_modules_goes_on_all_the_same(tmp_path):
    """Under another root, or as a user who may not read the interpreter's files: what would be logged is left out."""
    with Store(tmp_path / "s", SCHEMAS) as store:
        counter = store.counter("c_total")

        def without_modules():
            sys.modules["logging"] = None
            counter.inc()
            assert store.unkept == "forked"

        run_in_child(without_modules)


def test_a_child_of_a_plain_store_keeps_nothing_counts_it_and_says_so_once(tmp_path, caplog):
    """Its parent's store is its parent's; nothing raises, and the store can be read."""
    with Store(tmp_path / "s", SCHEMAS) as store:
        counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
        batch = store.batch([store.gauge("b", i=i) for i in range(3)])
        counter.inc(5)

        def in_the_child():
            counter.inc()
            gauge.set(1.0)
            summary.observe(1.0)
            batch.set([1.0] * 3)
            store.counter("new_total").inc()
            store.tick()
            store.sync()
            assert [writer.refused["forked"] for writer in store._writers.values()] == [0, 2, 4, 0, 1]
            assert [record.levelno for record in caplog.records] == [logging.WARNING]
            assert "for_process" in caplog.text
            assert store.query("c_total")[0].values[-1] == 5.0
            assert store.unkept == "forked"
            store.close()

        for _ in range(2):
            run_in_child(in_the_child)
        assert counter.value == 5.0
        assert store.unkept == ""
        store.tick()
        (lost,) = store.query("rondo_samples_refused_total{reason=forked}")
        assert lost.values[-1] == 2 * (1 + 1 + 1 + 3 + 1)
        assert {series.name for series in store.registry} >= {"c_total", "g", "s", "b"}
        assert "new_total" not in {series.name for series in store.registry}


def test_a_strict_plain_store_raises_in_a_child(tmp_path):
    """Whatever is called, each time."""
    with Store(tmp_path / "s", SCHEMAS, strict=True) as store:
        counter = store.counter("c_total")

        def in_the_child():
            for call in (counter.inc, store.tick, store.sync, lambda: store.gauge("g")) * 2:
                with pytest.raises(StoreForkedError, match="before fork"):
                    call()

        run_in_child(in_the_child)


_pool_counter = None


def _work(number):
    _pool_counter.inc(number)
    return number


def test_what_a_pool_records_adds_up(store, tmp_path):
    """Of multiprocessing, its workers retired after ten jobs each: the sum over all stores is what was recorded."""
    global _pool_counter  # noqa: PLW0603 - as a program's module has it
    _pool_counter = store.counter("c_total")
    _pool_counter.inc()
    with multiprocessing.get_context("fork").Pool(3, maxtasksperchild=10) as pool:
        assert sum(pool.imap_unordered(_work, range(100))) == sum(range(100))
        pool.close()
        pool.join()
    assert total(tmp_path, "c_total") == 1 + sum(range(100))


def test_a_child_opens_a_store_of_its_own_beside_the_one_that_it_inherits(store, tmp_path):
    """In either order: programs that open one in each process, after fork, find what they ask for."""
    counter = store.counter("c_total")

    def own():
        with Store.for_process(tmp_path, SCHEMAS) as mine:
            mine.counter("mine_total").inc(2)

    def in_the_child():
        own()
        counter.inc(10)
        own()

    run_in_child(in_the_child)
    assert total(tmp_path, "c_total") == 10.0
    assert total(tmp_path, "mine_total") == 4.0


def test_a_child_that_is_killed_while_its_store_is_made_leaves_no_half_of_one(store, tmp_path):
    """At every step: the directory reads, the parent goes on, and the record is there or is not."""
    counter = store.counter("c_total")
    counter.inc()
    made, step = 0, 0
    while not made:
        step += 1
        child = os.fork()
        if not child:
            faults.arm(f"*:{step}")
            counter.inc(1000)
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        assert status in {0, signal.SIGKILL}
        made = status == 0
        assert total(tmp_path, "c_total") % 1000 == 1
    assert step > 10
    assert total(tmp_path, "c_total") >= 1001
    counter.inc()
    assert counter.value == 2.0


@pytest.mark.parametrize("fails", [False, True], ids=["made", "not to be made"])
def test_what_accompanies_a_store_is_made_anew_for_a_childs_own_and_closed_after_it(fails, store, caplog):
    """Where that fails it is said once, and recording goes on; the parent's stays the parent's."""
    made = []

    class Companion:
        def __init__(self, accompanied):
            if fails and made:
                raise StoreError("no receiver; name one")
            made.append((os.getpid(), accompanied.run.pid, self))
            self.closed = []

        def close(self, ended_run):
            self.closed.append((ended_run, store.closed))

    store.attach(Companion)
    counter = store.counter("c_total")

    def in_the_child():
        counter.inc()
        store.tick()
        store.tick()
        store.close()
        assert counter.value == 1.0
        if fails:
            assert caplog.text.count("no receiver") == 1
        else:
            assert [each[:2] for each in made[1:]] == [(os.getpid(), os.getpid())]
            assert made[1][2].closed == [(1, True)]
        assert made[0][2].closed == []

    run_in_child(in_the_child)
    store.close()
    assert [(pid, companion.closed) for pid, _, companion in made] == [(os.getpid(), [(1, True)])]


def test_gauges_that_go_on_in_the_parent_begin_anew_in_a_child(tmp_path):
    """At 0 where they are changed; from then on they go on there too. Functions are read by the child's ticks."""
    clock = ManualClock()
    schemas = (*SCHEMAS, Schema("p", "gauge", 4, TIERS, peaks=True))
    with Store.for_process(tmp_path, schemas, clock=clock) as store:
        changed = [store.gauge("jobs"), store.gauge("queue", peaks=True)]
        read, stage = store.gauge("read"), store.state("stage", ["load", "sort"])
        told = store.info("build", version="3")
        read.set_function(lambda: 7.0)
        family = store.counter("things_total", labels=["n"])
        family.labels(1).inc()
        for gauge in changed:
            gauge.inc(5.0)
        stage.set("load")
        clock.advance(1)
        before = store.path

        def in_the_child():
            for gauge in changed:
                gauge.inc(2.0)
                gauge.dec(3.0)
            stage.set("sort")
            family.labels(1).inc()
            family.labels(2).inc()
            assert store.path != before
            for _ in range(3):
                clock.advance(1)
                store.tick()
            for gauge in (*changed, read, told):
                (data,) = store.query(str(gauge.series), "all", tier=0)
                value = 7.0 if gauge is read else 1.0 if gauge is told else -1.0
                assert data.values.tolist()[-3:] == [value] * 3, gauge
            (peak,) = store.query("queue", "all", fn="max", tier=0)
            assert peak.values.tolist() == [2.0, -1.0, -1.0, -1.0]
            stages = {data.series.labels[0][1]: data.values.tolist() for data in store.query("stage", "all", tier=0)}
            assert stages == {"load": [0.0] * 4, "sort": [1.0] * 4}
            assert [data.values[-1] for data in store.query("things_total", "all", tier=0)] == [1.0, 1.0]
            for gauge in changed:
                gauge.set(math.nan)
            clock.advance(1)
            for gauge in changed:
                gauge.set(4.0)
                gauge.inc()
            clock.advance(1)
            store.tick()
            for gauge in changed:
                (data,) = store.query(str(gauge.series), "all", tier=0)
                assert data.values.tolist()[-2:] == [5.0, 5.0]
            store.close()

        run_in_child(in_the_child)
        store.tick()
        assert [store.query(str(gauge.series), "all", tier=0)[0].values.tolist() for gauge in changed] == [
            [5.0, 5.0]
        ] * 2
