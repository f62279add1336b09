"""Create, map and sync one slab, and hand out views of its rows; knows no clock and no policy."""

from __future__ import annotations

import contextlib
import mmap
import os
import zlib
from array import array
from collections.abc import Iterable
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_core.errors import StoreError
from rondo_core.model import layout, ring
from rondo_core.model.statistics import COVERAGE
from rondo_core.storage.file_map import FileMap
from rondo_core.storage.files import StrPath, open_file

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cells = memoryview[float]
    Words = memoryview[int]

FLOATS = "float64"  # names, to `Slab.block`, all cells of float64 together
BYTES = "bytes"  # and all cells as they lie in the file
_WORD = 8
_FIRST_WORD, _HEADER_WORDS = layout.PAGE_BYTES // _WORD, layout.ROW_HEADER_BYTES // _WORD
MAX_INSTANT_NS = 1 << 62  # the year 2116: what no clock says, and what all arithmetic here has room for
_MAX_GENERATION = 1 << 62


def allocate(path: Path, size_bytes: int) -> int:
    """Make a new file whose every byte has its place on disk, and give its descriptor.

    Raises: StoreError: the disk has no room or the file cannot be made; nothing is left behind.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: {os.strerror(error.errno or 0)}; choose a directory that can be written") from None
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError as error:
        os.close(descriptor)
        path.unlink()
        raise StoreError(f"{path}: {size_bytes} bytes: {os.strerror(error.errno or 0)}; free some space") from None
    return descriptor


def create_slab(path: Path, spec: layout.SlabSpec) -> None:
    """Make a slab in which no row was ever used, at its full size; who makes the store syncs it.

    Raises: StoreError: see `allocate`.
    """
    descriptor = allocate(path, spec.file_bytes)
    try:
        os.pwrite(descriptor, layout.pack_slab_header(spec), 0)
    finally:
        os.close(descriptor)


_FEW = 8  # rows that are sealed faster one by one than by numpy
_PASSED_BYTES = 4 << 20  # of a slab whose headers are copied, at most so much is mapped at a time


class Slab:
    """One mapped slab file.

    Attributes:
        words: memoryview of int64 over the whole file: row headers and the header's own words.
        cells: memoryview of float64 over the whole file; read-only where the slab was opened so.
        blank: it was made just now, for this process alone: no row of it was ever used, which a look would cost to see.
        frugal: a look at all headers gives the pages back that it has passed; for who passes once over a large slab.
    A slab maps what other processes write; after fork the map is shared with the parent.
    """

    def __init__(self, path: StrPath, spec: layout.SlabSpec, *, writable: bool, blank: bool = False) -> None:
        """Map the slab at `path`, which must be the one that `spec` describes.

        Raises: StoreNotFoundError, CorruptStoreError, FormatVersionError, StoreError (permission).
        """
        self.path, self.spec, self.writable = path, spec, writable
        self.row_words = spec.row_bytes // _WORD
        self._map = FileMap.of_slab(path, spec, writable=writable)
        view = memoryview(self._map)
        self.words: Words = view.cast("q")
        self.cells: Cells = view.cast("d")
        self._arrays: dict[str, NDArray[Any]] = {}
        self._headers: list[NDArray[np.int64] | None] = [None, None]
        self._changes = 0
        self.frugal, self.blank = False, blank
        self._bytes = view
        if writable and spec.tier == 0 and not blank:
            self._forget_impossible()

    def _forget_impossible(self) -> None:
        """Take a row whose header no writer can have made for one that was never finished."""
        first, count = self.row_word(0), self.spec.slot_count
        headers = self.words[first : first + count * self.row_words : self.row_words].tolist()
        sequences = self.words[first + 1 : first + 1 + count * self.row_words : self.row_words].tolist()
        if not any(headers) and not any(sequences):
            return
        if min(sequences) < 0:
            for slot, sequence in enumerate(sequences):
                if sequence < 0:
                    self.words[self.row_word(slot) + 1] = 0
        newest = MAX_INSTANT_NS // self.spec.interval_ns
        if _are_a_ring(headers, newest):
            return
        taken = [(slot, ring.occupant(header)) for slot, header in enumerate(headers) if header]
        wrong = {slot for slot, bucket in taken if bucket > newest or bucket % count != slot}
        if not wrong:
            return
        latest = max([0, *(headers[slot] for slot, _ in taken if slot not in wrong)])
        for slot in wrong:
            # The mark of the bucket that must have lain there: its window is not to be looked for in this tier.
            bucket = ring.latest_in(slot, latest, count)
            self.words[self.row_word(slot)] = ~bucket if bucket > 0 else ring.NEVER

    def row_word(self, slot: int) -> int:
        """Give the index of the row's first word in `words`; its sequence is the next one."""
        return _FIRST_WORD + slot * self.row_words

    def cell_words(self, cell: str) -> int:
        """Give where a float64 cell's block begins, in words from the end of the row's header."""
        return (self.spec.cell(cell).offset - layout.ROW_HEADER_BYTES) // _WORD

    def row_cells(self, slot: int) -> Cells:
        """View a row's cells as float64, without its header."""
        first = _FIRST_WORD + slot * self.row_words  # as `row_word`, without the call, of which a tick has many
        return self.cells[first + _HEADER_WORDS : first + self.row_words]

    def row_header(self, slot: int) -> Words:
        """View a row's header as two int64: bucket and sequence."""
        first = _FIRST_WORD + slot * self.row_words
        return self.words[first : first + _HEADER_WORDS]

    def row(self, slot: int) -> tuple[Cells, Words]:
        """View a row's cells and its header, as `row_cells` and `row_header` do each."""
        first = _FIRST_WORD + slot * self.row_words
        cells = first + _HEADER_WORDS
        return self.cells[cells : first + self.row_words], self.words[first:cells]

    @property
    def next_window(self) -> int:
        """The first bucket of this tier that was not folded into it yet; 0 where none ever was."""
        return self.words[layout.SLAB_NEXT_WINDOW // _WORD]

    @next_window.setter
    def next_window(self, bucket: int) -> None:
        self.words[layout.SLAB_NEXT_WINDOW // _WORD] = bucket

    @property
    def step_words(self) -> Words:
        """View the words that say where the clock stepped back; see `aside.Step`."""
        first = layout.SLAB_STEP // _WORD
        return self.words[first : first + layout.STEP_WORDS]

    @property
    def in_change(self) -> bool:
        """Whether rows are about to change, or a killed process has left it so."""
        return self.words[layout.SLAB_GENERATION // _WORD] % 2 == 1

    def change(self) -> None:
        """Say to readers that rows are about to change: the generation becomes odd until as many `changed` follow."""
        self._changes += 1
        self.words[layout.SLAB_GENERATION // _WORD] |= 1

    def changed(self) -> None:
        """Say to readers that the rows stand again, but are not those of before: the generation becomes even."""
        self._changes -= 1
        if not self._changes:
            words, at = self.words, layout.SLAB_GENERATION // _WORD
            words[at] = ((words[at] | 1) + 1) % _MAX_GENERATION

    # -- seals: checksums of rows that no record goes straight into any more

    def seal(self, slot: int, provisional: int = 0) -> None:
        """Put a row's checksum beside its sequence; `provisional`: the row may still change (layout.PROVISIONAL)."""
        words, first = self.words, _FIRST_WORD + slot * self.row_words
        words[first + 1] = words[first + 1] & layout.SEQUENCE_MASK | (self._checksum(first) | provisional) << 32

    def seal_all(self, rows: slice | NDArray[np.int64]) -> None:
        """Seal many rows, given by their slots."""
        few = range(rows.start, rows.stop) if isinstance(rows, slice) else rows.tolist()
        if len(few) <= _FEW:
            for slot in few:
                self.seal(slot)
            return
        import numpy as np

        sequences, buckets = self._header_words(1), self._header_words(0)[rows] & layout.SEQUENCE_MASK
        crcs = np.fromiter(map(zlib.crc32, self.block(BYTES)[rows], buckets.tolist()), np.int64, len(buckets))
        sequences[rows] = sequences[rows] & layout.SEQUENCE_MASK | layout.seal_from(crcs) << 32

    def unseal(self, slot: int) -> None:
        """Take the checksum away, before the row changes."""
        self.words[_FIRST_WORD + slot * self.row_words + 1] &= layout.SEQUENCE_MASK

    def is_sealed(self, slot: int) -> bool:
        """Say whether a row was sealed for good."""
        kept = self.words[self.row_word(slot) + 1] >> 32
        return kept != 0 and not kept & layout.PROVISIONAL

    def seal_of(self, slot: int) -> bool | None:
        """Say whether a row's checksum fits; None where it has none, or a provisional one that is out of date."""
        first = self.row_word(slot)
        kept = self.words[first + 1] >> 32
        if kept == 0:
            return None
        fits = kept & ~layout.PROVISIONAL == self._checksum(first)
        return True if fits else None if kept & layout.PROVISIONAL else False

    def _checksum(self, first: int) -> int:
        """Work out the seal of the row whose header begins at this word."""
        cells = self._bytes[(first + _HEADER_WORDS) * _WORD : (first + self.row_words) * _WORD]
        bucket = self.words[first]
        if bucket < 0:
            bucket = ~bucket
        seal: int = layout.seal_from(zlib.crc32(cells, bucket & layout.SEQUENCE_MASK))
        return seal

    def held(self) -> list[int]:
        """Give the slots whose row holds a bucket."""
        buckets = self.buckets()
        return [slot for slot, bucket in enumerate(buckets) if bucket > 0] if any(buckets) else []

    def buckets(self, rows: slice | None = None) -> list[int]:
        """Give the header of every row, or of those in some slots: the bucket it holds, or a mark; see ring.py."""
        first, end = (rows.start, rows.stop) if rows else (0, self.spec.slot_count)
        if self.blank:
            return [0] * (end - first)
        return self.words[self.row_word(first) : self.row_word(end) : self.row_words].tolist()

    def held_buckets(self) -> list[int]:
        """Give the buckets that the rows hold."""
        return [self.words[self.row_word(slot)] for slot in self.held()]

    def torn(self, held: list[int], *, copied: bool) -> list[int]:
        """Give the slots of rows, of those that are held, that the machine's stop may have left in part.

        Args: `copied`: the files came here from another machine: a row without a seal is then taken for one that a
        killed process wrote to last, unless some seal does not fit.
        """
        seals = {slot: self.seal_of(slot) for slot in held}
        if copied and False not in seals.values():
            return []
        return [slot for slot, fits in seals.items() if not fits]

    # -- columns

    @property
    def given(self) -> int:
        """How many columns were ever given out, as the finest tier's slab says; what lies beyond is empty."""
        return self.words[layout.SLAB_GIVEN // _WORD]

    @given.setter
    def given(self, count: int) -> None:
        self.words[layout.SLAB_GIVEN // _WORD] = count

    @property
    def overflowed(self) -> int:
        """About how many label sets found no series of their own in one run, the most of any; see the finest tier's."""
        return self.words[layout.SLAB_OVERFLOWED // _WORD]

    @overflowed.setter
    def overflowed(self, count: int) -> None:
        self.words[layout.SLAB_OVERFLOWED // _WORD] = count

    def clear(self, first: int) -> None:
        """Make all columns from one on, which are no series', empty in every row that was ever used."""
        pieces = [self._piece(cell, first) for cell in self.spec.cells]
        # In a coarse row coverage 0 is empty, whatever the other cells hold.
        looked_at = pieces if self.spec.tier == 0 else [self._piece(self.spec.cell(COVERAGE), first)]
        start, count, size = self.row_word(0), self.spec.slot_count, self.spec.row_bytes
        headers = self.words[start : start + count * self.row_words : self.row_words].tolist()
        for slot, row in enumerate(range(layout.PAGE_BYTES, layout.PAGE_BYTES + count * size, size)):
            if headers[slot] and any(self._map[row + at : row + end] != empty for at, end, empty in looked_at):
                fits = self.seal_of(slot)
                self.change()
                for at, end, empty in pieces:
                    self._bytes[row + at : row + end] = empty
                if fits is not None:
                    self.unseal(slot)
                if fits:
                    self.seal(slot)
                self.changed()

    def _piece(self, cell: layout.Cell, first: int) -> tuple[int, int, bytes]:
        """Give where a cell lies in a row, of the columns from one on, in bytes, and what it holds when it is empty."""
        kind, n_columns = cell.format[-1], self.spec.max_series - first
        one = array(kind, [nan if kind == "d" else 0]).tobytes() * cell.each
        at = cell.offset + first * len(one)
        return at, at + n_columns * len(one), one * n_columns

    def drop(self, slots: Iterable[int]) -> None:
        """Mark rows as not there; what lay in them before is not to be looked for in this tier."""
        for slot in slots:
            self.words[self.row_word(slot)] = ~self.words[self.row_word(slot)]

    def headers(self) -> NDArray[np.int64]:
        """View the bucket of every row: int64 [slots], strided.

        Raises: CorruptStoreError: see `check_size`.
        """
        self.check_size()
        return self._header_words(0)

    def check_size(self) -> None:
        """Look whether the file is still as long as its map. Raises: CorruptStoreError: see `FileMap`."""
        self._map.check_size()

    def sequences(self) -> NDArray[np.int64]:
        """View the sequence of every row: int64 [slots], strided."""
        return self._header_words(1)

    def copied_headers(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Copy the sequence and the bucket of every row: int64 [slots] each. Raises: as `headers`."""
        import numpy as np

        sequences, headers = self.sequences(), self.headers()
        if not self.frugal:
            return sequences.copy(), headers.copy()
        count, row_bytes = self.spec.slot_count, self.spec.row_bytes
        copies = np.empty(count, "<i8"), np.empty(count, "<i8")
        at_once = max(1, _PASSED_BYTES // row_bytes)
        for first in range(0, count, at_once):
            rows = slice(first, first + at_once)
            copies[0][rows], copies[1][rows] = sequences[rows], headers[rows]
            self.drop_resident()
        return copies

    def block(self, cell: str) -> NDArray[Any]:
        """View one cell of every row: [slots, max_series], and one more axis where a series has several values.

        FLOATS is all cells of float64, which come first in a row: [slots, max_series, cells]; BYTES is uint8, all
        that follows a row's header: [slots, bytes].
        """
        array = self._arrays.get(cell)
        if array is None:
            import numpy as np

            spec = self.spec
            shape: tuple[int, ...] = (spec.slot_count, spec.max_series)
            strides: tuple[int, ...] = (spec.row_bytes,)
            if cell == FLOATS:
                kind: np.dtype[Any] = np.dtype("<f8")
                offset = layout.ROW_HEADER_BYTES
                shape = (*shape, sum(placed.format == "d" for placed in spec.cells))
                strides = (*strides, _WORD, _WORD * spec.max_series)
            elif cell == BYTES:
                kind, offset = np.dtype("u1"), layout.ROW_HEADER_BYTES
                shape, strides = (spec.slot_count, spec.row_bytes - offset), (spec.row_bytes, 1)
            else:
                placed = spec.cell(cell)
                kind, offset, each = np.dtype("<" + placed.format[-1]), placed.offset, placed.each
                strides = (*strides, kind.itemsize * each)
                if each > 1:
                    shape, strides = (*shape, each), (*strides, kind.itemsize)
            array = np.ndarray(shape, kind, self._map, layout.PAGE_BYTES + offset, strides)
            self._arrays[cell] = array
        return array

    def cell_of(self, row: bytes, cell: str) -> NDArray[Any]:
        """Read one cell of a row that was copied whole: [max_series], and one more axis as `block` has it."""
        import numpy as np

        placed, width = self.spec.cell(cell), self.spec.max_series
        values = np.frombuffer(row, "<" + placed.format[-1], width * placed.each, placed.offset)
        return values if placed.each == 1 else values.reshape(width, placed.each)

    def _header_words(self, index: int) -> NDArray[np.int64]:
        array = self._headers[index]
        if array is None:
            import numpy as np

            offset = layout.PAGE_BYTES + index * _WORD
            array = np.ndarray(self.spec.slot_count, "<i8", self._map, offset, self.spec.row_bytes)
            self._headers[index] = array
        return array

    def sync(self) -> None:
        """Write what was stored to the disk, and wait for it, letting other threads go on meanwhile."""
        descriptor = self._open_again()
        try:
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def _open_again(self) -> int:
        descriptor = open_file(self.path)
        if os.fstat(descriptor).st_ino != self._map.inode:
            os.close(descriptor)
            raise StoreError(f"{self.path}: another file has taken its place; close the store and open it again")
        return descriptor

    def drop_resident(self) -> None:
        """Give the memory of the pages that were looked at back; they return from the page cache at the next look."""
        self._map.madvise(mmap.MADV_DONTNEED)

    def drop_resident_for_writing(self) -> None:
        """Do so where few pages are needed from here on: each comes alone; neighbours would count as the writer's."""
        self.drop_resident()
        self._map.madvise(mmap.MADV_RANDOM)

    def drop_cached(self) -> None:
        """Give back the pages of a new slab that were only looked at, the page cache's too."""
        self.drop_resident_for_writing()
        with contextlib.suppress(StoreError):  # it has no name any more
            descriptor = self._open_again()
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what was written stays
            finally:
                os.close(descriptor)

    def close(self) -> None:
        """Drop the views; the map goes when the last view that was handed out does."""
        self._arrays.clear()
        self._headers = [None, None]
        with contextlib.suppress(BufferError):
            self.words.release()
            self.cells.release()
            self._bytes.release()
            self._map.close()

    def keep_map(self) -> None:
        """Leave the map to the end of the process; see `FileMap.keep`."""
        self._map.keep()


def recover_slab(slab: Slab, n_series: int, *, copied: bool | None) -> int:
    """Do to a slab's rows what its next writer has to, where the last one was killed or the machine has stopped.

    What the stop has left in part is dropped, and values of series that it took; a row without a seal, in which a
    killed process recorded last, is sealed: the kernel has kept all of it.
    Args: `copied`: see `Slab.torn`; None: the machine has not stopped.
    Returns: how many rows were dropped.
    """
    held, torn = slab.held(), list[int]()
    if copied is not None:
        torn = slab.torn(held, copied=copied)
        slab.drop(torn)
        held = slab.held() if torn else held
        if held and n_series < slab.spec.max_series:
            slab.clear(n_series)
    for slot in held:
        if slab.seal_of(slot) is None:
            slab.seal(slot)
    return len(torn)


def _are_a_ring(headers: list[int], newest: int) -> bool:
    """Say at once of the usual case, buckets that follow each other, each in its slot, that nothing is wrong."""
    held = list(filter(None, headers))
    if not held:
        return True
    first, last = min(held), max(held)
    if first < 0 or last > newest or last - first + 1 != len(held):
        return False
    in_order = [header for part in ring.slices(first, last, len(headers)) for header in headers[part]]
    return in_order == list(range(first, last + 1))
