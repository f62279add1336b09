"""Functions of a range, each against a truth worked out by hand."""

import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rondo_promql import QueryExecutionError, evaluate, evaluate_instant
from rondo_promql.arrays.summation import group_sums, window_sums

MINUTE = 60_000
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("function", "values", "found"),
    [
        ("rate({}[5m])", [0, 60, 120, 180, 240], 0.8),
        ("increase({}[5m])", [0, 60, 120, 180, 240], 240),  # from 0 on nothing is extrapolated
        ("increase({}[5m])", [600, 660, 720, 780, 840], 300),
        ("increase({}[10m])", [600, 660, 720, 780, 840], 240 + 30),  # half an interval where the range begins earlier
        ("increase({}[10m])", [6, 66, 126, 186, 246], 240 + 6),  # less, where it would have been below 0
        ("increase({}[5m])", [100, 160, 20, 80, 140], (60 + 20 + 60 + 60) * 1.25),  # a reset counts from 0
        ("delta({}[5m])", [100, 160, 20, 80, 140], 40 * 1.25),
        ("irate({}[5m])", [0, 1, 2, 3, 63], 1),
        ("irate({}[5m])", [0, 1, 2, 63, 30], 0.5),
        ("idelta({}[5m])", [0, 1, 2, 63, 30], -33),
        ("rate({}[5m])", [1], None),
        ("rate({}[5m])", [1, 1], 0),
        ("sum_over_time({}[5m])", [1, 2, 3.5], 6.5),
        ("sum_over_time({}[5m])", [1, 1e100, 1, -1e100], 2),
        ("sum_over_time({}[5m])", [1, INF], INF),
        ("sum_over_time({}[5m])", [INF, -INF], NAN),
        ("sum_over_time({}[5m])", [1, NAN], NAN),
        ("avg_over_time({}[5m])", [1, 2, 6], 3),
        ("avg_over_time({}[5m])", [sys.float_info.max] * 4, sys.float_info.max),  # a sum would overflow
        ("avg_over_time({}[5m])", [1, -INF], -INF),
        ("min_over_time({}[5m])", [4, NAN, 2, 3], 2),
        ("max_over_time({}[5m])", [NAN, 4, 2, 3], 4),
        ("max_over_time({}[5m])", [NAN, NAN], NAN),
        ("count_over_time({}[5m])", [4, NAN, 2], 3),
        ("present_over_time({}[5m])", [NAN], 1),
        ("last_over_time({}[5m])", [4, 5, 6], 6),
        ("first_over_time({}[5m])", [4, 5, 6], 4),
        ("stdvar_over_time({}[5m])", [0, 8, 8, 2, 3], 10.56),
        ("stddev_over_time({}[5m])", [1.6, 1.6, 1.6], 0),
        ("quantile_over_time(0.75, {}[5m])", [0, 1, 4], 2.5),
        ("quantile_over_time(-0.1, {}[5m])", [0, 1, 4], -INF),
        ("quantile_over_time(1.1, {}[5m])", [0, 1, 4], INF),
        ("quantile_over_time(NaN, {}[5m])", [0, 1, 4], NAN),
        ("quantile_over_time(1, {}[5m])", [NAN, 1, 4], 4),  # NaN ranks lowest
        ("quantile_over_time(0, {}[5m])", [4, NAN, 1], NAN),
        ("changes({}[5m])", [1, 1, 2, NAN, NAN], 2),
        ("resets({}[5m])", [1, 0, 5, 4, NAN], 2),
        ("deriv({}[5m])", [0, 60, 120, 180, 240], 1),
        ("deriv({}[5m])", [7, 7, 7], 0),
        ("deriv({}[5m])", [7, INF, 7], NAN),
        ("predict_linear({}[5m], 60)", [0, 60, 120, 180, 240], 300),
        ("predict_linear({}[5m], 60)", [7], None),
    ],
)
def test_a_function_of_a_range_has_its_value(lists, series, at, function, values, found):
    """At the time of the fifth minute's sample, or as many as there are; None is no result."""
    source = lists(series("x_total", values, start_ms=(5 - len(values)) * MINUTE))
    name = "x_total" if function.startswith(("first", "last")) else "{}"
    answer = at(source, function.replace("{}", "x_total"), 4 * MINUTE)
    assert answer == ({} if found is None else {name: pytest.approx(found, rel=1e-14, nan_ok=True)})


