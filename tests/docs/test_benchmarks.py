"""The page of benchmarks says what was measured."""

import json
import math
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
KEYS = {"bench", "case", "value", "unit", "peer", "ratio", "n", "spread"}


def test_the_page_is_what_the_results_make():
    """docs/benchmarks.md and its plots are generated: byte by byte what bench/report.py makes of bench/results."""
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
