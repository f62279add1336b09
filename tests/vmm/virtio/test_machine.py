"""A whole machine with virtio devices: a kernel of a few instructions that drives a disk, as the command runs it."""

import os
import struct
import subprocess
import sys

import pytest

from rondo_core import Store, StoreReader
from rondo_vmm import VmConfig, run_vm
from rondo_vmm.schemas import schemas_for

MACHINES = [pytest.param("kvm", marks=pytest.mark.kvm), pytest.param("soft", marks=pytest.mark.emulator)]
BASE, DISK, CONSOLE = 0x100000, 0xD0001000, 0xD0002000
TABLE, AVAILABLE, USED, HEADERS, DATA, STATUS = 0x101000, 0x102000, 0x103000, 0x104000, 0x105000, 0x106000
LINES_TABLE, LINES_AVAILABLE, LINES_USED, LINES = 0x107000, 0x108000, 0x109000, 0x10A000
POWER_OFF = b"\x66\xba\x04\x06\x66\xb8\x00\x20\x66\xef"  # mov dx,0x604; mov ax,0x2000; out dx,ax
TEXT = b"boots_total 3\nload 0.25\n"


def store(address, value):
    return b"\xc7\x05" + struct.pack("<II", address, value)  # mov dword [address], value


def say(address, count):
    """Write bytes of memory to the serial port: mov esi; mov ecx; mov edx; lodsb; out dx,al; loop."""
    return (
        b"\xbe" + struct.pack("<I", address) + b"\xb9" + struct.pack("<I", count) + b"\xba\xf8\x03\0\0\xac\xee\xe2\xfc"
    )


def bring_up(device, queue, table, available, used):
    """Reset, negotiate VERSION_1 and nothing else, set up one queue of 8, and go."""
    steps = [(0x70, 0), (0x70, 1), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x30, queue), (0x38, 8)]
    steps += [(0x80, table), (0x90, available), (0xA0, used), (0x44, 1), (0x70, 15)]
    return b"".join(store(device + register, value) for register, value in steps)


@pytest.fixture
def kernel(tmp_path):
    """Read sector 1, write it to sector 2, fail past the end, hand in two samples, and say what was read."""
    code = bring_up(DISK, 0, TABLE, AVAILABLE, USED) + store(DISK + 0x50, 0)
    code += bring_up(CONSOLE, 1, LINES_TABLE, LINES_AVAILABLE, LINES_USED) + store(CONSOLE + 0x50, 1)
    code += say(DATA, 8) + say(STATUS, 3) + POWER_OFF + b"\xeb\xfe"
    image = bytearray(0xB000)
    image[: len(code)] = code

    def put(address, data):
        image[address - BASE : address - BASE + len(data)] = data

    for n, (kind, sector, flags) in enumerate(((0, 1, 3), (1, 2, 1), (0, 2**40, 3))):
        put(HEADERS + 16 * n, struct.pack("<IIQ", kind, 0, sector))
        put(TABLE + 48 * (n % 2), b"" if n == 2 else struct.pack("<QIHH", HEADERS + 16 * n, 16, 1, 3 * n + 1))
        if n < 2:
            put(TABLE + 48 * n + 16, struct.pack("<QIHHQIHH", DATA, 512, flags, 3 * n + 2, STATUS + n, 1, 2, 0))
    put(TABLE + 96, struct.pack("<QIHHQIHH", HEADERS + 32, 16, 1, 7, STATUS + 2, 1, 2, 0))
    put(AVAILABLE, struct.pack("<HHHHH", 1, 3, 0, 3, 6))
    put(STATUS, b"\xee\xee\xee")
    put(LINES_TABLE, struct.pack("<QIHH", LINES, len(TEXT), 0, 0))
    put(LINES_AVAILABLE, struct.pack("<HHH", 1, 1, 0))
    put(LINES, TEXT)
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, BASE, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    path = tmp_path / "kernel"
    path.write_bytes(header + struct.pack("<8I", 1, 84, BASE, BASE, len(image), len(image), 7, 4096) + image)
    return path


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<Q", 0x2020202020202020 + n) * 64 for n in range(8)))
    return path


@pytest.mark.parametrize("machine", MACHINES)
def test_a_guest_uses_its_disk_and_hands_in_samples(machine, kernel, image, path):
    """The bytes are on the disk, the guest sees them, and the store has what the guest did, and what it told."""
    said = []
    config = VmConfig(machine=machine, kernel=kernel, timeout_s=60, disks=(image,), guest_samples=True)
    with Store(path, schemas_for(config)) as kept:
        result = run_vm(config, kept, said.append)
    assert (result.ended, result.error, result.failed_plugins) == ("power-off", "", {})
    assert b"".join(said) == b"!       " + b"\0\0\1"
    disk = image.read_bytes()
    assert disk[1024:1536] == disk[512:1024] == struct.pack("<Q", 0x2020202020202021) * 64
    with StoreReader(path) as reader:

        def value(selector):
            return reader.query(selector, tier=0)[0].values[-1]

        assert value("blk_requests_total{op=read}") == 2
        assert value("blk_requests_total{op=write}") == 1
        assert (value("blk_bytes_total{direction=read}"), value("blk_bytes_total{direction=write}")) == (512, 512)
        assert value("blk_errors_total") == 1
        assert value("vm_memory_size_bytes") == 16 << 20
        assert value("vm_memory_resident_bytes") > 0
        assert (value("guest_boots_total"), value("guest_load")) == (3, 0.25)


@pytest.mark.emulator
def test_the_command_takes_disks(kernel, image, tmp_path):
    """--disk in use is one line and status 1; --disk-read-only keeps the guest from writing."""
    path = tmp_path / "vm.rondo"
    command = [
        sys.executable,
        "-m",
        "rondo_cli",
        "vmm",
        "--machine",
        "soft",
        "--kernel",
        str(kernel),
        "--store",
        str(path),
    ]
    before = image.read_bytes()
    options = ["--disk", str(image), "--disk-read-only", "--guest-samples", "--rng", "--balloon", "--timeout", "60s"]
    done = subprocess.run([*command, *options], capture_output=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout) == (0, b"!       \0\1\1"), done.stderr
    assert image.read_bytes() == before
    twice = subprocess.run(
        [*command, "--disk", str(image), "--disk", str(image)], capture_output=True, text=True, check=False
    )
    assert twice.returncode == 1
    assert f"{image}: this disk image is in use; " in twice.stderr
    assert "Traceback" not in twice.stderr
