"""A split virtqueue in guest memory, section 2.7: nothing that stands in it is believed before it is checked."""

from __future__ import annotations

import struct

from rondo_vmm.errors import GuestError
from rondo_vmm.memory import GuestMemory, Segment

# Source: section 2.7.5: address, length, flags, next.
DESCRIPTOR = struct.Struct("<QIHH")
NEXT, WRITE, INDIRECT = 1, 2, 4
NO_INTERRUPT = 1  # section 2.7.6: in the flags of the available ring
INDEX_MASK = 0xFFFF


class QueueError(GuestError):
    """A virtqueue that no driver in its senses would make."""


class Chain:
    """One chain of descriptors: what the device may read, then what it may write.

    Attributes: `head`: the descriptor it starts with; `readable`, `writable`: segments, each inside guest memory.
    """

    __slots__ = ("_memory", "head", "readable", "writable")

    def __init__(self, memory: GuestMemory, head: int, readable: list[Segment], writable: list[Segment]) -> None:
        """Hold segments that were checked."""
        self._memory, self.head, self.readable, self.writable = memory, head, readable, writable

    def take(self, length: int) -> bytes:
        """Copy the first readable bytes out and drop them; fewer where there are fewer."""
        taken, self.readable = split(self.readable, length)
        return b"".join([self._memory.read(*segment) for segment in taken])

    def put(self, data: bytes) -> int:
        """Copy into the writable bytes and drop those; give how many fitted."""
        taken, self.writable = split(self.writable, len(data))
        done = 0
        for address, length in taken:
            self._memory.write(address, data[done : done + length])
            done += length
        return done


class Queue:
    """One virtqueue of a device: the driver's addresses, and how far the device has come.

    Attributes: `size`, `table`, `driver`, `device`: as the driver set them: the number of descriptors, and the
    addresses of the descriptors, the available ring and the used ring; `ready`: whether it can be used.
    """

    def __init__(self, memory: GuestMemory, max_size: int) -> None:
        """Start unused. Args: `max_size`: the most descriptors that it may have, a power of two."""
        self._memory, self.max_size = memory, max_size
        self.reset()

    def reset(self) -> None:
        """Forget all that the driver said."""
        self.size = self.max_size
        self.table = self.driver = self.device = 0
        self.ready = self._owed = self._indirect = False
        self._next = self._next_used = 0
        self._table = self._available = self._used = self._used_index = memoryview(b"")

    def start(self, indirect: bool) -> None:
        """Use the addresses that were set. Args: `indirect`: tables of descriptors elsewhere were negotiated.

        Raises: QueueError, GuestMemoryError: the size or an address cannot be.
        """
        size = self.size
        if not 0 < size <= self.max_size or size & size - 1:
            raise QueueError(f"queue of {size} descriptors: a power of two, at most {self.max_size}")
        if self.table % 16 or self.driver % 2 or self.device % 4:
            raise QueueError(f"queue at {self.table:#x}, {self.driver:#x}, {self.device:#x}: not aligned")
        self._table = self._memory.view(self.table, DESCRIPTOR.size * size)
        # A store into a cast view is one store of that width, which another CPU sees whole.
        self._available = self._memory.view(self.driver, 4 + 2 * size).cast("H")
        self._used = self._memory.view(self.device, 4 + 8 * size).cast("I")
        self._used_index = self._memory.view(self.device, 4).cast("H")
        self._next = self._next_used = 0
        self._owed, self._indirect, self.ready = False, indirect, True

    def waiting(self) -> int:
        """Count the chains that the driver has made available and the device not taken.

        Raises: QueueError: more than the queue has descriptors.
        """
        count = self._available[1] - self._next & INDEX_MASK
        if count > self.size:
            raise QueueError(f"queue of {self.size} descriptors: {count} chains are said to wait")
        return count

    def pop(self) -> Chain:
        """Take the next chain; `waiting` was more than 0.

        Raises: QueueError, GuestMemoryError: it loops, lies, or leaves guest memory.
        """
        head = self._available[2 + (self._next & self.size - 1)]
        chain = self._walk(head)
        self._next = self._next + 1 & INDEX_MASK
        return chain

    def _walk(self, head: int) -> Chain:
        readable: list[Segment] = []
        writable: list[Segment] = []
        table: memoryview | bytes = self._table
        entries, index, inside = self.size, head, False
        check, unpack = self._memory.check, DESCRIPTOR.unpack_from
        for _ in range(self.size + 1):
            if index >= entries:
                raise QueueError(f"descriptor {index}: there are {entries}")
            address, length, flags, following = unpack(table, index * 16)
            if flags & INDIRECT:
                if inside:
                    raise QueueError(f"descriptor {index}: an indirect table inside one")
                table, entries, index, inside = self._table_at(address, length, flags), length // 16, 0, True
                continue
            if not length:
                raise QueueError(f"descriptor {index}: no bytes")
            check(address, length)
            if flags & WRITE:
                writable.append((address, length))
            elif writable:
                raise QueueError(f"descriptor {index}: readable after writable")
            else:
                readable.append((address, length))
            if not flags & NEXT:
                return Chain(self._memory, head, readable, writable)
            index = following
        raise QueueError(f"chain at descriptor {head}: longer than its queue of {self.size}")

    def _table_at(self, address: int, length: int, flags: int) -> bytes:
        """Copy an indirect table, so that it stays what was checked."""
        if not self._indirect or flags & NEXT:
            raise QueueError("an indirect table that was not negotiated, or goes on after it")
        if not length or length % DESCRIPTOR.size or length > DESCRIPTOR.size * self.size:
            raise QueueError(f"indirect table of {length} bytes: up to {self.size} descriptors of 16 bytes")
        return self._memory.read(address, length)

    def push(self, head: int, written: int) -> None:
        """Hand a chain back. Args: `written`: how many of its writable bytes were written."""
        slot = self._next_used & self.size - 1
        self._used[1 + 2 * slot] = head
        self._used[2 + 2 * slot] = written
        self._next_used = self._next_used + 1 & INDEX_MASK
        self._used_index[1] = self._next_used
        self._owed = True

    def take_interrupt(self) -> bool:
        """Say, once, whether chains were handed back and the driver wants to hear of it."""
        owed, self._owed = self._owed, False
        return owed and not self._available[0] & NO_INTERRUPT


def split(segments: list[Segment], length: int) -> tuple[list[Segment], list[Segment]]:
    """Cut segments after `length` bytes; the first part has fewer where there are fewer."""
    for place, (address, size) in enumerate(segments):
        if size >= length:
            cut = length
            first = [*segments[:place], (address, cut)] if cut else segments[:place]
            rest = [(address + cut, size - cut), *segments[place + 1 :]] if cut < size else segments[place + 1 :]
            return first, rest
        length -= size
    return segments, []


def total_bytes(segments: list[Segment]) -> int:
    """Add up the segments' lengths."""
    return sum([length for _, length in segments])
