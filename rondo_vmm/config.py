"""All that was asked for of a virtual machine: frozen, checked, and building nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import attrs

from rondo_vmm.errors import ConfigError

MACHINES = ("auto", "kvm", "soft", "qemu")
MIN_MEMORY_MIB, MAX_MEMORY_MIB = 2, 2047  # KVM's own pages lie at the end of the second GiB
MAX_VCPUS = 64
MAX_COMMAND_LINE = 2047  # of the x86 boot protocol: 2048 bytes with the closing zero


@attrs.frozen
class VmConfig:
    """What machine to run.

    Attributes:
        machine: "kvm", "soft", "qemu", or "auto", which takes kvm where it can be used, and soft elsewhere.
        kernel: a 32-bit ELF kernel; None for the bundled guest. For qemu: a Linux kernel.
        cmdline: the kernel's command line, at most 2047 bytes of ASCII.
        memory_mib: guest memory, MiB.
        timeout_s: stop the machine after that long; None lets it run.
        initrd: what Linux unpacks as its first file system; None for none. vcpus: virtual CPUs. disk: a raw image,
            made with 64 MiB where it is missing. All three: of the machine qemu.
    Raises: ConfigError: one of them cannot be; the message says which and what can.
    """

    machine: Literal["auto", "kvm", "soft", "qemu"] = "auto"
    kernel: Path | None = None
    cmdline: str = ""
    memory_mib: int = 16
    timeout_s: float | None = None
    initrd: Path | None = None
    vcpus: int = 1
    disk: Path | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.machine not in MACHINES:
            raise ConfigError(f"machine {self.machine!r}: choose {', '.join(MACHINES)}")
        if not MIN_MEMORY_MIB <= self.memory_mib <= MAX_MEMORY_MIB:
            raise ConfigError(f"memory {self.memory_mib} MiB: from {MIN_MEMORY_MIB} to {MAX_MEMORY_MIB}")
        if not self.cmdline.isascii() or len(self.cmdline) > MAX_COMMAND_LINE or "\0" in self.cmdline:
            raise ConfigError(f"command line of {len(self.cmdline)} characters: at most {MAX_COMMAND_LINE}, ASCII")
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise ConfigError(f"timeout {self.timeout_s:g} s: must be more than 0")
        if not 1 <= self.vcpus <= MAX_VCPUS:
            raise ConfigError(f"{self.vcpus} virtual CPUs: from 1 to {MAX_VCPUS}")
        if self.machine != "qemu" and (self.initrd or self.disk or self.vcpus > 1):
            raise ConfigError("an initrd, a disk or several virtual CPUs: only the machine qemu has them")
