"""The Linux guest's initramfs: made from files alone, the same bytes every time."""

import os
import subprocess
import sys
from pathlib import Path

GUEST = Path(__file__).parents[2] / "guest"


def module(needs):
    """Make what the build script reads of a kernel module."""
    return b"\x7fELF\0license=GPL\0depends=" + needs.encode() + b"\0name=x\0"


def make(folder):
    """Make a kernel's module tree and an archive with it; give the archive."""
    drivers = folder / "6.1.0-test" / "kernel" / "drivers"
    drivers.mkdir(parents=True)
    for name, needs in {"virtio": "", "virtio_ring": "virtio", "virtio_blk": "virtio_ring", "e1000": ""}.items():
        (drivers / f"{name}.ko").write_bytes(module(needs))
    (drivers / "virtio-rng.ko").write_bytes(module("virtio,virtio_ring"))
    (folder / "busybox").write_bytes(b"\x7fELF busybox")
    archive = folder / "initramfs.cpio"
    command = [sys.executable, GUEST / "initramfs.py", archive, folder / "busybox", folder / "6.1.0-test"]
    subprocess.run(command, check=True)
    return archive.read_bytes()


def entries(archive):
    """Read an archive of the kind "newc": name -> (mode, time, data)."""
    found, offset = {}, 0
    while True:
        assert archive[offset : offset + 6] == b"070701"
        fields = [int(archive[offset + 6 + 8 * n : offset + 14 + 8 * n], 16) for n in range(13)]
        mode, mtime, size, name_size = fields[1], fields[5], fields[6], fields[11]
        name = archive[offset + 110 : offset + 110 + name_size - 1].decode()
        data_at = (offset + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        found[name] = mode, mtime, archive[data_at : data_at + size]
        offset = (data_at + size + 3) & ~3


def test_the_archive_holds_what_the_guest_needs_each_module_after_those_it_needs(tmp_path):
    """Busybox, both scripts, the console, and of the modules the virtio drivers, whose names vary in - and _."""
    found = entries(make(tmp_path))
    assert found["init"][2] == (GUEST / "init").read_bytes()
    assert found["workload.sh"][2] == (GUEST / "workload.sh").read_bytes()
    assert all(found[name][0] == 0o100755 for name in ("init", "workload.sh", "bin/busybox"))
    assert found["dev/console"][0] == 0o020600
    order = found["lib/modules/6.1.0-test/order"][2].decode().split()
    assert order == ["virtio", "virtio_ring", "virtio_blk", "virtio-rng"]
    assert {name.rpartition("/")[2] for name in found if name.endswith(".ko")} == {f"{name}.ko" for name in order}


def test_the_archive_is_the_same_bytes_every_time(tmp_path):
    """No time, no user and no order of a directory is in it."""
    one, two = (tmp_path / name for name in ("one", "two"))
    assert make(one) == make(two)
    os.utime(two / "busybox", (1, 1))
    assert all(mtime == 0 for _, mtime, _ in entries(make(tmp_path / "three")).values())
