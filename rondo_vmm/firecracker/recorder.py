"""Flushes -> series in a store: devices told apart as far as there is room, and how far a file has been read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Schema, Tier
from rondo_core.clock import NS_PER_S
from rondo_core.errors import CapacityError
from rondo_core.model import OWN_SERIES, SELF_MATCH, SELF_SCHEMA, is_there
from rondo_vmm.firecracker.flush import COUNTERS, DEVICES, MAX_DEVICES, OTHER, Flush, FlushSample

if TYPE_CHECKING:
    from pathlib import Path

    from rondo_core import Store, StoreReader
    from rondo_core.record import Counter, Gauge

Key = tuple[str, tuple[tuple[str, str], ...], tuple[str, str] | None]
OUTCOMES = ("taken", "garbled", "too_long", "known")
GAUGES = 16
MAX_VCPUS = 8  # that have series of their own
HOST_COUNTERS = 1 + 2 * MAX_VCPUS  # CPU time of the process, and of each virtual CPU with its steal
MAX_NAMED = 1000  # devices beyond the room that are told apart in order to be counted
NS_PER_MS = 1_000_000
READ_BYTES, READ_DIGEST = "vmm_metrics_read_bytes", "vmm_metrics_read_digest"
NEWEST = "vmm_metrics_newest_flush_seconds"
_POSITION = {
    READ_BYTES: ("How much of the file of metrics has been read.", "bytes"),
    READ_DIGEST: ("CRC-32 of that much of the file.", ""),
    NEWEST: ("Time of the newest flush that was taken, since the epoch.", "seconds"),
}


def firecracker_schemas() -> tuple[Schema, ...]:
    """Give the schemas: room for every series that a flush can bring, and no more."""
    tiers = Tier("1s", "10m"), Tier("10s", "6h", ("last",)), Tier("5m", "7d", ("last",))
    gauges = Tier("1s", "10m"), Tier("10s", "6h", ("min", "max", "sum")), Tier("5m", "7d", ("max", "sum"))
    return (
        Schema(SELF_SCHEMA, "counter", OWN_SERIES, (Tier("10s", "10m"), Tier("5m", "12h", ("last",))), SELF_MATCH),
        Schema("counters", "counter", COUNTERS + HOST_COUNTERS + len(OUTCOMES), tiers, reserve=0),
        Schema("gauges", "gauge", GAUGES, gauges, reserve=0),
    )


@attrs.frozen
class FilePosition:
    """How far a file was read into a store: its first `size_bytes`, of that CRC-32, with flushes up to `newest_ns`.

    `recorded_ns` is the newest time of which the store has anything; all are 0 for a new store.
    """

    size_bytes: int = 0
    digest: int = 0
    newest_ns: int = 0
    recorded_ns: int = 0


def position_in(path: Path) -> FilePosition:
    """Read from a store how far its file has come. Raises: StoreError: it cannot be read."""
    if not is_there(path):
        return FilePosition()
    from rondo_core import StoreReader

    with StoreReader(path) as reader:
        runs = reader.runs()
        _, recorded_ns = _last(reader, "vmm_metrics_lines_total")
        if runs:
            recorded_ns = max(recorded_ns, runs[-1].opened_ns, runs[-1].ended_ns)
        size, digest, newest_s = (_last(reader, name)[0] for name in (READ_BYTES, READ_DIGEST, NEWEST))
        return FilePosition(int(size), int(digest), round(newest_s * 1000) * NS_PER_MS, recorded_ns)


def _last(reader: StoreReader, name: str) -> tuple[float, int]:
    """Give a series' newest value and its time; noughts where no file was ever read into the store."""
    if all(series.name != name for series in reader.registry):
        return 0.0, 0
    for found in reader.query(name, tier=0, fn="last"):
        if len(found):
            return float(found.values[-1]), int(found.timestamps_ns[-1])
    return 0.0, 0


def line_counters(store: Store) -> dict[str, Counter]:
    """Declare how many lines of the stream there were, by what became of them."""
    words = "Lines of the metrics stream, by what became of them."
    return {each: store.counter("vmm_metrics_lines_total", help=words, outcome=each) for each in OUTCOMES}


class FlushRecorder:
    """Records flushes in a store. Attributes: `beyond`: label -> names of the devices that are recorded as `other`."""

    def __init__(self, store: Store) -> None:
        """Declare what is known beforehand; devices that the store knows keep their series."""
        self._store = store
        self._count = {outcome: counter.inc for outcome, counter in line_counters(store).items()}
        self._counters: dict[Key, Counter | None] = {}
        self._gauges: dict[str, Gauge | None] = {}
        self._position: list[Gauge] = []
        self.beyond: dict[str, set[str]] = {label: set() for label, _ in DEVICES.values()}
        self._own: dict[str, set[str]] = {label: set() for label in self.beyond}
        for series in store.view.series('{__name__!~"rondo_.*"}'):
            for label, name in series.labels:
                if label in self._own and name != OTHER:
                    self._own[label].add(name)

    def count(self, outcome: str, amount: int, now_ns: int) -> None:
        """Count lines."""
        self._count[outcome](amount, now_ns)

    def record(self, flush: Flush, now_ns: int) -> None:
        """Add what came since the flush before."""
        self.count("taken", 1, now_ns)
        for sample in flush.samples:
            if sample.kind == "gauge":
                if sample.name not in self._gauges:
                    self._gauges[sample.name] = self._declare(self._store.gauge, sample, {})
                gauge = self._gauges[sample.name]
                if gauge is not None:
                    gauge.set(sample.value, now_ns)
                continue
            device = self._device_of(sample.device)
            key = sample.name, sample.labels, device
            if key not in self._counters:
                labels = dict(sample.labels) | dict([device] if device else [])
                self._counters[key] = self._declare(self._store.counter, sample, labels)
            counter = self._counters[key]
            if counter is not None:
                counter.inc(sample.value, now_ns)

    def reached(self, position: FilePosition, now_ns: int) -> None:
        """Remember how far the file has been read, beside what it brought."""
        if not self._position:
            self._position = [
                self._store.gauge(name, help=words, unit=unit) for name, (words, unit) in _POSITION.items()
            ]
        for gauge, value in zip(
            self._position, (position.size_bytes, position.digest, position.newest_ns / NS_PER_S), strict=True
        ):
            gauge.set(value, now_ns)

    def notes(self) -> tuple[str, ...]:
        """Say which devices share a series."""
        return tuple(
            f"{len(names)} {label}s beyond the first {MAX_DEVICES} are recorded together, as {OTHER}"
            for label, names in self.beyond.items()
            if names
        )

    def _device_of(self, device: tuple[str, str] | None) -> tuple[str, str] | None:
        if device is None:
            return None
        label, name = device
        own = self._own[label]
        if name in own:
            return device
        if len(own) < MAX_DEVICES and name != OTHER:
            own.add(name)
            return device
        if len(self.beyond[label]) < MAX_NAMED:
            self.beyond[label].add(name)
        return label, OTHER

    @staticmethod
    def _declare(make: Callable[..., Any], sample: FlushSample, labels: dict[str, str]) -> Any:
        try:
            return make(sample.name, labels, help=sample.help, unit=sample.unit)
        except CapacityError:
            return None
