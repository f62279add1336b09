"""A Linux kernel into guest memory, with all that it is told: initrd, ACPI tables, boot parameters, page tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_vmm.boot import elf
from rondo_vmm.boot.acpi import write_acpi
from rondo_vmm.boot.bootparams import write_boot_params
from rondo_vmm.boot.bzimage import BzImage, load_bzimage
from rondo_vmm.boot.elf import Elf
from rondo_vmm.boot.initrd import load_initrd
from rondo_vmm.boot.kernel import Kernel, Start, read_file
from rondo_vmm.boot.longmode import write_long_mode
from rondo_vmm.boot.pvh import write_start_info
from rondo_vmm.errors import BootError
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.slots import MmioRegion

INITRD_MAX = 0x7FFFFFFF


def load_linux(
    kernel: Kernel, memory: GuestMemory, cmdline: str, initrd: Path | None, vcpus: int, regions: Iterable[MmioRegion]
) -> Start:
    """Put it all into guest memory; see `loader.load`."""
    image, source = kernel.image, kernel.source
    if isinstance(image, BzImage):
        if len(cmdline) > image.cmdline_max:
            raise BootError(f"command line of {len(cmdline)} characters: {source} takes at most {image.cmdline_max}")
        entry = load_bzimage(source, kernel.data, image, memory)
        header, end, limit = image.header, image.address + image.init_bytes, image.initrd_max
    else:
        elf.load_elf(source, kernel.data, image, memory)
        entry, header, end, limit = image.entry, b"", image.end, INITRD_MAX
    placed = None
    if initrd:
        data = read_file(initrd, "an initrd", memory.size_bytes)
        placed = load_initrd(initrd, data, memory, end, limit)
    rsdp = write_acpi(memory, vcpus, regions)
    if isinstance(image, Elf) and image.pvh_entry:
        return Start(image.pvh_entry, rbx=write_start_info(memory, cmdline, placed, rsdp))
    write_long_mode(memory)
    return Start(entry, rsi=write_boot_params(memory, cmdline, header, placed, rsdp), long_mode=True)
