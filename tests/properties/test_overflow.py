"""Whatever is thrown at a store, however often it is opened and grown: the totals of all series are what was recorded."""

import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import given, settings

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.maintain.check import check_store
from rondo_core.model.overflow import is_overflow

TIERS = (Tier("1s", "20s"), Tier("10s", "2m"))
RECORD = st.tuples(st.just("record"), st.sampled_from(["counter", "summary"]), st.integers(0, 4), st.integers(0, 12))
OPEN = st.tuples(st.just("open"), st.sampled_from([0, None]), st.integers(0, 3))
STEP = st.tuples(st.just("step"), st.integers(1, 3))


@settings(max_examples=60, deadline=None)
@given(
    room=st.integers(1, 6),
    reserve=st.integers(1, 3),
    steps=st.lists(st.one_of(RECORD, RECORD, RECORD, RECORD, STEP, OPEN), min_size=1, max_size=80),
)
def test_totals_over_all_series_are_what_was_recorded(room, reserve, steps):
    """For any interleaving of label sets, capacity, time, openings and growth; each user has the room asked for."""
    clock, counted, observed = ManualClock(), 0, 0

    def schemas():
        return [Schema(f"{kind}s", kind, room, TIERS, reserve=reserve) for kind in ("counter", "summary")]

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "s"
        store = Store(path, schemas(), clock=clock)
        for what, *facts in steps:
            if what == "step":
                clock.advance(facts[0])
                store.tick()
            elif what == "open":
                store.close()
                bound, more = facts
                room += more
                store = Store(path, schemas(), clock=clock, max_bytes=bound if not more else None)
            else:
                kind, name, number = facts
                handle = getattr(store, kind)(f"{kind}{name}", n=number)
                if kind == "counter":
                    handle.inc(number + 1)
                    counted += number + 1
                else:
                    handle.observe(number)
                    observed += 1
                own = [each for each in store.registry.by_schema[f"{kind}s"] if not is_overflow(each)]
                assert not is_overflow(handle.series) or len(own) >= room
        store.close()
        with StoreReader(path) as reader:
            series = [each for each in reader.series() if each.schema != "rondo"]
            totals = dict.fromkeys(("counter", "summary"), 0.0)
            for data in (
                reader.query([each for each in series if each.kind == "counter"], fn="last", tier=1) if counted else []
            ):
                totals["counter"] += data.values[-1]
            for data in (
                reader.query([each for each in series if each.kind == "summary"], fn="total", tier=1)
                if observed
                else []
            ):
                totals["summary"] += data.values[-1]
        assert totals == {"counter": counted, "summary": observed}
        assert not check_store(path)
