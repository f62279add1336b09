"""Events of a store, texts with their times: a ring of records in one file of fixed size, the newest over the oldest.

A record says where it lies on a line that has no end, and is valid where that fits its place in the file and its
checksum fits. So a reader, which takes no lock and may look in the middle of a write, finds whole records and no
others, and so does the next writer after a kill: what was half written is not there.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgpack

from rondo_core import faults
from rondo_core.errors import CorruptStoreError, FormatVersionError, StoreNotFoundError
from rondo_core.model import layout
from rondo_core.storage.files import Folder, StrPath, open_file, read_bytes, replace_file
from rondo_core.storage.held import HeldFile
from rondo_core.storage.slab import MAX_INSTANT_NS, allocate

MARK, NOTE = "mark", "note"
_RECORD = layout.EVENT_RECORD
_HEADER = layout.EVENTS_HEADER_BYTES
_MAX_FACTS = 64


class Event(NamedTuple):
    """Something that happened, at a moment of a store's time.

    Attributes:
        time_ns: ns since the epoch; number: 1 for a store's first, and one more for each; run: the number of the run
            that wrote it.
        kind: "mark", of which `text` is a name, or "note", of which it is a line.
        facts: what a mark says beside its name, keys and values.
        store: among several stores, which; as `rondo_store` of a series.
    """

    time_ns: int
    kind: str
    text: str
    facts: dict[str, str] = {}  # noqa: RUF012 - which no one changes
    number: int = 0
    run: int = 0
    store: str = ""

    def __str__(self) -> str:
        """Give it on one line, without its time: `deploy version=1.4.2`."""
        return " ".join([self.text, *(f"{key}={value}" for key, value in self.facts.items())])

    def to_dict(self) -> dict[str, Any]:
        """Give it as JSON has it; the keys are stable."""
        plain = self._asdict() | {"facts": dict(self.facts)}
        return plain if self.store else {key: value for key, value in plain.items() if key != "store"}


class Ring(NamedTuple):
    """What the file of events holds: records with their places, oldest first, and how many bytes between are none.

    Attributes: `room`: how many bytes the ring has.
    """

    room: int = 0
    records: tuple[tuple[int, bytes], ...] = ()
    damaged_bytes: int = 0

    @property
    def payloads(self) -> list[bytes]:
        """The records without their places, which a file of its own gives them anew."""
        return [payload for _, payload in self.records]

    @property
    def end(self) -> int:
        """The place of the next record."""
        return self.records[-1][0] + _size(self.records[-1][1]) if self.records else 0

    def events(self) -> list[Event]:
        """Give the events, oldest first, in the order in which they came."""
        found = map(decode_event, self.payloads)
        return [event for event in found if event is not None]


def _size(payload: bytes) -> int:
    return layout.round_up(_RECORD.size + len(payload), layout.EVENT_STEP)


def create_events(path: Path, size_bytes: int) -> None:
    """Make the file at its full size, with no event in it; who makes the store syncs it.

    Raises: StoreError: the disk has no room.
    """
    descriptor = allocate(path, size_bytes)
    try:
        os.pwrite(descriptor, _header(), 0)
    finally:
        os.close(descriptor)


def _header() -> bytes:
    return layout.JOURNAL_HEADER.pack(layout.EVENTS_MAGIC, layout.FORMAT_VERSION, 0)


def add_file(folder: Folder, size_bytes: int) -> None:
    """Give a store of an older rondo, which has none, its file of events. Raises: StoreError, OSError: it cannot be."""
    try:
        os.close(open_file(folder / layout.EVENTS_FILE))
    except StoreNotFoundError:
        replace_file("events.add", folder / layout.EVENTS_FILE, image((), size_bytes))


def image(payloads: Sequence[bytes], size_bytes: int) -> bytes:
    """Give a whole file of this size with these records in it, one after the other; the newest, where not all fit."""
    room, first = size_bytes - _HEADER, len(payloads)
    while first and (room := room - _size(payloads[first - 1])) >= 0:
        first -= 1
    ring = b""
    for payload in payloads[first:]:
        ring += packed(len(ring), payload)
    return (_header().ljust(_HEADER, b"\0") + ring).ljust(size_bytes, b"\0")


def read_ring(path: StrPath) -> Ring:
    """Read what is whole of the events; nothing where a store of an older rondo has no such file.

    Raises: StoreError: the file cannot be read; CorruptStoreError: it is not one of events; FormatVersionError.
    """
    try:
        data = read_bytes(path, layout.MAX_EVENTS_FILE_BYTES)
    except StoreNotFoundError:
        return Ring()
    if data[:8] != layout.EVENTS_MAGIC or not data or len(data) % layout.PAGE_BYTES:
        what = f"not a record of events: {len(data)} bytes that are none of it"
        raise CorruptStoreError(str(path), what, 0)
    version = int.from_bytes(data[8:12], "little")
    if version > layout.FORMAT_VERSION:
        raise FormatVersionError(str(path), version, layout.FORMAT_VERSION)
    return _ring(data[_HEADER:])


def _ring(data: bytes) -> Ring:
    """Find the records: each place says where it lies, so no record is taken for what an older one has left."""
    room = len(data)
    if data == bytes(room):
        return Ring(room)
    doubled, whole = data + data, []
    for index, stored in enumerate(struct.unpack(f"<{room // layout.EVENT_STEP}q", data)):
        offset = index * layout.EVENT_STEP
        if stored > 0 and (stored - layout.EVENT_STEP) % room == offset:
            payload = _payload(doubled, offset)
            if payload is not None:
                whole.append((stored - layout.EVENT_STEP, payload))
    whole.sort()
    newest = whole[-1] if whole else (0, b"")
    records, damaged, end = list[tuple[int, bytes]](), 0, 0
    for place, payload in whole:
        if place >= end and place >= newest[0] + _size(newest[1]) - room:  # else it lies in another, or under one
            damaged += place - end if records else 0
            records.append((place, payload))
            end = place + _size(payload)
    return Ring(room, tuple(records), damaged)


def _payload(doubled: bytes, offset: int) -> bytes | None:
    place, length, crc = _RECORD.unpack_from(doubled, offset)
    if not 0 < length <= layout.EVENT_BYTES:
        return None
    payload = doubled[offset + _RECORD.size : offset + _RECORD.size + length]
    return payload if zlib.crc32(payload, place & 0xFFFFFFFF) == crc else None


def packed(place: int, payload: bytes) -> bytes:
    """Give a record's bytes. The place on disk is one step more, so that zeroes are none."""
    stored = place + layout.EVENT_STEP
    head = _RECORD.pack(stored, len(payload), zlib.crc32(payload, stored & 0xFFFFFFFF))
    return (head + payload).ljust(_size(payload), b"\0")


