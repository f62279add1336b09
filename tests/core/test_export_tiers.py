"""What leaves from coarser tiers: readings that were asked for, and windows in place of what was overwritten."""

import numpy as np
import pytest

from rondo_core import Schema, Store, Tier
from rondo_core.errors import ConsolidatorError, RangeError, SelectorError
from rondo_core.export.runner import Runner

SECOND_NS = 10**9
TIERS = (Tier("1s", "20s"), Tier("5s", "60s"), Tier("10s", "10m"))


class Taking:
    """Takes everything, and refuses to go back in time."""

    def __init__(self):
        self.samples, self.kinds, self.newest = {}, {}, {}

    def send(self, batch):
        for part in batch.parts:
            for column, series in enumerate(part.series):
                self.kinds[str(series)] = part.kind
                for row, stamp in enumerate(part.timestamps_ns.tolist()):
                    cells = {name: float(block[row, column]) for name, block in part.statistics.items()}
                    if not np.isnan(cells["count" if part.kind == "summary" else "last"]):
                        assert stamp > self.newest.get(str(series), 0), "back in time"
                        self.newest[str(series)] = stamp
                        self.samples[str(series), stamp // SECOND_NS] = (
                            cells if part.kind == "summary" else cells["last"]
                        )

    def close(self):
        pass


@pytest.fixture
def store(path, clock):
    """200 s of three kinds, each value the second it was recorded in, counted from the start."""
    schemas = [Schema(kind, kind, 4, TIERS) for kind in ("counter", "gauge", "summary")]
    with Store(path, schemas, clock=clock) as store:
        yield store


def fill(store, clock, seconds):
    for _ in range(seconds):
        second = clock() // SECOND_NS % 1000
        store.counter("c_total").inc()
        store.gauge("g").set(second)
        store.summary("s").observe(second)
        store.tick()
        clock.advance(1)


def export(store, clock, ended_run=0, **options):
    receiver = Taking()
    options.setdefault("match", '{__name__!~"rondo_.*"}')
    outcome = Runner(store.view, receiver, "x", clock=clock, **options).finish(ended_run, 10)
    return receiver, outcome


def test_an_outage_longer_than_the_fine_tier_is_filled_from_coarser_ones(store, clock):
    """Whole windows stand in, each with what it held last at the second it ended with; then the fine tier goes on."""
    start = clock() // SECOND_NS
    fill(store, clock, 12)
    export(store, clock)
    fill(store, clock, 188)
    receiver, outcome = export(store, clock)
    seconds = [second - start for name, second in receiver.samples if name == "g"]
    assert seconds == [*range(29, 140, 10), *range(144, 180, 5), *range(180, 199)]
    assert [value % 1000 for (name, _), value in receiver.samples.items() if name == "g"] == seconds
    totals = {second - start: value for (name, second), value in receiver.samples.items() if name == "c_total"}
    assert all(value == second + 1 for second, value in totals.items())
    summaries = {second - start: cells for (name, second), cells in receiver.samples.items() if name == "s"}
    assert all(cells["count_base"] + cells["count"] == second + 1 for second, cells in summaries.items())
    assert (summaries[29]["count"], summaries[29]["min"], summaries[29]["max"]) == (10, 20, 29)
    assert outcome.coarse_buckets == 3 * (12 + 8)
    assert outcome.overwritten_buckets == 3 * 9  # seconds 11 to 19: no window of what is missing holds them


def test_what_a_tier_without_last_keeps_of_a_gauge_is_its_mean(path, clock):
    """Where the coarse tier was made small, its mean stands in; a summary without running totals is left out."""
    schemas = [
        Schema("g", "gauge", 1, (Tier("1s", "20s"), Tier("5s", "10m", ("sum",)))),
        Schema("s", "summary", 1, (Tier("1s", "20s"), Tier("5s", "10m", ("max",)))),
    ]
    with Store(path, schemas, clock=clock) as store:
        for second in range(100):
            store.gauge("g").set(second)
            store.summary("s").observe(second)
            store.tick()
            clock.advance(1)
            if second == 4:
                export(store, clock)
        receiver, outcome = export(store, clock)
        start = clock() // SECOND_NS - 100
        assert receiver.samples["g", start + 14] == 12.0
        assert min(second for name, second in receiver.samples if name == "s") >= start + 80
        assert outcome.overwritten_buckets >= 70


def test_a_first_export_begins_with_history_only_where_it_is_asked_to(store, clock):
    """By default with the oldest of the finest tier; with backfill with the oldest there is."""
    start = clock() // SECOND_NS
    fill(store, clock, 100)
    plain, outcome = export(store, clock)
    assert min(second for _, second in plain.samples) == start + 80
    assert (outcome.coarse_buckets, outcome.overwritten_buckets) == (0, 0)
    receiver = Taking()
    Runner(store.view, receiver, "y", clock=clock, backfill=True).finish(0, 10)
    assert min(second for name, second in receiver.samples if name == "g") == start + 9


def test_a_tier_leaves_as_readings_under_names_of_their_own(store, clock):
    """x_avg and x_max are gauges of closed windows at their start; a counter stays the counter it is."""
    start = clock() // SECOND_NS
    fill(store, clock, 23)
    receiver, _ = export(store, clock, tier=1, fn=["avg", "max", "last"])
    assert receiver.kinds["c_total"] == "counter"
    assert {receiver.kinds[name] for name in receiver.kinds if name != "c_total"} == {"gauge"}
    assert set(receiver.kinds) == {"c_total", "c_total_max", "g_avg", "g_max", "g_last", "s_avg", "s_max"}
    mine = {second - start: value for (name, second), value in receiver.samples.items() if name == "g_avg"}
    assert mine == {0: 2.0, 5: 7.0, 10: 12.0, 15: 17.0}
    assert receiver.samples["c_total", start + 15] == 20.0
    assert receiver.samples["s_max", start + 15] == 19.0


def test_a_rate_goes_on_from_one_request_to_the_next(store, clock):
    """The first point of a request is taken from the last one before it; the very first from 0, at the birth."""
    fill(store, clock, 31)
    receiver, _ = export(store, clock, tier=1, fn=["rate"], max_samples=1)
    rates = [value for (name, _), value in receiver.samples.items() if name == "c_total_rate"]
    assert rates == [1.0] * 6


def test_a_run_that_ends_sends_its_open_windows_too(store, clock):
    """The last window of a tier leaves as far as it has come."""
    start = clock() // SECOND_NS
    fill(store, clock, 23)
    store.close()
    receiver, _ = export(store, clock, ended_run=1, tier=1)
    assert receiver.samples["g_avg", start + 20] == 21.0


def test_only_what_matches_leaves(store, clock):
    """A selector of the runner's chooses the series."""
    fill(store, clock, 5)
    receiver, _ = export(store, clock, match="g")
    assert {name for name, _ in receiver.samples} == {"g"}


@pytest.mark.parametrize(
    ("options", "error"),
    [({"fn": ["nonsense"]}, ConsolidatorError), ({"tier": 9}, RangeError), ({"match": "{"}, SelectorError)],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(store, clock, options, error):
    """A consolidator, a tier or a selector that is none is an error of the one who asked."""
    with pytest.raises(error):
        export(store, clock, **options)
