"""The page of devices: its table says where each of them is, as the machine has them."""

import re
from pathlib import Path
from types import SimpleNamespace

from rondo_vmm.build import add_devices
from rondo_vmm.devices.board import Board
from rondo_vmm.memory import GuestMemory

PAGE = (Path(__file__).parents[2] / "docs" / "devices.md").read_text()


def places():
    """The ranges of ports and addresses that the table names, each as its first and its last."""
    table = next(part for part in PAGE.split("\n\n") if part.startswith("| device |"))
    return [(int(first, 16), int(last, 16)) for first, last in re.findall(r"(0x[0-9a-f]+) to (0x[0-9a-f]+)", table)]


def test_every_device_of_a_machine_is_in_the_table():
    """A guest's author finds each port and address that answers; none that is named is another's, or nobody's."""
    board = Board(GuestMemory(1 << 20))
    machine = SimpleNamespace(interrupt_line=lambda _number: lambda _level: None)
    add_devices(board, machine, lambda _data: None)
    ports = {port for first, last in places() if last < 1 << 16 for port in range(first, last + 1)}
    assert ports == set(board.bus.ports)
    addresses = [(base, base + size - 1) for base, size in board.bus.mmio_ranges()]
    assert addresses == [(first, last) for first, last in places() if last >= 1 << 16]
