"""An initrd: at the top of memory, and whole as far as its own form tells."""

from __future__ import annotations

from pathlib import Path

from rondo_vmm.boot.unpacking import GZIP, LZ4_LEGACY, XZ, ZSTD, unpack_gzip, within
from rondo_vmm.errors import BootError
from rondo_vmm.memory import GuestMemory

PAGE_BYTES = 4096
# Source: the .xz file format, Documentation/driver-api/early-userspace/buffer-format.rst (cpio).
CPIO = b"07070"
XZ_FOOTER, CPIO_TRAILER = b"YZ", b"TRAILER!!!"


def load_initrd(source: Path, data: bytes, memory: GuestMemory, kernel_end: int, limit: int) -> tuple[int, int]:
    """Put it as high as it may be, and give its address and bytes.

    Args: `kernel_end`: the first address that the kernel does not need; `limit`: the last that an initrd may use.
    Raises: BootError: it is empty, cut off, does not fit, or unpacks to more than the guest has room for.
    """
    if not data:
        raise BootError(f"{source}: empty; give an initrd")
    if not _whole(source, data, memory.size_bytes):
        raise BootError(f"{source}: a truncated initrd: its end is missing; fetch or build it again")
    address = (min(memory.size_bytes, limit + 1) - len(data)) // PAGE_BYTES * PAGE_BYTES
    if address < kernel_end:
        need = -(-(kernel_end + len(data) + PAGE_BYTES) // 2**20)
        size_mib = -(-len(data) // 2**20)
        raise BootError(f"{source}: {size_mib} MiB do not fit behind the kernel; give --memory-mib {need} or more")
    memory.write(address, data)
    return address, len(data)


def _whole(source: Path, data: bytes, room_bytes: int) -> bool:
    """Say whether the first archive ends; kinds that do not tell quickly pass. Raises: BootError: it is too large."""
    if data.startswith(GZIP):
        import zlib

        try:
            for _ in within(unpack_gzip(memoryview(data)), room_bytes, f"{source}: an initrd, which"):
                pass
        except (EOFError, zlib.error):
            return False
        return True
    if data.startswith(XZ):
        return data.rstrip(b"\0").endswith(XZ_FOOTER)
    if data.startswith(ZSTD):
        return _zstd_ends(data)
    if data.startswith(LZ4_LEGACY):
        return _lz4_ends(data)
    return not data.startswith(CPIO) or CPIO_TRAILER in data


def _zstd_ends(data: bytes) -> bool:
    """Walk over the blocks of the first frame, unpacking none. Source: RFC 8878, 3.1.1."""
    descriptor = data[4] if len(data) > 4 else 0
    alone = descriptor >> 5 & 1  # then there is no window's byte, and a size at least
    at = 5 + (1 - alone) + (0, 1, 2, 4)[descriptor & 3] + (alone, 2, 4, 8)[descriptor >> 6]
    last = False
    while not last:
        if at + 3 > len(data):
            return False
        block = int.from_bytes(data[at : at + 3], "little")
        last, repeats = bool(block & 1), block >> 1 & 3 == 1
        at += 3 + (1 if repeats else block >> 3)
    return at + 4 * (descriptor >> 2 & 1) <= len(data)


def _lz4_ends(data: bytes) -> bool:
    """Walk over the blocks, of which each says its size, to the end or what pads it. Source: LZ4 Frame Format."""
    at = len(LZ4_LEGACY)
    while len(data) - at > 4:
        size = int.from_bytes(data[at : at + 4], "little")
        if not size or data[at : at + 4] == LZ4_LEGACY:
            return True
        at += 4 + size
    return at <= len(data)
