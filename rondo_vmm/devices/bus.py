"""Port and memory-mapped ranges -> devices. What no device claims reads as all ones, and writes go nowhere."""

from __future__ import annotations

from typing import Protocol

from rondo_vmm.errors import ConfigError

PORTS = 1 << 16
PAGE_BITS = 12


class Device(Protocol):
    """Registers: `offset` counts from the device's first, `size` is 1, 2, 4 or 8 bytes."""

    def read(self, offset: int, size: int) -> int:
        """Give the register's value; more bits than `size` holds are cut off."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Take what the guest wrote."""


class Bus:
    """Who answers at which address. Built before the machine runs; then only read."""

    def __init__(self) -> None:
        """Start with nothing on it."""
        self.ports: dict[int, tuple[Device, int]] = {}
        self._pages: dict[int, list[tuple[int, int, Device]]] = {}
        self.unclaimed = 0

    def add_ports(self, first: int, count: int, device: Device) -> None:
        """Give `device` the ports first..first+count-1.

        Raises: ConfigError: another device has one of them, or there is no such port.
        """
        if first < 0 or count < 1 or first + count > PORTS:
            raise ConfigError(f"ports {first:#x}+{count}: outside 0 to 0xffff")
        for port in range(first, first + count):
            if port in self.ports:
                raise ConfigError(f"port {port:#x}: two devices claim it")
        for port in range(first, first + count):
            self.ports[port] = (device, port - first)

    def add_mmio(self, base: int, length: int, device: Device) -> None:
        """Give `device` the guest-physical addresses base..base+length-1.

        Raises: ConfigError: another device has one of them.
        """
        end = base + length
        pages = range(base >> PAGE_BITS, (end - 1 >> PAGE_BITS) + 1)
        for page in pages:
            for other, other_end, _ in self._pages.get(page, []):
                if base < other_end and other < end:
                    raise ConfigError(f"address {max(base, other):#x}: two devices claim it")
        for page in pages:
            self._pages.setdefault(page, []).append((base, end, device))

    def mmio_ranges(self) -> list[tuple[int, int]]:
        """Give every memory-mapped range as (base, length)."""
        found = {(base, end - base) for ranges in self._pages.values() for base, end, _ in ranges}
        return sorted(found)

    def port_read(self, port: int, size: int) -> int:
        """Answer IN."""
        found = self.ports.get(port)
        if found is None:
            self.unclaimed += 1
            return (1 << size * 8) - 1
        return found[0].read(found[1], size) & (1 << size * 8) - 1

    def port_write(self, port: int, size: int, value: int) -> None:
        """Answer OUT."""
        found = self.ports.get(port)
        if found is None:
            self.unclaimed += 1
            return
        found[0].write(found[1], size, value)

    def mmio_read(self, address: int, size: int) -> int:
        """Answer a load."""
        for base, end, device in self._pages.get(address >> PAGE_BITS, ()):
            if base <= address and address + size <= end:
                return device.read(address - base, size) & (1 << size * 8) - 1
        self.unclaimed += 1
        return (1 << size * 8) - 1

    def mmio_write(self, address: int, size: int, value: int) -> None:
        """Answer a store."""
        for base, end, device in self._pages.get(address >> PAGE_BITS, ()):
            if base <= address and address + size <= end:
                device.write(address - base, size, value)
                return
        self.unclaimed += 1
