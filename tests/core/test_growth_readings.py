"""What a counter grew by, and what was counted: once over ranges side by side, and not before a second is over."""

from itertools import pairwise

import pytest

from rondo_core import ManualClock, Schema, Store, StoresReader, Tier

S = 10**9
START_S = 1_700_000_100
TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
SCHEMAS = [Schema("c", "counter", 4, TIERS), Schema("s", "summary", 4, TIERS)]


@pytest.fixture
def opened(tmp_path):
    with Store(tmp_path / "a", SCHEMAS, clock=ManualClock(START_S * S)) as store:
        yield store


def grow(store, seconds, each=1):
    counter = store.counter("jobs_total")
    for _ in range(seconds):
        counter.inc(each)
        store.tick()
        store.clock.advance(1)


@pytest.mark.parametrize("cuts", [(0, 7, 25), (-5, 0, 1, 2, 25), (-10, 3, 10, 11, 25), (-1, 24, 25)])
def test_increases_of_ranges_side_by_side_add_up_from_the_birth_on(opened, cuts):
    """Point by point and as one value for each range, the one in which the series was born too: it began at 0."""
    grow(opened, 25, 3)
    spans = [f"{START_S + first}..{START_S + end}" for first, end in pairwise(cuts)]
    grown = [opened.query("jobs_total", span, fn="increase", tier=tier)[0] for span in spans for tier in ("auto",)]
    assert sum(data.values.sum() for data in grown) == 75
    ones = [opened.query("jobs_total", span, fn="increase", agg=True)[0].values for span in spans]
    assert sum(values.sum() for values in ones) == 75
    (rate,) = opened.query("jobs_total", f"{START_S}..{START_S + 25}", fn="rate", agg=True)
    assert rate.values.tolist() == [3.0]


def test_a_store_that_is_opened_again_grows_from_where_it_stood(tmp_path):
    """Its total goes on, and is no growth of the second run."""
    clock = ManualClock(START_S * S)
    for _ in range(2):
        with Store(tmp_path / "a", SCHEMAS, clock=clock) as store:
            grow(store, 4)
    with Store(tmp_path / "a", SCHEMAS, clock=clock) as store:
        assert store.query("jobs_total", f"{START_S + 4}..{START_S + 8}", fn="increase", agg=True)[0].values == [4]
        assert store.query("jobs_total", fn="increase")[0].values.tolist() == [1] * 8


@pytest.mark.parametrize("agg", [False, True])
@pytest.mark.parametrize("begin", range(0, 10, 3))
def test_ranges_that_meet_where_nothing_ran_add_up(tmp_path, begin, agg):
    """Between two runs, wherever a coarser tier's bucket begins there: the first second after it is not lost."""
    clock = ManualClock((START_S + begin) * S)
    for gap_s in (7, 13, 0):
        with Store(tmp_path / "a", SCHEMAS, clock=clock) as store:
            grow(store, 3, 5)
        clock.advance(gap_s)
    with Store(tmp_path / "a", SCHEMAS, clock=clock) as store:
        for cut_s in range(START_S + begin, START_S + begin + 30):
            halves = [
                sum(data.values.sum() for data in store.query("jobs_total", span, fn="increase", agg=agg))
                for span in (f"{START_S - 1}..{cut_s}", f"{cut_s}..{START_S + 60}")
            ]
            assert sum(halves) == 45, (cut_s, halves)


def test_growth_over_several_stores_is_that_of_each(tmp_path):
    """`--agg` of a directory: each store's own from its birth on, added up; a rate is each one's."""
    for number in range(3):
        with Store(tmp_path / str(number), SCHEMAS, clock=ManualClock(START_S * S)) as store:
            for _ in range(number + 1):
                store.summary("took_seconds").observe(1)
            grow(store, 5, number + 1)
    with StoresReader(tmp_path) as reader:
        grown = reader.query("jobs_total", f"{START_S}..{START_S + 9}", fn="increase", agg=True)
        assert [(str(data.series), data.values.tolist()) for data in grown] == [("jobs_total", [30])]
        assert (grown[0].timestamps_ns[0] // S, grown[0].interval_ns[0] // S) == (START_S, 5)
        assert grown[0].coverage.tolist() == [15]
        apart = reader.query('jobs_total{rondo_store=~".+"}', fn="increase", agg=True)
        assert [data.values.tolist() for data in apart] == [[5], [10], [15]]
        assert [data.values.tolist() for data in reader.query("jobs_total", fn="rate", agg=True)] == [[1], [2], [3]]
        assert [len(data) for data in reader.query("jobs_total", "1..2", fn="increase", agg=True)] == [0]
        later = reader.query("jobs_total", f"{START_S + 2}..{START_S + 4}", fn="increase", agg=True)
        assert [data.values.tolist() for data in later] == [[12]]
        assert [data.values.tolist() for data in reader.query("took_seconds", fn="count", agg=True)] == [[6]]


@pytest.mark.parametrize(("name", "fn"), [("jobs_total", "increase"), ("jobs_total", "rate"), ("took_seconds", "count"), ("took_seconds", "sum")])  # fmt: skip
def test_the_second_that_is_recorded_into_is_answered_when_it_is_over_or_asked_for(opened, name, fn):
    """A part of a second is no second's growth or count; one value for a whole range has it, and so has `open`."""
    grow(opened, 2)
    took = opened.summary("took_seconds")
    took.observe(1)
    opened.counter("jobs_total").inc()

    def seconds(**options):
        return (opened.query(name, fn=fn, tier=0, **options)[0].timestamps_ns // S - START_S).tolist()

    assert 2 not in seconds()
    assert 2 in seconds(open=True)
    assert opened.query(name, fn=fn, agg=True)[0].values[0] == (1 if name == "took_seconds" or fn == "rate" else 3)
    opened.clock.advance(1)
    assert 2 in seconds()
