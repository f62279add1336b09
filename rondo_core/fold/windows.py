"""Folds of windows of one tier into the next, as whole tables; a row that comes out merges its whole window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core import faults
from rondo_core.model import layout, ring, sketch_bytes
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import COVERAGE, SKETCH, WindowMerge, cell_statistics, complete_statistics
from rondo_core.storage.slab import Slab


def fold_windows(
    schema: Schema, tier: int, slabs: tuple[Slab, Slab], n_series: int, first: int, end: int, *, write: bool = True
) -> int:
    """Fold windows first..end-1 of a tier as far as the finer one holds any of their buckets, and count them.

    Args: `slabs`: the finer and the coarser; `write`: else only say how many rows would be written.
    """
    (fine, coarse), ratio = slabs, schema.ratio(tier)
    headers = fine.headers().copy()
    inside = (headers >= max(1, first) * ratio) & (headers < min(end, (1 << 62) // ratio) * ratio)
    inside &= headers % len(headers) == np.arange(len(headers))  # else damaged: no row of any bucket
    buckets = headers[inside]
    if not len(buckets) or not n_series:
        return 0
    buckets.sort()
    rows = _runs(buckets, fine.spec.slot_count)
    windows, places = _windows(buckets, ratio)
    merge = WindowMerge(places, len(windows), ratio)
    cells = {cell: _take(fine.block(cell), rows, n_series) for cell in schema.cells(tier - 1)}
    if (_take(fine.headers(), rows) != buckets).any():
        # A signal handler's record has entered one of the rows meanwhile.
        return fold_windows(schema, tier, slabs, n_series, first, end, write=write)
    with np.errstate(all="ignore"):  # sums of infinities are NaN, of huge numbers infinite; the owner may raise
        folded = _merged(schema, tier, cells, merge, schema.cells(tier) if write else (COVERAGE,))
    keep = _grown(coarse, windows, folded, np.bincount(merge.windows(), minlength=len(windows)) < ratio)
    if not keep.all():
        windows, folded = windows[keep], {name: values[keep] for name, values in folded.items()}
    if write and len(windows):
        _write(coarse, windows, folded)
    return len(windows)


def _grown(coarse: Slab, windows: Any, folded: dict[str, Any], partial: Any) -> Any:
    """Say of each window whether to write it: not where the one that is there was folded from rows now gone.

    Nor where the window's slot was given away, and some of what it held is gone.
    """
    slots = windows % coarse.spec.slot_count
    headers = coarse.headers()[slots]
    given = partial & (headers < 0) & (~headers > windows) & (coarse.sequences()[slots] >> 32 == 0)
    suspect = partial & (headers == windows)
    if suspect.any():
        covered = folded[COVERAGE]
        known = coarse.block(COVERAGE)[slots, : covered.shape[1]]
        suspect &= (known > covered).any(axis=1)
    return ~(suspect | given)


def _merged(
    schema: Schema, tier: int, cells: dict[str, Any], merge: WindowMerge, kept: Sequence[str]
) -> dict[str, Any]:
    """Merge those statistics that are to be kept."""
    kind = schema.kind
    if tier == 1 and kind != "summary" and not schema.peaks:  # every statistic of one sample is the sample
        last = cells["last"]
        return {name: merge.coverage(last) if name == COVERAGE else merge(name, last) for name in kept}
    # A series declared after a coarse row was written has no coverage there: absent, whatever the cells hold.
    statistics = cell_statistics(kind, cells) if tier == 1 else complete_statistics(kind, cells)
    covered = None if tier == 1 else statistics[COVERAGE]
    return {name: merge(name, statistics[name], covered) for name in kept}


def _write(coarse: Slab, windows: NDArray[np.int64], folded: dict[str, Any]) -> None:
    headers, sequences, at = coarse.headers(), coarse.sequences(), 0
    coarse.change()
    for run in _runs(windows, coarse.spec.slot_count):
        length = run.stop - run.start if isinstance(run, slice) else len(run)
        mine = slice(at, at + length)
        headers[run] = ~windows[mine]
        faults.point("fold.begin")
        # A reader that saw the row before sees that it was written since.
        sequences[run] = ((sequences[run] | 1) + 1) & layout.SEQUENCE_MASK
        for name, values in folded.items():
            block = coarse.block(name)
            n_series = values.shape[1]
            folded_here = values[mine]
            block[run, :n_series] = sketch_bytes.written(folded_here, block) if name == SKETCH else folded_here
            if name == COVERAGE and n_series < block.shape[1]:
                block[run, n_series:] = 0
            faults.point("fold.block")
        headers[run] = windows[mine]
        faults.point("fold.published")
        coarse.seal_all(run)
        at += length
    coarse.changed()


def _runs(buckets: NDArray[np.int64], slot_count: int) -> tuple[Any, ...]:
    """Give the slots of ascending buckets as slices where they follow each other, else as one array."""
    first, last = int(buckets[0]), int(buckets[-1])
    return ring.slices(first, last, slot_count) if last - first + 1 == len(buckets) else (buckets % slot_count,)


def _take(block: NDArray[Any], runs: tuple[Any, ...], n_series: int | None = None) -> NDArray[Any]:
    """Copy these rows of a block, the first `n_series` of each."""
    whole = block if n_series is None else block[:, :n_series]
    return np.concatenate([whole[run] for run in runs])


def _windows(buckets: NDArray[np.int64], ratio: int) -> tuple[NDArray[np.int64], Any]:
    """Give the windows that ascending buckets lie in, and each bucket's place among `ratio` for each window.

    Returns: windows, ascending; and the places: a slice where they follow each other, else an array.
    """
    first, last = int(buckets[0]), int(buckets[-1])
    if last - first + 1 == len(buckets):
        lead = first % ratio
        return np.arange(first // ratio, last // ratio + 1), slice(lead, lead + len(buckets))
    windows, row = np.unique(buckets // ratio, return_inverse=True)
    return windows, row * ratio + buckets % ratio
