"""What a lake of ended lives takes and answers: bytes, files, CPU, three questions on DuckDB, the p95 of a year of CI.

Spark answers too where it is asked for: `python bench/lake.py --lives 1000 --year 1000000 --spark`.
"""

import os
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Report, finish, machine, options, temporary_folder
from rondo_exporter_parquet import sql
from rondo_exporter_parquet.compaction import compact
from rondo_exporter_parquet.lake import Lake
from rondo_exporter_parquet.lives import FOLDER, SCHEMA
from rondo_exporter_parquet.place import open_place

from rondo_core import Batch, Series
from rondo_core.export.batch import Part
from rondo_core.model import sketch

S = 10**9
DAY_NS = 86_400 * S
START_NS = 20_400 * DAY_NS
SECONDS, COUNTERS, GAUGES, SUMMARIES = 45, 8, 12, 2
SAMPLES_A_LIFE = SECONDS * (COUNTERS + GAUGES + SUMMARIES)
JOBS, COMMITS = 40, 2000
QUESTIONS = {
    "p95 of peak memory by job and commit": lambda engine: sql.lives_quantile(engine, 0.95),
    "increase of a counter by life": lambda engine: sql.increase(engine, "counter_0_total"),
    "p90 of a merged sketch": lambda engine: sql.quantile(engine, 0.9, "duration_0_seconds"),
}


def measure(report: Report, lives: int, folder: Path, repeats: int, spark=None) -> None:
    """Fill a lake with the samples of so many lives, as an agent does, compact it, and ask it.

    Args: `folder`: an empty one, which keeps the lake; `spark`: a session that answers too.
    """
    samples, sending_s = fill(folder, lives, 1_000_000)
    write_lives(folder, lives)
    compacting_s = joined_s(folder)
    files = [*folder.glob("day=*/*/*.parquet")]
    report.case("lives", [lives], "")
    report.case("samples", [samples], "")
    report.case("stored", [sum(file.stat().st_size for file in files) / samples], "B/sample")
    report.case("files", [len(files)], "")
    report.case("sending and joining", [(sending_s + compacting_s) / samples * 1e6], "s/million")
    with connected(folder) as connection:
        observed = "SELECT sum(count), count(*) FROM samples WHERE name = 'duration_0_seconds'"
        for what, count in zip(("observations", "sketches"), connection.execute(observed).fetchone(), strict=True):
            report.case(f"{what} of the summary that is asked", [int(count)], "")
    for name, ask in QUESTIONS.items():
        report.case(name, ask_duckdb(folder, ask("duckdb"), repeats), "ms")
        if spark is not None:
            report.case(f"{name}, Spark, elapsed", ask_spark(spark, folder, ask, repeats), "ms")


def measure_late_joining(report: Report, lives: int, folder: Path) -> None:
    """Fill a lake whose small files its exporter does not join, and join them afterwards."""
    samples, sending_s = fill(folder, lives, SAMPLES_A_LIFE)
    report.case("sending, rows_per_file of a life", [sending_s / samples * 1e6], "s/million")
    report.case("joining these afterwards", [joined_s(folder) / samples * 1e6], "s/million")


def fill(folder: Path, lives: int, rows_per_file: int) -> tuple[int, float]:
    """Send the samples of so many lives, one after the other; give how many they are, and the CPU time, s."""
    lake = Lake(folder, "bench", rows_per_file, "zstd")
    random, samples, sending_s = np.random.default_rng(1), 0, 0.0
    for number in range(lives):
        batch = life_batch(number, lives, random)
        samples += batch.n_samples
        before = time.process_time()
        lake.send(batch)
        sending_s += time.process_time() - before
    lake.close()
    return samples, sending_s


def joined_s(folder: Path) -> float:
    """Compact a lake; give the CPU time, s."""
    before = time.process_time()
    compact(open_place(folder))
    return time.process_time() - before


def life_batch(number: int, lives: int, random) -> Batch:
    """One life's samples, second by second, spread over a day; counters, gauges, summaries with sketches."""
    start_ns = START_NS + number * (DAY_NS - 3600 * S) // max(1, lives) // S * S
    stamps = start_ns + np.arange(SECONDS) * S
    labels = (("instance", f"job-{number % JOBS}-{number:08d}"),)

    def part(kind, name, count, read):
        own = tuple(Series(name.format(at), labels, kind, kind, at, "", "", start_ns) for at in range(count))
        return Part(kind, 0, S, kind, own, stamps, read)

    totals = random.integers(0, 50, (SECONDS, COUNTERS)).cumsum(axis=0).astype(np.float64)
    levels = np.round(random.normal(1e6, 1e4, (SECONDS, GAUGES)))
    words = np.zeros((SECONDS, SUMMARIES, sketch.WORDS), np.int64)
    words[..., 0], words[..., 1] = 4 + 128, (1 << 31) - 80
    words[..., sketch.HEAD_WORDS + 20 : sketch.HEAD_WORDS + 40] = random.poisson(0.3, (SECONDS, SUMMARIES, 20))
    counts = words[..., sketch.HEAD_WORDS :].sum(axis=2).astype(np.float64)
    seen = {"count": counts, "sum": counts * 0.1, "min": np.full(counts.shape, 0.02), "max": np.full(counts.shape, 0.5)}
    seen |= {"count_base": counts.cumsum(axis=0) - counts, "sum_base": (counts.cumsum(axis=0) - counts) * 0.1}
    return Batch(
        (
            part("counter", "counter_{}_total", COUNTERS, {"last": totals}),
            part("gauge", "level_{}", GAUGES, {"last": levels}),
            part("summary", "duration_{}_seconds", SUMMARIES, seen | {"sketch": words}),
        )
    )


