"""Open /dev/kvm, make a VM, give it memory and a CPU."""

from __future__ import annotations

import os

from rondo_vmm.errors import KvmError, VmmError
from rondo_vmm.kvm import ioctl, uapi
from rondo_vmm.memory import GuestMemory

DEVICE = "/dev/kvm"


class Vm:
    """A VM with one range of memory from address 0 on."""

    def __init__(self, memory: GuestMemory, device: str = DEVICE) -> None:
        """Create it.

        Raises: KvmError: /dev/kvm is missing, may not be used or refuses; VmmError: it speaks another version.
        """
        self.memory = memory
        self._descriptors: list[int] = []
        try:
            kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise KvmError(device, error.errno or 0) from None
        self._descriptors.append(kvm)
        try:
            _check_version(device, ioctl.call(kvm, uapi.GET_API_VERSION))
            self.vcpu_map_bytes = ioctl.call(kvm, uapi.GET_VCPU_MMAP_SIZE)
            self._vm = ioctl.call(kvm, uapi.CREATE_VM)
            self._descriptors.append(self._vm)
            ioctl.call(self._vm, uapi.SET_TSS_ADDR, uapi.TSS_ADDRESS)
            region = uapi.MEMORY_REGION.pack(0, 0, 0, memory.size_bytes, memory.host_address())
            ioctl.call(self._vm, uapi.SET_USER_MEMORY_REGION, region)
        except BaseException:
            self.close()
            raise

    def create_vcpu(self) -> int:
        """Make the CPU and give its descriptor, which `close` closes. Raises: KvmError."""
        descriptor = ioctl.call(self._vm, uapi.CREATE_VCPU, 0)
        self._descriptors.append(descriptor)
        return descriptor

    def close(self) -> None:
        """Let go of the VM; more than once is once."""
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
