"""Append-only records in a file of fixed size: length-prefixed, checksummed, chained; a torn tail is cut off.

A record that does not check while whole ones follow it is no torn tail but damage: then nothing is cut, and the
journal does not open.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rondo_core import faults
from rondo_core.errors import CapacityError, CorruptStoreError, FormatVersionError, RondoError, StoreError
from rondo_core.model import layout
from rondo_core.storage.files import (
    BLOCK,
    StrPath,
    file_version,
    identity_at,
    is_settled,
    open_file,
    read_used,
    used_from,
)
from rondo_core.storage.held import HeldFile
from rondo_core.storage.slab import allocate

_HEADER = layout.JOURNAL_HEADER
_RECORD = layout.JOURNAL_RECORD
# Where a record may begin: a length under 64 KiB, any checksum, and msgpack's mark of a small map or array.
_LIKELY = re.compile(rb"(?=..\0\0....[\x80-\x9f])", re.DOTALL)
MENDED_BY = "rondo repair saves what is whole"


def create_journal(path: Path, size_bytes: int, records: tuple[bytes, ...] = ()) -> None:
    """Make a journal at its full size, with the given first records; who makes the store syncs it.

    Raises: StoreError: the disk has no room; CapacityError: the records do not fit.
    """
    os.close(allocate(path, size_bytes))
    journal = Journal(path, writable=True, fresh=True)
    try:
        for payload in records:
            journal.append(payload)
        journal.note_synced()  # the store appears when it is
    finally:
        journal.close()


def check_header(path: StrPath, data: bytes) -> None:
    """Refuse what is not a journal, or is one of another format.

    Raises: CorruptStoreError, FormatVersionError.
    """
    if len(data) < _HEADER.size or data[:8] != layout.JOURNAL_MAGIC:
        raise CorruptStoreError(str(path), f"not a journal of a store; {MENDED_BY}", 0)
    _, version, _ = _HEADER.unpack_from(data)
    if version > layout.FORMAT_VERSION:
        raise FormatVersionError(str(path), version, layout.FORMAT_VERSION)
    if version < 1:
        raise CorruptStoreError(str(path), f"format version 0, which never was; {MENDED_BY}", 8)


def parse(data: bytes, offset: int = _HEADER.size, crc: int = 0) -> tuple[list[bytes], int, int]:
    """Read the whole records from `offset` on, up to the first that is none.

    Returns: the payloads, the offset after the last whole record, and its checksum, from which reading goes on.
    """
    payloads = []
    unpack, crc32, size = _RECORD.unpack_from, zlib.crc32, len(data)
    while (start := offset + _RECORD.size) <= size:
        length, expected = unpack(data, offset)
        end = start + length
        if not length or end > size:
            break
        payload = data[start:end]
        if crc32(payload, crc) != expected:
            break
        payloads.append(payload)
        offset, crc = end, expected
    return payloads, offset, crc


class ResyncPoint(NamedTuple):
    """Where whole records go on behind a damaged one: at `offset`, chained to `crc`.

    `payload` is the damaged record's own where only its length or its checksum was hit: the next record proves it.
    """

    offset: int
    crc: int
    payload: bytes | None = None


def find_whole(data: bytes, offset: int, crc: int) -> ResyncPoint | None:
    """Look behind the damaged record at `offset`, chained to `crc`, for the next whole one; None: a torn tail.

    A record is whole where it checks against the one before it, be that damaged or not. The search ends, and says
    that it found something, where the file holds so many half-likely places that no rondo can have written it.
    """
    first = offset + _RECORD.size
    if first > len(data):
        return None
    length, stored = _RECORD.unpack_from(data, offset)
    payload = data[first : first + length] if first + length <= len(data) else b""
    computed = zlib.crc32(payload, crc)
    effort = 64 * (len(data) - offset) + (1 << 20)
    for match in _LIKELY.finditer(data, first):
        start = match.start()
        size, expected = _RECORD.unpack_from(data, start)
        end = start + _RECORD.size + size
        if not size or end > len(data):
            continue
        body = data[start + _RECORD.size : end]
        if payload and start == first + length and zlib.crc32(body, computed) == expected:
            return ResyncPoint(start, computed, payload)
        if zlib.crc32(body, stored) == expected:
            own = data[first:start]
            return ResyncPoint(start, stored, own if zlib.crc32(own, crc) == stored else None)
        effort -= 2 * size
        if effort < 0 or _is_whole(data, end, expected):
            return ResyncPoint(end, expected)
    return None


def _is_whole(data: bytes, offset: int, crc: int) -> bool:
    if offset + _RECORD.size > len(data):
        return False
    length, expected = _RECORD.unpack_from(data, offset)
    end = offset + _RECORD.size + length
    body = data[offset + _RECORD.size : end]
    return bool(length and end <= len(data) and zlib.crc32(body, crc) == expected)


class Journal:
    """A journal file: its whole records, in order, and room for more.

    A record is one `pwrite`: after a crash it is there or it is a torn tail, which the next open cuts off.
    """

    def __init__(
        self,
        path: StrPath,
        *,
        writable: bool,
        size_bytes: int | None = None,
        max_bytes: int | None = None,
        fresh: bool = False,
        restarted: bool = False,
    ) -> None:
        """Read the journal; where it is writable, clear what follows the last whole record.

        Args: `size_bytes`: what the file must have; `max_bytes`: what it may have; None: any size;
            `restarted`: the machine stopped since it was written, so what was not synced may be gone in part.
        Raises: StoreNotFoundError, StoreError, FormatVersionError; CorruptStoreError: not a journal, of another
        size, or whole records follow a damaged one.
        """
        self.path, self.writable = path, writable
        self._synced = 0
        self._version: tuple[int, ...] = ()  # of the file at the last look, where a later write makes another
        self.file = HeldFile(path, os.O_RDWR if writable else os.O_RDONLY)
        self._identity, descriptor, kept = self.file.identity, self.file.descriptor, False
        self.size_bytes = os.fstat(descriptor).st_size
        try:
            if fresh:
                os.pwrite(descriptor, _HEADER.pack(layout.JOURNAL_MAGIC, layout.FORMAT_VERSION, 0), 0)
            if max_bytes is not None and self.size_bytes > max_bytes:
                what = f"{self.size_bytes} bytes where at most {max_bytes} can be; {MENDED_BY}"
                raise CorruptStoreError(str(path), what, max_bytes)
            self._read(descriptor, restarted=restarted)
            if size_bytes is not None and self.size_bytes != size_bytes:
                what = f"{self.size_bytes} bytes where the schemas make it {size_bytes}; {MENDED_BY}"
                raise CorruptStoreError(str(path), what, min(self.size_bytes, size_bytes))
            if writable and (self.torn_bytes or self._more_beyond):
                self._cut(descriptor)
            kept = writable
        finally:
            if not kept:
                self.file.close()

    def _read(self, descriptor: int, *, restarted: bool) -> None:
        """Take in the whole records; what seems damaged is read twice, for a writer may be adding to it."""
        for again in (True, False):
            data = read_used(descriptor)
            check_header(self.path, data)
            self.payloads, self.offset, self.crc = parse(data)
            tail = data[self.offset :]
            self.torn_bytes = 0 if tail == bytes(len(tail)) else len(tail.rstrip(b"\0"))
            found = find_whole(data, self.offset, self.crc) if self.torn_bytes else None
            beyond = found.offset if found else self._used_from(descriptor, len(data))
            _, _, synced = _HEADER.unpack_from(data)
            self._more_beyond = beyond is not None
            if restarted and self.offset >= synced:
                break  # pages that never came to the disk, though later ones did
            if beyond is not None and not again:
                what = f"a damaged record, and more of the journal after it, at byte {beyond}; {MENDED_BY}"
                raise CorruptStoreError(str(self.path), what, self.offset)
            if beyond is None:
                break

    def _cut(self, descriptor: int) -> None:
        os.pwrite(descriptor, bytes(self.torn_bytes), self.offset)
        beyond = self.offset + self.torn_bytes
        while (used := self._used_from(descriptor, beyond)) is not None:
            os.pwrite(descriptor, bytes(min(BLOCK, self.size_bytes - used)), used)
            beyond = used + BLOCK

    def _used_from(self, descriptor: int, offset: int) -> int | None:
        return used_from(descriptor, offset) if offset < self.size_bytes else None

    def append(self, payload: bytes, keep: int = 0) -> None:
        """Add one record; so many bytes must be left after it.

        Raises: CapacityError: the file, whose size never changes, has no room for it, or cannot be written, and then an
        OSError is its cause; StoreError: another file has taken its name, so that no one would read the record.
        """
        if identity_at(self.path) not in {self._identity, None}:
            raise StoreError(f"{self.path}: another file has taken its place; close the store and open it again")
        crc = zlib.crc32(payload, self.crc)
        record = _RECORD.pack(len(payload), crc) + payload
        if not self.has_room(len(payload), keep):
            raise CapacityError(f"{self.path}: {self.size_bytes} bytes are full; make the store with more series")
        try:
            faults.pwrite("journal.append", self.file.descriptor, record, self.offset)
        except OSError as error:
            raise CapacityError(f"{self.path}: {os.strerror(error.errno or 0)}; look at the disk") from error
        self.offset, self.crc = self.offset + len(record), crc

    def has_room(self, n_bytes: int, keep: int) -> bool:
        """Say whether a record of so many bytes fits, and leaves so many after it."""
        return self.offset + _RECORD.size + n_bytes + keep <= self.size_bytes

    def is_in_place(self) -> bool:
        """Say whether the file that is open still has its name: no one has removed or replaced it."""
        return identity_at(self.path) == self._identity

    def read_more(self) -> list[bytes]:
        """Give the records that another process has added since the last look."""
        version = file_version(self.path)
        if version and version == self._version:
            return []  # as at almost every look
        try:
            descriptor = open_file(self.path)
        except (OSError, RondoError):
            return []
        try:
            # No record has a head of zeroes.
            is_new = any(os.pread(descriptor, _RECORD.size, self.offset))
            data = read_used(descriptor, self.offset) if is_new else b""
        except OSError:
            return []
        finally:
            os.close(descriptor)
        payloads, end, self.crc = parse(data, 0, self.crc)
        self.offset += end
        self._version = version if is_settled(version) else ()
        return payloads

    def sync(self) -> None:
        """Write the records to the disk, wait for it, and note how far they are known to be there."""
        if self._synced != self.offset:
            synced = self.offset
            os.fdatasync(self.file.descriptor)
            self._note(synced)

    def note_synced(self) -> None:
        """Note that all records are on the disk."""
        self._note(self.offset)

    def _note(self, synced: int) -> None:
        os.pwrite(self.file.descriptor, synced.to_bytes(4, "little"), layout.JOURNAL_SYNCED)
        self._synced = synced

    def close(self) -> None:
        """Close the file; more than once is once."""
        self.file.close()


class MemoryJournal:
    """Takes records as a journal does, and writes none: of what a child has of its parent's store, or of no store."""

    writable, torn_bytes, offset = False, 0, 0

    def __init__(self, path: StrPath, payloads: Iterable[bytes] = ()) -> None:
        """Begin with these records; `path` is for messages."""
        self.path, self.payloads = path, list(payloads)

    def append(self, payload: bytes, keep: int = 0) -> None:
        """Take one record, which whoever asks keeps."""

    def has_room(self, _n_bytes: int, _keep: int) -> bool:
        """Say that everything fits."""
        return True

    def read_more(self) -> list[bytes]:
        """Give none: no other process adds to it."""
        return []

    def is_in_place(self) -> bool:
        """Say that nothing has gone."""
        return True

    def sync(self) -> None:
        """Have nothing to write."""

    def note_synced(self) -> None:
        """Have nothing to note."""

    def close(self) -> None:
        """Have nothing to close."""
