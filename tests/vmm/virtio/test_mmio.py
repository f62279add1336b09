"""The memory-mapped transport and the split queue, against virtio 1.2."""

import struct

import pytest

from rondo_vmm.devices.board import Board
from rondo_vmm.devices.bus import Bus
from rondo_vmm.devices.virtio.queue import QueueError
from rondo_vmm.devices.virtio.slots import add_virtio, address_of, command_line, interrupt_of
from rondo_vmm.errors import ConfigError
from rondo_vmm.memory import GuestMemory

NEXT, WRITE, INDIRECT = 1, 2, 4
VERSION_1, INDIRECT_DESC, RING_RESET = 1 << 32, 1 << 28, 1 << 40


class Echo:
    """A device that copies what it may read into what it may write; its configuration counts."""

    device_id, features, queue_sizes = 42, 0b101, (8, 4)

    def __init__(self):
        self.accepted, self.resets, self.written, self.refuse = None, 0, [], False

    def accept(self, features):
        self.accepted = features

    def config(self):
        return struct.pack("<QI", 0x1122334455667788, self.resets)

    def write_config(self, offset, data):
        self.written.append((offset, data))

    def reset(self):
        self.resets += 1

    def notify(self, index, queue):
        for _ in range(queue.waiting()):
            chain = queue.pop()
            if self.refuse:
                raise QueueError("no")
            queue.push(chain.head, chain.put(chain.take(1 << 20)))


@pytest.fixture
def echo(drive):
    return drive(Echo())


def test_a_driver_finds_out_what_the_device_is(echo):
    """Magic, version 2, kind, vendor, largest queues, and no shared memory."""
    assert [echo.read(at) for at in (0x000, 0x004, 0x008)] == [0x74726976, 2, 42]
    assert echo.offered() == VERSION_1 | INDIRECT_DESC | RING_RESET | 0b101
    sizes = []
    for index in range(3):
        echo.write(0x030, index)
        sizes.append(echo.read(0x034))
    assert sizes == [8, 4, 0]
    assert [echo.read(at) for at in (0x0B0, 0x0B4, 0x0B8, 0x0BC)] == [0xFFFFFFFF] * 4
    echo.write(0x014, 2)
    assert echo.read(0x010) == 0


def test_only_whole_registers_are_answered(echo):
    """Control registers are 32 bits wide; the configuration has any width, and ends where it ends."""
    assert [echo.transport.read(0, size) for size in (1, 2, 8)] == [0, 0, 0]
    assert (echo.transport.read(2, 4), echo.transport.read(0x0FD, 4)) == (0, 0)
    echo.transport.write(0x070, 1, 1)
    echo.transport.write(0x070, 8, 1)
    assert echo.status == 0
    reads = [echo.transport.read(0x100 + at, size) for at, size in ((0, 8), (0, 1), (1, 2), (4, 4), (8, 8), (12, 4))]
    assert reads == [0x1122334455667788, 0x88, 0x6677, 0x11223344, 0, 0]
    assert echo.transport.read(0xFF8, 8) == 0
    echo.transport.write(0x105, 2, 0x1FFEE)
    assert echo.device.written == [(5, b"\xee\xff")]


@pytest.mark.parametrize(
    ("without", "extra"), [(VERSION_1, 0), (0, 1 << 1), (0, 1 << 63), (0, 1 << 29)], ids=hex
)  # fmt: skip
def test_features_that_cannot_be_are_not_agreed_to(echo, without, extra):
    """Without VERSION_1, or with a feature that was not offered, FEATURES_OK does not stick, nor DRIVER_OK."""
    echo.negotiate(without, extra)
    assert echo.status == 3
    echo.write(0x070, 15)
    assert echo.status == 3
    assert echo.device.accepted is None


def test_features_are_settled_once_agreed(echo):
    """The device learns what was chosen; a later choice changes nothing until a reset."""
    chosen = echo.negotiate(without=0b100)
    assert (echo.status, echo.device.accepted) == (11, chosen)
    echo.write(0x024, 0)
    echo.write(0x020, 0xFFFFFFFF)
    echo.write(0x070, 15)
    assert (echo.status, echo.device.accepted) == (15, chosen)


def test_status_goes_forward_in_order_and_back_only_by_reset(echo):
    """A step left out is not taken; a bit taken back stays; 0 makes the device as new."""
    echo.write(0x070, 8)
    assert echo.status == 0
    echo.negotiate()
    echo.write(0x070, 1)
    assert echo.status == 11
    echo.write(0x070, 11 | 128)
    assert echo.status == 11 | 128
    resets = echo.device.resets
    echo.write(0x070, 0)
    assert (echo.status, echo.device.resets) == (0, resets + 1)


