"""virtio-rng, virtio-balloon and virtio-console, against virtio 1.2."""

import struct

import pytest

from rondo_vmm.devices.virtio.balloon import Balloon
from rondo_vmm.devices.virtio.console import Console, GuestLines
from rondo_vmm.devices.virtio.rng import Rng

PAGE = 4096
MIB = 1 << 20


def test_randomness_fills_what_there_is_room_for(drive):
    """Every byte of every buffer, up to 64 KiB at once, and never the same."""
    rng = drive(Rng()).start()
    first, second = rng.take(100), rng.take(100)
    assert rng.run(0, [(first, 60, True), (first + 60, 40, True)]) == 100
    assert rng.run(0, [(second, 100, True)]) == 100
    got = rng.memory.read(first, 100), rng.memory.read(second, 100)
    assert got[0] != got[1]
    assert all(part.count(0) < 50 for part in got)
    assert rng.run(0, [(MIB, 2 * MIB, True)]) == 64 << 10
    assert rng.memory.read(MIB + (64 << 10), 100) == bytes(100)
    rng.offer(0, rng.chain(0, [(first, 4, False)]))
    rng.notify(0)
    assert rng.status & 64


@pytest.fixture
def balloon(memory, drive):
    return drive(Balloon(memory)).start()


def pages(driver, *numbers):
    data = struct.pack(f"<{len(numbers)}I", *numbers)
    return [(driver.place(data), len(data), False)]


def test_inflated_pages_go_back_to_the_host(balloon, memory):
    """The host holds that much less, the pages read as zeroes, their neighbours stay; deflated ones can be used."""
    for page in range(512, 1024):
        memory.write(page * PAGE, b"x" * PAGE)
    before = memory.resident_bytes()
    balloon.run(0, pages(balloon, *range(600, 700), 601, 800))
    assert before - memory.resident_bytes() == 101 * PAGE
    assert memory.read(600 * PAGE, PAGE) == bytes(PAGE)
    assert memory.read(599 * PAGE, PAGE) + memory.read(700 * PAGE, PAGE) == b"x" * 2 * PAGE
    balloon.run(1, pages(balloon, 600))
    memory.write(600 * PAGE, b"y" * PAGE)
    assert memory.read(600 * PAGE, 1) == b"y"


@pytest.mark.parametrize("numbers", [(2048,), (2**32 - 1,), (5, 2047, 2048)])
def test_pages_outside_memory_make_the_balloon_need_a_reset(balloon, numbers):
    """Neither queue takes them."""
    for queue in (0, 1):
        balloon.start()
        balloon.offer(queue, balloon.chain(queue, pages(balloon, *numbers)))
        balloon.notify(queue)
        assert balloon.status & 64


def test_a_target_interrupts_and_the_guest_answers(balloon):
    """The host's wish is in the configuration under a new generation; what the guest gave is read from it."""
    generation = balloon.read(0x0FC)
    balloon.transport.run(lambda: balloon.device.want(3 * MIB + 5), changes_config=True)
    assert (balloon.read(0x100), balloon.read(0x060), balloon.read(0x0FC)) == (768, 2, generation + 1)
    balloon.write(0x104, 700)
    assert (balloon.read(0x104), balloon.device.state.actual_bytes) == (700, 700 * PAGE)
    balloon.write(0x104, 0xFFFFFFFF)
    assert balloon.device.actual_pages == 2048
    balloon.transport.write(0x106, 2, 1)
    balloon.write(0x100, 1)
    assert balloon.read(0x100) == 768
    balloon.transport.run(lambda: balloon.device.want(1 << 50))
    assert balloon.device.state.target_bytes == 8 * MIB


def statistics(driver, **told):
    tags = ["swap_in", "swap_out", "major_faults", "minor_faults", "free", "total", "available", "disk_caches"]
    data = b"".join(struct.pack("<HQ", tags.index(name), value) for name, value in told.items())
    return [(driver.place(data), len(data), False)]


def test_statistics_are_asked_for_and_told(balloon):
    """The device keeps the buffer until it wants the next; handing it back is the question."""
    balloon.transport.run(balloon.device.ask)
    head = balloon.chain(2, statistics(balloon, free=5 * MIB, total=7 * MIB, major_faults=2**64 - 1))
    balloon.offer(2, head)
    balloon.notify(2)
    assert (balloon.used(2), balloon.read(0x060)) == ([], 0)
    assert balloon.device.statistics == {"major_faults": 2**64 - 1, "free": 5 * MIB, "total": 7 * MIB}
    balloon.transport.run(balloon.device.ask)
    assert (balloon.used(2), balloon.read(0x060)) == ([(head, 0)], 1)
    balloon.transport.run(balloon.device.ask)
    assert balloon.used(2) == []
    data = balloon.place(struct.pack("<HQHQ", 9999, 1, 4, 8) + b"half")
    balloon.offer(2, balloon.chain(2, [(data, 24, False)]))
    balloon.notify(2)
    assert balloon.device.statistics == {"free": 8}
    balloon.write(0x070, 0)
    assert balloon.device.statistics == {}
    balloon.transport.run(balloon.device.ask)


def test_a_console_gives_lines(drive):
    """However the guest cuts them, with or without carriage returns; buffers to receive into stay with the device."""
    said = []
    console = drive(Console([lambda line, now_ns: said.append(line)])).start()
    console.offer(0, console.chain(0, [(console.take(64), 64, True)]))
    console.notify(0)
    for piece in (b"one\ntw", b"o\r\n", b"\n", b"thr", b"ee"):
        address = console.place(piece)
        cut = len(piece) // 2 or 1
        parts = [(address, cut, False), (address + cut, len(piece) - cut, False)]
        console.run(1, [part for part in parts if part[1]])
    assert (said, console.used(0)) == ([b"one", b"two", b""], [])
    console.write(0x070, 0)
    console.start()
    console.run(1, [(console.place(b"four\n"), 5, False)])
    assert said[3:] == [b"four"]
    for parts in ([(0x1000, 4, True)], [(0x100000, 65537, False)]):
        console.start()
        console.offer(1, console.chain(1, parts))
        console.notify(1)
        assert console.status & 64


def test_a_line_without_an_end_does_not_grow():
    """Of an endless line only its beginning is kept, and it is told as too long."""
    said = []
    lines = GuestLines([lambda line, now_ns: said.append((line, now_ns))])
    for _ in range(1000):
        lines.feed(b"x" * 65536, 1)
        assert len(lines._begun) == 1025
    lines.feed(b"\nok\n", 2)
    assert said == [(b"x" * 1025, 2), (b"ok", 2)]
