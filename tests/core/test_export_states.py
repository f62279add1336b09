"""What becomes of a sample: pending, acknowledged, refused or doubtful, counted once, on disk, whatever happens between."""

import json
import threading

import numpy as np
import pytest

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import (
    AnswerLostError,
    BatchTooLargeError,
    ExportError,
    PermanentExportError,
    ReceiverAwayError,
    RetryableExportError,
    UsageError,
)
from rondo_core.export import runner as runner_module
from rondo_core.export.cursor import cursor_path, load_cursor
from rondo_core.export.delivery import SUSPECT_TRIES
from rondo_core.export.runner import Runner

SECOND_NS = 10**9
SERIES, SECONDS = 8, 40
ALL = SERIES * SECONDS
BAD = 'g{n="3"}'


class Scripted:
    """A receiver: `judge` is asked about each request before anything of it is kept, `after` before it is answered."""

    def __init__(self, judge=None, after=None, *, ordered=False):
        self.judge, self.after, self.ordered = judge, after, ordered
        self.samples, self.newest, self.requests, self.ended = {}, {}, [], []

    def send(self, batch):
        sent = [
            (str(series), int(stamp), float(part.statistics["last"][row, column]))
            for part in batch.parts
            for row, stamp in enumerate(part.timestamps_ns)
            for column, series in enumerate(part.series)
            if not np.isnan(part.statistics["last"][row, column])
        ]
        self.requests.append(sent)
        if self.judge:
            self.judge(sent)
        if self.ordered and any(stamp < self.newest.get(name, 0) for name, stamp, _ in sent):
            raise PermanentExportError("409 conflict")
        for name, stamp, value in sent:
            self.samples[name, stamp] = value
            self.newest[name] = max(self.newest.get(name, 0), stamp)
        self.ended += [str(series) for series in batch.ended]
        if self.after:
            self.after(sent)

    def close(self):
        pass


def raising(error):
    def judge(_sent):
        raise error

    return judge


def never(_sent):
    raise PermanentExportError("400 no")


@pytest.fixture
def closed(path, clock):
    """Eight gauges for forty seconds, in a store that is closed."""
    with Store(path, [Schema("g", "gauge", SERIES, (Tier("1s", "120s"),))], clock=clock) as store:
        handles = [store.gauge("g", n=n) for n in range(SERIES)]
        for second in range(SECONDS):
            for n, handle in enumerate(handles):
                handle.set(second * 10.0 + n)
            clock.advance(1)
    return path


@pytest.fixture(autouse=True)
def _hasty(monkeypatch):
    """What failed is tried again at once."""
    monkeypatch.setattr(runner_module, "BACKOFF_FIRST_S", 1e-4)


def export(path, receiver, deadline_s=30.0, *, retry=True, **options):
    """Export it once, from a process of its own as it were."""
    with StoreReader(path) as reader:
        runner = Runner(reader, receiver, "x", match="g", **options)
        try:
            return runner.send_now(1, deadline_s, retry=retry), runner
        finally:
            runner.release()


def counts(path):
    cursor = load_cursor(path, "x")
    return cursor.samples, cursor.refused, cursor.doubtful


@pytest.mark.parametrize(
    "error",
    [
        ReceiverAwayError("connection refused"),
        RetryableExportError("503"),
        RetryableExportError("429", 3600.0),
        ExportError("401"),
        ExportError("302"),
        PermanentExportError("409"),
    ],
)
def test_what_was_answered_or_never_sent_leaves_no_doubt(closed, error):
    """Such a failure, then a receiver that refuses everything, each from a process of its own: all of it is pending."""
    export(closed, Scripted(raising(error)), 0.0, retry=False)
    assert load_cursor(closed, "x").in_flight == {}
    outcome, runner = export(closed, Scripted(never), 30.0)
    assert (outcome.stopped, runner.complete) == (True, False)
    assert counts(closed) == (0, 0, 0)
    assert load_cursor(closed, "x").positions == {}
    healed = Scripted()
    assert export(closed, healed)[0].samples == len(healed.samples) == ALL


