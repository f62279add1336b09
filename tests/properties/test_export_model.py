"""The runner against a receiver as strict as Prometheus, through faults and crashes of all kinds."""

import os
import random
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from rondo_core import ManualClock, Schema, Store, Tier, faults
from rondo_core.errors import AnswerLostError, BatchTooLargeError, PermanentExportError, RetryableExportError
from rondo_core.export.cursor import load_cursor
from rondo_core.export.runner import Runner
from rondo_core.storage.set_aside import stepped_to

START_S = 1_700_000_000
SECOND_NS = 10**9
TIERS = (Tier("1s", "24s"), Tier("3s", "60s"), Tier("6s", "120s"))
SCHEMAS = [Schema("c", "counter", 4, TIERS), Schema("g", "gauge", 4, TIERS), Schema("s", "summary", 2, TIERS)]
HOUR_NS = 3600 * SECOND_NS


class Killed(BaseException):
    """The sender's process ends here."""


class StrictReceiver:
    """Takes and refuses as Prometheus 2.42 does, whole requests only; and never two values for one sample."""

    def __init__(self, bad, max_samples):
        self.bad, self.max_samples = bad, max_samples
        self.samples, self.last, self.head_ns = {}, {}, 0
        self.faults, self.requests, self.closed = [], 0, False
        self.blocked = ""  # a series that every request with it is answered for with "not now"

    def send(self, batch):
        self.requests += 1
        fault = self.faults.pop(0) if self.faults else "none"
        if fault == "killed before":
            raise Killed
        if fault == "refused now":
            raise RetryableExportError("503")
        sent = list(rows(batch))
        if any(series == self.blocked for series, *_ in sent):
            raise RetryableExportError("500")
        self._take(sent)
        if fault == "killed after":
            raise Killed
        if fault == "lost answer":
            raise AnswerLostError("timed out")

    def _take(self, sent):
        if len(sent) > self.max_samples:
            raise BatchTooLargeError("413")
        last, head_ns = dict(self.last), self.head_ns
        for series, stamp_ns, value in sent:
            known = last.get(series)
            if self.bad(series, stamp_ns):
                raise PermanentExportError("400 this sample never")
            if self.head_ns and stamp_ns < self.head_ns - HOUR_NS:
                raise PermanentExportError("400 out of bounds")
            if known and stamp_ns < known[0]:
                raise PermanentExportError("400 out of order sample")
            if known and stamp_ns == known[0] and value != known[1]:
                raise PermanentExportError("400 duplicate sample for timestamp")
            last[series] = stamp_ns, value
            head_ns = max(head_ns, stamp_ns)
        self.last, self.head_ns = last, head_ns
        self.samples.update({(series, stamp_ns): value for series, stamp_ns, value in sent})

    def close(self):
        self.closed = True


def rows(batch):
    """Every sample of a batch, series by series, as a receiver is sent it."""
    for part in batch.parts:
        values = part.statistics
        columns = (
            {"": values["last"]}
            if part.kind != "summary"
            else {
                "_count": values["count_base"] + values["count"],
                "_sum": values["sum_base"] + values["sum"],
            }
        )
        for suffix, block in columns.items():
            for column, series in enumerate(part.series):
                for row, stamp_ns in enumerate(part.timestamps_ns.tolist()):
                    if not np.isnan(block[row, column]):
                        yield f"{series}{suffix}", stamp_ns, float(block[row, column])


