"""The zero page, the command line and the map of memory, as the Linux x86 boot protocol has them."""

from __future__ import annotations

import struct

from rondo_vmm.memory import GuestMemory

# Source: Documentation/arch/x86/boot.rst and zero-page.rst of the Linux kernel.
ZERO_PAGE = 0x7000
COMMAND_LINE = 0x20000
HEADER_START, BOOT_FLAG, HEADER_MAGIC, VERSION = 0x1F1, 0x1FE, 0x202, 0x206
TYPE_OF_LOADER, RAMDISK_IMAGE, RAMDISK_SIZE, CMD_LINE_PTR, CMDLINE_SIZE = 0x210, 0x218, 0x21C, 0x228, 0x238
ACPI_RSDP_ADDR = 0x070
E820_ENTRIES, E820_TABLE = 0x1E8, 0x2D0
LOADER_UNDEFINED = 0xFF
PROTOCOL = 0x020C
E820_RAM, E820_RESERVED = 1, 2
LOW_MEMORY_END, HIGH_MEMORY = 0x9FC00, 0x100000
_E820 = struct.Struct("<QQI")


def memory_map(memory: GuestMemory) -> list[tuple[int, int, int]]:
    """Give the ranges of memory as (address, bytes, type): below the legacy hole and above it."""
    return [(0, LOW_MEMORY_END, E820_RAM), (HIGH_MEMORY, memory.size_bytes - HIGH_MEMORY, E820_RAM)]


def write_boot_params(
    memory: GuestMemory,
    cmdline: str,
    header: bytes = b"",
    initrd: tuple[int, int] | None = None,
    acpi_rsdp: int = 0,
) -> int:
    """Write the zero page and the command line, and give the zero page's address, which %esi is to hold.

    Args: `header`: a bzImage's setup header; `initrd`: its address and bytes; `acpi_rsdp`: where ACPI's tables start.
    """
    text = write_command_line(memory, cmdline)
    memory.write(ZERO_PAGE, bytes(4096))
    memory.write(ZERO_PAGE + HEADER_START, header)
    memory.write(ZERO_PAGE + BOOT_FLAG, b"\x55\xaa")
    memory.write(ZERO_PAGE + HEADER_MAGIC, b"HdrS")
    if not header:
        memory.write(ZERO_PAGE + VERSION, PROTOCOL.to_bytes(2, "little"))
        memory.write_u32(ZERO_PAGE + CMDLINE_SIZE, text)
    memory.write(ZERO_PAGE + TYPE_OF_LOADER, bytes((LOADER_UNDEFINED,)))
    memory.write_u32(ZERO_PAGE + CMD_LINE_PTR, COMMAND_LINE)
    if initrd:
        memory.write_u32(ZERO_PAGE + RAMDISK_IMAGE, initrd[0])
        memory.write_u32(ZERO_PAGE + RAMDISK_SIZE, initrd[1])
    memory.write(ZERO_PAGE + ACPI_RSDP_ADDR, acpi_rsdp.to_bytes(8, "little"))
    ranges = memory_map(memory)
    memory.write(ZERO_PAGE + E820_TABLE, b"".join(_E820.pack(*each) for each in ranges))
    memory.write(ZERO_PAGE + E820_ENTRIES, bytes((len(ranges),)))
    return ZERO_PAGE


def write_command_line(memory: GuestMemory, cmdline: str) -> int:
    """Write the command line with its closing zero, and give its length without."""
    text = cmdline.encode("ascii")
    memory.write(COMMAND_LINE, text + b"\0")
    return len(text)
