"""Stores and batches whose content is known, in a time of their own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from rondo_core.clock import NS_PER_S, ManualClock
from rondo_core.export.batch import Batch, Part
from rondo_core.export.runner import MAX_SAMPLES, Runner
from rondo_core.model.labels import Kind, Series, canonical_labels
from rondo_core.model.schema import Schema, Tier
from rondo_core.read.store_reader import StoreReader
from rondo_core.store import Store

# 2023-11-14T22:15:00Z: where a bucket of every usual tier begins.
START_NS = 1_700_000_100 * NS_PER_S
TIERS = (Tier("1s", "2m"), Tier("10s", "10m"), Tier("1m", "1h"))
SCHEMAS = (
    Schema("counters", "counter", 4, TIERS),
    Schema("gauges", "gauge", 4, TIERS),
    Schema("summaries", "summary", 4, TIERS),
)

Name = str | tuple[str, Mapping[str, str]]


def make_part(
    kind: Kind,
    names: Sequence[Name],
    values: Iterable[Sequence[float]],
    start_ns: int = START_NS,
    step_ns: int = NS_PER_S,
) -> Part:
    """Make a part of a counter's or gauge's samples.

    Args: names: "name" or ("name", {label: value}), one per column; values: rows of one value per name, NaN: absent;
    the first row's bucket begins at `start_ns`, when the series were made; each further one `step_ns` later.
    """
    series = []
    for column, given in enumerate(names):
        name, labels = (given, {}) if isinstance(given, str) else given
        about = "Made for a test.", "", start_ns
        series.append(Series(name, canonical_labels(labels), kind, f"{kind}s", column, *about))
    table = np.array([list(row) for row in values], np.float64).reshape(-1, len(series))
    stamps = start_ns + np.arange(len(table), dtype=np.int64) * step_ns
    return Part(f"{kind}s", 0, step_ns, kind, tuple(series), stamps, {"last": table})


def fill_store(path: Path, seconds: int = 30) -> dict[str, list[tuple[int, float]]]:
    """Make a store of counters, gauges and summaries, recorded in for as many seconds, and close it.

    Returns: what must leave of its counters and gauges: series -> (ns, value), in time order.
    """
    clock = ManualClock(START_NS)
    left: dict[str, list[tuple[int, float]]] = {}
    with Store(path, SCHEMAS, clock=clock, writer="conformance") as store:
        counter = store.counter("conformance_jobs_total", help="Jobs done.", queue="mail")
        gauge = store.gauge("conformance_level", help="How full it is.", side="left")
        rare = store.gauge("conformance_rare")
        duration = store.summary("conformance_duration_seconds", help="How long it takes.", unit="seconds")
        total = 0.0
        for second in range(seconds):
            total += second % 3
            counter.inc(second % 3)
            gauge.set(second * 0.5 - 3.0)
            for each in range(second % 4):
                duration.observe(0.25 * each + 0.1)
            left.setdefault(str(counter.series), []).append((clock(), total))
            left.setdefault(str(gauge.series), []).append((clock(), second * 0.5 - 3.0))
            if second % 7 == 0:
                rare.set(second)
                left.setdefault(str(rare.series), []).append((clock(), float(second)))
            store.tick()
            clock.advance(1)
    return left


def read_batches(path: Path, max_samples: int = MAX_SAMPLES) -> list[Batch]:
    """Give the batches that an exporter is handed of a store that nobody writes, the oldest first.

    Args: `max_samples`: of one batch, at most.
    """
    kept = _Batches()
    with StoreReader(path) as reader:
        Runner(reader, kept, "batches", max_samples=max_samples).finish(0, 0)
    return kept.batches


class _Batches:
    """An exporter that keeps what it is handed."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def send(self, batch: Batch, /) -> None:
        self.batches.append(batch)

    def close(self) -> None:
        pass
