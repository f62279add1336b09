"""Everything that may befall stores below two agents at once, judged by what the receivers really took."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

STORES = os.environ.get("RONDO_AGENT_STORES", "30")
SEED = os.environ.get("RONDO_SEED", "7")


def test_whatever_befalls_stores_and_agents_nothing_is_lost_or_invented(tmp_path):
    """Every sample that was recorded arrives at both receivers, with its value, before its store may go.

    Stores are made, made anew, renamed, swapped, opened again, forbidden, damaged, refused and killed; agents are
    killed; receivers refuse, are busy, drip, vanish, and take what they do not acknowledge. Stores that are damaged or
    were refused are the only ones that are still there in the end.
    """
    pytest.importorskip("rondo_exporter_prometheus", reason="the exporter prometheus is not installed")
    command = [sys.executable, str(Path(__file__).with_name("chaos.py")), str(tmp_path / "chaos"), STORES, SEED]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3000)
    assert not done.returncode, done.stderr[-4000:]
    said = json.loads(done.stdout)
    print(json.dumps(said) if said["surplus"] else {name: value for name, value in said.items() if name != "said"})
    counts = {name: said[name] for name in ("missing", "different", "deleted without acknowledgement")}
    assert counts == {"missing": 0, "different": 0, "deleted without acknowledgement": 0}, said
    assert said["left"] == said["to be kept"], said
    assert said["samples"] > 10 * int(STORES)
    assert said["agents killed"] > 0
    assert said["answers"]["well"] < sum(said["answers"].values())
