"""Read an ELF kernel, 32 or 64 bits, put its segments into guest memory, and say in words why another file is none."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rondo_vmm.errors import BootError, GuestMemoryError
from rondo_vmm.memory import GuestMemory

# Source: System V ABI, chapter 4 (ELF header) and 5 (program header, notes).
_HEADERS = {1: struct.Struct("<16sHHIIIIIHHHHHH"), 2: struct.Struct("<16sHHIQQQIHHHHHH")}
_PROGRAMS = {1: struct.Struct("<IIIIIIII"), 2: struct.Struct("<IIQQQQQQ")}
_NOTE = struct.Struct("<III")
MAX_PROGRAMS, MAX_NOTES_BYTES = 128, 1 << 16  # of what a stranger's file may have looked at
ELF, LITTLE = b"\x7fELF", 1
EXECUTABLE, LOAD, NOTE = 2, 1, 4
MACHINES = {1: 3, 2: 62}  # of a 32-bit and of a 64-bit x86 executable
OTHERS = {8: "MIPS", 20: "PowerPC", 21: "PowerPC", 22: "S/390", 40: "ARM", 183: "AArch64", 243: "RISC-V"}
# Source: Xen's public/elfnote.h, XEN_ELFNOTE_PHYS32_ENTRY: where the PVH boot protocol enters.
PVH_OWNER, PVH_ENTRY = b"Xen\0", 18
MEND = "give an x86 kernel: a bzImage, a vmlinux or a 32-bit ELF, or leave --kernel out for the bundled guest"


class LoadSegment(NamedTuple):
    """Bytes of the file and where they belong; memory past them is zero."""

    offset: int
    physical: int
    file_bytes: int
    memory_bytes: int


class Elf(NamedTuple):
    """What is needed of an ELF kernel: how wide it is, where it starts, where by PVH (0: not), and its segments."""

    bits: int
    entry: int
    pvh_entry: int
    segments: tuple[LoadSegment, ...]

    @property
    def end(self) -> int:
        """The first address after the kernel."""
        return max(segment.physical + segment.memory_bytes for segment in self.segments)


def read_elf(source: Path, data: bytes | bytearray) -> Elf:
    """Read the headers. Raises: BootError: this is no x86 kernel, or a part of one."""
    if len(data) < _HEADERS[1].size or data[:4] != ELF:
        raise BootError(f"{source}: not a kernel: no ELF header; {MEND}")
    width = data[4]
    if width not in _HEADERS or data[5] != LITTLE or len(data) < _HEADERS[width].size:
        raise BootError(f"{source}: an ELF file, but not of an x86 kernel; {MEND}")
    _, kind, machine, _, entry, offset, _, _, _, size, count, *_ = _HEADERS[width].unpack_from(data)
    _check_kind(source, width, kind, machine)
    if count > MAX_PROGRAMS:
        raise BootError(f"{source}: an ELF file of {count} program headers, a kernel has a dozen; {MEND}")
    segments, pvh_entry = [], 0
    for start in range(offset, offset + count * size, max(size, 1)):
        if size < _PROGRAMS[width].size or start + _PROGRAMS[width].size > len(data):
            raise BootError(f"{source}: a truncated kernel: its program headers are cut off; fetch it again")
        kind, segment = _segment(data, start, width)
        if kind not in {LOAD, NOTE}:
            continue
        if segment.offset + segment.file_bytes > len(data) or segment.file_bytes > segment.memory_bytes:
            raise BootError(f"{source}: a truncated kernel: a segment ends after the file; fetch it again")
        if kind == LOAD:
            segments.append(segment)
        else:
            notes = data[segment.offset : segment.offset + min(segment.file_bytes, MAX_NOTES_BYTES)]
            pvh_entry = _pvh_entry(notes) or pvh_entry
    if not segments:
        raise BootError(f"{source}: an ELF file with nothing to load; {MEND}")
    return Elf(32 * width, int(entry), pvh_entry, tuple(segments))


def load_elf(source: Path, data: bytes | bytearray, elf: Elf, memory: GuestMemory) -> None:
    """Put the segments into guest memory. Raises: BootError: they do not fit."""
    view = memoryview(data)
    loaded = sum(segment.memory_bytes for segment in elf.segments)
    if loaded > memory.size_bytes:
        need = -(-max(loaded, elf.end) // 2**20)
        raise BootError(f"{source}: needs {need} MiB of memory; give --memory-mib {need} or more")
    for segment in elf.segments:
        try:
            memory.write(segment.physical, view[segment.offset : segment.offset + segment.file_bytes])
            memory.read(segment.physical + segment.memory_bytes, 0)
        except GuestMemoryError:
            need = -(-elf.end // 2**20)
            raise BootError(f"{source}: needs {need} MiB of memory; give --memory-mib {need} or more") from None


def _check_kind(source: Path, width: int, kind: int, machine: int) -> None:
    if machine != MACHINES[width]:
        what = f"a kernel for {OTHERS[machine]}" if machine in OTHERS else f"an ELF file for machine {machine}"
        raise BootError(f"{source}: {what}, not x86; {MEND}")
    if kind != EXECUTABLE:
        raise BootError(f"{source}: an ELF file, but no executable; {MEND}")


def _segment(data: bytes | bytearray, start: int, width: int) -> tuple[int, LoadSegment]:
    if width == 1:
        kind, at, _, physical, file_bytes, memory_bytes, _, _ = _PROGRAMS[width].unpack_from(data, start)
    else:
        kind, _, at, _, physical, file_bytes, memory_bytes, _ = _PROGRAMS[width].unpack_from(data, start)
    return kind, LoadSegment(at, physical, file_bytes, memory_bytes)


def _pvh_entry(notes: bytes | bytearray) -> int:
    for owner, kind, content in _notes(notes):
        if owner == PVH_OWNER and kind == PVH_ENTRY and len(content) in {4, 8}:
            return int.from_bytes(content, "little")
    return 0


def _notes(data: bytes | bytearray) -> Iterator[tuple[bytes | bytearray, int, bytes | bytearray]]:
    """Give (owner, type, content) of each whole note; names and contents are padded to 4 bytes."""
    at = 0
    while at + _NOTE.size <= len(data):
        owner_bytes, content_bytes, kind = _NOTE.unpack_from(data, at)
        owner = at + _NOTE.size
        content = owner + (owner_bytes + 3 & ~3)
        yield data[owner : owner + owner_bytes], kind, data[content : content + content_bytes]
        at = content + (content_bytes + 3 & ~3)