def test_series_with_other_timestamps_and_gaps_are_answered_alike(lists, series, over):
    """Windows are found once for those that have the same timestamps; the others are none the worse for it."""
    values = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5]
    gapped = [None if place in {2, 3, 7} else value for place, value in enumerate(values)]
    alone = [
        series("x", values, i="a"),
        series("x", values, i="b", start_ms=1),
        series("x", gapped, i="c"),
        series("x", values[::-1], i="d"),
    ]
    for function in ("rate", "max_over_time", "sum_over_time", "stddev_over_time", "changes", "quantile_over_time"):
        query = f"{function}({'0.3, ' if function.startswith('quantile') else ''}x[150s])"
        together = over(lists(*alone), query, 0, 12 * MINUTE, 17_000)
        for each in alone:
            assert over(lists(each), query, 0, 12 * MINUTE, 17_000).items() <= together.items()


def test_the_time_that_a_prediction_is_for_is_that_of_the_step(lists, series, at):
    """Not that of `@`."""
    source = lists(series("x", [0, 60, 120]))
    assert at(source, "predict_linear(x[5m] @ 120, 60)", 10 * MINUTE) == {"{}": pytest.approx(660)}


def test_an_average_is_weighted_where_the_source_says_so(lists, series, at):
    """A coarser tier's values stand for as many observations as there were."""
    labels, stamps, values = series("x", [1, 4])
    assert at(lists((labels, stamps, values, [3.0, 1.0])), "avg_over_time(x[5m])", MINUTE) == {"{}": 1.75}


def test_absence_is_told_with_the_labels_that_were_asked_for(lists, series, over, at):
    """Those asked for once and by equality; nothing where any series has a sample."""
    source = lists(series("x", [1, None, None, None], a="b"))
    assert over(source, 'absent_over_time(x{a="b",c=~"|d"}[90s])', 0, 3 * MINUTE, MINUTE) == {
        '{a="b"}': [None, None, 1, 1]
    }
    assert at(source, 'absent(y{a="b",a="c",d="e",f!="g"})', 0) == {'{d="e"}': 1}
    assert at(source, "absent(x)", 0) == {}
    assert at(source, "absent(sum(y))", 0) == {"{}": 1}


def test_two_series_that_become_one_are_refused(lists, series):
    """Functions of ranges drop the name; the same labels twice have no meaning."""
    source = lists(series("x", [1, 2]), series("y", [1, 2]))
    with pytest.raises(QueryExecutionError, match="same labelset"):
        evaluate_instant('rate({__name__=~"x|y"}[5m])', source, MINUTE)


def test_a_gauge_that_is_rated_is_remarked_on(lists, series):
    """By its name, as Prometheus does."""
    result = evaluate_instant("rate(x[5m])", lists(series("x", [1, 2])), MINUTE)
    assert result.infos == [
        'PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x"'
    ]
    assert evaluate_instant("rate(x_total[5m])", lists(series("x_total", [1, 2])), MINUTE).infos == []


def test_windows_beyond_all_samples_are_empty(lists, series):
    """Before, behind and in a series without samples."""
    source = lists(series("x", [1, 2, 3]), series("x", [], i="none"))
    for function in ("rate", "irate", "deriv", "min_over_time", "sum_over_time", "stdvar_over_time", "resets"):
        assert evaluate(f"{function}(x[1m])", source, -600_000, -300_000, 1000).plain() == []
        assert evaluate(f"{function}(x[1m])", source, 600_000, 900_000, 1000).plain() == []


FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64)
NEAR = st.floats(min_value=-1e6, max_value=1e6, allow_subnormal=False)


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.lists(NEAR, min_size=1, max_size=60), st.lists(FLOATS, min_size=1, max_size=12)), st.data())
def test_a_window_sums_to_the_nearest_float(values, data):
    """Whatever lies beside the window, as if it had been added exactly; and a group of rows likewise."""
    low = data.draw(st.integers(0, len(values)))
    high = data.draw(st.integers(low, len(values)))
    window = values[low:high]
    try:
        exact = math.fsum(window)
    except OverflowError:
        exact = sum(window)
    column = np.array(values)
    with np.errstate(all="ignore"):
        summed = window_sums(column[None, :], np.array([low]), np.array([high]))[0, 0]
        grouped = group_sums(np.array(window or [0.0])[:, None], np.array([0]))[0, 0]
    largest = max(map(abs, window), default=0.0)
    for found in (summed, grouped):
        assert found == pytest.approx(exact, rel=1e-15, abs=largest * 2e-30) or abs(exact) > 1e308
