"""How far one exporter has been acknowledged: a small file in the store, replaced atomically, never in part."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs

from rondo_core.errors import StoreError
from rondo_core.model import layout
from rondo_core.storage.files import Folder, StrPath, open_file, read_bytes, replace_file, sweep
from rondo_core.storage.held import HeldFile
from rondo_core.storage.lock import abandon_after_fork
from rondo_core.storage.runs import newest_run, read_runs, run_numbered

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View

VERSION = 1
MAX_BYTES = 1 << 20
MAX_SUSPECTS, MAX_HELD = 100, 1000
MAX_ERROR = 500  # characters
MAX_SPANS = 16  # of more gaps between them the shortest count as sent
Spans = tuple[tuple[int, int], ...]
_COUNTS = ("tries", "refused", "overwritten", "coarse", "doubtful", "error_ns", "ended_began_ns")


@attrs.frozen
class Held:
    """A series that waits on its own, because the receiver answers not now to it while it takes others.

    Attributes: `key`, "schema.tier"; `position`, its first bucket that is pending; `tries`, how often it was tried
    since the receiver took anything of it; `doubtful`, whether a try of it may have arrived.
    """

    key: str
    position: int
    tries: int = 0
    doubtful: bool = False


@attrs.frozen
class EventCursor:
    """What became of the marks and notes that an exporter was to send.

    Attributes:
        number, time_ns, run: of the last that is counted, by which it is known again; number 0: none is.
        in_flight: up to which number they may have arrived, although no answer came.
        asked_until: up to which number the receiver is asked for each before it is sent: no cursor was there.
        tries: how often in a row the next one was answered with not now.
        sent, refused, doubtful, overwritten: as of samples; overwritten: given away by the ring before they were sent.
    """

    number: int = 0
    time_ns: int = 0
    run: int = 0
    in_flight: int = 0
    asked_until: int = 0
    tries: int = 0
    sent: int = 0
    refused: int = 0
    doubtful: int = 0
    overwritten: int = 0


@attrs.frozen
class Cursor:
    """What became of the samples that an exporter was to send; what is in none of its counts is pending.

    Attributes:
        exporter: its name.
        positions: "schema.tier" -> the first bucket that is pending, but for series that are held.
        sent: "schema.tier" -> spans, first and end, in which all was counted. What is recorded in them after the clock
            stepped back would be other values of the same instants.
        ended_run: the last run whose end was acknowledged; 0 for none. ended_began_ns: when that one was opened, by
            which it is told from one of its number in a store that was put back as it once was; 0: not known.
        samples: acknowledged since the cursor was made.
        in_flight: "schema.tier" -> where that ends which may have arrived, although no answer came: the request under
            way, which is sent again as it was after a crash. Empty: none is.
        in_flight_from: "schema.tier" -> where it begins, if not at the positions.
        rest_until: "schema.tier" -> where that ends of which only the suspects are not counted.
        suspects: series that the receiver does not take while it takes others; they are sent apart.
        held: those of them that wait, by name.
        tries: how often in a row what lies at the positions was answered with not now.
        refused: samples refused for good, by the receiver or because no request can carry them.
        doubtful: samples that may have arrived, and were refused when they were sent again.
        overwritten, coarse: buckets lost before they were sent, and windows sent in place of overwritten buckets.
        error, error_ns: the last failure in words and when it was, ns since the epoch; empty and 0 for none.
        events: what became of marks and notes.
    """

    exporter: str
    positions: dict[str, int] = attrs.field(factory=dict)
    ended_run: int = 0
    samples: int = 0
    in_flight: dict[str, int] = attrs.field(factory=dict)
    in_flight_from: dict[str, int] = attrs.field(factory=dict)
    rest_until: dict[str, int] = attrs.field(factory=dict)
    suspects: tuple[str, ...] = ()
    held: dict[str, Held] = attrs.field(factory=dict)
    tries: int = 0
    refused: int = 0
    overwritten: int = 0
    coarse: int = 0
    doubtful: int = 0
    error: str = ""
    error_ns: int = 0
    sent: dict[str, Spans] = attrs.field(factory=dict)
    ended_began_ns: int = 0
    events: EventCursor = attrs.field(factory=EventCursor)

    def moved(
        self, positions: Mapping[str, int], counts: Mapping[str, int], spans: Mapping[str, Spans] | None = None
    ) -> Self:
        """Give the cursor further on, with more in its counts, and spans that are counted by it."""
        more = {name: getattr(self, name) + count for name, count in counts.items() if count}
        sent = united(self.sent, spans or {})
        return attrs.evolve(self, positions={**self.positions, **positions}, sent=sent, **more)


def united(some: Mapping[str, Spans], others: Mapping[str, Spans]) -> dict[str, Spans]:
    """Give the spans of both, in order, each apart from the next; of too many, the nearest ones joined."""
    return {**some, **{key: _joined((*some.get(key, ()), *spans)) for key, spans in others.items()}}


def _joined(spans: Spans) -> Spans:
    joined: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((first, end))
    if len(joined) <= MAX_SPANS:
        return tuple(joined)
    longest = sorted(range(1, len(joined)), key=lambda at: joined[at - 1][1] - joined[at][0])[: MAX_SPANS - 1]
    firsts = [0, *sorted(longest)]
    ends = [*(at - 1 for at in firsts[1:]), len(joined) - 1]
    return tuple((joined[first][0], joined[end][1]) for first, end in zip(firsts, ends, strict=True))


def cursor_path(store: Path | Folder, exporter: str) -> StrPath:
    """Name the exporter's cursor in the store's directory, given by its path or open."""
    return store / f"cursor_{exporter}.json"


def cursor_names(store: Path | Folder, suffix: str = ".json") -> list[str]:
    """Name the exporters that have a cursor in the store, in order; `suffix`: ".lock", those that ever locked one."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = os.listdir(store.descriptor if isinstance(store, Folder) else store)  # noqa: PTH208 - or it is open
    known = sorted(name for name in names if name.startswith("cursor_") and name.endswith(suffix))
    return [name[len("cursor_") : -len(suffix)] for name in known]


