"""Aggregations, per step and per group."""

import math
import sys

import pytest

from rondo_promql import QueryExecutionError, evaluate, evaluate_instant

NAN, INF = math.nan, math.inf


@pytest.fixture
def source(lists, series):
    return lists(
        series("x", [1, 6], job="a", i="0"),
        series("x", [2, 5], job="a", i="1"),
        series("x", [3, 4], job="b", i="0"),
        series("x", [4, NAN], job="b", i="1"),
        series("k", [2, 1]),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("sum(x)", {"{}": 10}),
        ("sum by (job) (x)", {'{job="a"}': 3, '{job="b"}': 7}),
        ("sum by () (x)", {"{}": 10}),
        ("sum without (i) (x)", {'{job="a"}': 3, '{job="b"}': 7}),
        ("sum without (i, job) (x)", {"{}": 10}),
        ("sum by (none) (x)", {"{}": 10}),  # a label that nobody has is a group of ""
        ("sum by (job, none) (x)", {'{job="a"}': 3, '{job="b"}': 7}),
        ("sum by (__name__) (x)", {"x": 10}),
        ("avg by (job) (x)", {'{job="a"}': 1.5, '{job="b"}': 3.5}),
        ("min(x)", {"{}": 1}),
        ("max by (i) (x)", {'{i="0"}': 3, '{i="1"}': 4}),
        ("count(x)", {"{}": 4}),
        ("group by (job) (x)", {'{job="a"}': 1, '{job="b"}': 1}),
        ("stdvar(x)", {"{}": 1.25}),
        ("stddev by (job) (x)", {'{job="a"}': 0.5, '{job="b"}': 0.5}),
        ("quantile(0.5, x)", {"{}": 2.5}),
        ("quantile by (job) (1, x)", {'{job="a"}': 2, '{job="b"}': 4}),
        ("quantile(-1, x)", {"{}": -INF}),
        ("quantile(2, x)", {"{}": INF}),
        ("topk(2, x)", {'x{i="1",job="b"}': 4, 'x{i="0",job="b"}': 3}),
        ("bottomk by (job) (1, x)", {'x{i="0",job="a"}': 1, 'x{i="0",job="b"}': 3}),
        ("topk(0, x)", {}),
        ("topk(-1, x)", {}),
        ("topk(1.9, x)", {'x{i="1",job="b"}': 4}),
        ("topk(9999999999, k)", {"k": 2}),
        ("topk(scalar(k), x)", {'x{i="1",job="b"}': 4, 'x{i="0",job="b"}': 3}),
        ('count_values("v", x > bool 2)', {'{v="0"}': 2, '{v="1"}': 2}),
        ('count_values by (job) ("v", x * 0.5)', {'{job="a",v="0.5"}': 1, '{job="a",v="1"}': 1, '{job="b",v="1.5"}': 1, '{job="b",v="2"}': 1}),
        ('count_values without (i) ("job", x * 0)', {'{job="0"}': None}),
        ('count_values("v", x * -0 < bool 1 or -(x * 0))', {'{v="1"}': 4}),
        ('count_values("v", -(x * 0))', {'{v="-0"}': 4}),
        ('count_values("v", x / 0 - x / 0)', {'{v="NaN"}': 4}),
        ("sum(nothing)", {}),
        ("count(nothing)", {}),
        ("topk(1, nothing)", {}),
        ('count_values("v", nothing)', {}),
        ("quantile(0.5, nothing)", {}),
    ],
)  # fmt: skip
def test_a_group_has_one_value(source, at, query, found):
    """Or, of topk and bottomk, those of its members that were chosen; None in a truth is an error."""
    if None in found.values():
        with pytest.raises(QueryExecutionError, match="same labelset"):
            at(source, query, 0)
        return
    assert at(source, query, 0) == pytest.approx(found)


@pytest.mark.parametrize(
    ("values", "operator", "found"),
    [
        ([NAN, 1, 2], "max", 2),
        ([NAN, 1, 2], "min", 1),
        ([NAN, NAN], "min", NAN),
        ([NAN, 1], "sum", NAN),
        ([INF, 1], "sum", INF),
        ([INF, -INF], "avg", NAN),
        ([2, 8, 1e100, -1e100], "sum", 10),
        ([sys.float_info.max, sys.float_info.max], "avg", sys.float_info.max),
        ([sys.float_info.max, sys.float_info.max], "sum", INF),
        ([1.33, 1.33, 1.33], "stddev", 0),
        ([1, INF], "stdvar", NAN),
        ([NAN, 1], "count", 2),
    ],
)
def test_values_that_are_hard_to_add(lists, series, at, values, operator, found):
    """NaN and infinities are values; large ones cancel, and an average does not overflow."""
    source = lists(*(series("x", [value], i=str(place)) for place, value in enumerate(values)))
    assert at(source, f"{operator}(x)", 0) == {"{}": pytest.approx(found, nan_ok=True)}


def test_the_largest_are_chosen_at_each_step(source, over):
    """NaN comes last; k may be another at each."""
    minute = 60_000
    assert over(source, "topk(1, x)", 0, minute, minute) == {
        'x{i="1",job="b"}': [4, None],
        'x{i="0",job="a"}': [None, 6],
    }
    both = over(source, "bottomk(scalar(k), x)", 0, minute, minute)
    assert both == {'x{i="0",job="a"}': [1, None], 'x{i="1",job="a"}': [2, None], 'x{i="0",job="b"}': [None, 4]}


def test_an_order_that_was_asked_for_is_kept(source):
    """sort, sort_desc, topk and bottomk give an instant vector's series in order, NaN at the end."""

    def order(query, at_ms):
        return [value for _, value in evaluate_instant(query, source, at_ms).plain()]

    assert order("sort(x)", 0) == [1, 2, 3, 4]
    assert order("sort_desc(x)", 60_000)[:3] == [6, 5, 4]
    assert order("topk(3, x)", 0) == [4, 3, 2]
    assert order("bottomk(4, x)", 60_000)[:3] == [4, 5, 6]
    for query in ("sort(x)", "sort_desc(x)", "topk(4, x)", "bottomk(4, x)"):
        assert math.isnan(order(query, 60_000)[-1])


def test_series_of_a_range_are_sorted_by_labels(source):
    """Whatever the order they come in."""
    labels = [labels for labels, *_ in evaluate("sort_desc(x)", source, 0, 60_000, 60_000).plain()]
    assert labels == sorted(labels, key=lambda each: sorted(each.items()))
    assert len(labels) == 4


def test_a_quantile_that_is_none_is_warned_of(source):
    """The value is what Prometheus gives, and it says so beside it."""
    result = evaluate_instant("quantile(1.5, x)", source, 0)
    assert result.warnings == ["PromQL warning: quantile value should be between 0 and 1, got 1.5"]
    assert evaluate_instant("quantile(1, x)", source, 0).warnings == []


@pytest.mark.parametrize("query", ["topk(NaN, x)", "bottomk(1e20, x)"])
def test_a_k_that_is_no_number_of_series_is_refused(source, query):
    """As Prometheus does."""
    with pytest.raises(QueryExecutionError, match="overflows int64"):
        evaluate_instant(query, source, 0)
