"""An exporter that takes marks and notes beside samples: neither holds up the other, and the run's end waits for both."""

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import PermanentExportError
from rondo_core.export import load_cursor
from rondo_core.export.labelled import Labelled
from rondo_core.export.runner import Runner

START = 1_700_000_000 * 10**9


class Both:
    """Takes samples and marks, but for those that it is told to refuse, or that it fails at."""

    def __init__(self):
        self.samples, self.marks, self.resent = 0, [], []
        self.refuses_samples, self.refused, self.broken = False, set(), set()

    def send(self, batch):
        if self.refuses_samples:
            raise PermanentExportError("400")
        self.samples += batch.n_samples

    def send_event(self, request):
        if request.event.text in self.refused:
            raise PermanentExportError("400")
        if request.event.text in self.broken:
            raise ZeroDivisionError("a bug")
        self.marks.append((request.event.text, dict(request.labels)))
        self.resent += [request.event.text] if request.resent else []

    def close(self):
        pass


@pytest.fixture
def path(tmp_path):
    """A store with five samples and three marks, whose process is gone."""
    clock = ManualClock(START)
    with Store(tmp_path / "s", [Schema("g", "gauge", 4, (Tier("1s", "60s"),))], clock=clock) as store:
        for mark in ("a", "b", "c", None, None):
            store.gauge("level").set(1.0)
            if mark:
                store.mark(mark)
            clock.advance(1)
    return tmp_path / "s"


def send(path, exporter):
    """Try once to send the store to its end; give whether it was, and what was done."""
    with StoreReader(path) as reader:
        runner = Runner(reader, Labelled(exporter, {"instance": "x"}), "both", match="level")
        outcome = runner.send_now(1, 30, retry=False)
        runner.release()
        return runner.complete, outcome


def test_samples_and_marks_go_their_own_ways_to_one_end(path):
    """Both are sent, with the labels of the way out, and only then is the run's end acknowledged."""
    both = Both()
    complete, outcome = send(path, both)
    assert (complete, outcome.samples, outcome.events, both.samples) == (True, 5, 3, 5)
    assert both.marks == [(name, {"instance": "x"}) for name in "abc"]
    assert load_cursor(path, "both").ended_run == 1


def test_marks_that_are_refused_hold_up_no_sample(path):
    """What no other mark vouches for stays pending, and so does the end of the run; the samples are acknowledged."""
    both = Both()
    both.refused = {"a", "b", "c"}
    complete, outcome = send(path, both)
    assert (complete, outcome.samples, outcome.events, outcome.refused_events) == (False, 5, 0, 0)
    assert load_cursor(path, "both").ended_run == 0
    both.refused = {"b"}
    complete, outcome = send(path, both)
    assert (complete, outcome.samples, outcome.events, outcome.refused_events) == (True, 0, 2, 1)


def test_marks_that_are_taken_vouch_for_no_sample(path):
    """A receiver that refuses every sample moves none, whatever marks it takes."""
    both = Both()
    both.refuses_samples = True
    complete, outcome = send(path, both)
    assert (complete, outcome.refused_samples, outcome.events) == (False, 0, 3)
    both.refuses_samples = False
    complete, outcome = send(path, both)
    assert (complete, outcome.samples, [name for name, _ in both.marks]) == (True, 5, list("abc"))


def test_a_mark_that_an_exporter_fails_at_is_doubtful_in_the_end(path):
    """An error that is none of an exporter's leaves a doubt: the mark is sent again as that, 16 times, then counted."""
    both = Both()
    both.broken = {"b"}
    complete, outcome = send(path, both)
    assert (complete, outcome.events) == (False, 1)
    for _ in range(14):
        complete, outcome = send(path, both)
        assert (complete, outcome.events, outcome.doubtful_events) == (False, 0, 0)
    complete, outcome = send(path, both)
    assert (complete, outcome.events, outcome.doubtful_events) == (True, 1, 1)
    assert load_cursor(path, "both").events.number == 3
    assert [name for name, _ in both.marks] == ["a", "c"]
