"""Copies of a live store while its clock goes wherever it likes: by `rondo copy`, and file by file as cp and rsync do."""

import os
import random
from collections import defaultdict

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.maintain.check import check_store
from rondo_core.maintain.copies import copy_store

S = 10**9
TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
BACK = (1, 2, 3, 7, 13, 40, 300, 3600)
AHEAD = (2, 3, 5, 12, 13, 45, 100, 3600)
LATE = 3_000_000_000 * S
READINGS = (("c_total", "last"), ("s", "total"), ("g", "last"))
JOURNEYS = int(os.environ.get("RONDO_CLOCK_JOURNEYS", "6")) // 2


class Journey:
    """One store that is written, and every value that it ever had.

    Attributes: `had`: {(tier, name, time): values}; `steps_of_clock`: how often the clock moved otherwise than it should.
    """

    def __init__(self, path, chance):
        self.path, self.chance, self.clock = path, chance, ManualClock(1_700_000_010 * S)
        self.tiers, self.steps_of_clock, self.n_others = TIERS[: chance.choice((1, 2, 3, 3))], 0, 0
        self.had = defaultdict(set)
        self.open()

    def open(self):
        kinds = {"c": ("counter", 6), "g": ("gauge", 2), "s": ("summary", 2)}
        schemas = [Schema(name, kind, room, self.tiers) for name, (kind, room) in kinds.items()]
        self.store = Store(self.path, schemas, clock=self.clock)
        self.counter, self.gauge = self.store.counter("c_total"), self.store.gauge("g")
        self.summary = self.store.summary("s")

    def go(self, steps):
        for _ in range(steps):
            pick = self.chance.random()
            if pick < 0.7:
                self.record()
                self.clock.advance(1)
            elif pick < 0.86:
                self.steps_of_clock += 1
                self.clock.advance(-self.chance.choice(BACK) if pick < 0.78 else self.chance.choice(AHEAD))
                self.store.tick()
            elif pick < 0.89:
                self.store.close()
                self.open()
            elif pick < 0.93 and self.n_others < 4:
                self.n_others += 1
                self.store.counter("x_total", n=self.n_others).inc(self.n_others)
            else:
                self.counter.inc(1.0, self.clock() - self.chance.randint(1, 14) * S)
            self.note()

    def record(self):
        self.counter.inc()
        self.gauge.set(self.counter.value)
        self.summary.observe(1.0)
        self.note()
        if self.chance.random() < 0.9:
            self.store.tick()

    def note(self):
        for place, value in points(self.store, len(self.tiers)):
            self.had[place].add(value)

    def copy_files(self, to):
        """Copy the files one by one in some order, each in pieces, while the store is written."""
        to.mkdir()
        names = sorted(each.name for each in self.path.iterdir())
        self.chance.shuffle(names)
        for name in names:
            size = self.chance.choice((512, 4096, 1 << 20))
            with (self.path / name).open("rb") as source, (to / name).open("wb") as target:
                while data := source.read(size):
                    target.write(data)
                    self.go(self.chance.choice((0, 0, 1, 4)))
            self.go(self.chance.choice((0, 1, 5)))


def points(view, n_tiers):
    """Give every point of every tier: ((tier, name, time), value)."""
    for tier in range(n_tiers):
        for name, fn in READINGS:
            for data in view.query(name, tier=tier, fn=fn):
                for stamp, value in zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True):
                    yield (tier, name, stamp), value


def falls(view, n_tiers):
    """Name the totals that fall."""
    found = [view.query(name, tier=tier, fn=fn)[0] for tier in range(n_tiers) for name, fn in READINGS[:2]]
    return [str(data.series) for data in found if data.values.tolist() != sorted(data.values.tolist())]


def damage(path):
    found = [each for each in check_store(path, LATE) if each.severity == "damage"]
    return [each for each in found if "no series is known" not in each.what]  # the registry was copied before the rows


def goes_on(path, journey, total):
    """Write the copy on: totals go on from what it holds, what is declared anew begins at nothing."""
    clock = ManualClock(journey.clock() + journey.chance.choice((0, 1, 5, 30, -2, -20)) * S)
    with Store(path, clock=clock) as store:
        counter = store.counter("c_total")
        begun = counter.value
        assert begun in total
        assert store.counter("x_total", n=9).value == 0.0
        n = journey.chance.randint(1, 40)
        for _ in range(n):
            counter.inc()
            store.tick()
            clock.advance(1)
        assert counter.value == begun + n


@pytest.mark.parametrize("seed", range(JOURNEYS))
def test_copies_of_a_live_store_invent_nothing_wherever_its_clock_goes(seed, path, tmp_path):
    """Every point of a copy is one that the store had; it can be written on; without steps of the clock it is sound.

    A copy by `rondo copy` is sound in any case, and has the totals of its moment.
    """
    chance = random.Random(seed)
    journey = Journey(path, chance)
    journey.go(chance.randint(5, 80))
    for number in range(4):
        journey.go(chance.randint(0, 30))
        to, stepped, before = tmp_path / f"copy-{number}", journey.steps_of_clock, journey.counter.value
        if by_files := number % 2:
            journey.copy_files(to)
        else:
            copy_store(path, to, clock=journey.clock)
        sound = journey.steps_of_clock == stepped
        with StoreReader(to) as reader:
            if by_files:
                assert [
                    each for each in points(reader, len(journey.tiers)) if each[1] not in journey.had[each[0]]
                ] == []
            assert not sound or falls(reader, len(journey.tiers)) == []
        assert not sound or damage(to) == []
        values = range(int(journey.counter.value) + 1) if by_files else {before}
        goes_on(to, journey, values)
        assert not sound or damage(to) == []
    journey.store.close()
