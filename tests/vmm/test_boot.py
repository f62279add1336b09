"""Kernels, initrds and tables: what is put into guest memory, and what is refused in one line."""

import gzip
import lzma
import random
import struct
import tracemalloc
import zlib

import pytest

from rondo_vmm.boot import acpi, bootparams, longmode, pvh
from rondo_vmm.boot.elf import read_elf
from rondo_vmm.boot.kernel import read_kernel
from rondo_vmm.boot.loader import load
from rondo_vmm.devices.virtio.slots import MmioRegion
from rondo_vmm.errors import BootError, ConfigError
from rondo_vmm.memory import GuestMemory

MIB = 1 << 20
CODE = b"\x0f\x0b" * 24  # ud2
BASE = 2 * MIB


def elf64(code=CODE, machine=62, pvh_entry=0, kind=2):
    """Make a 64-bit executable, loaded at BASE, with a PVH note if asked."""
    programs = 1 + bool(pvh_entry)
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", pvh_entry) if pvh_entry else b""
    start = 64 + 56 * programs
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", kind, machine, 1, BASE + 0x40, 64, 0, 0, 64, 56,
                         programs, 0, 0, 0)  # fmt: skip
    table = struct.pack("<IIQQQQQQ", 1, 5, start + len(note), 0, BASE, len(code), len(code) + 4096, 4096)
    if note:
        table += struct.pack("<IIQQQQQQ", 4, 4, start, 0, 0, len(note), len(note), 4)
    return header + table + note + code


