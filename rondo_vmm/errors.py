"""What goes wrong with a virtual machine, typed by whose fault it is."""

from __future__ import annotations

import errno
import os

from rondo_core.errors import RondoError, UsageError


class VmmError(RondoError):
    """The machine cannot be had or cannot go on."""


class ConfigError(VmmError, UsageError):
    """What was asked for cannot be."""

    exit_status = 2


class StoppedError(VmmError):
    """The machine was stopped before it was there; `ended` is by what, "signal 15" for example."""

    def __init__(self, ended: str) -> None:
        """Take the exit status of a machine that was stopped like this."""
        super().__init__(ended)
        self.ended = ended
        self.message = f"{ended} before the machine had started"
        number = ended.removeprefix("signal ")
        self.exit_status = 128 + int(number) if number.isdigit() else 0


class BootError(VmmError):
    """A kernel that cannot be loaded."""


class QmpError(VmmError):
    """QEMU's monitor cannot be reached, or refused a command."""


class ApiError(VmmError):
    """Firecracker's API cannot be reached, or refused a request."""


class GuestError(VmmError):
    """The guest's misdeed: it left what a machine can do."""


class GuestMemoryError(GuestError):
    """An access outside the guest's memory."""

    def __init__(self, address: int, length: int = 0, size: int = 0) -> None:
        """Name the access and how much memory there is, bytes."""
        super().__init__(address, length, size)
        self.address, self.length, self.size = address, length, size
        self.message = f"guest memory: {length} bytes at {address:#x} are outside its {size:#x} bytes"


class DiskError(VmmError):
    """A disk image that cannot be used."""


class KvmError(VmmError):
    """An ioctl of /dev/kvm failed; `ioctl` is its name, `errno` the kernel's answer."""

    def __init__(self, ioctl: str, number: int = 0) -> None:
        """Name the call, what is wrong, and the mend where it is known."""
        super().__init__(ioctl, number)
        self.ioctl, self.errno = ioctl, number
        mends = {
            errno.ENOENT: "this host has no KVM; use --machine soft",
            errno.ENODEV: "this host has no KVM; use --machine soft",
            errno.EACCES: "join the group kvm, or use --machine soft",
            errno.EPERM: "join the group kvm, or use --machine soft",
            errno.EBUSY: "another hypervisor holds the CPU; stop it, or use --machine soft",
            errno.ENOMEM: "give the guest less memory",
        }
        self.message = f"{ioctl}: {os.strerror(number)}; {mends.get(number, 'use --machine soft')}"
