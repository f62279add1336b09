"""Runs an exporter beside a store: its thread, its deadlines, how long it waits after a failure.

Nothing stops it for good but what the configuration makes impossible. What may pass is tried again after a wait that
grows from half a second to a minute; what an exporter or its receiver cannot be used for, after one that grows to ten
minutes, and at the end.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import ExportError, RetryableExportError, RondoError, UsageError, one_line
from rondo_core.export.batch import Batch
from rondo_core.export.cursor import Cursor, CursorLock, note_failure, resumed_tiers
from rondo_core.export.delivery import Delivery, RefusesAllError
from rondo_core.export.drain import Drain
from rondo_core.export.events import EventSender
from rondo_core.export.isolated import wait_asked_s
from rondo_core.export.labelled import Labelled, takes_events, takes_samples
from rondo_core.export.ledger import Ledger, Unsaved
from rondo_core.export.options import MISTAKES, check_exporters, open_exporter, runner_options
from rondo_core.export.outcome import Outcome
from rondo_core.export.sender import Sender
from rondo_core.export.sources import FOR_EVER
from rondo_core.hookspecs import Exporter

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View

logger = logging.getLogger("rondo.export")

MAX_SAMPLES = 10_000
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.5, 60.0
LONG_FIRST_S, LONG_LAST_S = 5.0, 600.0
# How often a last flush tries what an exporter or its receiver cannot be used for.
LAST_TRIES = 3
# A record that read the clock at the end of a bucket may land a moment after it; such a bucket waits this long.
SETTLE_NS = NS_PER_S
# How long a request that is under way at the deadline is waited for; and what no request is said to hang before.
PATIENCE_S = 5.0
# A slab of more is dropped from memory after each request, but for those that this process writes.
MAX_MAPPED_BYTES = 8 << 20
# How fast a backlog leaves beside a live store: what the process has to do comes first.
CATCH_UP_SAMPLES_PER_S = 100_000
_LOOK_S = 0.2


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
        deadline_s: float = 10.0,
        tier: int = 0,
        fn: Sequence[str] = (),
        match: str = "",
        backfill: bool = False,
        from_start: bool = False,
        unsaved: Unsaved | None = None,
        clock: Clock = wall_ns,
        count: Callable[..., None] | None = None,
    ) -> None:
        """Take up the cursor of the exporter `name`.

        Args:
            tier, fn, match, backfill: what is sent; see `Drain`.
            from_start: send again all that the store holds.
            unsaved: what the disk did not take of the cursor when this process sent last; see `Ledger`.
            deadline_s: how long a final flush may take where `close` is not told otherwise.
            count: `count(metric, total, exporter=name)` receives the self-metrics; None: they stay in `outcome`.
        Attributes: `complete`, whether a run was sent to its end: nothing of it is pending.
        Raises: StoreError: another process exports this store through it, or the store's directory is read-only;
            UsageError: as `Drain`.
        """
        self._view, self._exporter, self.name = view, exporter, name
        self._interval_s, self._clock = interval_s, clock
        self.deadline_s, self._count = deadline_s, count
        drain = self._drain = Drain(view, tier=tier, fn=fn, match=match, backfill=backfill)
        self._ledger = Ledger(view.folder, name, from_start=from_start, unsaved=unsaved)
        self._delivery = Delivery(exporter)
        self._sender = Sender(name, view, drain, self._ledger, self._delivery, max_samples)
        self._takes_samples, self._takes_events = takes_samples(exporter), takes_events(exporter)
        self._events = EventSender(name, view, self._ledger, self._delivery)
        self.complete = self.refuses_all = False
        self._wake = threading.Event()
        self._closing = self._stopped = False
        self._retry_s, self._closed_ns = 0.0, 0
        # The run whose end the last flush says, and when it is to be over (monotonic s); set when it is asked for.
        self._last: tuple[int, float] | None = None
        self._raised: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._backoff_s, self._long_s, self._asked_until = BACKOFF_FIRST_S, LONG_FIRST_S, 0.0
        try:
            self._resumed = self._count_resumed()
        except BaseException:
            self._ledger.close()
            raise
        for slab in (each for slabs in view.slabs.values() for each in slabs):
            slab.frugal = not slab.writable and slab.spec.file_bytes > MAX_MAPPED_BYTES

    @property
    def cursor(self) -> Cursor:
        """What is counted of the store, in this process or before it."""
        return self._ledger.cursor

    @property
    def unsaved(self) -> Unsaved | None:
        """What the disk did not take of the cursor; None where it has all."""
        return self._ledger.unsaved

    @property
    def outcome(self) -> Outcome:
        """What was done since this runner was made."""
        since, delivery = self._ledger.since_opened, self._delivery
        were, events = self._ledger.events_opened, self._ledger.cursor.events
        return Outcome(
            samples=since("samples"),
            requests=delivery.requests,
            failures=delivery.failures,
            refused_samples=since("refused"),
            overwritten_buckets=since("overwritten"),
            error=delivery.error,
            stopped=self._stopped,
            retried_samples=self._sender.retried,
            doubtful_samples=since("doubtful"),
            coarse_buckets=since("coarse"),
            resumed_buckets=self._resumed,
            held_series=len(self._ledger.cursor.held),
            acknowledged_ns=self._ledger.acknowledged_ns,
            send_s=delivery.send_s,
            retry_s=self._retry_s,
            takes_samples=self._takes_samples,
            takes_events=self._takes_events,
            events=events.sent - were.sent,
            refused_events=events.refused - were.refused,
            doubtful_events=events.doubtful - were.doubtful,
            overwritten_events=events.overwritten - were.overwritten,
        )

    # -- as a thread beside a live store

    def start(self) -> None:
        """Send from a thread of its own, every `interval_s`, until `close`."""
        self._thread = threading.Thread(target=self._run, name=f"rondo-export-{self.name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s: float | None = self._interval_s
        while not self._wake.wait(wait_s):
            wait_s = self._interval_s
            try:
                self._send_all(self._clock() - SETTLE_NS, ended_run=0)
            except UsageError as error:
                self._stop(error)
                wait_s = None
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                wait_s = self._failed(error)
        self._flush()

    def begin_close(self, ended_run: int, deadline_s: float | None = None) -> None:
        """Ask the thread for what `close` does, and wait for nothing: several runners close at the same time."""
        self._closing = True
        self._ask_last(ended_run, self.deadline_s if deadline_s is None else deadline_s)

    def close(self, ended_run: int, deadline_s: float | None = None) -> Outcome:
        """Stop the thread, send all that is left within `deadline_s`, say that the run has ended, release everything.

        Call it after the store was closed: then every bucket is. What is not sent in time stays in the store. An
        exporter that hangs is left to itself soon after the deadline.
        """
        self.begin_close(ended_run, deadline_s)
        return self.wait()

    # -- in one go

    def finish(self, ended_run: int, deadline_s: float) -> Outcome:
        """Send all that is there and the run's end (0: it has not ended), retrying until the deadline, and close.

        With `ended_run` every bucket counts as closed; without, those that ended by now.
        """
        self._ask_last(ended_run, deadline_s)
        return self.wait()

    def _ask_last(self, ended_run: int, deadline_s: float) -> None:
        """Have everything sent by a thread, so that an exporter that hangs does not keep whoever waits for it."""
        if self._last is None:
            self._last = ended_run, time.monotonic() + deadline_s
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._flush, name=f"rondo-export-{self.name}", daemon=True)
            self._thread.start()

    def _flush(self) -> None:
        ended_run, until = self._last or (0, 0.0)
        try:
            if not self._stopped:
                self.send_now(ended_run, until - time.monotonic())
            self._delivery.close()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._raised = error
        self.release()

    def hangs(self, limit_s: float) -> bool:
        """Say whether the exporter has been at one request for longer than that."""
        return self._delivery.under_way_s > max(limit_s, PATIENCE_S)

    def wait(self) -> Outcome:
        """Wait for the end of what `begin_close` began, or give up soon after its deadline."""
        _, until = self._last or (0, 0.0)
        limit_s = until - time.monotonic()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_LOOK_S)
            late = self._closing and time.monotonic() > until + PATIENCE_S
            if self._thread.is_alive() and (late or self.hangs(limit_s)):
                spent = f"{self._delivery.under_way_s:.0f} s"
                self._stop(ExportError(f"{self.name}: hangs, for {spent} now; the rest stays in the store"))
                note_failure(self._view.folder, self.name, self._delivery.error, self._clock())
                break
        if self._raised is not None:
            raise self._raised
        return self.outcome

    def send_now(self, ended_run: int, deadline_s: float, *, retry: bool = True) -> Outcome:
        """Send as `finish` does, and keep the exporter open and the cursor locked.

        Args: `retry`: False: leave it to the caller to try again, `outcome.retry_s` from now.
        """
        until = self._delivery.until = time.monotonic() + deadline_s
        closed_ns = self._closed_ns = FOR_EVER if ended_run else self._clock() - SETTLE_NS
        wait_s, tries = self._asked_until - time.monotonic(), LAST_TRIES if retry else 1
        while not self._stopped:
            if wait_s > 0:
                if time.monotonic() + wait_s > until:
                    break
                time.sleep(wait_s)
            try:
                taken = self._n_taken
                self._send_all(closed_ns, ended_run)
                tries = LAST_TRIES if retry and self._n_taken > taken else tries - 1
                if not (self._ledger.cursor.held and tries):
                    break
                wait_s = _last_wait_s(tries)  # series that wait
            except RetryableExportError as error:
                wait_s = self._failed(error)
                if not retry:
                    self._retry_s = wait_s
                    break
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                tries -= 1
                wait_s = _last_wait_s(tries)
                over = not tries or isinstance(error, UsageError | RefusesAllError)
                if over or time.monotonic() + wait_s > until:
                    self._stop(error)
                else:
                    self._failed(error)
        self._publish()
        return self.outcome

    def next_work_ns(self) -> int:
        """Give when the first bucket that is held but open can be sent, as the clock goes; 0: something is pending.

        Until then nothing is to be sent unless a row is entered or changed; FOR_EVER: nothing at all.
        """
        cursor, outcome = self._ledger.cursor, self.outcome
        if outcome.error or self._stopped or cursor.held or cursor.in_flight or cursor.rest_until:
            return 0
        if not self._takes_samples:
            return FOR_EVER
        return min(FOR_EVER, self._drain.next_end_ns(self._closed_ns) + SETTLE_NS)

    def release(self) -> None:
        """Let another process move the cursor; the exporter stays open."""
        self._ledger.close()

    # -- one pass

    @property
    def _n_taken(self) -> int:
        return self._delivery.n_taken + self._delivery.n_events_taken

    def _drop_resident(self, batch: Batch) -> None:
        """Keep what a long backlog maps within bounds: a look at a slab's headers touches all of its pages."""
        for part in batch.parts:
            slab = self._view.slabs[part.schema][part.tier]
            if slab.frugal:
                slab.drop_resident()

    def _send_all(self, closed_ns: int, ended_run: int) -> None:
        """Send every closed bucket that is pending, request by request, and then marks and notes, of what it takes."""
        if self._takes_samples and not self._send_samples(closed_ns, ended_run):
            return
        if self._takes_events and not self._events.send_pending(lambda: self._is_over(ended_run)):
            ended_run = 0
        if self._takes_samples:
            self._sender.end_pass(ended_run)
        else:
            self._sender.end_run(ended_run)
            self._backoff_s, self._long_s = BACKOFF_FIRST_S, LONG_FIRST_S
        self.complete = ended_run > 0 and not self._ledger.cursor.held
        self._publish()

    def _send_samples(self, closed_ns: int, ended_run: int) -> bool:
        """Send the closed buckets; say whether the pass goes on: nobody gave it up."""
        self._sender.begin_pass()
        while not (self._closing and not ended_run):
            if self._stopped:  # no one waits for it any more
                return False
            drained = self._sender.send_next(closed_ns)
            if drained is None:
                break
            self._backoff_s, self._long_s = BACKOFF_FIRST_S, LONG_FIRST_S
            self._publish()
            self._drop_resident(drained.batch)
            self._check_time()
            if self._thread is threading.current_thread():
                self._wake.wait(drained.batch.n_samples / CATCH_UP_SAMPLES_PER_S)
        return True

    def _is_over(self, ended_run: int) -> bool:
        """Say whether a pass is to be left: for the last flush, or as no one waits for it any more.

        Raises: RetryableExportError: no time is left.
        """
        if self._stopped or (self._closing and not ended_run):
            return True
        self._check_time()
        return False

    def _check_time(self) -> None:
        if self._closing and time.monotonic() > self._delivery.until:
            raise RetryableExportError("no time left before the end; the rest stays in the store")

    # -- failures

    def _count_resumed(self) -> int:
        """Count the buckets that were sent as the last of a run, and that the next run has recorded into again."""
        resumed = resumed_tiers(self._view, self._ledger.cursor)
        if resumed:
            what = "the run's first buckets were sent as the last of the run before; the values sent then stand"
            logger.warning("%s: %s: %s", self.name, ", ".join(resumed), what)
        return len(resumed)

    def _failed(self, error: Exception) -> float:
        """Note a failure that may pass, and say how long to wait, s."""
        if isinstance(error, RefusesAllError):
            self._sender.retract()
        self._note(error)
        if isinstance(error, RetryableExportError):
            wait_s = min(BACKOFF_LAST_S, self._backoff_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            self._backoff_s = min(self._backoff_s * 2, BACKOFF_LAST_S)
        else:
            wait_s, self._long_s = self._long_s, min(self._long_s * 2, LONG_LAST_S)
        asked_s = wait_asked_s(error)
        self._asked_until = time.monotonic() + asked_s  # a last flush waits for nothing else
        return max(wait_s, asked_s)

    def _stop(self, error: Exception) -> None:
        self._sender.retract()
        self._stopped, self.refuses_all = True, isinstance(error, RefusesAllError)
        self._note(error)

    def _note(self, error: Exception) -> None:
        self._delivery.note(error)
        self._ledger.note(self._delivery.error, self._clock())
        if self._thread is None or self._thread is threading.current_thread() or not self._thread.is_alive():
            self._ledger.save()
        self._publish()

    def _publish(self) -> None:
        if self._count is not None:
            self.outcome.publish(self._count, self.name)


def _last_wait_s(tries_left: int) -> float:
    return float(BACKOFF_FIRST_S * 2.0 ** max(0, LAST_TRIES - 1 - tries_left))


def open_runner(
    view: View,
    name: str,
    config: dict[str, Any],
    *,
    clock: Clock = wall_ns,
    count: Callable[..., None] | None = None,
    labels: Mapping[str, str] | None = None,
    **options: Any,
) -> Runner:
    """Open the exporter plugin `name` with its config, and a runner around it.

    Args: `labels`: what every series gets on its way out, over its own; `options`: the runner's, which those in the
        config go before.
    Raises: as `open_exporter`; UsageError: an option is wrong; StoreError: see `Runner`.
    """
    mine, rest = runner_options(name, config)
    chosen = {**options, **mine}
    plugin = chosen.pop("plugin")
    check_exporters({name: config})
    # What this store cannot be sent by is said before the exporter makes anything.
    Drain(view, **{key: chosen[key] for key in ("tier", "fn", "match", "backfill") if key in chosen})
    CursorLock(view.folder, name).release()
    try:
        opened = open_exporter(name, plugin, rest)
    except MISTAKES:
        raise  # told to whoever wrote them; a name that is none must not leave a cursor behind
    except RondoError as error:
        note_failure(view.folder, name, one_line(error), clock())
        raise
    exporter = Labelled(opened, labels) if labels else opened
    try:
        return Runner(view, exporter, name, clock=clock, count=count, **chosen)
    except RondoError:
        exporter.close()
        raise
