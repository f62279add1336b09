"""A lake answers as the stores it came from: PromQL sample for sample, SQL and frames as rondo's own readings."""

import contextlib
import math
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest
import snappy
from rondo_exporter_parquet import frames, listing, sql
from rondo_exporter_parquet.compaction import compact
from rondo_exporter_parquet.place import open_place
from rondo_exporter_parquet.source import LakeSource

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export.agent import Agent
from rondo_core.plugins.config_file import Config
from rondo_core.read import open_reader, open_source
from rondo_core.testing import HttpReceiver
from rondo_promql import evaluate, evaluate_instant

S = 10**9
MIDNIGHT_NS = 19_700 * 86_400 * S
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
SCHEMAS = [
    Schema("counters", "counter", 8, TIERS),
    Schema("gauges", "gauge", 8, TIERS),
    Schema("steps", "summary", 8, TIERS, "step_seconds", sketch=True),
    Schema("waits", "summary", 8, TIERS),
]
N_STORES, SECONDS = 5, 70


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Five lives around midnight, one after the other: counters, gauges, summaries with and without a sketch, gaps."""
    directory, random = tmp_path_factory.mktemp("lives"), np.random.default_rng(7)
    for number in range(N_STORES):
        clock = ManualClock(MIDNIGHT_NS + (number * 7 - 40) * S + number * S // 5)
        with Store(directory / f"job-{number}.rondo", SCHEMAS, clock=clock, writer="job") as store:
            for second in range(SECONDS):
                for phase in ("build", "test"):
                    store.counter("done_total", phase=phase).inc(second % (3 + number))
                    step = store.summary("step_seconds", quantiles=True, phase=phase)
                    for value in random.lognormal(number - 2, 2.5, second % 4).tolist():
                        step.observe(value)
                    if second % 9 == 0:
                        step.observe(0.0)
                if second % 5:
                    store.gauge("memory_bytes").set((number + 1) * 1000.0 + second)
                if second > 20:
                    store.counter("late_total").inc(2)
                store.summary("wait_seconds").observe(second)
                store.tick()
                clock.advance(1)
    return directory


@pytest.fixture(scope="module")
def lake(stores, tmp_path_factory):
    """The lake that an agent made of them in small files, compacted."""
    directory = tmp_path_factory.mktemp("lake")
    table = {"directory": str(directory), "instance": "fleet", "rows_per_file": 300}
    agent = Agent(stores, Config(exporters={"parquet": table}, agent={"instance_label": "instance"}))
    done = agent.run_once()
    agent.close()
    assert not done.failures
    assert done.complete == N_STORES
    compact(open_place(directory))
    return directory


EXPRESSIONS = [
    'done_total{phase="build"}',
    "sum by (phase) (rate(done_total[20s]))",
    "increase(late_total[1m])",
    "max_over_time(memory_bytes[30s])",
    "sum(memory_bytes) - sum(memory_bytes offset 10s)",
    "rate(wait_seconds_sum[30s]) / rate(wait_seconds_count[30s])",
    "wait_seconds_max",
    'step_seconds{quantile="0.99"}',
    "histogram_quantile(0.9, sum by (phase) (rate(step_seconds[30s])))",
    "histogram_quantile(0.5, sum(increase(step_seconds[45s])))",
    "histogram_count(step_seconds)",
    "step_seconds_bucket",
    'step_seconds_bucket{le="+Inf",phase="test"}',
    "histogram_quantile(0.9, sum by (le) (rate(step_seconds_bucket[30s])))",
    "sum without (phase) (increase(step_seconds_bucket[20s] offset 10s))",
    'sum by (__name__) ({__name__=~"(step|wait)_seconds_(sum|count|min|max|bucket)"})',
    "increase(step_seconds_count[45s])",
    '{__name__=~".*_seconds.*",quantile!=""}',
    'count({__name__=~"done_.*|late_total"})',
    "count_over_time(memory_bytes[1m])",
    "absent(nothing_total)",
]


def answers(query, source):
    """What a query gives at each of many steps, by labels; a lake's `instance` is what stores call `rondo_store`."""
    first_ms = MIDNIGHT_NS // 10**6 - 45_000
    result = evaluate(query, source, first_ms, first_ms + 130_000, 5000)
    found = {}
    for labels, stamps, values in result.series:
        known = {"instance" if key == "rondo_store" else key: value for key, value in labels.items()}
        known = {key: value.removesuffix(".rondo") if key == "instance" else value for key, value in known.items()}
        plain = np.column_stack([values.count, values.sum]) if hasattr(values, "cells") else values
        found[tuple(sorted(known.items()))] = (stamps.tolist(), np.asarray(plain))
    return found


