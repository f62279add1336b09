"""The pages of scale and receivers: their tables are what was measured, their formula is as near as is stated, their files can be used."""

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from rondo_core.maintain import check_config
from rondo_core.plugins import read_config

ROOT = Path(__file__).parents[2]
SCALE, RECEIVERS = ((ROOT / "docs" / name).read_text() for name in ("scale.md", "receivers.md"))
CONFIGS = [textwrap.dedent(found) for found in re.findall(r"```toml\n(.*?)^ *```", SCALE, re.DOTALL | re.MULTILINE)]


def test_the_tables_are_what_was_measured_and_the_formula_is_as_near_as_stated():
    """docs/scale.md is what bench/ways_page.py makes of bench/results/ways.json; each formula's check is within its bound."""
    subprocess.run([sys.executable, ROOT / "bench/ways_page.py", "--check"], check=True)


def test_nothing_was_missing_or_different_when_it_was_measured():
    """In each row with a receiver the counts of missing and different samples are 0."""
    table = SCALE.partition("<!-- measured -->\n")[2].partition("\n\n")[0].splitlines()
    head = [cell.strip() for cell in table[0].split("|")]
    counts = [[cell.strip() for cell in line.split("|")] for line in table[2:]]
    found = {row[1]: (row[head.index("missing")], row[head.index("different")]) for row in counts}
    kept = {way: each for way, each in found.items() if any(each)}
    assert len(kept) >= 6
    assert set(kept.values()) == {("0", "0")}


@pytest.mark.parametrize("text", CONFIGS, ids=[text.splitlines()[0] for text in CONFIGS])
def test_a_file_of_the_page_can_be_used(text, tmp_path):
    """rondo config check finds nothing wrong with it, but for a directory that is not on this machine."""
    (tmp_path / "rondo.toml").write_text(text.replace("/srv/lake", str(tmp_path / "lake")))
    settings, problems = check_config(read_config(tmp_path / "rondo.toml"))
    assert settings
    assert problems == []


def test_the_receivers_of_the_page_are_those_of_the_code():
    """Each has a row, with its limits as the code has them."""
    limits = pytest.importorskip("rondo_exporter_prometheus.limits", reason="the exporter prometheus is not installed")
    table = RECEIVERS[RECEIVERS.index("| `receiver`") :].partition("\n\n")[0].splitlines()[2:]
    rows = {line.split("`")[1]: line for line in table}
    assert set(rows) == set(limits.RECEIVERS)
    for name, row in rows.items():
        known = limits.RECEIVERS[name]
        for value in (known.labels, known.name_bytes, known.value_bytes, known.series, known.samples_per_s):
            inherited = name == "grafana-cloud" and value == known.labels
            assert not value or inherited or re.search(rf"\b({value}|{value:,})\b", row), (name, value)
        assert bool(re.search(r"\b204\b", row)) == known.silent
