"""Record Firecracker's metrics: from its FIFO until it ends, or from a file that holds them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rondo_core import ManualClock, Schema, Tier
from rondo_core.clock import wall_ns
from rondo_core.errors import CapacityError
from rondo_core.schema import SELF_MATCH, SELF_SCHEMA
from rondo_core.stopping import stopped_by_signals
from rondo_vmm.errors import ConfigError
from rondo_vmm.firecracker.flush import COUNTERS, MAX_LINE_BYTES, Flush, Sample, parse_flush
from rondo_vmm.monitor import VmResult
from rondo_vmm.plugins.uptime import uptime_tick
from rondo_vmm.seconds import every_second

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.handles import Counter, Gauge

T = TypeVar("T")
CHUNK_BYTES = 1 << 16
OUTCOMES = ("taken", "garbled", "too_long")
GAUGES = 4


def firecracker_schemas() -> tuple[Schema, ...]:
    """Give the schemas: room for every series that a flush can bring, and no more."""
    tiers = Tier("1s", "10m"), Tier("10s", "6h", ("last",)), Tier("5m", "7d", ("last",))
    gauges = Tier("1s", "10m"), Tier("10s", "6h", ("min", "max", "sum")), Tier("5m", "7d", ("max", "sum"))
    return (
        Schema(SELF_SCHEMA, "counter", 16, (Tier("10s", "10m"), Tier("5m", "12h", ("last",))), SELF_MATCH),
        Schema("counters", "counter", COUNTERS + len(OUTCOMES), tiers),
        Schema("gauges", "gauge", GAUGES, gauges),
    )


class Lines:
    """Cuts a stream into lines of bounded length; `too_long` counts those that were dropped."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._rest = b""
        self._dropping = False
        self.too_long = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the lines that they complete."""
        *whole, rest = (self._rest + data).split(b"\n")
        if whole and self._dropping:
            del whole[0]
            self._dropping = False
        if len(rest) > MAX_LINE_BYTES and not self._dropping:
            self._dropping = True
            self.too_long += 1
        self._rest = b"" if self._dropping else rest
        lines = [line for line in whole if line.strip()]
        kept = [line for line in lines if len(line) <= MAX_LINE_BYTES]
        self.too_long += len(lines) - len(kept)
        return kept

    def end(self) -> list[bytes]:
        """Give the last line, which had no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []


class FlushRecorder:
    """Records flushes in a store; a series that it has no room for is left out."""

    def __init__(self, store: Store) -> None:
        """Declare what is known beforehand."""
        self._store = store
        words = "Lines of the metrics stream, by what became of them."
        self._count = {
            each: store.counter("vmm_metrics_lines_total", help=words, outcome=each).inc for each in OUTCOMES
        }
        self._counters: dict[tuple[str, tuple[tuple[str, str], ...]], Counter | None] = {}
        self._gauges: dict[str, Gauge | None] = {}

    def count(self, outcome: str, amount: int, now_ns: int) -> None:
        """Count lines."""
        self._count[outcome](amount, now_ns)

    def record(self, flush: Flush, now_ns: int) -> None:
        """Add what came since the flush before."""
        self.count("taken", 1, now_ns)
        for sample in flush.samples:
            if sample.kind == "gauge":
                if sample.name not in self._gauges:
                    self._gauges[sample.name] = self._declare(self._store.gauge, sample)
                gauge = self._gauges[sample.name]
                if gauge is not None:
                    gauge.set(sample.value, now_ns)
                continue
            key = sample.name, sample.labels
            if key not in self._counters:
                if len(self._counters) >= COUNTERS:
                    continue
                self._counters[key] = self._declare(self._store.counter, sample)
            counter = self._counters[key]
            if counter is not None:
                counter.inc(sample.value, now_ns)

    @staticmethod
    def _declare(make: Callable[..., T], sample: Sample) -> T | None:
        try:
            return make(sample.name, dict(sample.labels), help=sample.help, unit=sample.unit)
        except CapacityError:
            return None