@pytest.mark.parametrize("query", EXPRESSIONS)
def test_promql_over_a_lake_gives_what_it_gives_over_the_stores(stores, lake, query):
    """The same series with the same values at the same steps: births at 0, ends of lives, sketches and all."""
    expected, found = answers(query, open_source(stores)), answers(query, LakeSource(open_place(lake)))
    assert expected
    assert found.keys() == expected.keys()
    for labels, (stamps, values) in expected.items():
        assert found[labels][0] == stamps, labels
        np.testing.assert_allclose(found[labels][1], values, rtol=1e-12, err_msg=str(labels))


@pytest.mark.parametrize("second", [-39, -30, -11, 0, 20, 50])
@pytest.mark.parametrize(
    "query",
    [
        "histogram_quantile(0.9, step_seconds)",
        "histogram_quantile(0.9, sum(rate(step_seconds[20s])))",
        "sum by (le) (increase(step_seconds_bucket[10s]))",
    ],
)
def test_a_histogram_of_an_instant_is_of_no_other_samples(stores, lake, query, second):
    """Its cells are as fine as those of the range that is asked about, whatever was observed before and after."""
    at_ms = MIDNIGHT_NS // 10**6 + second * 1000
    expected, found = (
        {tuple(sorted(labels.items())): value for labels, value in evaluate_instant(query, source, at_ms).plain()}
        for source in (open_source(stores), LakeSource(open_place(lake)))
    )
    named = {
        tuple(
            (("instance", value.removesuffix(".rondo")) if key == "rondo_store" else (key, value))
            for key, value in each
        )
        for each in expected
    }
    assert {tuple(sorted(each)) for each in named} == found.keys()
    np.testing.assert_allclose(sorted(found.values()), sorted(expected.values()), rtol=1e-12)


class Received(HttpReceiver):
    """What remote-write 1.0 brought: the samples of each label set, ms to 64 bits."""

    def __init__(self):
        super().__init__("/api/v1/write")
        self.found = {}

    def take(self, path, headers, body):
        for number, series in wire_fields(snappy.uncompress(body)):
            assert number == 1
            inner = [(number, dict(wire_fields(part))) for number, part in wire_fields(series)]
            labels = {part[1].decode(): part[2].decode() for number, part in inner if number == 1}
            samples = self.found.setdefault(tuple(sorted(labels.items())), {})
            samples |= {part[2]: part.get(1, 0) for number, part in inner if number == 2}
        return 204, {}, b""


def wire_fields(message):
    """Take a protobuf message apart: numbers as they are, eight bytes as 64 bits, others as bytes."""
    at = 0

    def varint():
        nonlocal at
        number = shift = 0
        while True:
            number, shift, at, more = number | (message[at] & 0x7F) << shift, shift + 7, at + 1, message[at] & 0x80
            if not more:
                return number

    while at < len(message):
        tag = varint()
        size = 0 if tag & 7 == 0 else 8 if tag & 7 == 1 else varint()
        value = varint() if tag & 7 == 0 else message[at : at + size]
        at += size
        yield tag >> 3, int.from_bytes(value, "little") if tag & 7 == 1 else value


class Named(NamedTuple):
    """A matcher of a metric's name."""

    value: str
    name: str = "__name__"
    op: str = "="

    def matches(self, value):
        return value == self.value


def test_a_lake_has_all_that_remote_write_sends_under_the_same_names(stores, lake):
    """Every label set, `_count`, `_sum`, `_min`, `_max` and quantiles of summaries among them, has the same samples at the
    same instants, to the bit: the 0 before a total's first one, and the marker of a life's end."""
    pytest.importorskip("rondo_exporter_prometheus", reason="rondo-exporter-prometheus is not installed")
    with contextlib.closing(Received()) as receiver:
        table = {"url": receiver.url, "protocol": "1.0"}
        agent = Agent(stores, Config(exporters={"prometheus": table}, agent={"instance_label": "instance"}))
        done = agent.run_once()
        agent.close()
    assert done.complete == N_STORES
    source, found = LakeSource(open_place(lake)), {}
    for name in sorted({dict(labels)["__name__"] for labels in receiver.found}):
        for labels, stamps, values in source.select([Named(name)], 0, 1 << 45):
            if not hasattr(values, "cells"):
                bits = np.ascontiguousarray(values).view(np.uint64).tolist()
                found[tuple(sorted(labels.items()))] = dict(zip(stamps.tolist(), bits, strict=True))
    assert {"step_seconds_count", "step_seconds_sum", "wait_seconds_max"} < {dict(each)["__name__"] for each in found}
    assert found.keys() == receiver.found.keys()
    for labels, samples in receiver.found.items():
        assert found[labels] == samples, labels


