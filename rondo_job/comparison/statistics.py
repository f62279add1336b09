"""Whether two groups of runs differ by more than their noise: pure, over the values of one figure.

What is estimated is the ratio of the two: the median of the ratios of each pair of a new and a base value (Hodges and
Lehmann's estimator, of the logarithms), which one run that went wrong does not move, and which is nearly as exact as a
mean. The noise is the standard deviation within the groups, as a share of the value. A change is one where the ratio is
outside of a band around 1 that is never narrower than `least_change`, and wider the noisier the runs are; where the
noise is above `most_noise`, only a change that is far outside is told, and otherwise that nothing can be told.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

Verdict = Literal["more", "less", "same", "cannot tell"]
# How many standard errors a change has to be away from none: usually, and where the noise is large. Chosen on simulated
# runs for the promises of docs/report.md; tests/job/test_comparison_statistics.py holds them.
_ERRORS, _ERRORS_IF_NOISY = 2.5, 5.0
_LEAST_FREEDOM = 3  # runs in all, less the two groups: with fewer the noise is not known
# Student's t at the same chances as the normal 2.5, for few degrees of freedom: what `_ERRORS` was chosen at is 8.
_CHOSEN_AT = 8


@attrs.frozen
class Sensitivity:
    """How fine a kind of figure is looked at.

    Attributes:
        least_change: the least ratio, less 1, that is called a change; most_noise: the standard deviation, as a share
            of the value, up to which a band is told.
        resolution: the difference, in the figure's unit, below which nothing is one.
    """

    least_change: float = 0.055
    most_noise: float = 0.05
    resolution: float = 0.0


TIME = Sensitivity(resolution=0.02)
MEMORY = Sensitivity(0.0275, 0.025, resolution=256 << 10)
BYTES = Sensitivity(resolution=1 << 20)
COUNT = Sensitivity(resolution=0.5)


@attrs.frozen
class Change:
    """What became of one figure.

    Attributes:
        base, new: medians of the groups; None: a group has no value.
        ratio: of new to base; None: one of them is nought, or unknown.
        noise: the standard deviation within the groups, as a share; None: too few runs to know.
        band: how far from 1 a ratio may be that is still no change, as a share; None: not known.
        verdict; n_base, n_new: how many runs.
    """

    base: float | None
    new: float | None
    ratio: float | None
    noise: float | None
    band: float | None
    verdict: Verdict
    n_base: int
    n_new: int


def compare_runs(base: Sequence[float], new: Sequence[float], sensitivity: Sensitivity = TIME) -> Change:
    """Compare the values that a figure had in two groups of runs. Args: values of at least 0, in the figure's unit."""
    if not base or not new:
        medians = [float(np.median(each)) if each else None for each in (base, new)]
        return Change(medians[0], medians[1], None, None, None, "cannot tell", len(base), len(new))
    old, now = np.asarray(base, dtype=float), np.asarray(new, dtype=float)
    before, after = float(np.median(old)), float(np.median(now))
    sizes = len(old), len(now)
    if abs(after - before) <= sensitivity.resolution:
        ratio = after / before if before > 0 else None
        return Change(before, after, ratio, _noise(old, now), sensitivity.least_change, "same", *sizes)
    if min(old.min(), now.min()) <= 0:
        return _of_zeros(old, now, sensitivity)
    shift = float(np.median(np.log(now)[:, None] - np.log(old)[None, :]))
    noise = _noise(old, now)
    if noise is None:
        return Change(before, after, math.exp(shift), None, None, "cannot tell", *sizes)
    error = noise * math.sqrt(1 / len(old) + 1 / len(now))
    is_noisy = noise > sensitivity.most_noise
    errors = (_ERRORS_IF_NOISY if is_noisy else _ERRORS) * _widened(sum(sizes) - 2)
    band = max(sensitivity.least_change, errors * error)
    verdict: Verdict = "cannot tell" if is_noisy else "same"
    if abs(shift) > band:
        verdict = "more" if shift > 0 else "less"
    return Change(before, after, math.exp(shift), noise, math.expm1(band), verdict, *sizes)


def _noise(old: NDArray[np.float64], now: NDArray[np.float64]) -> float | None:
    """Give the standard deviation of the logarithms within the groups; None: too few runs, or a nought among them."""
    freedom = len(old) + len(now) - 2
    if freedom < _LEAST_FREEDOM or min(old.min(), now.min()) <= 0:
        return None
    squares = sum(float(((np.log(each) - np.log(each).mean()) ** 2).sum()) for each in (old, now))
    return math.sqrt(squares / freedom)


def _widened(freedom: int) -> float:
    """Give how much wider a band is where noise is known from fewer runs: about as Student's t is to that of eight."""
    return math.sqrt((freedom / (freedom - 2)) / (_CHOSEN_AT / (_CHOSEN_AT - 2))) if freedom > 2 else 2.0


def _of_zeros(old: NDArray[np.float64], now: NDArray[np.float64], sensitivity: Sensitivity) -> Change:
    """Compare where some values are nought, which have no ratio: a change is told where the groups do not overlap."""
    before, after = float(np.median(old)), float(np.median(now))
    ratio = after / before if before > 0 and after > 0 else None
    verdict: Verdict = "cannot tell"
    if len(old) + len(now) - 2 >= _LEAST_FREEDOM:
        if now.min() > old.max() + sensitivity.resolution:
            verdict = "more"
        elif now.max() < old.min() - sensitivity.resolution:
            verdict = "less"
    return Change(before, after, ratio, None, None, verdict, len(old), len(now))
