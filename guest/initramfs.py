"""Write the Linux guest's initramfs: a cpio archive of the form that the kernel takes, the same bytes every time.

    python3 guest/initramfs.py OUTPUT BUSYBOX [MODULES]

BUSYBOX is a static busybox; MODULES the folder lib/modules/VERSION of the kernel that will boot it, of which the virtio
drivers go in, and what they need. Needs Python and nothing else, and no privileges.
Source: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
DRIVERS = (
    "virtio_mmio",
    "virtio_pci",
    "virtio_blk",
    "virtio_rng",
    "virtio_balloon",
    "virtio_console",
    "vmw_vsock_virtio_transport",
)
FOLDER, FILE, DEVICE = 0o040755, 0o100644, 0o020600
EXECUTABLE = 0o100755
CONSOLE = (5, 1)  # the device's major and minor number


def entry(number: int, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """Give one entry of the archive: header, name, data, each padded to 4 bytes; owned by root, made in 1970."""
    links = 2 if mode == FOLDER else 1
    fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


def ordered_modules(folder: Path) -> list[Path]:
    """Find the drivers below the kernel's modules, each after those that it says it depends on."""
    found = {path.name.removesuffix(".ko").replace("-", "_"): path for path in sorted(folder.rglob("*.ko"))}
    order: list[Path] = []

    def add(name: str) -> None:
        path = found.get(name)
        if path is None or path in order:
            return
        needs = re.search(rb"\0depends=([^\0]*)\0", path.read_bytes())
        for need in needs[1].decode().split(",") if needs else ():
            add(need.replace("-", "_"))
        order.append(path)

    for driver in DRIVERS:
        add(driver)
    return order


def build(busybox: Path, modules: Path | None) -> bytes:
    """Put the archive together."""
    files: list[tuple[str, int, bytes]] = [
        ("bin/busybox", EXECUTABLE, busybox.read_bytes()),
        ("init", EXECUTABLE, (HERE / "init").read_bytes()),
        ("workload.sh", EXECUTABLE, (HERE / "workload.sh").read_bytes()),
    ]
    folders = {"bin", "dev", "proc", "sys"}
    if modules is not None:
        order = ordered_modules(modules)
        home = f"lib/modules/{modules.name}"
        folders |= {"lib", "lib/modules", home}
        files += [(f"{home}/{path.name}", FILE, path.read_bytes()) for path in order]
        files.append((f"{home}/order", FILE, "".join(f"{path.stem}\n" for path in order).encode()))
    archive = [(name, FOLDER, b"", (0, 0)) for name in sorted(folders)]
    archive.append(("dev/console", DEVICE, b"", CONSOLE))
    archive += [(name, mode, data, (0, 0)) for name, mode, data in sorted(files)]
    body = b"".join(entry(number, *each) for number, each in enumerate(archive, 1))
    body += entry(0, "TRAILER!!!", 0)
    return body + bytes(-len(body) % 512)


if __name__ == "__main__":
    if len(sys.argv) not in {3, 4}:
        sys.exit("usage: initramfs.py OUTPUT BUSYBOX [MODULES]")
    output, given = Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]]
    output.write_bytes(build(given[0], given[1] if len(given) > 1 else None))
