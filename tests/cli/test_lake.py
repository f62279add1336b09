"""`rondo lake`: what it says and how it ends, over a lake that `rondo agent` made."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_cli.main import run
from rondo_core import ManualClock, Schema, Store, Tier

S = 10**9
START_NS = 1_700_000_000 * S
PAGE = (Path(__file__).parents[2] / "docs/lake.md").read_text()


@pytest.fixture
def lake(exported, tmp_path):
    """A copy of them, for a test to change."""
    return shutil.copytree(exported, tmp_path / "lake")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two ended lives of a minute, exported."""
    pytest.importorskip("pyarrow", reason="no exporter parquet")
    directory = tmp_path_factory.mktemp("lake")
    for number in range(2):
        clock = ManualClock(START_NS)
        schemas = [Schema("counters", "counter", 4, (Tier("1s", "10m"),))]
        (directory / "lives").mkdir(exist_ok=True)
        with Store(directory / "lives" / f"job-{number}.rondo", schemas, clock=clock, writer="job") as store:
            for _ in range(60):
                store.counter("done_total").inc(number + 1)
                store.tick()
                clock.advance(1)
    config = directory / "rondo.toml"
    table = f'[exporters.parquet]\ndirectory = "{directory}/lake"\ninstance = "host-1"\n'
    config.write_text(table + '[agent]\ninstance_label = "instance"\n')
    assert run(["agent", str(directory / "lives"), "--once", "--config", str(config)]) == 0
    return directory


def test_sql_and_promql_are_told_apart_and_answered(lake, capsys):
    """What begins like SQL is SQL, in each format; all else is PromQL, at the newest sample unless said otherwise."""
    where = str(lake / "lake")
    question = "SELECT instance, outcome, samples > 100 AS many, ended FROM lives ORDER BY instance"
    assert run(["lake", "query", where, question, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["instance"], row["outcome"], row["many"]) for row in rows] == [
        ("job-0", "well", True),
        ("job-1", "well", True),
    ]
    assert rows[0]["ended"].startswith("2023-11-14T22:14:")
    assert run(["lake", "query", where, question, "--format", "csv"]) == 0
    assert len(list(csv.reader(io.StringIO(capsys.readouterr().out)))) == 3
    labels = "SELECT labels, cells FROM samples WHERE instance = 'job-0' LIMIT 1"
    assert run(["lake", "query", where, labels, "--format", "csv"]) == 0
    [_, cells] = csv.reader(io.StringIO(capsys.readouterr().out))
    assert (json.loads(cells[0]), cells[1]) == ({"instance": "job-0"}, "")
    assert run(["lake", "query", where, "SELECT 0.5 AS half, 'a\x1b[2J' AS odd"]) == 0
    said = capsys.readouterr().out
    assert "0.5" in said
    assert "\x1b" not in said
    assert run(["lake", "query", where, "sum by (instance) (increase(done_total[2m]))"]) == 0
    said = capsys.readouterr().out
    assert '{instance="job-0"}' in said
    assert run(["lake", "query", where, "done_total", "--at", "-30s", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["result"]
    assert {each["metric"]["instance"]: each["value"][1] for each in found} == {"job-0": "30", "job-1": "60"}


def test_a_lake_is_compacted_checked_and_expired(lake, capsys):
    """Each says what it did or found, and ends with 1 where something is wrong."""
    where = str(lake / "lake")
    assert run(["lake", "compact", where]) == 0
    assert "files became" in capsys.readouterr().out
    assert run(["lake", "check", where, "--stores", str(lake / "lives")]) == 0
    said = capsys.readouterr().out
    assert "2 instances, 2 lives" in said
    assert "0 twice, 0 missing, 0 different; 2 stores compared, 0 samples not sent yet" in said
    file = next((lake / "lake").glob("day=*/*/*.parquet"))
    whole = file.read_bytes()
    file.unlink()
    assert run(["lake", "check", where, "--stores", str(lake / "lives"), "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] > 100
    file.write_bytes(whole)
    assert run(["lake", "expire", where, "--keep-for", "20000d"]) == 0
    assert capsys.readouterr().out.startswith("0 days before")
    assert run(["lake", "expire", where, "--keep-for", "1d"]) == 0
    assert capsys.readouterr().out.startswith("1 days before")
    assert not list((lake / "lake").glob("day=*/*/*.parquet"))


COMMANDS = re.findall(r"^ *rondo (lake (?!.* s3://).+?)(?: *#.*)?$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_ends_well(lake, capsys, command):
    """As it stands there, over a lake and stores in the place of its own."""
    words = [
        {"/srv/lake": f"{lake}/lake", "/var/lib/rondo/lives": f"{lake}/lives"}.get(each, each)
        for each in shlex.split(command)
    ]
    assert run(words) == 0, capsys.readouterr().err


def test_a_question_says_which_files_it_left_out(lake, capsys):
    """The answer is of the lake's own files, and each of the others a line on standard error."""
    (file,) = (lake / "lake").glob("day=*/*/*.parquet")
    file.with_name("theirs.parquet").write_bytes(b"no parquet")
    assert (
        run(
            [
                "lake",
                "query",
                str(lake / "lake"),
                "SELECT count(DISTINCT instance) AS n FROM samples",
                "--format",
                "csv",
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert said.out.split() == ["n", "2"]
    assert "left out: day=2023-11-14/from-host-1/theirs.parquet: not a whole Parquet file" in said.err
    assert run(["lake", "query", str(lake / "lake"), "done_total"]) == 0
    assert "left out: day=2023-11-14/from-host-1/theirs.parquet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("done_totl", "done_totl: no such series; nearest: done_total"),
        ('done_total{job="a"}', "done_total has no label job; it has instance"),
        ("done_total offset 1d", "done_total: the oldest sample is of 2023-11-14T22:13:2"),
    ],
)
def test_an_empty_answer_says_why(lake, capsys, question, expected):
    """A near name, a label that none has, when there are samples: as `rondo query` does over stores."""
    assert run(["lake", "query", str(lake / "lake"), question]) == 0
    said = capsys.readouterr()
    assert said.out == "no series\n"
    assert expected in said.err


def test_a_question_that_cannot_be_asked_ends_in_a_line(tmp_path, capsys):
    """No lake, a day that is none, options of the other language; and without the exporter, what to install."""
    assert run(["lake", "query", str(tmp_path / "none"), "SELECT 1"]) == 1
    assert "no lake there; check the path" in capsys.readouterr().err
    assert run(["lake", "query", str(tmp_path), "SELECT 1", "--at", "-3m"]) == 2
    assert "--at: of PromQL" in capsys.readouterr().err
    assert run(["lake", "compact", str(tmp_path), "--day", "monday"]) == 2
    assert "monday: no day; write 2026-11-25" in capsys.readouterr().err
    assert run(["lake", "compact", str(tmp_path), "--day", "20261125"]) == 2
    assert "20261125: no day; write 2026-11-25" in capsys.readouterr().err
    assert run(["lake", "check", str(tmp_path), "--stores", str(tmp_path / "none")]) == 1
    assert "no directory of stores; check the path" in capsys.readouterr().err
    assert run(["lake", "query", str(tmp_path), "up"]) == 0  # there is nothing yet, which is no error
    code = (
        "import sys\nfrom rondo_core.plugins import entrypoints\nentrypoints.find = lambda group: {}\n"
        "from rondo_cli.main import run\nsys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "lake", "check", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert done.returncode == 2
    assert "the exporter parquet is not installed; install the extra rondo-tsdb[parquet]" in done.stderr
