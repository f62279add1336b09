"""A kernel -> guest memory, with what it needs around it; and what every Linux kernel is told here."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_vmm.boot import elf
from rondo_vmm.boot.bootparams import write_boot_params
from rondo_vmm.boot.elf import Elf
from rondo_vmm.boot.kernel import Kernel, Start
from rondo_vmm.errors import BootError
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.slots import MmioRegion

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


def load(
    kernel: Kernel, memory: GuestMemory, cmdline: str, initrd: Path | None, vcpus: int, regions: Iterable[MmioRegion]
) -> Start:
    """Put the kernel and what it is told into guest memory.

    Args: `regions`: the memory-mapped devices that it is to find.
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

    return load_linux(kernel, memory, cmdline, initrd, vcpus, regions)