def bzimage(code=bytes(0x1000), payload=b"", version=0x20F, xloadflags=1, init_bytes=0x10000, cmdline_max=2047):
    """Make a bzImage with one setup sector, whose payload is at the end of its code."""
    code = code + payload + bytes(-len(code + payload) % 16)
    setup = bytearray(1024)
    setup[0x1F1] = 1
    struct.pack_into("<I", setup, 0x1F4, len(code) // 16)
    struct.pack_into("<H4sH", setup, 0x200, 0x66EB, b"HdrS", version)
    struct.pack_into("<IHI", setup, 0x22C, 0x7FFFFFFF, 0, cmdline_max)
    struct.pack_into("<HI", setup, 0x236, xloadflags, cmdline_max)
    struct.pack_into("<II", setup, 0x248, 0x1000, len(payload))
    struct.pack_into("<QI", setup, 0x258, BASE, init_bytes)
    return bytes(setup) + code


def put(tmp_path, data, name="kernel"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


NOISE = random.Random(1).randbytes(300_000)  # several blocks of 128 KiB, none of which packs


def loaded(tmp_path, data, initrd=None, cmdline="a=1", vcpus=1, slots=(), memory_mib=8):
    memory = GuestMemory(memory_mib * MIB)
    start = load(read_kernel(put(tmp_path, data)), memory, cmdline, initrd, vcpus, slots)
    return memory, start


def test_a_64_bit_vmlinux_starts_in_long_mode_at_its_entry(tmp_path):
    """Its segment is where it belongs, four GiB are mapped one to one, and %rsi holds the zero page."""
    memory, start = loaded(tmp_path, elf64())
    assert (start.entry, start.long_mode, start.rsi) == (BASE + 0x40, True, bootparams.ZERO_PAGE)
    assert memory.read(BASE, len(CODE)) == CODE
    for address in (0, BASE + 123, 3 * 2**30 + 5 * MIB, 2**32 - 1):
        entry = longmode.PML4
        for shift in (39, 30, 21):
            at = entry + 8 * (address >> shift & 511)
            value = int.from_bytes(memory.read(at, 8), "little")
            assert value & 3 == 3
            entry = value & ~0xFFF
        assert value & 0x80
        assert entry + address % (2 * MIB) == address
    code = int.from_bytes(memory.read(longmode.GDT + 0x10, 8), "little")
    assert (code >> 53 & 1, code >> 43 & 1, code >> 47 & 1) == (1, 1, 1)  # long, code, present


def test_the_zero_page_says_where_memory_initrd_and_tables_are(tmp_path):
    """RAM below and above the legacy hole, the initrd at the top of memory, ACPI's RSDP, the command line."""
    initrd = put(tmp_path, b"\x30" * 5000, "initrd")
    memory, _ = loaded(tmp_path, elf64(), initrd, "console=ttyS0")
    page = memory.read(bootparams.ZERO_PAGE, 4096)
    address, size = struct.unpack_from("<II", page, 0x218)
    assert (address, size) == (8 * MIB - 8192, 5000)
    assert memory.read(address, size) == b"\x30" * 5000
    assert struct.unpack_from("<Q", page, 0x70) == (acpi.RSDP,)
    assert page[0x1E8] == 2
    assert list(struct.iter_unpack("<QQI", page[0x2D0 : 0x2D0 + 40])) == [(0, 0x9FC00, 1), (MIB, 7 * MIB, 1)]
    (at,) = struct.unpack_from("<I", page, 0x228)
    assert memory.read(at, 14) == b"console=ttyS0\0"


def test_a_kernel_with_a_pvh_note_starts_by_it(tmp_path):
    """In 32-bit mode at the note's address, %ebx at a start info that names memory, initrd, command line and RSDP."""
    initrd = put(tmp_path, b"\x30" * 300, "initrd")
    memory, start = loaded(tmp_path, elf64(pvh_entry=BASE + 0x80), initrd)
    assert (start.entry, start.long_mode, start.rbx) == (BASE + 0x80, False, pvh.START_INFO)
    magic, version, _, modules, module_at, cmdline_at, rsdp, map_at, ranges, _ = struct.unpack(
        "<IIIIQQQQII", memory.read(pvh.START_INFO, 56)
    )
    assert (magic, version, modules, rsdp, ranges) == (0x336EC578, 1, 1, acpi.RSDP, 2)
    assert memory.read(cmdline_at, 4) == b"a=1\0"
    assert struct.unpack("<QQQQ", memory.read(module_at, 32)) == (8 * MIB - 4096, 300, 0, 0)
    table = list(struct.iter_unpack("<QQII", memory.read(map_at, 48)))
    assert table == [(0, 0x9FC00, 1, 0), (MIB, 7 * MIB, 1, 0)]


def test_a_bzimage_starts_at_its_64_bit_entry(tmp_path):
    """Its code is where it prefers, and the zero page has its setup header with the loader's part filled in."""
    memory, start = loaded(tmp_path, bzimage(b"\x90" * 0x1000))
    assert (start.entry, start.long_mode) == (BASE + 0x200, True)
    assert memory.read(BASE, 0x1000) == b"\x90" * 0x1000
    page = memory.read(bootparams.ZERO_PAGE, 4096)
    assert struct.unpack_from("<4sH", page, 0x202) == (b"HdrS", 0x20F)
    assert page[0x210] == 0xFF
    assert struct.unpack_from("<Q", page, 0x258) == (BASE,)


def lz4_legacy(data):
    block = pytest.importorskip("lz4.block").compress(data, store_size=False)
    return b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block + struct.pack("<I", len(data))


def zstd(data):
    return pytest.importorskip("zstandard").compress(data) + struct.pack("<I", len(data))


PACKERS = {
    "gzip": lambda data: gzip.compress(data) + struct.pack("<I", len(data)),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32) + struct.pack("<I", len(data)),
    "lz4": lz4_legacy,
    "zstd": zstd,
}


@pytest.mark.parametrize("how", PACKERS)
def test_the_vmlinux_in_a_bzimage_is_unpacked_where_asked(tmp_path, how):
    """By whatever it was packed with; damage to it is one clear line."""
    vmlinux = elf64(code=bytes(range(256)) * 64)
    packed = PACKERS[how](vmlinux)
    path = put(tmp_path, bzimage(payload=packed))
    kernel = read_kernel(path, unpacked=True)
    assert kernel.data == vmlinux
    assert kernel.image == read_elf(path, vmlinux)
    broken = bytearray(packed)
    broken[len(packed) // 2 :] = b"\xff" * (len(packed) - len(packed) // 2)
    with pytest.raises(BootError, match=r"damaged bzImage|truncated kernel") as caught:
        read_kernel(put(tmp_path, bzimage(payload=bytes(broken))), unpacked=True)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_unpacked_here_unpacks_itself(tmp_path):
    """A payload of another kind leaves the bzImage as it is."""
    kernel = read_kernel(put(tmp_path, bzimage(payload=b"BZh9 and so on")), unpacked=True)
    assert kernel.image.address == BASE


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (elf64(machine=183), "a kernel for AArch64, not x86"),
        (elf64(machine=243), "a kernel for RISC-V, not x86"),
        (elf64(kind=1), "no executable"),
        (elf64()[:100], "program headers are cut off"),
        (elf64()[:-1], "ends after the file"),
        (bzimage()[:600], "its setup header is cut off"),
        (bzimage()[:-16], "bytes by its header"),
        (bzimage(version=0x20A), "boot protocol 2.10, 2.12 is needed"),
        (bzimage(xloadflags=0), "a 32-bit bzImage"),
        (bzimage(init_bytes=100 * MIB), "needs 102 MiB"),
        (bzimage(cmdline_max=2), "takes at most 2"),
        (b"MZ" + bytes(54) + b"ARM\x64" + bytes(1000), "not a kernel"),
    ],
)
def test_a_kernel_that_cannot_be_booted_is_one_line(tmp_path, data, what):
    """Another architecture, a part of a file, too little memory: named, with the mend."""
    with pytest.raises(BootError, match=what) as caught:
        loaded(tmp_path, data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (None, "No such file or directory; give an initrd"),
        (b"", "empty"),
        (b"\x30" * 7 * MIB, "give --memory-mib 10 or more"),
        (gzip.compress(bytes(range(256)) * 99, mtime=0)[:-9], "a truncated initrd"),
        (lzma.compress(bytes(range(256)) * 99)[:-9], "a truncated initrd"),
        (b"070701" + b"0" * 5000, "a truncated initrd"),
    ],
)
def test_an_initrd_that_cannot_be_used_is_one_line(tmp_path, data, what):
    """Missing, empty, too large for the memory, or cut off."""
    path = tmp_path / "initrd" if data is None else put(tmp_path, data, "initrd")
    with pytest.raises(BootError, match=what) as caught:
        loaded(tmp_path, elf64(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"x" * 5000, mtime=0) + bytes(3),
        lzma.compress(b"x" * 5000) + bytes(8),
        b"070701" + b"0" * 500 + b"TRAILER!!!\0\0\0" + gzip.compress(b"x", mtime=0),
        b"another kind",
    ],
)
def test_a_whole_initrd_is_taken(tmp_path, data):
    """Padded, with another archive behind it, or of a kind that is not looked into."""
    memory, _ = loaded(tmp_path, elf64(), put(tmp_path, data, "initrd"))
    address, size = struct.unpack("<II", memory.read(bootparams.ZERO_PAGE + 0x218, 8))
    assert memory.read(address, size) == data


