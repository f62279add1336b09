"""Export: closed buckets only, oldest first, acknowledged before the cursor moves, nothing lost or sent twice."""

import threading

import numpy as np
import pytest

from rondo_core import Schema, Store, StoreReader
from rondo_core.errors import ExportError, PermanentExportError, RetryableExportError, StoreError
from rondo_core.export.cursor import load_cursor
from rondo_core.export.drain import Drain
from rondo_core.export.runner import Runner
from rondo_core.record.selfmetrics import EXPORTED


class Receiver:
    """Takes samples as a receiver would, and refuses when it is told to."""

    def __init__(self, refuse=None):
        self.refuse, self.samples, self.batches, self.ended, self.closed = refuse, {}, [], [], False

    def send(self, batch):
        if self.refuse:
            self.refuse(batch)
        self.batches.append(batch)
        self.ended += batch.ended
        for part in batch.parts:
            name = "count" if part.kind == "summary" else "last"
            for row, stamp in enumerate(part.timestamps_ns.tolist()):
                for column, series in enumerate(part.series):
                    value = part.statistics[name][row, column]
                    if not np.isnan(value):
                        assert (str(series), stamp) not in self.samples, "sent twice"
                        self.samples[str(series), stamp] = value

    def close(self):
        self.closed = True


@pytest.fixture
def filled(store, clock):
    """Twenty seconds of all three kinds, and an open bucket."""
    counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
    for second in range(20):
        store.tick()
        counter.inc()
        gauge.set(second)
        summary.observe(second)
        clock.advance(1)
    gauge.set(99.0)
    return store


def stored(store, closed_ns):
    """Every sample of the finest tier in buckets that ended by `closed_ns`."""
    found = {}
    for kind, fn in (("counter", "last"), ("gauge", "last"), ("summary", "count")):
        for data in store.view.query([each for each in store.registry if each.kind == kind], tier=0, fn=fn):
            for stamp, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                if stamp + 10**9 <= closed_ns:
                    found[str(data.series), stamp] = value
    return found


def nonzero(samples):
    return {key: value for key, value in samples.items() if not (key[0] == "s" and value == 0)}


def test_only_closed_buckets_leave(filled, clock):
    """A value that may still change is never sent; everything before it is, once."""
    receiver = Receiver()
    Runner(filled.view, receiver, "x", clock=clock).finish(0, 0)
    assert nonzero(receiver.samples) == stored(filled, clock() - 10**9)
    assert receiver.closed
    assert receiver.ended == []


def test_samples_leave_in_time_order_in_bounded_batches(filled, clock):
    """Oldest first across all series; no request is larger than asked for, but for one instant of all series."""
    receiver = Receiver()
    Runner(filled.view, receiver, "x", clock=clock, max_samples=20).finish(0, 0)
    newest = 0
    for batch in receiver.batches:
        stamps = np.concatenate([part.timestamps_ns for part in batch.parts])
        assert stamps.min() > newest
        newest = stamps.max()
        assert batch.n_samples <= 20
    assert len(receiver.batches) >= 4


def test_a_second_export_sends_only_what_is_new(filled, clock):
    """The cursor says where the next export begins."""
    first, second, third = Receiver(), Receiver(), Receiver()
    Runner(filled.view, first, "x", clock=clock).finish(0, 0)
    assert Runner(filled.view, second, "x", clock=clock).finish(0, 0).samples == 0
    clock.advance(3)
    filled.gauge("g").set(1.0)
    Runner(filled.view, third, "x", clock=clock).finish(0, 0)
    assert not set(first.samples) & set(third.samples)
    assert nonzero(first.samples | third.samples) == stored(filled, clock() - 10**9)