def test_a_question_of_one_life_reads_little_of_a_lake(lake, monkeypatch):
    """A matcher of the instance and the time of the question choose days; the other days' files are not opened."""
    place = open_place(lake)
    source, opened, samples = LakeSource(place), [], listing.samples

    def watched(place, names):
        opened.extend(names)
        return samples(place, names)

    monkeypatch.setattr(listing, "samples", watched)
    at_ms = MIDNIGHT_NS // 10**6 - 40_000 + 20_000
    query = 'max_over_time(memory_bytes{instance="job-0"}[10s])'
    assert evaluate_instant(query, source, at_ms).plain()[0][0] == {"instance": "job-0"}
    days = {name[:14] for name in opened if name.startswith("day=")}
    assert days == {"day=2023-12-08", "day=2023-12-09"}  # a birth may lie an hour behind
    assert not [name for name in opened if name.startswith("day=2023-12-07")]


def own_increase(stores, name, label):
    """How much a metric grew, by rondo's own reading over all stores."""
    with open_reader(stores) as reader:
        found = reader.query(name, fn="increase", agg=True)
    return {dict(data.series.labels).get(label): float(data.values[0]) for data in found}  # noqa: PD011


def own_quantile(stores, share):
    with open_reader(stores) as reader:
        found = reader.query("step_seconds", fn=share, agg=True)
    return {dict(data.series.labels)["phase"]: float(data.values[0]) for data in found}  # noqa: PD011


def own_lives(lake):
    return pd.read_parquet(lake / "_lives")


class DuckDb:
    """DuckDB over the views."""

    def __init__(self, lake):
        self._connection = duckdb.connect()
        self._connection.execute("SET TimeZone = 'UTC'")
        for statement in sql.views("duckdb", str(lake)):
            self._connection.execute(statement)

    def ask(self, question, *args, **options):
        return self._connection.execute(getattr(sql, question)("duckdb", *args, **options)).fetchall()

    def increase(self, metric, by, **span):
        return self.ask("increase", metric, by=by, **span)

    def quantile(self, share, metric, by):
        return self.ask("quantile", share, metric, by=by)

    def lives(self, share, by):
        return self.ask("lives_quantile", share, "samples", by=by)


class Trino(DuckDb):
    """Trino's text over its tables `samples` and `lives`, read by DuckDB, which is told what Trino's functions are.

    It says that the text is a statement and what it answers, not that Trino takes each word of it.
    """

    FUNCTIONS = (
        "bitwise_right_shift_arithmetic(number, places) AS number >> CAST(places AS INTEGER)",
        "approx_percentile(value, share) AS quantile_cont(value, share)",
        "element_at(held, key) AS held[key]",
        "sequence(first, last) AS generate_series(first, last)",
        "date_diff(unit, start, stop) AS (epoch_ms(stop) - epoch_ms(start)) // CASE unit WHEN 'millisecond' THEN 1 END",
    )

    def __init__(self, lake):
        super().__init__(lake)
        self._connection.execute("CREATE SCHEMA trino")
        for name in ("samples", "lives"):
            self._connection.execute(f"CREATE TABLE trino.{name} AS SELECT * FROM main.{name}")
        self._connection.execute("USE trino")
        for each in self.FUNCTIONS:
            self._connection.execute(f"CREATE MACRO {each}")
        for statement in sql.views("trino"):
            self._connection.execute(statement)

    def ask(self, question, *args, **options):
        return self._connection.execute(getattr(sql, question)("trino", *args, **options)).fetchall()


