"""What is pending of one store, request by request, until it is counted.

What is about to be sent is marked in the ledger first, and the ledger moves only after it was counted: taken, or
refused for good. So after a crash one request, at most, is sent a second time, as it was. A refused batch is made
shorter until one instant is refused; that is taken apart by series.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import attrs

from rondo_core import faults
from rondo_core.errors import ReceiverAwayError, UsageError
from rondo_core.export.batch import Batch, RunEnd
from rondo_core.export.delivery import Delivery, RefusesAllError, Verdict
from rondo_core.export.drain import Drain, Drained
from rondo_core.export.isolated import IsolatedSeries
from rondo_core.export.ledger import Ledger, RequestBound, Share
from rondo_core.export.sources import FOR_EVER

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View

logger = logging.getLogger("rondo.export")

# An answer of not now is looked into at the third, sixth, twelfth ... in a row: it may be some series' alone.
LOOK_AFTER = 3
MAX_INSTANTS = 10_000
_PROBE_HALVINGS = 3
# Halvings of the end of a run that is too much at once, or refused.
_END_HALVINGS = 6


class Sender:
    """Sends what is pending, oldest first. Attributes: `retried`, samples sent again because they may have arrived."""

    def __init__(
        self, name: str, view: View, drain: Drain, ledger: Ledger, delivery: Delivery, max_samples: int
    ) -> None:
        """Send what `drain` gives through `delivery`, as `ledger` has it."""
        self.name, self._view, self._drain = name, view, drain
        self._ledger, self._delivery = ledger, delivery
        self._max_samples, self._too_large = max_samples, False
        self._isolated = IsolatedSeries(name, drain, ledger, delivery)
        self.retried = 0
        # The bound in instants while something is refused; instants refused wholly since anything was taken; halvings
        # left where only a few requests are tried.
        self._instants: int | None = None
        self._n_refused_instants, self._halvings_left = 0, -1
        self._taken_before = 0
        self._said_coarse = False
        self._ended = set[str]()
        # Whether the next answer of not now is looked into at once: what was looked into was too large.
        self._looking = False

    def begin_pass(self) -> None:
        """Begin to send what is pending."""
        self._taken_before = self._delivery.n_taken

    def send_next(self, closed_ns: int) -> Drained | None:
        """Send one batch of what is pending, of buckets that ended by `closed_ns`; give it, or None: nothing is.

        Raises: as Delivery.send; what was not counted is sent anew by the next call.
        """
        self._ledger.step_back(self._drain.stepped(self._ledger.positions, self._ledger.sent))
        while True:
            bound = self._ledger.bound()
            drained = self._next(bound, closed_ns)
            if drained is not None or bound is None:
                break
            self._ledger.skip_in_flight()
        if drained is not None:
            self._send_drained(drained, bound)
        return drained

    def end_pass(self, ended_run: int) -> None:
        """Count what was refused, try the series that wait, and say which run has ended, if any (0: none).

        Raises: RefusesAllError: nothing was taken; as Delivery.send.
        """
        ledger = self._ledger
        if ledger.is_unconfirmed:
            if self._delivery.n_taken == self._taken_before:
                raise RefusesAllError(f"every sample was refused: {self._delivery.error}")
            ledger.confirm()
        self._isolated.send_waiting(self._max_samples, all_of_them=ended_run > 0)
        if ended_run > ledger.cursor.ended_run:
            if ledger.cursor.positions:
                self._end(ended_run)
            if not (ledger.cursor.held or self._drain.is_nameless()):
                ledger.end_run(ended_run)
        ledger.save()

    def end_run(self, ended_run: int) -> None:
        """Count the end of a run of which no sample is sent; 0: none has ended."""
        if ended_run > self._ledger.cursor.ended_run:
            self._ledger.end_run(ended_run)
        self._ledger.save()

    def _end(self, run: int) -> None:
        """Say of every series that it has ended, of suspects in requests apart; those that wait have not."""
        cursor = self._ledger.cursor
        done = self._ended | set(cursor.held)
        end = self._drain.ended(self._view.newest_ns(), lambda series: str(series) not in done)
        end = attrs.evolve(end, run=RunEnd(str(self._view.path), run, cursor.samples))
        suspects = set(cursor.suspects)
        rest = tuple(series for series in end.ended if str(series) not in suspects)
        self._delivery.begin()
        self._send_end(attrs.evolve(end, ended=rest), _END_HALVINGS)
        self._ended |= set(map(str, rest))
        for series in end.ended:
            if str(series) in suspects:
                self._delivery.try_to_send(attrs.evolve(end, ended=(series,)))
                self._ended.add(str(series))

    def _send_end(self, end: Batch, halvings: int) -> None:
        if not end.ended or self._delivery.send(end) is Verdict.TAKEN or not halvings:
            return
        middle = len(end.ended) // 2
        for half in (end.ended[:middle], end.ended[middle:]) if middle else ():
            self._send_end(attrs.evolve(end, ended=half), halvings - 1)

    def retract(self) -> None:
        """Let what was refused be pending again, and begin anew with it."""
        self._ledger.retract()
        self._instants, self._n_refused_instants, self._halvings_left = None, 0, -1

    def _next(self, bound: RequestBound | None, closed_ns: int) -> Drained | None:
        """Give what is to be sent: of what may have arrived, as it was, if there is any; else the oldest rows."""
        ledger, drain = self._ledger, self._drain
        if bound is None:
            return drain.next(ledger.positions, closed_ns, self._max_samples, self._instants, ledger.sent)
        # Sent again it is equal to the first try, unless that is known to be too much.
        max_samples = FOR_EVER if self._instants is None and not self._too_large else self._max_samples
        return drain.up_to(ledger.positions, bound.ends, max_samples, self._instants, ledger.sent)

    def _send_drained(self, drained: Drained, bound: RequestBound | None) -> None:
        """Send what was drained; the ledger moves if it is counted, else it is drained again, and shorter."""
        ledger, delivery, batch = self._ledger, self._delivery, drained.batch
        doubtful = bound is not None and bound.doubtful
        if doubtful:
            batch = attrs.evolve(batch, resent=True)
            drained = attrs.evolve(drained, batch=batch)
        whole = batch.n_samples
        if not whole:
            ledger.account_for(drained, Share())
            return
        suspects = set(ledger.cursor.suspects)
        rest = batch.where(lambda series: str(series) not in suspects) if suspects else batch
        n_rest = rest.n_samples if suspects else whole
        ledger.begin(drained)
        faults.point("export.marked")
        delivery.begin()
        found = delivery.found
        try:
            if bound is not None and bound.only_suspects:
                n_rest = 0
            elif n_rest:
                self.retried += n_rest if doubtful and self._instants is None else 0
                if not self._send_rest(rest, doubtful=doubtful):
                    ledger.failed(may_have_arrived=delivery.unanswered, answered=False)
                    return
            faults.point("export.sent")
            self._isolated.hold(drained, found.blocked)
            share = Share(found.taken - found.rejected, found.rejected, n_rest - found.taken, doubtful, found.newest_ns)
            if later := {*found.blocked, *found.isolated}:
                n_later = rest.where(lambda series: str(series) in later).n_samples
                share = attrs.evolve(share, untaken=share.untaken - n_later)
            share = self._send_isolated(drained, suspects | set(found.isolated), share)
        except Exception as error:
            # What was taken of it and is not counted yet is sent once more, and may be refused then.
            may_have_arrived = delivery.unanswered or found.taken > found.counted
            ledger.failed(may_have_arrived=may_have_arrived, answered=not isinstance(error, ReceiverAwayError))
            raise
        if found.taken > found.rejected:
            self._n_refused_instants, self._halvings_left = 0, -1
        ledger.account_for(drained, share)
        if drained.coarse and not self._said_coarse:
            self._said_coarse = True
            what = "the finest tier was overwritten before it was sent; coarser windows stand in"
            logger.warning("%s: %s", self.name, what)

    def _send_isolated(self, drained: Drained, suspects: set[str], share: Share) -> Share:
        """Send what of a batch goes apart; `share` is what became of the others. Gives what is to be counted yet."""
        ledger, found = self._ledger, self._delivery.found
        ledger.suspect(found.isolated)
        isolated = suspects - set(ledger.cursor.held)
        mine = drained.batch.where(lambda series: str(series) in isolated) if isolated else Batch(())
        if not mine.n_samples:
            return share
        if share.taken:
            ledger.begin_isolated(drained, share)
            found.counted = found.taken
            share = Share(doubtful=share.doubtful)
        taken, rejected = found.taken, found.rejected
        self._isolated.send(drained, isolated)
        self._isolated.hold(drained, found.blocked)
        held = ledger.cursor.held
        accounted = mine.where(lambda series: str(series) not in held).n_samples
        return attrs.evolve(
            share,
            taken=share.taken + found.taken - taken - (found.rejected - rejected),
            rejected=share.rejected + found.rejected - rejected,
            untaken=share.untaken + accounted - (found.taken - taken),
            newest_ns=found.newest_ns,
        )

    def _send_rest(self, batch: Batch, *, doubtful: bool) -> bool:
        """Send a batch without suspects; say whether it is counted: if not, it is to be made shorter."""
        delivery = self._delivery
        try:
            verdict = delivery.send(batch)
        except (ReceiverAwayError, RefusesAllError, UsageError):
            raise
        except Exception as error:
            times, rest = divmod(self._ledger.cursor.tries + 1, LOOK_AFTER)
            if not self._looking and (rest or times & (times - 1)):
                raise
            verdict = self._isolate_blocked(batch, error)
        n_instants = len(batch.instants()) if verdict is not Verdict.TAKEN else 0
        self._looking &= verdict is not Verdict.TAKEN
        if verdict is Verdict.TAKEN:
            self._instants = self._instants * 2 if self._instants and self._instants < MAX_INSTANTS else None
            return True
        if verdict is Verdict.TOO_LARGE:
            self._max_samples, self._too_large = max(1, min(self._max_samples, batch.n_samples) // 2), True
        elif delivery.has_refused_much:
            return self._probe_newer(n_instants)
        if n_instants > 1:
            self._instants = n_instants // 2
            return False
        self._bisect_series(batch, doubtful=doubtful, too_large=verdict is Verdict.TOO_LARGE)
        return True

    def _bisect_series(self, instant: Batch, *, doubtful: bool, too_large: bool) -> None:
        # Where instants are refused wholly, as what is too old or had arrived is, not each of them is looked into: the
        # first, second, fourth ... is, and of the others the halves; in doubt only the first, but all where an instant
        # is too large for one request: nothing was said of it yet, and of each some shares may have arrived.
        whole, found = self._n_refused_instants, self._delivery.found
        thorough = not whole or (too_large if doubtful else not whole & (whole - 1))
        self._delivery.bisect_series(instant, 1 << 30 if thorough else int(not doubtful))
        if not found.taken:
            self._n_refused_instants += 1
            return
        self._ledger.suspect(found.bad)
        for series in found.bad:
            self._isolated.log(series, "is refused while others are taken")

    def _probe_newer(self, n_instants: int) -> bool:
        """Pass over what is refused in a few requests for each batch, to see whether anything newer is taken."""
        if self._halvings_left < 0:
            self._halvings_left, self._instants = _PROBE_HALVINGS, None
        if self._halvings_left and n_instants > 1:
            self._halvings_left, self._instants = self._halvings_left - 1, n_instants // 2
            return False
        return True

    def _isolate_blocked(self, batch: Batch, error: Exception) -> Verdict:
        """Find out whether it is some series alone that the receiver answers not now to; taken: the others are."""
        delivery, self._looking = self._delivery, False
        delivery.note(error)
        if not delivery.isolate_blocked(batch, error):
            self._looking = True
            return Verdict.TOO_LARGE
        if not (delivery.found.blocked or delivery.found.isolated):  # it takes all of it, in smaller requests
            self._max_samples, self._too_large = max(1, min(self._max_samples, batch.n_samples) // 2), True
        if not self._ledger.can_hold(delivery.found.blocked):
            raise error
        return Verdict.TAKEN
