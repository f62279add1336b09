"""What the tests of several families of pages ask."""

import pytest

from rondo_core import Schema, Store, Tier


@pytest.fixture
def large_store(path, clock):
    """The path of a store of 400 gauges, ten minutes of each: more points than are told at once."""
    with Store(path, [Schema("g", "gauge", 400, (Tier("1s", "10m"),))], clock=clock) as store:
        batch = store.batch([store.gauge("g", i=n) for n in range(400)])
        for second in range(600):
            batch.set([float(second)] * 400)
            store.tick()
            clock.advance(1)
    return path
