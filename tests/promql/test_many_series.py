"""Many series over many steps, which are worked through in parts: each answer is that of its series and step alone."""

import tracemalloc

import numpy as np
import pytest

from rondo_promql import evaluate, evaluate_instant

N_SERIES, N_SAMPLES, STEP_MS = 150, 700, 1000
SPAN = (100_000, (N_SAMPLES - 1) * STEP_MS, STEP_MS)
FUNCTIONS = ("rate", "max_over_time", "stddev_over_time", "deriv", "count_over_time", "irate")


@pytest.fixture(scope="module")
def many():
    """Series with the same times, a few with a reset; and one that has no sample for a while."""
    chance = np.random.default_rng(7)
    stamps = np.arange(N_SAMPLES) * STEP_MS
    totals = chance.integers(0, 9, (N_SERIES, N_SAMPLES)).cumsum(axis=1).astype(float)
    totals[::7, 300:] -= totals[::7, 300:301]
    found = [
        ({"__name__": "c_total", "i": str(row), "l": str(row % 7)}, stamps, totals[row]) for row in range(N_SERIES)
    ]
    there = (stamps < 200_000) | (stamps > 400_000)
    return [*found, ({"__name__": "c_total", "i": "x", "l": "0"}, stamps[there], totals[3][there])]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_of_many_ranges_is_that_of_each(function, many, lists):
    """In whatever part a series lies, its values are those that it has alone."""
    query = f"{function}(c_total[1m])"
    together = {labels["i"]: (stamps, values) for labels, stamps, values in evaluate(query, lists(*many), *SPAN).series}
    assert len(together) == N_SERIES + 1
    for row in (0, 7, 46, 47, 92, N_SERIES - 1, N_SERIES):
        ((labels, stamps, values),) = evaluate(query, lists(many[row]), *SPAN).series
        assert np.array_equal(together[labels["i"]][0], stamps)
        np.testing.assert_allclose(together[labels["i"]][1], values, rtol=1e-12)


@pytest.mark.parametrize("operator", ["sum", "avg", "min", "count", "stddev"])
def test_an_aggregation_at_many_steps_is_that_at_each(operator, many, lists):
    """In whatever part a step lies, its groups and values are those of an instant query."""
    query, source = f"{operator} by (l) (c_total)", lists(*many)
    over = {
        labels["l"]: dict(zip(stamps.tolist(), values.tolist(), strict=True))
        for labels, stamps, values in evaluate(query, source, *SPAN).series
    }
    assert sorted(over) == list("0123456")
    for at_ms in (SPAN[0], 316_000, 317_000, 318_000, 533_000, SPAN[1]):
        alone = {labels["l"]: value for labels, value in evaluate_instant(query, source, at_ms).plain()}
        assert {label: values[at_ms] for label, values in over.items()} == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize(
    "query", ["rate(c_total[1m])", "quantile_over_time(0.9, c_total[1m])", "stddev_over_time(c_total[5m])"]
)
def test_what_is_made_along_the_way_is_small_beside_the_samples(query, many, lists):
    """At its highest memory has twice what was read and answered, and some MiB however much that is."""
    source = lists(*many)
    evaluate(query, source, *SPAN)
    tracemalloc.start()
    try:
        result = evaluate(query, source, *SPAN)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    answered = sum(values.nbytes for _, _, values in result.series)
    assert peak < 2 * (answered + N_SERIES * N_SAMPLES * 8) + (8 << 20)
