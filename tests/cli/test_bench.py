"""`rondo bench` measures on the machine where it is asked, and tells it as a table or as one object a case."""

import json
import subprocess
import sys

import pytest

from rondo_cli.bench import FAMILIES
from rondo_cli.main import run

KEYS = {"bench", "case", "value", "unit", "peer", "ratio", "n", "spread"}


@pytest.fixture(scope="module")
def measured():
    command = [sys.executable, "-m", "rondo_cli", "bench", "--repeat", "2", "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not said.stderr
    return [json.loads(line) for line in said.stdout.splitlines()]


def test_every_family_has_cases_that_took_time(measured):
    """A case has a value above nothing, its unit, the number of runs, and a ratio where it stands beside another."""
    assert {case["bench"] for case in measured} == set(FAMILIES)
    for case in measured:
        assert case.keys() == KEYS
        assert case["value"] > 0
        assert case["unit"] == "ns"
        assert case["n"] == 2
        assert (case["ratio"] is None) == (not case["peer"])


def test_what_a_case_stands_beside_is_a_case_too(measured):
    """So that a reader sees both values of a ratio; prometheus_client is among them where it is installed."""
    names = {case["case"] for case in measured}
    assert {case["peer"] for case in measured if case["peer"]} <= names
    assert {"counter.inc", "prometheus_client Counter.inc"} <= names


def test_one_family_alone_as_a_table(capsys):
    """Only what was asked for is measured; the first line names the machine."""
    assert run(["bench", "tick", "--repeat", "1"]) == 0
    first, heads, _, *rows = capsys.readouterr().out.splitlines()
    assert "hot path" in first
    assert heads.split()[:2] == ["case", "median"]
    assert rows
    assert all(row.startswith("tick ") for row in rows)


def test_an_unknown_family_is_refused(capsys):
    """With the names that there are."""
    assert run(["bench", "sleep"]) == 2
    assert "'write', 'tick'" in capsys.readouterr().err
