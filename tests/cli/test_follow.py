"""`rondo query --follow`: each point once, as its second ends, until no process writes the store any more."""

import csv
import io
import json
import os
import signal
import subprocess
import sys

import pytest

from rondo_cli.follow import CSV_HEAD, LiveQuery, as_lines, follow
from rondo_cli.main import run
from rondo_core import Store
from rondo_core.model import parse_range
from rondo_core.read import open_reader
from rondo_core.units import parse_zone

S = 10**9


def followed(path, clock, steps, selector="jobs_total", **asked):
    """What is seen of a store while, between two looks, one step after the other is done."""
    live = LiveQuery(parse_range(asked.pop("range", "1m")), clock, selector=selector, **asked)
    left = iter(steps)
    return follow(live, lambda: open_reader(path), lambda _seconds: next(left)())


def seen(looks):
    return [[(str(each.data.series), each.time_ns // S, each.value) for each in fresh.points] for fresh in looks]


def test_each_point_is_shown_once_when_its_second_is_over(path, clock, small_schemas):
    """Those of the range first; series, and points of seconds passed, that come later, when they come; at last the rest."""
    store = Store(path, small_schemas, clock=clock)
    jobs, start = store.counter("jobs_total", n=1), clock() // S

    def second():
        jobs.inc()
        store.tick()
        clock.advance(1)

    def one_more():
        store.counter("jobs_total", n=2).inc()
        second()

    def end():
        jobs.inc(7)
        store.close()

    second()
    jobs.inc()
    looks = list(followed(path, clock, [second, one_more, lambda: None, end]))
    first, other = 'jobs_total{n="1"}', 'jobs_total{n="2"}'
    assert seen(looks) == [
        [(first, start, 1.0)],
        [(first, start + 1, 3.0)],
        [(first, start + 2, 4.0), (other, start + 2, 1.0)],
        [],
        [(first, start + 3, 11.0), (other, start + 3, 1.0)],
    ]
    assert [fresh.ended for fresh in looks] == [False] * 4 + [True]


def test_growth_marks_and_coarse_windows_come_as_they_end(path, clock, small_schemas):
    """An increase is since the point before; a window of ten seconds is shown after it; a mark once."""
    store = Store(path, small_schemas, clock=clock)
    jobs = store.counter("jobs_total")

    def seconds(count):
        for _ in range(count):
            jobs.inc()
            clock.advance(1)
            store.tick()
        store.mark("deploy", version=count)

    seconds(5)
    steps = [lambda: seconds(20), lambda: seconds(1), store.close]
    looks = list(followed(path, clock, steps, tier=1, fn="increase"))
    windows = [point for points in seen(looks) for point in points]
    assert [value for _, _, value in windows][:2] == [10, 10]
    assert sum(value for _, _, value in windows) == 26
    assert [[str(event) for event in fresh.events] for fresh in looks] == [["deploy version=5"], ["deploy version=20"], ["deploy version=1"], []]  # fmt: skip


def test_stores_that_come_later_are_seen_in_a_directory(tmp_path, clock, small_schemas):
    """Whoever of them is there; it ends with the last."""
    stores = []

    def begin():
        stores.append(Store(tmp_path / f"s{len(stores)}", small_schemas, clock=clock))
        stores[-1].counter("jobs_total").inc()

    def end():
        for store in stores:
            store.close()

    begin()
    looks = seen(followed(tmp_path, clock, [begin, end]))
    assert [name for name, _, _ in looks[-1]] == ['jobs_total{rondo_store="s0"}', 'jobs_total{rondo_store="s1"}']
    assert len(looks) == 3


def test_a_line_is_as_the_formats_have_it(path, clock, small_schemas):
    """A row of CSV, an object of JSON, or time, value and series; times of a table in the zone asked for."""
    with Store(path, small_schemas, clock=clock) as store:
        store.gauge("g", n='a"b\n').set(float("inf"))
        store.note("begun\x1b[2J")
    (fresh,) = followed(path, clock, [], "g", fn="last")
    (row,) = csv.reader(io.StringIO(as_lines(fresh, "csv", parse_zone("UTC"))[0]))
    assert dict(zip(CSV_HEAD.split(","), row, strict=True)) == {
        "series": str(fresh.points[0].data.series), "fn": "last", "timestamp_ns": str(clock()), "value": "inf",
        "interval_ns": str(S), "coverage": "1", "error": "0.0",
    }  # fmt: skip
    (line,) = as_lines(fresh, "json", parse_zone("UTC"))
    told = json.loads(line)
    assert (told["labels"], told["timestamp_ns"], told["value"]) == ({"n": 'a"b\n'}, clock(), "inf")
    lines = as_lines(fresh, "table", parse_zone("Europe/Berlin"), coverage=True)
    assert [line.split()[0] for line in lines] == ["2023-11-14T23:13:20+01:00"] * 2
    assert lines[0].split()[1:3] == ["inf", "1/1"]
    assert not any("\x1b" in line or "\n" in line for line in lines)


@pytest.fixture
def live(path):
    """A store that this process writes, on the clock that there is."""
    with Store(path, tick_interval_s=0.05) as store:
        store.gauge("depth").set_function(lambda: 7)
        store.counter("jobs_total").inc()
        yield store


def test_it_ends_with_the_store_or_by_an_interrupt(live):
    """Status 0 and a word on standard error; 130 and none: nothing else was meant."""
    command = [sys.executable, "-m", "rondo_cli", "query", live.path, "jobs_total", "--follow", "--format", "csv"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for child in (one, other):
            assert child.stdout.readline() == CSV_HEAD + "\n"
            assert child.stdout.readline().startswith("jobs_total,last,")
        one.send_signal(signal.SIGINT)
        assert one.communicate(timeout=60)[1] == ""
        assert one.returncode == 130
        live.close()
        rest, said = other.communicate(timeout=60)
    assert (other.returncode, said) == (0, "rondo: no process writes this store any more\n")
    with open_reader(live.path) as reader:
        stamps = reader.query("jobs_total", tier=0)[0].timestamps_ns.tolist()
    assert [int(line.split(",")[2]) for line in rest.splitlines()] == stamps[len(stamps) - len(rest.splitlines()) :]


def test_what_cannot_be_followed_is_refused(path, clock, capsys):
    """One value of a whole range, and a plot; with status 2."""
    with Store(path, clock=clock) as store:
        store.counter("a_total").inc()
    for more in (["--agg"], ["--format", "plot"]):
        assert run(["query", str(path), "a_total", "--follow", *more]) == 2
        assert f"--follow: shows points as they come; leave out {' '.join(more)}" in capsys.readouterr().err
    assert run(["query", str(path), "b_total", "--follow"]) == 1


@pytest.mark.parametrize(
    ("given", "environment", "shown"),
    [
        ([], "", "2023-11-14T22:13:20Z"),
        ([], "Europe/Berlin", "2023-11-14T23:13:20+01:00"),
        ([], ":Asia/Tokyo", "2023-11-15T07:13:20+09:00"),
        ([], "CET-1CEST", "2023-11-14T22:13:20Z"),
        (["--tz", "UTC"], "Europe/Berlin", "2023-11-14T22:13:20Z"),
        (["--tz", "Europe/Berlin"], "", "2023-11-14T23:13:20+01:00"),
    ],
)
def test_times_are_shown_in_the_zone_asked_for_else_in_that_of_the_environment(
    path, clock, capsys, monkeypatch, given, environment, shown
):
    """In tables and words; an instant without a zone is of it; CSV and JSON have nanoseconds since the epoch as ever."""
    monkeypatch.setitem(os.environ, "TZ", environment)
    with Store(path, clock=clock) as store:
        store.counter("a_total").inc()
    at = shown[:19]
    assert run(["query", str(path), "a_total", *given, "--range", f"{at}..{at}.5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == [shown, "1"]
    assert run(["query", str(path), "a_total", *given, "--format", "csv"]) == 0
    assert f",{clock()}," in capsys.readouterr().out
    assert run(["query", str(path), "a_total", "--range", "1..2", *given]) == 0
    assert f"their points lie in {shown}" in capsys.readouterr().err


def test_a_zone_that_there_is_not_is_named(path, clock, capsys):
    """With what to write; status 2."""
    with Store(path, clock=clock) as store:
        store.counter("a_total").inc()
    assert run(["query", str(path), "a_total", "--tz", "Berlin"]) == 2
    assert "'Berlin': no time zone" in capsys.readouterr().err
