"""Fold a few rows into coarser ones without numpy, so that a process that only records never loads its 14 MB.

The same rows as consolidation makes with numpy: primitives merged over the buckets of a window that hold a sample.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import reduce
from itertools import groupby
from math import isfinite, isinf, isnan, nan
from operator import add
from struct import calcsize
from typing import Any

from rondo_core import faults
from rondo_core.model import layout, ring
from rondo_core.model.labels import Kind
from rondo_core.model.statistics import COVERAGE, MERGED_AS, SKETCH, SKETCH_CELLS, finite_sum
from rondo_core.record import fold_sketches
from rondo_core.storage.slab import Slab

MOST_VALUES = 5_000  # of the finer rows; with more, numpy is worth its loading


def _sum(values: list[float]) -> float:
    total = reduce(add, values)  # in order; sum() of some interpreters compensates
    return total if isfinite(total) or any(map(isinf, values)) else finite_sum(values)


_MERGE: dict[str, Callable[[list[float]], float]] = {
    "first": lambda values: values[0],
    "last": lambda values: values[-1],
    "min": min,
    "max": max,
    "sum": _sum,
}
_MERGE_WHOLE: dict[str, Callable[[list[list[float]]], list[float]]] = {
    "first": lambda rows: rows[0],
    "last": lambda rows: rows[-1],
    "min": lambda rows: list(map(min, *rows)),
    "max": lambda rows: list(map(max, *rows)),
    "sum": lambda rows: reduce(lambda one, other: list(map(add, one, other)), rows),
}
Columns = dict[str, list[Any]]


def fold_small(kind: Kind, slabs: tuple[Slab, Slab], n_series: int, first: int, end: int) -> int | None:
    """Fold windows first..end-1 as far as the finer tier holds any of their buckets; see Consolidation.

    Args: `slabs`: the finer and the coarser.
    Returns: how many rows were written; None where numpy has to do it: rows are many, or sketches old.
    """
    fine, coarse = slabs
    ratio, kept = coarse.spec.interval_ns // fine.spec.interval_ns, [cell.name for cell in coarse.spec.cells]
    for slab in slabs:
        slab.check_size()
    buckets = _held(fine, max(1, first) * ratio, end * ratio)
    fine_cells = [cell.name for cell in fine.spec.cells]
    if len(buckets) * n_series * len(fine_cells) > MOST_VALUES or not fold_sketches.foldable(coarse):
        return None
    if not n_series:
        return 0
    read = _reader(fine, n_series, _read_for(kept))
    rows = [(bucket, _statistics(kind, read(bucket))) for bucket in buckets]
    if _held(fine, max(1, first) * ratio, end * ratio) != buckets:  # a signal handler's record entered a row meanwhile
        return fold_small(kind, slabs, n_series, first, end)
    written = 0
    for window, each in groupby(rows, lambda row: row[0] // ratio):
        found = [statistics for _, statistics in each]
        covered = [statistics[COVERAGE] for statistics in found]
        merged = {name: _merged(name, [statistics[name] for statistics in found], covered) for name in kept}
        if len(found) == ratio or not _was_more(coarse, window, merged[COVERAGE]):
            _write(coarse, window, merged)
            written += 1
    return written


def _held(slab: Slab, first: int, end: int) -> list[int]:
    """Give the buckets that are held, of `first` to `end` - 1, each in its slot."""
    words, word, step, slots = slab.words, slab.row_word(0), slab.row_words, slab.spec.slot_count
    if end - first <= slots:
        return [each for each in range(first, end) if words[word + each % slots * step] == each]
    headers = words[word : word + slots * step : step].tolist()
    return sorted(each for slot, each in enumerate(headers) if first <= each < end and each % slots == slot)


def _block(slab: Slab, bucket: int, name: str) -> Any:
    """View one cell of a row, of all series."""
    placed, row = slab.spec.cell(name), slab.row_cells(ring.slot_of(bucket, slab.spec.slot_count))
    begin = placed.offset - layout.ROW_HEADER_BYTES
    end, kind = begin + calcsize(placed.format) * slab.spec.max_series, placed.format[-1]
    return row.cast("B")[begin:end].cast(kind)  # type: ignore[call-overload]


def _read_for(kept: Iterable[str]) -> set[str]:
    """Give the cells that these statistics of a coarser row come from, by names of all kinds and tiers."""
    found = {"count", "last", COVERAGE}
    for name in kept:
        found |= {name, MERGED_AS.get(name, name), f"{name}0", f"{name}1"}
        found |= {"first"} if name == "min" else set()  # of a counter
    return found


def _reader(slab: Slab, n_series: int, wanted: Collection[str]) -> Callable[[int], Columns]:
    """Give what reads a bucket's row, the first `n_series` of each cell that is wanted; sketches as such."""
    slots, floats, others = slab.spec.slot_count, [], []
    sketches = fold_sketches.reader(slab, n_series) if SKETCH in wanted else None
    for cell in slab.spec.cells:
        if cell.name == SKETCH or cell.name in SKETCH_CELLS or cell.name not in wanted:
            continue
        if cell.format == "d":
            begin = slab.cell_words(cell.name)
            floats.append((cell.name, slice(begin, begin + n_series)))
        else:
            others.append(cell.name)

    def read(bucket: int) -> Columns:
        row = slab.row_cells(bucket % slots)
        columns: Columns = {name: row[where].tolist() for name, where in floats}
        for name in others:
            columns[name] = _block(slab, bucket, name)[:n_series].tolist()
        if sketches is not None:
            columns[SKETCH] = sketches(bucket)
        return columns

    return read


