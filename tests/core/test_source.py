"""Stores as sources of PromQL: what an expression answers is what was recorded, whatever tier or store it lies in."""

import math
import os
import shutil

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.clock import wall_ns
from rondo_core.model.prometheus import STALE_BITS
from rondo_core.read import RememberedReads, StoreSource, open_source
from rondo_core.storage import files as files_module
from rondo_core.storage import journal as journal_module
from rondo_core.storage import runs as runs_module
from rondo_core.storage.runs import put_run, read_runs
from rondo_promql import evaluate, evaluate_instant

S, START_S = 10**9, 1_700_000_100
TIERS = (Tier("1s", "20s"), Tier("10s", "10m"))
SCHEMAS = [
    Schema("counters", "counter", 8, TIERS),
    Schema("gauges", "gauge", 8, TIERS),
    Schema("sketched", "summary", 4, TIERS, sketch=True),
]


@pytest.fixture
def clock():
    return ManualClock(START_S * S)


def at(source, query, second):
    """Ask at a second after the start: {labels as PromQL writes them: value}, and what was noted."""
    result = evaluate_instant(query, source, round((START_S + second) * 1000))
    values = {
        ",".join(f"{key}={value}" for key, value in sorted(labels.items())): float(each[0])
        for labels, _, each in result.series
    }
    return values, result.infos


def value(source, query, second):
    """Ask for the value of the only series."""
    (found,) = at(source, query, second)[0].values()
    return found


def live(path, clock, seconds, *, labels=None, each=lambda store, second: store.counter("c_total").inc()):
    """Record each second, and close."""
    with Store(path, SCHEMAS, clock=clock, labels=labels) as store:
        for second in range(seconds):
            each(store, second)
            store.tick()
            clock.advance(1)


def test_every_kind_has_the_names_that_an_exporter_sends(path, clock):
    """A summary is its count, sum, least and greatest; with quantiles it has these, a histogram and, by name, buckets."""

    def record(store, second):
        store.counter("c_total", code="200").inc()
        store.gauge("g").set(second)
        store.summary("s_seconds", quantiles=True).observe(0.5)

    live(path, clock, 3, each=record)
    with StoreReader(path) as reader:
        names = [labels["__name__"] for labels in reader.source().series()]
        buckets = at(reader.source(), "s_seconds_bucket", 2)[0]
        own = [name for name in names if not name.startswith("rondo_")]
        assert own == [
            "c_total",
            "g",
            *(f"s_seconds_{each}" for each in ("count", "sum", "min", "max")),
            *["s_seconds"] * 5,
        ]
        assert buckets["__name__=s_seconds_bucket,le=+Inf"] == 3
        assert reader.source().metadata()["c_total"][0] == "counter"


def test_increase_loses_nothing_of_the_first_second(path, clock):
    """A counter counts from 0 at its birth: what it grew by over all of its life is its total."""
    live(path, clock, 10, each=lambda store, _: store.counter("c_total").inc(7))
    with StoreReader(path) as reader:
        source = reader.source()
        assert value(source, "c_total", -1) == 0
        assert value(source, "max_over_time(c_total[1m]) - min_over_time(c_total[1m])", 9) == 70
        assert value(source, "increase(c_total[10s])", 9) == pytest.approx(70)  # (-1s, 9s]: nine steps, to the edges
        assert at(source, "c_total", -2)[0] == {}


def test_a_life_that_has_ended_ends_its_series_and_the_next_one_begins_them_again(path, clock):
    """A millisecond after the newest sample there is no value; neither is there between two lives."""
    live(path, clock, 5)
    clock.advance(5)
    live(path, clock, 5)
    with StoreReader(path) as reader:
        source = reader.source()
        assert value(source, "c_total", 4) == 5
        assert at(source, "c_total", 4.002)[0] == at(source, "c_total", 9)[0] == {}
        assert value(source, "c_total", 14) == 10
        assert at(source, "c_total", 14.002)[0] == {}
        [(_, stamps, values)] = [each for each in source.select((), 0, 1 << 50) if each[0]["__name__"] == "c_total"]
        assert stamps[-1] == (START_S + 14) * 1000 + 1
        assert values.view(np.uint64)[-1] == STALE_BITS


