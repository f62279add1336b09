"""What `rondo agent` costs beside 500 stores: CPU, memory and descriptors of a walk, first and idle, live and dead.

Every store is a monitor's (1.5 MB), with two minutes of 16 series. The exporter only counts. Live stores are written by
another process, so what is measured is the agent's alone; both go by one clock, which is moved by hand.
"""

import multiprocessing
import resource
from pathlib import Path

from harness import Report, finish, machine, options, process_ns, temporary_folder

from rondo_core import ManualClock, Store
from rondo_core.export import agent as agents
from rondo_core.export import exporter_thread
from rondo_core.plugins.config_file import Config
from rondo_vmm import VMM_SCHEMAS

BEGIN_NS = 1_790_000_000_000_000_000
SECONDS, MORE_SECONDS, SETTLED_S = 120, 10, 12


class Counting:
    """Takes everything."""

    samples = requests = 0

    def send(self, batch):
        """Count it."""
        Counting.samples += batch.n_samples
        Counting.requests += 1

    def close(self):
        """Hold nothing."""


class Written:
    """A store that is written."""

    def __init__(self, path, clock):
        """Make it, with 16 series."""
        self._clock, self._store = clock, Store(path, VMM_SCHEMAS, clock=clock)
        self._counters = [self._store.counter("vcpu_exits_total", reason=n) for n in range(11)]
        self._gauges = [self._store.gauge("g", n=n) for n in range(3)]
        self._summaries = [self._store.summary("s", n=n) for n in range(2)]
        self.fill(SECONDS)

    def fill(self, seconds):
        """Record so much more."""
        for second in range(seconds):
            for each in self._counters:
                each.inc()
            for each in self._gauges:
                each.set(second)
            for each in self._summaries:
                each.observe(second)
            self._store.tick()
            self._clock.advance(1)

    def close(self):
        """End its run."""
        self._store.close()


def write(pipe, folder, count, live):
    """Make the stores, and hold those that are to be live until they are asked for more, or for their end."""
    held = [Written(folder / f"vm{number}.rondo", ManualClock(BEGIN_NS)) for number in range(count)]
    while True:
        if not live:
            for each in held:
                each.close()
        pipe.send("ready")
        if not live or pipe.recv() == "end":
            return
        for each in held:
            each.fill(MORE_SECONDS)


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def descriptors():
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


def walk(report, agent, case, repeat=1):
    """Let the agent go round, and report what that took."""
    cpus, sent = [], (Counting.samples, Counting.requests)
    for _ in range(repeat):
        before = process_ns()
        done = agent.run_once()
        cpus.append((process_ns() - before) / 1e6)
        if done.failures:
            raise RuntimeError(f"{case}: {done.failures[0]}")
    report.case(f"{case}: CPU", cpus, "ms")
    for name, value, unit in (
        ("RSS", resident_mib(), "MiB"),
        ("descriptors", descriptors(), ""),
        ("samples", Counting.samples - sent[0], ""),
        ("requests", Counting.requests - sent[1], ""),
    ):
        report.case(f"{case}: {name}", [value], unit)


def measure(report, asked, live):
    """Walk over stores of one kind."""
    context, now_s = multiprocessing.get_context("fork"), [SECONDS + SETTLED_S]
    with temporary_folder() as folder:
        ours, theirs = context.Pipe()
        writer = context.Process(target=write, args=(theirs, folder, asked.stores, live), daemon=True)
        writer.start()
        theirs.close()
        ours.recv()
        config = Config(exporters={"counting": {}}, agent={})
        agent = agents.Agent(folder, config, clock=lambda: BEGIN_NS + now_s[0] * 10**9)
        kind = f"{asked.stores} {'live' if live else 'dead'} stores"
        report.case(f"{kind}, before: RSS", [resident_mib()], "MiB")
        report.case(f"{kind}, before: descriptors", [descriptors()], "")
        walk(report, agent, f"{kind}, all to send")
        if live:
            ours.send("more")
            ours.recv()
            now_s[0] += MORE_SECONDS
            walk(report, agent, f"{kind}, ten seconds more")
        walk(report, agent, f"{kind}, nothing new", asked.repeat)
        agent.close()
        if live:
            ours.send("end")
        writer.join()


def main():
    """Walk over stores whose writers are gone, then over stores that are written."""
    asked = options(__doc__ or "", stores={"type": int, "default": 500, "help": "how many"})
    report = Report("agent", asked, machine("rondo-tsdb"), __doc__ or "")
    exporter_thread.open_exporter, agents.check_exporters = lambda *_: Counting(), lambda *_: None
    for live in (False, True):
        measure(report, asked, live)
    report.save()


if __name__ == "__main__":
    finish(main)
