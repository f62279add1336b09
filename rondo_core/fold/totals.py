"""Totals of many summaries carried from row to row, as whole tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells

_HIGHEST = float(np.finfo(np.float64).max)


def carry_totals(row: Cells, before: Cells, width: int, n_series: int, empty: Sequence[float]) -> None:
    """Let the totals of summaries of `row`, bases and what it holds itself, be those of `before`.

    Args: `width`: values of a block; `empty`: what the blocks of a summary without observations hold; see SummaryRows.
    """
    new, old = (np.asarray(each)[: 9 * width].reshape(9, width)[:, :n_series] for each in (row, before))
    alive = ~np.isnan(old[0])
    starting = alive & np.isnan(new[0])
    for cell, value in enumerate((*empty, 0.0, 0.0)):
        new[cell, starting] = value
    counts = old[7] + np.abs(old[0]) - np.abs(new[0])
    with np.errstate(all="ignore"):
        totals, own = old[8] + np.where(old[0] < 0, old[2], old[1]), np.where(new[0] < 0, new[2], new[1])
        sums = totals - own
        if not np.isfinite(sums[alive]).all():
            sums = np.clip(np.clip(totals, -_HIGHEST, _HIGHEST) - own, -_HIGHEST, _HIGHEST)
    new[7, alive], new[8, alive] = counts[alive], sums[alive]
