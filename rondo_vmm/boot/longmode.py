"""Page tables and descriptors with which a CPU enters a 64-bit kernel: the first 4 GiB, mapped one to one."""

from __future__ import annotations

import struct

from rondo_vmm.memory import GuestMemory

# Source: Documentation/arch/x86/boot.rst, "64-bit boot protocol": paging on, __BOOT_CS 0x10 and __BOOT_DS 0x18 flat.
GDT, GDT_ENTRIES = 0x500, (0, 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
GDT_LIMIT = 8 * len(GDT_ENTRIES) - 1
# Source: Intel SDM volume 3, 4.5 "4-level paging": 512 entries a table; bit 0 present, 1 writable, 7 a 2 MiB page.
PML4, PDPT, PAGE_DIRECTORIES = 0x9000, 0xA000, 0xB000
GIBS, PAGE_BYTES, TABLE_BYTES = 4, 2 << 20, 4096
PRESENT_WRITABLE, LARGE = 3, 0x80
_TABLE = struct.Struct("<512Q")


def write_long_mode(memory: GuestMemory) -> None:
    """Write the tables; %cr3 is to hold PML4, the GDT's base is GDT."""
    memory.write(GDT, struct.pack(f"<{len(GDT_ENTRIES)}Q", *GDT_ENTRIES))
    directories = [PAGE_DIRECTORIES + gib * TABLE_BYTES | PRESENT_WRITABLE for gib in range(GIBS)]
    memory.write(PML4, _TABLE.pack(PDPT | PRESENT_WRITABLE, *[0] * 511))
    memory.write(PDPT, _TABLE.pack(*directories, *[0] * (512 - GIBS)))
    for gib in range(GIBS):
        pages = [(gib * 512 + page) * PAGE_BYTES | PRESENT_WRITABLE | LARGE for page in range(512)]
        memory.write(PAGE_DIRECTORIES + gib * TABLE_BYTES, _TABLE.pack(*pages))
