"""Ended lives as `rondo run` leaves them, made in simulated time, and each sample that a receiver must have of them.

What is expected is computed here, by numpy, and not read back from the stores. No value has more than 12 significant
digits: VictoriaMetrics keeps no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core import ManualClock, Store
from rondo_job.schemas import job_schemas

S = 10**9
JOBS = ("build", "lint", "unit", "integration", "package")
COMMITS = 20
# What `rondo run` records of a tree of processes, by name, further labels, and the largest step of a second.
COUNTERS = (
    ("job_cpu_seconds_total", {"mode": "user"}, 2.0),
    ("job_cpu_seconds_total", {"mode": "system"}, 0.5),
    ("job_io_bytes_total", {"direction": "read"}, 1 << 20),
    ("job_io_bytes_total", {"direction": "write"}, 1 << 18),
    ("job_context_switches_total", {"kind": "voluntary"}, 900),
    ("job_context_switches_total", {"kind": "involuntary"}, 90),
    ("job_page_faults_total", {"kind": "minor"}, 4000),
    ("job_page_faults_total", {"kind": "major"}, 3),
    ("job_network_bytes_total", {"direction": "receive"}, 1 << 16),
    ("job_network_bytes_total", {"direction": "transmit"}, 1 << 14),
)
GAUGES = (
    ("job_memory_bytes", {}, 1 << 24),
    ("job_memory_file_bytes", {}, 1 << 22),
    ("job_processes", {}, 3),
    ("job_threads", {}, 9),
    ("job_open_files", {}, 20),
)
# Own series of a store tell of itself; a fleet's receivers are not sent them.
MATCH = '{__name__!~"rondo_.*"}'
Key = frozenset[tuple[str, str]]


@attrs.frozen
class EndedLife:
    """One life. Attributes: `name`, of its store and its label `instance`; `started_ns`, in the middle of a second."""

    number: int
    name: str
    job: str
    commit: str
    started_ns: int
    seconds: int

    def stamps_ms(self) -> NDArray[np.int64]:
        """Give the timestamps of its samples: int64 [seconds], the first moment of each second."""
        return np.arange(self.seconds, dtype=np.int64) * 1000 + self.started_ns // S * 1000

    def values(self) -> NDArray[np.float64]:
        """Give what it recorded: float64 [series, seconds], counters first, as they stand in each second."""
        rng = np.random.default_rng(self.number)
        counters = np.array([[top] for _, _, top in COUNTERS])
        steps = np.floor(rng.random((len(COUNTERS), self.seconds)) * counters * 64) / 64
        steps[2:] = np.floor(steps[2:])
        tops = np.array([[top] for _, _, top in GAUGES])
        walk = np.abs(np.cumsum(np.round((rng.random((len(GAUGES), self.seconds)) - 0.4) * tops), axis=1)) + 1
        return np.concatenate([np.cumsum(steps, axis=1), walk])

    def expected(self) -> Iterator[tuple[Key, NDArray[np.int64], NDArray[np.float64]]]:
        """Give each series as a receiver has it, labels, ms and values: with the sample of 0 before a total's first."""
        stamps = self.stamps_ms()
        with_zero = np.concatenate([[stamps[0] - 1000], stamps])
        for (name, labels, _), values in zip(COUNTERS + GAUGES, self.values(), strict=True):
            key = frozenset({"__name__": name, "instance": self.name, **labels}.items())
            if name.endswith("_total"):
                yield key, with_zero, np.concatenate([[0.0], values])
            else:
                yield key, stamps, values


def plan(count: int, end_s: int, spread_s: int, seconds: int | None = None) -> list[EndedLife]:
    """Plan lives that ended between `end_s` and `spread_s` before it, the oldest first.

    Args: `seconds`, that each lives; None: 20 to 100, 60 in the mean.
    """
    lives = []
    for number in range(count):
        lasts = seconds or 20 + number * 37 % 81
        ended_s = end_s - spread_s + spread_s * (number + 1) // count
        job = JOBS[number % len(JOBS)]
        name = f"{job}-tree-{1000 + number}"
        commit = f"{number * 7 % COMMITS:07x}"
        lives.append(EndedLife(number, name, job, commit, (ended_s - lasts) * S + S // 2, lasts))
    return lives


def record(folder: Path, life: EndedLife) -> Path:
    """Record a life, of a process that ends well, into a store of its own below `folder`."""
    clock = ManualClock(life.started_ns)
    path = folder / f"{life.name}.rondo"
    with Store(path, job_schemas(S), clock=clock) as store:
        counters = [store.counter(name, labels) for name, labels, _ in COUNTERS]
        gauges = [store.gauge(name, labels, peaks=True) for name, labels, _ in GAUGES]
        values = life.values()
        steps = np.diff(values[: len(COUNTERS)], prepend=0.0, axis=1).T.tolist()
        levels = values[len(COUNTERS) :].T.tolist()
        for added, level in zip(steps, levels, strict=True):
            for counter, step in zip(counters, added, strict=True):
                counter.inc(step)
            for gauge, value in zip(gauges, level, strict=True):
                gauge.set(value)
            store.tick()
            clock.advance(1)
    return path


@attrs.define
class Comparison:
    """What a receiver has, beside what was recorded, in points.

    Attributes: `missing`; `different`, by value, or of an instant or a series at which nothing was recorded; `again`,
        stored twice, equal.
    """

    points: int = 0
    missing: int = 0
    different: int = 0
    again: int = 0


def compare(
    lives: list[EndedLife], arrived: Mapping[Key, tuple[Any, Any]], *, zeroes: bool = True, shift_ms: int = 0
) -> Comparison:
    """Hold what arrived, labels -> (ms, values), against what was recorded.

    Args: `zeroes`: a total's sample of 0 is sent; `shift_ms`: how much later than its bucket a sample is stamped.
    """
    found = Comparison()
    unseen = set(arrived)
    for life in lives:
        for key, stamps, values in life.expected():
            if not zeroes and len(stamps) > life.seconds:
                stamps, values = stamps[1:], values[1:]  # noqa: PLW2901 - cut
            stamps = stamps + shift_ms  # noqa: PLW2901
            found.points += len(stamps)
            if key not in arrived:
                found.missing += len(stamps)
                continue
            unseen.discard(key)
            there_ms, there = (np.asarray(each) for each in arrived[key])
            places = np.searchsorted(stamps, there_ms)
            known = (places < len(stamps)) & (stamps[np.minimum(places, len(stamps) - 1)] == there_ms)
            found.different += int(np.count_nonzero(~known))
            found.different += int(np.count_nonzero(values[places[known]] != there[known]))
            distinct = len(np.unique(places[known]))
            found.missing += len(stamps) - distinct
            found.again += int(np.count_nonzero(known)) - distinct
    for key in unseen:
        found.different += len(arrived[key][0])
    return found
