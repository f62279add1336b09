"""A small driver, written from the specification with numbers of its own, and what the tests drive with it."""

import struct

import pytest

from rondo_vmm.devices.virtio.mmio import Mmio
from rondo_vmm.memory import GuestMemory

MIB = 1 << 20
NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION_1, INDIRECT_DESC, RING_RESET = 1 << 32, 1 << 28, 1 << 40


class Driver:
    """Drives one device through its registers and its queues in guest memory."""

    def __init__(self, memory, device):
        self.memory, self.device = memory, device
        self.line = []
        self.transport = Mmio(memory, device, self.line.append)
        self.free = 0x10000
        self.queues = {}

    def read(self, register):
        return self.transport.read(register, 4)

    def write(self, register, value):
        self.transport.write(register, 4, value)

    @property
    def status(self):
        return self.read(0x070)

    def offered(self):
        self.write(0x014, 0)
        low = self.read(0x010)
        self.write(0x014, 1)
        return low | self.read(0x010) << 32

    def negotiate(self, without=0, extra=0):
        """Reset, acknowledge, choose features, and give what was chosen."""
        self.write(0x070, 0)
        self.write(0x070, 1)
        self.write(0x070, 1 | 2)
        features = self.offered() & ~without | extra
        for half in (0, 1):
            self.write(0x024, half)
            self.write(0x020, features >> 32 * half & 0xFFFFFFFF)
        self.write(0x070, 1 | 2 | 8)
        return features

    def set_up_queue(self, index, size=None):
        self.write(0x030, index)
        size = size or self.read(0x034)
        table, available, used = self.take(16 * size, 16), self.take(6 + 2 * size, 2), self.take(6 + 8 * size, 4)
        self.write(0x038, size)
        for register, address in ((0x080, table), (0x090, available), (0x0A0, used)):
            self.write(register, address & 0xFFFFFFFF)
            self.write(register + 4, address >> 32)
        self.write(0x044, 1)
        self.queues[index] = {
            "size": size, "table": table, "available": available, "used": used, "next": 0, "seen": 0, "free": 0,
        }  # fmt: skip

    def start(self, size=None, without=0):
        """Bring the device up with all of its queues."""
        self.negotiate(without)
        for index in range(len(self.device.queue_sizes)):
            self.set_up_queue(index, size)
        self.write(0x070, 1 | 2 | 8 | 4)
        assert self.status == 15
        return self

    def take(self, length, align=16):
        """Give guest memory that nothing else uses, zeroed."""
        address = (self.free + align - 1) // align * align
        self.free = address + length
        self.memory.write(address, bytes(length))
        return address

    def place(self, data):
        address = self.take(len(data))
        self.memory.write(address, data)
        return address

    def describe(self, index, slot, address, length, flags=0, following=0):
        self.memory.write(
            self.queues[index]["table"] + 16 * slot, struct.pack("<QIHH", address, length, flags, following)
        )

    def chain(self, index, parts):
        """Write a chain of (address, length, writable) into the table; give its head."""
        queue = self.queues[index]
        slots = [(queue["free"] + n) % queue["size"] for n in range(len(parts))]
        queue["free"] += len(parts)
        for n, (address, length, writable) in enumerate(parts):
            last = n == len(parts) - 1
            flags = (0 if last else NEXT) | (WRITE if writable else 0)
            self.describe(index, slots[n], address, length, flags, 0 if last else slots[n + 1])
        return slots[0]

    def offer(self, index, head):
        queue = self.queues[index]
        slot = queue["next"] % queue["size"]
        self.memory.write(queue["available"] + 4 + 2 * slot, struct.pack("<H", head))
        queue["next"] = queue["next"] + 1 & 0xFFFF
        self.memory.write(queue["available"] + 2, struct.pack("<H", queue["next"]))

    def notify(self, index):
        self.write(0x050, index)

    def used(self, index):
        """Give what the device handed back since the last look, as (head, length)."""
        queue = self.queues[index]
        (upto,) = struct.unpack("<H", self.memory.read(queue["used"] + 2, 2))
        back = []
        while queue["seen"] != upto:
            at = queue["used"] + 4 + 8 * (queue["seen"] % queue["size"])
            back.append(struct.unpack("<II", self.memory.read(at, 8)))
            queue["seen"] = queue["seen"] + 1 & 0xFFFF
        return back

    def run(self, index, parts):
        """Submit one chain, and give how many bytes the device says it wrote."""
        head = self.chain(index, parts)
        self.offer(index, head)
        self.notify(index)
        ((back, length),) = self.used(index)
        assert back == head
        return length

    def block(self, kind, sector=0, data=b"", room=0, cuts=1):
        """Submit one block request; give its status, what was read, and the length handed back."""
        header = self.place(struct.pack("<IIQ", kind, 0, sector))
        status = self.place(b"\xee")
        parts = [(header, 16, False)]
        source, target = self.place(data), self.take(room)
        for address, length, writable in ((source, len(data), False), (target, room, True)):
            step = -(-length // cuts)
            parts += [(address + at, min(step, length - at), writable) for at in range(0, length, step or 1)]
        length = self.run(0, [*parts, (status, 1, True)])
        return self.memory.read(status, 1)[0], self.memory.read(target, room), length


@pytest.fixture
def memory():
    """Guest memory of 8 MiB."""
    return GuestMemory(8 * MIB)


@pytest.fixture
def drive(memory):
    """Give a driver for a device."""
    return lambda device: Driver(memory, device)
