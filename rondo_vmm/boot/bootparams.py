"""The zero page and the command line, as the Linux x86 boot protocol has them."""

from __future__ import annotations

from rondo_vmm.memory import GuestMemory

# Source: Documentation/arch/x86/boot.rst and zero-page.rst of the Linux kernel.
ZERO_PAGE = 0x7000
COMMAND_LINE = 0x20000
BOOT_FLAG, HEADER_MAGIC, VERSION = 0x1FE, 0x202, 0x206
TYPE_OF_LOADER, CMD_LINE_PTR, CMDLINE_SIZE = 0x210, 0x228, 0x238
E820_ENTRIES, E820_TABLE = 0x1E8, 0x2D0
LOADER_UNDEFINED = 0xFF
PROTOCOL = 0x020C
E820_RAM = 1
LOW_MEMORY_END, HIGH_MEMORY = 0x9FC00, 0x100000


def write_boot_params(memory: GuestMemory, cmdline: str) -> int:
    """Write the zero page and the command line, and give the zero page's address, which %esi is to hold."""
    text = cmdline.encode("ascii")
    memory.write(COMMAND_LINE, text + b"\0")
    memory.write(ZERO_PAGE, bytes(4096))
    memory.write(ZERO_PAGE + BOOT_FLAG, b"\x55\xaa")
    memory.write(ZERO_PAGE + HEADER_MAGIC, b"HdrS")
    memory.write(ZERO_PAGE + VERSION, PROTOCOL.to_bytes(2, "little"))
    memory.write(ZERO_PAGE + TYPE_OF_LOADER, bytes((LOADER_UNDEFINED,)))
    memory.write_u32(ZERO_PAGE + CMD_LINE_PTR, COMMAND_LINE)
    memory.write_u32(ZERO_PAGE + CMDLINE_SIZE, len(text))
    ranges = [(0, LOW_MEMORY_END), (HIGH_MEMORY, memory.size_bytes - HIGH_MEMORY)]
    for index, (base, length) in enumerate(ranges):
        entry = base.to_bytes(8, "little") + length.to_bytes(8, "little") + E820_RAM.to_bytes(4, "little")
        memory.write(ZERO_PAGE + E820_TABLE + index * len(entry), entry)
    memory.write(ZERO_PAGE + E820_ENTRIES, bytes((len(ranges),)))
    return ZERO_PAGE
