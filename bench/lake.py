"""What a lake of so many lives takes and answers: bytes a sample, files, CPU, and three questions on DuckDB and Spark.

`measure(lives, folder)` is for other benchmarks to call. Run alone it prints a table, and the p95 question over a year
of lives: `python bench/lake.py --lives 1000 --year 1000000`.
"""

import argparse
import json
import os
import resource
import statistics
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import finish, temporary_folder
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
JOBS, COMMITS = 40, 2000
QUESTIONS = {
    "p95 of peak memory by job and commit": lambda engine: sql.lives_quantile(engine, 0.95),
    "increase of a counter by life": lambda engine: sql.increase(engine, "counter_0_total"),
    "p90 of a merged sketch": lambda engine: sql.quantile(engine, 0.9, "duration_0_seconds"),
}


def measure(lives: int, folder: Path, *, spark=None, repeats: int = 5) -> dict:
    """Fill a lake with the samples of so many lives, as an agent does, compact it, and ask it.

    Args: `folder`: an empty one, which keeps the lake; `spark`: a session that answers too; none: its times are None.
    Returns: samples, files (before, after compaction), bytes_per_sample, cpu_s_per_million_samples (`sending`,
        `compacting`), and `questions`: name -> {"duckdb": CPU s, "spark": wall s or None}, medians.
    """
    folder = Path(folder)
    lake = Lake(folder, "bench", 1_000_000, "zstd")
    random, samples, sending_s = np.random.default_rng(1), 0, 0.0
    for number in range(lives):
        batch = life_batch(number, lives, random)
        samples += batch.n_samples
        before = time.process_time()
        lake.send(batch)
        sending_s += time.process_time() - before
    lake.close()
    write_lives(folder, lives)
    before = time.process_time()
    done = compact(open_place(folder))
    compacting_s = time.process_time() - before
    files = [*folder.glob("day=*/*/*.parquet")]
    return {
        "lives": lives,
        "samples": samples,
        "files": {"before": done.before, "after": len(files)},
        "bytes_per_sample": sum(file.stat().st_size for file in files) / samples,
        "cpu_s_per_million_samples": {"sending": sending_s / samples * 1e6, "compacting": compacting_s / samples * 1e6},
        "questions": {
            name: {
                "duckdb": ask_duckdb(folder, ask("duckdb"), repeats),
                "spark": spark and ask_spark(spark, folder, ask),
            }
            for name, ask in QUESTIONS.items()
        },
    }


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
            "samples": np.full(len(mine), 990),
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


def ask_duckdb(folder: Path, question: str, repeats: int) -> float:
    """The median CPU time of a question on two threads, s, each asked of a new connection."""
    taken = []
    for _ in range(repeats):
        connection = duckdb.connect(config={"threads": 2})
        connection.execute("SET TimeZone = 'UTC'")
        for statement in (
            sql.views("duckdb", str(folder), has_lives=True) if any(folder.glob("day=*")) else [lives_view(folder)]
        ):
            connection.execute(statement)
        before = time.process_time()
        assert connection.execute(question).fetchall()
        taken.append(time.process_time() - before)
        connection.close()
    return statistics.median(taken)


def lives_view(folder: Path) -> str:
    """The view of a lake that has lives only."""
    return f"CREATE VIEW lives AS SELECT * FROM read_parquet('{folder}/{FOLDER}/*.parquet')"


def ask_spark(session, folder: Path, ask) -> float:
    """The wall time of a question on Spark, s, once asked before: what a session costs to start is not in it."""
    for statement in sql.views("spark", str(folder)):
        session.sql(statement)
    session.sql(ask("spark")).collect()
    before = time.perf_counter()
    assert session.sql(ask("spark")).collect()
    return time.perf_counter() - before


def measure_year(lives: int, folder: Path, repeats: int = 5) -> dict:
    """A year of CI: the table of so many lives, and the p95 of peak memory by job and commit over all of it."""
    size = write_lives(folder, lives, days=365)
    question = QUESTIONS["p95 of peak memory by job and commit"]("duckdb")
    return {
        "lives": lives,
        "files": len(list((folder / FOLDER).glob("*.parquet"))),
        "bytes_per_life": size / lives,
        "p95_cpu_s": ask_duckdb(folder, question, repeats),
    }


def main() -> None:
    """Measure in folders that are removed afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lives", type=int, default=1000)
    parser.add_argument("--year", type=int, default=1_000_000)
    parser.add_argument("--spark", action="store_true", help="ask Spark too: local[2]")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    session = None
    if asked.spark:
        from pyspark.sql import SparkSession

        os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
        builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
        session = builder.config("spark.sql.session.timeZone", "UTC").getOrCreate()
    with temporary_folder() as here:
        found = {"lake": measure(asked.lives, here / "lake", spark=session)}
        found["year"] = measure_year(asked.year, here / "year")
    found["max_rss_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if session is not None:
        session.stop()
    text = json.dumps(found, indent=1)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n")


if __name__ == "__main__":
    finish(main)
