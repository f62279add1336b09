"""A program whose descriptors, or whose disk, have come to an end: it declares, ticks and closes as ever, and raises nothing."""

import subprocess
import sys

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader
from rondo_core.errors import CapacityError
from rondo_core.maintain.check import check_store

SCHEMAS = [Schema("c", "counter", 8, (("1s", "2m"), ("10s", "10m")))]
PROGRAM = """
import os, resource, sys
from rondo_core import ManualClock, Schema, Store
clock = ManualClock()
store = Store(sys.argv[1], [Schema("c", "counter", 8, (("1s", "2m"), ("10s", "10m")))], clock=clock, strict="strict" in sys.argv)
known = store.counter("known_total")
if "descriptors" in sys.argv:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    held = []
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
else:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
late = store.counter("late_total")
for _ in range(25):
    known.inc()
    late.inc()
    store.tick()
    clock.advance(1)
store.close()
"""


def run(*args):
    return subprocess.run([sys.executable, "-c", PROGRAM, *map(str, args)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", ["descriptors", "disk"])
def test_what_was_declared_before_is_recorded_and_the_program_goes_on(tmp_path, what):
    """What could not be done is said in a line each; the next writer does it, and the store is sound."""
    path = tmp_path / "s.rondo"
    done = run(path, what)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    # What logs is not loaded without a descriptor.
    assert (f"{path}: its end is not on record" in done.stderr) == (what == "disk")
    with Store(path, SCHEMAS, clock=ManualClock(ManualClock()() + 60 * 10**9)) as store:
        store.counter("late_total").inc()
    with StoreReader(path) as reader:
        assert reader.query("known_total", "all", tier=0)[0].values.tolist()[24] == 25.0
        assert reader.query("known_total", "all", tier=1)[0].values.tolist()[:2] == [10.0, 20.0]
    assert check_store(path) == []


def test_a_strict_store_says_that_its_disk_takes_no_series(tmp_path):
    """By the error that it has where it is full, with the disk's own as its cause."""
    done = run(tmp_path / "s.rondo", "disk", "strict")
    assert done.returncode == 1
    assert f"{CapacityError.__name__}: {tmp_path}/s.rondo/series: File too large; look at the disk" in done.stderr
