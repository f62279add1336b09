"""A kernel's file -> guest memory: what kind it is, what it needs around it, and where a CPU starts it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from rondo_core.model import read_named
from rondo_vmm.boot import elf
from rondo_vmm.boot.bootparams import write_boot_params
from rondo_vmm.boot.elf import Elf
from rondo_vmm.errors import BootError
from rondo_vmm.machine import Slot, Start
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_vmm.boot.bzimage import BzImage

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "guest.elf"
MAX_FILE_BYTES = 1 << 30
# A console on the serial port, a reset by the keyboard controller, also after a panic; there is no PCI.
LINUX_CMDLINE = "console=ttyS0 reboot=k panic=-1 pci=off"
# What hosts that emulate /dev/kvm lack in a kernel's own code, though CPUID shows it: xsave and x2apic, and by number
# (word * 32 + bit of Linux's cpufeatures.h) rdtscp, pclmulqdq, ssse3, cx16, sse4_1, sse4_2, movbe, popcnt, aes, xsave,
# rdrand, fsgsbase, smep, erms, invpcid, rdseed, smap, clflushopt, clwb and others of leaf 7. Without ssse3 the kernel's
# random numbers come from plain code; with it they need arithmetic on SSE registers, which such hosts do not emulate.
# Guards against speculation, the crypto code's tests of itself, and what prepares tracing and BPF by walking over every
# symbol and type of the kernel are left out because every instruction of a kernel costs such a host as much as a
# thousand on a processor.
EMULATED_HOST_CMDLINE = (
    "mitigations=off cryptomgr.notests initcall_blacklist="
    "ftrace_check_for_weak_functions,ftrace_check_sync,trace_eval_init,trace_eval_sync,tracer_init_tracefs,"
    "init_kprobe_trace,cubictcp_register,kfunc_init,bpf_rstat_kfunc_init,bpf_key_sig_kfuncs_init,"
    "bpf_prog_test_run_init,bpf_tcp_ca_kfunc_init,crypto_kdf108_init"
    " noxsave nox2apic nofsgsbase nopcid"
    " clearcpuid=59,129,137,141,147,148,150,151,153,154,158,288,295,297,298,306,308,311,312,532,533,534,580"
)


@attrs.frozen
class Kernel:
    """A kernel's file, read and understood, but nowhere yet."""

    source: Path
    data: bytes | bytearray = attrs.field(repr=False)
    image: Elf | BzImage

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


def load(
    kernel: Kernel, memory: GuestMemory, cmdline: str, initrd: Path | None, vcpus: int, slots: Iterable[Slot]
) -> Start:
    """Put the kernel and what it is told into guest memory.

    Args: `slots`: the memory-mapped devices that it is to find.
    Returns: where and how the first CPU starts.
    Raises: BootError: kernel, initrd or command line do not fit.
    """
    image, source = kernel.image, kernel.source
    if kernel.bare:
        assert isinstance(image, Elf)  # noqa: S101 - for the type checker
        if initrd:
            raise BootError(f"{source}: a bare kernel takes no initrd; leave --initrd out")
        elf.load_elf(source, kernel.data, image, memory)
        return Start(image.entry, rsi=write_boot_params(memory, cmdline))
    from rondo_vmm.boot.linux import load_linux

    return load_linux(kernel, memory, cmdline, initrd, vcpus, slots)


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
