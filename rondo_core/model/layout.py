"""Every offset, magic number and format of the files on disk; docs/storage-format.md says the same in words.

All integers and floats are little-endian. A slab is a header page and then one row per slot; a row is its
header (bucket, sequence) and then one block per cell, each block one value per series.
"""

from __future__ import annotations

import struct
import sys
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

FORMAT_VERSION = 1
PAGE_BYTES = 4096
MIN_INTERVAL_NS = 1_000_000

META_FILE = "meta"
REGISTRY_FILE = "series"
RUNS_FILE = "runs"
LIFE_PREFIX = "life."  # of files that `rondo run` keeps in a store beside the store's own
EVENTS_FILE = "events"
LOCK_FILE = "lock"
SUFFIX = ".rondo"  # of a store's directory; it needs none
STORE_LABEL = "rondo_store"  # which tells stores apart that are read together
ENDED_STEM = "ended"  # what stores of the ended are called, and no process's own

SLAB_MAGIC = b"RONDOSLB"
JOURNAL_MAGIC = b"RONDOJRN"
RUNS_MAGIC = b"RONDORUN"
EVENTS_MAGIC = b"RONDOEVT"

# magic, version, header bytes, tier, cells in the table, interval_ns, slots, row bytes, series, kind
SLAB_HEADER = struct.Struct("<8sIIIIqqqq16s")
# name, struct format of one value, offset in the row
SLAB_CELL = struct.Struct("<16s8sq")
SLAB_CRC = struct.Struct("<I")
# The only words of the header that change: the next window to fold into this tier; the generation: odd while rows are
# entered or changed after their time, and another one after; in the finest tier those of a step back, and how many
# columns were ever given out.
SLAB_NEXT_WINDOW = 2048
SLAB_GENERATION = 2064
SLAB_STEP = 2072  # in the finest tier: where the clock stepped back, while rows are set aside; see aside.py
STEP_WORDS = 6
SLAB_GIVEN = SLAB_STEP + 8 * STEP_WORDS
SLAB_OVERFLOWED = SLAB_GIVEN + 8  # and about how many label sets found no series of their own
ROW_HEADER_BYTES = 16  # int64 bucket, uint32 sequence, uint32 seal
SEQUENCE_MASK = (1 << 32) - 1  # of the second word, as an int64; the seal is above it
PROVISIONAL = 1  # the bit of a seal that was set by a sync, while the row could still change

JOURNAL_HEADER = struct.Struct("<8sII")  # magic, version, how many bytes are known to be on the disk
JOURNAL_SYNCED = 12
JOURNAL_RECORD = struct.Struct("<II")  # length, crc32 of the payload seeded with the crc of the record before
RUNS_HEADER_BYTES = 512
RUN_BYTES = 512
RUN_COUNT = 127
FEW_RUN_COUNT = 7  # of a new store; most are never opened again
RUNS_FILE_BYTES = RUNS_HEADER_BYTES + RUN_COUNT * RUN_BYTES
FEW_RUNS_FILE_BYTES = RUNS_HEADER_BYTES + FEW_RUN_COUNT * RUN_BYTES
RUNS_FILE_SIZES = (FEW_RUNS_FILE_BYTES, RUNS_HEADER_BYTES + 15 * RUN_BYTES, RUNS_FILE_BYTES)  # 15: of older rondos
MAX_EVENTS_FILE_BYTES = 65536
EVENTS_HEADER_BYTES = 512
EVENT_RECORD = struct.Struct("<qII")  # place, length, crc32 of the payload seeded with the place
EVENT_STEP = 8  # what a record's size is rounded up to
EVENT_BYTES = 4096  # of a payload, at most


def store_name(store: Path, directory: Path | None = None, label: str = "instance") -> str:
    """Name a store for the label that tells it from others: by its directory's name, without `.rondo`.

    Args: `directory`: that it lies below, whose path to it is then the name; `label`: `rondo_store` has it as it lies
    there, to be found by it, and any other label without `.rondo`.
    """
    name = store.absolute().name if directory is None else str(store.relative_to(directory))
    return name if label == STORE_LABEL or store.name == SUFFIX else name.removesuffix(SUFFIX)


def events_file_bytes(slab_bytes: int) -> int:
    """Give the size of the file of events beside slabs of so many bytes: a 256th, in pages, and 4 to 64 KiB."""
    return min(max(slab_bytes // 256 // PAGE_BYTES, 1) * PAGE_BYTES, MAX_EVENTS_FILE_BYTES)


if sys.byteorder != "little":  # pragma: no cover - no such machine is tested
    raise ImportError("rondo maps little-endian files as they are; this machine is big-endian")


class Cell(NamedTuple):
    """One block of a row: `max_series` times the struct format `format`, `offset` bytes into the row."""

    name: str
    format: str
    offset: int

    @property
    def each(self) -> int:
        """Count the values that a series has in the block: the number before the format's letter."""
        return int(self.format[:-1] or 1)


class SlabSpec(NamedTuple):
    """All that the header of a slab says."""

    kind: str
    tier: int
    interval_ns: int
    slot_count: int
    row_bytes: int
    max_series: int
    cells: tuple[Cell, ...]

    @property
    def file_bytes(self) -> int:
        """Give the size of the file: header page and rows, in whole pages."""
        return round_up(PAGE_BYTES + self.slot_count * self.row_bytes, PAGE_BYTES)

    def cell(self, name: str) -> Cell:
        """Find a cell by name."""
        return next(cell for cell in self.cells if cell.name == name)


def seal_of(row: bytes | memoryview) -> int:
    """Work out the seal of a whole row as it stands: 30 bits of the CRC-32 of its cells, started from its bucket."""
    return int(seal_from(zlib.crc32(row[ROW_HEADER_BYTES:], int.from_bytes(row[:4], "little"))))


def seal_from(crc: Any) -> Any:
    """Make a seal, or an array of them, of such a CRC-32; never 0."""
    return ((crc >> 2) + (crc < 4)) << 1


def round_up(value: int, step: int) -> int:
    """Give the next multiple of `step`."""
    return -(-value // step) * step


def slab_spec(
    *,
    kind: str,
    tier: int,
    interval_ns: int,
    slot_count: int,
    max_series: int,
    cells: tuple[tuple[str, str], ...],
) -> SlabSpec:
    """Place the cells, each (name, struct format), one after the other, every block on a multiple of 8 bytes."""
    placed, offset = [], ROW_HEADER_BYTES
    for name, value_format in cells:
        placed.append(Cell(name, value_format, offset))
        offset += round_up(struct.calcsize("<" + value_format) * max_series, 8)
    return SlabSpec(kind, tier, interval_ns, slot_count, offset, max_series, tuple(placed))


@lru_cache(64)
def pack_slab_header(spec: SlabSpec) -> bytes:
    """Write a slab's header, checksum last."""
    head = SLAB_HEADER.pack(
        SLAB_MAGIC,
        FORMAT_VERSION,
        PAGE_BYTES,
        spec.tier,
        len(spec.cells),
        spec.interval_ns,
        spec.slot_count,
        spec.row_bytes,
        spec.max_series,
        spec.kind.encode(),
    )
    for cell in spec.cells:
        head += SLAB_CELL.pack(cell.name.encode(), cell.format.encode(), cell.offset)
    return head + SLAB_CRC.pack(zlib.crc32(head))


def round_trips(spec: SlabSpec, header: bytes) -> bool:
    """Say whether the header on disk is, byte by byte, the one that this schema makes."""
    expected = pack_slab_header(spec)
    return header[: len(expected)] == expected
