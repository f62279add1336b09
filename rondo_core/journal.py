"""Append-only records in a file of fixed size: length-prefixed, checksummed, chained; a torn tail is cut off."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from rondo_core import faults, layout
from rondo_core.errors import CapacityError, CorruptStoreError, FormatVersionError, StoreError, StoreNotFoundError
from rondo_core.slab import allocate

_HEADER = layout.JOURNAL_HEADER
_RECORD = layout.JOURNAL_RECORD


def create_journal(path: Path, size_bytes: int, records: tuple[bytes, ...] = ()) -> None:
    """Make a journal at its full size, with the given first records.

    Raises: StoreError: the disk has no room; CapacityError: the records do not fit.
    """
    os.close(allocate(path, size_bytes))
    journal = Journal(path, writable=True, fresh=True)
    try:
        for payload in records:
            journal.append(payload)
        journal.sync()
    finally:
        journal.close()


def read_bytes(path: Path) -> bytes:
    """Read a whole small file of the store, never through a symbolic link.

    Raises: StoreNotFoundError: it is missing; StoreError: it may not be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise StoreNotFoundError(f"{path}: missing; the store is incomplete") from None
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; check its owner and mode") from None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def check_header(path: Path, data: bytes) -> None:
    """Refuse what is not a journal, or is one of a newer format.

    Raises: CorruptStoreError, FormatVersionError.
    """
    if len(data) < _HEADER.size or data[:8] != layout.JOURNAL_MAGIC:
        raise CorruptStoreError(str(path), "not a journal of a store", 0)
    _, version, _ = _HEADER.unpack_from(data)
    if version > layout.FORMAT_VERSION:
        raise FormatVersionError(str(path), version, layout.FORMAT_VERSION)


def parse(data: bytes, offset: int = _HEADER.size, crc: int = 0) -> tuple[list[bytes], int, int]:
    """Read the whole records from `offset` on, up to the first that is none.

    Returns: the payloads, the offset after the last whole record, and its checksum, from which reading goes on.
    """
    payloads = []
    while offset + _RECORD.size <= len(data):
        length, expected = _RECORD.unpack_from(data, offset)
        end = offset + _RECORD.size + length
        if not length or end > len(data):
            break
        payload = data[offset + _RECORD.size : end]
        if zlib.crc32(payload, crc) != expected:
            break
        payloads.append(payload)
        offset, crc = end, expected
    return payloads, offset, crc


class Journal:
    """A journal file: its whole records, in order, and room for more.

    A record is one `pwrite`: after a crash it is there or it is a torn tail, which the next open cuts off.
    """

    def __init__(self, path: Path, *, writable: bool, fresh: bool = False) -> None:
        """Read the journal; where it is writable, clear what follows the last whole record.

        Raises: StoreNotFoundError, StoreError, CorruptStoreError, FormatVersionError.
        """
        self.path = path
        self._descriptor = -1
        if fresh:
            with path.open("r+b") as file:
                file.write(_HEADER.pack(layout.JOURNAL_MAGIC, layout.FORMAT_VERSION, 0))
        data = read_bytes(path)
        check_header(path, data)
        self.payloads, self.offset, self.crc = parse(data)
        self.size_bytes = len(data)
        self.torn_bytes = len(data[self.offset :].rstrip(b"\0"))
        if writable:
            self._descriptor = self._open()
            if self.torn_bytes:
                os.pwrite(self._descriptor, bytes(self.torn_bytes), self.offset)

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise StoreError(f"{self.path}: {os.strerror(error.errno or 0)}; check its owner and mode") from None

    def append(self, payload: bytes) -> None:
        """Add one record.

        Raises: CapacityError: the file, whose size never changes, has no room for it.
        """
        crc = zlib.crc32(payload, self.crc)
        record = _RECORD.pack(len(payload), crc) + payload
        if self.offset + len(record) > self.size_bytes:
            raise CapacityError(f"{self.path}: {self.size_bytes} bytes are full; make the store with more series")
        faults.pwrite("journal.append", self._descriptor, record, self.offset)
        self.offset, self.crc = self.offset + len(record), crc

    def read_more(self) -> list[bytes]:
        """Give the records that another process has added since the last look."""
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        payloads, end, self.crc = parse(data, 0, self.crc)
        self.offset += end
        return payloads

    def sync(self) -> None:
        """Write the records to the disk, and wait for it."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Close the file; more than once is once."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
