"""What a sample costs as a line of CSV and of JSON, in CPU: from the store to the disk, cursor included.

Whole numbers are what counters of events and gauges of bytes hold; numbers of 17 digits are what means, ratios and
measured times do, of which Python's own `repr` takes most; a summary's line carries four.
"""

import os
import random

from harness import Report, finish, machine, options, process_ns, temporary_folder

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.export import open_runner
from rondo_core.export.cursor import cursor_path

SERIES, SECONDS = 50, 1000
TIERS = (Tier("1s", f"{SECONDS + 10}s"),)


def make(path, kind, draw):
    """Record so many series of one kind."""
    clock = ManualClock()
    with Store(path, [Schema("all", kind, SERIES, TIERS)], clock=clock) as store:
        handles = [getattr(store, kind)("requests_handled", host="vm1", device=f"disk{n}") for n in range(SERIES)]
        record = [getattr(each, {"counter": "inc", "gauge": "set", "summary": "observe"}[kind]) for each in handles]
        for _ in range(SECONDS):
            for each in record:
                each(draw())
            clock.advance(1)


def send(path, name, file):
    """Send a store to a file; give the CPU that a sample took, ns."""
    cursor_path(path, name).unlink(missing_ok=True)
    file.unlink(missing_ok=True)
    with StoreReader(path) as reader:
        began = process_ns()
        outcome = open_runner(reader, name, {"path": str(file)}).finish(1, 600)
        spent = process_ns() - began
    if outcome.samples < SERIES * SECONDS:
        raise RuntimeError(f"{name}: {outcome.samples} samples of {SERIES * SECONDS}: {outcome.error}")
    return spent / outcome.samples


def main():
    """Send stores of one kind of value each."""
    asked = options(__doc__ or "")
    report = Report("lines", asked, machine("rondo-tsdb"), __doc__ or "")
    chance = random.Random(1)
    with temporary_folder("/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:  # noqa: PTH112
        for title, kind, draw in (
            ("counters of whole numbers", "counter", lambda: chance.randrange(100)),
            ("gauges of whole numbers", "gauge", lambda: chance.randrange(1 << 34)),
            ("gauges of 17 digits", "gauge", chance.random),
            ("summaries of whole numbers", "summary", lambda: chance.randrange(1000)),
            ("summaries of 17 digits", "summary", chance.random),
        ):
            store = folder / f"{title.replace(' ', '_')}.rondo"
            make(store, kind, draw)
            for name in ("csv", "jsonl"):
                runs = [send(store, name, folder / "out") for _ in range(asked.repeat + 1)]
                report.case(f"{name}, {title}", runs[1:], "ns")
    report.save()


if __name__ == "__main__":
    finish(main)
