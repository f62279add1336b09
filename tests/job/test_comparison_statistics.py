"""What a comparison promises of runs whose noise is known: seldom an alarm for nothing, hardly a change missed."""

import math

import numpy as np
import pytest

from rondo_job.comparison.comparing import sensitivity_of
from rondo_job.comparison.statistics import compare_runs
from rondo_job.reports.figures import COMPARED, FIGURE_OF

RUNS = 5
USUAL = {"seconds": 90.0, "bytes": 4e9}


def sensitivity(figure):
    return sensitivity_of(figure, FIGURE_OF[figure].unit)


def runs(rng, figure, noise, change=0.0, n=RUNS):
    usual = USUAL[FIGURE_OF[figure].unit] * (1 + change)
    return (usual * np.exp(rng.normal(0.0, noise, n))).tolist()


def noise_of(rng, figure):
    """As much noise as the promise is for: memory half of the others."""
    return rng.uniform(0.0, 0.015 if figure.startswith("memory") else 0.03)


def verdicts(rng, figure, noise, change=0.0):
    return compare_runs(runs(rng, figure, noise), runs(rng, figure, noise, change), sensitivity(figure)).verdict


def test_of_a_thousand_comparisons_without_a_change_hardly_any_tells_one():
    """Of 1,000 comparisons of five runs each, all figures together, at most 1.5 % call anything a change."""
    rng = np.random.default_rng(20_261_129)
    alarms = sum(
        any(verdicts(rng, figure, noise_of(rng, figure)) in {"more", "less"} for figure in COMPARED)
        for _ in range(1000)
    )
    assert alarms <= 15


@pytest.mark.parametrize(("figure", "change"), [("cpu_seconds", 0.10), ("memory_peak", 0.05), ("cpu_seconds", -0.10)])
def test_a_change_is_found(figure, change):
    """10 % of CPU and 5 % of memory are found in 95 % of 1,000 comparisons, with the sign that they have."""
    rng = np.random.default_rng(16)
    wanted = "more" if change > 0 else "less"
    found = sum(verdicts(rng, figure, noise_of(rng, figure), change) == wanted for _ in range(1000))
    assert found >= 950


def test_with_the_most_noise_of_the_promise_it_still_holds_for_each_figure():
    """Where every run has that much, 955 of 1,000 changes are found, and one of 100 comparisons makes one up."""
    rng, n = np.random.default_rng(3), 4000
    for figure, noise, change in (("cpu_seconds", 0.03, 0.10), ("memory_peak", 0.015, 0.05)):
        found = [verdicts(rng, figure, noise, change) for _ in range(n)]
        assert found.count("more") >= 0.955 * n
        made_up = [verdicts(rng, figure, noise) for _ in range(n)]
        assert made_up.count("more") + made_up.count("less") <= 0.01 * n


def test_runs_that_are_too_noisy_are_not_judged():
    """With 20 % of noise nothing can be told, and that is what is said; a change of three times is told all the same."""
    rng = np.random.default_rng(9)
    said = [verdicts(rng, "cpu_seconds", 0.20) for _ in range(500)]
    assert said.count("cannot tell") >= 485
    large = [verdicts(rng, "cpu_seconds", 0.20, 2.0) for _ in range(200)]
    assert large.count("more") >= 195


def test_one_run_that_went_wrong_moves_no_median():
    """One of five runs that took ten times as long makes neither an alarm nor another ratio."""
    base = [100.0, 101.0, 99.0, 100.5, 99.5]
    change = compare_runs(base, [100.2, 99.8, 1000.0, 100.1, 99.9], sensitivity("cpu_seconds"))
    assert change.verdict == "cannot tell"
    assert change.ratio == pytest.approx(1.0, abs=0.01)


def test_one_new_run_is_held_against_the_noise_of_those_before():
    """A CI step runs once: against twenty runs with 2 % of noise, 30 % more CPU is told, and 3 % more is not."""
    rng = np.random.default_rng(4)
    base = runs(rng, "cpu_seconds", 0.02, n=20)
    assert compare_runs(base, [USUAL["seconds"] * 1.3], sensitivity("cpu_seconds")).verdict == "more"
    assert compare_runs(base, [USUAL["seconds"] * 1.03], sensitivity("cpu_seconds")).verdict == "same"


def test_of_one_run_each_nothing_is_told_but_the_ratio():
    """Two runs have a ratio and no noise."""
    change = compare_runs([10.0], [20.0], sensitivity("cpu_seconds"))
    assert (change.verdict, change.noise, change.band) == ("cannot tell", None, None)
    assert change.ratio == pytest.approx(2.0)


def test_what_is_below_the_resolution_is_no_change():
    """Ten milliseconds more of five are twice as much, and nothing that anybody has to know of."""
    assert compare_runs([0.005] * 5, [0.010] * 5, sensitivity("cpu_seconds")).verdict == "same"
    assert compare_runs([0] * 5, [4096] * 5, sensitivity("io_written")).verdict == "same"


def test_nothing_that_becomes_something_is_told():
    """Noughts have no ratio: a program that begins to write is told by groups that do not overlap."""
    change = compare_runs([0.0] * 5, [5e7, 6e7, 5e7, 5.5e7, 5e7], sensitivity("io_written"))
    assert (change.verdict, change.ratio) == ("more", None)
    assert compare_runs([0.0, 0.0, 8e7], [0.0, 6e7, 7e7], sensitivity("io_written")).verdict == "cannot tell"


def test_a_comparison_of_nothing_tells_nothing():
    """A figure that one side does not have is no change, whatever the other side has."""
    assert compare_runs([], [1.0, 2.0], sensitivity("duration")).verdict == "cannot tell"
    assert compare_runs([1.0] * 5, [], sensitivity("duration")).new is None


def test_a_band_is_wider_the_fewer_the_runs_are():
    """The same noise of fewer runs is known less well, so that a change has to be larger."""
    bands = []
    for n in (3, 4, 6, 12):
        half = 0.04
        values = [100 * math.exp(half * (-1) ** each) for each in range(n)]
        bands.append(compare_runs(values, [3 * each for each in values], sensitivity("cpu_seconds")).band)
    assert bands == sorted(bands, reverse=True)
    assert bands[0] > 1.5 * bands[-1]