def test_a_queue_carries_chains_there_and_back(echo):
    """Bytes cut anyhow go through, in order, more often than the ring and the 16-bit index are long."""
    echo.start()
    echo.memory.write(echo.queues[1]["available"], b"\1\0")  # queue 1 wants no interrupts
    source, target = echo.place(bytes(range(100))), echo.take(100)
    for _ in range(2):
        for cut in range(1, 100, 7):
            echo.memory.write(target, bytes(100))
            parts = [(source, cut, False), (source + cut, 100 - cut, False)]
            parts += [(target, 100 - cut, True), (target + 100 - cut, cut, True)]
            assert echo.run(0, parts) == 100
            assert echo.memory.read(target, 100) == bytes(range(100))
    echo.describe(1, 0, source, 4)
    for _ in range(65536 + 10):
        echo.offer(1, 0)
        echo.notify(1)
    assert (echo.queues[1]["next"], echo.status) == (10, 15)
    assert echo.memory.read(echo.queues[1]["used"] + 2, 2) == b"\n\0"


def test_the_line_rises_with_the_first_reason_and_falls_with_the_last(echo):
    """Level 1 while any reason is unacknowledged; none without DRIVER_OK, and none where the driver wants none."""
    echo.start()
    target = echo.take(4)
    assert (echo.line, echo.read(0x060)) == ([], 0)
    echo.run(0, [(target, 4, True)])
    echo.run(0, [(target, 4, True)])
    assert (echo.line, echo.read(0x060)) == ([1], 1)
    echo.transport.run(lambda: None, changes_config=True)
    assert (echo.line, echo.read(0x060), echo.read(0x0FC)) == ([1], 3, 1)
    echo.write(0x064, 1)
    assert (echo.line, echo.read(0x060)) == ([1], 2)
    echo.write(0x064, 2)
    assert (echo.line, echo.read(0x060)) == ([1, 0], 0)
    echo.memory.write(echo.queues[0]["available"], b"\1\0")
    echo.run(0, [(target, 4, True)])
    assert echo.line == [1, 0]
    echo.transport.run(lambda: None, changes_config=True)
    echo.write(0x070, 0)
    assert (echo.line, echo.read(0x060)) == ([1, 0, 1, 0], 0)
    echo.transport.run(lambda: None, changes_config=True)
    assert echo.line == [1, 0, 1, 0]


def test_nothing_is_served_before_the_driver_is_ready(echo):
    """A notification before DRIVER_OK waits for it; one of a queue that is not ready, or does not exist, does nothing."""
    echo.negotiate()
    echo.set_up_queue(0)
    echo.offer(0, echo.chain(0, [(0x1000, 4, True)]))
    echo.notify(0)
    assert echo.used(0) == []
    echo.write(0x070, 15)
    assert (echo.used(0), echo.status, echo.line) == ([(0, 0)], 15, [1])
    for index in (1, 2, 0xFFFFFFFF):
        echo.notify(index)
    assert (echo.used(0), echo.status) == ([], 15)


def test_a_queue_in_use_keeps_its_addresses(echo):
    """Size and addresses change only while a queue is not ready; a ring is reset by itself where that was agreed."""
    echo.start()
    echo.write(0x030, 0)
    for register in (0x038, 0x080, 0x084, 0x090, 0x094, 0x0A0, 0x0A4):
        echo.write(register, 0xFFFFFFFF)
    echo.run(0, [(0x1000, 4, True)])
    assert echo.read(0x044) == 1
    echo.write(0x0C0, 1)
    assert (echo.read(0x044), echo.read(0x0C0)) == (0, 0)
    echo.set_up_queue(0)
    assert echo.run(0, [(0x1000, 4, True)]) == 0
    echo.write(0x044, 0)
    assert echo.read(0x044) == 0


def test_indirect_tables_carry_chains_where_they_were_agreed(echo):
    """The table is elsewhere in memory; where it was not negotiated it is a misdeed."""
    source, target = echo.place(b"through a table"), echo.take(15)
    table = echo.place(struct.pack("<QIHHQIHH", source, 15, NEXT, 1, target, 15, WRITE, 0))
    echo.start()
    echo.describe(0, 0, table, 32, INDIRECT)
    echo.offer(0, 0)
    echo.notify(0)
    assert (echo.used(0), echo.memory.read(target, 15)) == ([(0, 15)], b"through a table")
    echo.start(without=INDIRECT_DESC)
    echo.describe(0, 0, table, 32, INDIRECT)
    echo.offer(0, 0)
    echo.notify(0)
    assert echo.status & 64


def bad_queue(size=8, table=0x1000, available=0x2000, used=0x3000):
    def misdeed(echo):
        echo.negotiate()
        echo.write(0x030, 0)
        echo.write(0x038, size)
        for register, address in ((0x080, table), (0x090, available), (0x0A0, used)):
            echo.write(register, address & 0xFFFFFFFF)
            echo.write(register + 4, address >> 32)
        echo.write(0x044, 1)

    return misdeed


def bad_chain(*descriptors, head=0, available=None, size=None):
    def misdeed(echo):
        echo.start(size)
        for slot, descriptor in enumerate(descriptors):
            echo.describe(0, slot, *descriptor)
        echo.offer(0, head)
        if available is not None:
            echo.memory.write(echo.queues[0]["available"] + 2, struct.pack("<H", available))
        echo.notify(0)

    return misdeed


