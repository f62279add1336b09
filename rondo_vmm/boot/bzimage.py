"""A Linux bzImage: its setup header, the part that runs in protected mode, and the vmlinux that is packed in it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from rondo_vmm.boot.elf import MEND
from rondo_vmm.boot.unpacking import unpacker, within
from rondo_vmm.errors import BootError
from rondo_vmm.memory import GuestMemory

# Source: Documentation/arch/x86/boot.rst of the Linux kernel.
MAGIC_AT, MAGIC = 0x202, b"HdrS"
SETUP_SECTS, HEADER_START, HEADER_LENGTH = 0x1F1, 0x1F1, 0x201
SECTOR_BYTES, DEFAULT_SETUP_SECTS = 512, 4
VERSION, SYSSIZE = 0x206, 0x1F4
INITRD_ADDR_MAX, XLOADFLAGS, CMDLINE_SIZE = 0x22C, 0x236, 0x238
PAYLOAD_OFFSET, PAYLOAD_LENGTH, PREF_ADDRESS, INIT_SIZE = 0x248, 0x24C, 0x258, 0x260
OLDEST = 0x20C  # the version that has xloadflags
KERNEL_64 = 1
ENTRY_64 = 0x200
HEADER_END_MIN = 0x264


class BzImage(NamedTuple):
    """What the setup header says.

    Attributes:
        header: the setup header's bytes, which belong into the zero page at 0x1f1.
        code: offset in the file of what is loaded; code_bytes: how much that is.
        address: where it wants to be; init_bytes: how much memory it needs from there on.
        initrd_max: the highest address that an initrd may use; cmdline_max: the longest command line.
        payload, payload_bytes: where in the file the packed vmlinux is.
    """

    header: bytes
    code: int
    code_bytes: int
    address: int
    init_bytes: int
    initrd_max: int
    cmdline_max: int
    payload: int
    payload_bytes: int


def is_bzimage(data: bytes) -> bool:
    """Say whether the magic of the boot protocol is there."""
    return data[MAGIC_AT : MAGIC_AT + 4] == MAGIC


def read_bzimage(source: Path, data: bytes) -> BzImage:
    """Read the setup header. Raises: BootError: it is cut off, too old, or that of a 32-bit kernel."""
    if len(data) < HEADER_END_MIN:
        raise BootError(f"{source}: a truncated bzImage: its setup header is cut off; fetch it again")
    version, loads = _u16(data, VERSION), _u16(data, XLOADFLAGS)
    if version < OLDEST:
        raise BootError(f"{source}: a bzImage of boot protocol {version >> 8}.{version & 255}, 2.12 is needed; {MEND}")
    if not loads & KERNEL_64:
        raise BootError(f"{source}: a 32-bit bzImage; {MEND}")
    code = ((data[SETUP_SECTS] or DEFAULT_SETUP_SECTS) + 1) * SECTOR_BYTES
    code_bytes = _u32(data, SYSSIZE) * 16
    payload, payload_bytes = code + _u32(data, PAYLOAD_OFFSET), _u32(data, PAYLOAD_LENGTH)
    if code + code_bytes > len(data) + 15 or payload + payload_bytes > len(data):
        raise BootError(
            f"{source}: a truncated bzImage: {code + code_bytes} bytes by its header, {len(data)} here; fetch it again"
        )
    (address,) = struct.unpack_from("<Q", data, PREF_ADDRESS)
    return BzImage(
        header=data[HEADER_START : MAGIC_AT + data[HEADER_LENGTH]],
        code=code,
        code_bytes=min(code_bytes, len(data) - code),
        address=address,
        init_bytes=max(_u32(data, INIT_SIZE), code_bytes),
        initrd_max=_u32(data, INITRD_ADDR_MAX),
        cmdline_max=_u32(data, CMDLINE_SIZE),
        payload=payload,
        payload_bytes=payload_bytes,
    )


def load_bzimage(source: Path, data: bytes | bytearray, image: BzImage, memory: GuestMemory) -> int:
    """Put the kernel where it wants to be, and give its 64-bit entry. Raises: BootError: it does not fit."""
    _check_room(source, image, memory.size_bytes)
    memory.write(image.address, memoryview(data)[image.code : image.code + image.code_bytes])
    return image.address + ENTRY_64


def unpack(source: Path, data: bytes, image: BzImage, room_bytes: int) -> bytearray | None:
    """Give the vmlinux packed in it; None where nothing here can unpack it.

    Args: `room_bytes`: the guest's memory, beyond which nothing is unpacked.
    Raises: BootError: the payload is damaged, or needs more memory.
    """
    packed = memoryview(data)[image.payload : image.payload + image.payload_bytes]
    unpack_it = unpacker(packed)
    if unpack_it is None:
        return None
    _check_room(source, image, room_bytes)
    vmlinux = bytearray()
    try:
        for piece in within(unpack_it(packed), room_bytes, f"{source}: a bzImage whose payload"):
            vmlinux += piece
    except BootError:
        raise
    except Exception as error:  # noqa: BLE001 - each unpacker has its own
        raise BootError(f"{source}: a damaged bzImage: its payload: {error}; fetch it again") from None
    return vmlinux


def _check_room(source: Path, image: BzImage, room_bytes: int) -> None:
    if image.address + image.init_bytes > room_bytes:
        need = -(-(image.address + image.init_bytes) // 2**20)
        raise BootError(f"{source}: needs {need} MiB of memory; give --memory-mib {need} or more")


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")
