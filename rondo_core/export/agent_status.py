"""How an agent fares, in words for a probe and in numbers for a scraper; asked from any thread, while it walks.

Only what a restart mends makes an agent unhealthy: a receiver that is away, or a store that does not read, it tells of
in its failures and goes on.
"""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_core.export.exposition import SummaryValue, Value
from rondo_core.model.labels import Kind, Series

if TYPE_CHECKING:
    from rondo_core.export.agent import Pass
    from rondo_core.export.exporter_thread import ExporterThread

MAX_TOLD = 20  # failures, in a probe's answer
_OVERDUE_WALKS, _OVERDUE_LEAST_S = 3, 60.0


class AgentHealth(NamedTuple):
    """Whether an agent is at work, and what it has to say.

    Attributes: `well`: whether it walks, and no exporter hangs; `facts`: as JSON has them.
    """

    well: bool
    facts: dict[str, object]


class AgentStatus:
    """What an agent's walks have come to since it began."""

    def __init__(self, threads: list[ExporterThread], interval_s: float) -> None:
        """Count nothing yet. Args: `interval_s`: at most so much lies between two walks."""
        self._threads, self._interval_s = threads, interval_s
        self._busy = threading.Lock()
        self._began_ns = self._ended_ns = monotonic_ns()  # of the process, or of the last walk
        self._n_walks, self._walks_s, self._ended_at_ns = 0, 0.0, 0
        self._last: Pass | None = None
        self._finished = {"archived": 0, "deleted": 0}

    def begin_walk(self) -> None:
        """Take note that a walk begins."""
        with self._busy:
            self._began_ns = monotonic_ns()

    def end_walk(self, result: Pass) -> None:
        """Take note of what a walk has found and done."""
        with self._busy:
            self._ended_ns, self._ended_at_ns = monotonic_ns(), wall_ns()
            self._n_walks += 1
            self._walks_s += (self._ended_ns - self._began_ns) / NS_PER_S
            self._last = result
            self._finished["archived"] += result.archived
            self._finished["deleted"] += result.deleted

    def health(self) -> AgentHealth:
        """Say whether the agent is at work: a walk has ended of late, and no exporter hangs."""
        with self._busy:
            last, age_s = self._last, (monotonic_ns() - self._ended_ns) / NS_PER_S
        hanging = [thread.name for thread in self._threads if thread.hangs]
        overdue = age_s > max(_OVERDUE_WALKS * self._interval_s, _OVERDUE_LEAST_S)
        failures = [] if last is None else last.failures
        status = "stuck" if overdue or hanging else "starting" if last is None else "failing" if failures else "ok"
        return AgentHealth(
            status != "stuck",
            {
                "status": status,
                "last_walk_age_s": None if last is None else round(age_s, 3),
                "stores": 0 if last is None else last.stores,
                "live": 0 if last is None else last.live,
                "hanging": hanging,
                "failures": failures[:MAX_TOLD],
                "more_failures": max(0, len(failures) - MAX_TOLD),
            },
        )

    def metrics(self) -> list[tuple[Series, Value]]:
        """Give what a scraper is told: the agent's own series, and where each stands."""
        with self._busy:
            told = [*self._of_walks()]
        told += self._of_exporters()
        return [*told, *_of_process()]

    def _of_walks(self) -> Iterator[tuple[Series, Value]]:
        walks = SummaryValue(self._n_walks, self._walks_s)
        yield _series("rondo_agent_walk_seconds", "summary", "Walks over the directory.", unit="seconds"), walks
        if self._last is None:
            return
        name, help_text = "rondo_agent_last_walk_timestamp_seconds", "When the last walk ended."
        yield _series(name, help_text=help_text, unit="seconds"), self._ended_at_ns / NS_PER_S
        last, name, help_text = self._last, "rondo_agent_stores", "Stores that the last walk found."
        yield _series(name, help_text=help_text, state="live"), last.live
        yield _series(name, help_text=help_text, state="ended"), last.stores - last.live
        yield _series("rondo_agent_failures", help_text="What failed in the last walk."), len(last.failures)
        for outcome, count in self._finished.items():
            name, help_text = "rondo_agent_stores_finished_total", "Stores that were archived or deleted."
            yield _series(name, "counter", help_text, outcome=outcome), count

    def _of_exporters(self) -> Iterator[tuple[Series, Value]]:
        for thread in self._threads:
            for name, help_text, value in (
                ("samples_total", "Samples that were acknowledged.", thread.totals.samples),
                ("refused_samples_total", "Samples that were refused for good.", thread.totals.refused),
                ("doubtful_samples_total", "Samples that may not have arrived.", thread.totals.doubtful),
                ("events_total", "Marks and notes that were acknowledged.", thread.totals.events),
                ("refused_events_total", "Marks and notes that were refused for good.", thread.totals.refused_events),
                ("doubtful_events_total", "Marks and notes that may not have arrived.", thread.totals.doubtful_events),
                ("requests_total", "Requests.", thread.totals.requests),
                ("failed_requests_total", "Requests that were not taken.", thread.totals.failed),
                ("pending_stores", "Ended stores not sent to their end yet.", thread.n_pending),
                ("waiting_stores", "Stores left alone for a while, as they failed.", thread.n_waiting),
            ):
                kind: Kind = "counter" if name.endswith("_total") else "gauge"
                yield _series(f"rondo_agent_{name}", kind, help_text, exporter=thread.name), value


def _of_process() -> Iterable[tuple[Series, Value]]:
    """Give what Prometheus's clients tell of their process, under the names that dashboards know."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    seconds, count = used.ru_utime + used.ru_stime, len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - quicker
    yield _series("process_cpu_seconds_total", "counter", "CPU time.", unit="seconds"), seconds
    yield _series("process_resident_memory_bytes", help_text="Resident memory.", unit="bytes"), pages * _PAGE_BYTES
    yield _series("process_open_fds", help_text="Open file descriptors."), count


_PAGE_BYTES = resource.getpagesize()


def _series(name: str, kind: Kind = "gauge", help_text: str = "", unit: str = "", **labels: str) -> Series:
    return Series(name, tuple(sorted(labels.items())), kind, "", 0, help_text, unit)
