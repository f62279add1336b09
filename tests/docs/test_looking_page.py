"""The page of looking: its program runs, and its table of series is what a store has."""

import re
import subprocess
import sys
from pathlib import Path

from rondo_core import Store
from rondo_core.model.prometheus import QUANTILES

PAGE = (Path(__file__).parents[2] / "docs" / "looking.md").read_text()


def test_the_program_of_the_page_runs(tmp_path):
    """As it stands, with nothing before it."""
    [block] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_table_names_every_series_of_each_kind(tmp_path):
    """Under the names that the page says, and no others."""
    table = PAGE.partition("| of a |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`(x\w*)`", table))
    with Store(tmp_path / "s.rondo") as store:
        store.counter("x_total").inc()
        store.gauge("x_level").set(1)
        store.summary("x", quantiles=True).observe(1)
        metrics = {name for name in store.source().metadata() if name.startswith("x")}
    assert metrics - {"x_level", "x_bucket"} == named
    assert "`x_bucket{le=" in table
    assert all(f"{float(each.quantile):g}" in table for each in QUANTILES)
