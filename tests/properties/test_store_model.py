"""A slow, obvious model of a store beside the real one, under random sequences of what users do."""

import math
import os
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.maintain.check import check_store
from rondo_core.record import consolidation

TIERS = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
RATIOS = (1, 10, 30)
SLOTS = [tier.slot_count for tier in TIERS]
NUMBERS = st.integers(-1000, 1000).map(lambda n: n / 8)
FNS = {
    "c": ("last", "first", "min", "max", "count", "increase", "rate"),
    "g": ("avg", "min", "max", "sum", "count", "first", "last"),
    "s": ("avg", "min", "max", "sum", "count", "total"),
}
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def schemas(sketch):
    return [
        Schema("c", "counter", 2, TIERS),
        Schema("g", "gauge", 2, TIERS),
        Schema("s", "summary", 2, TIERS, sketch=sketch),
    ]


def in_ring(buckets, slots):
    """Give the buckets of which no newer one has taken the slot, and who holds each slot."""
    held = {}
    for bucket in sorted(buckets):
        held[bucket % slots] = bucket
    return set(held.values()), held


class Model:
    """All that was recorded, by series and second, in plain dictionaries.

    `lost`: seconds, by kind, that a future which was taken back had overwritten in the finest tier. What was recorded
    in them still counts in coarse windows; `murky` are the windows, by kind and tier, that may hold only part of it.
    `copies`: seconds whose slots were used while the ring turned whole. `closed_in`: windows in which the store closed.
    """

    def __init__(self):
        self.gauges = {}
        self.observed = {}
        self.increments = {}
        self.carried = {}
        self.rows = {"c": set(), "g": set(), "s": set()}
        self.lost = {"c": set(), "g": set(), "s": set()}
        self.copies = {"c": set(), "s": set(), "g": set()}
        self.closed_in = {(kind, tier): set() for kind in "cgs" for tier in (1, 2)}
        self.murky = {(kind, tier): set() for kind in "cgs" for tier in (1, 2)}
        self.born = {}

    def enter(self, kind, second, opened):
        """A counter has a row for every second from the first on in which its process lived."""
        newest = max(self.rows[kind], default=None)
        if newest is not None and second > newest and kind == "c":
            oldest = -(-(second - SLOTS[0] + 1) // RATIOS[1]) * RATIOS[1]
            first = max(newest + 1, opened)  # a longer gap than the ring can hold is filled nowhere
            self.rows[kind] |= set(range(first, second) if first >= oldest else ())
        if newest is not None and second > newest and kind != "g" and not (second - newest) % SLOTS[0]:
            # Whole turns of the ring: the slot before keeps a copy meanwhile; it held what the tier need not keep.
            self.copies[kind].add(second - 1)
            self.lost[kind] |= {
                row for row in self.rows[kind] if row < second - 1 and not (second - 1 - row) % SLOTS[0]
            }
        if second in self.lost[kind]:
            self.enter_anew(kind, second)
        later = min((row for row in self.rows[kind] if row > second), default=None)
        if kind == "s" and later is not None and second not in self.rows[kind]:
            # A late row begins with the totals that the next one began with.
            for name, row in [key for key in self.carried if key[1] == later]:
                self.carried[name, second] = self.carried.get((name, second), 0) + self.carried.pop((name, row))
            for known, born in self.born.items():
                self.born[known] = min(born, second) if known[0] == "s" and born <= later else born
        self.rows[kind].add(second)

    def enter_anew(self, kind, second):
        """A second that was lost is entered by another sample: it holds that one alone; totals go on."""
        self.lost[kind].discard(second)
        for name in "ab":
            if kind == "g":
                self.gauges.pop((name, second), None)
            if kind == "s" and (name, second) in self.observed:
                count = len(self.observed.pop((name, second)))
                self.carried[name, second] = self.carried.get((name, second), 0) + count

    def held(self, kind):
        """Give the seconds that the finest tier still holds."""
        return in_ring(self.rows[kind] - self.lost[kind], SLOTS[0])[0]

    def samples(self, kind, name, seconds):
        """Give what a series holds of these seconds: a value each, a summary's observations; absent ones left out."""
        if kind == "g":
            return {s: self.gauges[name, s] for s in seconds if (name, s) in self.gauges}
        seconds = sorted(s for s in seconds if s in self.rows[kind] and s >= self.born[kind, name])
        if kind == "c":
            return {s: self.total(name, s) for s in seconds}
        return {s: self.observed.get((name, s), []) for s in seconds}

    def total(self, name, until):
        return sum(n for (known, second), n in self.increments.items() if known == name and second <= until)

    def observations(self, name, until):
        whole = [(s, len(values)) for (known, s), values in self.observed.items() if known == name]
        whole += [(s, count) for (known, s), count in self.carried.items() if known == name]
        return sum(count for s, count in whole if s <= until)

    def merged(self, kind, name, fn, samples):
        """Read the samples of one bucket by brute force; None: absent."""
        if not samples:
            return None
        if kind != "s":
            return READ[fn](list(samples.values()))
        if fn == "total":
            return self.observations(name, max(samples))
        values = [value for many in samples.values() for value in many]
        return {**READ, "count": len}[fn](values) if values else None


READ = {
    "avg": lambda v: sum(v) / len(v), "min": min, "max": max, "sum": sum, "count": len,
    "first": lambda v: v[0], "last": lambda v: v[-1],
}  # fmt: skip
READ |= {fn: lambda v, share=share: sorted(v)[max(0, math.ceil(len(v) * share) - 1)] for fn, share in QUANTILES.items()}


class StoreMachine(RuleBasedStateMachine):
    """Records, ticks, reopens and waits, and compares every tier with the model after each step."""

    @initialize(sketch=st.booleans())
    def create(self, sketch):
        self.directory = Path(tempfile.mkdtemp())
        self.clock = ManualClock(1_700_000_010 * 10**9)
        self.model = Model()
        self.opened = {}
        self.sketch = sketch
        self.stepped_to = 0  # the newest second that the clock stepped back to
        self.created = {}  # by counter: the second in which it was declared
        self.steps = {}  # by kind: the last second stepped back to, and the newest before
        self.aside = {}  # by kind, while seconds are set aside: the lowest stepped back to, and the newest of those
        self.open()

    def open(self):
        self.store = Store(self.directory / "s", schemas(self.sketch), clock=self.clock)
        self.opened = dict.fromkeys("cgs", self.now())
        self.handles = {}

    def now(self):
        return self.clock() // 10**9

    def handle(self, kind, name):
        """Declare the series; a counter and a summary enter the present second by that."""
        make = {"c": self.store.counter, "g": self.store.gauge, "s": self.store.summary}[kind]
        if (kind, name) not in self.handles:
            self.handles[kind, name] = make(f"{kind}_{name}")
            if kind in "cs" and self.now() >= max(self.model.rows[kind], default=0):
                self.model.enter(kind, self.now(), self.opened[kind])
            self.model.born.setdefault((kind, name), self.now())
            self.created.setdefault(name, self.now()) if kind == "c" else None
        return self.handles[kind, name]

    @rule(name=st.sampled_from("ab"), value=NUMBERS, late=st.integers(0, 15))
    def set(self, name, value, late):
        gauge = self.handle("g", name)
        second = self.now() - late
        newest = max(self.model.rows["g"], default=0)
        gauge.set(value, second * 10**9 + 5)
        oldest = -(-(newest - SLOTS[0] + 1) // 10) * 10
        if second >= newest or second >= oldest:
            self.model.enter("g", second, self.opened["g"])
            self.model.gauges[name, second] = value

    @rule(values=st.tuples(NUMBERS, NUMBERS), late=st.integers(0, 15))
    def set_together(self, values, late):
        """A batch: both gauges in the same second, whenever that is."""
        gauges = sorted((self.handle("g", name) for name in "ab"), key=lambda gauge: gauge.series.column)
        batch = self.store.batch(gauges)
        second = self.now() - late
        newest = max(self.model.rows["g"], default=0)
        batch.set(list(values), second * 10**9 + 7)
        oldest = -(-(newest - SLOTS[0] + 1) // 10) * 10
        if second >= newest or second >= oldest:
            self.model.enter("g", second, self.opened["g"])
            for gauge, value in zip(gauges, values, strict=True):
                self.model.gauges[gauge.series.name[-1], second] = value

    @rule(ahead=st.sampled_from([2, 60, 86_400, 86_400 * 400]), kind=st.sampled_from("cgs"))
    def record_the_future(self, ahead, kind):
        """A sample from beyond the next second changes nothing."""
        handle = self.handle(kind, "a")
        record = getattr(handle, {"c": "inc", "g": "set", "s": "observe"}[kind])
        record(5.0, self.clock() + ahead * 10**9)

    @rule(kind=st.sampled_from("cgs"), value=st.sampled_from([math.nan, math.inf, -math.inf, -1.0]))
    def record_what_is_refused(self, kind, value):
        """What a counter and a summary cannot take changes nothing."""
        if kind == "c":
            self.handle(kind, "a").inc(value)
        elif kind == "s" and (self.sketch or not math.isfinite(value)):
            self.handle(kind, "a").observe(value)

    @rule()
    def read_only(self):
        """Another opening, for reading only, answers as the writer does, tier by tier."""
        with StoreReader(self.directory / "s") as reader:
            for kind, name in self.model.born:
                for tier in (0, 1, 2, "auto"):
                    mine, theirs = (view.query(f"{kind}_{name}", "all", tier=tier)[0] for view in (self.store, reader))
                    assert mine.timestamps_ns.tolist() == theirs.timestamps_ns.tolist()
                    assert mine.values.tolist() == theirs.values.tolist()

    def counted(self, kind):
        """Give the second in which a total goes on: none before the clock stepped back, while there is a future aside."""
        lowest, newest = self.aside.get(kind, (0, 0))
        return max(self.now(), lowest if max(self.model.rows[kind], default=0) <= newest else 0)

    @rule(name=st.sampled_from("ab"), amount=st.integers(0, 50))
    def inc(self, name, amount):
        self.handle("c", name).inc(amount)
        if self.now() >= max(self.model.rows["c"], default=0):
            self.model.enter("c", self.now(), self.opened["c"])
        key = name, self.counted("c")
        self.model.increments[key] = self.model.increments.get(key, 0) + amount

    @rule(name=st.sampled_from("ab"), value=NUMBERS)
    def observe(self, name, value):
        value = abs(value) if self.sketch else value
        self.handle("s", name).observe(value)
        second = self.counted("s")
        self.model.enter("s", second, self.opened["s"])
        self.model.observed.setdefault((name, second), []).append(value)
        self.model.born["s", name] = min(self.model.born["s", name], second)

    @rule(name=st.sampled_from("ab"), values=st.lists(NUMBERS, min_size=1, max_size=4))
    def merge(self, name, values):
        """Observations that come as how many, sum, least and greatest."""
        if self.sketch:
            return
        self.handle("s", name).merge(len(values), sum(values), min(values), max(values))
        second = self.counted("s")
        self.model.enter("s", second, self.opened["s"])
        self.model.observed.setdefault((name, second), []).extend(values)
        self.model.born["s", name] = min(self.model.born["s", name], second)

    @rule()
    def tick(self):
        self.store.tick()
        for kind in "cgs":
            declared = any(known == kind for known, _ in self.model.born)
            if declared and self.now() >= max(self.model.rows[kind], default=0):
                self.model.enter(kind, self.now(), self.opened[kind])

    @rule(seconds=st.sampled_from([0.25, 1, 1, 1, 2, 5, 10, 11, 30, 45, 100, 700, 86_400, 86_400 * 30, 86_400 * 800]))
    def wait(self, seconds):
        """A clock that goes on, or steps forward; not as far as to return to where it was before it stepped back."""
        if not self.would_return(seconds):
            self.clock.advance(seconds)

    def would_return(self, seconds):
        for kind, (present, before) in self.steps.items():
            newest = max(self.model.rows[kind], default=present)
            gone = (self.clock() + round(seconds * 10**9)) // 10**9 - newest
            if gone > max(newest - present, (before - present) // 2):
                return True
        return False

    @precondition(lambda self: self.model.born)
    @rule(seconds=st.sampled_from([1, 2, 3, 12, 45, 3600, 86_400, 86_400 * 400]))
    def step_back(self, seconds):
        """A clock that steps back: the next tick sets the rows of the future aside that was taken back, and keeps totals."""
        self.clock.advance(-seconds)
        model, present = self.model, self.now()
        for kind in "cgs":
            if max(model.rows[kind], default=0) > present + 1:
                self.stepped_to = max(self.stepped_to, present)
                before = max(model.rows[kind])
                self.steps[kind] = present, before
                lowest, newest = self.aside.get(kind, (present, before))
                over = before > newest  # the clock had passed what an earlier step set aside
                self.aside[kind] = (present, before) if over else (min(lowest, present), newest)
                self.opened[kind] = present
                self.forget_overwritten(kind, {second for second in model.rows[kind] if second > present}, present)
                model.rows[kind] = {second for second in model.rows[kind] if second <= present} | {present}
                for known in model.born:
                    model.born[known] = min(model.born[known], present) if known[0] == kind else model.born[known]
                self.take_back(kind, present)
        self.tick()

    def forget_overwritten(self, kind, future, present):
        """What lay in the slots that the dropped rows had taken is gone from the finest tier."""
        model, taken = self.model, {second % SLOTS[0] for second in future}
        gone = {each for each in model.rows[kind] - future if each % SLOTS[0] in taken}
        model.lost[kind] |= gone
        for tier in (1, 2):
            model.murky[kind, tier] |= {second // RATIOS[tier] for second in gone}
        # Of the windows that are folded again, the middle tier may have given parts away to that future, too.
        model.murky[kind, 2] |= {present // RATIOS[2], present // RATIOS[2] - 1}
        if present in model.lost[kind]:
            model.enter_anew(kind, present)

    def take_back(self, kind, present):
        model = self.model
        if kind == "g":
            model.gauges = {key: value for key, value in model.gauges.items() if key[1] <= present}
        if kind == "c":
            for name, second in [key for key in model.increments if key[1] > present]:
                amount = model.increments.pop((name, second))
                model.increments[name, present] = model.increments.get((name, present), 0) + amount
        if kind == "s":
            for name, second in [key for key in model.observed if key[1] > present]:
                model.carried[name, present] = model.carried.get((name, present), 0) + len(
                    model.observed.pop((name, second))
                )
            for name, second in [key for key in model.carried if key[1] > present]:
                model.carried[name, present] = model.carried.get((name, present), 0) + model.carried.pop((name, second))

    @rule(gap=st.sampled_from([0, 1, 20, 60]))
    def reopen(self, gap):
        self.store.close()
        for kind, tier in self.model.closed_in:
            if self.model.rows[kind]:
                self.model.closed_in[kind, tier].add(max(self.model.rows[kind]) // RATIOS[tier])
        if not self.would_return(gap):
            self.clock.advance(gap)
        self.open()

    # -- comparisons

    @precondition(lambda self: self.model.born)
    @invariant()
    def finest_tier_is_what_was_recorded(self):
        """Every second still in the ring reads as recorded; nothing else is there."""
        for kind, name in self.model.born:
            buckets = [(second, 1) for second in sorted(self.model.held(kind))]
            self.compare(kind, name, 0, buckets)

    @precondition(lambda self: self.model.born)
    @rule()
    def compare_coarse_tiers(self):
        """After a tick, what a coarse tier holds of a window equals brute force over its seconds, and none is missing.

        After a step back that holds for the windows since; earlier ones are right where they are there, but for those
        of which the future had overwritten a part.
        """
        self.tick()
        for kind, name in self.model.born:
            for tier in (1, 2):
                span = RATIOS[tier]
                there = {
                    start // span for start in self.read(f"{kind}_{name}", tier, "count" if kind != "s" else "total")
                }
                wanted = self.windows(kind, tier)
                assert {w for w in wanted if w * span > self.stepped_to and self.has(kind, name, w, span)} <= there
                # One that a step back of a second has opened again is folded again when it has closed.
                murky = self.model.murky[kind, tier] | {w for w in there if (w + 1) * span > self.now()}
                self.compare(kind, name, tier, [(w * span, span) for w in sorted(there)], murky & there)

    @precondition(lambda self: self.model.born and not self.stepped_to)
    @rule()
    def compare_auto(self):
        """After a tick, each instant is read from the finest tier that still has the whole of its window."""
        self.tick()
        for kind, name in self.model.born:
            self.compare(kind, name, "auto", self.stitched(kind))

    @precondition(lambda self: self.model.born)
    @invariant()
    def auto_is_ascending_and_never_decreases_for_counters(self):
        """Stitching gives each instant once, in order, as its tier has it; a counter never steps back."""
        for kind, name in self.model.born:
            fn = "last" if kind in "cg" else "total"
            (data,) = self.store.query(f"{kind}_{name}", "all", fn=fn)
            stamps, values = data.timestamps_ns.tolist(), data.values.tolist()
            assert stamps == sorted(set(stamps))
            tiers = {RATIOS[tier]: self.read(f"{kind}_{name}", tier, fn) for tier in range(3)}
            for stamp, value, interval in zip(stamps, values, data.interval_ns.tolist(), strict=True):
                assert tiers[interval // 10**9][stamp // 10**9] == value
            if kind == "c":
                assert values == sorted(values)

    # -- what they rest on

    def fns(self, kind):
        return (*FNS[kind], *QUANTILES) if kind == "s" and self.sketch else FNS[kind]

    def read(self, selector, tier, fn):
        (data,) = self.store.query(selector, "all", tier=tier, fn=fn)
        return dict(zip((data.timestamps_ns // 10**9).tolist(), data.values.tolist(), strict=True))

    def compare(self, kind, name, tier, buckets, murky=()):
        """Hold every reading of one tier, or of all, against brute force over the buckets (start, length) it is made of.

        Values, coverage, and which points are there; windows in `murky` are left out.
        """
        span = RATIOS[tier] if tier != "auto" else 1
        whole = [(s, n, self.model.samples(kind, name, range(s, s + n))) for s, n in buckets]
        counts = {s: len(samples) for s, _, samples in whole}
        for fn in self.fns(kind):
            if murky and fn in {"increase", "rate"}:
                continue
            (data,) = self.store.query(f"{kind}_{name}", "all", tier=tier, fn=fn, open=True)
            starts = (data.timestamps_ns // 10**9).tolist()
            found = {s: value for s, value in zip(starts, data.values.tolist(), strict=True) if s // span not in murky}
            expected = {s: value for s, value in self.expected(kind, name, fn, whole).items() if s // span not in murky}
            if fn in QUANTILES:
                assert data.error < 0.0434
                assert found.keys() == expected.keys(), (kind, name, tier, fn)
                assert all(abs(found[s] - expected[s]) <= data.error * expected[s] * 1.000001 for s in found), (
                    tier,
                    fn,
                )
            else:
                assert found == expected, (kind, name, tier, fn, found.items() ^ expected.items())
            coverage = dict(zip(starts, data.coverage.tolist(), strict=True))
            assert all(coverage[s] == counts[s] for s in found), (kind, name, tier, fn)

    def expected(self, kind, name, fn, whole):
        if fn in {"increase", "rate"}:
            last = [(s, n, self.model.merged(kind, name, "last", samples)) for s, n, samples in whole if samples]
            grown = {
                s: (value - before) / (s + n - was - length if fn == "rate" else 1)
                for (was, length, before), (s, n, value) in pairwise(last)
            }
            for s, n, value in last[:1]:  # from 0 where it was born in its first bucket
                if s <= self.created[name] < s + n:
                    grown[s] = value / (n if fn == "rate" else 1)
            return grown
        values = {s: self.model.merged(kind, name, fn, samples) for s, _, samples in whole}
        return {second: value for second, value in values.items() if value is not None}

    def has(self, kind, name, window, span):
        return bool(self.model.samples(kind, name, range(window * span, (window + 1) * span)))

    def windows(self, kind, tier):
        """Give the closed windows that a coarse tier holds after a tick."""
        span = RATIOS[tier]
        closed = {second // span for second in self.model.rows[kind] if (second // span + 1) * span <= self.now()}
        return in_ring(closed | self.model.closed_in[kind, tier], SLOTS[tier])[0] & closed

    def stitched(self, kind):
        """Give the buckets, as (start, length), that a reading over all tiers is made of."""
        buckets = {(second, 1) for second in self.model.held(kind)}
        finer = in_ring(self.model.rows[kind] | self.model.copies[kind], SLOTS[0])[1]
        for tier in (1, 2):
            ratio, slots, span = RATIOS[tier] // RATIOS[tier - 1], SLOTS[tier - 1], RATIOS[tier]
            windows = self.windows(kind, tier)
            taken = {w for w in windows if any(finer.get(b % slots, 0) > b for b in range(w * ratio, (w + 1) * ratio))}
            buckets = {(s, n) for s, n in buckets if s // span not in taken} | {(w * span, span) for w in taken}
            finer = in_ring(windows | self.model.closed_in[kind, tier], SLOTS[tier])[1]
        return sorted(buckets)

    def teardown(self):
        if hasattr(self, "store"):
            assert check_store(self.directory / "s", self.clock()) == []
            self.store.close()
            assert check_store(self.directory / "s", self.clock()) == []
            with StoreReader(self.directory / "s") as reader:
                reader.query("", "all", fn=None)
            shutil.rmtree(self.directory)


EXAMPLES = int(os.environ.get("RONDO_MODEL_EXAMPLES", "60"))
StoreMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=list(HealthCheck),
)
TestStoreAgainstModel = StoreMachine.TestCase


class StoreMachineWithoutNumpy(StoreMachine):
    """The same of a process that never loaded numpy: its folds are made without it."""

    def __init__(self):
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(consolidation, "without_numpy", lambda: True)

    def teardown(self):
        try:
            super().teardown()
        finally:
            self.patch.undo()


StoreMachineWithoutNumpy.TestCase.settings = settings(StoreMachine.TestCase.settings, max_examples=EXAMPLES // 2)
TestStoreAgainstModelWithoutNumpy = StoreMachineWithoutNumpy.TestCase