def packed_initrds():
    zstandard = pytest.importorskip("zstandard")
    checked = zstandard.ZstdCompressor(write_checksum=True, write_content_size=False)
    lz4 = lz4_legacy(NOISE)[:-4]  # without the size that a kernel's has behind it
    return [zstandard.compress(NOISE), zstandard.compress(b"x" * 500_000), checked.compress(NOISE), lz4]


def test_an_initrd_of_zstd_or_lz4_is_whole_if_its_blocks_are(tmp_path):
    """Padded or with another archive behind it; each that is cut is refused, and none is unpacked for that."""
    for number, data in enumerate(packed_initrds()):
        for behind in (b"", bytes(8), *([b"070701"] if number < 3 else [])):
            loaded(tmp_path, elf64(), put(tmp_path, data + behind, "initrd"))
        for cut in (1, 5, len(data) // 2, len(data) - 10):
            with pytest.raises(BootError, match="a truncated initrd"):
                loaded(tmp_path, elf64(), put(tmp_path, data[:-cut], "initrd"))


def test_a_bare_kernel_takes_no_initrd(tmp_path):
    """The bundled guest's kind has no use for one, and says so."""
    code = b"\xf4"
    ident = b"\x7fELF\x01\x01\x01" + bytes(9)
    header = ident + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, MIB + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    bare = header + struct.pack("<8I", 1, 0, MIB, MIB, 85, 85, 7, 4096) + code
    assert read_kernel(put(tmp_path, bare)).bare
    with pytest.raises(BootError, match="leave --initrd out"):
        loaded(tmp_path, bare, put(tmp_path, b"x", "initrd"))


def walk_tables(memory):
    """Read ACPI's tables as a kernel does: from the RSDP on, every checksum tested."""
    rsdp = memory.read(acpi.RSDP, 36)
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) % 256 == sum(rsdp) % 256 == 0
    found = {}

    def read(address):
        (length,) = struct.unpack("<I", memory.read(address + 4, 4))
        table = memory.read(address, length)
        if table[:4] != b"FACS":
            assert sum(table) % 256 == 0, table[:4]
        found[table[:4].decode()] = table
        return table

    xsdt = read(struct.unpack_from("<Q", rsdp, 24)[0])
    for (address,) in struct.iter_unpack("<Q", xsdt[36:]):
        read(address)
    read(struct.unpack_from("<Q", found["FACP"], 140)[0])
    read(struct.unpack_from("<I", found["FACP"], 36)[0])
    return found


