"""Owns drain, batching, cursor, retry and back-off, so that every exporter gets them.

The cursor moves only after `send` has returned. What a receiver refuses for good is split until the refused part is
found; that part is dropped, counted and logged, and the rest goes through. A receiver that takes nothing at all, or
that cannot be used as configured, ends the export: the cursor stays, the store keeps what it has.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from rondo_core import selfmetrics
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import (
    ExportError,
    PermanentExportError,
    RetryableExportError,
    RondoError,
    StoreError,
    one_line,
)
from rondo_core.export.batch import Batch
from rondo_core.export.cursor import Cursor, load_cursor, save_cursor
from rondo_core.export.drain import Drain, Drained
from rondo_core.hookspecs import Exporter

if TYPE_CHECKING:
    from rondo_core.store_reader import View

logger = logging.getLogger("rondo.export")

MAX_SAMPLES = 10_000
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.5, 60.0
# A record that read the clock at the end of a bucket may land a moment after it; such a bucket waits this long.
SETTLE_NS = NS_PER_S
# A receiver that refuses that many requests of one batch, and takes none, refuses everything.
MAX_REFUSED = 500


@attrs.define
class Outcome:
    """What an exporter has done so far: counts, and the last failure in words (empty where there was none)."""

    samples: int = 0
    requests: int = 0
    failures: int = 0
    refused_samples: int = 0
    overwritten_buckets: int = 0
    error: str = ""
    stopped: bool = False


class Runner:
    """Sends what a store holds through one exporter, from a thread of its own or in one go."""

    def __init__(
        self,
        view: View,
        exporter: Exporter,
        name: str,
        *,
        interval_s: float = 10.0,
        max_samples: int = MAX_SAMPLES,
        clock: Clock = wall_ns,
        count: Callable[..., None] | None = None,
    ) -> None:
        """Take up the cursor of the exporter `name`.

        Args: `count(metric, total, exporter=name)` receives the self-metrics; None: they stay in `outcome`.
        Raises: StoreError: another process exports this store through it, or the store's directory is read-only.
        """
        self._view, self._exporter, self.name = view, exporter, name
        self._interval_s, self._max_samples, self._clock = interval_s, max_samples, clock
        self._drain = Drain(view)
        self._count = count
        self.cursor: Cursor = load_cursor(view.path, name)
        self._lock = _CursorLock(view.path, name)
        self.outcome = Outcome()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._backoff_s = BACKOFF_FIRST_S
        self._logged: set[str] = set()
        self._until = float("inf")
        self._refused, self._taken = 0, False

    # -- as a thread beside a live store

    def start(self) -> None:
        """Send from a thread of its own, every `interval_s`, until `close`."""
        self._thread = threading.Thread(target=self._run, name=f"rondo-export-{self.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s = self._interval_s
        while not self._wake.wait(wait_s) and not self.outcome.stopped:
            wait_s = self._interval_s
            try:
                self._send_all(self._clock() - SETTLE_NS, ended_run=0)
            except RetryableExportError as error:
                wait_s = self._failed(error)
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                self._stop(error)
        if self.outcome.stopped and self._closing:
            self._lock.release()  # `close` gave up waiting for this thread

    def close(self, ended_run: int, deadline_s: float = 10.0) -> Outcome:
        """Stop the thread, send all that is left within `deadline_s`, say that the run has ended, let go.

        Call it after the store was closed: then every bucket is. What is not sent in time stays in the store.
        """
        self._closing = True
        self._wake.set()
        started = time.monotonic()
        if self._thread is not None:
            self._thread.join(deadline_s)
            if self._thread.is_alive():
                self._stop(ExportError(f"{self.name}: still busy after {deadline_s:g} s; the rest stays in the store"))
                return self.outcome
        self.finish(ended_run, deadline_s - (time.monotonic() - started))
        return self.outcome

    # -- in one go

    def finish(self, ended_run: int, deadline_s: float) -> Outcome:
        """Send all that is there and the run's end (0: it has not ended), retrying until the deadline; let go.

        With `ended_run` every bucket counts as closed; without, those that ended by now.
        """
        until = self._until = time.monotonic() + deadline_s
        closed_ns = 1 << 62 if ended_run else self._clock() - SETTLE_NS
        while not self.outcome.stopped:
            try:
                self._send_all(closed_ns, ended_run)
                break
            except RetryableExportError as error:
                wait_s = self._failed(error)
                if time.monotonic() + wait_s > until:
                    break
                time.sleep(wait_s)
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                self._stop(error)
        with contextlib.suppress(Exception):
            self._exporter.close()
        self._lock.release()
        self._publish()
        return self.outcome

    # -- one pass

    def _send_all(self, closed_ns: int, ended_run: int) -> None:
        """Send every closed bucket beyond the cursor, request by request."""
        while (drained := self._drain.next(self.cursor.positions, closed_ns, self._max_samples)) is not None:
            if self._closing and not ended_run:
                return
            self._deliver(drained, 0)
        if ended_run > self.cursor.ended_run and self.cursor.positions:
            end = Batch((), tuple(self._drain.series()), self._view.newest_ns(), self._drain.sketched())
            self._deliver(Drained(end, {}, 0), ended_run)

    def _deliver(self, drained: Drained, ended_run: int) -> None:
        sent = 0
        self._refused, self._taken = 0, False
        if drained.batch.n_samples or drained.batch.ended:
            sent = self._send(drained.batch)
            if not sent and drained.batch.n_samples:
                raise ExportError(f"every sample was refused: {self.outcome.error}")
        self.outcome.samples += sent
        self.outcome.overwritten_buckets += drained.overwritten
        self.outcome.refused_samples += drained.batch.n_samples - sent
        moved = self.cursor.moved(drained.positions, sent, ended_run)
        try:
            save_cursor(self._view.path, moved)
        except StoreError as error:
            raise RetryableExportError(str(error)) from None
        self.cursor = moved
        self._backoff_s = BACKOFF_FIRST_S
        self._publish()

    def _send(self, batch: Batch) -> int:
        """Send a batch, or as much of it as is taken; give the number of samples acknowledged.

        Raises: ExportError: nothing of it is taken; RetryableExportError: the deadline came while it was split.
        """
        try:
            self.outcome.requests += 1
            self._exporter.send(batch)
            self._taken = True
        except PermanentExportError as error:
            self._note(error)
            self._refused += 1
            if self._refused >= MAX_REFUSED and not self._taken:
                raise ExportError(f"everything is refused: {error}") from None
            if time.monotonic() > self._until:
                raise RetryableExportError(f"no time left to find what is refused: {error}") from None
            halves = batch.split()
            if halves is None:
                return 0
            return self._send(halves[0]) + self._send(halves[1])
        return batch.n_samples

    def _failed(self, error: RetryableExportError) -> float:
        """Note a failure that may pass, and say how long to wait, s."""
        self._note(error)
        self._publish()
        wait_s = self._backoff_s * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_LAST_S)
        return max(wait_s, error.retry_after_s or 0.0)

    def _stop(self, error: Exception) -> None:
        self._note(error)
        self.outcome.stopped = True
        self._publish()

    def _note(self, error: Exception) -> None:
        self.outcome.failures += 1
        self.outcome.error = one_line(error)
        kind = f"{type(error).__name__}: {error}"[:80]
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning("%s: %s", self.name, self.outcome.error)

    def _publish(self) -> None:
        if self._count is None:
            return
        for metric, total in (
            (selfmetrics.EXPORTED, self.outcome.samples),
            (selfmetrics.EXPORT_FAILURES, self.outcome.failures),
            (selfmetrics.EXPORT_REFUSED, self.outcome.refused_samples),
            (selfmetrics.EXPORT_LOST, self.outcome.overwritten_buckets),
        ):
            self._count(metric, total, exporter=self.name)


class _CursorLock:
    """One process at a time moves an exporter's cursor."""

    def __init__(self, store: Path, exporter: str) -> None:
        path = store / f"cursor_{exporter}.lock"
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; export needs a writable store") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise StoreError(f"{store}: another process exports it through {exporter}; stop that one first") from None

    def release(self) -> None:
        """Let the next one in."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_runner(
    view: View,
    name: str,
    config: dict[str, object],
    *,
    interval_s: float = 10.0,
    clock: Clock = wall_ns,
    count: Callable[..., None] | None = None,
) -> Runner:
    """Open the exporter plugin `name` with its config, and a runner around it.

    Raises: PluginNotFoundError, PluginLoadError: it is not installed or does not load; RondoError: what it says of
    its config; StoreError: see `Runner`.
    """
    from rondo_core.plugins import EXPORTERS, Plugins

    plugins = Plugins(config={name: config})
    plugins.load(EXPORTERS, [name])
    exporter = plugins.open("rondo_exporter_open", name)
    try:
        return Runner(view, exporter, name, interval_s=interval_s, clock=clock, count=count)
    except RondoError:
        exporter.close()
        raise
