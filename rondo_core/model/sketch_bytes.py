"""How a sketch lies in a row of a coarser tier: packed, since no such row is counted in any more.

16 bytes, then the counts of the cells in two planes: the low 16 bits of all cells, then the next 8; or, where a count
has more than 24 bits, 32 and then 16 of half as many cells, or in a long tier of as many. The 16 bytes are an int64
head, as `sketch.pack_head` makes it, its lowest bit set where cells have 6 bytes, and an int64 count of zeroes. All 0:
empty. In stores of layout 1 a sketch lies there as the statistic itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core.model import sketch
from rondo_core.model.sketch import CELLS

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEAD_BYTES = 16
_MOST = 1 << 24  # what a cell of 3 bytes does not hold any more
_NARROW, _WIDE = 3, 6  # bytes a cell
NARROW_BYTES = _HEAD_BYTES + _NARROW * CELLS
WIDE_BYTES = _HEAD_BYTES + _WIDE * CELLS
_LONG_NS = 600 * 10**9  # from this interval on every cell has 6 bytes


def packed_bytes(interval_ns: int) -> int:
    """Give how many bytes a sketch takes in a tier's row."""
    return NARROW_BYTES if interval_ns < _LONG_NS else WIDE_BYTES


class Sketch(NamedTuple):
    """One sketch as Python's numbers: `counts` of the cells from the index `first` on, and how many `zeroes`."""

    scale: int
    first: int
    counts: Sequence[int]
    zeroes: int


def merged(sketches: Sequence[Sketch], n_cells: int) -> Sketch | None:
    """Merge sketches as `sketch.merge` does; None where nothing was observed."""
    held = [(each, [at for at, count in enumerate(each.counts) if count]) for each in sketches]
    held = [(each, places) for each, places in held if places]
    zeroes = sum(each.zeroes for each in sketches)
    counts = [0] * n_cells
    if not held:
        return Sketch(sketch.MAX_SCALE, 0, counts, zeroes) if zeroes else None
    scale = min(each.scale for each, _ in held)
    low = min(each.first + places[0] >> each.scale - scale for each, places in held)
    high = max(each.first + places[-1] >> each.scale - scale for each, places in held)
    coarser, first = sketch.scale_to_fit(low, high, n_cells)
    scale -= coarser
    for each, places in held:
        begins, shift, known = each.first, each.scale - scale, each.counts
        for at in places:
            counts[(begins + at >> shift) - first] += known[at]
    return Sketch(scale, first, counts, zeroes)


def pack_one(one: Sketch | None, size: int) -> bytes:
    """Write one merged sketch of 108 cells as `size` bytes of a coarser tier's row."""
    if one is None:
        return bytes(size)
    width = _NARROW
    if size == WIDE_BYTES or max(one.counts) >= _MOST:
        width = _WIDE
        one = one if size == WIDE_BYTES else merged([one], (size - _HEAD_BYTES) // _WIDE) or one
    head = array("q", [sketch.pack_head(one.scale, one.first, int(width == _WIDE)), one.zeroes])
    low, high, bits = ("H", "B", 16) if width == _NARROW else ("I", "H", 32)
    mask = (1 << bits) - 1
    planes = array(low, [count & mask for count in one.counts]), array(high, [count >> bits for count in one.counts])
    return b"".join((head, *planes)).ljust(size, b"\0")


def unpack_one(packed: memoryview) -> Sketch | None:
    """Read what `pack_one` wrote; None where it is empty."""
    head, zeroes = packed[:_HEAD_BYTES].cast("q")
    if not head:
        return None
    scale, first, wide = sketch.unpack_head(head)
    (low, high, bits), width = (("I", "H", 32), _WIDE) if wide else (("H", "B", 16), _NARROW)
    n_cells = (len(packed) - _HEAD_BYTES) // width
    middle = _HEAD_BYTES + n_cells * (bits // 8)
    lows = packed[_HEAD_BYTES:middle].cast(low).tolist()  # type: ignore[call-overload]
    highs = packed[middle : middle + n_cells * (width - bits // 8)]
    if any(highs):
        lows = [a | b << bits for a, b in zip(lows, highs.cast(high), strict=True)]  # type: ignore[call-overload]
    return Sketch(scale, first, lows, zeroes)


def pack(sketches: NDArray[Any], size: int) -> NDArray[Any]:
    """Write the statistic, int64 [..., 111], as a coarser tier keeps it: uint8 [..., size]."""
    import numpy as np

    flat = sketches.reshape(-1, sketches.shape[-1])
    found = np.zeros((len(flat), size), np.uint8)
    wide = np.full(len(flat), size == WIDE_BYTES) | (sketch.counts_of(flat).max(axis=1, initial=0) >= _MOST)
    for width, rows in ((_NARROW, ~wide), (_WIDE, wide)):
        if rows.any():
            n_cells = (size - _HEAD_BYTES) // width
            found[rows] = _packed(sketch.resized(flat[rows], n_cells), width, size)
    return found.reshape(*sketches.shape[:-1], size)


def _packed(flat: NDArray[Any], width: int, size: int) -> NDArray[Any]:
    import numpy as np

    heads = sketch.heads_of(flat)
    heads |= (heads != 0) & (width == _WIDE)
    low, high, bits = ("<u2", "u1", 16) if width == _NARROW else ("<u4", "<u2", 32)
    counts = sketch.counts_of(flat)
    blocks = heads[:, None], sketch.zeroes(flat)[:, None], counts.astype(low), (counts >> bits).astype(high)
    found = np.zeros((len(flat), size), np.uint8)
    at = 0
    for block in blocks:
        raw = np.ascontiguousarray(block).view(np.uint8)
        found[:, at : at + raw.shape[1]] = raw
        at += raw.shape[1]
    return found


def unpack(block: NDArray[Any]) -> NDArray[Any]:
    """Read a coarser tier's sketches as the statistic, int64 [..., cells + 3]; also those that are kept as it."""
    import numpy as np

    if block.dtype != np.uint8:
        return block.astype(np.int64)
    size = block.shape[-1]
    flat = np.ascontiguousarray(block).reshape(-1, size)
    found = np.zeros((len(flat), sketch.WORDS), np.int64)
    heads = _words(flat[:, :8], "<i8")[:, 0]
    found[:, 0], found[:, 1] = heads >> 1 & 0x7FFF, heads >> 16
    found[:, -1] = _words(flat[:, 8:_HEAD_BYTES], "<i8")[:, 0]
    wide = heads & 1 == 1
    for width, rows in ((_NARROW, ~wide), (_WIDE, wide)):
        if rows.any():
            low, high, bits = ("<u2", "u1", 16) if width == _NARROW else ("<u4", "<u2", 32)
            n_cells = min((size - _HEAD_BYTES) // width, CELLS)
            middle = _HEAD_BYTES + n_cells * (bits // 8)
            lows = _words(flat[rows, _HEAD_BYTES:middle], low).astype(np.int64)
            highs = _words(flat[rows, middle : middle + n_cells * (width - bits // 8)], high).astype(np.int64)
            found[rows, sketch.HEAD_WORDS : sketch.HEAD_WORDS + n_cells] = lows | highs << bits
    return found.reshape(*block.shape[:-1], sketch.WORDS)


def _words(raw: NDArray[Any], kind: str) -> NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(raw).view(kind)


def written(sketches: NDArray[Any], block: NDArray[Any]) -> NDArray[Any]:
    """Give the statistic as this block of a coarser tier keeps it: packed, or in layout 1 as it is."""
    return pack(sketches, block.shape[-1]) if block.dtype.kind == "u" and block.dtype.itemsize == 1 else sketches
