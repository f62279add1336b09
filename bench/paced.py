"""A guest that does the same work whatever else runs: ten times a second two accesses of each kind, for so long.

The bundled guest computes for as long as its phases last, and so takes whatever CPU there is: beside it the CPU that
monitoring takes cannot be told. This one says "up", wakes, works and sleeps, 110 exits a second, and powers off.

It sleeps 68 to 131 ms, by chance, for the sake of what is compared: guests that all sleep 100 ms stay in step, or out
of it, as they were begun. In step they find each other's code and tables in the caches, which is a tenth of their CPU
time, and recording, whose stores are made between one start and the next, would be charged with it.
"""

from __future__ import annotations

import struct
from pathlib import Path

BASE = 0x100000
# As guest/payload/guest.S says: clock at port 0x700, alarm at 0x704, scratch registers at 0x710 and 0xd0000000.
HELLO = bytes.fromhex("66baf803b075eeb070eeb00aee")  # mov dx, 0x3f8; "up\\n", each mov al; out dx, al
WAKE = bytes.fromhex(
    "b902000000"  # wake: mov ecx, 2
    "66ba1007"  # again: mov dx, 0x710
    "efed"  # out dx, eax; in eax, dx
    "a3000000d0"  # mov [0xd0000000], eax
    "a1040000d0"  # mov eax, [0xd0000004]
    "4975ed"  # dec ecx; jnz again
    "0f31c1e80883e03f83c044"  # rdtsc; shr eax, 8; and eax, 63; add eax, 68
    "66ba0407ef"  # mov dx, 0x704; out dx, eax
    "f4"  # hlt
    "66ba0007ed"  # mov dx, 0x700; in eax, dx
    "3d"  # cmp eax, ms
)
OVER = bytes.fromhex(
    "66ba0406b800200000"  # mov dx, 0x604; mov eax, 0x2000
    "66ef"  # out dx, ax
    "f4"  # hlt
)


def paced_guest(path: Path, life_s: float) -> Path:
    """Write the guest as a bare 32-bit ELF kernel that powers off after `life_s` seconds."""
    loop = WAKE + struct.pack("<I", round(life_s * 1000))
    code = HELLO + loop + struct.pack("<Bb", 0x72, -len(loop) - 2) + OVER  # jb wake
    ident = b"\x7fELF\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    header = struct.pack("<16sHHIIIIIHHHHHH", ident, 2, 3, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    program = struct.pack("<IIIIIIII", 1, 84, BASE, BASE, len(code), len(code), 7, 4096)
    path.write_bytes(header + program + code)
    return path
