"""A slow, obvious model of a store beside the real one, under random sequences of what users do."""

import math
import os
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.check import check

TIERS = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
SCHEMAS = [Schema("c", "counter", 2, TIERS), Schema("g", "gauge", 2, TIERS), Schema("s", "summary", 2, TIERS)]
RATIOS = (1, 10, 30)
SLOTS = [tier.slot_count for tier in TIERS]
NUMBERS = st.integers(-1000, 1000).map(lambda n: n / 8)


class Model:
    """All that was recorded, by series and second, in plain dictionaries."""

    def __init__(self):
        self.gauges = {}
        self.observed = {}
        self.increments = {}
        self.carried = {}
        self.rows = {"c": set(), "g": set(), "s": set()}
        self.born = {}

    def enter(self, kind, second, opened):
        """A counter has a row for every second from the first on in which its process lived."""
        newest = max(self.rows[kind], default=None)
        if newest is not None and second > newest and kind == "c":
            oldest = -(-(second - SLOTS[0] + 1) // RATIOS[1]) * RATIOS[1]
            self.rows[kind] |= set(range(max(newest + 1, opened, oldest), second))
        later = min((row for row in self.rows[kind] if row > second), default=None)
        if kind == "s" and later is not None and second not in self.rows[kind]:
            # A late row begins with the totals that the next one began with.
            for name, row in [key for key in self.carried if key[1] == later]:
                self.carried[name, second] = self.carried.get((name, second), 0) + self.carried.pop((name, row))
        self.rows[kind].add(second)


class StoreMachine(RuleBasedStateMachine):
    """Records, ticks, reopens and waits, and compares every tier with the model after each step."""

    @initialize()
    def create(self):
        self.directory = Path(tempfile.mkdtemp())
        self.clock = ManualClock(1_700_000_010 * 10**9)
        self.model = Model()
        self.opened = {}
        self.stepped = False
        self.open()

    def open(self):
        self.store = Store(self.directory / "s", SCHEMAS, clock=self.clock)
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

    @rule()
    def read_only(self):
        """Another opening, for reading only, answers as the writer does, tier by tier."""
        with StoreReader(self.directory / "s") as reader:
            for kind, name in self.model.born:
                for tier in (0, 1, 2, "auto"):
                    mine, theirs = (view.query(f"{kind}_{name}", "all", tier=tier)[0] for view in (self.store, reader))
                    assert mine.timestamps_ns.tolist() == theirs.timestamps_ns.tolist()
                    assert mine.values.tolist() == theirs.values.tolist()

    @rule(name=st.sampled_from("ab"), amount=st.integers(0, 50))
    def inc(self, name, amount):
        self.handle("c", name).inc(amount)
        if self.now() >= max(self.model.rows["c"], default=0):
            self.model.enter("c", self.now(), self.opened["c"])
        key = name, self.now()
        self.model.increments[key] = self.model.increments.get(key, 0) + amount

    @rule(name=st.sampled_from("ab"), value=NUMBERS)
    def observe(self, name, value):
        self.handle("s", name).observe(value)
        self.model.enter("s", self.now(), self.opened["s"])
        self.model.observed.setdefault((name, self.now()), []).append(value)
        self.model.born["s", name] = min(self.model.born["s", name], self.now())

    @rule()
    def tick(self):
        self.store.tick()
        for kind in "cgs":
            declared = any(known == kind for known, _ in self.model.born)
            if declared and self.now() >= max(self.model.rows[kind], default=0):
                self.model.enter(kind, self.now(), self.opened[kind])

    @rule(seconds=st.sampled_from([0.25, 1, 1, 1, 2, 5, 10, 11, 30, 45, 100, 700, 86_400, 86_400 * 30]))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @precondition(lambda self: self.model.born)
    @rule(seconds=st.sampled_from([2, 3, 12, 45, 3600, 86_400 * 400]))
    def step_back(self, seconds):
        """A clock that steps back: the next tick drops the rows of the future that was taken back, and keeps totals."""
        self.clock.advance(-seconds)
        self.stepped = True
        model, present = self.model, self.now()
        for kind in "cgs":
            if max(model.rows[kind], default=0) > present + 1:
                self.opened[kind] = present
                self.forget_overwritten(kind, {second for second in model.rows[kind] if second > present})
                model.rows[kind] = {second for second in model.rows[kind] if second <= present} | {present}
                for known in model.born:
                    model.born[known] = min(model.born[known], present) if known[0] == kind else model.born[known]
                self.take_back(kind, present)
        self.tick()

    def forget_overwritten(self, kind, future):
        """What lay in the slots that the dropped rows had taken is gone; it still counts in the totals."""
        model, taken = self.model, {second % SLOTS[0] for second in future}
        for second in [each for each in model.rows[kind] - future if each % SLOTS[0] in taken]:
            model.rows[kind].discard(second)
            for name in "ab":
                if kind == "g":
                    model.gauges.pop((name, second), None)
                elif kind == "s" and (name, second) in model.observed:
                    count = len(model.observed.pop((name, second)))
                    model.carried[name, second] = model.carried.get((name, second), 0) + count

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
        self.clock.advance(gap)
        self.open()

    @precondition(lambda self: self.model.born)
    @invariant()
    def finest_tier_is_what_was_recorded(self):
        """Every second still in the ring reads as recorded; nothing else is there."""
        for kind, name in self.model.born:
            newest = max(self.model.rows[kind], default=0)
            for fn in {"c": ("last",), "g": ("last", "avg"), "s": ("count", "sum", "min", "max", "avg", "total")}[kind]:
                found = self.read(f"{kind}_{name}", 0, fn)
                expected = self.expected(kind, name, fn)
                inside = {second for second in expected if second > newest - SLOTS[0]}
                assert {second: found.get(second) for second in inside} == {s: expected[s] for s in inside}, (kind, fn)
                assert all(expected.get(second) == value for second, value in found.items()), (kind, name, fn)

    @precondition(lambda self: self.model.born and not self.stepped)
    @rule()
    def compare_coarse_tiers(self):
        """After a tick, what a coarse tier holds of a window equals brute force over its seconds.

        Not after a step back: coarse rows outlive what the dropped future had overwritten in the finest tier.
        """
        self.tick()
        for kind, name in self.model.born:
            for tier in (1, 2):
                for fn in {"c": ("last", "first", "count"), "g": ("avg", "min", "max", "sum", "count", "first", "last"),
                           "s": ("count", "sum", "min", "max")}[kind]:  # fmt: skip
                    found = self.read(f"{kind}_{name}", tier, fn)
                    for second, value in found.items():
                        assert value == self.merged(kind, name, fn, second, RATIOS[tier]), (kind, name, tier, fn)

    @precondition(lambda self: self.model.born)
    @invariant()
    def auto_is_ascending_and_never_decreases_for_counters(self):
        """Stitching gives each instant once, in order; a counter never steps back."""
        for kind, name in self.model.born:
            (data,) = self.store.query(f"{kind}_{name}", "all", fn="last" if kind in "cg" else "total")
            stamps, values = data.timestamps_ns.tolist(), data.values.tolist()
            assert stamps == sorted(set(stamps))
            if kind == "c":
                assert values == sorted(values)

    def read(self, selector, tier, fn):
        (data,) = self.store.query(selector, "all", tier=tier, fn=fn)
        return dict(zip((data.timestamps_ns // 10**9).tolist(), data.values.tolist(), strict=True))

    def expected(self, kind, name, fn):
        model = self.model
        if kind == "g":
            return {second: value for (known, second), value in model.gauges.items() if known == name}
        if kind == "c":
            rows = [second for second in model.rows["c"] if second >= model.born[kind, name]]
            return {second: self.total(name, second) for second in rows}
        observed = {second: values for (known, second), values in model.observed.items() if known == name}
        if fn == "total":
            rows = [second for second in model.rows["s"] if second >= model.born[kind, name]]
            counts = [(second, len(values)) for second, values in observed.items()]
            counts += [(second, count) for (known, second), count in model.carried.items() if known == name]
            return {row: sum(count for second, count in counts if second <= row) for row in rows}
        read = {"count": len, "sum": sum, "min": min, "max": max, "avg": lambda values: sum(values) / len(values)}[fn]
        return {second: read(values) for second, values in observed.items()}

    def total(self, name, until):
        return sum(n for (known, second), n in self.model.increments.items() if known == name and second <= until)

    def merged(self, kind, name, fn, start, span):
        inside = range(start, start + span)
        if kind == "s":
            values = [v for (known, second), many in self.model.observed.items()
                      if known == name and second in inside for v in many]  # fmt: skip
            return {"count": len, "sum": sum, "min": min, "max": max}[fn](values)
        fine = {second: value for second, value in self.expected(kind, name, "last").items() if second in inside}
        values = [fine[second] for second in sorted(fine)]
        read = {"avg": lambda v: sum(v) / len(v), "first": lambda v: v[0], "last": lambda v: v[-1], "count": len}
        result = (read | {"min": min, "max": max, "sum": sum})[fn](values)
        return result if math.isfinite(result) else None

    def teardown(self):
        if hasattr(self, "store"):
            assert check(self.directory / "s") == []
            self.store.close()
            assert check(self.directory / "s") == []
            with StoreReader(self.directory / "s") as reader:
                reader.query("", "all", fn=None)
            shutil.rmtree(self.directory)


# The same sequences on every run, so that a change is judged and not chance; `make soak-model` looks for new ones.
EXAMPLES = int(os.environ.get("RONDO_MODEL_EXAMPLES", "60"))
StoreMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    derandomize=EXAMPLES == 60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestStoreAgainstModel = StoreMachine.TestCase
