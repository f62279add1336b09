"""One batch through an exporter: send it, and find what of it is not taken; no thread, no file.

A refused instant is taken apart by series, a batch that is answered with not now by series too: a series that is not
taken while others are is a suspect, which is isolated: sent alone from then on, so that it never blocks the rest.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from enum import Enum
from typing import cast

import attrs

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import (
    AnswerLostError,
    BatchTooLargeError,
    ExportError,
    PermanentExportError,
    ReceiverAwayError,
    RetryableExportError,
    UsageError,
    one_line,
)
from rondo_core.export.batch import Batch, EventRequest
from rondo_core.hookspecs import EventExporter, Exporter

logger = logging.getLogger("rondo.export")

# So many refusals in a row, and what is refused is not looked into any more, only whether anything newer is taken;
# four times as many, and the receiver refuses everything. One that did so before is asked fewer times.
MAX_REFUSED = 500
LEAST_REFUSED = 4
SUSPECT_TRIES = 16
# How a receiver that answers not now is asked whether it takes anything: halvings by series, 2 + 4 + 8 requests, then
# so many single series.
SEARCH_DEPTH, LOOK_SINGLES = 3, 8


class Verdict(Enum):
    """What became of one request."""

    TAKEN = "taken"
    REFUSED = "refused"
    TOO_LARGE = "too large"
    NOT_NOW = "not now"


class RefusesAllError(ExportError):
    """The receiver refuses whatever it is sent: it is the receiver, not the samples."""


@attrs.define
class BatchOutcome:
    """What became of a batch.

    Attributes:
        taken, rejected: samples of requests that were taken, and those of them that their receiver did not write, or
            that no request can carry.
        counted: how many of those that were taken the ledger has already.
        bad: series of which the sample of one instant was refused alone.
        isolated: series that are to be sent apart in the same batch yet.
        blocked: series that were answered with not now alone while others were taken; whether they may have arrived.
        newest_ns: the newest timestamp that was taken.
    """

    taken: int = 0
    rejected: int = 0
    counted: int = 0
    bad: list[str] = attrs.field(factory=list)
    isolated: list[str] = attrs.field(factory=list)
    blocked: dict[str, bool] = attrs.field(factory=dict)
    newest_ns: int = 0


class Delivery:
    """Sends batches through an exporter, and counts what becomes of requests.

    Attributes:
        requests, failures, send_s: sent, and of these not taken; the time spent in them, s.
        error: the last failure in words.
        found: what became of the batch since `begin`; `n_taken`, how many requests were taken ever; `n_events_taken`,
            how many of marks and notes.
        unanswered: whether what was sent since `begin` may have arrived although no one said so.
        streak: refusals since anything was taken.
        until: when to give up (monotonic s).
    """

    def __init__(self, exporter: Exporter) -> None:
        """Bind to an exporter."""
        self._exporter = exporter
        self.requests, self.failures, self.send_s, self.error = 0, 0, 0.0, ""
        self.n_taken, self.n_events_taken, self.streak, self.until = 0, 0, 0, float("inf")
        self.found, self.unanswered = BatchOutcome(), False
        self._max_refused = MAX_REFUSED
        self._began_ns = 0
        self._logged: set[str] = set()

    def begin(self) -> None:
        """Begin with a batch."""
        self.found, self.unanswered = BatchOutcome(), False

    def send(self, batch: Batch) -> Verdict:
        """Send a batch, or a share of one, in one request.

        Raises: ReceiverAwayError, AnswerLostError, RetryableExportError: not now, or no time is left; RefusesAllError:
            the receiver takes nothing at all; ExportError: it cannot be used as it is; anything else: the exporter's.
        """
        try:
            with self._request():
                rejected = self._exporter.send(batch) or 0
        except PermanentExportError as error:
            self.note(error)
            self.streak += 1
            self._check_patience(error)
            return Verdict.REFUSED
        except BatchTooLargeError as error:
            self._log(error)
            return Verdict.TOO_LARGE
        except Exception as error:
            self.unanswered |= _may_have_arrived(error)
            raise
        self._take(batch, int(rejected))
        return Verdict.TAKEN

    def send_event(self, request: EventRequest) -> Verdict:
        """Send a mark or a note. Raises: as the exporter, where it is neither taken nor refused."""
        self.unanswered = False
        try:
            with self._request():
                cast("EventExporter", self._exporter).send_event(request)
        except (PermanentExportError, BatchTooLargeError) as error:
            self.note(error)
            return Verdict.REFUSED
        except Exception as error:
            self.unanswered = _may_have_arrived(error)
            raise
        self.n_events_taken += 1
        return Verdict.TAKEN

    @contextlib.contextmanager
    def _request(self) -> Iterator[None]:
        """Count a request, and the time that the exporter is at it."""
        started = self._began_ns = monotonic_ns()
        self.requests += 1
        try:
            yield
        finally:
            self._began_ns = 0
            self.send_s += (monotonic_ns() - started) / NS_PER_S

    def _take(self, batch: Batch, rejected: int) -> None:
        found, n_samples = self.found, batch.n_samples
        rejected = min(max(rejected, 0), n_samples)
        found.taken += n_samples
        found.rejected += rejected
        if rejected and rejected == n_samples:  # it says that it has none of it
            return
        found.newest_ns = max([found.newest_ns, *(int(part.timestamps_ns[-1]) for part in batch.parts)])
        self.n_taken += 1
        self.streak, self._max_refused = 0, MAX_REFUSED

    def _check_patience(self, error: Exception) -> None:
        if self.streak >= 4 * self._max_refused:
            self.streak, self._max_refused = 0, max(LEAST_REFUSED, self._max_refused // 8)
            raise RefusesAllError(f"everything is refused: {error}") from None
        if monotonic_ns() / NS_PER_S > self.until:
            raise RetryableExportError(f"no time left to find what is refused: {error}") from None

    @property
    def has_refused_much(self) -> bool:
        """Whether so much was refused in a row that it is not looked into any more."""
        return self.streak >= self._max_refused

    def close(self) -> None:
        """Close the exporter; what it raises no longer matters."""
        self._began_ns = monotonic_ns()
        with contextlib.suppress(Exception):
            self._exporter.close()
        self._began_ns = 0

    @property
    def under_way_s(self) -> float:
        """How long the exporter has been at it now; 0 where it is not."""
        began_ns = self._began_ns
        return (monotonic_ns() - began_ns) / NS_PER_S if began_ns else 0.0

    def note(self, error: Exception) -> None:
        """Count a failure, and log it if it is the first of its kind."""
        self.failures += 1
        self.error = one_line(error)
        self._log(error)

    def _log(self, error: Exception) -> None:
        kind = f"{type(error).__name__}: {error}"[:80]
        if kind not in self._logged and len(self._logged) < 1000:
            self._logged.add(kind)
            logger.warning("%s", one_line(error))

    # -- what is refused

    def bisect_series(self, instant: Batch, depth: int) -> None:
        """Send the halves, by series, of an instant that was not taken, and theirs, down to single series.

        Args: `depth`: how often what is refused is halved.
        """
        halves = instant.filled().split_series()
        if halves is None:
            self.found.bad += _names(instant)
            return
        if depth <= 0:
            return
        for half in halves:
            verdict = self.send(half)
            if verdict is not Verdict.TAKEN:
                self.bisect_series(half, depth - (verdict is Verdict.REFUSED))

    def send_alone(self, batch: Batch, tries: int) -> int:
        """Send one suspect's samples, halved by time where they are refused, until `tries` refusals in a row.

        Returns: how many tries are left.
        """
        streak = self.streak
        try:
            verdict = self.send(batch)
        finally:
            self.streak = min(self.streak, streak)  # a suspect's refusals say nothing about the others
        if verdict is Verdict.TAKEN:
            return SUSPECT_TRIES
        tries -= verdict is Verdict.REFUSED
        halves = batch.split_time()
        for half in halves or ():
            if tries > 0 and half.n_samples:
                tries = self.send_alone(half, tries)
        return tries

    # -- what is answered with not now

    def isolate_blocked(self, batch: Batch, error: Exception) -> bool:
        """Find the series that a receiver answers not now to, while it takes others; those are sent by it.

        Returns: whether that is done; if not, even shares of the batch are too large: it is to be made shorter.
        Raises: `error`: it takes nothing; ReceiverAwayError: it is not there any more.
        """
        level, depth, several = [batch.filled()], SEARCH_DEPTH, len(batch.instants()) > 1
        while depth:
            depth -= 1
            # A single series is among the next level too, as what was tried.
            shares = [(half, True) for piece in level for half in _halves(piece)]
            shares += [(piece, False) for piece in level if not _halves(piece)]
            level = [piece for piece, _ in shares]
            for at, (piece, untried) in enumerate(shares):
                verdict = self.try_to_send(piece) if untried else Verdict.NOT_NOW
                if verdict is Verdict.TAKEN:
                    self._find_blocked(level[:at] + level[at + 1 :])
                    return True
                if verdict is Verdict.TOO_LARGE:
                    if several:
                        return False
                    depth = max(depth, 1)
        names = _names(batch)
        for name in names[:: max(1, len(names) // LOOK_SINGLES)] if len(names) > len(level) else ():
            if self.try_to_send(batch.where(lambda series, name=name: str(series) == name)) is Verdict.TAKEN:  # type: ignore[misc]
                self._find_blocked([batch.where(lambda series, name=name: str(series) != name)])  # type: ignore[misc]
                return True
        raise error

    def try_to_send(self, piece: Batch) -> Verdict:
        """Send a share that may be what the receiver does not take: whatever it answers is a verdict.

        Raises: ReceiverAwayError, RefusesAllError, UsageError: as `send`; RetryableExportError: no time is left.
        """
        if monotonic_ns() / NS_PER_S > self.until:
            raise RetryableExportError(f"no time left to find what is not taken: {self.error}")
        try:
            return self.send(piece)
        except (ReceiverAwayError, RefusesAllError, UsageError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it may be this series' alone
            self.note(error)
            return Verdict.NOT_NOW

    def _find_blocked(self, shares: list[Batch]) -> None:
        """Send shares of a batch, of what is not taken the halves, down to single series."""
        for share in shares:
            unanswered, self.unanswered = self.unanswered, False
            verdict = self.try_to_send(share)
            lost, self.unanswered = self.unanswered, self.unanswered or unanswered
            halves = _halves(share)
            if verdict is Verdict.TAKEN:
                continue
            if halves:
                self._find_blocked(halves)
            elif verdict is Verdict.REFUSED:
                self.found.isolated += _names(share)
            else:
                self.found.blocked.update(dict.fromkeys(_names(share), lost))


def _may_have_arrived(error: Exception) -> bool:
    """Say whether what was sent may have been taken although this was raised."""
    return isinstance(error, AnswerLostError) or not isinstance(error, ExportError)


def _halves(piece: Batch) -> list[Batch]:
    """Give the halves by series of a batch, of the series that hold a value; none of a single one."""
    halves = [half.filled() for half in piece.filled().split_series() or ()]
    return [half for half in halves if half.parts]


def _names(batch: Batch) -> list[str]:
    return list(_filled_names(batch))


def _filled_names(batch: Batch) -> Iterator[str]:
    for part in batch.filled().parts:
        yield from map(str, part.series)
