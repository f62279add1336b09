"""The page of benchmarks says what was measured."""

import json
import math
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEYS = {"bench", "case", "value", "unit", "peer", "ratio", "n", "spread"}


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import report

    return report


def test_the_pages_are_what_the_results_make():
    """docs/benchmarks.md and its plots are generated, byte by byte what bench/report.py makes of bench/results; so are
    the figures that other pages have from there.
    """
    subprocess.run([sys.executable, ROOT / "bench/report.py", "--check"], check=True)


def test_every_case_tells_what_it_measures_and_beside_what():
    """A case in bench/results has a value, a unit, the number of runs and their spread; a ratio where it has a peer."""
    cases = [case for path in (ROOT / "bench/results").glob("*.json") for case in json.loads(path.read_text())["cases"]]
    assert {case["bench"] for case in cases} >= {"write_path", "read_path", "scale"}
    for case in cases:
        assert case.keys() - {"target"} == KEYS, case
        assert (case["ratio"] is None) == (not case["peer"]), case
        assert math.isfinite(case["value"]), case
        assert case["spread"][0] <= case["spread"][1], case


RESULTS = {
    "walks": {
        "cases": [
            {"case": "a walk: CPU", "value": 81_099.3, "unit": "us", "peer": "", "ratio": None},
            {"case": "samples", "value": 1_640_000.4, "unit": "", "peer": "", "ratio": None},
            {"case": "a walk", "value": 2.0, "unit": "ms", "peer": "cp -r", "ratio": 0.1404},
            {"case": "a walk", "value": 2.0, "unit": "ms", "peer": "tar", "ratio": 0.0243},
        ]
    }
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("takes 5 ms<!-- walks: a walk: CPU -->; no file", "takes 81.1 ms<!-- walks: a walk: CPU -->; no file"),
        ("| 9<!-- walks: a walk: CPU --> us |", "| 81,099<!-- walks: a walk: CPU --> us |"),
        ("1,0.5<!-- walks: samples --> of them", "1,640,000<!-- walks: samples --> of them"),
        ("9 %<!-- walks: a walk beside cp -r -->", "14 %<!-- walks: a walk beside cp -r -->"),
        ("9<!-- walks: a walk beside tar -->", "0.0243<!-- walks: a walk beside tar -->"),
        ("99 ms, measured <!-- of old --> once", "99 ms, measured <!-- of old --> once"),
    ],
)
def test_a_figure_in_a_page_is_the_one_that_was_measured(report, text, expected):
    """In the unit that stands there, or in its own; of what it was measured beside the ratio; all else stays as it is."""
    assert report.quoted(text, RESULTS, "page.md") == expected


@pytest.mark.parametrize(
    "text",
    ["1<!-- walks: a run -->", "1<!-- runs: a walk -->", "1 MiB<!-- walks: a walk -->", "1 %<!-- walks: a walk -->"],
)
def test_a_figure_that_nobody_measured_is_refused(report, text):
    """A case that is none, and a unit that it is not in, are named with the page."""
    with pytest.raises(ValueError, match=r"^page\.md: 1"):
        report.quoted(text, RESULTS, "page.md")


def test_the_page_names_the_command_of_each_section(report):
    """Each is a target of the Makefile whose recipe runs that benchmark."""
    recipes = {
        target: recipe
        for targets, recipe in re.findall(
            r"^([a-z0-9 -]+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
        )
        for target in targets.split()
    }
    for path in (ROOT / "bench/results").glob("*.json"):
        bench = json.loads(path.read_text())["bench"]
        target = report.COMMANDS.get(bench, "make bench-report").removeprefix("make ")
        named = re.findall(r"bench/(\w+)\.py|in ([\w ]+);", recipes[target])
        assert bench in " ".join(" ".join(each) for each in named).split(), (bench, target)


def test_every_benchmark_leaves_what_the_page_is_made_of():
    """Each that has --out has it of the harness, whose Report is what bench/report.py reads."""
    own = [path.name for path in (ROOT / "bench").glob("*.py") if '"--out"' in path.read_text()]
    assert own == ["harness.py"]


@pytest.mark.parametrize("page", ["docs/limits.md", "CHANGELOG.md"])
def test_a_list_says_each_thing_once(page):
    """Both are merged line by line: what one side had replaced must not come back beside what it was replaced by."""
    text = (ROOT / page).read_text()
    heads = re.findall(r"^- \*\*(.+?)\*\*", text, re.MULTILINE)
    sentences = [each for each in re.split(r"(?<=[.;:]) ", " ".join(text.split())) if len(each) > 40]
    assert [each for each, n in Counter([*heads, *sentences]).items() if n > 1] == []
