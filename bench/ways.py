"""What it takes to hand ended lives to a system that keeps them: real lives, and on paper a million of them a day.

Lives as `rondo run` leaves them ended within the last 24 hours; one agent sends them. What a way's receiver has is
compared with what was recorded, sample by sample. A sender's bytes and CPU time, without a receiver's, are measured at
two lengths of lives, which gives what a life and what a sample takes, and checked against a third measurement. Times
are CPU times of the process that sends, receives or answers.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import receivers
from children import child
from ended_lives import MATCH, EndedLife, compare, plan, record
from harness import Report, finish, machine, options, temporary_folder
from questions import NAMES, Answer, Questions

DAY_S = 86_400
FIT_LIVES, FIT_SECONDS = 100, (30, 120)
ASKED, IN_A_ROW = 3, 2  # the CPU time of a server is told in hundredths of a second
FILES = ("CSV", "JSON lines", "Parquet")
SENDERS = ("remote-write", "OTLP", *FILES)
REAL = (receivers.VictoriaMetrics, receivers.Prometheus, receivers.InfluxDB, receivers.OtlpReceiver)


@attrs.frozen
class Sent:
    """What one agent did. Attributes: `cpu_s`, of its process; `requests`, or files; `size_bytes`, of these."""

    lives: int
    samples: int
    cpu_s: float
    requests: int
    size_bytes: int


# -- the agent, a process of its own


def send(folder: str, table: str) -> None:
    """Be the agent: send what lies below a folder through one exporter, and print what that took."""
    from rondo_core.export import Agent
    from rondo_core.export.connection import Connection
    from rondo_core.plugins.config_file import Config

    posted: list[int] = []
    post = Connection.post

    def counted(self: Connection, body: bytes, *others: Any) -> Any:
        posted.append(len(body))
        return post(self, body, *others)

    Connection.post = counted  # type: ignore[method-assign]
    config = Config(exporters={"way": {"match": MATCH, **json.loads(table)}}, agent={"instance_label": "instance"})
    agent = Agent(folder, config)
    began = time.process_time()
    done = agent.run_once(last=True)
    agent.close()
    spent = time.process_time() - began
    if done.failures or done.refused or done.doubtful or done.complete != done.stores:
        raise RuntimeError(f"{done}")
    print(json.dumps([done.complete, done.samples, spent, len(posted), sum(posted)]))


def sent_by(folder: Path, table: dict[str, Any], files: Path | None = None) -> Sent:
    """Run an agent over a folder of lives that no agent has seen. Args: `files`, where its exporter writes."""
    for cursor in folder.glob("*/cursor_way.*"):
        cursor.unlink()
    command = [sys.executable, __file__, "--send", folder, json.dumps(table)]
    with child(command, stdout=subprocess.PIPE, text=True) as sending:
        said, _ = sending.communicate()
    if sending.returncode:
        raise RuntimeError(f"{table}: the agent ended with status {sending.returncode}")
    found = Sent(*json.loads(said.splitlines()[-1]))
    if files is None:
        return found
    sizes = [path.stat().st_size for path in files.rglob("*") if path.is_file() and path.name[0] not in "._"]
    return attrs.evolve(found, requests=len(sizes), size_bytes=sum(sizes))


def file_table(way: str, folder: Path) -> dict[str, Any]:
    """Give the table of an exporter that writes into a folder that is made for it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if way == "Parquet":
        return {"plugin": "parquet", "directory": str(folder), "instance": "agent"}
    plugin = {"CSV": "csv", "JSON lines": "jsonl"}[way]
    return {"plugin": plugin, "path": str(folder / f"lives.{plugin}")}


def sender(way: str, acknowledging: str, root: Path) -> Callable[[Path], Sent]:
    """Give what sends a folder of lives in a way, to a receiver that only acknowledges or to files."""
    if way in FILES:
        return lambda folder: sent_by(folder, file_table(way, root / way), root / way)
    if way == "OTLP":
        return lambda folder: sent_by(folder, {"plugin": "otlp", "endpoint": f"{acknowledging}/1"})
    return lambda folder: sent_by(folder, {"plugin": "prometheus", "protocol": "1.0", "url": f"{acknowledging}/1"})


@contextmanager
def acknowledging() -> Iterator[str]:
    """Run a receiver that only acknowledges; give its URL."""
    command = [sys.executable, Path(__file__).with_name("acknowledge.py")]
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"


# -- what came


