"""What other stores of time series need to read the same points: sqlite, and rrdtool and whisper where installed."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

Read = Callable[[], object]


def readers(root: Path, n_series: int, start_s: int, seconds: int) -> dict[str, tuple[Read, Read]]:
    """Fill each peer that is installed with a value a second; give reads of one series, and of the first hundred."""
    found = {"sqlite": sqlite_readers(n_series, start_s, seconds)}
    if find_spec("rrdtool"):
        found["rrdtool"] = rrdtool_readers(root, start_s, seconds)
    if find_spec("whisper"):
        found["whisper"] = whisper_readers(root, start_s, seconds)
    return found


def sqlite_readers(n_series: int, start_s: int, seconds: int) -> tuple[Read, Read]:
    """Make a table in memory, indexed as one of a time series is."""
    database = sqlite3.connect(":memory:")
    database.execute("create table samples (series integer, time integer, value real, primary key (series, time)) "
                     "without rowid")  # fmt: skip
    rows = ((n, start_s + second, float(n + second)) for n in range(n_series) for second in range(seconds))
    database.executemany("insert into samples values (?, ?, ?)", rows)

    def select(first: int, last: int) -> object:
        asked = "select time, value from samples where series between ? and ?"
        return database.execute(asked, (first, last)).fetchall()

    return partial(select, 5, 5), partial(select, 0, 99)


def rrdtool_readers(root: Path, start_s: int, seconds: int) -> tuple[Read, Read]:
    """Make one file with one series and one with a hundred, as rrdtool keeps series that belong together."""
    import rrdtool

    span = ("AVERAGE", "--start", str(start_s), "--end", str(start_s + seconds - 1))
    paths = {n: str(root / f"{n}.rrd") for n in (1, 100)}
    for n_series, path in paths.items():
        sources = [f"DS:s{n}:GAUGE:10:U:U" for n in range(n_series)]
        rrdtool.create(path, "--step", "1", "--start", str(start_s - 1), *sources, f"RRA:AVERAGE:0.5:1:{seconds}")
        for first in range(0, seconds, 100):
            updates = (
                ":".join([str(start_s + second), *(str(n + second) for n in range(n_series))])
                for second in range(first, first + 100)
            )
            rrdtool.update(path, *updates)
    return partial(rrdtool.fetch, paths[1], *span), partial(rrdtool.fetch, paths[100], *span)


def whisper_readers(root: Path, start_s: int, seconds: int) -> tuple[Read, Read]:
    """Make a hundred files, for whisper keeps one series in each."""
    import whisper

    paths = [str(root / f"{n}.wsp") for n in range(100)]
    end_s = start_s + seconds
    for n, path in enumerate(paths):
        whisper.create(path, [(1, seconds)])
        points = [(start_s + second, float(n + second)) for second in reversed(range(seconds))]  # the newest first
        with Path(path).open("r+b") as file:
            whisper.file_update_many(file, points, now=end_s)

    def fetch(wanted: list[str]) -> object:
        return [whisper.fetch(path, start_s, end_s, now=end_s) for path in wanted]

    return partial(fetch, paths[5:6]), partial(fetch, paths)
