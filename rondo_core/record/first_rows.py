"""Rows that no row goes before: what a schema's first one holds, before and after its series are born."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

from rondo_core.model import layout
from rondo_core.model.schema import Schema
from rondo_core.model.sketch import CELLS_OF, SketchCells

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells

_WORD = 8


def template_of(schema: Schema) -> tuple[Cells, SketchCells | None]:
    """Make the float64 cells of a row without a series, and what finds the sketches in it, where it has any."""
    spec = schema.slab_spec(0)

    def words(cell: str) -> int:
        return (spec.cell(cell).offset - layout.ROW_HEADER_BYTES) // _WORD

    n_cells = (spec.row_bytes - layout.ROW_HEADER_BYTES) // _WORD
    empty = words("sketch_head") if schema.sketch else n_cells
    cells: Cells = memoryview(array("d", [math.nan] * empty + [0.0] * (n_cells - empty)))
    if not schema.sketch:
        return cells, None
    return cells, SketchCells(empty, (words("sketch0") * 2, words("sketch1") * 2), CELLS_OF[schema.sketch_layout])


def begin_totals(schema: Schema, template: Cells, n_series: int) -> None:
    """Let the first so many series of a template have totals of 0, where their kind has totals."""
    blocks = {"counter": (0,), "summary": (7, 8), "gauge": ()}[schema.kind]
    for block in blocks:
        first = block * schema.n_columns
        template[first : first + n_series] = array("d", bytes(_WORD * n_series))


def scratch_of(template: Cells) -> tuple[Cells, memoryview[int]]:
    """Make the cells and the header of a row that lies in memory alone, all noughts."""
    return memoryview(array("d", bytes(_WORD * len(template)))), memoryview(array("q", (0, 0)))
