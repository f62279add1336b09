"""One call for many: observations of one summary, amounts of several counters."""

import math
from array import array
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from rondo_core import CounterBatch, ManualClock, Schema, Store, Tier
from rondo_core.errors import UsageError

TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
SCHEMAS = [
    Schema("z", "summary", 4, TIERS, match='{__name__=~"z.*"}', sketch=True),
    *(Schema(kind, kind, 8, TIERS) for kind in ("counter", "summary")),
]
MANY = {
    "floats": [0.5, 2.0, 0.25],
    "integers": [1, 2, 3],
    "nothing": [],
    "tuple": (1.0, Fraction(1, 2), Decimal(2), np.float32(4)),
    "array": array("d", [1.5, 2.5]),
    "array of small floats": array("f", [1.5, 2.5]),
    "numpy": np.arange(50.0) / 8,
    "strided": np.arange(50.0)[::3],
    "of integers": np.arange(9),
    "generator": None,
    "some refused": [1.0, math.nan, 2.0, math.inf, None, "x", -1.0, 10**400, 3.0],
    "numpy with NaN": np.array([1.0, math.nan, 2.0]),
    "large": [1.7e308, 1.0, 1.7e308, 2.0],
    "table": np.ones((2, 2)),
}


def told(store, name):
    read = {}
    for fn in ("count", "sum", "min", "max", *(["p50", "p99"] if name.startswith("z") else [])):
        found = store.query(name, fn=fn, open=True)
        read[fn] = found[0].values.tolist() if len(found) else []
    return read, causes(store)


def causes(store):
    store.tick()
    invalid = store.query("rondo_samples_invalid_total") if store.view.series("rondo_samples_invalid_total") else ()
    return {dict(each.series.labels)["cause"]: each.values[-1] for each in invalid}


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize("name", ["m", "z"])
@pytest.mark.parametrize("many", MANY)
def test_many_observations_are_a_loop_of_one(tmp_path, many, name, entered):
    """In a bucket that they enter and in one that is there; with a sketch too; what is refused is, one by one."""
    given, found = MANY[many], []
    for use in ("many", "loop"):
        with Store(tmp_path / use, SCHEMAS, clock=ManualClock()) as store:
            summary = store.summary(name)
            if entered:
                summary.observe(1.0)
            values = (n / 4 for n in range(9)) if given is None else given
            if use == "many":
                summary.observe_many(values)
            else:
                for value in values:
                    summary.observe(value)
            found.append(told(store, name))
    assert found[0] == found[1]


@pytest.mark.parametrize("given", [None, 5.0, object(), np.float64(1.0)])
def test_what_is_not_many_is_counted(tmp_path, given):
    """Nothing is raised."""
    with Store(tmp_path / "s", SCHEMAS, clock=ManualClock()) as store:
        store.summary("m").observe_many(given)
        assert causes(store) == {"not_a_number": 1.0}


def test_many_observations_are_of_one_instant(tmp_path):
    """All of them late, or all in the present."""
    clock = ManualClock()
    with Store(tmp_path / "s", SCHEMAS, clock=clock) as store:
        for name in ("m", "z"):
            store.summary(name).observe(1.0)
        clock.advance(3)
        for name in ("m", "z"):
            store.summary(name).observe_many([2.0, 3.0], clock() - 2 * 10**9)
            assert store.query(name, fn="count", open=True)[0].values.tolist() == [1.0, 2.0]


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "s", SCHEMAS, clock=ManualClock()) as store:
        yield store


def totals(batch):
    return [counter.value for counter in batch]


@pytest.mark.parametrize("entered", [False, True])
@pytest.mark.parametrize(
    "given", [[1, 2.5], (1.0, 2.5), array("d", [1, 2.5]), np.array([1, 2.5]), [Fraction(1), Decimal("2.5")]]
)
def test_counters_grow_together(store, given, entered):
    """By one call, as each does by its own."""
    counters = [store.counter("c_total", n=n) for n in range(2)]
    batch = store.counter_batch(counters)
    assert isinstance(batch, CounterBatch)
    if entered:
        batch.inc([10.0, 20.0])
    batch.inc(given)
    assert totals(counters) == [11.0, 22.5] if entered else [1.0, 2.5]
    store.clock.advance(1)
    store.tick()
    batch.inc(given, store.clock() - 10**9)
    assert totals(counters) == [12.0, 25.0] if entered else [2.0, 5.0]


@pytest.mark.parametrize(
    ("given", "cause"),
    [
        ([1.0, -1.0], "negative"),
        (np.array([1.0, -1.0]), "negative"),
        ([1.0, math.nan], "nan"),
        ([math.inf, 1.0], "infinite"),
        ([1.0, None], "not_a_number"),
        ("ab", "not_a_number"),
        (None, "not_a_number"),
        ([1.0, 10**400], "overflow"),
    ],
)
def test_a_batch_with_an_amount_that_is_refused_adds_none(store, given, cause):
    """Each of its counters is counted as refused."""
    counters = [store.counter("c_total", n=n) for n in range(2)]
    batch = store.counter_batch(counters)
    batch.inc([1.0, 1.0])
    batch.inc(given)
    assert totals(counters) == [1.0, 1.0]
    assert causes(store) == {cause: 2.0}


def test_a_batch_of_counters_says_what_it_takes(store):
    """How many amounts, and counters side by side."""
    counters = [store.counter("c_total", n=n) for n in range(3)]
    for given in ([], [1.0], np.zeros(3)):
        with pytest.raises(ValueError, match="batch of 2 counters"):
            store.counter_batch(counters[:2]).inc(given)
    for wrong in ([], counters[::-1], counters[::2]):
        with pytest.raises(UsageError, match="counters of one schema"):
            store.counter_batch(wrong)
    assert repr(store.counter_batch(counters)) == '<CounterBatch of 3: c_total{n="0"} ...>'
