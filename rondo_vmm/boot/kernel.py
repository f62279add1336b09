"""A kernel's file, read and understood: what kind it is, and how the first CPU starts in it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rondo_core.model import read_named
from rondo_vmm.boot import elf
from rondo_vmm.boot.elf import Elf
from rondo_vmm.errors import BootError

if TYPE_CHECKING:
    from rondo_vmm.boot.bzimage import BzImage

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "guest.elf"
MAX_FILE_BYTES = 1 << 30


class Kernel(NamedTuple):
    """A kernel's file, read and understood, but nowhere yet."""

    source: Path
    data: bytes | bytearray
    image: Elf | BzImage

    def __repr__(self) -> str:
        """Say all but its bytes."""
        return f"Kernel(source={self.source!r}, image={self.image!r})"

    @property
    def bare(self) -> bool:
        """Whether it is a 32-bit ELF that expects no interrupt controller, as the bundled guest."""
        return isinstance(self.image, Elf) and self.image.bits == 32 and not self.image.pvh_entry


def read_kernel(path: Path | None, unpacked: bool = False, room_bytes: int = MAX_FILE_BYTES) -> Kernel:
    """Read a kernel; None: the bundled guest.

    Args: `unpacked`: take the vmlinux out of a bzImage here, where that can be; `room_bytes`: the guest's memory, more
        than which is neither read nor unpacked.
    Raises: BootError: it cannot be read, needs more memory, or is no kernel for this machine.
    """
    source = path or BUNDLED
    data = read_file(source, "a kernel", room_bytes)
    if data.startswith(elf.ELF):
        return Kernel(source, data, elf.read_elf(source, data))
    from rondo_vmm.boot.bzimage import is_bzimage, read_bzimage, unpack

    if not is_bzimage(data):
        return Kernel(source, data, elf.read_elf(source, data))
    image = read_bzimage(source, data)
    if unpacked:
        vmlinux = unpack(source, data, image, room_bytes)
        if vmlinux is not None:
            return Kernel(source, vmlinux, elf.read_elf(source, vmlinux))
    return Kernel(source, data, image)


class Start(NamedTuple):
    """How the first CPU starts: at `entry` in flat 32-bit mode, or in 64-bit mode with boot/longmode's page tables."""

    entry: int
    rsi: int = 0
    rbx: int = 0
    long_mode: bool = False


def read_file(path: Path, what: str, room_bytes: int) -> bytes:
    """Read a file that is to fit into the guest's memory. Raises: BootError: it cannot be read, or is larger."""
    most = min(room_bytes, MAX_FILE_BYTES)
    try:
        return read_named(path, most)
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise BootError(f"{path}: {error.strerror}; give {what} that can be read") from None
        mend = "--memory-mib more, or " if most < MAX_FILE_BYTES else ""
        limit = f"the guest's {most >> 20} MiB of memory" if mend else f"{most >> 20} MiB"
        raise BootError(f"{path}: larger than {limit}; give {mend}{what} that is smaller") from None
