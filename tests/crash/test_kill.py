"""SIGKILL at any moment loses no sample whose record call returned."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from rondo_core import Store, StoreReader
from rondo_core.maintain.check import check_store

ROUNDS = 15  # the thread that ticks, and the real clock; test_soak.py kills far more often
WRITER = Path(__file__).with_name("writer_process.py")


def run_and_kill(path, acknowledged, after_s):
    """Start the writer, kill it after a while, and give how many increments and observations had returned."""
    process = subprocess.Popen([sys.executable, str(WRITER), str(path), str(acknowledged)], stdout=subprocess.PIPE)
    try:
        assert process.stdout.readline() == b"ready\n"
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    said = acknowledged.read_text().split() if acknowledged.exists() else []
    return (int(said[0]), int(said[1])) if said else (0, 0)


def test_kills_lose_nothing_that_was_recorded(tmp_path):
    """Again and again in one store: what had returned is there, no counter steps back, no row is torn, no ghost shows."""
    path, acknowledged = tmp_path / "s", tmp_path / "acknowledged"
    chance = random.Random(7)
    for _ in range(ROUNDS):
        done, seen = run_and_kill(path, acknowledged, chance.uniform(0.005, 0.25))
        assert check_store(path) == []
        with StoreReader(path) as reader:
            assert reader.writer_pid() is None
            assert reader.runs()[-1].ended == ""
            totals = reader.query("c_total", "all", tier=0)[0]
            gauge = reader.query("g", "all", tier=0)[0]
            observed = reader.query("s", "all", tier=0, fn="total")[0]
            sums, counts = (reader.query("s", "all", tier=0, fn=fn)[0].values for fn in ("sum", "count"))
        # One more may have landed than was acknowledged: the call whose return the kill prevented.
        assert totals.values[-1] in {done, done + 1}
        assert gauge.values[-1] in {done, done + 1}
        assert observed.values[-1] in {seen, seen + 1}
        assert (np.diff(totals.values) >= 0).all()
        assert (np.diff(totals.timestamps_ns) > 0).all()
        assert (sums == counts).all()
        # A gauge that counts up with the total never reads ahead of it, nor behind the second before.
        assert set(gauge.timestamps_ns.tolist()) <= set(totals.timestamps_ns.tolist())
    with Store(path) as store:
        assert int(store.counter("c_total").value) in {done, done + 1}


def test_what_was_consolidated_after_kills_equals_brute_force(tmp_path):
    """Killed again and again inside consolidation, the coarse tier ends as the merge of the finest one."""
    path, acknowledged = tmp_path / "s", tmp_path / "acknowledged"
    chance = random.Random(11)
    for _ in range(6):
        run_and_kill(path, acknowledged, chance.uniform(0.3, 1.2))
        assert check_store(path) == []
    Store(path).close()
    with StoreReader(path) as reader:
        fine = reader.query("g", "all", tier=0)[0]
        coarse = {
            fn: dict(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True))
            for fn in ("min", "max", "sum", "count", "first", "last")
            for data in reader.query("g", "all", tier=1, fn=fn)
        }
    windows = fine.timestamps_ns // 10**10 * 10**10
    assert set(coarse["count"]) == set(windows.tolist())
    for start in set(windows.tolist()):
        values = fine.values[windows == start]
        merged = {"min": min, "max": max, "sum": sum, "count": len, "first": lambda v: v[0], "last": lambda v: v[-1]}
        assert {fn: coarse[fn][start] for fn in coarse} == {fn: read(values.tolist()) for fn, read in merged.items()}
