"""All that was asked for of a virtual machine: frozen, checked, and building nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from rondo_core.units import Duration, seconds
from rondo_vmm.errors import ConfigError

MACHINES = ("auto", "kvm", "soft", "qemu")
MIN_MEMORY_MIB, MAX_MEMORY_MIB = 2, 2047  # KVM's own pages lie at the end of the second GiB
MEMORY_MIB, LINUX_MEMORY_MIB = 16, 256  # unless asked otherwise: the bundled guest, and Linux
MAX_COMMAND_LINE = 2047  # of the x86 boot protocol: 2048 bytes with the closing zero
MAX_VCPUS = 64
MAX_DISKS = 4


class _Fields(NamedTuple):
    machine: Literal["auto", "kvm", "soft", "qemu"]
    kernel: Path | None
    cmdline: str
    memory_mib: int
    timeout_s: float | None
    initrd: Path | None
    vcpus: int
    emulated_host: bool
    disks: tuple[Path, ...]
    disk_read_only: bool
    rng: bool
    balloon: bool
    guest_samples: bool


class VmConfig(_Fields):
    """What machine to run.

    Attributes:
        machine: "kvm", "soft", "qemu", or "auto", which takes kvm where it can be used, and soft elsewhere.
        kernel: a bzImage, a vmlinux, or a bare 32-bit ELF kernel; None for the bundled guest. For
            qemu a bzImage or a vmlinux with a PVH entry.
        cmdline: the kernel's command line, at most 2047 bytes of ASCII.
        memory_mib: guest memory, MiB.
        timeout_s: stop the machine after that long, also given as "90s"; None lets it run.
        initrd: what Linux unpacks as its first file system; None for none.
        vcpus: virtual CPUs; more than one needs a Linux kernel.
        emulated_host: /dev/kvm is itself emulated: a bzImage is unpacked by the monitor, and Linux is told to leave
            alone what such hosts lack.
        disks: raw disk images, at most 4; one that is missing is made, of 64 MiB. disk_read_only: none is written.
        rng, balloon, guest_samples: whether there is a source of randomness, a balloon with statistics, and a console
            on which the guest hands in samples of its own. QEMU has the first two in any case, and not the third.
    Raises: ConfigError: one of them cannot be; the message says which and what can.
    """

    __slots__ = ()

    def __new__(
        cls,
        machine: Literal["auto", "kvm", "soft", "qemu"] = "auto",
        kernel: Path | None = None,
        cmdline: str = "",
        memory_mib: int = MEMORY_MIB,
        timeout_s: Duration | None = None,
        initrd: Path | None = None,
        vcpus: int = 1,
        emulated_host: bool = False,
        disks: tuple[Path, ...] = (),
        disk_read_only: bool = False,
        rng: bool = False,
        balloon: bool = False,
        guest_samples: bool = False,
    ) -> Self:
        """Refuse what cannot be."""
        within_s = None if timeout_s is None else seconds("timeout", timeout_s)
        facts = machine, kernel, cmdline, memory_mib, within_s, initrd, vcpus, emulated_host
        self = super().__new__(cls, *facts, disks, disk_read_only, rng, balloon, guest_samples)
        self._check()
        return self

    def _replace(self, **changes: Any) -> Self:
        """Give another with these changes, checked as any."""
        return type(self)(**(self._asdict() | changes))

    def _check(self) -> None:
        if self.machine not in MACHINES:
            raise ConfigError(f"machine {self.machine!r}: choose {', '.join(MACHINES)}")
        if not MIN_MEMORY_MIB <= self.memory_mib <= MAX_MEMORY_MIB:
            raise ConfigError(f"memory {self.memory_mib} MiB: from {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB}")
        check_command_line(self.cmdline)
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ConfigError(f"timeout {self.timeout_s:g} s: must be more than 0")
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise ConfigError(f"{self.vcpus} virtual CPUs: from 1 to {MAX_VCPUS}")
        if self.machine == "qemu" and (self.emulated_host or self.guest_samples):
            what = "emulates no /dev/kvm" if self.emulated_host else "takes no samples of the guest"
            raise ConfigError(f"the machine qemu {what}; leave that out, or choose another machine")
        if self.machine != "qemu" and self.kernel is None and (self.initrd or self.vcpus > 1):
            what = "no initrd" if self.initrd else "one virtual CPU only"
            raise ConfigError(f"the bundled guest takes {what}; give a Linux kernel with --kernel")
        if len(self.disks) > MAX_DISKS:
            raise ConfigError(f"{len(self.disks)} disks: at most {MAX_DISKS}")
        if self.disk_read_only and not self.disks:
            raise ConfigError("a read-only disk: which? name it with --disk")

    @property
    def has_virtio(self) -> bool:
        """Say whether the machine has any virtio device."""
        return bool(self.disks) or self.rng or self.balloon or self.guest_samples


def disk_name(index: int) -> str:
    """Name a disk as Linux does: vda is the first."""
    return f"vd{chr(ord('a') + index)}"


def check_command_line(cmdline: str) -> None:
    """Refuse what no kernel takes. Raises: ConfigError."""
    if not cmdline.isascii() or len(cmdline) > MAX_COMMAND_LINE or "\0" in cmdline:
        raise ConfigError(f"command line of {len(cmdline)} characters: at most {MAX_COMMAND_LINE}, ASCII")
