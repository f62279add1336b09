"""`rondo query --promql`, `rondo alert` and `rondo top`: expressions over a store and over a directory of stores."""

import csv
import json
import os
import pty
import select
import sys

import pytest

from rondo_cli.main import run
from rondo_cli.top_table import TopRow, TopTable, TopView, frame, ordered, sparkline
from rondo_core import ManualClock, Store

START_S = 1_700_000_100
S = 10**9


@pytest.fixture
def store(tmp_path):
    """Thirty seconds of two counters, a level that rises and durations."""
    path = tmp_path / "stores" / "a.rondo"
    path.parent.mkdir()
    record(path)
    return path


def record(path, seconds=30):
    clock = ManualClock(START_S * S)
    with Store(path, clock=clock) as opened:
        ok, bad = (opened.counter("requests_total", code=code) for code in ("200", "500"))
        level, took = opened.gauge("level"), opened.summary("took_seconds", quantiles=True)
        for second in range(seconds):
            ok.inc(4)
            bad.inc()
            level.set(second)
            took.observe(0.5)
            opened.tick()
            clock.advance(1)


def said(capsys, *arguments):
    """Run a command; give its exit status, and the lines on standard output and on standard error."""
    status = run(list(map(str, arguments)))
    output = capsys.readouterr()
    return status, output.out.splitlines(), output.err.splitlines()


def test_an_expression_is_a_table_of_its_steps(store, capsys):
    """Steps are counted back from the newest sample, a column for each series, and the end is said."""
    asked = ("query", store, "--promql", "sum by (code) (rate(requests_total[10s]))", "--range", "10s", "--step", "5s")
    status, lines, errors = said(capsys, *asked)
    assert status == 0
    assert lines[:2] == ['  [1] {code="200"}', '  [2] {code="500"}']
    assert [line.split() for line in lines[5:]] == [
        ["2023-11-14T22:15:19Z", "4", "1"],
        ["2023-11-14T22:15:24Z", "4", "1"],
        ["2023-11-14T22:15:29Z", "4", "1"],
    ]
    assert errors[0].endswith("the range ends with its newest sample, at 2023-11-14T22:15:29Z")


def test_an_expression_at_one_instant_is_a_row_for_each_series(store, capsys):
    """Without a range it is asked at the end, or where --at says; a number is that number alone."""
    assert said(capsys, "query", store, "--promql", "level")[1][-1].split() == ["level", "29"]
    assert said(capsys, "query", store, "--promql", "level", "--at", "-10s")[1][-1].split() == ["level", "19"]
    assert said(capsys, "query", store, "--promql", "level", "--at", START_S + 5)[1][-1].split() == ["level", "5"]
    assert said(capsys, "query", store, "--promql", "1 + 2 ^ 3")[1] == ["9"]
    assert said(capsys, "query", store, "--promql", "nothing_total")[1] == ["no series"]


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("sum(rate(request_total[1m]))", "request_total: no such series; nearest: requests_total"),
        (
            'requests_total{code="404"}',
            'requests_total{code="404"}: no such series; code of requests_total is 200 or 500',
        ),
        ('rate(requests_total{cod=~"2.."}[1m])', "requests_total has no label cod; it has code"),
        ("level / on() took_second_sum", "took_second_sum: no such series; nearest: took_seconds_sum"),
    ],
)
def test_of_what_gives_no_series_is_said_what_there_is_instead(store, capsys, expression, hint):
    """A name or a value that no series has is answered with those that are near, as for a selector."""
    status, lines, errors = said(capsys, "query", store, "--promql", expression)
    assert (status, lines) == (0, ["no series"])
    assert hint in errors[-1]
    assert len(errors) == 2
    assert said(capsys, "query", store, "--promql", "level > 99")[2][1:] == []


@pytest.mark.parametrize(
    ("expression", "mend"),
    [
        ("rate(requests_total)", "give its metric a range, as in metric[5m]"),
        ("abs(requests_total[1m])", "leave its range out, or put avg_over_time() around it"),
        ("requests_total{code=500}", 'values stand in quotes, as in metric{label="value"}'),
        ("p99(took_seconds)", "a quantile is histogram_quantile(0.99, sum(rate(metric[5m])))"),
    ],
)
def test_a_first_mistake_is_answered_with_its_mend(store, capsys, expression, mend):
    """After the words of Prometheus, which say what is wrong, in the same line."""
    status, _, errors = said(capsys, "query", store, "--promql", expression)
    assert (status, len(errors)) == (2, 1)
    assert errors[0].startswith(f"rondo: {expression}: parse error: ")
    assert errors[0].endswith(f"; {mend}")


def test_a_plot_has_its_expression_once_for_a_title(store, capsys):
    """Not the metric and the expression, which has it already."""
    asked = ("query", store, "--promql", "level", "--range", "10s", "--format", "plot")
    assert [line.strip() for line in said(capsys, *asked)[1] if "level" in line] == ["level"]


