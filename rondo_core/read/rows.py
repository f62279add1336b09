"""Copy rows out of a live or a finished slab, never half a row and never another bucket's.

A slab's generation, which moves whenever a row is entered or changed after its time, says whether what was copied
stood still meanwhile. Where it moved, each row's header is compared on its own, and a row that changed is copied
again; what a busy writer keeps changing for a thousand tries is left out of this read: absent, not wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core.model import layout, ring
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab

_TRIES = 1000
_COLUMNS_KEPT = 256
_GENERATION = layout.SLAB_GENERATION // 8


class Rows:
    """What was read: `buckets` int64 [rows], ascending, and `cells` name -> [rows, columns]."""

    __slots__ = ("buckets", "cells")

    def __init__(self, buckets: NDArray[np.int64], cells: dict[str, NDArray[Any]]) -> None:
        """Hold the copy."""
        self.buckets, self.cells = buckets, cells


class Index:
    """The rows that a slab held at one moment, oldest first; it can be used again while `generation` stands.

    Attributes:
        generation: of the slab when the headers were read; None where they did not stand still.
        headers: int64 [slots], as they were.
        buckets, slots, sequences: int64 [rows], of the rows that were held, ascending by bucket; `first` and `last`
            are the outer buckets (1 and 0: none).
        stamps, intervals: int64 [rows], ns: what a reader shows of them. Nobody may write to these arrays; all
            intervals are one number in memory.
        slices: the slots as one or two slices, in order; empty where they have gaps. `whole`: the positions of all.
        columns: views of single columns of all slots that were copied before, by cell and column.
    """

    __slots__ = (
        "buckets",
        "columns",
        "first",
        "generation",
        "headers",
        "intervals",
        "last",
        "newest_word",
        "sequences",
        "slices",
        "slots",
        "stamps",
        "whole",
    )

    def __init__(self, slab: Slab, torn: Sequence[int] = ()) -> None:
        """Read the headers; the rows in the slots `torn` are not to be had."""
        count, interval_ns = slab.spec.slot_count, slab.spec.interval_ns
        generation = slab.words[_GENERATION]
        sequences, self.headers = slab.copied_headers()
        still = generation == slab.words[_GENERATION] and generation % 2 == 0
        self.generation = generation if still else None
        newest = MAX_INSTANT_NS // interval_ns
        held = (self.headers > 0) & (self.headers <= newest) & (self.headers % count == np.arange(count))
        held[list(torn)] = False
        slots = np.flatnonzero(held)
        buckets = self.headers[slots]
        if len(buckets) > 1 and np.subtract(buckets[1:], buckets[:-1]).min() < 0:
            order = np.argsort(buckets, kind="stable")
            slots, buckets = slots[order], buckets[order]
        self.slots, self.buckets, self.sequences = slots, buckets, sequences[slots]
        self.whole = slice(0, len(buckets))
        self.stamps = buckets * interval_ns
        self.stamps.setflags(write=False)
        self.intervals = np.ndarray(len(buckets), np.int64, interval_ns.to_bytes(8, sys.byteorder), 0, (0,))
        self.first, self.last = (int(buckets[0]), int(buckets[-1])) if len(buckets) else (1, 0)
        dense = self.last - self.first + 1 == len(buckets) > 0
        self.slices = ring.slices(self.first, self.last, count) if dense else ()
        self.columns: dict[tuple[str, int], NDArray[Any]] = {}
        self.newest_word = slab.row_word(int(slots[-1])) + 1 if len(slots) else 1

    def between(self, first: int, last: int) -> slice:
        """Give the positions of the rows of buckets first..last, both included."""
        if first <= self.first and last >= self.last:
            return self.whole
        start, end = self.buckets.searchsorted((first, last + 1)).tolist()
        return slice(start, end)


class SlabReader:
    """Reads one slab, as often as asked, and remembers where its rows lie while they stay there."""

    def __init__(self, slab: Slab, is_live: Callable[[], bool]) -> None:
        """Bind to a mapped slab; `is_live`, asked where a row looks half written: whether some process writes it."""
        self.slab, self._is_live, self._words = slab, is_live, slab.words
        self._one_cell = slab.spec.kind != "summary"
        self._fine = slab.spec.tier == 0
        self._index: Index | None = None
        self._seals_copied: bool | None = None

    def check_seals(self, *, copied: bool) -> None:
        """Look at the rows' seals until some process writes them: the machine they were recorded on has stopped.

        Args: `copied`: see `Slab.torn`.
        """
        self._seals_copied = copied

    def index(self) -> Index:
        """Give the rows that are there now.

        Raises: CorruptStoreError: the file was truncated while it was open.
        """
        self.slab.check_size()
        index = self._index
        if index is None or index.generation != self._words[_GENERATION]:
            torn: Sequence[int] = ()
            if self._seals_copied is not None:
                if self._is_live():
                    self._seals_copied = None
                else:
                    torn = self.slab.torn(self.slab.held(), copied=self._seals_copied)
            self._index = index = Index(self.slab, torn)
        return index

    def newest(self) -> int:
        """Give the newest bucket that is held, without a look at the other rows where none can be torn; 0: none."""
        if self._seals_copied is not None:
            return self.index().last
        headers = self.slab.headers()
        return max(0, int(headers.max())) if len(headers) else 0

    def forget(self) -> None:
        """Release where the rows lie, and the views of them."""
        self._index = None

    def rows(self, first: int, last: int, columns: Sequence[int], cells: Sequence[str]) -> Rows:
        """Copy the rows that hold buckets first..last (both included).

        Args: `columns`: which series, by column; `cells`: which cells of each.
        Returns: the rows that were there, by bucket; never a row of another bucket, never half of one.
        """
        index = self.index()
        keep = index.between(max(first, 1), last)
        copied, good = self.copy(index, keep, picker(columns), cells)
        buckets = index.buckets[keep]
        return Rows(buckets, copied) if good is None else Rows(buckets[good], copied)

    def copy(
        self,
        index: Index,
        keep: slice | NDArray[np.intp],
        picked: Any,
        cells: Sequence[str],
        *,
        by_series: bool = False,
    ) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_] | None]:
        """Copy the rows at the positions `keep` of the index.

        Args: `picked`: see `picker`; `by_series`: a column's cells are to lie side by side, where they are numbers.
        Returns: cell -> [rows, columns], and which of the positions these are: None for all.
        """
        slab, words, copied = self.slab, self._words, {}
        sequence = words[index.newest_word]
        alone = picked.__class__ is slice and picked.stop - picked.start == 1
        for cell in cells:
            if alone:
                slots = index.slots if keep is index.whole else index.slots[keep]
                copied[cell] = _column(slab, index, cell, picked.start)[slots][:, None]
            elif by_series and index.slices and keep.__class__ is slice and slab.block(cell).ndim == 2:
                copied[cell] = _take_columns(slab.block(cell), index, keep, picked)
            else:
                copied[cell] = _take(slab.block(cell), index, keep, picked)
        if words[_GENERATION] == index.generation and (
            not self._fine
            or (alone and self._one_cell and len(copied) == 1)
            or self._newest_unchanged(index, sequence, picked, copied)
        ):
            return copied, None
        good = self._mend(index, keep, picked, copied)
        return ({cell: block[good] for cell, block in copied.items()}, good) if not good.all() else (copied, None)

    def _newest_unchanged(self, index: Index, sequence: int, picked: Any, copied: dict[str, NDArray[Any]]) -> bool:
        """Say whether the current row, the only one that is written to outside of a generation, stood still."""
        if sequence % 2 or self._words[index.newest_word] != sequence:
            return False
        if self._one_cell or not len(index.slots):
            return True
        counts = copied["count"]
        return not len(counts) or (self.slab.block("count")[index.slots[-1]][picked].tobytes() == counts[-1].tobytes())

    def _mend(
        self, index: Index, keep: slice | NDArray[np.intp], picked: Any, copied: dict[str, NDArray[Any]]
    ) -> NDArray[np.bool_]:
        """Look at each row's own header, and copy again, one by one, those that changed; say which were had."""
        slab, slots, buckets, sequences = self.slab, index.slots[keep], index.buckets[keep], index.sequences[keep]
        good: NDArray[np.bool_] = slab.headers()[slots] == buckets
        good &= (slab.sequences()[slots] == sequences) & (sequences % 2 == 0)
        if "count" in copied and self._fine:
            again = slab.block("count")[:, picked][slots]
            good &= ((again == copied["count"]) | (np.isnan(again) & np.isnan(copied["count"]))).all(axis=1)
        for at in np.flatnonzero(~good).tolist():
            good[at] = self._copy_alone(int(slots[at]), int(buckets[at]), picked, copied, at)
        return good

    def _copy_alone(self, slot: int, bucket: int, picked: Any, copied: dict[str, NDArray[Any]], at: int) -> bool:
        """Copy one row that is being written, in one piece; say whether a whole one was had."""
        slab, spec, words = self.slab, self.slab.spec, self._words
        word, start = slab.row_word(slot), layout.PAGE_BYTES + slot * spec.row_bytes
        raw_view = words.cast("B")
        counts = slab.block("count")[slot] if "count" in copied and self._fine else None
        for attempt in range(_TRIES):
            count_before = None if counts is None else counts[picked].tobytes()
            sequence = words[word + 1]
            raw = bytes(raw_view[start : start + spec.row_bytes])
            if words[word] != bucket:
                return False
            torn = words[word + 1] != sequence or (counts is not None and counts[picked].tobytes() != count_before)
            if not torn and sequence % 2 and (attempt < _TRIES - 1 or self._is_live()):
                torn = True
            if torn:
                continue
            for cell, block in copied.items():
                block[at] = slab.cell_of(raw, cell)[picked]
            return True
        return False