class FirecrackerWatcher:
    """One metrics stream. A FIFO is read until its writer ends, a file to its end.

    Attributes: `clock`: what the store's time is: the wall clock's, or for a file that of the flushes in it.
    """

    def __init__(self, path: Path) -> None:
        """Open it. Raises: ConfigError: it is missing, or neither a FIFO nor a file."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            mend = "make it with mkfifo, and start Firecracker with --metrics-path"
            raise ConfigError(f"{path}: {error.strerror}; {mend}") from None
        mode = os.fstat(self._descriptor).st_mode
        if not stat.S_ISFIFO(mode) and not stat.S_ISREG(mode):
            os.close(self._descriptor)
            raise ConfigError(f"{path}: neither a FIFO nor a file; give what Firecracker's --metrics-path names")
        self.replayed = stat.S_ISREG(mode)
        self.clock: Callable[[], int] = wall_ns
        if self.replayed:
            self._time = self.clock = ManualClock(_first_ns(path) or wall_ns())
        self._lines = Lines()
        self._too_long = 0
        self._ended = ""

    def close(self) -> None:
        """Let go of the stream; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def run(self, store: Store, timeout_s: float | None = None) -> VmResult:
        """Record until the stream ends, or `timeout_s` is over. The store is left open."""
        started_ns, started = self.clock(), time.monotonic()
        recorder = FlushRecorder(store)
        try:
            if self.replayed:
                self._replay(store, recorder)
            else:
                loop = asyncio.new_event_loop()
                try:
                    loop.run_until_complete(self._follow(loop, store, recorder, timeout_s))
                finally:
                    loop.close()
        finally:
            self.close()
        why = f"watched at {self._path}"
        uptime_s, ended_ns = time.monotonic() - started, self.clock()
        return VmResult("firecracker", why, self._ended, "", {}, uptime_s, started_ns, ended_ns, {})

    def _replay(self, store: Store, recorder: FlushRecorder) -> None:
        """Record each flush at its own time; one that goes back in time counts at the newest."""
        while data := os.read(self._descriptor, CHUNK_BYTES):
            self._take(self._lines.feed(data), store, recorder)
        self._take(self._lines.end(), store, recorder)
        store.tick()
        self._ended = "end of file"

    def _take(self, lines: list[bytes], store: Store, recorder: FlushRecorder) -> None:
        for line in lines:
            flush = parse_flush(line)
            if self.replayed and flush is not None and self._time.now_ns < flush.at_ns <= wall_ns():
                self._time.now_ns = flush.at_ns
                store.tick()
            if flush is None:
                recorder.count("garbled", 1, self.clock())
            else:
                recorder.record(flush, self.clock())
        if self._lines.too_long > self._too_long:
            recorder.count("too_long", self._lines.too_long - self._too_long, self.clock())
            self._too_long = self._lines.too_long

    async def _follow(
        self, loop: asyncio.AbstractEventLoop, store: Store, recorder: FlushRecorder, timeout_s: float | None
    ) -> None:
        over = asyncio.Event()
        up = uptime_tick(store)

        def end(how: str) -> None:
            self._ended = self._ended or how
            over.set()

        def readable() -> None:
            try:
                data = os.read(self._descriptor, CHUNK_BYTES)
            except BlockingIOError:
                return
            if data:
                self._take(self._lines.feed(data), store, recorder)
            else:
                loop.remove_reader(self._descriptor)
                end("gone")

        async def tick() -> None:
            now_ns = wall_ns()
            up(now_ns)
            store.tick(now_ns)

        if timeout_s is not None:
            loop.call_later(timeout_s, end, "timeout")
        loop.add_reader(self._descriptor, readable)
        with stopped_by_signals(lambda number: loop.call_soon_threadsafe(end, f"signal {number}")):
            begun_ns = wall_ns()
            await tick()
            await every_second(tick, over.wait(), begun_ns)
        with contextlib.suppress(ValueError):
            loop.remove_reader(self._descriptor)
        self._take(self._lines.end(), store, recorder)
        await tick()


def _first_ns(path: Path) -> int:
    """Give the time of a file's first flush, 0 where its first lines are none."""
    lines = Lines()
    with path.open("rb") as file:
        for line in lines.feed(file.read(MAX_LINE_BYTES * 2)):
            flush = parse_flush(line)
            if flush is not None and 0 < flush.at_ns <= wall_ns():
                return flush.at_ns
    return 0
