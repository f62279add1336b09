"""GuestMemory: the one gate to guest bytes; every access is (address, length), checked, and never wraps."""

from __future__ import annotations

import mmap

from rondo_vmm.errors import GuestMemoryError


class GuestMemory:
    """The guest's RAM, from address 0 on; zero at first, paid for only where it is touched."""

    def __init__(self, size_bytes: int) -> None:
        """Map anonymous memory of that size."""
        self.size_bytes = size_bytes
        self.map = mmap.mmap(-1, size_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self.map)

    def host_address(self) -> int:
        """Give where the guest's address 0 lies in this process."""
        import ctypes

        return ctypes.addressof(ctypes.c_char.from_buffer(self.map))

    def _check(self, address: int, length: int) -> None:
        if address < 0 or length < 0 or address + length > self.size_bytes:
            raise GuestMemoryError(address, length, self.size_bytes)

    def read(self, address: int, length: int) -> bytes:
        """Copy bytes out. Raises: GuestMemoryError: any of them is outside."""
        self._check(address, length)
        return bytes(self._view[address : address + length])

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Copy bytes in, all or none. Raises: GuestMemoryError: any of them is outside."""
        self._check(address, len(data))
        self._view[address : address + len(data)] = data

    def read_u32(self, address: int) -> int:
        """Read a little-endian 32-bit number. Raises: GuestMemoryError."""
        return int.from_bytes(self.read(address, 4), "little")

    def write_u32(self, address: int, value: int) -> None:
        """Write a little-endian 32-bit number. Raises: GuestMemoryError."""
        self.write(address, (value & 0xFFFFFFFF).to_bytes(4, "little"))
