"""Owns drain, batching, cursor, retry and back-off, so that every exporter gets them.

What is about to be sent is marked in the cursor first, and the cursor moves only after it was settled: taken, or
refused for good. So after a crash one request, at most, is sent a second time, as it was. A receiver that takes
nothing at all, or that cannot be used as configured, ends the export: the cursor stays, the store keeps what it has.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import faults
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import ExportError, RetryableExportError, RondoError, StoreError, one_line
from rondo_core.export.batch import Batch
from rondo_core.export.cursor import MAX_SUSPECTS, CursorLock, load_cursor, note_failure, resumed_tiers, save_cursor
from rondo_core.export.drain import Drain, Drained
from rondo_core.export.labelled import Labelled
from rondo_core.export.opening import open_exporter, runner_options
from rondo_core.export.outcome import Outcome
from rondo_core.export.settle import MAX_REFUSED, SUSPECT_TRIES, Requests, Verdict
from rondo_core.hookspecs import Exporter

if TYPE_CHECKING:
    from rondo_core.store_reader import View

logger = logging.getLogger("rondo.export")

MAX_SAMPLES = 10_000
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.5, 60.0
# A record that read the clock at the end of a bucket may land a moment after it; such a bucket waits this long.
SETTLE_NS = NS_PER_S
# How long a request that is under way at the deadline is waited for; and what no request is said to hang before.
PATIENCE_S = 5.0
# A slab of more is let go after each request, but for those that this process writes.
MAX_MAPPED_BYTES = 8 << 20
# How fast a backlog leaves beside a live store: what the process has to do comes first.
CATCH_UP_SAMPLES_PER_S = 100_000
_SKIM_HALVINGS = 3
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
        clock: Clock = wall_ns,
        count: Callable[..., None] | None = None,
    ) -> None:
        """Take up the cursor of the exporter `name`.

        Args:
            tier, fn, match, backfill: what is sent; see `Drain`.
            deadline_s: how long a final flush may take where `close` is not told otherwise.
            count: `count(metric, total, exporter=name)` receives the self-metrics; None: they stay in `outcome`.
        Attributes: `outcome`, what was done so far; `complete`, whether a run was sent to its end.
        Raises: StoreError: another process exports this store through it, or the store's directory is read-only;
            UsageError: as `Drain`.
        """
        self._view, self._exporter, self.name = view, exporter, name
        self._interval_s, self._max_samples, self._clock = interval_s, max_samples, clock
        self.deadline_s, self._count = deadline_s, count
        self._drain = Drain(view, tier=tier, fn=fn, match=match, backfill=backfill)
        self._lock = CursorLock(view.folder, name)
        self.cursor = self._saved = load_cursor(view.folder, name)
        self.outcome = Outcome()
        self.complete = False
        self._requests = Requests(exporter, self.outcome, self._on_taken)
        self._requests.doubt = bool(self.cursor.in_flight)
        self._wake = threading.Event()
        self._closing = False
        # The run whose end the last flush says, and when it is to be over (monotonic s); set when it is asked for.
        self._last: tuple[int, float] | None = None
        self._raised: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._backoff_s, self._not_before = BACKOFF_FIRST_S, 0.0
        # The bound in instants while something is refused; where the cursor stood when anything was last taken; what
        # was refused since; instants refused wholly since; halvings left where refusals are only skimmed.
        self._instants: int | None = None
        self._firm = self.cursor.positions
        self._tentative, self._wholly, self._skimming = 0, 0, -1
        self._strikes: dict[str, int] = {}
        self._count_resumed()
        for slab in (each for slabs in view.slabs.values() for each in slabs):
            slab.frugal = not slab.writable and slab.spec.file_bytes > MAX_MAPPED_BYTES

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
            except RetryableExportError as error:
                wait_s = self._failed(error)
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                self._stop(error)
                wait_s = None
        self._flush()

    def begin_close(self, ended_run: int, deadline_s: float | None = None) -> None:
        """Ask the thread for what `close` does, and wait for nothing: several runners close at the same time."""
        self._closing = True
        self._ask_last(ended_run, self.deadline_s if deadline_s is None else deadline_s)

    def close(self, ended_run: int, deadline_s: float | None = None) -> Outcome:
        """Stop the thread, send all that is left within `deadline_s`, say that the run has ended, let go.

        Call it after the store was closed: then every bucket is. What is not sent in time stays in the store. An
        exporter that hangs is left to itself soon after the deadline.
        """
        self.begin_close(ended_run, deadline_s)
        return self.wait()

    # -- in one go

    def finish(self, ended_run: int, deadline_s: float) -> Outcome:
        """Send all that is there and the run's end (0: it has not ended), retrying until the deadline; let go.

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
            if not self.outcome.stopped:
                self.send_now(ended_run, until - time.monotonic())
            self._requests.close()
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._raised = error
        self.release()

    def hangs(self, limit_s: float) -> bool:
        """Say whether the exporter has been at one request for longer than that."""
        return self._requests.under_way_s > max(limit_s, PATIENCE_S)

    def wait(self) -> Outcome:
        """Wait for the end of what `begin_close` began, or give up soon after its deadline."""
        _, until = self._last or (0, 0.0)
        limit_s = until - time.monotonic()
        while self._thread is not None and self._thread.is_alive():
            self._thread.join(_LOOK_S)
            late = self._closing and time.monotonic() > until + PATIENCE_S
            if self._thread.is_alive() and (late or self.hangs(limit_s)):
                spent = f"{self._requests.under_way_s:.0f} s"
                self._stop(ExportError(f"{self.name}: hangs, for {spent} now; the rest stays in the store"))
                note_failure(self._view.folder, self.name, self.outcome.error, self._clock())
                break
        if self._raised is not None:
            raise self._raised
        return self.outcome

    def send_now(self, ended_run: int, deadline_s: float, *, retry: bool = True) -> Outcome:
        """Send as `finish` does, and keep the exporter open and the cursor locked.

        Args: `retry`: False: leave it to the caller to try again, `outcome.retry_s` from now.
        """
        until = self._requests.until = time.monotonic() + deadline_s
        closed_ns = 1 << 62 if ended_run else self._clock() - SETTLE_NS
        wait_s = self._not_before - time.monotonic()
        while not self.outcome.stopped:
            if wait_s > 0:
                if time.monotonic() + wait_s > until:
                    break
                time.sleep(wait_s)
            try:
                self._send_all(closed_ns, ended_run)
                break
            except RetryableExportError as error:
                wait_s = self._failed(error)
                if not retry:
                    self.outcome.retry_s = wait_s
                    break
            except Exception as error:  # noqa: BLE001 - an exporter never stops the process
                self._stop(error)
        self._publish()
        return self.outcome

    def release(self) -> None:
        """Let another process move the cursor; the exporter stays open."""
        self._lock.release()

    # -- one pass

    def _let_go(self, batch: Batch) -> None:
        """Keep what a long backlog maps within bounds: a look at a slab's headers touches all of its pages."""
        for part in batch.parts:
            slab = self._view.slabs[part.schema][part.tier]
            if slab.frugal:
                slab.let_go()

    def _send_all(self, closed_ns: int, ended_run: int) -> None:
        """Send every closed bucket beyond the cursor, request by request."""
        before = self.outcome.samples
        while (drained := self._next(closed_ns)) is not None:
            if self._closing and not ended_run:
                break
            if self.outcome.stopped:  # no one waits for it any more
                return
            self._settle(drained)
            self._let_go(drained.batch)
            if self._closing and time.monotonic() > self._requests.until:
                raise RetryableExportError("no time left before the end; the rest stays in the store")
            if self._thread is threading.current_thread():
                self._wake.wait(drained.batch.n_samples / CATCH_UP_SAMPLES_PER_S)
        if self._tentative:
            if self.outcome.samples == before:
                raise ExportError(f"every sample was refused: {self.outcome.error}")
            self._on_taken()
        if ended_run > self.cursor.ended_run and self.cursor.positions:
            end = Batch((), tuple(self._drain.series()), self._view.newest_ns(), self._drain.sketched())
            if end.ended:
                self._requests.send(end)
            self.cursor = attrs.evolve(self.cursor, ended_run=ended_run)
        self._save()
        self.complete = ended_run > 0
        self._publish()

    def _next(self, closed_ns: int) -> Drained | None:
        """Give what is to be sent: the request that was under way, if there is one, else the oldest rows."""
        if self.cursor.in_flight:
            again = self._drain.up_to(self.cursor.positions, self.cursor.in_flight)
            if again is not None:
                return again
            self._unmark()
        return self._drain.next(self.cursor.positions, closed_ns, self._max_samples, self._instants)

    def _settle(self, drained: Drained) -> None:
        """Send what was drained; the cursor moves if it is settled, else it is drained again, and shorter."""
        batch, suspects = drained.batch, frozenset(self.cursor.suspects)
        whole, sent = batch.n_samples, 0
        if whole:
            rest = batch.where(lambda series: str(series) not in suspects) if suspects else batch
            self.cursor = attrs.evolve(self.cursor, in_flight=drained.positions)
            self._save()
            if self._requests.doubt:
                self.outcome.retried_samples += whole
            faults.point("export.marked")
            if self.cursor.rest_taken:
                sent = rest.n_samples
            elif rest.n_samples:
                taken = self._settle_rest(rest)
                if taken is None:
                    self._unmark()
                    return
                sent = taken
            faults.point("export.sent")
            apart = whole - rest.n_samples
            if apart:
                sent += self._settle_suspects(batch, suspects)
        self._requests.doubt = False
        self._move(drained, sent)

    def _settle_rest(self, batch: Batch) -> int | None:
        """Send a batch without suspects; give how many samples were taken, None: it is to be made shorter."""
        requests, doubted = self._requests, self._requests.doubt
        verdict = requests.send(batch)
        if verdict is Verdict.TAKEN:
            self._instants = self._instants * 2 if self._instants and self._instants < MAX_SAMPLES else None
            return batch.n_samples
        if doubted and verdict is Verdict.REFUSED and requests.was_applied(batch):
            logger.warning(
                "%s: %d samples count as delivered: sent again, they are refused", self.name, batch.n_samples
            )
            self.outcome.doubtful_samples += batch.n_samples
            self.cursor = attrs.evolve(self.cursor, doubtful=self.cursor.doubtful + batch.n_samples)
            self._on_taken()
            return batch.n_samples
        n_instants = len(batch.instants())
        if verdict is Verdict.TOO_LARGE:
            self._max_samples = max(1, min(self._max_samples, batch.n_samples) // 2)
        elif requests.streak >= MAX_REFUSED:
            return self._skim(batch, n_instants)
        if n_instants > 1:
            self._instants = n_instants // 2
            return None
        return self._take_apart(batch, doubted=doubted)

    def _take_apart(self, instant: Batch, *, doubted: bool) -> int:
        # Where instants are refused wholly, as what is too old is, not each of them is looked into: the first, second,
        # fourth ... is, and of the others the halves.
        whole = self._wholly
        taken, bad = self._requests.take_apart(instant, 1 if whole & (whole - 1) else 1 << 30)
        n_samples = instant.n_samples
        if not taken and doubted:
            self.outcome.doubtful_samples += n_samples
            return n_samples
        if not taken:
            self._wholly += 1
            self._tentative += n_samples
            return 0
        self._wholly = 0
        self._refuse(n_samples - taken)
        known = dict.fromkeys((*self.cursor.suspects, *bad))
        for series in bad:
            self._log_suspect(series)
        self.cursor = attrs.evolve(self.cursor, suspects=tuple(known)[:MAX_SUSPECTS])
        return taken

    def _skim(self, batch: Batch, n_instants: int) -> int | None:
        """Pass over what is refused in a few requests for each batch, to see whether anything newer is taken."""
        if self._skimming < 0:
            self._skimming, self._instants = _SKIM_HALVINGS, None
        if self._skimming and n_instants > 1:
            self._skimming, self._instants = self._skimming - 1, n_instants // 2
            return None
        self._tentative += batch.n_samples
        return 0

    def _settle_suspects(self, batch: Batch, suspects: frozenset[str]) -> int:
        """Send each suspect's samples in requests of their own; give how many were taken."""
        if not self.cursor.rest_taken:
            self.cursor = attrs.evolve(self.cursor, rest_taken=True)
            self._save()
        taken = 0
        for name in suspects:
            mine = batch.where(lambda series, name=name: str(series) == name)  # type: ignore[misc]
            n_samples = mine.n_samples
            if not n_samples:
                continue
            strikes = self._strikes.get(name, 0)
            got, _ = self._requests.send_alone(mine, max(1, SUSPECT_TRIES >> strikes))
            taken += got
            self._refuse(n_samples - got)
            self._strikes[name] = 0 if got else strikes + 1
            if got == n_samples:
                kept = tuple(each for each in self.cursor.suspects if each != name)
                self.cursor = attrs.evolve(self.cursor, suspects=kept)
        return taken

    # -- where the cursor stands

    def _move(self, drained: Drained, sent: int) -> None:
        outcome, rejected = self.outcome, min(sent, self._requests.rejected)
        self._requests.rejected = 0
        if rejected:
            self._refuse(rejected)
            sent -= rejected
        outcome.samples += sent
        outcome.overwritten_buckets += drained.overwritten
        if drained.coarse and not outcome.coarse_buckets:
            logger.warning(
                "%s: the finest tier was overwritten before it was sent; coarser windows stand in", self.name
            )
        outcome.coarse_buckets += drained.coarse
        if sent:
            stamps = [int(part.timestamps_ns[-1]) for part in drained.batch.parts]
            outcome.acknowledged_ns = max([outcome.acknowledged_ns, *stamps])
        counts = {"samples": sent, "overwritten": drained.overwritten, "coarse": drained.coarse}
        self.cursor = self.cursor.moved(drained.positions, **counts)
        if not self._tentative:
            self._firm = self.cursor.positions
        self._backoff_s = BACKOFF_FIRST_S
        self._publish()

    def _on_taken(self) -> None:
        """Settle what was refused before: the receiver takes other samples, so it is these that it does not want."""
        self._refuse(self._tentative)
        self._tentative, self._wholly, self._skimming = 0, 0, -1
        self._firm = self.cursor.positions

    def _refuse(self, n_samples: int) -> None:
        self.outcome.refused_samples += n_samples
        self.cursor = attrs.evolve(self.cursor, refused=self.cursor.refused + n_samples)

    def _unmark(self) -> None:
        self.cursor = attrs.evolve(self.cursor, in_flight={}, rest_taken=False)
        self._requests.doubt = False

    def _save(self) -> None:
        """Save where the cursor stands; while all is refused that is where it stood before, with the rest under way.

        Raises: RetryableExportError: the disk has no room.
        """
        cursor = self.cursor
        if self._firm != cursor.positions:
            behind = {key: end for key, end in cursor.positions.items() if self._firm.get(key) != end}
            ahead = {**behind, **cursor.in_flight} if cursor.in_flight else {}
            cursor = attrs.evolve(cursor, positions=self._firm, in_flight=ahead)
        if cursor == self._saved:
            return
        try:
            save_cursor(self._view.folder, cursor)
        except StoreError as error:
            raise RetryableExportError(str(error)) from None
        self._saved = cursor

    def _count_resumed(self) -> None:
        """Count the buckets that were sent as the last of a run, and that the next run has recorded into again."""
        resumed = resumed_tiers(self._view, self.cursor)
        self.outcome.resumed_buckets = len(resumed)
        if resumed:
            what = "the run's first buckets were sent as the last of the run before; the values sent then stand"
            logger.warning("%s: %s: %s", self.name, ", ".join(resumed), what)

    # -- failures

    def _failed(self, error: RetryableExportError) -> float:
        """Note a failure that may pass, and say how long to wait, s."""
        self._note(error)
        wait_s = min(BACKOFF_LAST_S, self._backoff_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_LAST_S)
        asked_s = error.retry_after_s or 0.0
        self._not_before = time.monotonic() + asked_s  # a last flush waits for nothing else
        return max(wait_s, asked_s)

    def _stop(self, error: Exception) -> None:
        if self._tentative:
            self.cursor = attrs.evolve(self.cursor, positions=self._firm, in_flight={}, rest_taken=False)
            self._tentative = 0
        self.outcome.stopped = True
        self._note(error)

    def _note(self, error: Exception) -> None:
        self._requests.note(error)
        self.cursor = attrs.evolve(self.cursor, error=self.outcome.error[:500], error_ns=self._clock())
        if self._thread is None or self._thread is threading.current_thread() or not self._thread.is_alive():
            with contextlib.suppress(RetryableExportError):
                self._save()
        self._publish()

    def _log_suspect(self, series: str) -> None:
        if series not in self._strikes:
            self._strikes[series] = 0
            logger.warning("%s: %s is refused while others are taken: %s", self.name, series, self.outcome.error)

    def _publish(self) -> None:
        if self._count is not None:
            self.outcome.publish(self._count, self.name)


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

    Args: `labels`: what every series gets on its way out, unless it has it; `options`: the runner's, which those in the
        config go before.
    Raises: as `open_exporter`; UsageError: an option is wrong; StoreError: see `Runner`.
    """
    mine, rest = runner_options(name, config)
    try:
        opened = open_exporter(name, mine.pop("plugin"), rest)
    except RondoError as error:
        note_failure(view.folder, name, one_line(error), clock())
        raise
    exporter = Labelled(opened, labels) if labels else opened
    try:
        return Runner(view, exporter, name, clock=clock, count=count, **{**options, **mine})
    except RondoError:
        exporter.close()
        raise