MISDEEDS = {
    "a size that is no power of two": bad_queue(size=6),
    "no size": bad_queue(size=0),
    "a size that is too large": bad_queue(size=16),
    "a table beyond memory": bad_queue(table=8 << 20),
    "a table across the end of memory": bad_queue(table=(8 << 20) - 16),
    "a table at the end of the address space": bad_queue(table=2**64 - 16),
    "rings beyond 4 GiB": bad_queue(available=1 << 32, used=1 << 33),
    "a table that is not aligned": bad_queue(table=0x1008),
    "a ring that is not aligned": bad_queue(used=0x3002),
    "a loop of one": bad_chain((0x1000, 4, NEXT, 0)),
    "a loop of two": bad_chain((0x1000, 4, NEXT, 1), (0x1000, 4, NEXT, 0)),
    "a head beyond the table": bad_chain(head=8),
    "a next beyond the table": bad_chain((0x1000, 4, NEXT, 8)),
    "an address beyond memory": bad_chain((8 << 20, 1)),
    "a length across the end of memory": bad_chain(((8 << 20) - 4, 5)),
    "an address that wraps": bad_chain((2**64 - 4, 8)),
    "the longest length": bad_chain((0, 0xFFFFFFFF)),
    "no length": bad_chain((0x1000, 0)),
    "readable after writable": bad_chain((0x1000, 4, NEXT | WRITE, 1), (0x1000, 4, 0)),
    "more chains than there are descriptors": bad_chain((0x1000, 4), available=9),
    "an index that went back": bad_chain((0x1000, 4), available=0xFFFF),
    "an indirect table that goes on": bad_chain((0x1000, 16, INDIRECT | NEXT, 1), (0x1000, 4)),
    "an indirect table of no length": bad_chain((0x1000, 0, INDIRECT)),
    "an indirect table of half a descriptor": bad_chain((0x1000, 24, INDIRECT)),
    "an indirect table that is too long": bad_chain((0x1000, 16 * 9, INDIRECT)),
    "an indirect table beyond memory": bad_chain((8 << 20, 16, INDIRECT)),
    "an indirect table in itself": bad_chain(((8 << 20) - 16, 16, INDIRECT)),
}


@pytest.mark.parametrize("misdeed", MISDEEDS.values(), ids=MISDEEDS)
def test_a_misdeed_makes_the_device_need_a_reset_and_no_more(echo, misdeed):
    """The driver is told, nothing is served meanwhile, and after a reset all is well."""
    echo.memory.write((8 << 20) - 16, struct.pack("<QIHH", (8 << 20) - 16, 16, INDIRECT, 0))
    misdeed(echo)
    assert echo.status & 64
    assert (echo.transport.failures, "\n" in echo.transport.failure) == (1, False)
    if echo.status & 4:
        assert (echo.line[-1], echo.read(0x060)) == (1, 2)
        echo.notify(0)
        assert echo.used(0) == []
    echo.start()
    source, target = echo.place(b"again"), echo.take(5)
    assert echo.run(0, [(source, 5, False), (target, 5, True)]) == 5
    assert echo.memory.read(target, 5) == b"again"
    assert echo.transport.failures == 1


def test_what_was_done_before_a_misdeed_is_handed_back(echo):
    """The driver hears of the good chain and of the failure."""
    echo.start()
    echo.offer(0, echo.chain(0, [(0x1000, 4, True)]))
    echo.describe(0, 5, 8 << 20, 4)
    echo.offer(0, 5)
    echo.notify(0)
    assert (echo.used(0), echo.status & 64, echo.read(0x060)) == ([(0, 0)], 64, 3)


def test_devices_lie_where_the_kernel_is_told():
    """Slots neither overlap nor leave their range; the words for the command line name each."""
    board = Board(GuestMemory(1 << 20))
    line = []
    transports = [add_virtio(board, Echo(), index, line.append) for index in range(7)]
    assert [board.bus.mmio_read(address_of(index) + 8, 4) for index in range(7)] == [42] * 7
    assert sorted({interrupt_of(index) for index in range(7)}) == [5, 6, 7, 10, 11, 12, 14]
    assert command_line(2) == "virtio_mmio.device=4K@0xd0001000:5 virtio_mmio.device=4K@0xd0002000:6"
    assert command_line(0) == ""
    with pytest.raises(ConfigError, match="room for 7"):
        add_virtio(board, Echo(), 7, line.append)
    with pytest.raises(ConfigError, match="two devices claim it"):
        add_virtio(board, Echo(), 3, line.append)
    board.bus.mmio_write(address_of(2) + 0x70, 4, 1)
    assert [each.read(0x70, 4) for each in transports] == [0, 0, 1, 0, 0, 0, 0]
    assert isinstance(board.bus, Bus)