class Frames:
    """pandas or Polars over whole frames."""

    def __init__(self, lake, kind):
        if kind == "pandas":
            self._samples, self._lives = pd.read_parquet(lake), pd.read_parquet(lake / "_lives")
        else:
            self._samples = pl.read_parquet(lake / "day=*/*/*.parquet", hive_partitioning=True)
            self._lives = pl.read_parquet(lake / "_lives/*.parquet")
        self._kind = kind

    def rows(self, frame):
        return frame.rows() if self._kind == "polars" else [tuple(row) for row in frame.itertuples(index=False)]

    def increase(self, metric, by, start="", end=""):
        grown = frames.increases(self._samples)
        grown = grown.filter(pl.col("name") == metric) if self._kind == "polars" else grown[grown["name"] == metric]
        totals = {}
        for row in grown.rows(named=True) if self._kind == "polars" else grown.to_dict("records"):
            stamp = pd.Timestamp(row["time"])
            inside = (not start or stamp >= pd.Timestamp(start, tz="UTC")) and (
                not end or stamp < pd.Timestamp(end, tz="UTC")
            )
            labels = dict(row["labels"])
            value = row["increase"]
            if inside and value is not None and not math.isnan(value):
                key = tuple(labels.get(name) for name in by)
                totals[key] = totals.get(key, 0.0) + value
        return [(*key, value) for key, value in totals.items()]

    def quantile(self, share, metric, by):
        samples = self._samples
        chosen = (
            samples.filter(pl.col("name") == metric) if self._kind == "polars" else samples[samples["name"] == metric]
        )
        return self.rows(frames.quantile_by(chosen, share, by))

    def lives(self, share, by):
        return self.rows(frames.lives_quantile(self._lives, share, "samples", by))