@pytest.mark.parametrize("error", [AnswerLostError("timed out"), TimeoutError("of a plugin's own")])
def test_a_receiver_that_refuses_everything_has_nothing(closed, error):
    """Not even what an answer was lost of: that is in doubt, and stays pending, until the receiver takes something."""
    export(closed, Scripted(raising(error)), 0.0, retry=False)
    assert load_cursor(closed, "x").in_flight
    outcome, runner = export(closed, Scripted(never), 30.0)
    assert (outcome.stopped, runner.complete) == (True, False)
    assert counts(closed) == (0, 0, 0)
    healed = Scripted()
    assert export(closed, healed)[0].samples == len(healed.samples) == ALL


@pytest.mark.parametrize("anew", [False, True], ids=["same process", "next process"])
def test_what_had_arrived_is_doubtful_and_what_follows_arrives(closed, anew):
    """The answer is lost, and what is older than what it has the receiver refuses: only its newest is taken again."""
    lost = []

    def lose(sent):
        if not lost:
            lost.append(sent)
            raise AnswerLostError("timed out")

    receiver = Scripted(after=lose, ordered=True)
    if anew:
        export(closed, receiver, 0.0, retry=False, max_samples=80)
    export(closed, receiver, max_samples=80)
    assert len(receiver.samples) == ALL
    assert counts(closed) == (ALL - 72, 0, 72)


@pytest.mark.parametrize("arrived", [False, True])
def test_what_is_too_old_is_told_apart_from_what_had_arrived(closed, arrived, clock):
    """In doubt no sample is passed over that the receiver would take: it is asked about each instant, oldest first."""
    border = clock() - 30 * SECOND_NS
    lost = []

    def too_old(sent):
        if not lost and not arrived:
            lost.append(1)
            raise AnswerLostError("reset")
        if any(stamp < border for _, stamp, _ in sent):
            raise PermanentExportError("400 out of bounds")

    receiver = Scripted(too_old)
    export(closed, receiver)
    assert len({stamp for _, stamp in receiver.samples}) == 30
    samples, refused, doubtful = counts(closed)
    assert (samples, refused + doubtful) == (30 * SERIES, 10 * SERIES)
    assert (doubtful > 0) == (not arrived)


def test_a_doubt_of_one_instant_is_counted_once(closed):
    """In the outcome as on disk, for requests of a single instant too."""
    receiver = Scripted(after=raising(AnswerLostError("reset")), ordered=True)
    export(closed, receiver, 0.0, retry=False, max_samples=8)
    receiver.after = None
    receiver.newest = {name: stamp + SECOND_NS for name, stamp in receiver.newest.items()}
    outcome, _ = export(closed, receiver, max_samples=8)
    assert counts(closed) == (ALL - 8, 0, 8)
    assert (outcome.samples, outcome.refused_samples, outcome.doubtful_samples) == (ALL - 8, 0, 8)


def test_what_no_request_can_carry_is_refused(closed):
    """An exporter says how many samples it left out of a request that was taken: they are not acknowledged."""

    class LeavesOut(Scripted):
        def send(self, batch):
            super().send(batch)
            return len([1 for name, *_ in self.requests[-1] if name == BAD])

    _, runner = export(closed, LeavesOut(), max_samples=80)
    assert runner.complete
    assert counts(closed) == (ALL - SECONDS, SECONDS, 0)


def not_now(sent):
    if any(name == BAD for name, *_ in sent):
        raise RetryableExportError("500")


def test_a_series_that_is_answered_with_not_now_holds_up_no_other(closed):
    """After three tries it is found and waits; the others arrive with their end; nothing is complete, nothing refused."""
    receiver = Scripted(not_now)
    outcome, runner = export(closed, receiver, max_samples=80)
    assert len(receiver.samples) == ALL - SECONDS
    assert (outcome.samples, outcome.refused_samples, outcome.held_series) == (ALL - SECONDS, 0, 1)
    assert not runner.complete
    assert sorted(receiver.ended) == [f'g{{n="{n}"}}' for n in range(SERIES) if n != 3]
    receiver.judge = None
    outcome, runner = export(closed, receiver, max_samples=80)
    assert (len(receiver.samples), outcome.samples, outcome.held_series) == (ALL, SECONDS, 0)
    assert runner.complete
    assert BAD in receiver.ended
    assert load_cursor(closed, "x").suspects == ()


