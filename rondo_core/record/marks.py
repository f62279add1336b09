"""Marks and notes of a program: what happened, and when, beside its numbers."""

from __future__ import annotations

import abc
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rondo_core.clock import Clock
from rondo_core.errors import StoreError, UsageError, one_line, printable
from rondo_core.record.end_words import message_of, place_of
from rondo_core.storage.events import MARK, NOTE, Event, EventFile
from rondo_core.storage.fault_dump import ELSEWHERE, FILE, HERE, FaultDump, in_short, take_away
from rondo_core.storage.files import identity_at
from rondo_core.storage.lock import held_by_thread
from rondo_core.storage.runs import on_record

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices
    from rondo_core.storage.files import Folder
    from rondo_core.storage.held import HeldFile

MAX_TEXT_BYTES, _MAX_NAME_BYTES, _MAX_VALUE_BYTES, MAX_FACTS = 1500, 100, 200, 8
_MOST_FAILURES = 32  # of different kinds, that a run puts on record


class Marks(abc.ABC):
    """Puts events on record; a store does."""

    @abc.abstractmethod
    def _events_of_process(self) -> EventLog | None:
        """Give what keeps marks and notes, in this process; None where it keeps nothing, or is at its end."""

    def mark(self, name: str, /, *, now_ns: int | None = None, **facts: object) -> None:
        """Put on record that something happened: `store.mark("deploy", version="1.4.2")`.

        The newest are kept, in a file of a 256th of the store, 4 to 64 KiB: a flood of them overwrites the oldest, and
        how many it took can be read. They survive what the numbers survive. Threads and signal handlers may call
        this; it costs a system call. What is longer than 1500 bytes, of a value 200, or beyond eight facts, is cut, and
        ends in "..."; what cannot be written is logged once.
        Args: `facts`: what there is to say of it; `now_ns`: when, ns since the epoch; by default now.
        Raises: UsageError: the name is no text; StoreClosedError, StoreForkedError.
        """
        self._add(MARK, name, facts, now_ns)

    def note(self, text: str, /, *, now_ns: int | None = None) -> None:
        """Put a line of text on record: `store.note("stage transform began")`. Args and Raises: as `mark`."""
        self._add(NOTE, text, {}, now_ns)

    def _add(self, kind: str, text: object, facts: Mapping[str, object], now_ns: int | None) -> None:
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{kind} {text!r}: not a text; write what happened")
        events = self._events_of_process()
        if events is not None:
            events.add(kind, text, facts, now_ns)

    def note_failure(self, error: BaseException, where: str) -> None:
        """Put on record an exception that nobody caught, each kind once in a run."""
        events = self._events_of_process()
        if events is not None:
            events.add_failure(error, where)


class EventLog:
    """The events of a store that is open for writing."""

    def __init__(self, folder: Folder, size_bytes: int, run: int, notices: Notices, clock: Clock) -> None:
        """Open the file, made of `size_bytes` where it is missing yet.

        Where that cannot be, log why: what is to be put there is then lost, and nothing else.
        """
        self._run, self._notices, self._clock = run, notices, clock
        self._lock = threading.RLock()
        self._waiting: deque[Event] = deque()
        self._failures: set[tuple[str, str]] = set()
        self._file: EventFile | None = None
        self._faults: FaultDump | None = None
        try:
            self._file = EventFile(folder, size_bytes)
        except (StoreError, OSError) as error:
            notices.once("events", f"marks and notes are not kept: {one_line(error)}")

    def watch_faults(self, folder: Folder, *, begin: bool) -> str:
        """Put on record what a crash of the run before left; from now on have one of this process written down.

        Returns: who writes it: "here", "elsewhere" as the program itself sees to it; "": no one.
        """
        try:
            dump = take_away(folder) if identity_at(folder / FILE) else ""
            if dump:
                facts = {"what": self._text(in_short(dump), MAX_TEXT_BYTES // 2)}
                self._append(Event(on_record(self._clock()), MARK, "fault", facts, run=self._run - 1))
            if not begin:
                return ELSEWHERE if FaultDump.is_elsewhere() else ""
            self._faults = FaultDump.begin(folder)
        except (StoreError, OSError) as error:
            self._notices.once("faults", f"a crash is not written down: {one_line(error)}")
            return ""
        return HERE if self._faults is not None else ELSEWHERE

    def add(self, kind: str, text: str, facts: Mapping[str, object], now_ns: int | None) -> None:
        """Put an event on record; see `Marks.mark`."""
        named = {self._text(key, _MAX_NAME_BYTES): self._text(value, _MAX_VALUE_BYTES) for key, value in _first(facts)}
        if len(facts) > len(named):
            named["..."] = f"{len(facts) - len(named)} more"
        time_ns = on_record(self._clock() if now_ns is None else now_ns)
        self._append(Event(time_ns, kind, self._text(text, MAX_TEXT_BYTES), named, run=self._run))

    def add_failure(self, error: BaseException, where: str) -> None:
        """Put an exception on record, of those that differ in place or type, and no more of them than a few."""
        place = place_of(error.__traceback__)
        key = type(error).__qualname__, place
        if key in self._failures or len(self._failures) >= _MOST_FAILURES:
            return
        self._failures.add(key)
        facts = {"what": self._text(message_of(error), MAX_TEXT_BYTES // 2), "at": place, "where": where}
        self._append(Event(on_record(self._clock()), MARK, "exception", facts, run=self._run))

    def _append(self, event: Event) -> None:
        """Write it; one that comes in the middle of another, of a signal's handler, waits for its end."""
        self._waiting.append(event)
        while self._waiting and not held_by_thread(self._lock):
            with self._lock:
                while self._waiting:
                    self._write(self._waiting.popleft())

    def _write(self, event: Event) -> None:
        if self._file is None:
            return
        try:
            self._file.append(event)
        except (StoreError, OSError) as error:
            self._notices.once("event", f"a mark or a note is not kept: {one_line(error)}")

    def _text(self, value: object, size_bytes: int) -> str:
        text = printable(str(value))
        data = text.encode()
        if len(data) <= size_bytes:
            return text
        self._notices.once("long", f"{text[:40]}...: {len(data)} bytes of a mark or a note; {size_bytes} are kept")
        return data[: size_bytes - 3].decode(errors="ignore") + "..."

    @property
    def file(self) -> HeldFile | None:
        """The file that is open; None: there is none."""
        return None if self._file is None else self._file.file

    def watch_faults_again(self) -> None:
        """Have a crash of this process written down as before, where the program has closed what it is written to."""
        if self._faults is not None:
            self._faults.begin_again()

    def sync(self) -> None:
        """Write them to the disk, and wait for it. Raises: StoreError, OSError."""
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        """Release the file, and the faulthandler."""
        if self._faults is not None:
            self._faults.end()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None


def _first(facts: Mapping[str, object]) -> Iterable[tuple[str, object]]:
    return [pair for _, pair in zip(range(MAX_FACTS), facts.items(), strict=False)]
