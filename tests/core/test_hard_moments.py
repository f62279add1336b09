"""What happens in the worst moment: late samples after a stall, a kill before the next tick, handlers inside a tick."""

import os
import signal
import sys
import threading

import pytest

from rondo_core import ManualClock, Plugins, Schema, Store, StoreReader, hookimpl
from rondo_core.clock import wall_ns
from rondo_core.errors import SchemaError, StoreForkedError
from rondo_core.export.runner import Runner
from rondo_core.storage.lock import held_by_thread
from rondo_core.storage.runs import Run, read_runs, write_run

S = 10**9
TIERS = (("1s", "20s"), ("10s", "10m"))


@pytest.fixture
def clock():
    return ManualClock(1_700_000_000 * S)


@pytest.fixture
def short(path, clock):
    kinds = [Schema("c", "counter", 4, TIERS), Schema("g", "gauge", 4, TIERS), Schema("s", "summary", 4, TIERS)]
    with Store(path, kinds, clock=clock) as store:
        yield store


def points(reader, selector, start_s=1_700_000_000, **options):
    (data,) = reader.query(selector, "all", **options)
    return dict(zip((data.timestamps_ns // S - start_s).tolist(), data.values.tolist(), strict=True))


def test_a_child_after_fork_declares_nothing_in_the_parents_store(path):
    """Of a strict store its declarations, ticks and records are refused; the parent's series stay what they are."""
    store = Store(path, strict=True)
    reader, writer = os.pipe()
    if os.fork() == 0:
        said = []
        for call in (lambda: store.gauge("of_the_child"), store.tick, lambda: store.counter("x_total").inc()):
            try:
                call()
                said.append("no error")
            except StoreForkedError:
                said.append("refused")
        os.write(writer, " ".join(said).encode())
        os._exit(0)
    os.wait()
    os.close(writer)
    assert os.read(reader, 100) == b"refused refused refused"
    os.close(reader)
    store.gauge("load").set(42.0)
    store.close()
    with StoreReader(path) as found:
        assert points(found, "load", 0)
        assert "of_the_child" not in {series.name for series in found.registry}


def test_series_may_be_declared_while_windows_are_folded(path):
    """The tick thread survives, and a series that was never set has no point anywhere."""
    schemas = [Schema("g", "gauge", 2000, (("1ms", "200ms"), ("10ms", "10s")))]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with Store(path, schemas, tick_interval_s=0.001) as store:
            first = store.gauge("first")
            for n in range(1500):
                first.set(5.0)
                store.gauge("never_set", n=n)
            assert store._thread.is_alive()
            assert all(not len(data) for data in store.query("never_set", tier=1))
    finally:
        sys.setswitchinterval(before)


def test_a_late_sample_and_a_stall_leave_the_coarse_window_whole(short, clock):
    """The window of a late sample is folded again from all of its buckets, before the ring gives any of them away."""
    gauge, counter = short.gauge("g"), short.counter("c_total")
    for second in range(19):
        gauge.set(second)
        counter.inc()
        short.tick()
        clock.advance(1)
    gauge.set(9.0, (1_700_000_000 + 9) * S)
    counter.inc(0, (1_700_000_000 + 9) * S)
    clock.advance(6)
    gauge.set(1.0)
    counter.inc()
    short.tick()
    assert points(short, "g", tier=1)[0] == 4.5
    assert points(short, "c_total", tier=1, fn="first")[0] == 1
    assert points(short, "c_total", tier=1, fn="count")[0] == 10


def test_a_late_sample_survives_a_kill_before_the_next_tick(path, clock):
    """Its window is folded again by the next writer."""
    child = os.fork()
    if child == 0:
        store = Store(path, [Schema("g", "gauge", 4, TIERS)], clock=clock)
        gauge = store.gauge("g")
        for _ in range(15):
            gauge.set(1.0)
            store.tick()
            clock.advance(1)
        gauge.set(1000.0, (1_700_000_000 + 5) * S)
        os._exit(0)
    os.waitpid(child, 0)
    clock.advance(15)
    with Store(path, clock=clock) as store:
        for _ in range(20):
            store.gauge("g").set(1.0)
            store.tick()
            clock.advance(1)
        assert points(store, "g", tier=1, fn="max")[0] == 1000.0


def test_a_handler_may_record_in_the_middle_of_a_tick(path):
    """No increment of a signal handler is lost, whatever the main thread was doing; a close waits for the tick."""
    with Store(path, [Schema("c", "counter", 4, (("1ms", "100ms"), ("10ms", "10s")))]) as store:
        counter, calls = store.counter("c_total"), 0

        def handler(*_):
            nonlocal calls
            counter.inc()
            calls += 1

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.0003)
        try:
            for _ in range(4000):
                store.tick()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert calls > 10
        assert counter.value == calls


@pytest.mark.parametrize("during", ["record", "declaration", "contended declaration", "tick"])
def test_a_handler_may_close_whatever_it_interrupts(path, during):
    """What was under way is ended first, and the store is closed right after it, though its own thread waits for it."""
    wanted, ticking, go_on = threading.Event(), threading.Event(), threading.Event()
    go_on.set()

    def interrupting():
        if threading.current_thread() is not threading.main_thread():
            if not go_on.is_set() and held_by_thread(store._ticking):
                ticking.set()
                go_on.wait()
        elif wanted.is_set():
            wanted.clear()
            go_on.set()
            signal.raise_signal(signal.SIGUSR1)
            if during == "contended declaration":
                while store._thread.told.empty():
                    os.sched_yield()  # its own thread has begun to close it, and waits for the declaration
        return wall_ns()

    store = Store(path, [Schema("c", "counter", 4, (("1ms", "1s"),))], clock=interrupting, tick_interval_s=0.001)
    closed_inside = []

    def handler(*_):
        store.close("signal 10")
        closed_inside.append(store.closed)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        counter = store.counter("c_total")
        if during != "tick":
            go_on.clear()
            ticking.wait()
        wanted.set()
        if during == "record":
            counter.inc(2, wall_ns() + 1_000_000)
        elif during != "tick":
            store.counter("other_total")
        else:
            store.tick()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert closed_inside == [False]
    assert store.closed
    assert read_runs(path / "runs")[-1].ended == "signal 10"


def test_a_tick_from_inside_a_tick_is_the_one_under_way(short):
    """A recorder, or a handler that interrupts the tick, may ask for one: it waits for nothing and ticks nothing."""
    calls = []

    class Ticking:
        @hookimpl
        def rondo_recorder_bind(self, declare):
            def again(now_ns):
                calls.append(now_ns)
                short.tick(now_ns)

            return again

    plugins = Plugins()
    plugins.register(Ticking(), "ticking")
    short.bind_recorders(plugins)
    short.tick()
    assert len(calls) == 1


def test_a_close_from_inside_a_tick_takes_place_after_it(short):
    """A recorder, or a handler that interrupts the tick, may close the store."""

    class Closing:
        @hookimpl
        def rondo_recorder_bind(self, declare):
            return lambda now_ns: short.close("from inside")

    plugins = Plugins()
    plugins.register(Closing(), "closing")
    short.bind_recorders(plugins)
    short.tick()
    assert short.closed
    assert read_runs(short.path / "runs")[-1].ended == "from inside"


def test_a_series_declared_after_the_clock_went_ahead_keeps_its_totals(short, clock):
    """A step back into a second that the series had not seen yet does not lose what was counted."""
    short.summary("old").observe(1.0)
    clock.advance(5)
    new = short.summary("new")
    for _ in range(5):
        new.observe(1.0)
    clock.advance(-2)
    short.tick()
    new.observe(1.0)
    assert max(points(short, "new", fn="total").values()) == 6


def test_history_stays_in_auto_when_the_clock_jumps_ahead_and_back(short, clock):
    """What the jump overwrote in the finest tier is read from the coarser one."""
    counter = short.counter("c_total")
    for _ in range(57):
        counter.inc()
        short.tick()
        clock.advance(1)
    clock.advance(3600)
    short.tick()
    clock.advance(-3600)
    short.tick()
    coarse = {second for second in points(short, "c_total", tier=1) if second < 30}
    assert coarse <= set(points(short, "c_total"))


def test_a_late_observation_before_a_summarys_birth_never_lowers_its_total(short, clock):
    """Totals only grow, also towards buckets in which the series was not declared yet."""
    other, clocked = short.summary("other"), clock() // S
    for _ in range(4):
        other.observe(1.0)
        clock.advance(1)
    late = short.summary("late")
    for _ in range(3):
        late.observe(1.0)
    late.observe(1.0, clocked * S)
    totals = list(points(short, "late", fn="total").values())
    assert totals == sorted(totals)
    assert totals[-1] == 4


def test_tiers_that_could_not_be_folded_in_time_are_refused():
    """One-bucket tiers, and a middle tier that forgets before the next has folded, are refused in words."""
    for tiers, what in (
        ((("1s", "1s"),), "keeps one bucket"),
        ((("1s", "1m"), ("10s", "1m"), ("20s", "10m")), "must outlast"),
    ):
        with pytest.raises(SchemaError, match=what):
            Schema("g", "gauge", 1, tiers)


class Counting:
    """Takes everything."""

    def __init__(self):
        self.samples = 0

    def send(self, batch):
        self.samples += batch.n_samples

    def close(self):
        pass


def test_an_export_goes_on_after_the_clock_stepped_back(short, clock):
    """What is recorded in the present is sent, although the cursor had been further."""
    gauge = short.gauge("g")
    for _ in range(5):
        gauge.set(1.0)
        clock.advance(1)
    assert Runner(short.view, Counting(), "x", clock=clock).finish(0, 0).samples
    clock.advance(-600)
    for _ in range(10):
        short.tick()
        gauge.set(2.0)
        clock.advance(1)
    assert Runner(short.view, Counting(), "x", clock=clock).finish(0, 0).samples >= 8


def test_a_pause_is_no_loss(short, clock):
    """Seconds in which nothing was recorded were not overwritten before they were sent."""
    gauge = short.gauge("g")
    gauge.set(1.0)
    clock.advance(5)
    Runner(short.view, Counting(), "x", clock=clock).finish(0, 0)
    clock.advance(86_400)
    gauge.set(2.0)
    clock.advance(5)
    assert Runner(short.view, Counting(), "x", clock=clock).finish(0, 0).overwritten_buckets == 0


def test_a_cursor_that_cannot_be_saved_stays_in_memory(short, clock, monkeypatch, caplog):
    """A full disk holds no export up; it is said once, and the cursor is saved as soon as the disk takes it."""
    from rondo_core.errors import StoreError
    from rondo_core.export import ledger as module
    from rondo_core.export.cursor import load_cursor

    for _ in range(5):
        short.gauge("g").set(1.0)
        clock.advance(1)
    real, full = module.save_cursor, True

    def save(*arguments):
        if full:
            raise StoreError("cursor_x.json: No space left on device; the cursor stays where it was")
        real(*arguments)

    monkeypatch.setattr(module, "save_cursor", save)
    made = Runner(short.view, Counting(), "x", clock=clock, max_samples=1)
    sent = made.send_now(0, 30).samples
    assert (made.outcome.stopped, made.outcome.failures, sent > 3) == (False, 0, True)
    assert load_cursor(short.path, "x").samples == 0
    assert [record.getMessage() for record in caplog.records] == [
        "cursor_x.json: No space left on device; the export goes on, and what it sends may be sent once more by the next"
    ]
    full = False
    assert made.finish(0, 30).samples == sent == load_cursor(short.path, "x").samples


def test_a_long_text_never_breaks_the_record_of_runs(path, clock):
    """Names are cut to what the record holds, in bytes."""
    Store(path, clock=clock, writer="漢" * 200).close("囗" * 200)
    Store(path, clock=clock).close()
    with StoreReader(path) as reader:
        assert [run.number for run in reader.runs()] == [1, 2]
    write_run(path / "runs", Run(3, 1, 2, "b", 3, 4, "\ud800", "x"))
    assert len(read_runs(path / "runs")) == 3


def test_two_processes_may_make_a_store_at_once(tmp_path):
    """Whoever is slower opens what the other made, or is told who writes it; nobody fails otherwise."""
    from rondo_core.errors import StoreLockedError

    outcomes, start = [], threading.Barrier(4)

    def make():
        start.wait()
        try:
            Store(tmp_path / "s", [Schema("g", "gauge", 1)])
            outcomes.append("open")
        except StoreLockedError:
            outcomes.append("locked")

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["locked", "locked", "locked", "open"]
