"""Copy rows out of a live or a finished slab, never half a row and never another bucket's.

A row's header is read before and after the copy; a row that changed in between is copied again on its own. What a
busy writer keeps changing for a thousand tries is left out of this read: absent, not wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core import layout, ring
from rondo_core.slab import Slab

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TRIES = 1000


class Rows:
    """What was read: `buckets` int64 [rows], ascending, and `cells` name -> [rows, columns]."""

    __slots__ = ("buckets", "cells")

    def __init__(self, buckets: NDArray[np.int64], cells: dict[str, NDArray[Any]]) -> None:
        """Hold the copy."""
        self.buckets, self.cells = buckets, cells


def read_rows(
    slab: Slab,
    first: int,
    last: int,
    columns: Sequence[int] | NDArray[np.intp],
    cells: Sequence[str],
    *,
    is_live: Callable[[], bool],
) -> Rows:
    """Copy the rows that hold buckets first..last (both included).

    Args:
        columns: which series, by column; `cells`: which cells of each.
        is_live: asked only when a row looks half written: True while some process writes the slab.
    Returns: the rows that were there, by bucket; never a row of another bucket, never half of one.
    """
    import numpy as np

    headers, sequences = slab.headers(), slab.sequences()
    slots = _candidates(slab, first, last)
    before, sequence = headers[slots], sequences[slots]
    held = (before >= max(first, 1)) & (before <= last) & (before % len(headers) == slots)
    if not held.all():
        slots, before, sequence = slots[held], before[held], sequence[held]
    if len(before) > 1 and (before[1:] < before[:-1]).any():
        order = np.argsort(before, kind="stable")
        slots, before, sequence = slots[order], before[order], sequence[order]
    picked = _picker(columns)
    blocks = {cell: slab.block(cell) for cell in cells}
    copied = {cell: block[slots][:, picked] for cell, block in blocks.items()}
    good = (headers[slots] == before) & (sequences[slots] == sequence) & (sequence % 2 == 0)
    if "count" in copied and slab.spec.tier == 0:
        again = blocks["count"][slots][:, picked]
        good &= ((again == copied["count"]) | (np.isnan(again) & np.isnan(copied["count"]))).all(axis=1)
    if not good.all():
        for index in np.flatnonzero(~good):
            good[index] = _copy_alone(slab, int(slots[index]), int(before[index]), picked, copied, int(index), is_live)
        if not good.all():
            before = before[good]
            copied = {cell: block[good] for cell, block in copied.items()}
    return Rows(before, copied)


def _picker(columns: Sequence[int] | NDArray[np.intp]) -> Any:
    """Give an index of the columns; side by side they are a slice, which copies faster."""
    import numpy as np

    index = np.asarray(columns, dtype=np.intp)
    if len(index) and index[-1] - index[0] == len(index) - 1 and (np.diff(index) == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    return index


def _candidates(slab: Slab, first: int, last: int) -> NDArray[np.intp]:
    import numpy as np

    count = slab.spec.slot_count
    if last - first + 1 >= count:
        return np.arange(count)
    parts = [np.arange(slot, slot + length) for _, slot, length in ring.runs(first, last, count)]
    return np.concatenate(parts) if parts else np.arange(0)


def _copy_alone(
    slab: Slab,
    slot: int,
    bucket: int,
    picked: Any,
    copied: dict[str, NDArray[Any]],
    index: int,
    is_live: Callable[[], bool],
) -> bool:
    """Copy one row that is being written, in one piece; say whether a whole one was had."""
    import numpy as np

    spec, words = slab.spec, slab.words
    word, start = slab.row_word(slot), layout.PAGE_BYTES + slot * spec.row_bytes
    raw_view = slab.words.cast("B")
    counts = slab.block("count")[slot] if "count" in copied and spec.tier == 0 else None
    for attempt in range(_TRIES):
        count_before = None if counts is None else counts[picked].tobytes()
        sequence = words[word + 1]
        raw = bytes(raw_view[start : start + spec.row_bytes])
        if words[word] != bucket:
            return False
        torn = words[word + 1] != sequence or (counts is not None and counts[picked].tobytes() != count_before)
        if not torn and sequence % 2 and (attempt < _TRIES - 1 or is_live()):
            torn = True
        if torn:
            continue
        for cell, block in copied.items():
            placed = spec.cell(cell)
            row = np.frombuffer(raw, "<" + placed.format, spec.max_series, placed.offset)
            block[index] = row[picked]
        return True
    return False


def occupants(slab: Slab) -> NDArray[np.int64]:
    """Give the bucket that last took each row, finished or not: int64 [slots]."""
    import numpy as np

    headers = np.array(slab.headers())
    return np.where(headers < 0, ~headers, headers)