def test_the_second_that_is_not_over_is_not_answered(path, clock):
    """A sample that may still change is no answer; it is one as soon as its second is over, and no life has ended."""
    with Store(path, SCHEMAS, clock=clock) as store:
        level = store.gauge("g")
        level.set(1)
        clock.advance(1)
        level.set(2)
        assert value(store.source(), "g", 1) == 1
        clock.advance(1)
        assert value(store.source(), "g", 1) == 2
        assert value(store.source(), "g", 100) == 2


def test_a_coarser_tier_answers_with_the_statistic_that_the_function_is_of(path, clock):
    """Over what the finest tier has given away, extremes, means, sums and counts are those of all samples."""
    values = [math.sin(second * 1.7) * 10 + second for second in range(60)]
    live(path, clock, 60, each=lambda store, second: store.gauge("g").set(values[second]))
    with StoreReader(path) as reader:
        source = reader.source()
        for function, exact in (("max", max), ("min", min), ("sum", sum), ("count", len)):
            assert value(source, f"{function}_over_time(g[1m])", 59) == pytest.approx(exact(values)), function
        assert value(source, "avg_over_time(g[1m])", 59) == pytest.approx(sum(values) / 60)
        assert value(source, "avg_over_time(g[45s])", 59) == pytest.approx(sum(values[20:]) / 40, rel=0.2)
        infos = at(source, "max_over_time(g[1m])", 59)[1]
        assert len(infos) == 1
        assert "10s" in infos[0]
        assert at(source, "max_over_time(g[15s])", 59)[1] == []


def test_a_range_of_a_single_coarse_point_is_said_to_be_too_short(path, clock):
    """A rate needs two points: where the tier has them 10 s apart 15 s hold one, and the answer says what to give."""
    live(path, clock, 60)
    with StoreReader(path) as reader, open_source(path.parent) as stores:
        for source in (reader.source(), stores):
            found, infos = at(source, "rate(c_total[15s])", 25)
            assert found == {}
            assert infos[1:] == [
                "rate needs two points: where these are 10s apart [15s] may have none; give [20s] or more"
            ]
            assert len(at(source, "rate(c_total[20s])", 25)[1]) == 1
            assert at(source, "rate(c_total[2s])", 59)[1] == []


@pytest.mark.parametrize(
    ("query", "lookback_ms", "second", "info"),
    [
        (
            "rate(c_total[1s])",
            300_000,
            59,
            "rate needs two points: where these are 1s apart [1s] may have none; give [2s]",
        ),
        ("max_over_time(c_total[500ms])", 300_000, 58.9, "where points are 1s apart [500ms] may hold none of them"),
        (
            "max_over_time(c_total[5s])",
            300_000,
            17,
            "where points are 10s apart [5s] may hold none of them; give [10s]",
        ),
        (
            "c_total",
            5_000,
            17,
            "where points are 10s apart a selector, which looks back 5s, may see none of them; ask for ",
        ),
    ],
)
def test_a_window_shorter_than_the_way_between_two_points_is_said_to_be(path, clock, query, lookback_ms, second, info):
    """Of the finest tier and of a coarser one, of ranges and of the lookback: nothing is empty without a word."""
    live(path, clock, 60)
    with StoreReader(path) as reader, open_source(path.parent) as stores:
        for source in (reader.source(), stores):
            at_ms = round((START_S + second) * 1000)
            result = evaluate_instant(query, source, at_ms, lookback_ms=lookback_ms)
            assert result.plain() == []
            assert result.infos[-1].startswith(info)


