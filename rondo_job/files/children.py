"""The table of a job's processes: fixed records in a file of fixed size, written by a map that survives
its writer.

A record has a checksum: one that was half written when its writer was killed is left out. Where the table is full, the
ended process with the least CPU and memory is evicted.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path

from rondo_job.facts import Child

MAGIC = b"RONDOCH1"
_HEADER = struct.Struct("<8sII")  # magic, records, processes evicted
_RECORD = struct.Struct("<IIIqqqqi64s")  # checksum, pid, parent, start, end, CPU (ns), peak, status, command
_NO_STATUS = -1
MAX_CHILDREN, _COMMAND_BYTES = 512, 64
FIRST = 64  # bytes before the first record


class ChildrenWriter:
    """The writing end. One writer."""

    def __init__(self, path: Path, room: int = MAX_CHILDREN) -> None:
        """Make the file. Raises: OSError: it cannot be made, or the disk has no room."""
        size = FIRST + room * _RECORD.size
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self._room, self._evicted = room, 0
        self._slots: dict[int, int] = {}  # key of a process -> slot
        self._written: dict[int, Child] = {}  # slot -> what is in it
        self._head()

    def put(self, key: int, child: Child) -> None:
        """Write a process. Args: `key`: what it is known by here, so that it keeps its record."""
        slot = self._slots.get(key)
        if slot is None:
            slot = len(self._written) if len(self._written) < self._room else self._evict(child)
            if slot is None:
                return
            self._slots[key] = slot
        elif self._written[slot] == child:
            return
        self._written[slot] = child
        at = FIRST + slot * _RECORD.size
        self._map[at : at + _RECORD.size] = _packed(child)

    def _evict(self, child: Child) -> int | None:
        """Take the record of an ended process that took less than this one; None: there is none."""
        self._evicted += 1
        self._head()
        ended = [(_weight(each), slot) for slot, each in self._written.items() if each.ended_ns]
        least, slot = min(ended, default=((0, 0), -1))
        if slot < 0 or (child.ended_ns and least >= _weight(child)):
            return None
        self._slots = {key: at for key, at in self._slots.items() if at != slot}
        return slot

    def _head(self) -> None:
        self._map[: _HEADER.size] = _HEADER.pack(MAGIC, self._room, self._evicted)

    def forget(self, key: int) -> None:
        """Let a process that ended keep its record, and its key be used again."""
        self._slots.pop(key, None)


def _weight(child: Child) -> tuple[float, int]:
    return child.cpu_s, child.peak_bytes


def _packed(child: Child) -> bytes:
    command = child.command.encode(errors="replace")[:_COMMAND_BYTES]
    status = _NO_STATUS if child.status is None else child.status
    times = child.started_ns, child.ended_ns, round(child.cpu_s * 1e9)
    facts = (child.pid, child.parent_pid, *times, child.peak_bytes, status, command)
    return _RECORD.pack(zlib.crc32(_RECORD.pack(0, *facts)[4:]), *facts)


def read_children(path: Path) -> tuple[list[Child], int]:
    """Give the processes, by start, and how many others were evicted; nothing where there is no table.

    Raises: ValueError: the file is none of it; OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    if len(data) < FIRST or data[:8] != MAGIC:
        raise ValueError(f"{path}: not a table of processes")
    _, room, evicted = _HEADER.unpack_from(data)
    found = []
    for at in range(FIRST, min(len(data), FIRST + room * _RECORD.size) - _RECORD.size + 1, _RECORD.size):
        crc, pid, parent, start, end, cpu_ns, peak, status, command = _RECORD.unpack_from(data, at)
        if pid and zlib.crc32(data[at + 4 : at + _RECORD.size]) == crc:
            name = command.rstrip(b"\0").decode(errors="replace")
            known = None if status == _NO_STATUS else status
            found.append(Child(pid, parent, name, start, end, cpu_ns / 1e9, peak, known))
    return sorted(found, key=lambda child: (child.started_ns, child.pid)), evicted
