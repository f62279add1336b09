"""The PVH boot protocol: a 32-bit entry, and a structure that tells the kernel of memory, modules and ACPI."""

from __future__ import annotations

import struct

from rondo_vmm.boot.bootparams import COMMAND_LINE, memory_map, write_command_line
from rondo_vmm.memory import GuestMemory

# Source: Xen's public/arch-x86/hvm/start_info.h, version 1.
START_INFO, MODULES, MEMORY_MAP = 0x6000, 0x6100, 0x6200
MAGIC, VERSION = 0x336EC578, 1
_START_INFO = struct.Struct("<IIIIQQQQII")
_MODULE = struct.Struct("<QQQQ")
_RANGE = struct.Struct("<QQII")


def write_start_info(memory: GuestMemory, cmdline: str, initrd: tuple[int, int] | None, acpi_rsdp: int) -> int:
    """Write it with all it points to, and give its address, which %ebx is to hold."""
    write_command_line(memory, cmdline)
    if initrd:
        memory.write(MODULES, _MODULE.pack(*initrd, 0, 0))
    ranges = memory_map(memory)
    memory.write(MEMORY_MAP, b"".join(_RANGE.pack(*each, 0) for each in ranges))
    modules = (1, MODULES) if initrd else (0, 0)
    head = (MAGIC, VERSION, 0, *modules, COMMAND_LINE, acpi_rsdp, MEMORY_MAP, len(ranges), 0)
    memory.write(START_INFO, _START_INFO.pack(*head))
    return START_INFO
