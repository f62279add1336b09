"""The page of PromQL: its programs run, and what it says is refused is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_promql import QuerySyntaxError, errors, parse_query

PAGE = (Path(__file__).parents[2] / "docs" / "promql.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["a-source", "a-budget"])
def test_a_program_of_the_page_runs(block, tmp_path):
    """As it stands, with nothing before it."""
    done = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_kind_of_error_is_in_the_table():
    """With its word."""
    told = dict(re.findall(r"^\| `(\w+Error)` \| `(\w+)` \|", PAGE, re.MULTILINE))
    kinds = {each.__name__: each.error_type for each in vars(errors).values() if isinstance(each, type)}
    assert told == {name: word for name, word in kinds.items() if name != "PromqlError"}


def test_what_is_said_to_be_refused_is():
    """And what is said to be answered parses."""
    refused = PAGE.partition("Refused, as by")[2].partition("\n\n")[0]
    arguments = {"limitk": "1, x", "limit_ratio": "0.5, x", "info": "x", "sort_by_label": 'x, "a"'}
    arguments |= {
        "mad_over_time": "x[1m]",
        "double_exponential_smoothing": "x[1m], 0.1, 0.1",
    }
    names = re.findall(r"`(\w+)`", refused)
    assert set(arguments) == set(names) - {"fill"}
    for name, inside in arguments.items():
        with pytest.raises(QuerySyntaxError, match=r"experimental|not enabled"):
            parse_query(f"{name}({inside})")
