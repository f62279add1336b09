"""Series that a receiver does not take while it takes others: they are sent apart, so that they block no other.

What it refuses of one is refused. One that it answers with not now waits on its own: what is pending of it stays so, it
is tried at growing intervals, and counts as refused after so many tries in which others were taken.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import attrs

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import ReceiverAwayError, RetryableExportError, UsageError
from rondo_core.export.batch import Batch
from rondo_core.export.cursor import Held
from rondo_core.export.delivery import SUSPECT_TRIES, Delivery, RefusesAllError
from rondo_core.export.drain import Drain, Drained
from rondo_core.export.http import MAX_RETRY_AFTER_S
from rondo_core.export.ledger import Ledger, Share

logger = logging.getLogger("rondo.export")

WAIT_FIRST_S, WAIT_LAST_S = 1.0, 60.0
_READ_AHEAD = 10


class IsolatedSeries:
    """The series of one store that are sent apart."""

    def __init__(self, name: str, drain: Drain, ledger: Ledger, delivery: Delivery) -> None:
        """Send them through `delivery`, as `ledger` has them."""
        self.name, self._drain, self._ledger, self._delivery = name, drain, ledger, delivery
        # Refusals of all of a batch in a row; when a series that waits is tried (monotonic s), and the wait after that;
        # how many requests had been taken when it was.
        self._strikes: dict[str, int] = {}
        self._not_before: dict[str, tuple[float, float]] = {}
        self._taken_at: dict[str, int] = {}

    def send(self, drained: Drained, suspects: Iterable[str]) -> None:
        """Send each suspect's samples in requests of their own."""
        delivery = self._delivery
        for name in sorted(suspects):
            mine = drained.batch.where(lambda series, name=name: str(series) == name)  # type: ignore[misc]
            n_samples = mine.n_samples
            if not n_samples or name in delivery.found.blocked:
                continue
            strikes, before = self._strikes.get(name, 0), delivery.found.taken
            lost, delivery.unanswered = delivery.unanswered, False
            try:
                delivery.send_alone(mine, max(1, SUSPECT_TRIES >> strikes))
            except (ReceiverAwayError, RefusesAllError, UsageError):
                raise
            except Exception as error:
                if delivery.found.taken > before or not self._ledger.can_hold([name]):
                    raise
                delivery.note(error)
                delivery.found.blocked[name] = delivery.unanswered
            finally:
                delivery.unanswered |= lost
            got = delivery.found.taken - before
            self._strikes[name] = 0 if got else strikes + 1
            self._ledger.suspect([name])
            if got == n_samples:
                self._ledger.clear(name)

    def hold(self, drained: Drained, blocked: Mapping[str, bool]) -> None:
        """Let series wait on their own."""
        if not blocked:
            return
        sources = {key.rpartition(".")[0]: key for key in drained.starts}
        for part in drained.batch.parts:
            key = sources[part.schema]
            for name in map(str, part.series):
                if name in blocked and name not in self._ledger.cursor.held:
                    held = Held(key, drained.starts[key], doubtful=blocked[name])
                    self._ledger.hold(name, held)
                    self._not_before[name] = monotonic_ns() / NS_PER_S + WAIT_FIRST_S, WAIT_FIRST_S * 2
                    self.log(name, "waits: not now is the answer to it, while others are taken")

    def send_waiting(self, max_samples: int, *, all_of_them: bool) -> None:
        """Try the series that wait: those whose time has come, or all."""
        for name in list(self._ledger.cursor.held):
            at_s, wait_s = self._not_before.get(name, (0.0, WAIT_FIRST_S))
            if monotonic_ns() / NS_PER_S < at_s and not all_of_them:
                continue
            try:
                self._send_one(name, max_samples)
            except (ReceiverAwayError, RefusesAllError, UsageError):
                raise
            except Exception as error:  # noqa: BLE001 - it is this series' alone
                self._delivery.note(error)
                after_s = max(wait_s, wait_asked_s(error))
                self._not_before[name] = monotonic_ns() / NS_PER_S + after_s, min(wait_s * 2, WAIT_LAST_S)
            else:
                self._not_before.pop(name, None)
                self._taken_at.pop(name, None)

    def _send_one(self, name: str, max_samples: int) -> None:
        ledger, delivery = self._ledger, self._delivery
        while (held := ledger.cursor.held.get(name)) is not None:
            ends = {held.key: ledger.positions.get(held.key, 0)}
            # The others' columns are read with it: not more rows at a time than they fill a few requests with.
            drained = self._drain.up_to({held.key: held.position}, ends, _READ_AHEAD * max_samples)
            if drained is None:
                drained = Drained(Batch(()), ends, 0)
            mine = drained.batch.where(lambda series: str(series) == name)
            n_samples = mine.n_samples
            delivery.begin()
            tries = held.tries + (delivery.n_taken > self._taken_at.get(name, -1))
            if n_samples:
                try:
                    delivery.send_alone(mine, SUSPECT_TRIES)
                except Exception:
                    # So often, while others were taken, and it is refused for good, a batch at a time.
                    if tries < SUSPECT_TRIES:
                        doubtful = held.doubtful or delivery.unanswered
                        ledger.hold(name, attrs.evolve(held, tries=tries, doubtful=doubtful))
                        self._taken_at[name] = delivery.n_taken
                        raise
            found = delivery.found
            taken, untaken = found.taken - found.rejected, n_samples - found.taken
            ledger.account_for_held(
                name, drained, Share(taken, found.rejected, untaken, held.doubtful, found.newest_ns)
            )

    def log(self, series: str, what: str) -> None:
        """Say what is the matter with a series, once."""
        if series not in self._strikes:
            self._strikes[series] = 0
            logger.warning("%s: %s %s: %s", self.name, series, what, self._delivery.error)


def wait_asked_s(error: Exception) -> float:
    """Give how long the receiver wants to be left alone, s: what a plugin says of it may be anything."""
    asked_s = error.retry_after_s if isinstance(error, RetryableExportError) else None
    return min(asked_s, MAX_RETRY_AFTER_S) if asked_s is not None and asked_s > 0 else 0.0