def write_lives(folder: Path, lives: int, days: int = 1) -> int:
    """Write the rows of so many lives over so many days, a file for each month, as compaction does; give bytes."""
    random = np.random.default_rng(2)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    ended_us = np.sort(START_NS + random.integers(0, days * DAY_NS, lives)) // 1000
    months, size = ended_us // (30 * DAY_NS // 1000), 0
    for month in np.unique(months):
        mine = np.flatnonzero(months == month)
        jobs = random.integers(0, JOBS, len(mine))
        peaks = (random.lognormal(19, 0.6, len(mine)) * (1 + jobs / JOBS)).astype(np.int64)
        well = random.random(len(mine)) < 0.95
        told = {
            "instance": [f"job-{job}-{at:08d}" for job, at in zip(jobs.tolist(), mine.tolist(), strict=True)],
            "run": np.ones(len(mine), np.int64),
            "name": [f"job-{job}" for job in jobs.tolist()],
            "job": [f"job-{job}" for job in jobs.tolist()],
            "command": [f"make job-{job}" for job in jobs.tolist()],
            "commit": [f"{each:040x}" for each in random.integers(0, COMMITS, len(mine)).tolist()],
            "host": [f"runner-{each}" for each in random.integers(0, 100, len(mine)).tolist()],
            "started": ended_us[mine] - 45_000_000,
            "ended": ended_us[mine],
            "newest": ended_us[mine],
            "end": np.where(well, "exit status 0", "exit status 1").tolist(),
            "outcome": np.where(well, "well", "failed").tolist(),
            "cause": np.where(well, "normal", "exit").tolist(),
            "verdict": ["proven"] * len(mine),
            "exit_status": np.where(well, 0, 1),
            "cpu_seconds": random.gamma(2.0, 20.0, len(mine)),
            "memory_peak_bytes": peaks,
            "memory_peak_by": ["kernel"] * len(mine),
            "samples": np.full(len(mine), SAMPLES_A_LIFE),
        }
        columns = {each.name: column(told.get(each.name), each.type, len(mine)) for each in SCHEMA}
        table = pa.table(columns, schema=SCHEMA)
        path = (
            folder / FOLDER / f"{np.datetime64(int(ended_us[mine[0]]) // (DAY_NS // 1000), 'D')}-{month:016x}.parquet"
        )
        pq.write_table(table, path, compression="zstd", row_group_size=1 << 17)
        size += path.stat().st_size
    return size


def column(values, kind, n_rows):
    """A column of what was made up; nothing where none was."""
    if values is None:
        return pa.nulls(n_rows, kind)
    return pa.array(values).cast(kind)


def ask_duckdb(folder: Path, question: str, repeats: int) -> list[float]:
    """Ask a question on two threads, each time of a new connection; give the CPU times, ms."""
    taken = []
    for _ in range(repeats):
        with connected(folder) as connection:
            before = time.process_time()
            assert connection.execute(question).fetchall()
            taken.append((time.process_time() - before) * 1000)
    return taken


def connected(folder: Path) -> duckdb.DuckDBPyConnection:
    """Connect to a lake's views."""
    connection = duckdb.connect(config={"threads": 2})
    connection.execute("SET TimeZone = 'UTC'")
    has_samples = any(folder.glob("day=*"))
    for statement in sql.views("duckdb", str(folder)) if has_samples else [lives_view(folder)]:
        connection.execute(statement)
    return connection


def lives_view(folder: Path) -> str:
    """The view of a lake that has lives only."""
    return f"CREATE VIEW lives AS SELECT * FROM read_parquet('{folder}/{FOLDER}/*.parquet')"


def ask_spark(session, folder: Path, ask, repeats: int) -> list[float]:
    """Ask Spark once, and then so many times more; give how long these took, ms: a session's start is not in it."""
    for statement in sql.views("spark", str(folder)):
        session.sql(statement)
    taken = []
    for _ in range(repeats + 1):
        before = time.perf_counter()
        assert session.sql(ask("spark")).collect()
        taken.append((time.perf_counter() - before) * 1000)
    return taken[1:]


def measure_year(report: Report, lives: int, folder: Path, repeats: int) -> None:
    """A year of CI: the table of so many lives, and the p95 of peak memory by job and commit over all of it."""
    size = write_lives(folder, lives, days=365)
    name = "p95 of peak memory by job and commit"
    report.case("a year: lives", [lives], "")
    report.case("a year: files", [len(list((folder / FOLDER).glob("*.parquet")))], "")
    report.case("a year: stored", [size / lives], "B/life")
    report.case(f"a year: {name}", ask_duckdb(folder, QUESTIONS[name]("duckdb"), repeats), "ms")


def spark_session():
    """Start Spark in this process, on two cores."""
    from pyspark.sql import SparkSession

    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    return builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()


def main() -> None:
    """Measure in folders that are removed afterwards."""
    asked = options(
        __doc__ or "",
        lives={"type": int, "default": 1000, "help": "whose samples are sent"},
        year={"type": int, "default": 1_000_000, "help": "how many lives a year of CI has"},
        spark={"action": "store_true", "help": "ask Spark too: local[2]"},
    )
    report = Report("lake", asked, machine("rondo-tsdb", "duckdb", "pyarrow"), __doc__ or "")
    session = spark_session() if asked.spark else None
    with temporary_folder() as here:
        measure(report, asked.lives, here / "lake", asked.repeat, session)
        measure_late_joining(report, asked.lives, here / "late")
        measure_year(report, asked.year, here / "year", asked.repeat)
    if session is not None:
        session.stop()
    report.save()


if __name__ == "__main__":
    finish(main)