def _parts(place: int, record: bytes, room: int) -> Iterable[tuple[int, bytes]]:
    """Give a record's bytes with their offsets in the file: in two parts where it goes round the end."""
    at = place % room
    first = record[: room - at]
    yield _HEADER + at, first
    if len(first) < len(record):
        yield _HEADER, record[len(first) :]


def encode_event(event: Event) -> bytes:
    """Pack an event; see `EventFile.append`. Raises: ValueError: it takes more than a record may."""
    plain = [event.number, event.run, event.time_ns, event.kind, event.text, list(map(list, event.facts.items()))]
    payload: bytes = msgpack.packb(plain)
    if len(payload) > layout.EVENT_BYTES:
        raise ValueError(f"an event of {len(payload)} bytes; at most {layout.EVENT_BYTES}")
    return payload


def decode_event(payload: bytes) -> Event | None:
    """Read an event; None where it is none: of a newer rondo, or made by hand."""
    try:
        number, run, time_ns, kind, text, facts = msgpack.unpackb(payload, max_array_len=_MAX_FACTS)[:6]
        event = Event(int(time_ns), str(kind), str(text), {str(key): str(value) for key, value in facts}, number, run)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    counts = isinstance(number, int) and isinstance(run, int) and number > 0 <= run
    return event if counts and 0 <= event.time_ns < MAX_INSTANT_NS else None


def carry_over(old: StrPath, new: Path) -> int:
    """Put what is whole of one file's events into another, which has none yet, of whatever size.

    Returns: how many bytes between them did not check. Raises: as `read_ring`.
    """
    ring = read_ring(old)
    new.write_bytes(image(ring.payloads, new.stat().st_size))
    return ring.damaged_bytes


class EventFile:
    """The writing end of a store's events; one writer at a time."""

    def __init__(self, folder: Folder, size_bytes: int) -> None:
        """Go on after the newest whole record; a file that is missing is made of this size.

        Raises: StoreError and those below it, OSError: it cannot be opened.
        """
        add_file(folder, size_bytes)
        path = folder / layout.EVENTS_FILE
        ring = read_ring(path)
        events = ring.events()
        self.file = HeldFile(path, os.O_WRONLY)
        self._unsynced, self._room = False, ring.room
        self._end, self._number = ring.end, max((event.number for event in events), default=0)

    def append(self, event: Event) -> Event:
        """Write an event over the oldest; give it with its number. Raises: OSError: the file cannot be written."""
        numbered = event._replace(number=self._number + 1)
        payload, descriptor = encode_event(numbered), self.file.descriptor
        for offset, part in _parts(self._end, packed(self._end, payload), self._room):
            faults.pwrite("events.write", descriptor, part, offset)
        self._unsynced = True
        self._end += _size(payload)
        self._number += 1
        return numbered

    def sync(self) -> None:
        """Write them to the disk, and wait for it; nothing where they are there."""
        if self._unsynced:
            self._unsynced = False  # before: what is appended meanwhile is for the next time
            os.fdatasync(self.file.descriptor)

    def close(self) -> None:
        """Release the file; more than once is once."""
        self.file.close()
