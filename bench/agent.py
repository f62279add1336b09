"""What `rondo agent` costs beside 500 stores: CPU, memory and descriptors of a walk, first and idle, live and dead.

Every store is a monitor's (1.5 MB), with two minutes of 16 series. The exporter only counts.
"""

import resource
import tempfile
import time
from pathlib import Path

from harness import Report, finish, machine, options

from rondo_core import ManualClock, Store
from rondo_core.export import agent as module
from rondo_core.plugins.config_file import Config
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


def walk(agent, report, case):
    """Let the agent go round once; report what that took."""
    before, started, sent = time.process_time(), time.monotonic(), (Counting.samples, Counting.requests)
    done = agent.run_once()
    cpu, wall = time.process_time() - before, time.monotonic() - started
    if done.failures:
        raise RuntimeError(f"{case}: {done.failures[0]}")
    for name, value, unit in (
        ("CPU", cpu * 1000, "ms"),
        ("wall", wall * 1000, "ms"),
        ("RSS", rss_mib(), "MiB"),
        ("descriptors", descriptors(), ""),
        ("samples", Counting.samples - sent[0], ""),
        ("requests", Counting.requests - sent[1], ""),
    ):
        report.case(f"{case}: {name}", [value], unit)


def main():
    """Walk over stores whose writers are gone, then over stores that are written."""
    asked = options(__doc__ or "", stores={"type": int, "default": 500, "help": "how many"})
    report = Report("agent", asked, machine("rondo-tsdb"), __doc__ or "")
    module.open_exporter = lambda *_: Counting()
    for live in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            kept = []
            for number in range(asked.stores):
                clock = ManualClock(time.time_ns() - 130 * 10**9)
                store, handles = make(Path(folder) / f"vm{number}.rondo", clock, 120)
                if live:
                    kept.append((store, clock, handles))
                else:
                    store.close()
            agent = module.Agent(folder, Config(exporters={"counting": {}}, agent={}))
            kind = f"{asked.stores} {'live' if live else 'dead'} stores"
            report.case(f"{kind}, before: RSS", [rss_mib()], "MiB")
            walk(agent, report, f"{kind}, all to send")
            if live:
                for store, clock, handles in kept:
                    fill(store, clock, 10, *handles)
                time.sleep(12)
                walk(agent, report, f"{kind}, ten seconds more")
            walk(agent, report, f"{kind}, nothing new")
            agent.close()
            for store, *_ in kept:
                store.close()
    report.save()


if __name__ == "__main__":
    finish(main)
