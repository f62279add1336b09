"""The primitives that merge exactly, their place in a row, and how a fine tier folds into a coarser one.

Averages are never stored: sum and count are, and avg is a reading of them. numpy is imported where values are
folded, so that a process that only records does without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

from rondo_core.errors import SchemaError
from rondo_core.model import sketch, sketch_bytes
from rondo_core.model.labels import Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[Any]
    Merge = Callable[[Values], Values]

COVERAGE = "coverage"
SKETCH = "sketch"
_HOUR_NS = 3_600_000_000_000

# The cells of the finest tier, each float64 and one per series. A summary holds two copies of what it
# accumulates: copy 1 is the whole one while `count` is negative, else copy 0; the other is the one being written, so
# storing `count`, its sign turned, publishes an observation in one piece.
FINE_CELLS: dict[Kind, tuple[str, ...]] = {
    "counter": ("last",),
    "gauge": ("last",),
    "summary": ("count", "sum0", "sum1", "min0", "min1", "max0", "max1", "count_base", "sum_base"),
}
# What a summary with a sketch has besides, in the finest tier: see sketch.py.
SKETCH_CELLS = ("sketch_head", "sketch0", "sketch1")
# What a gauge with peaks has besides, in the finest tier: the least and the greatest value of the bucket.
PEAK_CELLS = ("min", "max")
# The statistics of coarser tiers. A counter's min and max are its first and last.
COARSE_STATISTICS: dict[Kind, tuple[str, ...]] = {
    "counter": ("first", "last", COVERAGE),
    "gauge": ("first", "last", "min", "max", "sum", COVERAGE),
    "summary": ("count", "sum", "min", "max", "count_base", "sum_base", COVERAGE),
}


def fine_cells(kind: Kind, sketched: bool, peaks: bool = False) -> tuple[str, ...]:
    """Name the cells of the finest tier, in file order."""
    return (*FINE_CELLS[kind], *(SKETCH_CELLS if sketched else ()), *(PEAK_CELLS if peaks else ()))


def coarse_statistics(kind: Kind, sketched: bool) -> tuple[str, ...]:
    """Name the statistics that a coarse tier can keep, in file order."""
    return (*COARSE_STATISTICS[kind], SKETCH) if sketched else COARSE_STATISTICS[kind]


def cell_format(cell: str, buckets_per_row: int, interval_ns: int, sketch_layout: int) -> str:
    """Give a cell's struct format, of what one series has of it.

    d (float64); for coverage H or I, which holds the buckets of a row; for the counts of a sketch I, which no process
    overflows in an hour; for a packed sketch bytes, or in layout 1 I or Q.
    """
    if cell == COVERAGE:
        return "H" if buckets_per_row < 1 << 16 else "I"
    if cell == SKETCH:
        if sketch_layout == sketch.LAYOUT:
            return f"{sketch_bytes.packed_bytes(interval_ns)}B"
        return f"{sketch.CELLS_OF[sketch_layout] + sketch.EXTRA_WORDS}{'I' if interval_ns < _HOUR_NS else 'Q'}"
    bank = f"{sketch.CELLS_OF[sketch_layout] + 1}I"
    return {"sketch_head": "q", "sketch0": bank, "sketch1": bank}.get(cell, "d")


def check_statistics(
    kind: Kind, statistics: tuple[str, ...], finer: tuple[str, ...], sketched: bool
) -> tuple[str, ...]:
    """Put the statistics of a coarse tier into their canonical order, coverage always among them.

    Raises: SchemaError: one is not kept for this kind, or is not kept by the finer tier that it folds from.
    """
    known = coarse_statistics(kind, sketched)
    for name in statistics:
        if name == SKETCH and name not in known:
            raise SchemaError("statistic 'sketch': only a summary's schema with sketch = true keeps one")
        if name not in known:
            raise SchemaError(f"statistic {name!r}: a {kind} keeps {', '.join(known)}")
        if name not in finer:
            raise SchemaError(f"statistic {name!r}: the finer tier does not keep it; add it there")
    return tuple(name for name in known if name in statistics or name == COVERAGE)


def cells_for(kind: Kind, kept: tuple[str, ...], statistic: str) -> tuple[str, ...]:
    """Name the cells, of those that a tier keeps, from which a statistic is read; none where it cannot be."""
    if statistic in kept:
        return (statistic,)
    if kind == "counter":
        standing = {"min": "first", "max": "last"}.get(statistic, "")
        if standing in kept:
            return (standing,)
    if COVERAGE in kept:
        return ()
    if statistic == SKETCH:
        return SKETCH_CELLS if SKETCH_CELLS[0] in kept else ()
    if kind == "summary":
        copies = (f"{statistic}0", f"{statistic}1")
        return ("count", *copies) if copies[0] in kept else ("count",) if statistic == COVERAGE else ()
    return ("last",) if statistic in COARSE_STATISTICS[kind] or statistic == "min" else ()


def cell_statistics(kind: Kind, cells: Mapping[str, Values]) -> dict[str, Values]:
    """Read the finest tier's cells as the statistics of one bucket each.

    Args:
        cells: name -> float64, all of one shape; NaN where a bucket holds no sample. A summary's need "count", all
            others' "last".
    Returns: every statistic that these cells tell, in that shape; coverage is 1 or 0.
    """
    import numpy as np

    if kind == "summary":
        return _summary_statistics(cells)
    last = cells["last"]
    statistics = dict.fromkeys((*COARSE_STATISTICS[kind], "min", "max"), last)
    for name, further in (("min", np.fmin), ("max", np.fmax)):
        if name in cells:  # the last value may have been stored, or read, a moment before it
            statistics[name] = np.where(np.isnan(last), np.nan, further(cells[name], last))
    statistics[COVERAGE] = (~np.isnan(last)).astype(np.int64)
    return statistics


def _summary_statistics(cells: Mapping[str, Values]) -> dict[str, Values]:
    import numpy as np

    count = np.abs(cells["count"])
    second = cells["count"] < 0
    filled = count > 0
    statistics: dict[str, Values] = {"count": count}
    for name in ("sum", "min", "max"):
        if name + "0" in cells:
            statistics[name] = np.where(second, cells[name + "1"], cells[name + "0"])
    if not filled.all():
        for name in statistics.keys() - {"count"}:
            statistics[name][~filled] = np.nan
        if "sum" in statistics:
            statistics["sum"][count == 0] = 0.0
    for name in ("count_base", "sum_base"):
        if name in cells:
            statistics[name] = cells[name]
    if "sketch_head" in cells:
        statistics[SKETCH] = sketch.of_cells(cells["sketch_head"], (cells["sketch0"], cells["sketch1"]))
    statistics[COVERAGE] = (~np.isnan(count)).astype(np.int64)
    return statistics


# A sum of finite values that no float holds stands at the last one that does, so that an infinite sum is one of
# infinite values; powers of two scale exactly.
_HIGHEST = 1.7976931348623157e308
_SCALE = 2.0**-64


def finite_sum(values: Iterable[float]) -> float:
    """Add up finite values of which some sum on the way is none; the result is finite."""
    total = reduce(add, (value * _SCALE for value in values)) / _SCALE
    return max(-_HIGHEST, min(total, _HIGHEST))


def mend_sums(sums: Values, block: Values) -> None:
    """Give sums that are not finite, though all their values are, the value of `finite_sum`.

    Args: `sums`: [windows, series], changed; `block`: [ratio, windows, series], NaN where absent.
    """
    import numpy as np

    # One pass tells, in nearly every case, that all are finite.
    if np.isfinite(np.add.reduce(sums, axis=None)):
        return
    overflown = ~(np.isfinite(sums) | np.isinf(block).any(axis=0) | np.isnan(block).all(axis=0))
    if overflown.any():
        values = np.where(np.isnan(block[:, overflown]), 0.0, block[:, overflown])
        sums[overflown] = np.clip(np.add.reduce(values * _SCALE, axis=0) / _SCALE, -_HIGHEST, _HIGHEST)


def _added(block: Values) -> Values:
    """Add up buckets one after the other, the first to -0.0, as Python does; numpy adds a single column up pairwise."""
    import numpy as np

    sums: Values = np.add.accumulate(block, axis=0)[-1] if block[0].size == 1 else block.sum(axis=0, initial=-0.0)
    return sums


# Merging [ratio, windows, series] over the buckets of each window: where every bucket holds a sample, and where some
# are absent (NaN; coverage: 0), which gives NaN where all are.
_WHOLE: dict[str, Callable[[Values], Any]] = {
    "first": lambda block: block[0],
    "last": lambda block: block[-1],
    "min": lambda block: block.min(axis=0),
    "max": lambda block: block.max(axis=0),
    "sum": _added,
}


def _first(block: Values) -> Values:
    import numpy as np

    index = np.argmax(~np.isnan(block), axis=0)
    values: Values = np.take_along_axis(block, index[None], axis=0)[0]
    return values


def _last(block: Values) -> Values:
    return _first(block[::-1])


def _sum(block: Values) -> Values:
    import numpy as np

    absent = np.isnan(block)
    sums = _added(np.where(absent, -0.0, block))
    sums[absent.all(axis=0)] = np.nan
    return sums


def _min(block: Values) -> Values:
    import numpy as np

    values: Values = np.fmin.reduce(block, axis=0)
    return values


def _max(block: Values) -> Values:
    import numpy as np

    values: Values = np.fmax.reduce(block, axis=0)
    return values


_HOLED: dict[str, Merge] = {"first": _first, "last": _last, "min": _min, "max": _max, "sum": _sum}
# From so many series on a window's buckets are merged where they lie; fewer are first laid out bucket by bucket, so
# that a merge is a few long passes.
_WIDE = 256
MERGED_AS = {"count": "sum", "count_base": "first", "sum_base": "first"}


class WindowMerge:
    """Merges statistics of fine buckets over windows; what several statistics have in common is worked out once."""

    def __init__(self, places: Any, n_windows: int, ratio: int) -> None:
        """Take each row's place (window * ratio + bucket within it), a slice or an array, for `n_windows` windows."""
        self._places, self._shape = places, (n_windows, ratio)
        self._blocks: dict[int, tuple[Values, Values, Values | None]] = {}

    def __call__(self, statistic: str, values: Values, covered: Values | None = None) -> Values:
        """Merge one statistic.

        Args: `values`: [rows, series], a sketch's [rows, series, cells + 3]; NaN (coverage, sketch: 0) where absent;
            `covered`: the coverage of values that were merged before: a sum of them that is NaN where it is not 0 is
            no number, or not known, and makes its window's so.
        Returns: [windows, series]; NaN (coverage: 0) where every bucket of the window was absent.
        """
        import numpy as np

        if statistic == COVERAGE:
            counts: Values = self._block(values, 0).sum(axis=0, dtype=np.int64)
            return counts
        if statistic == SKETCH:
            return sketch.merge(values, self.windows(), self._shape[0])
        _, block, holed = self._blocks.get(id(values)) or self._prepared(values)
        merge = MERGED_AS.get(statistic, statistic)
        if holed is None:
            merged: Values = _WHOLE[merge](block)
        elif holed.all():
            merged = _HOLED[merge](block)
        else:
            merged = np.empty(block.shape[1:])
            merged[holed] = _HOLED[merge](block[:, holed])
            merged[~holed] = _WHOLE[merge](block[:, ~holed])
        if merge == "sum":
            mend_sums(merged, block)
            if covered is not None and holed is not None:
                merged[(np.isnan(block) & (self._block(covered, 0) > 0)).any(axis=0)] = np.nan
        return merged

    def windows(self) -> Values:
        """Give the window of each row: int64 [rows]."""
        import numpy as np

        ratio = self._shape[1]
        windows: Values = np.arange(self._shape[0] * ratio)[self._places] // ratio
        return windows

    def coverage(self, values: Values) -> Values:
        """Count the buckets of each window in which a value is not absent: int64 [windows, series]."""
        import numpy as np

        _, block, holed = self._blocks.get(id(values)) or self._prepared(values)
        if holed is None:
            return np.full(block.shape[1:], len(block))
        counts: Values = (~np.isnan(block)).sum(axis=0)
        return counts

    def _prepared(self, values: Values) -> tuple[Values, Values, Values | None]:
        """Lay the rows out by window, and say which windows have absent buckets; the values are kept for their id."""
        import numpy as np

        block = self._block(values, np.nan)
        holed: Any = None
        if np.isnan(block.min()):  # one pass tells whether a NaN is among them
            holed = np.isnan(block).any(axis=(0, 2))
        self._blocks[id(values)] = values, block, holed
        return values, block, holed

    def _block(self, values: Values, absent: float) -> Values:
        """Lay rows out as [ratio, windows, series], absent where a window has no row of a bucket."""
        import numpy as np

        (n_windows, ratio), series = self._shape, values.shape[1]
        if len(values) < n_windows * ratio:
            whole = np.full((n_windows * ratio, series), absent, values.dtype)
            whole[self._places] = values
            values = whole
        block = values.reshape(n_windows, ratio, series).swapaxes(0, 1)
        return block if series >= _WIDE else np.ascontiguousarray(block)


def complete_statistics(kind: Kind, statistics: Mapping[str, Values]) -> dict[str, Values]:
    """Mark uncovered buckets as absent, and give a counter the min and max that follow from its first and last.

    Args: `statistics`: a coarser tier's cells as they were copied; a sketch's are unpacked.
    """
    import numpy as np

    covered: NDArray[np.bool_] = statistics[COVERAGE] > 0
    whole = dict(statistics)
    if SKETCH in whole:
        whole[SKETCH] = sketch_bytes.unpack(whole[SKETCH])
    if not covered.all():
        whole = {
            name: v if name == COVERAGE else np.where(covered, v, np.nan) for name, v in whole.items() if name != SKETCH
        } | {name: np.where(covered[..., None], v, 0) for name, v in whole.items() if name == SKETCH}
    if kind == "counter":
        if "first" in whole:
            whole["min"] = whole["first"]
        if "last" in whole:
            whole["max"] = whole["last"]
    return whole