def test_programs_get_csv_and_the_json_of_prometheus(store, capsys):
    """Floats in full; NaN and infinities can be told; a histogram has its buckets."""
    _, lines, _ = said(capsys, "query", store, "--promql", "level / 3", "--range", "2s", "--format", "csv")
    rows = list(csv.DictReader(lines))
    assert [(row["series"], int(row["timestamp_ns"]) // S - START_S) for row in rows] == [
        ("{}", at) for at in (27, 28, 29)
    ]
    assert float(rows[1]["value"]) == 28 / 3
    _, lines, _ = said(capsys, "query", store, "--promql", "level / 0", "--format", "json")
    answer = json.loads("\n".join(lines))
    assert (answer["resultType"], answer["result"]) == ("vector", [{"metric": {}, "value": [START_S + 29, "+Inf"]}])
    asked = 'took_seconds{quantile=""}'
    _, lines, _ = said(capsys, "query", store, "--promql", asked, "--format", "json")
    [found] = json.loads("\n".join(lines))["result"]
    assert found["histogram"][1]["count"] == "1"
    [[_, lower, upper, count]] = found["histogram"][1]["buckets"]
    assert float(lower) < 0.5 <= float(upper)
    assert count == "1"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--promql", "sum(level"], 2, "sum(level: parse error"),
        (["--promql", "level", "--fn", "avg"], 2, "--fn: not with --promql"),
        (["level", "--promql", "level"], 2, "SELECTOR: not with --promql"),
        (["level", "--step", "1s"], 2, "--step: only with --promql"),
        (["--promql", "level", "--step", "1s"], 2, "--step: one instant has none"),
        (["--promql", "level", "--at", "-1s", "--range", "5s"], 2, "--at: given with --range"),
        (["--promql", "level", "--at", "never"], 2, "'never': not an instant"),
        (["--promql", "level", "--range", "1d", "--step", "1s"], 2, "86401 steps, of at most 11000"),
        (["--promql", "level + on(x) requests_total"], 1, "level + on(x) requests_total: found duplicate series"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_one_line(store, capsys, arguments, status, words):
    """The expression or option, what is wrong with it; status 2 where the command line is to be mended."""
    found = said(capsys, "query", store, *arguments)
    assert found[0] == status
    assert found[2][-1].startswith(f"rondo: {words}")


def test_an_alert_is_an_exit_status_and_the_series_that_fire(store, capsys):
    """0 and silence where nothing fires; 1 and a line for each series that does; 2 and 3 where nobody can tell."""
    assert said(capsys, "alert", store, "level > 100") == (0, [], [])
    assert said(capsys, "alert", store, "level > 20") == (1, ["fires: level 29"], [])
    assert said(capsys, "alert", store, "level > 20", "--for", "5s")[0] == 1
    assert said(capsys, "alert", store, "level > 20", "--for", "20s")[0] == 0
    assert said(capsys, "alert", store, "level > 20", "--at", "-15s")[0] == 0
    status, lines, _ = said(capsys, "alert", store, "rate(requests_total[10s]) > 0", "--format", "json")
    assert status == 1
    assert [each["labels"]["code"] for each in json.loads("\n".join(lines))] == ["200", "500"]
    assert said(capsys, "alert", store, "level >")[0] == 2
    assert said(capsys, "alert", store, "5 > bool 3")[0] == 2
    assert said(capsys, "alert", store.parent / "none.rondo", "level > 20")[0] == 3
    assert said(capsys, "alert", store, "level + on(x) requests_total")[0] == 3


def test_an_alert_on_a_metric_that_there_is_not_is_warned_of(store, capsys):
    """Misspelt, it would never fire; of what is there and does not fire, or fires for it is absent, nothing is said."""
    warned = said(capsys, "alert", store, "sum(rate(request_total[10s])) > 100")
    assert warned[:2] == (0, [])
    [line] = warned[2]
    assert line.startswith("rondo: request_total: no such series; nearest: requests_total")
    assert said(capsys, "alert", store, "level unless levels")[2] == []
    assert said(capsys, "alert", store, 'requests_total{code="418"} > 0') == (0, [], [])
    assert said(capsys, "alert", store, "level > 20", "--at", "-1h") == (0, [], [])
    assert said(capsys, "alert", store, "absent(levels)")[::2] == (1, [])


def test_no_one_takes_a_store_that_cannot_be_read_for_one_where_nothing_fires(store, capsys):
    """An alert that fires is one; where nothing does, or no store is whole, what was left out makes it unknown."""
    whole, hurt = store, store.with_name("b.rondo")
    record(hurt)
    (hurt / "meta").write_bytes(b"no meta")
    directory = store.parent
    fires, unknown = (said(capsys, "alert", directory, f"level > {bound}", "--at", "-1s") for bound in (5, 500))
    assert (fires[0], unknown[0], unknown[1]) == (1, 3, [])
    assert all("left out: " in each[2][0] and len(each[2]) == 1 for each in (fires, unknown))
    (whole / "meta").write_bytes(b"no meta")
    for command, status in (("query --promql", 1), ("top", 1), ("alert", 3)):
        name, *options = command.split()
        found = said(capsys, name, directory, *options, "level > 5")
        assert (found[0], found[1]) == (status, [])
        assert (
            found[2][-1] == f"rondo: {directory}: no store here or below can be read; repair or move what was left out"
        )


def test_a_directory_is_asked_as_one_store(store, capsys):
    """Sums go over all stores, and each series names its own; what is no store is said."""
    record(store.with_name("b.rondo"), 20)
    (store.parent / "c.rondo").symlink_to(store)
    status, lines, errors = said(capsys, "query", store.parent, "--promql", "sum(requests_total)", "--at", START_S + 19)
    assert (status, lines[-1].split()) == (0, ["{}", "200"])
    assert [line for line in errors if "c.rondo" in line] == [
        f"rondo: left out: {store.parent}/c.rondo: a link; links are not followed"
    ]
    asked = ("--promql", "sum(requests_total)", "--at", START_S + 19, "--format", "csv", "--last", 1)
    status, lines, _ = said(capsys, "query", store.parent, *asked)
    assert (status, lines[-1].rpartition(",")[2]) == (0, "100.0")
    status, _, errors = said(capsys, "query", store, *asked)
    assert (status, errors) == (2, [f"rondo: {store}: one store, and --last is of a directory; leave it out"])
    lines = said(capsys, "top", store.parent, "max by (rondo_store) (level)", "--at", START_S + 19, "--once")[1]
    assert [line.split()[:2] for line in lines[3:]] == [
        ['{rondo_store="a.rondo"}', "19"],
        ['{rondo_store="b.rondo"}', "19"],
    ]


def test_top_prints_one_table_where_nobody_looks(store, capsys):
    """Each metric of the program's own: totals as rates, others as they are, sorted as asked for."""
    status, lines, _ = said(capsys, "top", store)
    assert status == 0
    assert lines[0] == "2023-11-14T22:15:29Z  11 series"
    rows = {line[: line.index("  ")]: line[line.index("  ") :].split()[0] for line in lines[2:]}
    assert rows['requests_total{code="200"} /s'] == "4"
    assert rows["level"] == "29"
    lines = said(capsys, "top", store, "rate(requests_total[10s])", "level", "--sort", "2")[1]
    assert lines[1:3] == ["[1] rate(requests_total[10s])", "[2] level"]
    assert lines[4].split()[:3] == ["{}", "-", "29"]
    assert said(capsys, "top", store, "level", "--sort", "2")[0] == 2


def test_top_follows_its_keys(store):
    """On a terminal the arrows choose what sorts and q ends it, with the terminal as it was before."""
    process, terminal = pty.fork()
    if not process:
        os.environ |= {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
        os.execv(sys.executable, [sys.executable, "-m", "rondo_cli", "top", str(store)])
    shown = b""

    def until(mark):
        nonlocal shown
        while mark not in shown:
            assert select.select([terminal], [], [], 60)[0], shown
            shown += os.read(terminal, 1 << 16)
        shown = shown[shown.index(mark) :]

    until(b"*labels")
    until(b"q quit")
    os.write(terminal, b"\x1b[C")
    until(b"*value")
    until(b"level")
    os.write(terminal, b"q")
    until(b"\x1b[?1049l")
    assert os.waitpid(process, 0)[1] == 0
    os.close(terminal)


def test_a_table_is_sorted_moved_and_cut_to_the_screen():
    """The largest first, what has no value last; a key moves no further than the rows; lines fit."""
    nan = float("nan")
    rows = [TopRow(f"row{n}", (value,), ((value,) * 3,)) for n, value in enumerate((2.0, nan, 5.0, 1.0))]
    names = [row.name for row in ordered(rows, TopView())]
    assert names == ["row2", "row0", "row3", "row1"]
    assert [row.name for row in ordered(rows, TopView(turned=True))] == ["row3", "row0", "row2", "row1"]
    assert [row.name for row in ordered(rows, TopView(sort=0, turned=True))] == ["row3", "row2", "row1", "row0"]
    view = TopView()
    for key in ("down", "down", "down", "down"):
        view = view.after(key, len(rows), 1, 2)
    assert view.first == 2
    assert view.after("left", 4, 1, 2).sort == 0
    assert view.after(" ", 4, 1, 2).held
    assert view.after("x", 4, 1, 2) == view
    lines = frame(TopTable(rows, ("value",), START_S * 1000), TopView(), 60, 7)
    assert len(lines) == 7
    assert max(map(len, lines)) <= 60
    assert sparkline([1.0, nan, 2.0, float("inf")]) == "▁ █ "