def load_cursor(store: Path | Folder, exporter: str) -> Cursor:
    """Read the cursor; one that is missing, or that does not read, starts from the oldest bucket still there.

    Starting over sends again what was sent before, which receivers take as the same sample; it loses nothing. Of runs
    that the store does not have, as it was put back as it once was and the cursor was not, no end counts.
    """
    cursor = _read_cursor(store, exporter)
    return cursor if _has_run(store, cursor) else attrs.evolve(cursor, ended_run=0, ended_began_ns=0)


def _has_run(store: Path | Folder, cursor: Cursor) -> bool:
    """Say whether the last run whose end was acknowledged is one of this store's, as far as that is on record."""
    if not cursor.ended_run:
        return True
    with contextlib.suppress(StoreError, OSError):
        runs = store / layout.RUNS_FILE
        run = run_numbered(runs, cursor.ended_run)
        if run is not None:
            return cursor.ended_began_ns in {0, run.opened_ns}
        newest = newest_run(runs)
        return newest is not None and newest.number > cursor.ended_run
    return True


def _read_cursor(store: Path | Folder, exporter: str) -> Cursor:
    with contextlib.suppress(
        StoreError, OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError
    ):
        plain: dict[str, Any] = json.loads(read_bytes(cursor_path(store, exporter), MAX_BYTES))
        if plain["version"] == VERSION:
            return Cursor(
                exporter,
                _positions(plain["positions"]),
                int(plain["ended_run"]),
                int(plain["samples"]),
                in_flight := _positions(plain.get("in_flight", {})),
                _positions(plain.get("in_flight_from", {})),
                # Those of older versions say whether all of what is under way is counted but for the suspects.
                _positions(plain.get("rest_until", in_flight if plain.get("rest_taken") else {})),
                tuple(str(each) for each in plain.get("suspects", ())[: MAX_SUSPECTS + MAX_HELD]),
                _held(plain.get("held", {})),
                error=str(plain.get("error", "")),
                sent={str(key): _spans(spans) for key, spans in plain.get("sent", {}).items()},
                events=_events(plain.get("events", {})),
                **{name: int(plain.get(name, 0)) for name in _COUNTS},
            )
    return Cursor(exporter)


