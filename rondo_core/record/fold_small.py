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
    statistics = _statistics(kind, _read(fine, n_series, _read_for(kept), buckets))
    if _held(fine, max(1, first) * ratio, end * ratio) != buckets:  # a signal handler's record entered a row meanwhile
        return fold_small(kind, slabs, n_series, first, end)
    written = 0
    windows = [bucket // ratio for bucket in buckets]
    for window, each in groupby(range(len(buckets)), windows.__getitem__):
        rows = list(each)
        values = slice(rows[0] * n_series, (rows[-1] + 1) * n_series)
        covered = statistics[COVERAGE][values]
        merged = {name: _merged(name, statistics[name][values], covered, n_series) for name in kept}
        if len(rows) == ratio or not _was_more(coarse, window, merged[COVERAGE]):
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


def _read(slab: Slab, n_series: int, wanted: Collection[str], buckets: Iterable[int]) -> Columns:
    """Read the first `n_series` of each cell that is wanted, one bucket's row after the other; sketches as such."""
    slots, floats, others = slab.spec.slot_count, [], []
    sketches = fold_sketches.reader(slab, n_series) if SKETCH in wanted else None
    columns: Columns = {SKETCH: []} if sketches is not None else {}
    for cell in slab.spec.cells:
        if cell.name == SKETCH or cell.name in SKETCH_CELLS or cell.name not in wanted:
            continue
        values = columns[cell.name] = []
        if cell.format == "d":
            floats.append((values, slab.cell_words(cell.name)))
        else:
            others.append((values, cell.name))
    cells, step, before = slab.cells, slab.row_words, slab.row_word(0) + layout.ROW_HEADER_BYTES // 8
    for bucket in buckets:
        row = before + bucket % slots * step
        for values, begin in floats:
            values.extend(cells[row + begin : row + begin + n_series].tolist())
        for values, name in others:
            values.extend(_block(slab, bucket, name)[:n_series].tolist())
        if sketches is not None:
            columns[SKETCH] += sketches(bucket)
    return columns


def _statistics(kind: Kind, cells: Columns) -> Columns:
    """Read the cells of rows as statistics, absent ones NaN; as `model.statistics` does."""
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
    """Count the samples, 0 or 1, of each series in rows of the finest tier."""
    return [int(not isnan(v)) for v in values] if isnan(sum(values)) else [1] * len(values)


def _merged(name: str, values: list[Any], covered: list[int], n_series: int) -> list[Any]:
    """Merge one statistic of a window's rows, which follow each other; see `statistics.WindowMerge`."""
    if name == SKETCH:
        return fold_sketches.merge_columns([values[at : at + n_series] for at in range(0, len(values), n_series)])
    if len(values) == n_series:
        return values
    columns = [values[series::n_series] for series in range(n_series)]
    if name == COVERAGE:
        return list(map(sum, columns))
    merged_as = MERGED_AS.get(name, name)
    merge = _MERGE[merged_as]
    if isfinite(sum(values)):  # so none is absent
        return list(map(merge, columns))
    merged = []
    for series, column in enumerate(columns):
        known = [value for value in column if not isnan(value)]
        # A sum that is NaN though there are samples is no number, and so is what it is a part of.
        samples = zip(column, covered[series::n_series], strict=True)
        undefined = merged_as == "sum" and any(isnan(value) and n for value, n in samples)
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
    row, header = coarse.row(slot)
    coarse.change()
    header[0] = ~window
    faults.point("fold.begin")
    # A reader that saw the row before sees that it was written since.
    header[1] = ((header[1] | 1) + 1) & layout.SEQUENCE_MASK
    written: Any
    for name, values in merged.items():
        cell = coarse.spec.cell(name)
        if cell.format == "d":
            begin = (cell.offset - layout.ROW_HEADER_BYTES) // 8
            row[begin : begin + len(values)] = array("d", values)
            faults.point("fold.block")
            continue
        block = _block(coarse, window, name)
        if name == SKETCH:
            written = fold_sketches.packed(values, cell.each)
        else:
            absent = coarse.spec.max_series - len(values) if name == COVERAGE else 0
            written = array(block.format, values + [0] * absent)
        block[: len(written)] = written
        faults.point("fold.block")
    header[0] = window
    faults.point("fold.published")
    coarse.seal(slot)
    coarse.changed()
