"""Guests that tests make: small kernels assembled here, and Linux's first file system with one program in it."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "guests"
BASE = 0x200000


def assemble(name, work, width=64, base=BASE):
    """Give a source's code, placed at `base`."""
    built = work / "guest.bin"
    emulation = "elf_x86_64" if width == 64 else "elf_i386"
    for command in (
        ["as", f"--{width}", "-o", work / "guest.o", SOURCES / name],
        ["ld", "-m", emulation, "-Ttext", hex(base), "--oformat", "binary", "-o", built, work / "guest.o"],
    ):
        subprocess.run([str(each) for each in command], check=True, capture_output=True)
    return built.read_bytes()


def kernel(code, path, pvh=False):
    """Write a 64-bit kernel of that code; with a PVH note it starts in 32-bit mode."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", BASE) if pvh else b""
    ident, start = b"\x7fELF\x02\x01\x01", 64 + 2 * 56
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, BASE, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    table = struct.pack("<IIQQQQQQ", 1, 7, start + len(note), 0, BASE, len(code), len(code) + 4096, 4096)
    table += struct.pack("<IIQQQQQQ", 4, 4, start, 0, 0, len(note), len(note), 4)
    path.write_bytes(header + table + note + code)
    return path


def bare(code, path, base=0x100000):
    """Write a 32-bit kernel of that code, for /dev/kvm and the software CPU."""
    header = b"\x7fELF\x01\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, base, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    path.write_bytes(header + struct.pack("<8I", 1, 84, base, base, len(code), len(code), 7, 4096) + code)
    return path


def program(code, base=0x400000):
    """Make a Linux executable out of code that belongs right behind its headers, at `base` + 0x1000."""
    ident = b"\x7fELF\x02\x01\x01"
    header = struct.pack("<16sHHIQQQIHHHHHH", ident, 2, 62, 1, base + 0x1000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    size = 0x1000 + len(code)
    table = struct.pack("<IIQQQQQQ", 1, 7, 0, base, base, size, size, 0x1000)
    return (header + table).ljust(0x1000, b"\0") + code


def initramfs(init):
    """Make a cpio archive of /dev/console and /init. Source: cpio(5), the "new ASCII" format."""
    entries = [("dev", 0o040755, b"", (0, 0)), ("dev/console", 0o020600, b"", (5, 1)), ("init", 0o100755, init, (0, 0)),
               ("TRAILER!!!", 0, b"", (0, 0))]  # fmt: skip
    archive = b""
    for number, (name, mode, data, (major, minor)) in enumerate(entries, 1):
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        archive += b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        archive += bytes(-len(archive) % 4) + data
        archive += bytes(-len(archive) % 4)
    return archive


@pytest.fixture(scope="session")
def guests():
    """Give this module: test modules cannot import one another."""
    return sys.modules[__name__]
