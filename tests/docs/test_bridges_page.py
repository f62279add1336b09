"""The page of bridges: its programs run, and record what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "bridges.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
AFTER = {
    "starlette": "from starlette.testclient import TestClient\nassert TestClient(app).get('/users/a').text == 'hello'",
    "flask": "assert app.test_client().get('/none').status_code == 404",
    "record_registry": "store.tick()\nassert store.query('jobs_total{kind=mail}')[0].values[-1] == 1",
    "MultiProcessCollector": "assert b'requests_total{code=\"200\"} 1.0' in metrics()",
    "opentelemetry": "provider.shutdown()",
}


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0][:50] for block in BLOCKS])
def test_a_program_of_the_page_runs(block, tmp_path):
    """As it stands, with nothing before it."""
    more = "\n".join(after for word, after in AFTER.items() if word in block)
    command = [sys.executable, "-c", f"{block}\n{more}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_series_of_the_page_is_one_of_the_code_and_the_other_way_round():
    """A name that was changed in one of both is missed by users."""
    folder = Path(__file__).parents[2] / "rondo_bridges"
    code = "".join(path.read_text() for path in folder.rglob("*.py"))
    named = set(re.findall(r'"((?:http|celery)_[a-z_]+(?:total|seconds|progress))"', code))
    assert named == set(re.findall(r"`((?:http|celery)_[a-z_]+(?:total|seconds|progress))", PAGE))
    assert len(named) >= 10
