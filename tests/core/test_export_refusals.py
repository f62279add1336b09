"""What the runner does about a receiver that takes some of it: splitting, suspects, size limits, doubt."""

import numpy as np
import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.errors import AnswerLostError, BatchTooLargeError, PermanentExportError, RetryableExportError
from rondo_core.export.cursor import load_cursor
from rondo_core.export.delivery import MAX_REFUSED
from rondo_core.export.runner import Runner

SECOND_NS = 10**9


class Scripted:
    """Takes a sample once; what `judge` raises, or a list of errors first, is what it answers."""

    def __init__(self, judge=None, errors=()):
        self.judge, self.errors = judge or (lambda _sent: None), list(errors)
        self.samples, self.requests = {}, []

    def send(self, batch):
        sent = [
            (str(series), int(stamp), float(part.statistics["last"][row, column]))
            for part in batch.parts
            for row, stamp in enumerate(part.timestamps_ns)
            for column, series in enumerate(part.series)
            if not np.isnan(part.statistics["last"][row, column])
        ]
        self.requests.append(sent)
        if self.errors and (error := self.errors.pop(0)):
            raise error
        self.judge(sent)
        self.samples.update({(name, stamp): value for name, stamp, value in sent})

    def close(self):
        pass


@pytest.fixture
def gauges(path, clock):
    """Eight gauges for a hundred seconds, and nothing that is open."""
    with Store(path, [Schema("g", "gauge", 8, (Tier("1s", "120s"),))], clock=clock) as store:
        handles = [store.gauge("g", n=n) for n in range(8)]
        for second in range(100):
            for n, handle in enumerate(handles):
                handle.set(second * 10.0 + n)
            clock.advance(1)
        clock.advance(2)
        yield store


def runner(store, receiver, clock, **options):
    made = Runner(store.view, receiver, "x", clock=clock, match="g", **options)
    made._backoff_s = 1e-4
    return made


def refuse(*names):
    def judge(sent):
        if any(name in names for name, *_ in sent):
            raise PermanentExportError("400 never")

    return judge


def test_a_bad_series_costs_few_requests_once_it_is_known(gauges, clock):
    """It is found by halving, then sent apart; the others leave in requests of many instants again, all of them."""
    receiver = Scripted(refuse('g{n="3"}'))
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert len(receiver.samples) == 700
    assert outcome.refused_samples == 100
    assert outcome.requests < 80
    assert runner(gauges, receiver, clock).cursor.suspects == ('g{n="3"}',)


def test_a_series_that_mends_its_ways_is_no_suspect_any_more(gauges, clock):
    """One bad sample is dropped alone; what follows of its series is taken, and it goes with the others again."""
    bad = clock() - 90 * SECOND_NS

    def judge(sent):
        if any(name == 'g{n="3"}' and stamp == bad for name, stamp, _ in sent):
            raise PermanentExportError("400 never")

    receiver = Scripted(judge)
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert (len(receiver.samples), outcome.refused_samples) == (799, 1)
    assert load_cursor(gauges.path, "x").suspects == ()


def test_what_is_too_old_is_dropped_and_the_rest_arrives(gauges, clock):
    """A receiver that refuses all before an instant gets all from it on; what it refused is counted."""
    first = clock() - 60 * SECOND_NS

    def judge(sent):
        if any(stamp < first for _, stamp, _ in sent):
            raise PermanentExportError("400 out of bounds")

    receiver = Scripted(judge)
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert {stamp for _, stamp in receiver.samples} == {first + n * SECOND_NS for n in range(58)}
    assert outcome.refused_samples == 42 * 8
    assert not outcome.stopped


def test_a_receiver_that_refuses_everything_is_asked_a_bounded_number_of_times(path, clock):
    """However long the backlog: the export stops, and the cursor is where it was."""
    with Store(path, [Schema("g", "gauge", 8, (Tier("1s", "20m"),))], clock=clock) as store:
        handles = [store.gauge("g", n=n) for n in range(8)]
        for second in range(1100):
            for handle in handles:
                handle.set(second)
            clock.advance(1)
        receiver = Scripted(refuse(*(f'g{{n="{n}"}}' for n in range(8))))
        outcome = runner(store, receiver, clock, max_samples=400).finish(0, 60)
        assert (outcome.stopped, outcome.samples, outcome.refused_samples) == (True, 0, 0)
        assert MAX_REFUSED < outcome.requests < 3 * MAX_REFUSED
        assert load_cursor(path, "x").positions == {}
        healed = Scripted()
        assert runner(store, healed, clock).finish(0, 60).samples == len(healed.samples) == 8 * 1099


def test_a_long_refused_past_does_not_keep_the_present_from_arriving(path, clock):
    """Where more was refused than is looked into, the newest still arrives, nearly from the first that is taken."""
    with Store(path, [Schema("g", "gauge", 1, (Tier("1s", "20m"),))], clock=clock) as store:
        gauge = store.gauge("g")
        for second in range(1100):
            gauge.set(second)
            clock.advance(1)
        first = clock() - 200 * SECOND_NS

        def judge(sent):
            if any(stamp < first for _, stamp, _ in sent):
                raise PermanentExportError("400 out of bounds")

        receiver = Scripted(judge)
        outcome = runner(store, receiver, clock, max_samples=80).finish(0, 60)
        assert not outcome.stopped
        assert len(receiver.samples) > 180
        assert outcome.samples + outcome.refused_samples == 1099


