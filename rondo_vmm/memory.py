"""GuestMemory: the one gate to guest bytes; every access is (address, length), checked, and never wraps."""

from __future__ import annotations

import functools
import mmap
import os
from collections.abc import Callable, Sequence

from rondo_vmm.errors import GuestMemoryError

PAGE_BYTES = mmap.PAGESIZE
Segment = tuple[int, int]  # address and length, bytes


class GuestMemory:
    """The guest's RAM, from address 0 on; zero at first, paid for only where it is touched."""

    def __init__(self, size_bytes: int, fence_bytes: int = 0) -> None:
        """Map anonymous memory of that size.

        Args: `fence_bytes`: whole pages on either side of it that no access reaches, so that one which did can be seen.
        """
        self.size_bytes = size_bytes
        self._first = fence_bytes
        self.map = mmap.mmap(-1, size_bytes + 2 * fence_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self.map)[fence_bytes : fence_bytes + size_bytes]

    def host_address(self) -> int:
        """Give where the guest's address 0 lies in this process."""
        import ctypes

        return ctypes.addressof(ctypes.c_char.from_buffer(self.map)) + self._first

    def check(self, address: int, length: int) -> None:
        """Let the range pass. Raises: GuestMemoryError: any of it is outside."""
        if address < 0 or length < 0 or address + length > self.size_bytes:
            raise GuestMemoryError(address, length, self.size_bytes)

    def view(self, address: int, length: int) -> memoryview:
        """Give the bytes themselves, not a copy: the guest may change them at any time.

        Raises: GuestMemoryError: any of them is outside.
        """
        self.check(address, length)
        return self._view[address : address + length]

    def read(self, address: int, length: int) -> bytes:
        """Copy bytes out. Raises: GuestMemoryError: any of them is outside."""
        self.check(address, length)
        return bytes(self._view[address : address + length])

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Copy bytes in, all or none. Raises: GuestMemoryError: any of them is outside."""
        self.check(address, len(data))
        self._view[address : address + len(data)] = data

    def read_u32(self, address: int) -> int:
        """Read a little-endian 32-bit number. Raises: GuestMemoryError."""
        return int.from_bytes(self.read(address, 4), "little")

    def write_u32(self, address: int, value: int) -> None:
        """Write a little-endian 32-bit number. Raises: GuestMemoryError."""
        self.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))

    def read_file(self, descriptor: int, segments: Sequence[Segment], offset: int) -> None:
        """Read from a file at `offset` straight into the segments, at most 1024 of them.

        Raises: GuestMemoryError: any of them is outside, and nothing is read; EOFError: the file ends before they are
        full; OSError.
        """
        self._move(os.preadv, descriptor, segments, offset)

    def write_file(self, descriptor: int, segments: Sequence[Segment], offset: int) -> None:
        """Write the segments, at most 1024 of them, straight to a file at `offset`.

        Raises: GuestMemoryError: any of them is outside, and nothing is written; OSError.
        """
        self._move(os.pwritev, descriptor, segments, offset)

    def _move(
        self,
        call: Callable[[int, list[memoryview], int], int],
        descriptor: int,
        segments: Sequence[Segment],
        offset: int,
    ) -> None:
        views = [self.view(address, length) for address, length in segments]
        while views:
            moved = call(descriptor, views, offset)
            if moved == 0:
                raise EOFError
            offset += moved
            while views and moved >= len(views[0]):
                moved -= len(views.pop(0))
            if views:
                views[0] = views[0][moved:]

    def release(self, address: int, length: int) -> None:
        """Give whole pages back to the host; they read as zeroes until they are written again.

        Raises: GuestMemoryError: any of them is outside.
        """
        self.check(address, length)
        if length:
            self.map.madvise(mmap.MADV_DONTNEED, self._first + address, length)

    def resident_bytes(self) -> int:
        """Count what of it the host holds in memory, bytes."""
        found = bytearray((self.size_bytes + PAGE_BYTES - 1) // PAGE_BYTES)
        _mincore()(self.host_address(), self.size_bytes, found)
        return found.count(1) * PAGE_BYTES


@functools.cache
def _mincore() -> Callable[[int, int, bytearray], None]:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def mincore(address: int, size_bytes: int, found: bytearray) -> None:
        room = (ctypes.c_ubyte * len(found)).from_buffer(found)
        if libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size_bytes), room):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    return mincore
