"""Load a 32-bit ELF kernel, and say in words why another file is none."""

from __future__ import annotations

import struct
from pathlib import Path

from rondo_vmm.errors import BootError, GuestMemoryError
from rondo_vmm.memory import GuestMemory

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "guest.elf"
MAX_KERNEL_BYTES = 1 << 30

# Source: System V ABI, chapter 4 (ELF header) and 5 (program header).
_HEADER = struct.Struct("<16sHHIIIIIHHHHHH")
_PROGRAM = struct.Struct("<IIIIIIII")
_EXECUTABLE, _MACHINE_386, _LOAD = 2, 3, 1
_ELF, _CLASS_32, _LITTLE = b"\x7fELF", 1, 1
# Source: Documentation/arch/x86/boot.rst: "HdrS" at 0x202 marks a bzImage.
_HDRS = slice(0x202, 0x206)


def load_kernel(path: Path | None, memory: GuestMemory) -> int:
    """Put the kernel's segments into guest memory and give its entry address.

    Args: `path`: a kernel file; None: the bundled guest.
    Raises: BootError: it cannot be read, is no kernel, or does not fit into the memory.
    """
    source = path or BUNDLED
    data = _read(source)
    header = _check(source, data)
    entry, offset, size, count = header[4], header[5], header[9], header[10]
    loaded = False
    for index in range(count):
        start = offset + index * size
        if size < _PROGRAM.size or start + _PROGRAM.size > len(data):
            raise BootError(f"{source}: a truncated kernel: its program headers are cut off; fetch it again")
        kind, at, _, physical, file_bytes, memory_bytes, _, _ = _PROGRAM.unpack_from(data, start)
        if kind != _LOAD:
            continue
        if at + file_bytes > len(data) or file_bytes > memory_bytes:
            raise BootError(f"{source}: a truncated kernel: a segment ends after the file; fetch it again")
        try:
            memory.write(physical, data[at : at + file_bytes])
            memory.read(physical + memory_bytes, 0)
        except GuestMemoryError:
            need = -(-(physical + memory_bytes) // 2**20)
            raise BootError(f"{source}: needs {need} MiB of memory; give --memory-mib {need} or more") from None
        loaded = True
    if not loaded:
        raise BootError(f"{source}: an ELF file with nothing to load; give a kernel")
    return int(entry)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_KERNEL_BYTES + 1)
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; give a kernel that can be read") from None
    if len(data) > MAX_KERNEL_BYTES:
        raise BootError(f"{path}: larger than {MAX_KERNEL_BYTES >> 20} MiB; give a kernel")
    return data


def _check(path: Path, data: bytes) -> tuple[int, ...]:
    mend = "this monitor boots 32-bit x86 ELF kernels, or the bundled guest where --kernel is left out"
    if data[_HDRS] == b"HdrS":
        raise BootError(f"{path}: a Linux bzImage; {mend}")
    if len(data) < _HEADER.size or data[:4] != _ELF:
        raise BootError(f"{path}: not a kernel: no ELF header; {mend}")
    fields = _HEADER.unpack_from(data)
    if data[4] != _CLASS_32 or data[5] != _LITTLE or fields[2] != _MACHINE_386 or fields[1] != _EXECUTABLE:
        raise BootError(f"{path}: an ELF file, but not a 32-bit x86 executable; {mend}")
    return fields
