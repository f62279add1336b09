"""What QEMU would load: looked at beforehand, so that a file that cannot boot is said in one line."""

from __future__ import annotations

import os
import struct
from pathlib import Path

from rondo_core.model import is_there
from rondo_vmm.errors import BootError, ConfigError

# Source: Documentation/arch/x86/boot.rst: "HdrS" at 0x202, xloadflags at 0x236, bit 0 for a 64-bit entry.
_HDRS, _XLOADFLAGS, _64_BIT = slice(0x202, 0x206), 0x236, 1
# Source: System V ABI, e_machine, and Documentation/arch/arm64/booting.rst, "ARM\x64" at 56.
_ARM64 = slice(56, 60)
MACHINES = {3: "32-bit x86", 40: "32-bit ARM", 62: "x86-64", 183: "AArch64", 243: "RISC-V"}
_X86_64 = 62
_HEAD_BYTES = 1024


def check_kernel(path: Path) -> None:
    """Refuse what is no x86-64 kernel. Raises: BootError: it cannot be read, or is for another machine."""
    head = _head(path, "a kernel")
    mend = "give an x86-64 bzImage or vmlinux"
    if head[_HDRS] == b"HdrS":
        if len(head) < _XLOADFLAGS + 2:
            raise BootError(f"{path}: a truncated kernel: its header is cut off; fetch it again")
        if not struct.unpack_from("<H", head, _XLOADFLAGS)[0] & _64_BIT:
            raise BootError(f"{path}: a kernel for 32-bit x86; {mend}")
    elif head[_ARM64] == b"ARM\x64":
        raise BootError(f"{path}: a kernel for AArch64; {mend}")
    elif head[:4] == b"\x7fELF" and len(head) >= 64:
        machine = struct.unpack_from("<H" if head[5] == 1 else ">H", head, 18)[0]
        if machine != _X86_64:
            raise BootError(f"{path}: a kernel for {MACHINES.get(machine, f'machine {machine}')}; {mend}")
    else:
        raise BootError(f"{path}: not a kernel; {mend}")


def check_initrd(path: Path) -> None:
    """Refuse what cannot be read. Raises: BootError."""
    if not _head(path, "an initrd"):
        raise BootError(f"{path}: an empty file; give an initrd")


def prepare_disk(path: Path, size_bytes: int, *, read_only: bool = False) -> None:
    """Make the image where it is missing, sparse; one that is only read must be there.

    Raises: ConfigError: it cannot be made, is missing, or is no file.
    """
    if not read_only:
        try:
            with path.open("xb") as file:
                try:
                    file.truncate(size_bytes)
                except OSError:
                    path.unlink()
                    raise
        except FileExistsError:
            pass
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}; give a path where a disk image can be made") from None
    elif not is_there(path):
        raise ConfigError(f"{path}: No such file or directory; give a read-only disk that is there")
    if not path.is_file() and not path.is_block_device():
        raise ConfigError(f"{path}: not a file; give a raw disk image")


def _head(path: Path, what: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO is not waited for
        try:
            return os.read(descriptor, _HEAD_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; give {what} that can be read") from None