def from_csv(path: Path) -> receivers.Points:
    """Read the file of the exporter csv with another reader of CSV and of series than rondo's."""
    found: receivers.Points = {}
    with path.open(newline="") as lines:
        for row in csv.DictReader(lines):
            stamps, values = found.setdefault(key_of(row["series"]), ([], []))
            stamps.append(int(row["timestamp_ns"]) // 1_000_000)
            values.append(float(row["value"]))
    return found


def from_json_lines(path: Path) -> receivers.Points:
    """Read the file of the exporter jsonl."""
    found: receivers.Points = {}
    with path.open() as lines:
        for line in lines:
            row = json.loads(line)
            key = frozenset({**row["labels"], "__name__": row["name"]}.items())
            stamps, values = found.setdefault(key, ([], []))
            stamps.append(row["timestamp_ns"] // 1_000_000)
            values.append(row["value"])
    return found


def key_of(series: str) -> receivers.Key:
    """Read `name{a="b",c="d"}` of series whose labels hold nothing that needs an escape."""
    name, _, inner = series.removesuffix("}").partition("{")
    labels = (pair.partition("=") for pair in inner.split(",") if pair)
    return frozenset({"__name__": name, **{key: value.strip('"') for key, _, value in labels}}.items())


def from_lake(folder: Path) -> receivers.Points:
    """Read a lake by DuckDB."""
    import duckdb

    found: receivers.Points = {}
    with duckdb.connect() as lake:
        lake.execute("SET TimeZone = 'UTC'")
        rows = lake.execute(
            f"SELECT name, instance, labels, list(epoch_ms(time) ORDER BY time), list(value ORDER BY time)"
            f" FROM read_parquet('{folder}/day=*/*/*.parquet', hive_partitioning = true) GROUP BY ALL"
        )
        for name, instance, labels, stamps, values in rows.fetchall():
            found[frozenset({**dict(labels), "__name__": name, "instance": instance}.items())] = stamps, values
    return found


# -- who answers


def cpu_of(pid: int) -> Callable[[], float]:
    """Give what reads the CPU time of a process, all of its threads, s."""
    tick = os.sysconf("SC_CLK_TCK")

    def read() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / tick

    return read


def ask(
    report: Report, way: str, questions: Questions, asked: list[Callable[[], Answer]], cpu_s: Callable[[], float]
) -> None:
    """Ask each question once, hold the answer against numpy's, then measure it.

    Raises: RuntimeError: an answer is another.
    """
    if differ := questions.differ([each() for each in asked]):
        raise RuntimeError(f"{way}: other answers than numpy's: {', '.join(differ)}")
    for name, each in zip(NAMES, asked, strict=True):
        spent = []
        for _ in range(ASKED):
            began = cpu_s()
            for _ in range(IN_A_ROW):
                each()
            spent.append((cpu_s() - began) / IN_A_ROW * 1000)
        report.case(f"{way}: {name}", spent, "ms")


@contextmanager
def spark(lake: Path) -> Iterator[tuple[Callable[[str], list[Any]], int]]:
    """Start Spark with a view `lake`; give what asks it, and its pid."""
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_SUBMIT_ARGS"] = "--master local[2] --driver-memory 1g pyspark-shell"
    settings = {"spark.ui.enabled": "false", "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "2"}
    settings["spark.ui.showConsoleProgress"] = "false"
    builder = SparkSession.builder.appName("rondo")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        session.read.parquet(str(lake)).createOrReplaceTempView("lake")
        yield lambda text: [tuple(row) for row in session.sql(text).collect()], session.sparkContext._gateway.proc.pid
    finally:
        session.stop()


# -- the benchmark


def real(report: Report, root: Path, lives: list[EndedLife]) -> None:
    """Hand the lives to each receiver that can be started here, compare what it has, and ask it."""
    folder, questions = root / "lives", Questions(lives)
    end_s, window_s = round(questions.end_s) + 3600, questions.window_s + 7200
    for kind in REAL:
        if absent := receivers.missing(kind):
            print(f"ways: {kind.name} is left out: {absent} is not there", file=sys.stderr)
            continue
        with receivers.running(kind(root / kind.name)) as receiver:
            cpu_s = cpu_of(receiver.pid)
            table, began = receiver.exporter, cpu_s()
            sent = sent_by(folder, table)
            stored = receiver.stored_bytes()
            spent = cpu_s() - began
            otlp = kind is receivers.OtlpReceiver
            points = receiver.points(end_s, window_s)
            told(report, kind.name, lives, points, sent, zeroes=not otlp, shift_ms=1000 * otlp)
            if kind in (receivers.VictoriaMetrics, receivers.OtlpReceiver):
                cost(report, "OTLP" if otlp else "remote-write", f"{len(lives)} lives", [sent])
            if otlp:
                continue
            report.case(f"{kind.name}: stored", [stored / sent.samples], "B/sample")
            report.case(f"{kind.name}: receiver's CPU", [spent / sent.samples * 1e6], "s/million")
            if kind is not receivers.InfluxDB:
                more = {"nocache": 1} if kind is receivers.VictoriaMetrics else {}
                ask(report, kind.name, questions, questions.over_http(receiver.get, **more), cpu_s)
        shutil.rmtree(root / kind.name)
    read = {"CSV": from_csv, "JSON lines": from_json_lines, "Parquet": from_lake}
    for way in FILES:
        sent = sent_by(folder, file_table(way, root / way), root / way)
        path = root / way if way == "Parquet" else next((root / way).glob("lives.*"))
        told(report, way, lives, read[way](path), sent, zeroes=False)
        report.case(f"{way}: stored", [sent.size_bytes / sent.samples], "B/sample")
        cost(report, way, f"{len(lives)} lives", [sent])
    lake = root / "Parquet"
    ask_lake(report, lake, questions)
    ask(report, "rondo, the stores", questions, questions.by_rondo(folder), time.process_time)


def ask_lake(report: Report, lake: Path, questions: Questions) -> None:
    """Ask DuckDB and Spark, where there is Java, over the same files."""
    import duckdb

    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute("SET threads = 2")
        whole = f"read_parquet('{lake}/day=*/*/*.parquet', hive_partitioning = true)"
        engine.execute(f"CREATE VIEW lake AS SELECT * FROM {whole}")
        asked = questions.by_sql(lambda text: engine.execute(text).fetchall(), "quantile_cont", "epoch")
        ask(report, "DuckDB, Parquet", questions, asked, time.process_time)
    if not shutil.which("java") or not __import__("importlib.util").util.find_spec("pyspark"):
        print("ways: Spark is left out: Java or the package pyspark is not there", file=sys.stderr)
        return
    with spark(lake) as (rows, pid):
        asked = questions.by_sql(rows, "percentile", "1e-6 * unix_micros")
        ask(report, "Spark, Parquet", questions, asked, cpu_of(pid))


def told(report: Report, way: str, lives: list[EndedLife], points: receivers.Points, sent: Sent, **how: Any) -> None:
    """Report what a receiver has beside what was recorded. Raises: RuntimeError: a point is missing or another."""
    found = compare(lives, points, **how)
    if found.missing or found.different or sent.lives != len(lives):
        raise RuntimeError(f"{way}: {found}, {sent}")
    report.case(f"{way}: lives", [sent.lives], "")
    report.case(f"{way}: points", [found.points], "")
    report.case(f"{way}: missing", [found.missing], "")
    report.case(f"{way}: different", [found.different], "")
    report.case(f"{way}: stored twice, equal", [found.again], "")


def paper(report: Report, root: Path, repeat: int) -> None:
    """Measure what each way costs its sender, at two lengths of lives; what is sent for real is held against it."""
    end_s = int(time.time()) - 120
    for seconds in FIT_SECONDS:
        record_all(root / f"fit{seconds}", plan(FIT_LIVES, end_s, DAY_S - 3600, seconds))
    with acknowledging() as url:
        for way in SENDERS:
            run = sender(way, url, root)
            run(root / f"fit{FIT_SECONDS[0]}")  # to warm up
            for seconds in FIT_SECONDS:
                cost(
                    report,
                    way,
                    f"{FIT_LIVES} lives of {seconds} s",
                    [run(root / f"fit{seconds}") for _ in range(repeat)],
                )


def cost(report: Report, way: str, case: str, found: list[Sent]) -> None:
    """Report what an agent did."""
    report.case(f"{way}: samples, {case}", [found[0].samples], "")
    report.case(f"{way}: sent, {case}", [each.size_bytes for each in found], "B")
    report.case(f"{way}: requests, {case}", [each.requests for each in found], "")
    report.case(f"{way}: CPU, {case}", [each.cpu_s for each in found], "s")


def record_all(folder: Path, lives: list[EndedLife]) -> None:
    """Record lives below a folder."""
    folder.mkdir()
    for life in lives:
        record(folder, life)


def main() -> int:
    """Measure every way, and write the page."""
    asked = options(__doc__ or "", lives={"type": int, "default": 1000, "help": "how many are sent for real"})
    heading = machine("rondo-tsdb", "duckdb", "pyspark", "pyarrow")
    report = Report("ways", asked, heading, __doc__ or "")
    with temporary_folder() as root:
        paper(report, root, asked.repeat)
        lives = plan(asked.lives, int(time.time()) - 120, DAY_S - 3600)
        record_all(root / "lives", lives)
        real(report, root, lives)
    report.save()
    if report.is_kept:
        import ways_page

        ways_page.main()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(*sys.argv[2:])
    else:
        finish(main)
