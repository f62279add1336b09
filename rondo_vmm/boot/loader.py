"""A kernel's file -> guest memory: what kind it is, what it needs around it, and where a CPU starts it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import attrs

from rondo_vmm.boot import elf
from rondo_vmm.boot.acpi import write_acpi
from rondo_vmm.boot.bootparams import write_boot_params
from rondo_vmm.boot.bzimage import BzImage, is_bzimage, load_bzimage, read_bzimage, unpack
from rondo_vmm.boot.elf import Elf
from rondo_vmm.boot.initrd import load_initrd
from rondo_vmm.boot.longmode import write_long_mode
from rondo_vmm.boot.pvh import write_start_info
from rondo_vmm.errors import BootError
from rondo_vmm.machine import Slot, Start
from rondo_vmm.memory import GuestMemory

BUNDLED = Path(__file__).resolve().parent.parent / "data" / "guest.elf"
MAX_FILE_BYTES = 1 << 30
INITRD_MAX = 0x7FFFFFFF
# A console on the serial port, a reset by the keyboard controller, also after a panic; there is no PCI.
LINUX_CMDLINE = "console=ttyS0 reboot=k panic=-1 pci=off"
# What hosts that emulate /dev/kvm lack in a kernel's own code, though CPUID shows it: xsave and x2apic, and by number
# (word * 32 + bit of Linux's cpufeatures.h) rdtscp, pclmulqdq, ssse3, cx16, sse4_1, sse4_2, movbe, popcnt, aes, xsave,
# rdrand, fsgsbase, smep, erms, invpcid, rdseed, smap, clflushopt, clwb and others of leaf 7. Without ssse3 the kernel's
# random numbers come from plain code; with it they need arithmetic on SSE registers, which such hosts do not emulate.
# Guards against speculation, the crypto code's tests of itself, and what prepares tracing and BPF by walking over every
# symbol and type of the kernel are left out because every instruction of a kernel costs such a host as much as a
# thousand on a processor; the watchdogs, because they take that for a fault.
EMULATED_HOST_CMDLINE = (
    "mitigations=off cryptomgr.notests nowatchdog rcupdate.rcu_cpu_stall_suppress=1 initcall_blacklist="
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
    data: bytes = attrs.field(repr=False)
    image: Elf | BzImage

    @property
    def bare(self) -> bool:
        """Whether it is a 32-bit ELF that expects no interrupt controller, as the bundled guest."""
        return isinstance(self.image, Elf) and self.image.bits == 32 and not self.image.pvh_entry


def read_kernel(path: Path | None, unpacked: bool = False) -> Kernel:
    """Read a kernel; None: the bundled guest. `unpacked`: take the vmlinux out of a bzImage here, where that can be.

    Raises: BootError: it cannot be read, or is no kernel for this machine.
    """
    source = path or BUNDLED
    data = _read(source, "a kernel")
    if not is_bzimage(data):
        return Kernel(source, data, elf.read_elf(source, data))
    image = read_bzimage(source, data)
    if unpacked:
        vmlinux = unpack(source, data, image)
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
    if isinstance(image, BzImage):
        if len(cmdline) > image.cmdline_max:
            raise BootError(f"command line of {len(cmdline)} characters: {source} takes at most {image.cmdline_max}")
        entry = load_bzimage(source, kernel.data, image, memory)
        header, end, limit = image.header, image.address + image.init_bytes, image.initrd_max
    else:
        elf.load_elf(source, kernel.data, image, memory)
        entry, header, end, limit = image.entry, b"", image.end, INITRD_MAX
    placed = load_initrd(initrd, _read(initrd, "an initrd"), memory, end, limit) if initrd else None
    rsdp = write_acpi(memory, vcpus, slots)
    if isinstance(image, Elf) and image.pvh_entry:
        return Start(image.pvh_entry, rbx=write_start_info(memory, cmdline, placed, rsdp))
    write_long_mode(memory)
    return Start(entry, rsi=write_boot_params(memory, cmdline, header, placed, rsdp), long_mode=True)


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BootError(f"{path}: {error.strerror}; give {what} that can be read") from None
    if len(data) > MAX_FILE_BYTES:
        raise BootError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB; give {what}")
    return data
