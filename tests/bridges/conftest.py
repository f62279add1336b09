"""What the bridges' tests share: a store with room for a sketch, and looks at what was recorded."""

import pytest

from rondo_core import ManualClock, Schema, Store, Tier

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))
SCHEMAS = [
    Schema("durations", "summary", 4, TIERS, "http_request_duration_seconds", sketch=True),
    Schema("counters", "counter", 64, TIERS),
    Schema("gauges", "gauge", 16, TIERS),
    Schema("summaries", "summary", 16, TIERS),
]


class Recorded:
    """A store, and what it holds by now."""

    def __init__(self, store):
        self.store = store

    def total(self, selector, store=None):
        """The sum of the totals of every counter that the selector matches; 0 where there is none."""
        store = store or self.store
        return (
            sum(float(each.values[-1]) for each in store.query(selector) if len(each.values))
            if self.has(selector)
            else 0
        )

    def has(self, selector):
        return bool(self.store.view.series(selector))

    def counts(self, name):
        """Every counter of a name: its labels' values but for the name, and its total."""
        return {
            tuple(value for _, value in each.series.labels): float(each.values[-1]) for each in self.store.query(name)
        }

    def last(self, selector, fn="last"):
        (found,) = self.store.query(selector, tier=0, fn=fn, open=True)
        return float(found.values[-1])


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(tmp_path, clock):
    with Store(tmp_path / "s.rondo", SCHEMAS, clock=clock) as opened:
        yield opened


@pytest.fixture
def recorded(store):
    return Recorded(store)
