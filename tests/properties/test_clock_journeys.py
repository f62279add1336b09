"""Clocks that go wherever they like: whatever the journey, totals are whole and never fall, and a check finds nothing."""

import os
import random

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.maintain.check import check_store

S = 10**9
TIERS = (Tier("1s", "40s"), Tier("10s", "2m"), Tier("30s", "10m"))
BACK = (2, 3, 5, 20, 60, 300, 3600, 10**6, 10**9, 1_690_000_000)
AHEAD = (2, 3, 5, 12, 45, 100, 300, 3600, 10**6, 3 * 10**7)
JOURNEYS = int(os.environ.get("RONDO_CLOCK_JOURNEYS", "12"))


class Journey:
    """One store, one clock, and what was counted in all."""

    def __init__(self, path, chance):
        self.path, self.chance, self.clock, self.counted = path, chance, ManualClock(1_700_000_010 * S), 0
        self.sketch, self.tiers = chance.random() < 0.5, TIERS[: chance.choice((1, 2, 3, 3))]
        self.open()

    def open(self):
        kinds = [Schema("c", "counter", 2, self.tiers), Schema("g", "gauge", 2, self.tiers)]
        summary = Schema("s", "summary", 2, self.tiers, sketch=self.sketch)
        self.store = Store(self.path, [*kinds, summary], clock=self.clock)
        self.counter, self.gauge = self.store.counter("c_total"), self.store.gauge("g")
        self.summary = self.store.summary("s")

    def step(self):
        pick = self.chance.random()
        if pick < 0.6:
            self.counter.inc()
            self.gauge.set(pick)
            self.summary.observe(1.0)
            self.counted += 1
            if self.chance.random() < 0.9:
                self.store.tick()
            self.clock.advance(1)
        elif pick < 0.67:
            self.clock.advance(-min(self.chance.choice(BACK), self.clock() // S - 2))
        elif pick < 0.78:
            self.clock.advance(self.chance.choice(AHEAD))
        elif pick < 0.83:
            self.store.close()
            self.open()
        elif pick < 0.87:
            self.judge()

    def judge(self):
        self.store.tick()
        self.hold(self.store.view)
        assert self.counter.value == self.counted

    def hold(self, view):
        for tier in (*range(len(self.tiers)), "auto"):
            for name, fn in (("c_total", "last"), ("s", "total")):
                (data,) = view.query(name, "all", tier=tier, fn=fn)
                stamps, values = data.timestamps_ns.tolist(), data.values.tolist()
                assert stamps == sorted(set(stamps)), (tier, name)
                assert values == sorted(values), (tier, name, values)
                assert not values or values[-1] <= self.counted
        assert [each for each in check_store(self.path, 3_000_000_000 * S) if each.severity == "damage"] == []


@pytest.mark.parametrize("seed", range(JOURNEYS))
def test_no_journey_of_the_clock_loses_a_total_or_contradicts_itself(seed, path):
    """Back and ahead by seconds and by years, in a live store and between openings, time and again."""
    chance = random.Random(seed)
    journey = Journey(path, chance)
    for _ in range(chance.randint(50, 300)):
        journey.step()
    journey.judge()
    journey.store.close()
    with StoreReader(path) as reader:
        journey.hold(reader)