def test_the_end_of_a_run_is_sent_once_with_everything_that_was_left(filled, clock, path):
    """After close every bucket leaves, the open one too, and the series are said to have ended; once."""
    filled.close()
    with StoreReader(path) as reader:
        receiver, again = Receiver(), Receiver()
        Runner(reader, receiver, "x").finish(1, 0)
        assert receiver.samples["g", clock() // 10**9 * 10**9] == 99.0
        assert {series.name for series in receiver.ended} >= {"c_total", "g", "s"}
        assert receiver.batches[-1].ended_ns == reader.newest_ns()
        Runner(reader, again, "x").finish(1, 0)
        assert (again.batches, again.ended) == ([], [])


def test_an_outage_loses_nothing(filled, clock, path):
    """What is refused for now is sent again later; the cursor waits; the refusals are counted."""
    down = [RetryableExportError("503"), RetryableExportError("connection refused"), None]

    def refuse(_batch):
        if down[0] is not None:
            raise down.pop(0)

    receiver = Receiver(refuse)
    runner = Runner(filled.view, receiver, "x", clock=clock)
    runner._backoff_s = 0.0
    outcome = runner.finish(0, 30)
    assert outcome.failures == 2
    assert nonzero(receiver.samples) == stored(filled, clock() - 10**9)
    assert load_cursor(path, "x").samples == outcome.samples


def test_one_bad_sample_never_blocks_the_rest(filled, clock):
    """A batch that is refused for good is split until the refused sample is alone; it is dropped and counted."""
    bad_s = clock() // 10**9 - 10

    def refuse(batch):
        for part in batch.parts:
            if any(series.name == "g" for series in part.series) and bad_s * 10**9 in part.timestamps_ns:
                raise PermanentExportError("400 out of bounds")

    receiver = Receiver(refuse)
    outcome = Runner(filled.view, receiver, "x", clock=clock).finish(0, 30)
    expected = stored(filled, clock() - 10**9)
    del expected["g", bad_s * 10**9]
    assert nonzero(receiver.samples) == expected
    assert outcome.refused_samples == 1


def test_a_receiver_that_takes_nothing_moves_no_cursor(filled, clock, path):
    """If every sample is refused it is the receiver, not the samples: the export stops and the store keeps all."""

    def refuse(_batch):
        raise PermanentExportError("400 no")

    outcome = Runner(filled.view, Receiver(refuse), "x", clock=clock).finish(0, 30)
    assert (outcome.stopped, outcome.samples, load_cursor(path, "x").positions) == (True, 0, {})


@pytest.mark.parametrize("error", [ExportError("401 unauthorised"), RuntimeError("a bug in the exporter")])
def test_an_exporter_that_cannot_be_used_stops_alone(filled, clock, path, error):
    """A misconfigured or broken exporter ends its export with one error; the cursor stays, the store records on."""

    def refuse(_batch):
        raise error

    outcome = Runner(filled.view, Receiver(refuse), "x", clock=clock).finish(0, 0)
    assert outcome.stopped
    assert str(error) in outcome.error
    assert load_cursor(path, "x").positions == {}
    filled.counter("c_total").inc()


def test_what_the_ring_gave_away_before_it_was_sent_is_counted(filled, clock):
    """An outage longer than the ring is a counted gap, not a silent one."""
    Runner(filled.view, Receiver(), "x", clock=clock).finish(0, 0)
    for _ in range(100):
        filled.gauge("g").set(1.0)
        filled.tick()
        clock.advance(1)
    receiver = Receiver()
    outcome = Runner(filled.view, receiver, "x", clock=clock).finish(0, 0)
    assert 0 < outcome.overwritten_buckets < 30
    assert outcome.coarse_buckets > 0


def test_two_processes_never_move_one_cursor(filled, clock):
    """A second export of the same store through the same exporter is refused while the first is at work."""
    first = Runner(filled.view, Receiver(), "x", clock=clock)
    with pytest.raises(StoreError, match="another process exports it through x"):
        Runner(filled.view, Receiver(), "x", clock=clock)
    Runner(filled.view, Receiver(), "y", clock=clock).finish(0, 0)
    first.finish(0, 0)
    Runner(filled.view, Receiver(), "x", clock=clock).finish(0, 0)


def test_counters_of_rondos_own_that_find_no_room_are_told_of_once(store, clock, caplog):
    """What is left out is named, with what to do; the others go on."""
    for number in range(40):
        store.self_metrics.set_total("rondo_export_requests_total", 1, exporter=f"e{number}")
    store.tick(clock())
    store.tick(clock())
    told = [record.getMessage() for record in caplog.records if "is left out" in record.getMessage()]
    assert len(told) == 1
    assert "rondo_export_requests_total is left out of rondo's own counters: " in told[0]
    assert 0 < len(store.view.query("rondo_export_requests_total")) < 40


def test_the_runners_thread_sends_and_its_self_metrics_are_in_the_store(path):
    """Beside a live store, from a thread of its own, with a last flush at close."""
    receiver, published = Receiver(), threading.Event()
    store = Store(path, [Schema("g", "gauge", 4)])

    def count(metric, total, **labels):
        store.self_metrics.set_total(metric, total, **labels)
        if metric == EXPORTED and total:
            published.set()

    runner = Runner(store.view, receiver, "x", interval_s=0.02, count=count)
    runner.start()
    while not published.wait(0.01):
        store.gauge("g").set(1.0)
        store.tick()
    store.tick()
    store.close()
    outcome = runner.close(store.run.number)
    assert outcome.samples == len(receiver.samples)
    assert "g" in {series.name for series in receiver.ended}
    assert store.view.query("rondo_export_samples_total{exporter=x}")[0].values[-1] >= 1


def test_a_drain_gives_nothing_for_an_empty_store(store, clock):
    """No series, no samples: nothing to send, no cursor."""
    assert Drain(store.view).next({}, clock(), 100) is None
