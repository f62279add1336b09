"""Where virtio devices lie: address and interrupt by number, and how a Linux guest is told of them."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rondo_vmm.devices.board import Board
from rondo_vmm.devices.virtio.device import VirtioDevice
from rondo_vmm.devices.virtio.mmio import Mmio
from rondo_vmm.errors import ConfigError

# Behind the scratch registers of the bundled guest, in the hole below 4 GiB that holds no memory.
FIRST_ADDRESS, SLOT_BYTES = 0xD0001000, 0x1000
INTERRUPTS = (5, 6, 7, 10, 11, 12, 14)  # free of a PC's timer, keyboard, serial ports, clock and ACPI
MAX_DEVICES = len(INTERRUPTS)


@attrs.frozen
class MmioRegion:
    """A memory-mapped device that a kernel is told of: its registers' address, their bytes, its interrupt line."""

    address: int
    size_bytes: int
    irq: int


def address_of(index: int) -> int:
    """Give a slot's first guest-physical address. Raises: ConfigError: there is no such slot."""
    if not 0 <= index < MAX_DEVICES:
        raise ConfigError(f"virtio device {index}: there is room for {MAX_DEVICES}")
    return FIRST_ADDRESS + index * SLOT_BYTES


def interrupt_of(index: int) -> int:
    """Give a slot's interrupt line. Raises: ConfigError: there is no such slot."""
    address_of(index)
    return INTERRUPTS[index]


def add_virtio(board: Board, device: VirtioDevice, index: int, interrupt: Callable[[int], None]) -> Mmio:
    """Put a device on the bus, in slot `index` of 0 to 6.

    Args: `interrupt` takes the level, 0 or 1, of line `interrupt_of(index)`.
    Returns: its transport. Raises: ConfigError: there is no such slot, or it is taken.
    """
    transport = Mmio(board.memory, device, interrupt)
    board.bus.add_mmio(address_of(index), SLOT_BYTES, transport)
    board.mmio_regions.append(MmioRegion(address_of(index), SLOT_BYTES, interrupt_of(index)))
    return transport


def command_line(count: int) -> str:
    """Tell a Linux kernel of the devices in slots 0 to count-1: the words for its command line.

    Source: Linux, drivers/virtio/virtio_mmio.c: virtio_mmio.device=<size>@<baseaddr>:<irq>.
    """
    words = [f"virtio_mmio.device=4K@{address_of(index):#x}:{interrupt_of(index)}" for index in range(count)]
    return " ".join(words)
