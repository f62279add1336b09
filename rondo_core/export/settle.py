"""Find out what a receiver takes of a batch: one request at a time, the oldest first, in a bounded number of them.

A refused batch is made shorter until one instant is refused; that is taken apart by series. A series that is refused
while others are taken is a suspect: from then on it is sent apart, so that it never blocks the rest.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from enum import Enum

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import BatchTooLargeError, ExportError, PermanentExportError, RetryableExportError, one_line
from rondo_core.export.batch import Batch
from rondo_core.export.outcome import Outcome
from rondo_core.hookspecs import Exporter

logger = logging.getLogger("rondo.export")

# So many refusals in a row, and what is refused is not looked into any more, only whether anything newer is taken;
# four times as many, and the receiver refuses everything.
MAX_REFUSED = 500
# Halvings by series of the oldest instant that tell whether a request had arrived: 1 + 2 + 4 + 8 requests.
DOUBT_DEPTH = 3
SUSPECT_TRIES = 16


class Verdict(Enum):
    """What became of one request."""

    TAKEN = "taken"
    REFUSED = "refused"
    TOO_LARGE = "too large"


class Requests:
    """Sends batches through an exporter, one request each, and counts what becomes of them.

    Attributes: `streak`, refusals since anything was taken; `rejected`, samples that receivers refused while they took
    the rest of a request, until the runner has counted them; `doubt`, whether the last request may have arrived
    although no one said so; `until`, when to give up (monotonic s).
    """

    def __init__(self, exporter: Exporter, outcome: Outcome, on_taken: Callable[[], None]) -> None:
        """Bind to an exporter; `on_taken` is called whenever it has taken something."""
        self._exporter, self._outcome, self._on_taken = exporter, outcome, on_taken
        self.streak, self.doubt, self.until = 0, False, float("inf")
        self.rejected = 0
        self._began_ns = 0
        self._logged: set[str] = set()

    def send(self, batch: Batch) -> Verdict:
        """Send a batch.

        Raises: RetryableExportError: not now, or no time is left; ExportError: the receiver takes nothing at all.
        """
        outcome, started = self._outcome, monotonic_ns()
        outcome.requests += 1
        self._began_ns = started
        try:
            rejected = self._exporter.send(batch) or 0
        except PermanentExportError as error:
            self.note(error)
            self.streak += 1
            if self.streak >= 4 * MAX_REFUSED:
                raise ExportError(f"everything is refused: {error}") from None
            if monotonic_ns() / NS_PER_S > self.until:
                raise RetryableExportError(f"no time left to find what is refused: {error}") from None
            return Verdict.REFUSED
        except BatchTooLargeError as error:
            self._log(error)
            return Verdict.TOO_LARGE
        except Exception:
            self.doubt = True
            raise
        finally:
            self._began_ns = 0
            outcome.send_s += (monotonic_ns() - started) / NS_PER_S
        self.rejected += min(max(rejected, 0), batch.n_samples)
        self.streak = 0
        self._on_taken()
        return Verdict.TAKEN

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
        self._outcome.failures += 1
        self._outcome.error = one_line(error)
        self._log(error)

    def _log(self, error: Exception) -> None:
        kind = f"{type(error).__name__}: {error}"[:80]
        if kind not in self._logged:
            self._logged.add(kind)
            logger.warning("%s", one_line(error))

    def was_applied(self, batch: Batch) -> bool:
        """Say whether a batch that is refused when sent again had arrived: then nothing of its oldest instant is taken.

        Receivers refuse what is older than what they have of a series, which all of that instant is where they had it.
        """
        probe = batch.oldest_followed()
        return bool(probe.parts) and not self._any_taken(probe, DOUBT_DEPTH)

    def _any_taken(self, batch: Batch, depth: int) -> bool:
        if self.send(batch) is Verdict.TAKEN:
            return True
        halves = batch.split_series() if depth else None
        return halves is not None and any(self._any_taken(half, depth - 1) for half in halves)

    def take_apart(self, instant: Batch, depth: int) -> tuple[int, list[str]]:
        """Send the halves, by series, of an instant that was not taken, and theirs, down to single series.

        Args: `depth`: how often what is refused is halved.
        Returns: how many samples were taken, and the series that were refused alone.
        """
        halves = instant.filled().split_series()
        if halves is None:
            return 0, [str(series) for part in instant.filled().parts for series in part.series]
        if depth <= 0:
            return 0, []
        taken, bad = 0, list[str]()
        for half in halves:
            verdict = self.send(half)
            if verdict is Verdict.TAKEN:
                taken += half.n_samples
                continue
            more, worse = self.take_apart(half, depth - (verdict is Verdict.REFUSED))
            taken, bad = taken + more, bad + worse
        return taken, bad

    def send_alone(self, batch: Batch, tries: int) -> tuple[int, int]:
        """Send one suspect's samples, halved by time where they are refused, until `tries` refusals in a row.

        Returns: how many samples were taken, and how many tries are left.
        """
        streak = self.streak
        try:
            verdict = self.send(batch)
        finally:
            self.streak = streak  # a suspect's refusals say nothing about the others
        if verdict is Verdict.TAKEN:
            return batch.n_samples, SUSPECT_TRIES
        tries -= 1
        halves = batch.split_time()
        if halves is None or tries <= 0:
            return 0, tries
        taken = 0
        for half in halves:
            if tries > 0 and half.n_samples:
                more, tries = self.send_alone(half, tries)
                taken += more
        return taken, tries
