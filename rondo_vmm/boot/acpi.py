"""ACPI's tables, as few as a kernel needs: processors, interrupt controller, power-off, memory-mapped devices.

The interrupt controllers are KVM's: local APICs, an I/O APIC of 24 pins with the timer on pin 2, and the old PICs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING

from rondo_vmm.errors import ConfigError
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.slots import MmioRegion

# Source: ACPI Specification 6.4, chapter 5 (tables), 20 (AML); the RSDP is searched for from 0xe0000 on.
RSDP, TABLES, TABLES_END = 0xE0000, 0xE0040, 0x100000
LOCAL_APIC, IO_APIC = 0xFEE00000, 0xFEC00000
PM1_EVENT, PM1_CONTROL, SCI_IRQ = 0x600, 0x604, 9
# No VGA (4), no MSI (8), no CMOS clock (32); neither legacy devices (1) nor a keyboard controller (2) to look for.
BOOT_ARCHITECTURE = 0x2C
WBINVD, PROC_C1, FIXED_POWER_BUTTON, FIXED_SLEEP_BUTTON = 1, 4, 1 << 4, 1 << 5  # the last two: there are none
PCAT_COMPATIBLE = 1
TIMER_PIN = 2
ISA_ACTIVE_HIGH_LEVEL = 0xD
VIRTIO_MMIO_ID = "LNRO0005"  # Source: virtio 1.2, 4.2; the id that Linux's virtio_mmio goes by
_HEADER = struct.Struct("<4sIBB6s8sI4sI")


def write_acpi(memory: GuestMemory, vcpus: int, regions: Iterable[MmioRegion]) -> int:
    """Write the tables, and give the RSDP's address.

    Args: `vcpus`: how many local APICs, numbered from 0; `regions`: devices to tell of.
    Raises: ConfigError: there is no room for so many.
    """
    at, told = TABLES, list(regions)

    def put(data: bytes) -> int:
        nonlocal at
        address = at
        if address + len(data) > TABLES_END:
            raise ConfigError(f"{vcpus} virtual CPUs and {len(told)} devices: their tables do not fit; give less")
        memory.write(address, data)
        at = address + (len(data) + 15 & ~15)
        return address

    facs = put(struct.pack("<4sIIIIIQB31x", b"FACS", 64, 0, 0, 0, 0, 0, 2))
    dsdt = put(table(b"DSDT", 2, sleep_state() + scope("_SB_", b"".join(virtio(*each) for each in enumerate(told)))))
    fadt = put(_fadt(facs, dsdt))
    madt = put(_madt(vcpus))
    xsdt = put(table(b"XSDT", 1, struct.pack("<QQ", fadt, madt)))
    start = struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"RONDO ", 2, 0)
    start = _summed(start, 8)
    memory.write(RSDP, _summed(start + struct.pack("<IQB3x", 36, xsdt, 0), 32))
    return RSDP


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """Put the common header before a table's body."""
    head = _HEADER.pack(signature, _HEADER.size + len(body), revision, 0, b"RONDO ", b"RONDOVMM", 1, b"RNDO", 1)
    return _summed(head + body, 9)


def _summed(data: bytes, at: int) -> bytes:
    """Set the byte at `at` so that all bytes add up to 0."""
    return data[:at] + bytes((-(sum(data) - data[at]) & 0xFF,)) + data[at + 1 :]


def _fadt(facs: int, dsdt: int) -> bytes:
    body = bytearray(276 - _HEADER.size)

    def put(form: str, offset: int, *values: int) -> None:
        struct.pack_into("<" + form, body, offset - _HEADER.size, *values)

    put("II", 36, facs, dsdt)
    put("H", 46, SCI_IRQ)
    put("I", 56, PM1_EVENT)
    put("I", 64, PM1_CONTROL)
    put("BB", 88, 4, 2)  # bytes of the PM1 event and control registers
    put("HH", 96, 0xFFF, 0xFFF)  # no C2, no C3
    put("H", 109, BOOT_ARCHITECTURE)
    put("I", 112, WBINVD | PROC_C1 | FIXED_POWER_BUTTON | FIXED_SLEEP_BUTTON)
    put("Q", 140, dsdt)
    put("BBBBQ", 148, 1, 32, 0, 2, PM1_EVENT)  # a generic address: I/O space, bits, offset, access size, address
    put("BBBBQ", 172, 1, 16, 0, 2, PM1_CONTROL)
    return table(b"FACP", 6, bytes(body))


def _madt(vcpus: int) -> bytes:
    body = struct.pack("<II", LOCAL_APIC, PCAT_COMPATIBLE)
    body += b"".join(struct.pack("<BBBBI", 0, 8, number, number, 1) for number in range(vcpus))
    body += struct.pack("<BBBBII", 1, 12, 0, 0, IO_APIC, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, 0, TIMER_PIN, 0)
    body += struct.pack("<BBBBIH", 2, 10, 0, SCI_IRQ, SCI_IRQ, ISA_ACTIVE_HIGH_LEVEL)
    return table(b"APIC", 4, body)


# -- AML


def _length(content: bytes) -> bytes:
    """PkgLength: what follows, itself included, in as few bytes as can hold it."""
    for extra in range(4):
        total = len(content) + extra + 1
        if extra == 0 and total < 1 << 6:
            return bytes((total,))
        if extra and total < 1 << 4 + 8 * extra:
            return bytes((extra << 6 | total & 0xF,)) + (total >> 4).to_bytes(extra, "little")
    raise ValueError(len(content))


def _name(name: str, value: bytes) -> bytes:
    return b"\x08" + name.encode("ascii") + value


def _integer(value: int) -> bytes:
    return b"\x0c" + struct.pack("<I", value)


def scope(name: str, content: bytes) -> bytes:
    """Scope (\\name) { content }."""
    inner = b"\\" + name.encode("ascii") + content
    return b"\x10" + _length(inner) + inner


def sleep_state() -> bytes:
    """Name (\\_S5, Package () {0, 0, 0, 0}): power-off is sleep type 0."""
    return _name("_S5_", b"\x12\x06\x04\0\0\0\0")


def virtio(number: int, region: MmioRegion) -> bytes:
    """Device (VRnn): a virtio-mmio transport with its registers and its interrupt, level and active high."""
    resources = struct.pack("<BHBII", 0x86, 9, 1, region.address, region.size_bytes)
    resources += struct.pack("<BHBBI", 0x89, 6, 0b0001, 1, region.irq) + b"\x79\0"
    buffer = _integer(len(resources)) + resources
    inner = f"VR{number:02X}".encode("ascii")
    inner += _name("_HID", b"\x0d" + VIRTIO_MMIO_ID.encode("ascii") + b"\0")
    inner += _name("_UID", _integer(number)) + _name("_CCA", b"\x01")
    inner += _name("_CRS", b"\x11" + _length(buffer) + buffer)
    return b"\x5b\x82" + _length(inner) + inner
