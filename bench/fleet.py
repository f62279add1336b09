"""What one `rondo agent` takes for a fleet of short lives: CPU a life, memory over a simulated day, and its start.

Lives of half a minute, each a store of its own with 16 series, end at an even pace between walks, one in ten of them
killed; the agent sends each to its end by remote-write to a receiver that only acknowledges, and deletes it. Time is
simulated, the stores, the agent's work and the requests are real. The agent's own share is what it takes beside the
calls of the exporter, which encode and send. The share of a core is at 10,000 lives an hour.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from children import child
from harness import Report, finish, machine, options, process_ns, temporary_folder

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export import Agent, exporter_thread
from rondo_core.plugins.config_file import Config

LIVES, A_DAY_S, WALK_S, LIFE_S, KILLED_OF = 100_000, 86_400, 30, 30, 10
PER_HOUR = 10_000
TENTHS = 10
TIERS = (Tier("1s", "10m"), Tier("10s", "1h"))
SCHEMAS = [Schema("counters", "counter", 8, TIERS), Schema("gauges", "gauge", 8, TIERS)]
BEGIN_NS = 1_790_000_000 * 10**9
NS_PER_MS, NS_PER_HOUR = 10**6, 3600 * 10**9


class Timed:
    """An exporter whose calls are timed, in CPU of the thread that makes them."""

    spent_ns = samples = 0

    def __init__(self, exporter: Any) -> None:
        """Pass everything on."""
        self._exporter = exporter

    def send(self, batch: Any) -> int | None:
        """Send it on."""
        began = time.thread_time_ns()
        try:
            return self._exporter.send(batch)
        finally:
            Timed.spent_ns += time.thread_time_ns() - began
            Timed.samples += batch.n_samples

    def close(self) -> None:
        """Close it."""
        self._exporter.close()


def live(path: Path, end_ns: int, *, killed: bool) -> None:
    """Record a life that has ended by then."""
    clock = ManualClock(end_ns - LIFE_S * 10**9)
    store = Store(path, SCHEMAS, clock=clock)
    counters = [store.counter("events_total", kind=n) for n in range(8)]
    gauges = [store.gauge("used_bytes", kind=n) for n in range(8)]
    for second in range(LIFE_S):
        for each in counters:
            each.inc()
        for each in gauges:
            each.set(second)
        store.tick()
        clock.advance(1)
    if not killed:
        store.close()


def live_all(folder: Path, first: int, count: int, end_ns: int) -> None:
    """Record lives in a process of their own; who is killed among them ends with it."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            for number in range(first, first + count):
                live(folder / f"life{number}.rondo", end_ns, killed=not number % KILLED_OF)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("a process that records lives failed")


def resident_mib() -> float:
    """Read this process's memory, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def day(report: Report, folder: Path, table: dict[str, Any], lives: int) -> None:
    """Let a day of lives go through one agent."""
    opened = exporter_thread.open_exporter
    exporter_thread.open_exporter = lambda *given: Timed(opened(*given))  # type: ignore[assignment]
    clock = ManualClock(BEGIN_NS)
    config = Config(exporters={"prometheus": table}, agent={"after": "delete", "interval": float(WALK_S)})
    agent, n_walks = Agent(folder, config, clock=clock), A_DAY_S // WALK_S
    done, spent_ns, deleted, memory = 0, 0, 0, list[float]()
    shares, owns = list[float](), list[float]()
    tenth_of, tenth_ns, tenth_sent_ns = 0, 0, 0
    for walk in range(1, n_walks + 1):
        clock.advance(WALK_S)
        due = lives * walk // n_walks
        if due == done:
            continue
        live_all(folder, done, due - done, clock())
        done, began = due, process_ns()
        result = agent.run_once()
        spent_ns += process_ns() - began
        deleted += result.deleted
        if result.failures:
            raise RuntimeError(result.failures[0])
        if done * TENTHS // lives > len(memory):
            memory.append(resident_mib())
            count, ns, sent_ns = done - tenth_of, spent_ns - tenth_ns, Timed.spent_ns - tenth_sent_ns
            shares.append(ns / count / NS_PER_MS)
            owns.append((ns - sent_ns) / count / NS_PER_MS)
            tenth_of, tenth_ns, tenth_sent_ns = done, spent_ns, Timed.spent_ns
    agent.close()
    if deleted != lives or Timed.samples < lives * 16 * LIFE_S:
        raise RuntimeError(f"{deleted} of {lives} lives deleted, {Timed.samples} samples sent")
    report.case("CPU a life", shares, "ms")
    report.case("CPU a life, but for encoding and sending", owns, "ms")
    a_core = [own * NS_PER_MS * PER_HOUR / NS_PER_HOUR * 100 for own in owns]
    report.case(f"the same of a core, of {PER_HOUR:,} lives an hour", a_core, "%")
    report.case("samples", [Timed.samples], "")
    report.case("RSS after the first tenth of the lives", memory[:1], "MiB")
    report.case("RSS after the last", memory[-1:], "MiB")


def start(report: Report, folder: Path, url: str, repeat: int) -> None:
    """Start agents that have one life to send, and end when it is sent."""
    config = folder / "rondo.toml"
    config.write_text(f'[exporters.prometheus]\nurl = "{url}"\n')
    spent = []
    for number in range(repeat):
        stores = folder / f"stores{number}"
        stores.mkdir()
        live_all(stores, 1, 1, time.time_ns())
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "rondo_cli", "agent", stores, "--config", config, "--once"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000)
    report.case("from the start of the command to its end, one life sent: CPU", spent, "ms")


def main() -> None:
    """Measure the day, then the start."""
    asked = options(__doc__ or "", lives={"type": int, "default": LIVES, "help": "how many in the day"})
    report = Report("fleet", asked, machine("rondo-tsdb"), __doc__ or "")
    acknowledge = [sys.executable, Path(__file__).with_name("acknowledge.py")]
    # What a disk takes is not the agent's.
    shared = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        temporary_folder(shared) as directory,
        child(acknowledge, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as receiver,
    ):
        url = f"http://127.0.0.1:{receiver.stdout.readline().strip()}/1"  # type: ignore[union-attr]
        stores = directory / "stores"
        stores.mkdir()
        day(report, stores, {"url": url}, asked.lives)
        start(report, directory, url, asked.repeat)
    report.save()


if __name__ == "__main__":
    finish(main)
