"""Open /dev/kvm, make a VM, give it memory, CPUs and, for kernels that want them, interrupt controllers."""

from __future__ import annotations

import os
from collections.abc import Callable

from rondo_vmm.errors import ConfigError, KvmError, VmmError
from rondo_vmm.kvm import ioctl, uapi
from rondo_vmm.memory import GuestMemory

DEVICE = "/dev/kvm"
MAX_CPUID_ENTRIES = 256


class KvmVm:
    """A VM with one range of memory from address 0 on."""

    def __init__(self, memory: GuestMemory, device: str = DEVICE, irqchip: bool = False) -> None:
        """Create it; `irqchip`: with PICs, I/O APIC, local APICs and a timer in the host's kernel.

        Raises: KvmError: /dev/kvm is missing, may not be used or refuses; VmmError: it speaks another version.
        """
        self.memory = memory
        self._descriptors: list[int] = []
        try:
            kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise KvmError(device, error.errno or 0) from None
        self._descriptors.append(kvm)
        self._kvm = kvm
        try:
            _check_version(device, ioctl.call(kvm, uapi.GET_API_VERSION))
            self.vcpu_map_bytes = ioctl.call(kvm, uapi.GET_VCPU_MMAP_SIZE)
            self._vm = ioctl.call(kvm, uapi.CREATE_VM)
            self._descriptors.append(self._vm)
            ioctl.call(self._vm, uapi.SET_TSS_ADDR, uapi.TSS_ADDRESS)
            region = uapi.MEMORY_REGION.pack(0, 0, 0, memory.size_bytes, memory.host_address())
            ioctl.call(self._vm, uapi.SET_USER_MEMORY_REGION, region)
            if irqchip:
                ioctl.call(self._vm, uapi.CREATE_IRQCHIP)
                ioctl.call(self._vm, uapi.CREATE_PIT2, uapi.PIT_CONFIG.pack(uapi.PIT_SPEAKER_DUMMY))
        except BaseException:
            self.close()
            raise

    def check_vcpus(self, count: int) -> None:
        """Refuse more CPUs than the host lets a VM have. Raises: ConfigError."""
        most = max(ioctl.call(self._kvm, uapi.CHECK_EXTENSION, uapi.CAP_MAX_VCPUS), 1)
        if count > most:
            raise ConfigError(f"{count} virtual CPUs: this host lets a VM have {most}")

    def create_vcpu(self, number: int = 0) -> int:
        """Make a CPU and give its descriptor, which `close` closes. Raises: KvmError."""
        descriptor = ioctl.call(self._vm, uapi.CREATE_VCPU, number)
        self._descriptors.append(descriptor)
        return descriptor

    def supported_cpuid(self) -> list[tuple[int, ...]]:
        """Give what CPUID may tell a guest here: (function, index, flags, eax, ebx, ecx, edx). Raises: KvmError."""
        size = uapi.CPUID_ENTRY.size
        table = bytearray(uapi.CPUID_HEADER.size + MAX_CPUID_ENTRIES * size)
        uapi.CPUID_HEADER.pack_into(table, 0, MAX_CPUID_ENTRIES)
        ioctl.call(self._kvm, uapi.GET_SUPPORTED_CPUID, table)
        (count,) = uapi.CPUID_HEADER.unpack_from(table)
        first = uapi.CPUID_HEADER.size
        return [uapi.CPUID_ENTRY.unpack_from(table, first + number * size) for number in range(count)]

    def interrupt_line(self, irq: int) -> Callable[[int], None]:
        """Give what sets the level of one of the interrupt controllers' lines."""
        vm, call, request = self._vm, ioctl.call, uapi.IRQ_LINE
        levels = [uapi.IRQ_LEVEL.pack(irq, level) for level in (0, 1)]

        def set_level(level: int) -> None:
            call(vm, request, levels[level])

        return set_level

    def close(self) -> None:
        """Release the VM; more than once is once."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _check_version(device: str, version: int) -> None:
    if version != uapi.API_VERSION:
        raise VmmError(f"{device}: API version {version}, this monitor speaks {uapi.API_VERSION}; update the host")


def usable(device: str = DEVICE) -> str:
    """Say why /dev/kvm cannot be used; empty where it can."""
    try:
        kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        return f"{device} cannot be used ({error.strerror})"
    try:
        os.close(ioctl.call(kvm, uapi.CREATE_VM))
    except KvmError as error:
        return f"{device} cannot be used ({error.ioctl}: {os.strerror(error.errno)})"
    finally:
        os.close(kvm)
    return ""
