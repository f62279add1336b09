"""Write a store at full speed under a clock that runs faster than time, until told to stop. Run by the reader's test.

What it writes keeps promises between columns: see test_live_reader.py.
"""

import os
import sys

from rondo_core import ManualClock, Schema, Store, Tier

TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
SCHEMAS = [Schema("c", "counter", 4, TIERS), Schema("g", "gauge", 64, TIERS), Schema("s", "summary", 4, TIERS)]
WIDTH = 64
OBSERVED = 5
BATCHES = 3


def main(path):
    """Each second of the clock: a few rounds of everything, then a tick; a line on standard input ends it."""
    clock = ManualClock(1_700_000_000 * 10**9)
    store = Store(path, SCHEMAS, clock=clock)
    first, second = store.counter("first_total"), store.counter("second_total")
    batch = store.batch([store.gauge("g", n=n) for n in range(WIDTH)])
    summary = store.summary("s")
    store.tick()
    print("ready", flush=True)
    number = 0
    with open(0, "rb", buffering=0) as told:
        os.set_blocking(told.fileno(), False)
        while told.read(1) is None:
            for _ in range(50):
                number += 1
                value = float(clock.now_ns // 10**9 % 1000 + 1)
                for _ in range(BATCHES):
                    batch.set([float(number + n) for n in range(WIDTH)])
                for _ in range(OBSERVED):
                    summary.observe(value)
                first.inc()
                second.inc()
                if number % 20 == 0:
                    clock.advance(1)
                    store.tick()
    store.close()


if __name__ == "__main__":
    main(sys.argv[1])
