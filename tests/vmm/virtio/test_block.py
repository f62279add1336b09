"""virtio-blk: what a driver asks is what happens to the file, compared on the disk itself."""

import errno
import os
import struct
import subprocess
import sys

import pytest

from rondo_vmm.devices.virtio.block import backend
from rondo_vmm.devices.virtio.block.backend import RawImage
from rondo_vmm.devices.virtio.block.device import BlockDevice
from rondo_vmm.errors import DiskError

READ, WRITE, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPPORTED = 0, 1, 2
F_RO, F_FLUSH, F_DISCARD, F_WRITE_ZEROES = 1 << 5, 1 << 9, 1 << 13, 1 << 14
SECTORS = 4096


@pytest.fixture
def image(tmp_path):
    """A file of 2 MiB and a bit, every sector its own."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<Q", n) * 64 for n in range(SECTORS)) + b"tail")
    return path


@pytest.fixture
def seen():
    return []


@pytest.fixture
def disk(image, memory, drive, seen):
    return drive(BlockDevice(memory, RawImage(image), "vda", [lambda *facts: seen.append(facts)])).start()


def test_the_configuration_tells_what_the_disk_is(disk):
    """Whole sectors, limits that hold, and the features that go with them."""
    capacity = disk.transport.read(0x100, 8)
    assert capacity == SECTORS
    config = b"".join(disk.transport.read(0x100 + at, 4).to_bytes(4, "little") for at in range(0, 60, 4))
    size_max, seg_max = struct.unpack_from("<II", config, 8)
    assert (size_max, seg_max) == (128 << 10, 126)
    assert struct.unpack_from("<IIIIIB", config, 36) == (1 << 22, 16, 1, 126 * 256, 1, 1)
    assert disk.offered() & (F_RO | F_FLUSH | F_DISCARD | F_WRITE_ZEROES) == F_FLUSH | F_DISCARD | F_WRITE_ZEROES


@pytest.mark.parametrize("cuts", [1, 2, 7])
def test_reads_and_writes_move_whole_sectors(disk, image, seen, cuts):
    """The bytes asked for, however they are cut; the file has what was written, where it was written, at once."""
    before = image.read_bytes()
    status, data, length = disk.block(READ, 5, room=8 * 512, cuts=cuts)
    assert (status, data, length) == (OK, before[5 * 512 : 13 * 512], 8 * 512 + 1)
    new = os.urandom(6 * 512)
    assert disk.block(WRITE, SECTORS - 6, new, cuts=cuts)[::2] == (OK, 1)
    at = (SECTORS - 6) * 512
    assert image.read_bytes() == before[:at] + new + before[at + len(new) :]
    assert [facts[:3] for facts in seen] == [(0, 8 * 512, 0), (1, 6 * 512, 0)]
    assert all(duration > 0 and depth == 1 for _, _, _, duration, depth, _ in seen)


def test_a_header_and_a_status_cut_anyhow_are_a_request(disk, image):
    """A driver may cut the header into bytes, and put the status into the last data buffer."""
    header, target = disk.place(struct.pack("<IIQ", READ, 0, 3)), disk.take(513)
    parts = [(header, 1, False), (header + 1, 7, False), (header + 8, 8, False), (target, 513, True)]
    assert disk.run(0, parts) == 513
    assert disk.memory.read(target, 513) == image.read_bytes()[3 * 512 : 4 * 512] + b"\0"
    source = disk.place(struct.pack("<IIQ", WRITE, 0, 9) + b"x" * 512)
    assert disk.run(0, [(source, 528, False), (target, 1, True)]) == 1
    assert image.read_bytes()[9 * 512 : 10 * 512] == b"x" * 512


def test_many_requests_at_once_are_done_in_order(disk, image, seen):
    """What one notification finds waiting is done one after the other, and each is told how many waited."""
    heads = []
    for n in range(10):
        header = disk.place(struct.pack("<IIQ", WRITE, 0, 7))
        heads.append(
            disk.chain(0, [(header, 16, False), (disk.place(bytes((n,)) * 512), 512, False), (disk.take(1), 1, True)])
        )
        disk.offer(0, heads[-1])
    disk.notify(0)
    assert disk.used(0) == [(head, 1) for head in heads]
    assert image.read_bytes()[7 * 512 : 8 * 512] == b"\x09" * 512
    assert [facts[4] for facts in seen] == [10] * 10


@pytest.mark.parametrize(
    ("kind", "sector", "data", "room"),
    [
        (READ, SECTORS, b"", 512), (READ, SECTORS - 1, b"", 1024), (READ, 2**64 - 1, b"", 512), (READ, 2**55, b"", 512),
        (READ, 0, b"", 100), (READ, 0, b"", 0), (WRITE, SECTORS, bytes(512), 0), (WRITE, SECTORS - 1, bytes(1024), 0),
        (WRITE, 2**64 - 1, bytes(512), 0), (WRITE, 0, bytes(100), 0), (WRITE, 0, b"", 0),
        (DISCARD, 0, b"", 0), (DISCARD, 0, bytes(15), 0), (DISCARD, 0, bytes(16 * 17), 0),
        (DISCARD, 0, struct.pack("<QII", SECTORS, 1, 0), 0), (DISCARD, 0, struct.pack("<QII", 0, SECTORS + 1, 0), 0),
        (DISCARD, 0, struct.pack("<QII", 2**64 - 1, 2**32 - 1, 0), 0), (DISCARD, 0, struct.pack("<QII", 0, 0, 0), 0),
        (WRITE_ZEROES, 0, struct.pack("<QII", SECTORS - 1, 2, 0), 0), (WRITE_ZEROES, 0, struct.pack("<QIIQII", 0, 1, 0, 1, 1, 0), 0),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_an_error_and_changes_nothing(disk, image, seen, kind, sector, data, room):
    """Past the end, wrapping round, no whole sector, no whole range: IOERR; the file stays as it was, and as large."""
    before = image.read_bytes()
    status, read, length = disk.block(kind, sector, data, room)
    assert (status, read, length) == (IOERR, bytes(room), 1)
    assert image.read_bytes() == before
    assert (disk.status, seen[0][1:3]) == (15, (0, IOERR))


def test_a_request_is_not_larger_than_the_limits_say(drive, memory, tmp_path):
    """A chain that names the same memory again and again cannot keep the monitor busy for long."""
    path = tmp_path / "large.img"
    path.touch()
    os.truncate(path, 1 << 40)
    disk = drive(BlockDevice(memory, RawImage(path))).start()
    header, target, status = disk.place(struct.pack("<IIQ", READ, 0, 0)), 1 << 20, disk.take(1)
    parts = [(header, 16, False), *[(target, 4 << 20, True)] * 4, (status, 1, True)]
    assert disk.run(0, parts) == 1
    assert disk.memory.read(status, 1) == b"\1"


def test_get_id_names_the_disk(disk):
    """Twenty bytes, or as many as there is room for."""
    assert disk.block(GET_ID, room=20) == (OK, b"vda" + bytes(17), 21)
    assert disk.block(GET_ID, room=2) == (OK, b"vd", 3)
    assert disk.block(GET_ID) == (OK, b"", 1)


def test_an_unknown_request_is_unsupported(disk):
    """Nothing but the status is written."""
    assert disk.block(99, 0, b"x" * 512, 512) == (UNSUPPORTED, bytes(512), 1)


def test_a_request_without_header_or_status_makes_the_device_need_a_reset(disk):
    """There is no byte to answer into."""
    for parts in ([(0x1000, 15, False), (0x2000, 1, True)], [(0x1000, 16, False)], [(0x1000, 16, True)]):
        disk.start()
        disk.offer(0, disk.chain(0, parts))
        disk.notify(0)
        assert disk.status & 64


def test_discard_and_write_zeroes(disk, image):
    """Ranges read as zeroes; those given back take no room; all others stay; an unknown flag is unsupported."""
    before = bytearray(image.read_bytes())
    blocks = image.stat().st_blocks
    assert disk.block(DISCARD, 0, struct.pack("<QIIQII", 1024, 1024, 0, 8, 8, 0))[0] == OK
    assert disk.block(WRITE_ZEROES, 0, struct.pack("<QII", 3000, 11, 0))[0] == OK
    assert disk.block(WRITE_ZEROES, 0, struct.pack("<QII", 256, 256, 1))[0] == OK
    for first, count in ((1024, 1024), (8, 8), (3000, 11), (256, 256)):
        before[first * 512 : (first + count) * 512] = bytes(count * 512)
    assert image.read_bytes() == before
    assert image.stat().st_blocks <= blocks - 1024
    assert disk.block(DISCARD, 0, struct.pack("<QII", 0, 8, 1))[0] == UNSUPPORTED
    assert disk.block(WRITE_ZEROES, 0, struct.pack("<QII", 0, 8, 2))[0] == UNSUPPORTED
    assert image.read_bytes() == before


def test_zeroes_are_written_where_the_file_system_cannot_make_them(disk, image, monkeypatch):
    """The same bytes by another way; a discard may do nothing."""
    monkeypatch.setattr(RawImage, "_fallocate", lambda *_: False)
    before = bytearray(image.read_bytes())
    assert disk.block(DISCARD, 0, struct.pack("<QII", 0, 8, 0))[0] == OK
    assert image.read_bytes() == before
    assert disk.block(WRITE_ZEROES, 0, struct.pack("<QII", 10, 3000, 1))[0] == OK
    before[5120 : 3010 * 512] = bytes(3000 * 512)
    assert image.read_bytes() == before


def test_a_flush_brings_writes_to_the_disk(disk, monkeypatch):
    """One flush for a driver that asks for it; every write for one that cannot ask."""
    calls = []
    monkeypatch.setattr(backend.os, "fdatasync", calls.append)
    disk.block(WRITE, 0, bytes(512))
    assert calls == []
    assert disk.block(FLUSH)[0] == OK
    assert len(calls) == 1
    disk.start(without=F_FLUSH)
    disk.block(WRITE, 0, bytes(512))
    assert len(calls) == 2


def test_a_host_that_fails_is_an_error_of_the_request(disk, image, monkeypatch, seen):
    """A full or broken disk, and a file that was cut short, answer IOERR; the next request is served."""

    def full(*_):
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwritev", full)
        assert disk.block(WRITE, 0, bytes(512))[0] == IOERR
    os.truncate(image, 1024)
    assert disk.block(READ, 0, room=512)[0] == OK
    assert disk.block(READ, 1, room=1024)[0] == IOERR
    assert [facts[2] for facts in seen] == [IOERR, OK, IOERR]


def test_a_read_only_disk_is_never_written(image, memory, drive):
    """The feature says so; writes, discards and zeroes fail; reads and flushes work; the file may be read-only."""
    image.chmod(0o400)
    before = image.read_bytes()
    disk = drive(BlockDevice(memory, RawImage(image, read_only=True))).start()
    assert disk.offered() & (F_RO | F_DISCARD | F_WRITE_ZEROES) == F_RO
    assert disk.block(WRITE, 0, bytes(512))[0] == IOERR
    for kind in (DISCARD, WRITE_ZEROES):
        assert disk.block(kind, 0, struct.pack("<QII", 0, 8, 0))[0] == IOERR
    assert disk.block(READ, 1, room=512)[:2] == (OK, before[512:1024])
    assert disk.block(FLUSH)[0] == OK
    assert image.read_bytes() == before


def test_a_missing_image_is_made_with_all_its_room(tmp_path, monkeypatch):
    """64 MiB, allocated, for its owner alone; on a full disk there is one line and no file."""
    path = tmp_path / "new.img"
    disk = RawImage(path)
    assert (disk.sectors, path.stat().st_size) == (131072, 64 << 20)
    assert path.stat().st_blocks * 512 >= 64 << 20
    assert path.stat().st_mode & 0o777 == 0o600
    disk.close()
    disk.close()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskError, match="no room for a disk image of 64 MiB") as caught:
        RawImage(tmp_path / "none.img")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "none.img").exists()


def test_an_image_that_cannot_be_used_is_named(tmp_path):
    """Missing and read-only, too small, a directory, a FIFO, in a place that is not there: one line each, no waiting."""
    (tmp_path / "small.img").write_bytes(bytes(511))
    os.mkfifo(tmp_path / "fifo")
    cases = [("none.img", True, "make it"), ("small.img", False, "smaller than a sector"), (".", False, "directory")]
    cases += [("fifo", False, "neither"), (".", True, "neither"), ("none/new.img", False, "No such file")]
    for name, read_only, what in cases:
        with pytest.raises(DiskError, match=what) as caught:
            RawImage(tmp_path / name, read_only=read_only)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


HOLD = """
import sys
from pathlib import Path
from rondo_vmm.devices.virtio.block.backend import RawImage
image = RawImage(Path(sys.argv[1]), read_only=sys.argv[2] == "True")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("theirs", "ours", "refused"), [(False, False, True), (False, True, True), (True, False, True), (True, True, False)]
)
def test_an_image_in_use_is_refused_in_one_line(image, theirs, ours, refused):
    """One writer, or any number of readers; the lock ends with its process, however that ends."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(image), str(theirs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        if refused:
            with pytest.raises(DiskError, match="this disk image is in use; ") as caught:
                RawImage(image, read_only=ours)
            assert "\n" not in str(caught.value)
        else:
            RawImage(image, read_only=ours).close()
    finally:
        holder.kill()
        holder.communicate()
    RawImage(image, read_only=ours).close()
