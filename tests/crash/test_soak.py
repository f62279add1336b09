"""A process killed at any step of anything it does leaves what an undisturbed one would have."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import Store, StoreReader

HERE = Path(__file__).parent
KILLS = int(os.environ.get("RONDO_KILLS", "100"))
# A change is judged by the same kills on every run, at fault points; the soak kills at any instant too.
INSTANTS = "any" if "RONDO_KILLS" in os.environ else "points"
SEED = os.environ.get("RONDO_SEED", "1")


def test_killed_at_any_fault_point_and_at_any_instant(tmp_path):
    """Nothing returned is lost, nothing is torn, no ghost shows, and every tier ends as in a run without kills.

    Counters, gauges, batches, summaries, late records, declarations, folds through three tiers, cursors, clocks that
    jump and step back, restarts: killed RONDO_KILLS times, and after each compared with a store that was not.
    """
    command = [sys.executable, str(HERE / "soak.py"), str(tmp_path / "soak"), str(KILLS), SEED, INSTANTS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr[-6000:]
    said = json.loads(done.stdout)
    assert said["deaths"] >= KILLS
    assert said["steps"] > 40 * KILLS
    assert said["landed"] > 0  # calls of which the kill took only the return


def killed_at(fault, code, path):
    armed = f"from rondo_core import faults; faults.arm({fault!r})\n{code}"
    return subprocess.run([sys.executable, "-c", armed, str(path)], check=False, capture_output=True, text=True)


CREATE = "import sys; from rondo_core import Store; Store(sys.argv[1]).close()"


@pytest.mark.parametrize("fault", ["create.meta:1", "create.slab:1", "create.slab:5", "create.whole:1"])
def test_a_store_is_made_whole_or_not_at_all(fault, path):
    """Killed while it makes the store, a process leaves none; the next one makes it."""
    assert killed_at(fault, CREATE, path).returncode == -signal.SIGKILL
    assert not path.exists()
    with Store(path) as store:
        store.counter("c_total").inc()


def test_a_store_that_has_its_name_is_whole(path):
    """Killed the moment after the store took its name, a process leaves one that opens and is empty."""
    assert killed_at("create.named:1", CREATE, path).returncode == -signal.SIGKILL
    with StoreReader(path) as reader:
        assert list(reader.registry) == []


def test_a_half_written_series_is_cut_off(path):
    """Killed in the middle of a declaration, the journal ends at the series before it, and goes on from there."""
    code = "import sys; from rondo_core import Store; s = Store(sys.argv[1]); [s.gauge('g', n=n) for n in range(9)]"
    assert killed_at("journal.append.half:5", code, path).returncode == -signal.SIGKILL
    with StoreReader(path) as reader:
        assert reader.registry.torn_bytes > 0
    with Store(path) as store:
        kept = sum(series.name == "g" for series in store.registry)
        assert kept < 9
        store.gauge("h").set(4.0)
        assert store.query("h")[0].values.tolist() == [4.0]


def test_a_fault_that_cannot_be_read_is_said_in_one_line(path):
    """What is wrong is named, and what to write."""
    done = killed_at("fold.block", CREATE, path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("fold.block: not a fault; write NAME:N or *:N")