def test_a_range_that_begins_before_what_is_kept_says_so(path, clock):
    """What was overwritten is gone without a gap to be seen; what was not recorded yet is none of that."""
    kept = "samples are kept for 1m: the range begins earlier, and there is nothing of its begin"
    schemas = [Schema("counters", "counter", 8, (Tier("1s", "20s"), Tier("10s", "1m")))]
    with Store(path, schemas, clock=clock) as store:
        total = store.counter("c_total")
        for _ in range(200):
            total.inc()
            store.tick()
            clock.advance(1)
    with StoreReader(path) as reader, open_source(path.parent) as stores:
        for source in (reader.source(), stores):
            for first, infos in ((20, [kept]), (170, [])):
                asked = (START_S + first) * 1000, (START_S + 199) * 1000, 10_000
                found = evaluate("increase(c_total[30s])", source, *asked)
                assert found.series
                assert [each for each in found.infos if each == kept] == infos
            asked = (START_S - 100) * 1000, (START_S + 10) * 1000, 10_000
            assert kept in evaluate("c_total", source, *asked).infos
    live(path.with_name("young.rondo"), clock, 30)
    with StoreReader(path.with_name("young.rondo")) as reader:
        asked = (clock() // S - 600) * 1000, (clock() // S) * 1000, 10_000
        assert kept not in evaluate("c_total", reader.source(), *asked).infos


def test_an_empty_answer_says_when_there_are_samples(path, clock):
    """Of one store and of a directory: before, after, not yet, or not where it was asked; what a condition leaves out is none."""
    begun_s = clock() // S
    with Store(path, SCHEMAS, clock=clock) as store:
        for second in range(60):
            store.counter("c_total").inc()
            if not 10 <= second < 40:
                store.gauge("g").set(1)
            store.tick()
            clock.advance(1)
    with StoreReader(path) as reader, open_source(path.parent) as stores:
        for source in (reader.source(), stores):
            for query, second, said in (
                ("c_total", -5, "c_total: the oldest sample is of 2023-11-14T22:15:00Z, after what was asked for"),
                ("c_total", 70, "c_total: the newest sample is of 2023-11-14T22:15:59Z, before what was asked for"),
                ("max_over_time(g[5s])", 30, "g: no sample in the time that was asked for, though there may be from"),
                (
                    '{__name__=~"c_.*",queue="x"}',
                    30,
                    '{__name__=~"c_.*",queue="x"}: no such series; a series here has no',
                ),
                ('{job="x"}', 30, '{job="x"}: no such series; a series here has no label job'),
                ("c_totl", 30, "c_totl: no such series; nearest: c_total"),
            ):
                reads = RememberedReads(source)
                assert evaluate_instant(query, reads, (begun_s + second) * 1000).plain() == []
                [text] = reads.why_empty()
                assert text.startswith(said)
            reads = RememberedReads(source)
            assert evaluate_instant("c_total > 1e9", reads, (begun_s + 30) * 1000).plain() == []
            assert reads.why_empty() == []


def test_a_tier_that_keeps_sums_alone_answers_with_means(path, clock):
    """What a coarser tier does not keep is not made up: it answers by what it has."""
    schemas = [Schema("gauges", "gauge", 2, (Tier("1s", "20s"), Tier("10s", "10m", ("sum",))))]
    with Store(path, schemas, clock=clock) as store:
        level = store.gauge("g")
        for second in range(40):
            level.set(second)
            store.tick()
            clock.advance(1)
    with StoreReader(path) as reader:
        assert value(reader.source(), "g", 9) == 4.5
        assert value(reader.source(), "max_over_time(g[40s])", 39) == 39


def test_the_quantiles_of_a_sketch_are_near_the_exact_ones(path, clock):
    """By native histograms and by buckets, at one instant, over a range, and after the finest tier has gone on."""
    rng = np.random.default_rng(3)
    seen = []

    def record(store, second):
        waits = store.summary("w_seconds", quantiles=True)
        for each in rng.lognormal(0, 1, 50).tolist():
            seen.append((second, each))
            waits.observe(each)

    live(path, clock, 50, each=record)
    with StoreReader(path) as reader:
        source = reader.source()
        for query, first in (
            ("histogram_quantile(0.9, w_seconds)", 49),
            ("histogram_quantile(0.9, rate(w_seconds[10s]))", 40),
            ("histogram_quantile(0.9, sum by (le) (rate(w_seconds_bucket[10s])))", 40),
            ("histogram_quantile(0.9, sum(increase(w_seconds[1m])))", 0),
            ("histogram_quantile(0.9, increase(w_seconds_bucket[1m]))", 0),
        ):
            exact = np.quantile([each for second, each in seen if second >= first], 0.9)
            assert value(source, query, 49) == pytest.approx(exact, rel=0.1), query
        assert value(source, 'w_seconds_bucket{le="+Inf"}', 49) == value(source, "w_seconds_count", 49) == 2500
        assert value(source, "histogram_count(increase(w_seconds[1m]))", 49) == pytest.approx(2500, rel=0.05)


def test_a_directory_is_one_source_of_the_living_and_the_dead(tmp_path, clock, open_paths):
    """Each series has the label of its store; sums go over all of them; no file of a dead store stays open."""
    for name, seconds in (("a", 5), ("b/c", 8)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        beside = ManualClock(START_S * S)
        live(tmp_path / f"{name}.rondo", beside, seconds)
    with Store(tmp_path / "d.rondo", SCHEMAS, clock=clock) as store:
        store.counter("c_total").inc(100)
        clock.advance(3)
        store.tick()
        with open_source(tmp_path, clock=clock) as source:
            held = len(open_paths(tmp_path))
            assert at(source, "c_total", 2)[0] == {
                "__name__=c_total,rondo_store=a.rondo": 3,
                "__name__=c_total,rondo_store=b/c.rondo": 3,
                "__name__=c_total,rondo_store=d.rondo": 100,
            }
            assert value(source, "sum(c_total)", 2) == 106
            assert value(source, 'sum(c_total{rondo_store!="d.rondo"})', 6) == 7
            slabs = sum(len(each) for each in store.slabs.values())
            assert len(open_paths(tmp_path)) - held <= slabs + 3  # the living one's
            assert source.is_live()
            assert (source.oldest_ms(), source.newest_ms()) == (START_S * 1000, (START_S + 7) * 1000)
    assert len(open_paths(tmp_path)) < held


def test_a_source_of_a_directory_sees_what_becomes_of_its_stores(tmp_path, clock):
    """A store that is written again, made new, damaged or removed is what it is by now, in the same source."""
    live(tmp_path / "a.rondo", clock, 5)
    live(tmp_path / "b.rondo", clock, 5)
    with open_source(tmp_path, clock=clock) as source:
        assert at(source, "c_total", 9)[0] == {"__name__=c_total,rondo_store=b.rondo": 5}
        live(tmp_path / "a.rondo", clock, 5)
        assert at(source, "c_total", 14)[0] == {"__name__=c_total,rondo_store=a.rondo": 10}
        (tmp_path / "b.rondo" / "meta").write_bytes(b"damaged")
        (tmp_path / "b.rondo" / "runs").touch()
        live(tmp_path / "new.rondo", clock, 5)
        assert at(source, "c_total", 19)[0] == {"__name__=c_total,rondo_store=new.rondo": 5}
        assert [error.split(":")[0] for error in source.errors] == [str(tmp_path / "b.rondo/meta")]
        shutil.rmtree(tmp_path / "new.rondo")
        assert at(source, "c_total", 19)[0] == {}


def test_stores_that_share_their_label_are_one_series(tmp_path, clock):
    """One worker after the other under one name is a counter that is reset, in samples as in histograms."""

    def record(store, _):
        store.counter("c_total").inc(2)
        store.summary("w_seconds", quantiles=True).observe(0.25)

    for name in "ab":
        live(tmp_path / f"{name}.rondo", clock, 5, labels={"rondo_store": "web"}, each=record)
    with open_source(tmp_path) as source:
        assert at(source, "resets(c_total[1m])", 9)[0] == {"rondo_store=web": 1}
        assert value(source, "c_total", 9) == 10
        assert value(source, "histogram_count(sum_over_time(w_seconds[1m]))", 9) == 10


def test_buckets_of_several_stores_add_up(tmp_path):
    """Whatever each of them observed, their buckets have the same bounds: the quantile of all is that of the sum."""
    seen = []
    for name, scale in (("a", 0.001), ("b", 1.0), ("c", 1.0)):

        def record(store, second, scale=scale):
            for each in (scale, scale * 1.5, scale * 2):
                seen.append(each)
                store.summary("w_seconds", quantiles=True).observe(each)

        live(tmp_path / f"{name}.rondo", ManualClock(START_S * S), 10, each=record)
    with open_source(tmp_path) as source:
        for share in (0.2, 0.5, 0.9):
            exact = np.quantile(seen, share, method="inverted_cdf")
            for query in ("sum by (le) (increase(w_seconds_bucket[1m]))", "sum(increase(w_seconds[1m]))"):
                assert value(source, f"histogram_quantile({share}, {query})", 9) == pytest.approx(exact, rel=0.1), query


def test_a_range_over_many_dead_stores_is_the_sum_of_each(tmp_path):
    """What is kept of stores that were read before is what is read of them at first."""
    for place in range(6):
        beside = ManualClock((START_S + place * 3) * S)
        live(tmp_path / f"{place}.rondo", beside, 10)
    with open_source(tmp_path) as source:
        asked = ("sum(increase(c_total[5s]))", source, START_S * 1000, (START_S + 30) * 1000, 1000)
        first, again = evaluate(*asked).plain(), evaluate(*asked).plain()
        assert np.array_equal(first[0][2], again[0][2])
        single = np.zeros(31)
        for place in range(6):
            with StoreReader(tmp_path / f"{place}.rondo") as reader:
                [(_, stamps, values)] = evaluate(asked[0], reader.source(), *asked[2:]).plain()
                single[(stamps // 1000 - START_S).astype(int)] += values
        assert np.allclose(first[0][2], single[(first[0][1] // 1000 - START_S).astype(int)])


def test_a_label_that_must_be_equal_chooses_what_a_look_at_each_series_does(path, clock):
    """Also among series that are declared later, under labels that win, and where no series has the label."""
    schemas = [Schema("counters", "counter", 200, TIERS)]
    with Store(path, schemas, clock=clock) as store, StoreReader(path) as reader:
        sources = reader.source(), StoreSource(reader, labels=(("parity", "1"),))
        for n_series in (10, 20, 21, 60):
            for number in range(n_series):
                store.counter("c_total", i=number, parity=number % 2, **{"odd": 1} if number % 2 else {}).inc()
            store.tick()
            clock.advance(1)
            for name, text in (("i", "7"), ("i", "20"), ("i", "99"), ("parity", "1"), ("odd", "1"), ("odd", "")):
                for more in ("", ',parity="1"', ',i!="7"', ',nope="1"', ',nope=""'):
                    for source in sources:
                        equal = evaluate(f'c_total{{{name}="{text}"{more}}}', source, *every_second())
                        each = evaluate(f'c_total{{{name}=~"{text}"{more}}}', source, *every_second())
                        assert [labels for labels, *_ in equal.series] == [labels for labels, *_ in each.series]
        counts = [
            len(evaluate(f'c_total{{{label}="1"}}', sources[1], *every_second()).series) for label in ("odd", "parity")
        ]
        assert counts == [30, 60]


def every_second():
    """Give the steps of the first seconds, in milliseconds."""
    return START_S * 1000, (START_S + 5) * 1000, 1000


def test_runs_are_decoded_once_and_the_next_run_is_seen(path, monkeypatch):
    """A reader that is asked again and again: what it remembers is of the file as it is, also of one of the same size.

    What was written a moment ago is not remembered at all: a clock of files may stand still between two writes.
    """
    decoded, began_ns = [], wall_ns()
    monkeypatch.setattr(runs_module, "read_runs", lambda place: decoded.append(place) or read_runs(place))
    monkeypatch.setattr(files_module, "wall_ns", lambda: began_ns)
    Store(path, writer="first").close()
    with StoreReader(path) as reader:
        assert [len(reader.runs()) for _ in range(3)] == [1, 1, 1]
        assert len(decoded) == 3
        monkeypatch.setattr(files_module, "wall_ns", lambda: wall_ns() + 60 * S)
        assert [len(reader.runs()) for _ in range(3)] == [1, 1, 1]
        assert len(decoded) == 4
        before = (path / "runs").stat()
        put_run(path / "runs", reader.runs()[0]._replace(ended="signal 9"))
        os.utime(path / "runs", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert [run.ended for run in reader.runs()] == ["signal 9"]
        Store(path, writer="second").close()
        assert [run.writer for run in reader.runs()] == ["first", "second"]
        assert reader.is_outdated()


def test_the_registry_is_opened_again_only_where_its_file_has_changed(path, monkeypatch):
    """A reader that is asked again and again: a series that is declared meanwhile is seen, also where the file's time
    was put back; and of a file that was written a moment ago nothing is taken for known.
    """
    opened, began_ns = [], wall_ns()
    monkeypatch.setattr(
        journal_module, "open_file", lambda place: opened.append(place) or files_module.open_file(place)
    )
    monkeypatch.setattr(files_module, "wall_ns", lambda: began_ns)
    with Store(path, writer="first") as store, StoreReader(path) as reader:

        def looked(times):
            del opened[:]
            for _ in range(times):
                reader.refresh()
            return len(opened), len(reader.registry)

        n_own = len(reader.registry)
        assert looked(3) == (3, n_own)
        monkeypatch.setattr(files_module, "wall_ns", lambda: wall_ns() + 60 * S)
        assert looked(3) == (1, n_own)
        before = (path / "series").stat()
        store.gauge("g")
        os.utime(path / "series", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert looked(2) == (1, n_own + 1)
        replaced = (path / "series").read_bytes()
        (path / "series").replace(path / "aside")
        assert looked(1) == (1, n_own + 1)  # there is none now
        (path / "series").write_bytes(replaced)
        assert looked(2) == (1, n_own + 1)
        (path / "aside").replace(path / "series")
        store.gauge("g", i=1)
        assert looked(2) == (1, n_own + 2)