class World:
    """A store that is recorded into, a receiver, and what was truly recorded."""

    def __init__(self, path, bad, max_samples):
        self.path, self.clock = path, ManualClock(START_S * SECOND_NS)
        self.receiver = StrictReceiver(bad, max_samples)
        self.truth, self.lost, self.given_up = {}, set(), 0
        self.arrivals = 0
        self.open()

    def open(self):
        self.store = Store(self.path, SCHEMAS, clock=self.clock)

    def record(self, seconds, sparse):
        """Record a second at a time, and write down what each bucket held when it ended."""
        for _ in range(seconds):
            now_s = self.clock() // SECOND_NS
            for n in range(3):
                self.store.counter("c_total", n=n).inc(n + 1)
                if not sparse or now_s % (n + 2) == 0:
                    self.store.gauge("g", n=n).set(float(now_s * 10 + n))
                    self.store.summary("s", n=n % 2).observe(float(n + 1))
            self.store.tick()
            self.clock.advance(1)
            self.look()

    def look(self):
        """Note what is held, and what the ring gave away that the receiver does not have."""
        held = set()
        for schema in SCHEMAS:
            reader = self.store.view.reader(schema.name)
            held |= {(schema.name, bucket) for bucket in reader.index().buckets.tolist()}
        for each in self.store.registry:
            if each.name.startswith("rondo"):
                continue
            fns = {"": "last"} if each.kind != "summary" else {"_count": "total"}
            for suffix, fn in fns.items():
                (data,) = self.store.view.query([each], tier=0, fn=fn)
                for stamp, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                    self.truth[f"{each}{suffix}", stamp] = (value, each.schema)
        for (series, stamp), (_, schema) in self.truth.items():
            if (schema, stamp // SECOND_NS) not in held and (series, stamp) not in self.receiver.samples:
                self.lost.add((series, stamp))

    def export(self, plan, kill_at, max_samples, ended_run=0):
        """Run an exporter once; the plan's faults meet its requests, and it may be killed at a point between them."""
        self.receiver.faults = list(plan)
        view = self.store.view
        runner = Runner(
            view, self.receiver, "x", clock=self.clock, max_samples=max_samples, match='{__name__!~"rondo_.*"}'
        )
        real, count = faults.point, 0

        def point(name):
            nonlocal count
            count += name.startswith(("cursor.", "export."))
            if kill_at and count == kill_at:
                raise Killed

        faults.point = point
        try:
            return runner.finish(ended_run, 60)
        except Killed:
            runner.release()
            return None
        finally:
            faults.point = real
            self.receiver.faults = []

    def check(self, bad, out_of_bounds_ok):
        """Nothing invented; nothing lost but what is bad, or what the ring gave away before."""
        for (series, stamp), value in self.receiver.samples.items():
            if series.startswith("s") and series.endswith("_sum"):
                continue
            known = self.truth.get((series, stamp))
            if known is None or known[0] != value:
                assert value in self.windows(series, stamp), (series, stamp, value)
        missing = {key for key in self.truth if key not in self.receiver.samples and not bad(*key)}
        assert missing <= self.lost or out_of_bounds_ok, sorted(missing - self.lost)[:5]

    def windows(self, series, stamp):
        """What the windows that end with this bucket hold as their last, as the truth knows it."""
        for length in (3, 6):
            if (stamp // SECOND_NS + 1) % length == 0:
                inside = [stamp - back * SECOND_NS for back in range(length)]
                values = [self.truth[series, each][0] for each in inside if (series, each) in self.truth]
                yield from values[:1]


FAULTS = st.lists(
    st.sampled_from(["none", "none", "refused now", "lost answer", "killed before", "killed after"]), max_size=8
)
STEPS = st.lists(
    st.tuples(
        st.integers(1, 40),
        st.booleans(),
        FAULTS,
        st.integers(0, 30),
        st.sampled_from([1, 9, 60, 10_000]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)
BAD = st.sampled_from(["none", "series", "cells", "both"])


def bad_of(kind):
    """Give the rule by which some samples are refused for good: one series, some samples of another, or both."""

    def bad(series, stamp_ns):
        return (kind in {"series", "both"} and series == 'g{n="1"}') or (
            kind in {"cells", "both"} and series.startswith('g{n="2"}') and stamp_ns // SECOND_NS % 5 == 0
        )

    return bad


@pytest.fixture(scope="module", autouse=True)
def _hasty():
    """What failed is tried again at once: the model has no time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rondo_core.export.runner.BACKOFF_FIRST_S", 1e-4)
        yield


@settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(STEPS, BAD, st.sampled_from([2, 7, 1000]), st.sampled_from(["", "", 'g{n="0"}', 'c_total{n="2"}']))
# Killed while instants went in shares: what had not been sent yet, and is too large for a request, is no doubt.
@example(
    [
        (25, False, ["none", "killed before"], 22, 10_000, True),
        (14, False, ["refused now", "killed after", "none"], 21, 10_000, True),
    ],
    "series",
    2,
    'g{n="0"}',
)
def test_whatever_happens_nothing_is_lost_doubled_or_invented(steps, kind, limit, blocked):
    """Faults, crashes, refusals, small limits, restarts: a strict receiver has every sample once, and no other.

    So it is where one series is answered with not now for a time; meanwhile the others arrive.
    """
    bad, folder = bad_of(kind), Path(tempfile.mkdtemp())
    try:
        world = World(folder / "store.rondo", bad, limit)
        world.receiver.blocked = blocked
        for seconds, sparse, plan, kill_at, max_samples, reopen in steps:
            world.record(seconds, sparse)
            world.export(plan, kill_at, max_samples)
            if reopen:
                world.store.close()
                world.clock.advance(1)
                world.open()
        world.store.close()
        world.look()
        world.export([], 0, 10_000, ended_run=world.store.run.number)
        world.receiver.blocked = ""
        world.export([], 0, 10_000, ended_run=world.store.run.number)
        world.check(bad, out_of_bounds_ok=False)
    finally:
        shutil.rmtree(folder)


# -- a clock that steps, while answers are lost and senders killed


class NotingReceiver:
    """Takes whatever comes, and notes each arrival of a sample.

    Attributes: `arrived`: {(series, stamp): [(value, number of the request)]}; `requests`: of each, whether it was
    settled; `stood_in`: (schema, instant) that a coarse window came for.
    """

    def __init__(self):
        self.arrived, self.requests, self.stood_in, self.faults = {}, [], set(), []

    def send(self, batch):
        fault = self.faults.pop(0) if self.faults else "none"
        if fault == "killed before":
            raise Killed
        if fault == "refused now":
            raise RetryableExportError("503")
        for series, stamp_ns, value in rows(batch):
            self.arrived.setdefault((series, stamp_ns), []).append((value, len(self.requests)))
        for part in batch.parts:
            ratio = part.interval_ns // SECOND_NS
            ends = part.timestamps_ns.tolist() if ratio > 1 else ()
            self.stood_in |= {(part.schema, end - back * SECOND_NS) for end in ends for back in range(ratio)}
        self.requests.append(fault == "none")
        if fault == "killed after":
            raise Killed
        if fault == "lost answer":
            raise AnswerLostError("timed out")

    def close(self):
        pass


class SteppingWorld(World):
    """A store whose clock steps, its exports, and what each second ever held.

    Attributes: `held`: {(series, stamp): values}; `unseen`: instants recorded between a step back and the moment in
    which the clock had passed all that it took back, without an export that looked meanwhile: docs/limits.md.
    """

    def __init__(self, path, chance):
        self.chance, self.held, self.unseen, self._since, self._looked = chance, {}, set(), [], True
        super().__init__(path, bad_of("none"), 1 << 30)
        self.receiver = NotingReceiver()

    def record(self, seconds):
        for _ in range(seconds):
            number = float(self.clock() // SECOND_NS * 1000 + self.chance.randrange(1000))
            for n in range(2):
                self.store.counter("c_total", n=n).inc()
                self.store.gauge("g", n=n).set(number)
                self.store.summary("s", n=n).observe(1.0)
            self._tick(self.clock())
            self.clock.advance(1)
            self.look()

    def _tick(self, recorded_ns):
        self.store.tick()
        stepped = stepped_to(self.store.view.slabs["c"][0]) > 0
        if not self._looked:
            self._since.append(recorded_ns // SECOND_NS * SECOND_NS)
        if not (stepped or self._looked):
            self.unseen |= set(self._since)
        if not stepped:
            self._since, self._looked = [], True

    def step(self, seconds):
        self.clock.advance(seconds)
        self._looked &= seconds > 0

    def look(self):
        for key, value in self.stored():
            self.held.setdefault(key, set()).add(value)

    def stored(self):
        """Give every sample that the finest tier holds: ((series, stamp), value)."""
        for each in self.store.registry:
            if not each.name.startswith("rondo"):
                suffix, fn = ("_count", "total") if each.kind == "summary" else ("", "last")
                (data,) = self.store.view.query([each], tier=0, fn=fn)
                pairs = zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True)
                yield from (((f"{each}{suffix}", stamp), value) for stamp, value in pairs)

    def export(self, plan=(), kill_at=0, max_samples=10_000, ended_run=0):
        """Export once; take note of what the process that was killed had not settled."""
        before = len(self.receiver.requests)
        outcome = super().export(list(plan), kill_at, max_samples, ended_run)
        if outcome is None and self.receiver.requests[before:] and load_cursor(self.path, "x").in_flight:
            self.receiver.requests[-1] = False
        if outcome is not None or len(self.receiver.requests) > before:
            self._looked, self._since = True, []

    def judge(self):
        """No acknowledged instant came again with another value; all that is there arrived, but what limits.md says."""
        answered = self.receiver.requests
        for (series, stamp), arrivals in self.receiver.arrived.items():
            if not series.endswith("_sum"):
                # A window that stands in is sent with the instant of its last second.
                spans = 6 if (series[0], stamp) in self.receiver.stood_in else 1
                near = [stamp - back * SECOND_NS for back in range(spans)]
                known = set().union(*(self.held.get((series, each), ()) for each in near))
                inside = spans > 1 and all(min(known) <= value <= max(known) for value, _ in arrivals)
                assert inside or {value for value, _ in arrivals} <= known, (series, stamp, arrivals, known)
            for (value, _), (other, number) in pairwise(arrivals):
                acknowledged = [each for _, each in arrivals if each < number and answered[each]]
                assert value == other or not acknowledged, (series, stamp, arrivals)
        for (series, stamp), _ in self.stored():
            stood_in = (series[0], stamp) in self.receiver.stood_in
            assert (series, stamp) in self.receiver.arrived or stood_in or stamp in self.unseen, (series, stamp)


STEPS_S = (-2, -3, -5, -8, -12, -20, 3, 6, 15)
ANSWERS = ("none", "none", "refused now", "lost answer", "killed before", "killed after")
JOURNEYS = int(os.environ.get("RONDO_EXPORT_JOURNEYS", "12"))


@pytest.mark.parametrize("seed", range(JOURNEYS))
def test_a_clock_that_steps_while_requests_are_in_doubt_sends_no_acknowledged_instant_anew(seed, path):
    """Lost answers, killed senders and a clock that steps: two values of an instant only where no answer came."""
    chance = random.Random(seed)
    world = SteppingWorld(path, chance)
    for _ in range(chance.randint(3, 9)):
        world.record(chance.randint(1, 15))
        if chance.random() < 0.8:
            plan = [chance.choice(ANSWERS) for _ in range(chance.randint(0, 4))]
            world.export(plan, chance.choice([0, 0, 0, chance.randint(1, 20)]), chance.choice([4, 20, 10_000]))
        if chance.random() < 0.3:
            world.store.close()
            world.open()
        if chance.random() < 0.5:
            world.step(chance.choice(STEPS_S))
    world.store.close()
    world.look()
    world.export(ended_run=world.store.run.number)
    world.judge()