@pytest.mark.parametrize("vcpus", [1, 3, 64])
def test_acpi_names_every_cpu_and_device(vcpus):
    """One enabled local APIC per CPU, the I/O APIC, power-off at 0x604, and each device with address and interrupt."""
    memory = GuestMemory(4 * MIB)
    slots = [MmioRegion(0xD0001000 + 0x1000 * number, 0x200, 5 + number) for number in range(8)]
    acpi.write_acpi(memory, vcpus, slots)
    tables = walk_tables(memory)
    assert set(tables) == {"XSDT", "FACP", "APIC", "DSDT", "FACS"}
    at, kinds, cpus = 44, [], []
    while at < len(tables["APIC"]):
        kind, length = tables["APIC"][at : at + 2]
        kinds.append(kind)
        if kind == 0:
            cpus.append(struct.unpack_from("<BBI", tables["APIC"], at + 2))
        at += length
    assert at == len(tables["APIC"])
    assert cpus == [(number, number, 1) for number in range(vcpus)]
    assert kinds.count(1) == 1
    assert struct.unpack_from("<I", tables["FACP"], 64) == (0x604,)
    assert b"_S5_" in tables["DSDT"]
    assert tables["DSDT"].count(b"LNRO0005") == 8
    for slot in slots:
        assert struct.pack("<II", slot.address, slot.size_bytes) in tables["DSDT"]
    assert len(tables["DSDT"]) == 36 + sum(len(each) for each in _terms(tables["DSDT"][36:]))


def _terms(code):
    """Split the top of an AML table: a name of known length, and scopes by their own lengths."""
    name = 5 + 2 + 5
    assert code[:5] == b"\x08_S5_"
    yield code[:name]
    at = name
    while at < len(code):
        assert code[at] == 0x10
        lead = code[at + 1]
        length = lead & 0x3F
        if lead >> 6:
            length = lead & 0xF | int.from_bytes(code[at + 2 : at + 2 + (lead >> 6)], "little") << 4
        yield code[at : at + 1 + length]
        at += 1 + length


def test_tables_that_do_not_fit_are_refused():
    """More devices than the room below 1 MiB holds is an error, not a table written over the kernel."""
    with pytest.raises(ConfigError, match="devices"):
        acpi.write_acpi(GuestMemory(4 * MIB), 1, [MmioRegion(0xD0000000, 0x200, 5)] * 2000)


BOMB_MIB = 96