def picker(columns: Sequence[int] | NDArray[np.intp]) -> Any:
    """Give an index of the columns; side by side they are a slice, which copies faster."""
    count = len(columns)
    if count and columns[-1] - columns[0] == count - 1 and list(columns) == list(range(columns[0], columns[0] + count)):
        return slice(int(columns[0]), int(columns[0]) + count)
    return np.asarray(columns, dtype=np.intp)


def _column(slab: Slab, index: Index, cell: str, column: int) -> NDArray[Any]:
    """View one column of all slots, from which numpy takes rows faster than it copies slices of rows."""
    view = index.columns.get((cell, column))
    if view is None:
        if len(index.columns) >= _COLUMNS_KEPT:
            index.columns.clear()
        view = index.columns[cell, column] = slab.block(cell)[:, column]
    return view


def _take(block: NDArray[Any], index: Index, keep: slice | NDArray[np.intp], picked: Any) -> NDArray[Any]:
    """Copy the rows at these positions, these columns of each."""
    if keep.__class__ is slice and index.slices:
        parts = index.slices if keep is index.whole else _cut(index.slices, keep)
        if len(parts) == 1:
            return block[parts[0], picked].copy()
        return np.concatenate([block[part, picked] for part in parts])
    slots = index.slots[keep]
    if picked.__class__ is slice:
        some: NDArray[Any] = block[:, picked][slots]
        return some
    crossed: NDArray[Any] = block[slots[:, None], picked]
    return crossed


def _take_columns(block: NDArray[Any], index: Index, keep: slice, picked: Any) -> NDArray[Any]:
    """Copy as `_take` does, each column's cells side by side."""
    n_columns = picked.stop - picked.start if picked.__class__ is slice else len(picked)
    columns = np.empty((n_columns, keep.stop - keep.start), block.dtype)
    at = 0
    for part in index.slices if keep is index.whole else _cut(index.slices, keep):
        rows = block[part, picked]
        columns[:, at : at + len(rows)] = rows.T
        at += len(rows)
    return columns.T


def _cut(slices: tuple[slice, ...], keep: slice) -> tuple[slice, ...]:
    """Cut positions `keep` out of slots that are given as slices."""
    parts, at = [], 0
    for each in slices:
        length = each.stop - each.start
        start, stop = max(keep.start - at, 0), min(keep.stop - at, length)
        if stop > start:
            parts.append(slice(each.start + start, each.start + stop))
        at += length
    return tuple(parts) or (slice(0, 0),)


def occupants(headers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the bucket that last took each row, finished or not: int64 [slots]."""
    return np.where(headers < 0, ~headers, headers)
