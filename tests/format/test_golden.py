"""Stores of every released format are read for ever: each value of the golden store, worked out by hand."""

from pathlib import Path

import pytest

from rondo_core import ManualClock, Store, StoreReader, StoresReader
from rondo_core.export.cursor import load_cursor
from rondo_core.maintain.check import check_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.model import layout, read_schemas, write_schemas
from rondo_core.storage.directory import read_meta
from rondo_core.storage.ended import read_ended
from rondo_core.storage.files import Folder

START_S = 1_700_000_001
SECONDS = range(20)
SPANS = (1, 3, 6)
SLOTS = (12, 10, 10)
SIX_DECADES = 0.09  # the error of a sketch of 108 cells whose values span so much; with the 160 of old it is 0.05

# What make_golden.py recorded, second by second.
ADDED = {second: 0.0 if second == 9 else second + 0.5 for second in SECONDS}
FINE = {
    "requests_total": {second: sum(ADDED[k] for k in SECONDS if k <= second) for second in SECONDS},
    "late_total": {second: 0.0 if second < 15 else 2.0 for second in SECONDS if second >= 12},
    'level{n="1"}': {second: 100.0 if second == 14 else second * 1.0 for second in SECONDS if second != 9},
    'level{n="2"}': {second: second * -2.5 for second in SECONDS if second != 9},
}
OBSERVED = {second: [second + n / 4 for n in range(second % 3)] for second in SECONDS}
READ = {
    "first": lambda values: values[0], "last": lambda values: values[-1], "min": min, "max": max, "sum": sum,
    "count": len, "avg": lambda values: sum(values) / len(values),
}  # fmt: skip


def windows(tier):
    """Give the windows that the tier still holds: the first second of each, oldest first."""
    starts = [start for start in range(-3, 20, SPANS[tier]) if (START_S + start) % SPANS[tier] == 0]
    starts = [start for start in starts if start + SPANS[tier] > 0]
    return starts[-SLOTS[tier] :]


