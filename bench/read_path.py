"""Reading, folding and opening: us a call beside the floor (a numpy copy) and sqlite, in turn in one run."""

from __future__ import annotations

import gc
import sqlite3
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness import Report, in_turn, machine, options, per_call_ns

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier

START_NS = 1_700_000_100 * 10**9  # where a 5 min window begins
SECONDS = 600


def main() -> None:
    """Run the cases and print them."""
    asked = options(__doc__ or "", number={"type": int, "default": 2000, "help": "reads of a run"})
    with tempfile.TemporaryDirectory() as directory:
        root, number = Path(directory), asked.number
        store, database = filled(root / "s", 128), peer(128)
        view, block = store.view, store.slabs["g"][0].block("last")
        one, hundred = view.series("g{n=5}"), view.series("g")[:100]
        prepared, many = view.prepare(one, tier=0), view.prepare(hundred, tier=0)
        folds = {n: store_to_fold(root / f"fold{n}", n) for n in (30, 1000)}
        opened = {n: closed_store(root / f"open{n}", n) for n in (30, 10_000)}
        timed: dict[str, Callable[[], float]] = {
            "floor: copy 600 of a column": partial(per_call_ns, block[:, 5].copy, number),
            "600 points, query prepared": partial(per_call_ns, prepared.read, number),
            "600 points, as one series": partial(per_call_ns, lambda: prepared.read()[0], number),
            "600 points, selector as text": partial(per_call_ns, lambda: view.query("g{n=5}", tier=0), number),
            "600 points, all tiers": partial(per_call_ns, view.prepare(one).read, number // 4),
            "sqlite: 600 points": partial(per_call_ns, partial(select, database, 5, 5), number // 10),
            "floor: copy 600 rows of 100": partial(per_call_ns, block[:, :100].copy, number // 10),
            "100 x 600 points": partial(per_call_ns, many.read, number // 10),
            "sqlite: 100 x 600 points": partial(per_call_ns, partial(select, database, 0, 99), 3),
            "fold 600 s x 30": lambda: fold(*folds[30]) / 1,
            "fold 600 s x 1000": lambda: fold(*folds[1000]),
            "fold, nothing new": partial(per_call_ns, lambda: folds[30][0].fold_closed(folds[30][1]), number // 10),
            "open 30 series": partial(open_store, opened[30], 10),
            "open 10,000 series": partial(open_store, opened[10_000], 1),
            "open 10,000 series to read": partial(open_reader, opened[10_000], 1),
        }
        found = in_turn(timed, asked.repeat)
        store.close()
    report = Report("read_path", asked.json, machine("rondo", "numpy"))
    pairs = {
        "600 points, query prepared": "floor: copy 600 of a column",
        "600 points, as one series": "floor: copy 600 of a column",
        "600 points, selector as text": "sqlite: 600 points",
        "600 points, all tiers": "sqlite: 600 points",
        "100 x 600 points": "floor: copy 600 rows of 100",
    }
    for case, values in found.items():
        peer_name = pairs.get(case, "")
        in_us = [value / 1000 for value in values]
        report.case(case, in_us, "us", peer_name, [value / 1000 for value in found[peer_name]] if peer_name else ())


def filled(path: Path, n_series: int) -> Store:
    """Make a store whose finest tier is full."""
    clock = ManualClock(START_NS)
    store = Store(path, [Schema("g", "gauge", n_series)], clock=clock)
    batch = store.batch([store.gauge("g", n=n) for n in range(n_series)])
    for second in range(SECONDS + 100):
        batch.set([float(n + second) for n in range(n_series)])
        store.tick()
        clock.advance(1)
    return store


def peer(n_series: int) -> sqlite3.Connection:
    """Make the same points as a table in memory, indexed as a time-series table is."""
    database = sqlite3.connect(":memory:")
    database.execute("create table samples (series integer, time integer, value real, primary key (series, time)) "
                     "without rowid")  # fmt: skip
    rows = ((n, START_NS + second * 10**9, float(n + second)) for n in range(n_series) for second in range(SECONDS))
    database.executemany("insert into samples values (?, ?, ?)", rows)
    return database


def select(database: sqlite3.Connection, first: int, last: int) -> list[tuple[int, float]]:
    """Read the points of some series, as a program would."""
    return database.execute("select time, value from samples where series between ? and ?", (first, last)).fetchall()


def store_to_fold(path: Path, n_series: int) -> tuple[object, int]:
    """Make a store with ten minutes that are folded; give its consolidation and the bucket that is open."""
    clock = ManualClock(START_NS)
    store = Store(path, [Schema("g", "gauge", n_series)], clock=clock)
    batch = store.batch([store.gauge("g", n=n) for n in range(n_series)])
    for second in range(SECONDS):
        batch.set([float(n + second) for n in range(n_series)])
        clock.advance(1)
    consolidation, end = store._consolidations["g"], store._writers["g"].bucket + 1
    consolidation.fold_closed(end)
    return consolidation, end


def fold(consolidation: object, end: int) -> float:
    """Fold ten minutes into both upper tiers once more, ns."""
    consolidation.rewind(end - SECONDS)  # type: ignore[attr-defined]
    start = time.perf_counter_ns()
    consolidation.fold_closed(end)  # type: ignore[attr-defined]
    return float(time.perf_counter_ns() - start)


def closed_store(path: Path, n_series: int) -> Path:
    """Make a store with as many series."""
    with Store(path, [Schema("g", "gauge", n_series, (Tier("1s", "30s"), Tier("10s", "1m")))]) as store:
        for n in range(n_series):
            store.gauge("metric", instance=f"host-{n}", job="node", cpu=n % 64)
    return path


def open_store(path: Path, number: int) -> float:
    """Open a store for writing, ns; closing it is not counted."""
    total = 0
    for _ in range(number):
        gc.collect()
        start = time.perf_counter_ns()
        store = Store(path)
        total += time.perf_counter_ns() - start
        store.close()
    return total / number


def open_reader(path: Path, number: int) -> float:
    """Open a store for reading, ns."""
    total = 0
    for _ in range(number):
        gc.collect()
        start = time.perf_counter_ns()
        reader = StoreReader(path)
        total += time.perf_counter_ns() - start
        reader.close()
    return total / number


if __name__ == "__main__":
    main()
