"""What one record costs, and what the slow ones cost: p50, p99, p99.9 and throughput of rondo and its peers, in turn.

Each contender lives in a process of its own kind (compiled, pure Python, multiprocess prometheus_client), all of them
started at once; then they take turns, round by round, so that a change of the machine's speed touches all. Every record
is timed by itself; what reading the timer costs, the median of as many empty readings, is subtracted. Throughput comes
from loops that read no timer. A contender that is slow makes fewer records: as many as its share of the time allows.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from harness import Report, finish, machine, options, temporary_folder

ROUNDS = 5
SETTINGS = ("compiled", "pure", "multiprocess")
PERCENTILES = (50.0, 99.0, 99.9)
Record = Callable[[], object]


def main() -> None:
    """Start the workers, let them take turns, print what they found."""
    asked = options(
        __doc__ or "",
        records={"type": int, "default": 10_000_000, "help": "records of a contender, at most"},
        seconds={"type": float, "default": 20.0, "help": "a contender's share of the time, s"},
        worker={"default": "", "help": argparse.SUPPRESS},
    )
    if asked.worker:
        work(asked.worker)
        return
    with temporary_folder() as directory:
        workers = {setting: start(setting, directory) for setting in SETTINGS}
        try:
            contenders = [(setting, name) for setting, worker in workers.items() for name in ask(worker, "list")]
            found: dict[tuple[str, str], list[dict[str, Any]]] = {each: [] for each in contenders}
            for _ in range(ROUNDS):
                for setting, name in contenders:
                    share = asked.records // ROUNDS, asked.seconds / ROUNDS
                    found[setting, name].append(ask(workers[setting], name, *share))
        finally:
            for worker in workers.values():
                worker.kill()
                worker.communicate()
    written = Report("write_peers", asked, machine("rondo-tsdb", *PEERS), __doc__ or "")
    report(found, written)
    written.save()


def report(found: dict[tuple[str, str], list[dict[str, Any]]], to: Report) -> None:
    """Print each contender's percentiles and throughput, and the ratio of its median to prometheus_client's gauge."""
    peer = [each["p50"] for each in found["compiled", "prometheus_client Gauge.set"]]
    for (setting, name), rounds in found.items():
        named = f"{name}, {setting}" if name.startswith("rondo") else name
        records = sum(each["n"] for each in rounds)
        for percent in PERCENTILES:
            values = [each[f"p{percent:g}"] for each in rounds]
            beside = ("prometheus_client Gauge.set", peer) if percent == 50 else ("", ())
            to.case(f"{named}: p{percent:g} of {records:,}", values, "ns", *beside)
        to.case(f"{named}: throughput", [each["per_s"] / 1e6 for each in rounds], "M/s")


PEERS = ("prometheus-client", "opentelemetry-sdk", "statsd", "whisper", "rrdtool", "numpy")


def start(setting: str, directory: Path) -> subprocess.Popen[str]:
    """Start the process in which the contenders of a setting live."""
    own = directory / setting
    own.mkdir()
    environment = os.environ | {"TMPDIR": str(own)}
    if setting == "multiprocess":
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(own)
    return subprocess.Popen(
        [sys.executable, __file__, "--worker", setting],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(worker: subprocess.Popen[str], *words: object) -> Any:
    """Send a line, read a line."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    line = ""
    with suppress(BrokenPipeError):
        worker.stdin.write(json.dumps(words) + "\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    if not line:
        if worker.wait() in {-signal.SIGINT, 128 + signal.SIGINT}:  # the interrupt reached it first
            raise KeyboardInterrupt
        raise SystemExit(f"write_peers: a worker ended while asked for {words[0]}")
    return json.loads(line)


# -- in a worker


def work(setting: str) -> None:
    """Answer until the input ends."""
    if setting == "pure":
        run_as_python()
    with temporary_folder() as directory:
        contenders = dict(CONTENDERS[setting](directory))
        for line in sys.stdin:
            name, *share = json.loads(line)
            answer = list(contenders) if name == "list" else measure(contenders[name], *share)
            print(json.dumps(answer), flush=True)


def run_as_python() -> None:
    """Import the hot path from its source, whether it is compiled here or not."""

    class FromSource:
        @staticmethod
        def find_spec(name: str, *_: object) -> Any:
            package, _, module = name.rpartition(".")
            if package != "rondo_core.record":
                return None
            import rondo_core

            path = Path(rondo_core.__file__).with_name("record") / f"{module}.py"
            return importlib.util.spec_from_file_location(name, path)

    for name in [each for each in sys.modules if each.startswith("rondo_core.record.")]:
        del sys.modules[name]  # nothing has bound a name of it yet
    sys.meta_path.insert(0, FromSource)  # type: ignore[arg-type]
    assert importlib.import_module("rondo_core.record.handles").__file__.endswith(".py")


def measure(record: Record, records: int, seconds: float) -> dict[str, float]:
    """Time single records for half of the time, loops for the other half."""
    clock = time.perf_counter_ns
    warm = clock()
    for _ in range(200):
        record()
    each_ns = max(50.0, (clock() - warm) / 200)
    n = max(200, min(records, int(seconds * 1e9 / 2 / (each_ns + 150))))
    timer = array("q", bytes(8 * 20_000))
    for index in range(len(timer)):
        begun = clock()
        timer[index] = clock() - begun
    overhead = statistics.median(timer)
    spent = array("q", bytes(8 * n))
    for index in range(n):
        begun = clock()
        record()
        spent[index] = clock() - begun
    begun = clock()
    for _ in range(n):
        record()
    per_s = n * 1e9 / (clock() - begun)
    values = np.maximum(np.frombuffer(spent, np.int64) - overhead, 0)
    return {f"p{each:g}": float(np.percentile(values, each)) for each in PERCENTILES} | {"n": n, "per_s": per_s}


Contender = tuple[str, Record]


def rondo(directory: Path) -> Iterator[Contender]:
    """Give rondo's records: scalars, and a tick of 30 in one call."""
    from rondo_core import Schema, Store

    room = [Schema("counters", "counter", 32), Schema("gauges", "gauge", 32), Schema("summaries", "summary", 32)]
    # `strict`: in overflow series another path would be timed
    store = Store(directory / "s", room, strict=True, tick_interval_s=1.0)
    batch = store.batch([store.gauge("tick", n=n) for n in range(30)])
    row = array("d", range(30))
    yield "rondo gauge.set", partial(store.gauge("g").set, 1.5)
    yield "rondo counter.inc", store.counter("c_total").inc
    yield "rondo summary.observe", partial(store.summary("s").observe, 0.25)
    yield "rondo tick of 30", partial(batch.set, row)


def floors(_directory: Path) -> Iterator[Contender]:
    """Give what a call and a row of numpy cost by themselves."""
    table, row = np.zeros((600, 30)), np.arange(30.0)

    def assign() -> None:
        table[7] = row

    yield "floor: a call that does nothing", lambda: None
    yield "floor: a numpy row of 30", assign


def prometheus(_directory: Path) -> Iterator[Contender]:
    """Give prometheus_client's updates, in the mode that the environment chose."""
    from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

    registry = CollectorRegistry()
    mode = " (multiprocess)" if "PROMETHEUS_MULTIPROC_DIR" in os.environ else ""
    yield f"prometheus_client Gauge.set{mode}", partial(Gauge("g", "g", registry=registry).set, 1.5)
    yield f"prometheus_client Counter.inc{mode}", Counter("c", "c", registry=registry).inc
    yield f"prometheus_client Histogram.observe{mode}", partial(Histogram("h", "h", registry=registry).observe, 0.25)


def opentelemetry(_directory: Path) -> Iterator[Contender]:
    """Give the SDK's synchronous instruments, with one attribute."""
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    except ImportError:
        return
    meter = MeterProvider([InMemoryMetricReader()]).get_meter("bench")
    attributes = {"queue": "mail"}
    yield "opentelemetry-sdk Counter.add", partial(meter.create_counter("c").add, 1, attributes)
    yield "opentelemetry-sdk Histogram.record", partial(meter.create_histogram("h").record, 0.25, attributes)


def files(directory: Path) -> Iterator[Contender]:
    """Give a datagram, a line in a file, and a row in a database."""
    import sqlite3

    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    with_statsd = importlib.util.find_spec("statsd")
    if with_statsd:
        import statsd

        yield "statsd over UDP", partial(statsd.StatsClient("127.0.0.1", receiver.getsockname()[1]).gauge, "g", 1.5)
    file = (directory / "lines").open("w")

    def line() -> None:
        file.write(f"{time.time_ns()} g 1.5\n")

    def flushed() -> None:
        line()
        file.flush()

    yield "a line in a file", line
    yield "a line in a file, flushed", flushed
    database = sqlite3.connect(directory / "db", isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=off")
    database.execute("create table samples (time integer, series integer, value real)")
    yield (
        "sqlite insert, WAL, no sync",
        lambda: database.execute("insert into samples values (?, 1, 1.5)", (time.time_ns(),)),
    )


def round_robin(directory: Path) -> Iterator[Contender]:
    """Give whisper's and rrdtool's updates; rrdtool takes one a second, so its time is a count."""
    if importlib.util.find_spec("whisper"):
        import whisper

        whisper.create(str(directory / "g.wsp"), [(1, 600), (10, 2160), (300, 2016)])
        yield "whisper update", partial(whisper.update, str(directory / "g.wsp"), 1.5)
    if importlib.util.find_spec("rrdtool"):
        import rrdtool

        path = str(directory / "g.rrd")
        start = 1_000_000_000
        tiers = [f"RRA:AVERAGE:0.5:{steps}:{rows}" for steps, rows in ((1, 600), (10, 2160), (300, 2016))]
        rrdtool.create(path, "--start", str(start), "--step", "1", "DS:g:GAUGE:2:U:U", *tiers)
        second = start

        def update() -> None:
            nonlocal second
            second += 1
            rrdtool.update(path, f"{second}:1.5")

        yield "rrdtool update", update


def everything(directory: Path) -> Iterator[Contender]:
    """Give all that needs no setting of its own, after rondo."""
    for family in (rondo, floors, prometheus, opentelemetry, files, round_robin):
        yield from family(directory)


CONTENDERS = {"compiled": everything, "pure": rondo, "multiprocess": prometheus}

if __name__ == "__main__":
    finish(main)
