"""Random expressions over random series are answered as a real Prometheus answers them; see compared.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COUNT = os.environ.get("RONDO_PROMQL_EXPRESSIONS", "300")
SEED = os.environ.get("RONDO_PROMQL_SEED", "0")


@pytest.mark.prometheus
def test_no_answer_differs_from_that_of_prometheus():
    """Gaps, resets, stale ends, NaN, infinities; what it refuses is refused."""
    command = [sys.executable, str(Path(__file__).with_name("compared.py")), SEED, COUNT]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"different: 0 of {COUNT}" in done.stdout


@pytest.mark.prometheus
def test_no_answer_differs_where_prometheus_reads_a_store_remotely():
    """The same over a store: by its own engine, over the bytes that it is given, Prometheus answers as rondo does."""
    count = COUNT if "RONDO_PROMQL_EXPRESSIONS" in os.environ else "60"
    command = [sys.executable, str(Path(__file__).with_name("compared.py")), SEED, count, "--stored"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=3500)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert f"different: 0 of {count}" in done.stdout
