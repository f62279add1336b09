"""What a backlog takes of the memory of whoever sends it: a bounded share, however large the store is."""

import subprocess
import sys

from rondo_core import ManualClock, Schema, Store, Tier

ROWS = 12_000
EXPORT = """
import sys
from pathlib import Path
from rondo_core import StoreReader
from rondo_core.export.runner import Runner

class Taking:
    def send(self, batch):
        pass

    def close(self):
        pass

def kib(name):
    facts = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(facts[name].split()[0])

import numpy
with StoreReader(Path(sys.argv[1])) as reader:
    runner = Runner(reader, Taking(), "x")
    idle = kib("VmRSS")
    outcome = runner.finish(1, 60)
    print(outcome.samples, kib("VmHWM") - idle)
"""


def test_a_large_backlog_is_passed_over_in_bounded_memory(path):
    """A slab of 48 MiB, whose every page is looked at, takes less than half of that at any moment."""
    clock = ManualClock()
    with Store(path, [Schema("g", "gauge", 510, (Tier("1s", f"{ROWS}s"),))], clock=clock) as store:
        gauge = store.gauge("g")
        for second in range(ROWS):
            gauge.set(second)
            clock.advance(1)
        size_kib = max(slab.spec.file_bytes for slabs in store.slabs.values() for slab in slabs) >> 10
    assert size_kib > 46 << 10
    said = subprocess.run([sys.executable, "-c", EXPORT, path], capture_output=True, text=True, check=True).stdout
    samples, more_kib = map(int, said.split())
    assert samples >= ROWS
    assert more_kib < size_kib / 2
