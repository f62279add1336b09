"""A store's marks and notes on their way out: one request each, in the order in which they came, beside the samples.

What is about to be sent is marked in the cursor first, some at a time, so that after a kill no more than those are
asked for, or sent, again. What the ring gave away before it was sent is counted by the numbers, which have no gaps.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from rondo_core import faults
from rondo_core.errors import ExportError, ReceiverAwayError, RetryableExportError
from rondo_core.export.batch import EventRequest
from rondo_core.export.cursor import EventCursor
from rondo_core.export.delivery import SUSPECT_TRIES, Delivery, RefusesAllError, Verdict
from rondo_core.export.ledger import Ledger
from rondo_core.model import layout
from rondo_core.storage.events import Event, read_ring

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View

logger = logging.getLogger("rondo.export")

# How many are marked as under way at a time: each mark is synced to the disk.
MARKED_AT_A_TIME = 100


def pending_events(events: Sequence[Event], cursor: EventCursor) -> tuple[EventCursor, list[Event]]:
    """Find the events of a ring that are not counted yet, oldest first, and the cursor from which they are.

    That is another one where nothing is counted, or where the ring began anew, as the store was put back as it once
    was: the receiver is then asked for each of them.
    """
    if not events:
        return cursor, []
    in_order = sorted(events, key=lambda event: event.number)
    newest, known = in_order[-1].number, (cursor.number, cursor.time_ns, cursor.run)
    anew = newest < cursor.number or any(
        (event.number, event.time_ns, event.run) != known for event in in_order if event.number == cursor.number
    )
    if anew:
        cursor = attrs.evolve(cursor, number=0, time_ns=0, run=0, in_flight=0, asked_until=0, tries=0)
    if not cursor.number:
        cursor = attrs.evolve(cursor, asked_until=max(cursor.asked_until, newest))
    return cursor, [event for event in in_order if event.number > cursor.number]


class EventSender:
    """Sends the marks and notes that are pending of one store."""

    def __init__(self, name: str, view: View, ledger: Ledger, delivery: Delivery) -> None:
        """Send them through `delivery`, as `ledger` has it."""
        self._name, self._view, self._ledger, self._delivery = name, view, ledger, delivery
        self._labels = dict(view.meta.labels)
        self._said_overwritten = False
        # Up to which number they may have arrived; those that were passed over, each with whether it may have, which
        # are counted when the receiver takes another.
        self._doubt_until, self._passed_over = 0, list[tuple[Event, bool]]()

    def send_pending(self, is_over: Callable[[], bool]) -> bool:
        """Send them, oldest first; `is_over` says before each whether that is to be left.

        Returns: whether all of them are counted.
        Raises: RefusesAllError: some were refused, and none was taken; as Delivery.send_event.
        """
        ledger, taken = self._ledger, self._delivery.n_events_taken
        ring = read_ring(self._view.folder / layout.EVENTS_FILE)
        cursor, events = pending_events(ring.events(), ledger.cursor.events)
        if not events:
            return True
        self._doubt_until, self._passed_over = cursor.in_flight, []
        ledger.move_events(cursor)
        try:
            for at, event in enumerate(events):
                if is_over():
                    return False
                if not at % MARKED_AT_A_TIME:
                    self._mark(events[at : at + MARKED_AT_A_TIME][-1].number)
                self._send(event)
            if self._passed_over:
                if self._delivery.n_events_taken == taken:
                    raise RefusesAllError(f"everything is refused: {self._delivery.error}")
                self._count(self._passed_over[-1][0], taken=False)
        finally:
            ledger.move_events(attrs.evolve(ledger.cursor.events, in_flight=self._doubt_until))
            ledger.save()
        return True

    def _mark(self, until: int) -> None:
        """Note, on disk, up to which number they are about to be sent: should the process end now, they may arrive."""
        events = self._ledger.cursor.events
        self._ledger.move_events(attrs.evolve(events, in_flight=max(until, self._doubt_until)))
        self._ledger.save()
        faults.point("export.events_marked")

    def _send(self, event: Event) -> None:
        cursor = self._ledger.cursor.events
        doubtful = event.number <= self._doubt_until
        asked = doubtful or event.number <= cursor.asked_until
        request = EventRequest(event, self._view.meta.store_id, self._labels, resent=asked)
        try:
            verdict = self._delivery.send_event(request)
        except Exception as error:
            if self._delivery.unanswered:
                self._doubt_until = max(self._doubt_until, event.number)
            if isinstance(error, ReceiverAwayError) or self._passed_over:
                raise
            self._ledger.move_events(attrs.evolve(cursor, tries=cursor.tries + 1))
            is_its_own = isinstance(error, RetryableExportError) or not isinstance(error, ExportError)
            # So often, and it may be this one alone: the next tells.
            if not is_its_own or cursor.tries + 1 < SUSPECT_TRIES:
                raise
            self._delivery.note(error)
            self._passed_over.append((event, doubtful or self._delivery.unanswered))
            return
        faults.point("export.event_sent")
        if verdict is Verdict.TAKEN:
            self._count(event, taken=True)
        else:
            self._passed_over.append((event, doubtful))

    def _count(self, event: Event, *, taken: bool) -> None:
        """Count all up to an event: it, if it was taken, those that were passed over, and what the ring gave away."""
        cursor, n_passed_over = self._ledger.cursor.events, len(self._passed_over)
        doubtful = sum(in_doubt for _, in_doubt in self._passed_over)
        lost = max(0, event.number - cursor.number - n_passed_over - taken)
        moved = attrs.evolve(
            cursor,
            number=event.number,
            time_ns=event.time_ns,
            run=event.run,
            tries=0,
            sent=cursor.sent + taken,
            refused=cursor.refused + n_passed_over - doubtful,
            doubtful=cursor.doubtful + doubtful,
            overwritten=cursor.overwritten + lost,
        )
        self._ledger.move_events(moved)
        self._passed_over = []
        if lost and not self._said_overwritten:
            self._said_overwritten = True
            logger.warning("%s: %d marks and notes were overwritten before they were sent", self._name, lost)