def _statistics(kind: Kind, cells: Columns) -> Columns:
    """Read a row's cells as statistics, absent ones NaN; as `model.statistics` does."""
    if COVERAGE in cells:
        covered = cells[COVERAGE]
        known = {
            name: values if name == COVERAGE else [v if c else nan for v, c in zip(values, covered, strict=True)]
            for name, values in cells.items()
            if name != SKETCH
        }
        if SKETCH in cells:
            known[SKETCH] = [each if c else None for each, c in zip(cells[SKETCH], covered, strict=True)]
        if kind == "counter":
            known |= {name: known[like] for name, like in (("min", "first"), ("max", "last")) if like in known}
        return known
    if kind != "summary":
        last = cells["last"]
        statistics: Columns = dict.fromkeys(("first", "last", "min", "max", "sum"), last)
        statistics[COVERAGE] = _held_samples(last)
        for name, further in (("min", min), ("max", max)):  # NaN in the second place is never further
            if name in cells:
                statistics[name] = [further(v, peak) for v, peak in zip(last, cells[name], strict=True)]
        return statistics
    counts = list(map(abs, cells["count"]))
    whole: Columns = {"count": counts, COVERAGE: _held_samples(counts)}
    for name, empty in (("sum", 0.0), ("min", nan), ("max", nan)):
        if f"{name}0" not in cells:
            continue
        copies = zip(cells["count"], cells[f"{name}0"], cells[f"{name}1"], strict=True)
        whole[name] = [
            (second if count < 0 else one) if count else empty if count == 0 else nan for count, one, second in copies
        ]
    return whole | {name: cells[name] for name in ("count_base", "sum_base", SKETCH) if name in cells}


def _held_samples(values: list[float]) -> list[int]:
    """Count the samples, 0 or 1, of each series in a row of the finest tier."""
    return [int(not isnan(v)) for v in values] if isnan(sum(values)) else [1] * len(values)


def _merged(name: str, rows: list[list[Any]], covered: list[list[int]]) -> list[Any]:
    """Merge one statistic of a window's rows, series by series; see `statistics.WindowMerge`."""
    if name == SKETCH:
        return fold_sketches.merge_columns(rows)
    if len(rows) == 1:
        return rows[0]
    if name == COVERAGE:
        return list(map(sum, zip(*rows, strict=True)))
    merged_as = MERGED_AS.get(name, name)
    if isfinite(sum(map(sum, rows))):  # so none is absent: the interpreter's own loops do it
        whole = _MERGE_WHOLE[merged_as](rows)
        if merged_as != "sum" or isfinite(sum(whole)):
            return whole
    merge = _MERGE[merged_as]
    merged = []
    for column, each in zip(zip(*rows, strict=True), zip(*covered, strict=True), strict=True):
        known = [value for value in column if not isnan(value)]
        # A sum that is NaN though there are samples is no number, and so is what it is a part of.
        undefined = merged_as == "sum" and any(isnan(value) and n for value, n in zip(column, each, strict=True))
        merged.append(merge(known) if known and not undefined else nan)
    return merged


def _was_more(coarse: Slab, window: int, covered: Iterable[int]) -> bool:
    """Say whether the window's row that is there was folded from rows that are gone now, or its slot was given away."""
    slot = ring.slot_of(window, coarse.spec.slot_count)
    header = coarse.row_header(slot)
    if header[0] < 0:
        return ~header[0] > window and header[1] >> 32 == 0
    return header[0] == window and any(
        known > now for known, now in zip(_block(coarse, window, COVERAGE), covered, strict=False)
    )


def _write(coarse: Slab, window: int, merged: Mapping[str, list[Any]]) -> None:
    slot = ring.slot_of(window, coarse.spec.slot_count)
    header = coarse.row_header(slot)
    coarse.change()
    header[0] = ~window
    faults.point("fold.begin")
    # A reader that saw the row before sees that it was written since.
    header[1] = ((header[1] | 1) + 1) & layout.SEQUENCE_MASK
    for name, values in merged.items():
        block = _block(coarse, window, name)
        written: Any
        if name == SKETCH:
            written = fold_sketches.packed(values, coarse.spec.cell(name).each)
        else:
            absent = coarse.spec.max_series - len(values) if name == COVERAGE else 0
            written = array(block.format, values + [0] * absent)
        block[: len(written)] = written
        faults.point("fold.block")
    header[0] = window
    faults.point("fold.published")
    coarse.seal(slot)
    coarse.changed()