def bomb(how):
    """Zeroes without end, as far as the guest is concerned, in as few bytes as each kind can."""
    whole = bytes(MIB)
    if how == "gzip":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    elif how == "xz":
        packer = lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC32)
    elif how == "zstd":
        packer = pytest.importorskip("zstandard").ZstdCompressor(level=3).compressobj()
    else:
        block = pytest.importorskip("lz4.block").compress(bytes(8 * MIB), store_size=False)
        return b"\x02\x21\x4c\x18" + (struct.pack("<I", len(block)) + block) * (BOMB_MIB // 8) + struct.pack("<I", 0)
    return b"".join(packer.compress(whole) for _ in range(BOMB_MIB)) + packer.flush()


def peak_of(call):
    tracemalloc.start()
    try:
        with pytest.raises(BootError) as caught:
            call()
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("how", PACKERS)
def test_a_kernel_that_unpacks_without_end_stops_at_the_guests_memory(tmp_path, how):
    """Of a payload no more is unpacked than the guest has memory; the refusal names the file and says so."""
    path = put(tmp_path, bzimage(payload=bomb(how)))
    used, said = peak_of(lambda: read_kernel(path, unpacked=True, room_bytes=16 * MIB))
    assert said.startswith(f"{path}: a bzImage whose payload unpacks to more than the guest's 16 MiB of memory; give")
    if how != "zstd":  # whose package's memory is not Python's
        assert used < 48 * MIB
    assert "\n" not in said


def test_an_initrd_that_unpacks_without_end_stops_at_the_guests_memory(tmp_path):
    """It could never be unpacked in there, and is refused in words, a piece at a time in memory."""
    initrd = put(tmp_path, bomb("gzip"), "initrd")
    kernel = read_kernel(put(tmp_path, elf64()))
    memory = GuestMemory(16 * MIB)
    used, said = peak_of(lambda: load(kernel, memory, "", initrd, 1, []))
    assert "an initrd, which unpacks to more than the guest's 16 MiB of memory" in said
    assert used < 20 * MIB


def test_an_lz4_payload_of_many_small_blocks_ends(tmp_path):
    """A block that is not full is the last: a payload of millions of them is no work without end."""
    block = pytest.importorskip("lz4.block").compress(b"x", store_size=False)
    packed = b"\x02\x21\x4c\x18" + (struct.pack("<I", len(block)) + block) * 300_000 + struct.pack("<I", 0)
    with pytest.raises(BootError, match="no ELF header"):
        read_kernel(put(tmp_path, bzimage(payload=packed)), unpacked=True)


def test_a_file_larger_than_the_guests_memory_is_not_read(tmp_path):
    """Kernel or initrd: it is refused for its size, without being in memory once."""
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.write(b"\x7fELF")
        file.truncate(1 << 33)
    used, said = peak_of(lambda: read_kernel(large, room_bytes=16 * MIB))
    assert "larger than the guest's 16 MiB of memory; give --memory-mib more, or a kernel that is smaller" in said
    assert used < 48 * MIB
    kernel = read_kernel(put(tmp_path, elf64()))
    assert "larger than the guest's 16 MiB" in peak_of(lambda: load(kernel, GuestMemory(16 * MIB), "", large, 1, []))[1]


def test_an_elf_of_segments_without_end_is_refused(tmp_path):
    """Thousands of headers that each load the same bytes again cost nothing: a kernel has a dozen."""
    data = bytearray(elf64())
    headers = b"".join(struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, 64, 64, 0) for _ in range(60_000))
    struct.pack_into("<Q", data, 32, len(data))
    struct.pack_into("<HH", data, 54, 56, 60_000)
    with pytest.raises(BootError, match="an ELF file of 60000 program headers"):
        read_kernel(put(tmp_path, bytes(data) + headers))
    whole = bytearray(elf64())
    many = b"".join(struct.pack("<IIQQQQQQ", 1, 7, 0, BASE, BASE, 64, 1 << 20, 0) for _ in range(100))
    struct.pack_into("<Q", whole, 32, len(whole))
    struct.pack_into("<HH", whole, 54, 56, 100)
    kernel = read_kernel(put(tmp_path, bytes(whole) + many))
    with pytest.raises(BootError, match="needs 100 MiB"):
        load(kernel, GuestMemory(16 * MIB), "", None, 1, [])
