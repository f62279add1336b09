"""What became of the samples that one exporter was to send: the one count of it, and it is the cursor on disk.

A sample is pending, acknowledged, refused or doubtful. It is pending until it is counted; then it is in one of the
cursor's counts, which move together with its positions and are saved with them. Acknowledged is what the receiver took;
refused, what it or the encoder definitely did not; doubtful, what may have arrived, because no answer came, and was
refused when it was sent again. Only an answer that never came leaves a doubt.

What is refused is counted only when the receiver takes something else. Until then it is unconfirmed, in
memory: a receiver that refuses everything moves nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Literal, TypeVar

import attrs

from rondo_core.errors import StoreError
from rondo_core.export.cursor import (
    MAX_ERROR,
    MAX_HELD,
    MAX_SUSPECTS,
    Cursor,
    CursorLock,
    EventCursor,
    Held,
    Spans,
    load_cursor,
    save_cursor,
    united,
)
from rondo_core.export.drain import Drained
from rondo_core.model import layout
from rondo_core.storage.files import Folder, sync_file
from rondo_core.storage.runs import run_numbered

logger = logging.getLogger("rondo.export")

T = TypeVar("T")
Count = Literal["samples", "refused", "doubtful", "overwritten", "coarse"]


@attrs.frozen
class RequestBound:
    """How far the next request may reach, because what lies beyond is another matter.

    Attributes: `ends`, "schema.tier" -> the first bucket after it; `doubtful`, whether what lies in it may have
    arrived; `only_suspects`, whether only the suspects in it are pending.
    """

    ends: Mapping[str, int]
    doubtful: bool
    only_suspects: bool = False


@attrs.frozen
class Share:
    """What became of samples: how many were taken, were not by a request that was, and were refused with theirs.

    Attributes: `doubtful`, whether the last may have arrived before; `newest_ns`, the newest timestamp that was taken.
    """

    taken: int = 0
    rejected: int = 0
    untaken: int = 0
    doubtful: bool = False
    newest_ns: int = 0

    def counts(self) -> dict[str, int]:
        """Give what it adds to the cursor's counts."""
        refused = self.rejected + (0 if self.doubtful else self.untaken)
        return {"samples": self.taken, "refused": refused, "doubtful": self.untaken if self.doubtful else 0}


@attrs.frozen
class _Unconfirmed:
    """What is counted once the receiver takes anything.

    Attributes: `positions`, where it ends; `counts`, of its samples; `sent`, its spans; `in_flight`, `in_flight_from`:
    of a doubt that it has left behind.
    """

    positions: dict[str, int] = attrs.field(factory=dict)
    counts: dict[str, int] = attrs.field(factory=dict)
    in_flight: dict[str, int] = attrs.field(factory=dict)
    in_flight_from: dict[str, int] = attrs.field(factory=dict)
    sent: dict[str, Spans] = attrs.field(factory=dict)

    def moved(self, drained: Drained, counts: Mapping[str, int]) -> _Unconfirmed:
        more = {name: self.counts.get(name, 0) + count for name, count in counts.items()}
        positions = {**self.positions, **drained.positions}
        return attrs.evolve(self, positions=positions, counts=more, sent=united(self.sent, drained.spans))


@attrs.frozen
class Unsaved:
    """A cursor that the disk did not take, as it is, and as it is on the disk."""

    on_disk: Cursor
    cursor: Cursor


def _but(positions: Mapping[str, T], key: str) -> dict[str, T]:
    return {other: of for other, of in positions.items() if other != key}


