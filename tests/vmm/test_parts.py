"""The parts around the CPU: memory, bus, devices, kernel loading, configuration."""

import struct

import pytest

from rondo_core.errors import UsageError
from rondo_vmm.boot.bootparams import COMMAND_LINE, ZERO_PAGE, write_boot_params
from rondo_vmm.boot.kernel import BUNDLED, read_kernel
from rondo_vmm.boot.loader import load
from rondo_vmm.config import VmConfig
from rondo_vmm.devices.bus import Bus
from rondo_vmm.devices.clock import GuestClock, Scratch
from rondo_vmm.devices.power import KeyboardController, PowerOff
from rondo_vmm.devices.serial import Serial
from rondo_vmm.errors import BootError, ConfigError, GuestMemoryError
from rondo_vmm.memory import GuestMemory

MIB = 1 << 20


@pytest.mark.parametrize(
    ("address", "length"),
    [(-1, 1), (MIB, 1), (MIB - 3, 4), (2**64 - 1, 2), (2**64, 1), (0, MIB + 1), (5, -1), (2**63, 2**63)],
)
def test_no_access_leaves_guest_memory(address, length):
    """Negative, past the end, wrapping round: all refused, and nothing is written."""
    memory = GuestMemory(MIB)
    with pytest.raises(GuestMemoryError):
        memory.read(address, length)
    if 0 < length < 100:
        with pytest.raises(GuestMemoryError):
            memory.write(address, b"x" * length)
    assert memory.read(0, MIB) == bytes(MIB)


def test_guest_memory_keeps_what_is_written():
    """Bytes and 32-bit numbers, up to the last byte."""
    memory = GuestMemory(MIB)
    memory.write_u32(MIB - 4, 0x1_2345_6789)
    assert memory.read_u32(MIB - 4) == 0x2345_6789
    assert memory.read(MIB, 0) == b""


class Echo:
    """A device that keeps what it is asked."""

    def __init__(self):
        self.seen = []

    def read(self, offset, size):
        self.seen.append(("read", offset, size))
        return 0x1_0203_0405_0607_0809

    def write(self, offset, size, value):
        self.seen.append(("write", offset, size, value))


def test_two_devices_never_share_an_address():
    """Overlaps of ports and of memory are refused, whichever way round; neighbours are not."""
    bus = Bus()
    bus.add_ports(0x100, 8, Echo())
    for first, count in ((0xFF, 2), (0x107, 1), (0x104, 1), (0xF0, 0x40)):
        with pytest.raises(ConfigError, match="two devices"):
            bus.add_ports(first, count, Echo())
    bus.add_ports(0x108, 1, Echo())
    bus.add_mmio(0xD0000800, 0x1000, Echo())
    for base, length in ((0xD0000000, 0x801), (0xD00017FF, 1), (0xD0000000, 0x4000)):
        with pytest.raises(ConfigError, match="two devices"):
            bus.add_mmio(base, length, Echo())
    bus.add_mmio(0xD0001800, 8, Echo())
    for first, count in ((-1, 1), (0xFFFF, 2), (0, 0)):
        with pytest.raises(ConfigError, match="outside"):
            bus.add_ports(first, count, Echo())


def test_the_bus_gives_offsets_and_cuts_values_to_size():
    """A device sees offsets from its first register; a read never has more bits than were asked for."""
    bus, device = Bus(), Echo()
    bus.add_ports(0x100, 4, device)
    bus.add_mmio(0xD0000000, 64, device)
    assert bus.port_read(0x102, 1) == 0x09
    assert bus.mmio_read(0xD0000010, 4) == 0x06070809
    bus.port_write(0x101, 2, 0xBEEF)
    bus.mmio_write(0xD0000038, 8, 1)
    assert device.seen == [("read", 2, 1), ("read", 16, 4), ("write", 1, 2, 0xBEEF), ("write", 56, 8, 1)]


def test_what_no_device_claims_is_harmless_and_counted():
    """Unclaimed reads give all ones, writes go nowhere, also across the end of a device."""
    bus, device = Bus(), Echo()
    bus.add_mmio(0xD0000000, 6, device)
    assert [bus.port_read(0x99, size) for size in (1, 2, 4)] == [0xFF, 0xFFFF, 0xFFFFFFFF]
    assert bus.mmio_read(0xD0000004, 4) == 0xFFFFFFFF
    bus.port_write(0x99, 1, 0)
    bus.mmio_write(0xDEAD0000, 8, 0)
    assert bus.unclaimed == 6
    assert device.seen == []


def test_the_uart_sends_bytes_and_keeps_its_registers():
    """THR goes out; DLAB switches to the divisor; the transmitter is always ready; scratch is kept."""
    sent = []
    uart = Serial(sent.append)
    for byte in b"ok":
        uart.write(0, 1, byte)
    uart.write(3, 1, 0x83)
    uart.write(0, 1, 12)
    uart.write(1, 1, 1)
    assert [uart.read(0, 1), uart.read(1, 1)] == [12, 1]
    uart.write(3, 1, 3)
    uart.write(1, 1, 0xFF)
    uart.write(7, 1, 0x5A)
    assert [uart.read(offset, 1) for offset in (0, 1, 2, 2, 3, 5, 7)] == [0, 0x0F, 0x02, 0x01, 3, 0x60, 0x5A]
    uart.write(2, 1, 1)
    assert uart.read(2, 1) == 0xC1
    assert b"".join(sent) == b"ok"