def read(reader, selector, tier, fn):
    (data,) = reader.query(selector, "all", tier=tier, fn=fn)
    return dict(zip((data.timestamps_ns // 10**9 - START_S).tolist(), data.values.tolist(), strict=True))


def damage(path, second):
    return [finding for finding in check_store(path, second * 10**9) if finding.severity == "damage"]


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_every_counter_and_gauge_of_the_golden_store(golden, tier):
    """First, last, min, max, count, and for gauges sum and avg, of every bucket of every tier."""
    with StoreReader(golden) as reader:
        for selector, fine in FINE.items():
            names = ["first", "last", "min", "max", "count"] + (["sum", "avg"] if "level" in selector else [])
            for fn in names:
                expected = {}
                for start in windows(tier):
                    values = [fine[k] for k in range(start, start + SPANS[tier]) if k in fine]
                    if values:
                        expected[start] = READ[fn](values)
                assert read(reader, selector, tier, fn) == expected, (selector, tier, fn)


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_every_observation_of_the_golden_store(golden, tier):
    """Count, sum, min, max, avg and total of every bucket of every tier."""
    with StoreReader(golden) as reader:
        for fn in ("count", "sum", "min", "max", "avg"):
            expected = {}
            for start in windows(tier):
                values = [value for k in range(start, start + SPANS[tier]) for value in OBSERVED.get(k, [])]
                if values:
                    expected[start] = READ[fn](values)
            assert read(reader, "latency_seconds", tier, fn) == expected, (tier, fn)
        totals = {
            start: float(sum(len(OBSERVED[k]) for k in SECONDS if k < start + SPANS[tier])) for start in windows(tier)
        }
        assert read(reader, "latency_seconds", tier, "total") == totals


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_every_quantile_of_the_golden_store(golden, tier):
    """The median of a zero, two small values and a large one each second is the larger small one, within the error."""
    with StoreReader(golden) as reader:
        for start, value in read(reader, "duration_seconds", tier, "p75").items():
            seconds = [second for second in range(start, start + SPANS[tier]) if second in SECONDS and second != 9]
            exact = max(second + 1.0 for second in seconds)
            assert value == pytest.approx(exact, rel=SIX_DECADES)
        medians = read(reader, "duration_seconds", tier, "p50")
        assert list(medians) == [start for start in windows(tier) if (tier, start) != (0, 9)]
        assert list(medians.values()) == pytest.approx([0.001] * len(medians), rel=SIX_DECADES)


def test_what_the_golden_store_says_of_itself(golden):
    """Series with their texts, runs and how they ended, and an exporter's cursor."""
    with StoreReader(golden) as reader:
        series = [each for each in reader.registry if not each.name.startswith("rondo_")]
        assert [str(each) for each in series] == [
            'requests_total{path="/ä"}',
            'level{n="1"}',
            'level{n="2"}',
            "latency_seconds",
            "duration_seconds",
            "late_total",
        ]
        assert (series[0].help, series[0].unit) == ("Requests.", "requests")
        assert [run.ended for run in reader.runs()] == ["closed", "closed"]
        assert {run.writer for run in reader.runs()} == {"golden"}
        assert reader.meta.created_ns == START_S * 10**9
    cursor = load_cursor(golden, "golden")
    assert (cursor.positions, cursor.ended_run, cursor.samples) == ({"c.0": 1_700_000_010}, 1, 42)


def test_the_golden_store_can_be_written_on(golden):
    """A writer of today takes up the totals where the store's last one left them."""
    clock = ManualClock((START_S + 20) * 10**9)
    with Store(golden, clock=clock) as store:
        counter = store.counter("requests_total", {"path": "/ä"})
        counter.inc(1.0)
        assert counter.value == FINE["requests_total"][19] + 1.0
    with StoreReader(golden) as reader:
        assert read(reader, "requests_total", 0, "last")[20] == FINE["requests_total"][19] + 1.0
        assert read(reader, "requests_total", 0, "last")[19] == FINE["requests_total"][19]


def test_quantiles_of_the_golden_store_go_on(golden):
    """A writer of today counts in sketches of the layout that the store was made with, and folds them."""
    clock = ManualClock((START_S + 20) * 10**9)
    with Store(golden, clock=clock) as store:
        for second in range(12):
            for value in (0.0, 0.001, float(second + 1), 1000.0):
                store.summary("duration_seconds").observe(value)
            store.tick()
            clock.advance(1)
    assert damage(golden, START_S + 40) == []
    with StoreReader(golden) as reader:
        for tier in range(3):
            found = {at: value for at, value in read(reader, "duration_seconds", tier, "p75").items() if at >= 20}
            ends = {start: start - 20 + SPANS[tier] for start in found if start + SPANS[tier] <= 32}
            assert {at: found[at] for at in ends} == pytest.approx(ends, rel=SIX_DECADES)
            assert ends


def test_golden_stores_of_both_layouts_are_one_number_together(unpacked):
    """The cells of one are merged with those of the other."""
    paths = [unpacked(name) for name in ("v1", "v1-sketch")]
    with StoresReader(paths[0].parent) as reader:
        for fn, exact in (("p50", 0.001), ("p99", 1019.0), ("count", 2 * 4 * 19)):
            (data,) = reader.query("duration_seconds", fn=fn, agg=True)
            assert data.values.tolist() == pytest.approx([exact], rel=SIX_DECADES)


def test_a_golden_store_moves_to_the_sketches_of_today(golden):
    """To schemas of its own, as a file of them says; every quantile stays, within the error of fewer cells."""
    (golden.parent / "schemas.toml").write_text(write_schemas(read_meta(golden).schemas))
    schemas = read_schemas(golden.parent / "schemas.toml")
    with StoreReader(golden) as reader:
        wanted = {(tier, fn): read(reader, "duration_seconds", tier, fn) for tier in range(3) for fn in ("p50", "p99")}
        old = any(schema.sketch_layout == 1 for schema in reader.meta.schemas)
    clock = ManualClock((START_S + 30) * 10**9)
    assert migrate_store(golden, schemas, clock=clock).changed == old
    assert damage(golden, START_S + 30) == []
    with StoreReader(golden) as reader:
        assert {schema.sketch_layout for schema in reader.meta.schemas} == {2}
        for (tier, fn), values in wanted.items():
            assert read(reader, "duration_seconds", tier, fn) == pytest.approx(values, rel=2 * SIX_DECADES)


def test_what_is_set_aside_in_a_golden_store_is_not_read(stepped):
    """Its clock stepped back from second 19 to 14: what is later is out of sight, and no damage."""
    with StoreReader(stepped) as reader:
        for selector in ('level{n="1"}', 'level{n="2"}'):
            assert read(reader, selector, 0, "last") == {
                second: value for second, value in FINE[selector].items() if 8 <= second <= 14
            }
        assert max(read(reader, "requests_total", 0, "last").items()) == (14, FINE["requests_total"][19])
        base = START_S + 14
        for name in ("c", "g", "s", "q"):
            assert list(reader.slabs[name][0].step_words) == [base, base, base + 1, base + 5, base + 5, 0]
    assert damage(stepped, base) == []


def test_what_is_set_aside_in_a_golden_store_comes_back(stepped):
    """A writer whose clock is right again has all of it, but for the second in which the clock was wrong."""
    clock = ManualClock((START_S + 20) * 10**9)
    with Store(stepped, clock=clock) as store:
        counter = store.counter("requests_total", {"path": "/ä"})
        store.gauge("level", {"n": 1}).set(20.0)
        store.summary("latency_seconds").observe(1.0)
        store.tick()
        assert counter.value == FINE["requests_total"][19]
        for selector in ('level{n="1"}', 'level{n="2"}', "requests_total"):
            found = read(store, selector, 0, "last")
            assert {k: found.get(k) for k in range(15, 20)} == {k: FINE[selector][k] for k in range(15, 20)}, selector
        found = read(store, "latency_seconds", 0, "max")
        assert {k: found.get(k) for k in range(15, 20)} == {k: max(OBSERVED[k], default=None) for k in range(15, 20)}


def test_words_that_contradict_each_other_set_nothing_aside(golden):
    """A small count where a step of the clock is noted is no step: it is cleared, and nothing is lost."""
    with StoreReader(golden) as reader:
        files = [slabs[0].path for slabs in reader.slabs.values()]
        before = read(reader, "requests_total", 0, "last")
    for file in files:
        with Path(file).open("r+b") as slab:
            slab.seek(layout.SLAB_STEP)
            slab.write((2).to_bytes(8, "little"))
    assert damage(golden, START_S + 20) == []
    with Store(golden, clock=ManualClock((START_S + 20) * 10**9)) as store:
        assert all(not any(slabs[0].step_words) for slabs in store.slabs.values())
        after = read(store, "requests_total", 0, "last")
        assert {second: after.get(second) for second in before if second > 8} == {
            second: value for second, value in before.items() if second > 8
        }


PEAKS = {  # second by second, of record_peaks: the least value, the greatest, the last
    "queue": {
        second: (
            min(-second, second),
            500.0 if second == 14 else second + 100.0,
            500.0 if second == 14 else second + 0.5,
        )
        for second in SECONDS
        if second != 9
    },
    "jobs": {
        second: (2.0 * (second // 4) if second and second % 4 == 0 else level, level + (second % 4 == 0), level)
        for second in SECONDS
        for level in [2.0 * (second // 4 + 1)]
    },
}


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_every_peak_of_the_golden_store(peaked, tier):
    """The least and the greatest value of each bucket in every tier, of one that was changed too."""
    with StoreReader(peaked) as reader:
        for selector, fine in PEAKS.items():
            for at, (fn, further) in enumerate({"min": min, "max": max, "last": lambda values: values[-1]}.items()):
                expected = {}
                for start in windows(tier):
                    values = [fine[k][at] for k in range(start, start + SPANS[tier]) if k in fine]
                    if values:
                        expected[start] = further(values)
                assert read(reader, selector, tier, fn) == expected, (selector, tier, fn)


def test_every_format_has_its_golden_store(unpacked):
    """A new format version comes with a store of its own, and those before stay readable."""
    for version in range(1, layout.FORMAT_VERSION + 1):
        with StoreReader(unpacked(f"v{version}")) as reader:
            assert len(reader.registry) > 0


def test_marks_and_notes_of_a_golden_store(unpacked):
    """Each of them, with its time, its run and what was said."""
    with StoreReader(unpacked("v1-events")) as reader:
        events = reader.events()
    assert len(events) == 21
    assert [event.time_ns // 10**9 - START_S for event in events if event.kind == "note"] == list(SECONDS)
    assert events[19].text == "second 18 " + "é" * 36
    assert (str(events[6]), events[6].kind, events[6].number, events[6].run) == ("deploy version=1.4.2", "mark", 7, 1)
    assert {event.run for event in events} == {1, 2}


def test_an_older_golden_store_goes_on_with_all_its_runs(unpacked):
    """A record of fifteen runs is read and written on as it is; the next writer adds the file of events."""
    path = unpacked("v1-place")
    with StoreReader(path) as reader:
        before = [run.number for run in reader.runs()]
        assert reader.events() == []
    with Store(path, clock=ManualClock((START_S + 60) * 10**9)) as store:
        store.note("on")
    assert (path / "runs").stat().st_size == 8192
    with StoreReader(path) as reader:
        assert [run.number for run in reader.runs()] == [*before, before[-1] + 1]
        assert [event.text for event in reader.events()] == ["on"]


def test_a_rondo_of_the_day_of_a_golden_store_can_go_on_with_what_today_has_written(golden, caplog):
    """Written on, ticked and closed, three times, it has its files at their sizes, with the headers that they had.

    So older and newer programs may take turns at one store; only growth, `rondo migrate` and `rondo repair` make files of
    today's layout. What was recorded by turns is all there, and nothing is said of rondo's own words that changed.
    """

    def layouts():
        kept = {slab.name: slab.read_bytes()[: layout.SLAB_NEXT_WINDOW] for slab in golden.glob("*.slab")}
        sizes = {
            file.name: file.stat().st_size for file in golden.iterdir() if file.name not in {"events", "lock", "series"}
        }
        return kept, sizes, (golden / "meta").read_bytes()

    before, clock = layouts(), ManualClock((START_S + 20) * 10**9)
    for turn in range(3):
        with Store(golden, clock=clock) as store:
            for _ in range(4):
                store.counter("requests_total", {"path": "/ä"}).inc()
                store.summary("duration_seconds").observe(1.0)
                store.tick()
                clock.advance(1)
        with StoreReader(golden) as reader:
            found = read(reader, "requests_total", 0, "last")
            assert found[20 + 4 * turn + 3] == FINE["requests_total"][19] + 4 * (turn + 1)
    assert layouts() == before
    assert caplog.messages == []
    assert damage(golden, START_S + 40) == []


def test_a_store_of_every_format_grows(golden):
    """What overflows in it is counted or said to be lost; the next opening has room, and every point is as it was."""

    def points():
        with StoreReader(golden) as reader:
            return [
                (str(data.series), tier, data.timestamps_ns.tolist(), data.values.tolist())
                for tier in range(3)
                for series in reader.series()
                if series.schema != "rondo"
                for data in reader.query([series], tier=tier, fn="total" if series.kind == "summary" else "last")
            ]

    before, clock = points(), ManualClock((START_S + 20) * 10**9)
    with Store(golden, clock=clock) as store:
        assert {store.gauge("level", n=number).series.column for number in (1, 2)} == {0, 1}
        for number in range(9):
            store.counter("requests_total", n=number)
    with Store(golden, clock=clock) as store:
        room = {each.name: each.max_series for each in store.meta.schemas}
        assert (room["c"], room["g"]) == (12, 3)
        assert not any(store.counter("requests_total", n=number).series.schema != "c" for number in range(9))
    after = points()
    assert [point for point in before if point[0].startswith(("level", "latency"))] == [
        point for point in after if point[0].startswith(("level", "latency"))
    ]
    assert not damage(golden, START_S + 20)


@pytest.mark.parametrize("tier", [0, 1, 2])
def test_a_golden_store_of_the_ended(ended, tier):
    """Two stores folded into one: gauges as the one had them, equal counters added up, and what says so."""
    known = read_ended(Folder(ended))
    assert (known.stores, known.unexported, sorted(name for _, name in known.members)) == (2, 0, ["other", "store"])
    assert damage(ended, START_S + 100) == []
    with StoreReader(ended) as reader:
        for selector in ('level{n="1"}', 'level{n="2"}'):
            for fn in ("first", "last", "min", "max", "sum", "count"):
                held = {
                    start: [FINE[selector].get(k) for k in range(start, start + SPANS[tier])] for start in windows(tier)
                }
                held = {start: [value for value in values if value is not None] for start, values in held.items()}
                assert read(reader, selector, tier, fn) == {k: READ[fn](v) for k, v in held.items() if v}, (tier, fn)
        totals = read(reader, "requests_total", tier, "last")
        for start in windows(tier):
            last = min(start + SPANS[tier] - 1, 19)
            assert totals[start] == FINE["requests_total"][last] + (1000 if last >= 1 else 0)
        assert set(read(reader, "others_total", tier, "last").values()) == {7.0}