class Ledger:
    """One exporter's account of one store; one process at a time has it open.

    Attributes: `cursor`, what is counted; `acknowledged_ns`, the newest timestamp that was acknowledged since it was
    opened, ns since the epoch.
    """

    def __init__(
        self, store: Folder, exporter: str, *, from_start: bool = False, unsaved: Unsaved | None = None
    ) -> None:
        """Open the account, which a store that is renamed, or made anew at its path, meanwhile keeps to itself.

        Args: `from_start`: begin a new one, in which all that the store holds is pending; `unsaved`: what this process
            knew of it when it was open last, which counts as long as nobody else has moved it.
        Raises: StoreError: another process has it open, or the store's directory cannot be written.
        """
        self._store = store
        self._lock = CursorLock(store, exporter)
        self.cursor = self._saved = self._opened = load_cursor(store, exporter)
        if from_start:
            self.cursor = self._opened = Cursor(exporter)
        self._full = unsaved is not None and unsaved.on_disk == self._saved and not from_start
        if unsaved is not None and self._full:
            self.cursor = self._opened = unsaved.cursor
        self._is_open = True
        self._unconfirmed: _Unconfirmed | None = None
        self._unanswered = bool(self.cursor.in_flight)
        self.acknowledged_ns = 0

    def close(self) -> None:
        """Let another process open it."""
        self._is_open = False
        self._lock.release()

    @property
    def unsaved(self) -> Unsaved | None:
        """What the disk did not take of it; None where the disk has all."""
        return Unsaved(self._saved, self.cursor) if self._full else None

    # -- where it stands

    @property
    def positions(self) -> dict[str, int]:
        """Where the next request begins, "schema.tier" -> bucket."""
        return {**self.cursor.positions, **self._unconfirmed.positions} if self._unconfirmed else self.cursor.positions

    @property
    def sent(self) -> dict[str, Spans]:
        """The spans in which all was sent; see `Cursor`."""
        return united(self.cursor.sent, self._unconfirmed.sent) if self._unconfirmed else self.cursor.sent

    @property
    def is_unconfirmed(self) -> bool:
        """Whether something was refused, and nothing taken since."""
        return self._unconfirmed is not None

    @property
    def events_opened(self) -> EventCursor:
        """What was counted of marks and notes when the account was opened."""
        return self._opened.events

    def move_events(self, events: EventCursor) -> None:
        """Count marks and notes."""
        self.cursor = attrs.evolve(self.cursor, events=events)

    def since_opened(self, count: Count) -> int:
        """Give what was added to a count since the account was opened."""
        was, now = getattr(self._opened, count), getattr(self.cursor, count)
        return int(now) - int(was)

    def bound(self) -> RequestBound | None:
        """Say how far the next request may reach, where that is not up to the drain."""
        cursor = self.cursor
        if self._unanswered and self._reaches(cursor.in_flight_from):
            return RequestBound(cursor.in_flight_from, doubtful=False)
        if self._reaches(cursor.rest_until):
            return RequestBound(cursor.rest_until, doubtful=self._unanswered, only_suspects=True)
        return (
            RequestBound(cursor.in_flight, doubtful=True)
            if self._unanswered and self._reaches(cursor.in_flight)
            else None
        )

    def _reaches(self, ends: Mapping[str, int]) -> bool:
        positions = self.positions
        return any(positions.get(key, -1) < end for key, end in ends.items())

    def step_back(self, stepped: Mapping[str, int]) -> None:
        """Go back to what was recorded since the clock stepped back behind the positions, and remember what was sent.

        What was under way there, or refused and not counted, is in the store no more; it is pending if it returns.
        """
        for key, to in stepped.items():
            cursor = self.cursor
            sent = {key: cursor.sent.get(key) or ((0, cursor.positions.get(key, 1)),)} if to else {}
            self.cursor = attrs.evolve(
                cursor,
                positions=_but(cursor.positions, key) | ({key: to} if to else {}),
                sent=_but(cursor.sent, key) | sent,
                in_flight=_but(cursor.in_flight, key),
                in_flight_from=_but(cursor.in_flight_from, key),
                rest_until=_but(cursor.rest_until, key),
            )
            if self._unconfirmed is not None:
                unconfirmed = self._unconfirmed
                positions, in_flight = _but(unconfirmed.positions, key), _but(unconfirmed.in_flight, key)
                sent = _but(unconfirmed.sent, key)
                self._unconfirmed = attrs.evolve(unconfirmed, positions=positions, in_flight=in_flight, sent=sent)
        self._unanswered &= bool(self.cursor.in_flight)

    # -- one request

    def begin(self, drained: Drained) -> None:
        """Note, on disk, that it is about to be sent: should the process end now, it may have arrived."""
        if not self._unanswered:
            before = {key: end for key, end in self.positions.items() if self.cursor.positions.get(key) != end}
            self.cursor = attrs.evolve(self.cursor, in_flight=dict(drained.positions), in_flight_from=before)
        self.save()

    def begin_isolated(self, drained: Drained, share: Share) -> None:
        """Note, on disk, that of it only the suspects are still to be sent, and what became of the others."""
        self._taken(share)
        self.cursor = attrs.evolve(self.cursor.moved({}, share.counts()), rest_until=dict(drained.positions))
        self.save()

    def _taken(self, share: Share) -> None:
        if share.taken:
            self.confirm()
            self.acknowledged_ns = max(self.acknowledged_ns, share.newest_ns)

    def failed(self, *, may_have_arrived: bool, answered: bool) -> None:
        """Take note that a request was not counted: it is in doubt, or it is as if it had not been sent."""
        if may_have_arrived:
            self._unanswered = True
        elif not self._unanswered:
            self.cursor = attrs.evolve(self.cursor, in_flight={}, in_flight_from={})
        self.cursor = attrs.evolve(self.cursor, tries=self.cursor.tries + answered)

    def account_for(self, drained: Drained, share: Share) -> None:
        """Move on behind what was drained. Args: `share`: what became of what is not counted of it yet."""
        counts = share.counts() | {"overwritten": drained.overwritten, "coarse": drained.coarse}
        self._taken(share)
        if self._unconfirmed is not None or (share.untaken and not share.taken):
            self._unconfirmed = (self._unconfirmed or _Unconfirmed()).moved(drained, counts)
        else:
            self.cursor = self.cursor.moved(drained.positions, counts, drained.spans)
        self.cursor = attrs.evolve(self.cursor, rest_until={}, tries=0)
        if not self._unanswered or not self._reaches(self.cursor.in_flight):
            self.skip_in_flight()

    def skip_in_flight(self) -> None:
        """Have nothing under way: it is counted, or nothing of it is in the store any more."""
        cursor = self.cursor
        if self._unconfirmed is not None and self._unanswered:
            in_flight, in_flight_from = cursor.in_flight, cursor.in_flight_from
            self._unconfirmed = attrs.evolve(self._unconfirmed, in_flight=in_flight, in_flight_from=in_flight_from)
        self._unanswered = False
        self.cursor = attrs.evolve(cursor, in_flight={}, in_flight_from={}, rest_until={})

    def confirm(self) -> None:
        """Count what was refused: the receiver takes other samples, so it is these that it does not want."""
        unconfirmed, self._unconfirmed = self._unconfirmed, None
        if unconfirmed is not None:
            self.cursor = self.cursor.moved(unconfirmed.positions, unconfirmed.counts, unconfirmed.sent)

    def retract(self) -> None:
        """Let what was refused be pending again: the receiver takes nothing at all."""
        unconfirmed, self._unconfirmed = self._unconfirmed, None
        if unconfirmed is not None and unconfirmed.in_flight:
            self._unanswered = True
            self.cursor = attrs.evolve(
                self.cursor, in_flight=unconfirmed.in_flight, in_flight_from=unconfirmed.in_flight_from
            )
        elif not self._unanswered:
            self.skip_in_flight()

    def end_run(self, run: int) -> None:
        """Note that the end of a run was acknowledged, once the run itself is on the disk: no other gets its number."""
        runs, began_ns = self._store / layout.RUNS_FILE, 0
        with contextlib.suppress(StoreError, OSError):  # a disk that is full, or a store that may only be read
            found = run_numbered(runs, run)
            began_ns = found.opened_ns if found is not None else 0
            sync_file(runs)
        self.cursor = attrs.evolve(self.cursor, ended_run=run, ended_began_ns=began_ns)

    # -- series that are sent apart

    def suspect(self, names: Iterable[str]) -> None:
        """Send these series apart from now on; as many as can be remembered."""
        known = dict.fromkeys((*self.cursor.suspects, *names))
        kept = [name for name in known if name not in self.cursor.held][:MAX_SUSPECTS]
        self.cursor = attrs.evolve(self.cursor, suspects=(*kept, *self.cursor.held))

    def clear(self, name: str) -> None:
        """Send a series with the others again."""
        suspects = tuple(each for each in self.cursor.suspects if each != name)
        self.cursor = attrs.evolve(self.cursor, suspects=suspects)

    def can_hold(self, names: Iterable[str]) -> bool:
        """Say whether so many series can wait at a time."""
        return len(self.cursor.held.keys() | set(names)) <= MAX_HELD

    def hold(self, name: str, held: Held) -> None:
        """Let a series wait on its own: its samples from a position on are pending."""
        self.cursor = attrs.evolve(self.cursor, held={**self.cursor.held, name: held})
        self.suspect([name])

    def account_for_held(self, name: str, drained: Drained, share: Share) -> None:
        """Move a series that waits on behind what was drained of it; with the others again where it has caught up."""
        held = self.cursor.held[name]
        position = drained.positions.get(held.key, held.position)
        self._taken(share)
        counts = share.counts() | {"overwritten": drained.overwritten, "coarse": drained.coarse}
        self.cursor = self.cursor.moved({}, counts)
        if position >= self.positions.get(held.key, 0):
            rest = {other: of for other, of in self.cursor.held.items() if other != name}
            self.cursor = attrs.evolve(self.cursor, held=rest)
            if share.taken and not share.rejected and not share.untaken:
                self.clear(name)
        else:
            self.hold(name, attrs.evolve(held, position=position, tries=0 if share.taken else held.tries))

    # -- on disk

    def note(self, error: str, now_ns: int) -> None:
        """Keep a failure in words."""
        self.cursor = attrs.evolve(self.cursor, error=error[:MAX_ERROR], error_ns=now_ns)

    def save(self) -> None:
        """Bring the cursor to the disk.

        Where the disk takes nothing it stays in memory, which is said once, and is saved as soon as it can be. Until
        then the disk says less than is true: what was acknowledged is pending there, and would be sent once more.
        """
        if self.cursor is self._saved or self.cursor == self._saved or not self._is_open:
            return
        try:
            self._lock.hold()
            save_cursor(self._store, self.cursor)
        except StoreError as error:
            if not self._full:
                self._full = True
                reason = str(error).partition("; ")[0]
                logger.warning("%s; the export goes on, and what it sends may be sent once more by the next", reason)
            return
        self._saved, self._full = self.cursor, False