def test_one_walk_after_the_other_finds_the_series_too(closed):
    """Where each process tries only once, as an agent's walks do: the third finds it."""
    receiver = Scripted(not_now)
    for walk in range(3):
        assert len(receiver.samples) == 0, walk
        export(closed, receiver, retry=False, max_samples=80)
    assert len(receiver.samples) == ALL - SECONDS


def test_a_series_that_is_never_taken_counts_as_refused_in_the_end(path, clock):
    """So many tries, while the receiver takes what is new of others, and it is no longer waited for."""
    receiver = Scripted(not_now)
    with Store(path, [Schema("g", "gauge", SERIES, (Tier("1s", "300s"),))], clock=clock) as store:
        runner = Runner(store.view, receiver, "x", match="g", clock=clock)
        for _ in range(SUSPECT_TRIES + 5):
            for n in range(SERIES):
                store.gauge("g", n=n).set(1.0)
            clock.advance(2)
            runner._sender._isolated._not_before.clear()
            runner.send_now(0, 30)
        cursor = runner.cursor
        runner.release()
    assert cursor.refused >= SUSPECT_TRIES - 2
    assert cursor.samples == len(receiver.samples)
    assert cursor.held == {} or cursor.held[BAD].tries < SUSPECT_TRIES


@pytest.mark.parametrize("error", [RetryableExportError("503"), RetryableExportError("429"), ExportError("403")])
def test_an_outage_is_no_series_fault(closed, error):
    """A receiver that answers so to everything is waited for: all is pending, and few more requests are made."""
    receiver = Scripted(raising(error))
    for _ in range(30):
        export(closed, receiver, retry=False)
    assert len(receiver.requests) < 30 + 5 * 25
    assert counts(closed) == (0, 0, 0)
    assert load_cursor(closed, "x").held == {}
    receiver.judge = None
    outcome, runner = export(closed, receiver)
    assert (outcome.samples, len(receiver.samples), runner.complete) == (ALL, ALL, True)


def test_large_requests_that_are_not_taken_are_made_smaller(closed):
    """A receiver that answers 503 to what is too much for it gets less at a time, and all of it."""

    def too_much(sent):
        if len(sent) > 100:
            raise RetryableExportError("503")

    receiver = Scripted(too_much)
    outcome, _ = export(closed, receiver)
    assert (len(receiver.samples), outcome.samples, outcome.held_series) == (ALL, ALL, 0)


@pytest.mark.parametrize("limit", [2, 30])
def test_a_series_is_found_where_requests_are_limited_too(closed, limit):
    """A receiver that takes little at a time, and one series not now: the others arrive all the same."""

    def judge(sent):
        not_now(sent)
        if len(sent) > limit:
            raise BatchTooLargeError("413")

    receiver = Scripted(judge)
    outcome, _ = export(closed, receiver)
    assert (len(receiver.samples), outcome.refused_samples, outcome.held_series) == (ALL - SECONDS, 0, 1)
    receiver.judge = None
    assert export(closed, receiver)[1].complete
    assert len(receiver.samples) == ALL


def test_several_series_are_found_and_refused_ones_with_them(closed):
    """Three that are answered with not now and one that is refused, of eight: each is what it is, the rest arrives."""
    waiting, bad = {f'g{{n="{n}"}}' for n in (0, 5, 7)}, 'g{n="2"}'

    def judge(sent):
        names = {name for name, *_ in sent}
        if names & waiting:
            raise RetryableExportError("429")
        if bad in names:
            raise PermanentExportError("400")

    receiver = Scripted(judge)
    outcome, _ = export(closed, receiver, max_samples=160)
    assert len(receiver.samples) == 4 * SECONDS
    assert (outcome.samples, outcome.refused_samples, outcome.held_series) == (4 * SECONDS, SECONDS, 3)
    receiver.judge = None
    export(closed, receiver)
    assert len(receiver.samples) == 7 * SECONDS
    assert counts(closed) == (7 * SECONDS, SECONDS, 0)


def test_a_wait_that_a_plugin_asks_for_may_be_anything(closed):
    """Infinite, negative or no number at all: an hour at most, and nothing raises."""
    for asked_s in (float("inf"), 1e300, float("nan"), -5.0):
        outcome, _ = export(closed, Scripted(raising(RetryableExportError("429", asked_s))), retry=False)
        assert 0 < outcome.retry_s <= 3600