def test_a_size_limit_is_remembered_and_is_no_refusal(gauges, clock):
    """What is too large is sent in smaller pieces, each instant in time order; nothing counts as refused or failed."""

    def judge(sent):
        if len(sent) > 50:
            raise BatchTooLargeError("413")

    receiver = Scripted(judge)
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert (len(receiver.samples), outcome.refused_samples, outcome.failures) == (800, 0, 0)
    assert sum(len(sent) > 50 for sent in receiver.requests) < 8
    stamps = [stamp for sent in receiver.requests if len(sent) <= 50 for _, stamp, _ in sent]
    assert stamps == sorted(stamps)


def test_an_instant_that_is_too_large_goes_by_series(gauges, clock):
    """Even where not all series of one instant fit into a request."""

    def judge(sent):
        if len(sent) > 3:
            raise BatchTooLargeError("413")

    receiver = Scripted(judge)
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert (len(receiver.samples), outcome.refused_samples) == (800, 0)


class Ordered(Scripted):
    """Refuses what is older than what it has of a series, or the same instant with another value."""

    def __init__(self, **options):
        super().__init__(self.judge_order, **options)
        self.newest = {}

    def judge_order(self, sent):
        newest = dict(self.newest)
        for name, stamp, value in sent:
            at, was = newest.get(name, (0, None))
            if stamp < at or (stamp == at and value != was):
                raise PermanentExportError("400 out of order")
            newest[name] = stamp, value
        self.newest = newest


def test_what_is_refused_after_its_answer_was_lost_is_doubtful(gauges, clock):
    """It arrived, and is refused when it comes again, but for its last instant: doubtful, neither sent nor refused."""

    class Losing(Ordered):
        def send(self, batch):
            super().send(batch)
            if len(self.requests) == 2:
                raise AnswerLostError("timed out")

    receiver = Losing()
    outcome = runner(gauges, receiver, clock, max_samples=80).finish(0, 30)
    assert len(receiver.samples) == 800
    assert (outcome.doubtful_samples, outcome.refused_samples, outcome.samples) == (72, 0, 728)
    assert receiver.requests[1] == receiver.requests[2]
    assert outcome.requests < 50


def test_a_request_that_never_arrived_is_sent_again_as_it_was(gauges, clock):
    """The second try is the first one, to the sample."""
    receiver = Ordered(errors=[None, AnswerLostError("timed out"), AnswerLostError("timed out")])
    outcome = runner(gauges, receiver, clock, max_samples=80).finish(0, 30)
    assert receiver.requests[1] == receiver.requests[2] == receiver.requests[3]
    assert (outcome.retried_samples, outcome.samples, outcome.doubtful_samples) == (160, 800, 0)


def test_after_a_crash_one_request_is_sent_again(gauges, clock):
    """What was under way, and nothing before it, although more had become due meanwhile."""

    class Killed(BaseException):
        pass

    receiver = Ordered(errors=[None, None, Killed()])
    first = runner(gauges, receiver, clock, max_samples=80)
    with pytest.raises(Killed):
        first.finish(0, 30)
    first.release()
    clock.advance(5)
    outcome = runner(gauges, receiver, clock).finish(0, 30)
    assert receiver.requests[3] == receiver.requests[2]
    assert len(receiver.samples) == 800 == outcome.samples + outcome.doubtful_samples + 160


def test_the_wait_that_a_receiver_asks_for_is_kept(gauges, clock):
    """A last flush with less time than that does not ask again."""
    receiver = Scripted(errors=[RetryableExportError("429", 30.0)])
    outcome = runner(gauges, receiver, clock).finish(0, 1)
    assert (outcome.requests, outcome.samples, outcome.stopped) == (1, 0, False)


def test_a_bucket_that_was_flushed_and_opened_again_is_counted(path, clock):
    """Closed, flushed and opened again within a second: the value sent first stands, and it is said how often."""
    schemas = [Schema("g", "gauge", 1), Schema("c", "counter", 1)]
    receiver = Ordered()
    with Store(path, schemas, clock=clock) as store:
        store.gauge("g").set(1.0)
        store.counter("c_total").inc()
    Runner(store.view, receiver, "x", clock=clock).finish(store.run.number, 5)
    with Store(path, schemas, clock=clock) as store:
        store.gauge("g").set(2.0)
        store.counter("c_total").inc()
        clock.advance(1)
        store.tick()
    outcome = Runner(store.view, receiver, "x", clock=clock).finish(store.run.number, 5)
    assert outcome.resumed_buckets >= 2
    assert [value for (name, _), value in receiver.samples.items() if name == "c_total"] == [1.0, 2.0]
    assert outcome.refused_samples == 0


def test_a_crash_while_all_is_refused_moves_no_cursor(gauges, clock):
    """What was refused is dropped only when something else is taken; until then the store's cursor stays."""

    class Killed(BaseException):
        pass

    class Dying(Scripted):
        def send(self, batch):
            if len(self.requests) == 60:
                raise Killed
            super().send(batch)

    first = runner(gauges, Dying(refuse(*(f'g{{n="{n}"}}' for n in range(8)))), clock)
    with pytest.raises(Killed):
        first.finish(0, 30)
    first.release()
    assert first._ledger.is_unconfirmed
    assert load_cursor(gauges.path, "x").positions == {}
    healed = Scripted()
    assert runner(gauges, healed, clock).finish(0, 30).samples == len(healed.samples) == 800
