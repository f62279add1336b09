"""Sketches of a few rows, read, merged and written without numpy: the same bytes that numpy would leave.

A column without an observation is None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rondo_core.model import layout, ring, sketch
from rondo_core.model.sketch_bytes import Sketch, merged, pack_one, unpack_one
from rondo_core.model.statistics import SKETCH, SKETCH_CELLS
from rondo_core.storage.slab import Slab

if TYPE_CHECKING:
    Column = list[Sketch | None]


def foldable(coarse: Slab) -> bool:
    """Say whether the sketches of a tier, if it has any, are of the layout of today, which is written here."""
    return all(cell.format[-1] == "B" for cell in coarse.spec.cells if cell.name == SKETCH)


def reader(slab: Slab, n_series: int) -> Callable[[int], Column]:
    """Give what reads a bucket's sketches, the first `n_series` columns."""
    return _fine_reader(slab, n_series) if slab.spec.tier == 0 else _coarse_reader(slab, n_series)


def _fine_reader(slab: Slab, n_series: int) -> Callable[[int], Column]:
    slots, heads_at, words = slab.spec.slot_count, slab.cell_words(SKETCH_CELLS[0]), slab.spec.cell("sketch0").each
    banks = [slab.cell_words(name) * 2 for name in SKETCH_CELLS[1:]]

    def read(bucket: int) -> Column:
        raw = slab.row_cells(ring.slot_of(bucket, slots)).cast("B")
        heads, counts = raw.cast("q")[heads_at : heads_at + n_series].tolist(), raw.cast("I")
        found: Column = [None] * n_series
        for column, head in enumerate(heads):
            if head:
                scale, first, bank = sketch.unpack_head(head)
                begin = banks[bank] + column * words
                *cells, zeroes = counts[begin : begin + words].tolist()
                found[column] = Sketch(scale, first, cells, zeroes)
        return found

    return read


def _coarse_reader(slab: Slab, n_series: int) -> Callable[[int], Column]:
    slots, placed = slab.spec.slot_count, slab.spec.cell(SKETCH)
    begin, size = placed.offset - layout.ROW_HEADER_BYTES, placed.each

    def read(bucket: int) -> Column:
        raw = slab.row_cells(ring.slot_of(bucket, slots)).cast("B")
        return [unpack_one(raw[begin + column * size : begin + (column + 1) * size]) for column in range(n_series)]

    return read


def merge_columns(rows: Sequence[Column]) -> Column:
    """Merge the sketches of a window's rows, series by series."""
    columns = ([each for each in column if each is not None] for column in zip(*rows, strict=True))
    return [merged(column, sketch.CELLS) if column else None for column in columns]


def packed(sketches: Column, size: int) -> bytes:
    """Write sketches as the row of a coarser tier has them, `size` bytes each."""
    return b"".join([pack_one(each, size) for each in sketches])
