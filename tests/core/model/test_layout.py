"""Every offset and format as docs/storage-format.md has it, byte by byte: what is written once is read for ever."""

import struct
import zlib
from pathlib import Path

import pytest

from rondo_core.model import layout
from rondo_core.model.schema import Schema, Tier


def test_what_is_on_the_disk_of_every_store_never_changes():
    """Names of files, magic numbers, sizes and places, of version 1."""
    assert (layout.FORMAT_VERSION, layout.PAGE_BYTES, layout.MIN_INTERVAL_NS) == (1, 4096, 1_000_000)
    assert (layout.META_FILE, layout.REGISTRY_FILE, layout.RUNS_FILE, layout.LOCK_FILE) == (
        "meta",
        "series",
        "runs",
        "lock",
    )
    assert (layout.SLAB_MAGIC, layout.JOURNAL_MAGIC, layout.RUNS_MAGIC) == (b"RONDOSLB", b"RONDOJRN", b"RONDORUN")
    formats = (layout.SLAB_HEADER, layout.SLAB_CELL, layout.SLAB_CRC, layout.JOURNAL_HEADER, layout.JOURNAL_RECORD)
    assert [each.format for each in formats] == ["<8sIIIIqqqq16s", "<16s8sq", "<I", "<8sII", "<II"]
    places = (layout.SLAB_NEXT_WINDOW, layout.SLAB_GENERATION, layout.SLAB_STEP, layout.STEP_WORDS, layout.SLAB_GIVEN)
    assert places == (2048, 2064, 2072, 6, 2120)
    assert (layout.ROW_HEADER_BYTES, layout.SEQUENCE_MASK, layout.PROVISIONAL) == (16, 0xFFFFFFFF, 1)
    assert (layout.JOURNAL_SYNCED, layout.RUNS_HEADER_BYTES, layout.RUN_BYTES, layout.RUN_COUNT) == (12, 512, 512, 127)
    assert layout.RUNS_FILE_SIZES == (4096, 8192, 65536)
    assert (layout.EVENTS_FILE, layout.EVENTS_MAGIC, layout.EVENT_RECORD.format) == ("events", b"RONDOEVT", "<qII")
    assert (layout.MAX_EVENTS_FILE_BYTES, layout.EVENTS_HEADER_BYTES, layout.EVENT_STEP) == (65536, 512, 8)
    sizes = {0: 4096, (2 << 20) - 1: 4096, 2 << 20: 8192, 3 << 20: 12288, 16 << 20: 65536, 1 << 40: 65536}
    assert {slabs: layout.events_file_bytes(slabs) for slabs in sizes} == sizes
    assert layout.EVENT_BYTES == 4096
    assert (layout.LIFE_PREFIX, layout.ENDED_STEM, layout.SLAB_OVERFLOWED) == ("life.", "ended", 2128)


def test_a_row_is_its_header_and_then_a_block_a_cell_each_on_eight_bytes():
    """Blocks follow each other in the order of the cells, rounded up; rows fill the file after one page."""
    spec = layout.slab_spec(
        kind="gauge", tier=1, interval_ns=10, slot_count=3, max_series=5, cells=(("a", "d"), ("b", "H"), ("c", "3I"))
    )
    assert [(cell.name, cell.offset, cell.each) for cell in spec.cells] == [("a", 16, 1), ("b", 56, 1), ("c", 72, 3)]
    assert spec.row_bytes == 72 + 64
    assert spec.file_bytes == 8192
    assert spec.cell("b") is spec.cells[1]
    with pytest.raises(StopIteration):
        spec.cell("x")


@pytest.mark.parametrize(
    ("value", "step", "rounded"), [(0, 8, 0), (1, 8, 8), (8, 8, 8), (9, 8, 16), (4097, 4096, 8192)]
)
def test_sizes_are_rounded_up_to_whole_steps(value, step, rounded):
    """What is whole already stays."""
    assert layout.round_up(value, step) == rounded


@pytest.mark.parametrize(
    ("store", "below", "label", "name"),
    [
        ("/d/a.rondo", None, "instance", "a"),
        ("/d/host.1", None, "instance", "host.1"),
        ("/d/e/a.rondo", "/d", "instance", "e/a"),
        ("/d/e/a.rondo", "/d", "rondo_store", "e/a.rondo"),
        ("/d/a.rondo.rondo", "/d", "host", "a.rondo"),
        ("/d/e/.rondo", "/d", "instance", "e/.rondo"),
        ("/d/.rondo", None, "instance", ".rondo"),
    ],
)
def test_whoever_names_a_store_by_a_label_gives_it_one_name(store, below, label, name):
    """An agent, an export, a server and a process's own exporter: by its place, and without `.rondo` but where it is looked up."""
    assert layout.store_name(Path(store), below and Path(below), label) == name


def test_a_seal_is_thirty_bits_of_the_checksum_and_never_nothing():
    """The lowest bit is free for a provisional seal; a checksum that would give 0 gives 1, shifted."""
    assert [layout.seal_from(crc) for crc in (0, 3, 4, 7, 8, 0xFFFFFFFF)] == [2, 2, 2, 2, 4, 0x7FFFFFFE]
    row = (7).to_bytes(8, "little", signed=True) + bytes(8) + struct.pack("<dd", 1.5, -2.0)
    assert layout.seal_of(row) == layout.seal_from(zlib.crc32(row[16:], 7))
    late = (1 << 32 | 7).to_bytes(8, "little") + row[8:]
    assert layout.seal_of(late) == layout.seal_of(row)
    assert layout.seal_of(memoryview(row)) == layout.seal_of(row)


def test_a_slabs_header_says_all_that_its_schema_does_and_is_sealed():
    """Written out by hand; one bit that differs is another slab."""
    spec = Schema("g", "gauge", 3, (Tier("1s", "2m"), Tier("10s", "10m")), reserve=2).slab_spec(0)
    head = struct.pack("<8sIIIIqqqq16s", b"RONDOSLB", 1, 4096, 0, 1, 10**9, 120, 56, 5, b"gauge")
    head += struct.pack("<16s8sq", b"last", b"d", 16)
    head += struct.pack("<I", zlib.crc32(head))
    assert layout.pack_slab_header(spec) == head
    assert layout.round_trips(spec, head + bytes(100))
    for at in (0, 8, 20, len(head) - 1):
        other = bytearray(head)
        other[at] ^= 1
        assert not layout.round_trips(spec, bytes(other))
    assert not layout.round_trips(spec, head[:-1])
