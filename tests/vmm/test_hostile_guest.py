"""A guest that does whatever it likes with every device: nothing escapes, nothing outside its memory is touched.

RONDO_HOSTILE_OPERATIONS says how many operations, RONDO_HOSTILE_SEED which ones; `make soak-hostile` draws new seeds.
"""

import os
import random
import struct
import sys
import threading
import traceback
from pathlib import Path

import pytest

from rondo_core import Store
from rondo_vmm.devices import clock, power, serial
from rondo_vmm.devices.board import Board
from rondo_vmm.devices.virtio.balloon import Balloon
from rondo_vmm.devices.virtio.block.backend import RawImage
from rondo_vmm.devices.virtio.block.device import BlockDevice
from rondo_vmm.devices.virtio.block.request import DISCARD, FLUSH, GET_ID, READ, WRITE, WRITE_ZEROES
from rondo_vmm.devices.virtio.console import Console
from rondo_vmm.devices.virtio.rng import Rng
from rondo_vmm.devices.virtio.slots import add_virtio, address_of
from rondo_vmm.memory import GuestMemory
from rondo_vmm.plugins import balloon as memory_plugin
from rondo_vmm.plugins import blockio, guest_samples

OPERATIONS = int(os.environ.get("RONDO_HOSTILE_OPERATIONS", "1000000"))
SEED = int(os.environ.get("RONDO_HOSTILE_SEED", "20260101"))
SIZE, FENCE = 2 << 20, 1 << 16
SECTORS = 1024
CANARY = b"not the guest's!"
NEEDS_RESET, LIVE = 64, 15
MAGIC = 0x74726976
PAGE = 4096
PAGES_BYTES = b"".join(struct.pack("<I", page) for page in (300, 301, 400, 511))
ADDRESSES = [0, 1, 0x1000, SIZE - 1, SIZE - 16, SIZE, SIZE + 1, 2**31, 2**32 - 1, 2**32, 2**63, 2**64 - 16, 2**64 - 1]
LENGTHS = [0, 1, 4, 10, 15, 16, 17, 24, 32, 511, 512, 513, 1024, 4096, 65537, SIZE, SIZE + 1, 2**31, 2**32 - 1]
SECTOR_NUMBERS = [0, 1, 7, SECTORS - 1, SECTORS, SECTORS + 1, 2**32, 2**55 - 1, 2**55, 2**63, 2**64 - 1]
KINDS = [0, 0, 0, 1, 1, 1, 4, 8, 11, 11, 13, 13, 2, 2**32 - 1]
VALUES = [0, 1, 2, 3, 4, 8, 11, 15, 64, 128, 255, 256, 0xFFFF, 0x2000, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
LINES = [
    b"load 0.5\n", b'requests_total{path="/a",code="200"} 17\n', b"load 1 1700000000000\n", b"x" * 2000, b"\n\n\r\n",
    b'a{b="c', b'a{b="\\n\\\\\\""} 1e308\n', b"a 1e999\n", b"a nan\n", b"a_total 9e99\n", b"\xff\xfe 1\n", b'a{__name__="b"} 1\n', b"{} 1\n",
]  # fmt: skip


class Host:
    """A board with every device, its memory between two fences, its disks in memory files."""

    def __init__(self, store):
        self.memory = GuestMemory(SIZE, FENCE)
        self.board = Board(self.memory)
        self.fence = CANARY * (FENCE // len(CANARY))
        self.memory.map[:FENCE] = self.memory.map[FENCE + SIZE :] = self.fence
        self.memory.write(0, bytes(range(256)) * (SIZE // 256))
        self.said, self.ended, self.levels, self.requests = 0, 0, {}, {}
        bus = self.board.bus
        scratch = clock.Scratch(clock.SCRATCH_PORT_COUNT), clock.Scratch(clock.SCRATCH_MMIO_BYTES)
        bus.add_ports(serial.COM1, 8, serial.Serial(self.hear))
        bus.add_ports(power.PM1A_CONTROL, 4, power.PowerOff(self.end))
        bus.add_ports(power.I8042_DATA, 5, power.KeyboardController(self.end))
        bus.add_ports(clock.CLOCK_PORT, clock.PORT_COUNT, self.board.clock)
        bus.add_ports(clock.SCRATCH_PORT, clock.SCRATCH_PORT_COUNT, scratch[0])
        bus.add_mmio(clock.SCRATCH_MMIO, clock.SCRATCH_MMIO_BYTES, scratch[1])
        self.plain = [*{device for device, _ in bus.ports.values()}, scratch[1]]
        self.plain.sort(key=lambda device: type(device).__name__)
        self.files = [self.file(), self.file()]
        self.images = [RawImage(Path(f"/proc/self/fd/{self.files[n]}"), read_only=bool(n)) for n in (0, 1)]
        disks = [
            BlockDevice(self.memory, image, f"vd{n}", [blockio.rondo_vmm_block_bind(store, f"vd{n}"), self.note])
            for n, image in enumerate(self.images)
        ]
        self.balloon = Balloon(self.memory)
        lines = guest_samples.rondo_vmm_guest_line_bind(store, {"max_series": 8})
        self.devices = [*disks, Rng(), self.balloon, Console([lines])]
        self.transports = [
            add_virtio(self.board, device, index, lambda level, index=index: self.levels.update({index: level}))
            for index, device in enumerate(self.devices)
        ]
        self.tick = memory_plugin.rondo_vmm_memory_bind(store, self.memory, self.look_at_balloon)

    @staticmethod
    def file():
        """Make a disk of whole sectors and a tail that is no part of it."""
        descriptor = os.memfd_create("disk")
        os.pwrite(descriptor, b"".join(struct.pack("<Q", n) * 64 for n in range(SECTORS)) + b"tail", 0)
        return descriptor

    def hear(self, data):
        self.said += len(data)

    def note(self, op, size_bytes, status, duration_ns, depth, now_ns):
        self.requests[op, status] = self.requests.get((op, status), 0) + 1

    def end(self, how):
        self.ended += 1

    def look_at_balloon(self):
        self.transports[3].run(self.balloon.ask)
        return self.balloon.state

    def close(self):
        for image in self.images:
            image.close()
        for descriptor in self.files:
            os.close(descriptor)

    def check(self):
        """Both fences, both files' ends, the read-only disk: as they were; no canary has come to the guest."""
        assert self.memory.map[:FENCE] == self.fence
        assert self.memory.map[FENCE + SIZE :] == self.fence
        assert self.memory.map.find(CANARY, FENCE, FENCE + SIZE) == -1
        disk, fixed = (os.pread(descriptor, (SECTORS + 8) * 512, 0) for descriptor in self.files)
        assert len(disk) == len(fixed) == SECTORS * 512 + 4
        assert disk[-4:] == b"tail"
        assert CANARY not in disk
        assert fixed[:-4] == b"".join(struct.pack("<Q", n) * 64 for n in range(SECTORS))


class Guest:
    """Draws operations, and counts them: each is one access to a register or one change of the guest's memory."""

    def __init__(self, host, seed):
        self.host, self.memory, self.bus = host, host.memory, host.board.bus
        self.random = random.Random(seed)
        self.done = self.recovered = 0
        self.rings = [{} for _ in host.devices]

    # -- single operations

    def read(self, address, size):
        self.done += 1
        value = self.bus.mmio_read(address, size)
        assert 0 <= value < 1 << 8 * size
        return value

    def write(self, address, size, value):
        self.done += 1
        self.bus.mmio_write(address, size, value & (1 << 8 * size) - 1)

    def store(self, address, data):
        """What the guest itself writes into its memory: where there is none, nothing."""
        self.done += 1
        if 0 <= address <= SIZE - len(data):
            self.memory.write(address, data)

    def pick(self, values):
        return values[int(self.random.random() * len(values))]

    def value(self):
        return self.pick(VALUES) if self.random.random() < 0.7 else self.random.getrandbits(64)

    def address(self):
        """An address anywhere: in memory, at its edges, far outside, or in one of the rings themselves."""
        chance = self.random.random()
        if chance < 0.6:
            return int(self.random.random() * SIZE)
        if chance < 0.8:
            return self.pick(ADDRESSES)
        ring = self.pick(self.pick(self.rings) or [None])
        return ring["addresses"][int(self.random.random() * 3)] if ring else 0

    # -- what it does

    def poke(self):
        """Any register of any device, in any order and width."""
        size = self.pick((1, 2, 4, 4, 4, 8, 3, 5, 7))
        chance = self.random.random()
        if chance < 0.15:
            port = self.pick((0x3F8, 0x60, 0x604, 0x700, 0x710)) + self.random.getrandbits(3)
            self.done += 2
            self.bus.port_write(port, size, self.value() & (1 << 8 * size) - 1)
            if port == 0x3FB:  # the latch that hides the transmitter
                self.bus.port_write(port, 1, 3)
            assert 0 <= self.bus.port_read(port, size) < 1 << 8 * size
            return
        if chance < 0.25:
            device, offset = self.pick(self.host.plain), self.random.getrandbits(12)
            self.done += 2
            device.write(offset, size, self.value())
            device.read(offset, size)
            return
        index = int(self.random.random() * 5)
        offset = self.random.getrandbits(7) * 4 if chance < 0.9 else self.random.getrandbits(13) - 8
        address = address_of(index) + offset
        if chance < 0.6:
            self.read(address, size)
        elif offset in {0x70, 0x30, 0x44, 0xC0} and self.random.random() < 0.9:
            return
        else:
            self.write(address, size, self.value())

    def bring_up(self, index, honest):
        """Do what a driver does; not honestly: with rings anywhere, over each other and over what they point at."""
        base = address_of(index)
        device = self.host.devices[index]
        for value in (0, 1, 3):
            self.write(base + 0x70, 4, value)
        features = device.features | 1 << 28 | 1 << 32
        if self.random.random() < 0.3:
            features &= ~(1 << self.random.getrandbits(5))
        for half in (0, 1):
            self.write(base + 0x24, 4, half)
            self.write(base + 0x20, 4, features >> 32 * half & 0xFFFFFFFF)
        self.write(base + 0x70, 4, 11)
        self.rings[index] = []
        for queue, largest in enumerate(device.queue_sizes):
            size = min(largest, 1 << self.random.getrandbits(2) + 2)
            place = 0x10000 + (index * 4 + queue) * 0x2000
            addresses = [place, place + 0x1000, place + 0x1800]
            if not honest:
                addresses = [self.address() & ~15 for _ in range(3)]
                size = self.pick((1, size, size, largest, largest * 2, 3, 0))
            self.write(base + 0x30, 4, queue)
            self.write(base + 0x38, 4, size)
            for register, address in zip((0x80, 0x90, 0xA0), addresses, strict=True):
                self.write(base + register, 4, address)
                self.write(base + register + 4, 4, address >> 32)
            self.store(addresses[1], bytes(4))
            self.write(base + 0x44, 4, 1)
            self.rings[index].append({"size": max(size, 1), "addresses": addresses, "next": 0})
        self.write(base + 0x70, 4, 15)
        status = self.read(base + 0x70, 4)
        if honest:
            assert status == LIVE
            self.recovered += 1

    def describe(self, ring, slot, address, length, flags, following):
        packed = struct.pack("<QIHH", address & 2**64 - 1, length, flags, following)
        self.store(ring["addresses"][0] + 16 * slot, packed)

    def content(self, index, address, n):
        """Put something there that the device may take for a request."""
        chance = self.random.random()
        if index < 2:
            sector = self.pick(SECTOR_NUMBERS) if chance < 0.3 else int(chance * SECTORS)
            if n == 0:
                self.store(address, struct.pack("<IIQ", self.pick(KINDS), 0, sector))
            else:
                self.store(
                    address,
                    struct.pack(
                        "<QII", sector, self.pick((0, 1, 1, 8, SECTORS, 2**32 - 1)), self.pick((0, 0, 0, 1, 2))
                    ),
                )
        elif index == 3:
            outside = struct.pack("<II", 511, 512 + self.random.getrandbits(int(chance * 20)))
            self.store(address, PAGES_BYTES if chance < 0.8 else outside)
        elif index == 4:
            self.store(address, self.pick(LINES))

    def submit(self, index):
        """A chain that may be right, or loop, overlap, lie about its lengths, or point anywhere."""
        rings = self.rings[index]
        queue = int(self.random.random() * len(rings))
        ring = rings[queue]
        count = self.pick((1, 2, 3, 3, 3, 4, 6))
        right = self.random.random() < 0.85
        slots = [(ring["next"] + n) % ring["size"] for n in range(count)]
        for n, slot in enumerate(slots):
            last = n == count - 1
            if right:
                address = 0x40000 + int(self.random.random() * (SIZE - 0x50000))
                length = (
                    (16, self.pick((16, 512, 512)), 1)[0 if n == 0 else 2 if last else 1]
                    if index < 2
                    else self.pick((4, 10, 16, 60))
                )
                flags = (0 if last else 1) | (
                    2 if (last and index < 2) or (n and self.random.random() < 0.5) or index == 2 else 0
                )
                following = 0 if last else slots[n + 1]
            else:
                address, length = self.address(), self.pick(LENGTHS)
                flags = (
                    self.random.getrandbits(3) if self.random.random() < 0.5 else (0 if last else 1) | (2 if n else 0)
                )
                following = slots[(n + 1) % count] if self.random.random() < 0.8 else self.random.getrandbits(16)
            if n < 2:
                self.content(index, address, n)
            self.describe(ring, slot, address, length, flags, following)
        self.offer(index, queue, ring, slots[0] if self.random.random() < 0.98 else self.random.getrandbits(16))

    def offer(self, index, queue, ring, head):
        available = ring["addresses"][1]
        self.store(available + 4 + 2 * (ring["next"] % ring["size"]), struct.pack("<H", head & 0xFFFF))
        ring["next"] += 1 if self.random.random() < 0.99 else self.random.getrandbits(16)
        self.store(available + 2, struct.pack("<H", ring["next"] & 0xFFFF))
        self.write(address_of(index) + 0x50, 4, queue)

    def step(self):
        chance = self.random.random()
        if chance < 0.35:
            self.poke()
            return
        index = int(self.random.random() * 5)
        base = address_of(index)
        status = self.host.transports[index].read(0x70, 4)
        if status != LIVE or not self.rings[index]:
            self.bring_up(index, honest=self.random.random() < 0.8)
        elif chance < 0.9:
            self.submit(index)
        elif chance < 0.97:
            self.write(base + 0x64, 4, self.read(base + 0x60, 4))
        elif chance < 0.99:
            self.store(self.address(), self.random.randbytes(64))
        else:
            self.host.tick(self.done * 10**6)

    def use_honestly(self):
        """After all that, every device does what a driver in its senses asks."""
        for index in range(5):
            self.bring_up(index, honest=True)
        target = 0x100000
        chains = {
            0: [(0x3000, 16, 0), (target, 512, 2), (0x3800, 1, 2)],
            1: [(0x3000, 16, 0), (target + 512, 512, 2), (0x3801, 1, 2)],
            2: [(target + 1024, 64, 2)],
            3: [(0x3100, 4, 0)],
            4: [(0x3200, 9, 0)],
        }
        self.store(0x3000, struct.pack("<IIQ", 0, 0, 5))
        self.store(0x3100, struct.pack("<I", 300))
        self.store(0x3200, b"after 42\n")
        self.store(target, bytes(2048))
        self.store(0x3800, b"\xee\xee")
        self.store(300 * PAGE, b"x")
        for index, parts in chains.items():
            ring = self.rings[index][1 if index == 4 else 0]
            for slot, (address, length, flags) in enumerate(parts):
                last = slot == len(parts) - 1
                self.describe(ring, slot, address, length, flags | (not last), 0 if last else slot + 1)
            self.store(ring["addresses"][1] + 4, struct.pack("<H", 0))
            self.store(ring["addresses"][1] + 2, struct.pack("<H", 1))
            self.write(address_of(index) + 0x50, 4, 1 if index == 4 else 0)
            assert self.memory.read(ring["addresses"][2] + 2, 2) == b"\1\0", index
            assert self.host.transports[index].read(0x70, 4) == LIVE
        assert self.memory.read(0x3800, 2) == b"\0\0"
        assert self.memory.read(target, 512) == os.pread(self.host.files[0], 512, 5 * 512)
        assert self.memory.read(target + 512, 512) == struct.pack("<Q", 5) * 64
        assert self.memory.read(target + 1024, 64) != bytes(64)
        assert self.memory.read(300 * PAGE, 1) == b"\0"
        assert self.read(address_of(0), 4) == MAGIC


@pytest.fixture
def host(path):
    with Store(path) as store:
        host = Host(store)
        yield host
        host.close()


def resident_kib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4


@pytest.mark.timeout(3600)
def test_a_hostile_guest_gets_a_failed_device_and_no_more(host):
    """No exception escapes, no byte outside guest memory changes, memory does not grow, and all devices recover."""
    print(f"RONDO_HOSTILE_SEED={SEED} RONDO_HOSTILE_OPERATIONS={OPERATIONS}")
    guest = Guest(host, SEED)
    step, checked, settled_kib = guest.step, 0, 0
    try:
        while guest.done < OPERATIONS:
            step()
            if guest.done - checked > OPERATIONS // 50:
                checked = guest.done
                host.check()
                if not settled_kib and checked > OPERATIONS // 5:
                    settled_kib = resident_kib()
    except BaseException:
        print(f"after {guest.done} operations of seed {SEED}:\n{traceback.format_exc()}", file=sys.stderr)
        raise
    host.check()
    assert resident_kib() - settled_kib < 8192
    failures = [transport.failures for transport in host.transports]
    print(f"devices failed {failures} times, brought up again {guest.recovered} times, serial bytes {host.said}")
    print("block requests by op and status:", dict(sorted(host.requests.items())))
    done = {op for op, status in host.requests if status == 0}
    assert done == {READ, WRITE, FLUSH, GET_ID, DISCARD, WRITE_ZEROES}
    assert {op for op, status in host.requests if status == 1} == {READ, WRITE, DISCARD, WRITE_ZEROES}
    assert min(failures) > OPERATIONS // 5000
    assert guest.recovered > OPERATIONS // 1000
    assert host.said
    assert host.ended
    guest.use_honestly()
    host.check()


def test_rings_that_change_under_the_device_are_no_way_out(host):
    """Another CPU of the guest that scribbles over rings and descriptors while they are walked changes nothing of it."""
    guest, scribbler = Guest(host, SEED + 1), Guest(host, SEED + 2)
    scribbler.rings = guest.rings
    stop = threading.Event()
    raised = []

    def scribble():
        try:
            while not stop.is_set():
                place = 0x10000 + int(scribbler.random.random() * 0x28000)
                scribbler.store(place, scribbler.random.randbytes(32))
                scribbler.read(address_of(scribbler.random.getrandbits(2)) + 0x60, 4)
        except Exception as error:  # noqa: BLE001 - whatever it is, it fails the test
            raised.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=scribble)
    try:
        thread.start()
        for _ in range(5000):
            index = int(guest.random.random() * 5)
            if host.transports[index].live and guest.rings[index]:
                guest.submit(index)
            else:
                guest.bring_up(index, honest=False)
    finally:
        stop.set()
        thread.join()
        sys.setswitchinterval(before)
    assert not raised
    host.check()
    guest.use_honestly()


def test_a_flood_on_the_serial_line_does_not_grow_memory():
    """Every byte goes to the sink at once; nothing of it is kept."""
    heard = [0]

    def sink(data):
        heard[0] += len(data)

    uart = serial.Serial(sink)
    for _ in range(10_000):
        uart.write(0, 1, 0x41)
    before = resident_kib()
    for _ in range(200_000):
        uart.write(0, 1, 0x41)
    assert heard[0] == 210_000
    assert resident_kib() - before < 1024