class Spark(DuckDb):
    """Spark over the same views, on a master and two workers of its own."""

    def __init__(self, lake, session):
        self._session = session
        for statement in sql.views("spark", str(lake)):
            session.sql(statement)

    def ask(self, question, *args, **options):
        return [tuple(row) for row in self._session.sql(getattr(sql, question)("spark", *args, **options)).collect()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A session of Spark on a cluster: a master and two workers, processes of their own, on this machine."""
    if not os.environ.get("RONDO_SYSTEMS"):
        pytest.skip("Spark is run by make test-systems")
    if not shutil.which("java"):
        pytest.skip("no Java")
    import pyspark
    from pyspark.sql import SparkSession

    place, started = tmp_path_factory.mktemp("spark"), []
    home = Path(pyspark.__file__).parent
    environment = {**os.environ, "SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    os.environ |= {"SPARK_HOME": str(home), "SPARK_LOCAL_IP": "127.0.0.1"}

    def start(what, ready, *arguments):
        command = [
            f"{home}/bin/spark-class",
            f"org.apache.spark.deploy.{what}",
            "--host",
            "127.0.0.1",
            "--webui-port",
            "0",
        ]
        process = subprocess.Popen(
            [*command, *arguments],
            env=environment,
            cwd=place,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        for line in process.stderr:
            if ready in line:
                threading.Thread(target=process.stderr.read, daemon=True).start()  # so that it never waits for a reader
                return line.rsplit(":", 1)[1].strip()
        raise AssertionError(f"{what} ended before it was ready: {process.wait()}")

    session = None
    try:
        address = f"spark://127.0.0.1:{start('master.Master', 'Starting Spark master at spark://', '--port', '0')}"
        for number in (1, 2):
            room = ("-c", "1", "-m", "600m", "-d", str(place / f"work{number}"), address)
            start("worker.Worker", "Successfully registered with master", *room)
        builder = SparkSession.builder.master(address).config("spark.ui.enabled", "false")
        for key, value in {
            "spark.driver.memory": "512m",
            "spark.executor.memory": "512m",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.sql.session.timeZone": "UTC",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.warehouse.dir": str(place / "warehouse"),
        }.items():
            builder = builder.config(key, value)
        session = builder.getOrCreate()
        yield session
    finally:
        with contextlib.suppress(Exception):
            session.stop()
        for process in reversed(started):
            process.terminate()
            process.wait()
            process.stderr.close()


@pytest.fixture(
    params=[
        "duckdb",
        "trino",
        "pandas",
        "polars",
        pytest.param("spark", marks=[pytest.mark.spark, pytest.mark.timeout(900)]),
    ]
)
def engine(request, lake):
    if request.param in {"duckdb", "trino"}:
        return {"duckdb": DuckDb, "trino": Trino}[request.param](lake)
    if request.param == "spark":
        return Spark(lake, request.getfixturevalue("cluster"))
    return Frames(lake, request.param)


def test_every_engine_counts_the_same_increase(stores, lake, engine):
    """Of counters from their birth on, of a summary its observations; the parts of a range add up to the whole."""
    for name in ("done_total", "step_seconds"):
        expected = own_increase(stores, name, "phase") if name == "done_total" else counts(stores)
        assert dict(engine.increase(name, ["phase"])) == pytest.approx(expected)
    midnight = "2023-12-09 00:00:00"
    parts = [
        dict(engine.increase("done_total", ["phase"], **span)) for span in ({"end": midnight}, {"start": midnight})
    ]
    whole = dict(engine.increase("done_total", ["phase"]))
    assert {phase: parts[0][phase] + parts[1][phase] for phase in whole} == pytest.approx(whole)


def counts(stores):
    with open_reader(stores) as reader:
        found = reader.query("step_seconds", fn="count", agg=True)
    return {dict(data.series.labels)["phase"]: float(data.values[0]) for data in found}  # noqa: PD011


@pytest.mark.parametrize("share", ["p50", "p90", "p99"])
def test_every_engine_reads_the_same_quantile_of_merged_sketches(stores, engine, share):
    """To the last digits what rondo answers over the stores: cells merged at the scale that holds all of them."""
    found = dict(engine.quantile(int(share[1:]) / 100, "step_seconds", ["phase"]))
    assert found == pytest.approx(own_quantile(stores, share), rel=1e-12)


def test_every_engine_has_the_same_quantile_of_lives(lake, engine):
    """Interpolated, by the columns asked for: as numpy has it of the same rows."""
    lives = own_lives(lake)
    assert len(lives) == N_STORES
    [(writer, n_lives, value)] = engine.lives(0.95, ["writer"])
    assert (writer, n_lives) == ("job", N_STORES)
    assert value == pytest.approx(float(np.quantile(lives["samples"], 0.95)))


def test_a_rate_is_an_increase_over_its_range(lake):
    """In SQL, with both ends named; without them it is refused in words."""
    span = {"start": "2023-12-08 23:59:30", "end": "2023-12-09 00:00:00"}
    duck = DuckDb(lake)
    grown = dict(duck.ask("increase", "done_total", by=["phase"], **span))
    rates = dict(duck.ask("increase", "done_total", by=["phase"], per_s=True, **span))
    assert rates == pytest.approx({phase: value / 30 for phase, value in grown.items()})
    with pytest.raises(Exception, match="a rate needs a start and an end"):
        sql.increase("duckdb", "done_total", per_s=True)


def test_trino_is_given_a_text_of_its_own(lake):
    """Each question has one, with no other engine's functions."""
    for text in (*sql.views("trino"), sql.quantile("trino", 0.9, "x", by=["job"]), sql.lives_quantile("trino", 0.95)):
        assert "unnest(generate_series" not in text
        assert "posexplode" not in text


@pytest.mark.parametrize("first", ["counter", "summary"])
def test_what_is_called_as_a_part_of_a_summary_answers_in_its_place(tmp_path, first):
    """`x_count` beside a summary `x` is one series, in a lake as in the store, whichever was declared first."""
    clock = ManualClock(MIDNIGHT_NS + 5 * S)
    with Store(tmp_path / "stores" / "a.rondo", SCHEMAS, clock=clock) as store:
        if first == "counter":
            store.counter("wait_seconds_count")
        summary = store.summary("wait_seconds")
        counter = store.counter("wait_seconds_count")
        for _ in range(5):
            counter.inc(100)
            summary.observe(1.0)
            clock.advance(1)
            store.tick()
    table = {"directory": str(tmp_path / "lake"), "instance": "fleet"}
    agent = Agent(tmp_path / "stores", Config(exporters={"parquet": table}, agent={"instance_label": "instance"}))
    assert agent.run_once().complete == 1
    agent.close()
    at_ms = clock() // 1_000_000 - 1000
    for source in (LakeSource(open_place(tmp_path / "lake")), open_source(tmp_path / "stores")):
        for name in ("wait_seconds_count", '{__name__=~"wait_seconds_co.*"}'):
            ((_, _, values),) = evaluate(name, source, at_ms, at_ms, 1000).series
            assert values.tolist() == [500.0]
        named = [each["__name__"] for each in source.series(())]
        assert [named.count(f"wait_seconds_{part}") for part in ("count", "sum")] == [1, 1]