def _positions(plain: dict[str, Any]) -> dict[str, int]:
    return {str(key): int(value) for key, value in plain.items() if 0 <= value < 1 << 62}


def _spans(plain: list[list[int]]) -> Spans:
    spans = ((int(first), int(end)) for first, end in plain[:MAX_SPANS])
    return tuple((first, end) for first, end in spans if 0 <= first < end < 1 << 62)


def _events(plain: dict[str, Any]) -> EventCursor:
    return EventCursor(**{each.name: max(0, int(plain.get(each.name, 0))) for each in attrs.fields(EventCursor)})


def _held(plain: dict[str, Any]) -> dict[str, Held]:
    held = {
        str(name): Held(str(of["key"]), int(of["position"]), int(of["tries"]), bool(of["doubtful"]))
        for name, of in plain.items()
    }
    return {name: of for name, of in held.items() if 0 <= of.position < 1 << 62}


def save_cursor(store: Path | Folder, cursor: Cursor) -> None:
    """Replace the cursor's file, synced before it takes its name.

    Raises: StoreError: the directory cannot be written, or the disk has no room; the old cursor stays.
    """
    path = cursor_path(store, cursor.exporter)
    text = json.dumps({"version": VERSION, **attrs.asdict(cursor)}) + "\n"
    try:
        replace_file("cursor", path, text.encode())
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; the cursor stays where it was") from None


def note_failure(store: Path | Folder, exporter: str, error: str, now_ns: int) -> None:
    """Leave word in the cursor of a failure, where nobody moves it: an exporter that cannot be opened, or that hangs.

    What cannot be written is left out: the failure was logged.
    """
    with contextlib.suppress(StoreError):
        save_cursor(store, attrs.evolve(load_cursor(store, exporter), error=error[:MAX_ERROR], error_ns=now_ns))


def resumed_tiers(view: View, cursor: Cursor) -> list[str]:
    """Name the tiers, "schema.tier", whose last bucket was sent as the last of a run, and recorded into again since."""
    if not cursor.ended_run:
        return []
    runs = [run for run in read_runs(view.folder / layout.RUNS_FILE) if run.number > cursor.ended_run]
    intervals = {
        f"{schema.name}.{at}": tier.interval_ns for schema in view.meta.schemas for at, tier in enumerate(schema.tiers)
    }
    ends = cursor.positions.items()
    return [key for key, end in ends if runs and end * intervals.get(key, 0) > runs[0].opened_ns]


class CursorLock:
    """One process at a time moves an exporter's cursor."""

    def __init__(self, store: Path | Folder, exporter: str) -> None:
        """Take the lock.

        Raises: StoreError: another process has it, or the store's directory is read-only.
        """
        path = _lock_path(store, exporter)
        try:
            self._file = HeldFile(path, os.O_RDWR | os.O_CREAT)
        except StoreError as error:
            raise StoreError(f"{error}; export needs a writable store") from None
        self._what = f"{store}: another process exports it through {exporter}; stop that one first"
        self._take()
        abandon_after_fork(self)
        sweep(cursor_path(store, exporter))

    def _take(self) -> None:
        try:
            fcntl.flock(self._file.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise StoreError(self._what) from None

    def hold(self) -> None:
        """Take it anew, where the program has closed its descriptor. Raises: StoreError: another process has it."""
        if not self._file.is_open():
            self._file.open_again()
            self._take()

    def release(self) -> None:
        """Let the next one in."""
        if self._file.is_open():
            fcntl.flock(self._file.descriptor, fcntl.LOCK_UN)  # a child may have it open yet
            self.abandon()

    def abandon(self) -> None:
        """Release what a forked child has of it; the parent keeps it."""
        self._file.close()


def cursor_held(store: Path | Folder, exporter: str) -> bool:
    """Say whether some process exports the store through it now."""
    try:
        descriptor = open_file(_lock_path(store, exporter))
    except StoreError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock_path(store: Path | Folder, exporter: str) -> StrPath:
    return store / f"cursor_{exporter}.lock"