def test_power_off_and_reset_need_their_own_commands():
    """Only SLP_EN powers off, only 0xfe on 0x64 resets."""
    ended = []
    power, keyboard = PowerOff(ended.append), KeyboardController(ended.append)
    power.write(0, 2, 0x0001)
    power.write(2, 2, 0x2000)
    keyboard.write(4, 1, 0xAD)
    keyboard.write(0, 1, 0xFE)
    assert (ended, power.read(0, 2), keyboard.read(4, 1)) == ([], 0, 0)
    power.write(0, 2, 0x2000)
    keyboard.write(4, 1, 0xFE)
    assert ended == ["power-off", "reset"]


def test_the_clock_counts_from_its_start_and_bounds_the_alarm():
    """Milliseconds since the machine began; an alarm is at most a minute away."""
    now = [5_000_000_000]
    clock = GuestClock(lambda: now[0])
    now[0] += 1_234_567_890
    assert clock.read(0, 4) == 1234
    clock.write(4, 4, 0xFFFFFFFF)
    assert clock.alarm_ns == now[0] + 60 * 10**9


def test_scratch_registers_never_grow():
    """A write across the end keeps what fits."""
    scratch = Scratch(8)
    scratch.write(6, 4, 0xAABBCCDD)
    scratch.write(0, 4, 1)
    assert (scratch.read(6, 2), scratch.read(0, 4), len(scratch._bytes)) == (0xCCDD, 1, 8)


def test_boot_parameters_point_at_the_command_line():
    """The zero page holds what the x86 boot protocol says, and the command line ends with a zero."""
    memory = GuestMemory(4 * MIB)
    assert write_boot_params(memory, "a=1 b") == ZERO_PAGE
    assert memory.read(ZERO_PAGE + 0x202, 4) == b"HdrS"
    assert memory.read_u32(ZERO_PAGE + 0x228) == COMMAND_LINE
    assert memory.read(COMMAND_LINE, 6) == b"a=1 b\0"
    entries = memory.read(ZERO_PAGE + 0x1E8, 1)[0]
    table = [struct.unpack("<QQI", memory.read(ZERO_PAGE + 0x2D0 + 20 * n, 20)) for n in range(entries)]
    assert table == [(0, 0x9FC00, 1), (MIB, 3 * MIB, 1)]


def test_the_bundled_guest_loads():
    """Without a kernel the bundled guest is there, at 1 MiB."""
    memory = GuestMemory(4 * MIB)
    assert load(read_kernel(None), memory, "", None, 1, []).entry == 0x100054
    assert memory.read(0x100000, 4) == b"\x7fELF"


def broken(position, data):
    whole = bytearray(BUNDLED.read_bytes())
    whole[position : position + len(data)] = data
    return bytes(whole)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "not a kernel"),
        (b"#!/bin/sh\necho no\n" * 9, "not a kernel"),
        (bytes(0x202) + b"HdrS" + bytes(50), "its setup header is cut off"),
        (bytes(0x202) + b"HdrS" + bytes(100), "boot protocol 0.0"),
        (broken(5, b"\x02"), "not of an x86 kernel"),
        (broken(18, b"\x28\x00"), "a kernel for ARM, not x86"),
        (broken(18, b"\xff\x0f"), "an ELF file for machine 4095, not x86"),
        (broken(16, b"\x01\x00"), "no executable"),
        (BUNDLED.read_bytes()[:60], "program headers are cut off"),
        (BUNDLED.read_bytes()[:200], "ends after the file"),
        (broken(44, b"\x00\x00"), "nothing to load"),
        (broken(64, struct.pack("<I", 0xFFFFFF00)), "needs 4097 MiB"),
        (broken(72, struct.pack("<I", 64 * MIB)), "needs 65 MiB"),
    ],
)
def test_a_file_that_is_no_kernel_is_refused_in_one_line(tmp_path, data, what):
    """The message names the file, what is wrong with it, and what to do."""
    path = tmp_path / "kernel"
    path.write_bytes(data)
    with pytest.raises(BootError, match=what) as caught:
        load(read_kernel(path), GuestMemory(4 * MIB), "", None, 1, [])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_kernel_is_refused(tmp_path):
    """A path that does not exist, or is a directory, is named."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(BootError, match=str(path)):
            read_kernel(path)


@pytest.mark.parametrize(
    "options",
    [{"machine": "xen"}, {"memory_mib": 0}, {"memory_mib": 10**6}, {"cmdline": "é"}, {"cmdline": "x" * 2048},
     {"cmdline": "a\0b"}, {"timeout_s": 0}, {"timeout_s": -1}, {"vcpus": 0}, {"vcpus": 65}, {"vcpus": 2},
     {"initrd": "x"}],
)  # fmt: skip
def test_a_machine_that_cannot_be_is_refused(options):
    """Bad options are usage errors, before anything is built."""
    with pytest.raises(UsageError):
        VmConfig(**options)
