"""Record as fast as it can and say after each call what has returned, until killed. Run by the crash tests."""

import os
import sys

from rondo_core import Store


def main(path, acknowledged):
    """Write `index` into every series, then both counts into the file `acknowledged`, over and over."""
    store = Store(path, tick_interval_s=0.1)
    counter, gauge, summary = store.counter("c_total"), store.gauge("g"), store.summary("s")
    index, totals = int(counter.value), store.query("s", fn="total", tier=0)[0].values
    observed = int(totals[-1]) if len(totals) else 0
    descriptor = os.open(acknowledged, os.O_RDWR | os.O_CREAT)
    ready = False
    while True:
        index += 1
        counter.inc()
        gauge.set(index)
        summary.observe(1.0)
        observed += 1
        os.pwrite(descriptor, f"{index:<20d} {observed:<20d}".encode(), 0)
        if index % 5000 == 0 and len(store.registry) < 30:
            store.gauge("more", n=index).set(index)
        if not ready:  # something has been recorded, however soon the kill comes
            ready = True
            print("ready", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
