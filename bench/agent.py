"""What `rondo agent` costs beside 500 stores: CPU, memory and descriptors of a walk, first and idle, live and dead.

Every store is a monitor's (1.5 MB), with two minutes of 16 series. The exporter only counts.
Run: python bench/agent.py [STORES]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from harness import machine

from rondo_core import ManualClock, Store
from rondo_core.config import Config
from rondo_core.export import agent as module
from rondo_vmm import VMM_SCHEMAS


class Counting:
    """Takes everything."""

    samples = requests = 0

    def send(self, batch):
        """Count it."""
        Counting.samples += batch.n_samples
        Counting.requests += 1

    def close(self):
        """Hold nothing."""


def make(path, clock, seconds):
    store = Store(path, VMM_SCHEMAS, clock=clock)
    handles = [store.counter("vcpu_exits_total", reason=n) for n in range(11)]
    gauges = [store.gauge("g", n=n) for n in range(3)]
    summaries = [store.summary("s", n=n) for n in range(2)]
    fill(store, clock, seconds, handles, gauges, summaries)
    return store, (handles, gauges, summaries)


def fill(store, clock, seconds, handles, gauges, summaries):
    for second in range(seconds):
        for each in handles:
            each.inc()
        for each in gauges:
            each.set(second)
        for each in summaries:
            each.observe(second)
        store.tick()
        clock.advance(1)


def rss_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def walk(agent, what):
    before, started, sent = time.process_time(), time.monotonic(), (Counting.samples, Counting.requests)
    done = agent.run_once()
    cpu, wall = time.process_time() - before, time.monotonic() - started
    print(
        f"{what:28} {done.stores} stores, {done.live} live: CPU {cpu:6.2f} s, wall {wall:6.2f} s,"
        f" RSS {rss_mib():5.0f} MiB,"
        f" {descriptors()} descriptors, {Counting.samples - sent[0]} samples in {Counting.requests - sent[1]} requests"
    )
    assert not done.failures, done.failures[:2]


def main(n_stores):
    print(machine())
    module.open_exporter = lambda *_: Counting()
    for live in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            kept = []
            for number in range(n_stores):
                clock = ManualClock(time.time_ns() - 130 * 10**9)
                store, handles = make(Path(folder) / f"vm{number}.rondo", clock, 120)
                if live:
                    kept.append((store, clock, handles))
                else:
                    store.close()
            agent = module.Agent(folder, Config(exporters={"counting": {}}, agent={}))
            kind = "live" if live else "dead"
            print(f"{kind}: before the first walk RSS {rss_mib():.0f} MiB, {descriptors()} descriptors")
            walk(agent, "first walk, all to send")
            if live:
                for store, clock, handles in kept:
                    fill(store, clock, 10, *handles)
                time.sleep(12)
                walk(agent, "ten seconds more")
            walk(agent, "nothing new")
            agent.close()
            for store, *_ in kept:
                store.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
