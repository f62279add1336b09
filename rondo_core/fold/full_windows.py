"""Fold windows of which every bucket holds a sample of every series: a few passes over all statistics together.

That is what a store that records once a bucket folds all day. The rows that come out are, bit for bit, those of
`statistics.WindowMerge`, which folds what has holes, sketches, and summaries of the finest tier.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rondo_core.model.statistics import COVERAGE, MERGED_AS, SKETCH, laid_side_by_side
from rondo_core.storage.slab import FLOATS, Slab

_AT_ONCE = 1 << 17  # cells that are merged at a time
_LEAST = 256  # series


@lru_cache(64)
def sources(finer: tuple[str, ...], kept: tuple[str, ...]) -> tuple[tuple[str, int], ...] | None:
    """Say of each float64 statistic of a coarse tier how it is merged, and from which of the finer tier's cells.

    Args: `finer`, `kept`: the cells of both tiers, in file order.
    Returns: ("sum", 3) for the fourth; None where a statistic is no plain merge of one cell.
    """
    if SKETCH in kept or ("count" in finer and COVERAGE not in finer):
        return None
    named = [name for name in kept if name != COVERAGE]
    # Every statistic of one sample is the sample.
    cells = {name: finer.index(name) for name in named} if COVERAGE in finer else dict.fromkeys(named, 0)
    return tuple((MERGED_AS.get(name, name), cells[name]) for name in named)


def fold_whole(
    fine: Slab, runs: tuple[slice, ...], ratio: int, n_series: int, kept: tuple[str, ...]
) -> dict[str, Any] | None:
    """Fold the rows of these slots, whole windows one after the other.

    Args: `runs`: each a multiple of `ratio` rows; `kept`: the cells of the coarser tier.
    Returns: what `Slab.block` is to hold of each window, under its name; None where a sample is absent, a sum is not
        finite, or the kinds of cells are not of those that are folded here.
    """
    plan = sources(tuple(cell.name for cell in fine.spec.cells), kept)
    if plan is None:
        return None
    n_windows = sum(run.stop - run.start for run in runs) // ratio
    if fine.spec.tier:
        covered = np.empty((n_windows, ratio, n_series), np.int64)
        _fill(covered, fine.block(COVERAGE), runs)
        if not covered.all():
            return None
        coverage = np.add.reduce(covered, axis=1)
    else:
        coverage = np.full((n_windows, n_series), ratio)
    folded = {COVERAGE: coverage}
    if plan:
        floats = fine.block(FLOATS)
        merged = np.empty((len(plan), n_windows, n_series))
        for some in _parts(n_series, n_windows * ratio * floats.shape[2]):
            laid = _laid(floats[:, some], runs, n_windows, ratio, side_by_side=laid_side_by_side(n_series))
            for (how, cell), values in zip(plan, merged[:, :, some], strict=True):
                _merge(how, laid[cell], values)
                if how == "sum" and not np.isfinite(np.add.reduce(values, axis=None)):
                    return None
            # A NaN of any bucket is in its window's min, max and sum; which first or last it is counts in tier 0.
            seen = merged[:, :, some] if fine.spec.tier or _tells_all(plan) else laid
            if np.isnan(np.minimum.reduce(seen, axis=None)):
                return None
        folded[FLOATS] = merged.transpose(1, 2, 0)
    return folded


def _parts(n_series: int, n_each: int) -> Iterator[slice]:
    """Divide series, of which each has so many cells, into parts of about the same size that a cache can hold."""
    n_parts = max(1, min(n_series * n_each // _AT_ONCE, n_series // _LEAST))
    for part in range(n_parts):
        yield slice(n_series * part // n_parts, n_series * (part + 1) // n_parts)


def _laid(
    floats: NDArray[np.float64], runs: tuple[slice, ...], n_windows: int, ratio: int, *, side_by_side: bool
) -> NDArray[np.float64]:
    """Copy rows of [slots, series, cells] into [cells, ratio, windows, series]."""
    _, n_series, n_cells = floats.shape
    if side_by_side:
        laid = np.empty((n_cells, n_windows, ratio, n_series)).swapaxes(1, 2)
    else:
        laid = np.empty((n_cells, ratio, n_windows, n_series))
    _fill(laid.transpose(2, 1, 3, 0), floats, runs)
    return laid


def _tells_all(plan: tuple[tuple[str, int], ...]) -> bool:
    return any(how not in {"first", "last"} for how, _ in plan)


def _fill(windows: NDArray[Any], block: NDArray[Any], runs: tuple[slice, ...]) -> None:
    """Copy rows into [windows, ratio, series, ...]."""
    ratio, n_series, at = windows.shape[1], windows.shape[2], 0
    for run in runs:
        rows = block[run, :n_series]
        end = at + len(rows) // ratio
        windows[at:end] = rows.reshape(end - at, ratio, *rows.shape[1:])
        at = end


def _merge(how: str, block: NDArray[np.float64], into: NDArray[np.float64]) -> None:
    """Merge [ratio, windows, series] over the buckets of each window."""
    if how == "sum":
        np.add.reduce(block, axis=0, out=into)
    elif how == "min":
        np.minimum.reduce(block, axis=0, out=into)
    elif how == "max":
        np.maximum.reduce(block, axis=0, out=into)
    else:
        into[...] = block[0 if how == "first" else -1]