def test_what_may_pass_stops_no_live_export(path, monkeypatch):
    """A 404, or a plugin's own bug, in the life of a program: it is tried again, and by the last flush all is there."""
    monkeypatch.setattr(runner_module, "LONG_FIRST_S", 1e-3)
    failed = threading.Event()
    errors = [ExportError("404"), ZeroDivisionError("a bug"), ExportError("401")]

    def judge(_sent):
        if errors:
            raise errors.pop()
        failed.set()

    receiver = Scripted(judge)
    with Store(path, [Schema("g", "gauge", 4)]) as store:
        runner = Runner(store.view, receiver, "x", interval_s=0.01, match="g")
        runner.start()
        while not failed.wait(0.01):
            store.gauge("g").set(1.0)
            store.tick()
        errors.append(ExportError("403"))  # in the last flush, once
    outcome = runner.close(store.run.number)
    assert (outcome.stopped, errors) == (False, [])
    assert runner.complete
    with StoreReader(path) as reader:
        held = reader.query("g", tier=0)[0]
    assert {stamp for _, stamp in receiver.samples} == set(held.timestamps_ns.tolist())


def test_what_the_configuration_makes_impossible_stops_at_once(closed):
    """A UsageError is no answer that could become another."""
    receiver = Scripted(raising(UsageError("url: no")))
    outcome, _ = export(closed, receiver)
    assert (outcome.stopped, len(receiver.requests)) == (True, 1)


def test_a_cursor_goes_with_its_store(closed, tmp_path):
    """A store that is renamed, and another one made at its path, while it is exported: each has its own cursor."""
    with StoreReader(closed) as reader:
        receiver = Scripted()
        runner = Runner(reader, receiver, "x", match="g")
        closed.rename(tmp_path / "moved.rondo")
        with Store(closed, [Schema("g", "gauge", 1)]):
            pass
        runner.finish(1, 5)
    assert counts(tmp_path / "moved.rondo") == (ALL, 0, 0)
    assert not cursor_path(closed, "x").exists()


def test_a_cursor_of_an_older_version_is_read(closed):
    """What was under way, and of it only the suspects: those are sent, the rest is not sent again."""
    export(closed, Scripted(), 0.0, max_samples=80)
    cursor_path(closed, "x").unlink()
    with StoreReader(closed) as reader:
        first = reader.reader("g").index().buckets
    old = {
        "version": 1,
        "exporter": "x",
        "positions": {"g.0": int(first[0])},
        "ended_run": 0,
        "samples": 5,
        "in_flight": {"g.0": int(first[10])},
        "rest_taken": True,
        "suspects": [BAD],
        "refused": 1,
        "overwritten": 0,
        "coarse": 0,
        "doubtful": 2,
        "error": "",
        "error_ns": 0,
    }
    cursor_path(closed, "x").write_text(json.dumps(old))
    receiver = Scripted()
    export(closed, receiver)
    names = {name for name, stamp in receiver.samples if stamp < int(first[10]) * SECOND_NS}
    assert names == {BAD}
    assert len(receiver.samples) == ALL - 10 * (SERIES - 1)
    assert counts(closed) == (5 + ALL - 10 * (SERIES - 1), 1, 2)


@pytest.mark.parametrize("how", ["killed", "receiver away"])
def test_an_end_between_the_others_and_a_suspect_is_counted_once(closed, how):
    """Others of a batch are taken, and it ends before its suspect is sent: they are not sent again, and counted once."""

    class Killed(BaseException):
        pass

    def judge(sent):
        names = {name for name, *_ in sent}
        if names == {BAD} and len(sent) > 1 and not ends:
            ends.append(1)
            raise Killed if how == "killed" else ReceiverAwayError("refused")
        if BAD in names:
            raise PermanentExportError("400")
        again = {(name, stamp) for name, stamp, _ in sent} & set(receiver.samples)
        assert not again

    ends = []
    receiver = Scripted(judge)
    if how == "killed":
        with pytest.raises(Killed):
            export(closed, receiver, max_samples=80)
    export(closed, receiver, max_samples=80)
    assert ends
    assert len(receiver.samples) == ALL - SECONDS
    samples, refused, doubtful = counts(closed)
    assert (samples, refused + doubtful) == (ALL - SECONDS, SECONDS)
    assert (doubtful > 0) == (how == "killed")
