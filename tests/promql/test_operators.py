"""Operators between scalars and vectors: values, labels, matching, and what is refused."""

import math

import pytest

from rondo_promql import QueryExecutionError, QuerySyntaxError, evaluate, evaluate_instant

NAN, INF = math.nan, math.inf


@pytest.fixture
def source(lists, series):
    return lists(
        series("cpu", [3], host="a", mode="idle"),
        series("cpu", [1], host="a", mode="user"),
        series("cpu", [8], host="b", mode="idle"),
        series("role", [1], host="a", role="db"),
        series("limit", [2], host="a", mode="idle"),
        series("alone", [5]),
        series("odd", [NAN], kind="nan"),
        series("odd", [-INF], kind="inf"),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("1 + 2 * 3 - 8 / 4", 5),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("-7 % 3", -1),
        ("1 / 0", INF),
        ("0 / 0", NAN),
        ("1 % 0", NAN),
        ("1 atan2 1", math.pi / 4),
        ("1 > bool 2", 0),
        ("NaN == bool NaN", 0),
        ("NaN != bool NaN", 1),
        ("0x1f + 1e1 + .5", 41.5),
        ("1m30s", 90),
        ("-Inf", -INF),
        ("time() - 60", -60),
        ("pi()", math.pi),
        ("scalar(alone)", 5),
        ("scalar(cpu)", NAN),
    ],
)
def test_scalars_are_floats(source, query, found):
    """Operators are IEEE's; powers bind to the right and tighter than a sign."""
    result = evaluate_instant(query, source, 0)
    assert result.kind == "scalar"
    assert result.plain() == pytest.approx(found, nan_ok=True)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("alone * 2", {"{}": 10}),
        ("2 ^ alone", {"{}": 32}),
        ("-alone", {"{}": -5}),
        ("+alone", {"alone": 5}),
        ("alone > 4", {"alone": 5}),
        ("4 < alone", {"alone": 5}),  # a comparison keeps the vector's value, on either side
        ("alone < 4", {}),
        ("alone < bool 4", {"{}": 0}),
        ("odd != 1", {'odd{kind="nan"}': NAN, 'odd{kind="inf"}': -INF}),
        ("odd == odd", {'odd{kind="inf"}': -INF}),
        ("odd >= bool -1", {'{kind="nan"}': 0, '{kind="inf"}': 0}),
        ("cpu / limit", {'{host="a",mode="idle"}': 1.5}),
        ("cpu > limit", {'cpu{host="a",mode="idle"}': 3}),
        ("limit < bool cpu", {'{host="a",mode="idle"}': 1}),
        ("limit > on(host, mode) cpu", {}),
        ("cpu < on(host, mode) limit", {}),
        ("limit < on(host, mode) cpu", {'{host="a",mode="idle"}': 2}),  # on keeps what it names, and no name
        ("alone + on() alone", {"{}": 10}),
        ("cpu * on(host) group_left(role) role", {'{host="a",mode="idle",role="db"}': 3, '{host="a",mode="user",role="db"}': 1}),
        ("role * on(host) group_right(role) cpu", {'{host="a",mode="idle",role="db"}': 3, '{host="a",mode="user",role="db"}': 1}),
        ("cpu / ignoring(mode) group_left sum without(mode) (cpu)", {'{host="a",mode="idle"}': 0.75, '{host="a",mode="user"}': 0.25, '{host="b",mode="idle"}': 1}),
        ("cpu > on(host) group_left(mode) limit", {'cpu{host="a",mode="idle"}': 3}),
        ("cpu and on(host) role", {'cpu{host="a",mode="idle"}': 3, 'cpu{host="a",mode="user"}': 1}),
        ("cpu and limit", {'cpu{host="a",mode="idle"}': 3}),
        ("cpu unless on(host) role", {'cpu{host="b",mode="idle"}': 8}),
        ('limit or cpu{mode="idle"}', {'limit{host="a",mode="idle"}': 2, 'cpu{host="b",mode="idle"}': 8}),
        ("nothing or vector(0)", {"{}": 0}),
        ("nothing and cpu", {}),
        ("alone unless nothing", {"alone": 5}),
        ("sum(cpu) - on() alone", {"{}": 7}),
    ],
)  # fmt: skip
def test_vectors_are_matched_by_labels(source, at, query, found):
    """And what an operator makes has the labels that it says; NaN compares false and stays a value."""
    answer = at(source, query, 0)
    assert answer.keys() == found.keys()
    assert list(map(answer.get, found)) == pytest.approx(list(found.values()), nan_ok=True)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("cpu + on(host) limit", "multiple matches for labels: many-to-one matching must be explicit"),
        ("limit + on(host) cpu", 'found duplicate series for the match group {host="a"} on the right hand-side'),
        ("cpu + on(host) group_left cpu", "many-to-many matching not allowed: matching labels must be unique on one side"),
        ("limit * on(host) group_right() cpu * on() group_left(mode) limit", None),
        ("cpu * on(host) group_left(mode) limit", "multiple matches for labels: grouping labels must ensure unique matches"),
        ('-{__name__=~"cpu|limit"}', "vector cannot contain metrics with the same labelset"),
    ],
)  # fmt: skip
def test_matches_that_are_not_unique_are_refused(source, query, message):
    """In the words of Prometheus."""
    if message is None:
        with pytest.raises(QueryExecutionError):
            evaluate_instant(query, source, 0)
        return
    with pytest.raises(QueryExecutionError) as refused:
        evaluate_instant(query, source, 0)
    assert message in str(refused.value)


def test_two_series_that_live_in_turn_are_one_to_an_operator(lists, series, over):
    """Matching and merging are each step's own: a restarted process under another label is no many-to-many."""
    source = lists(
        series("x", [1, 2, None, None], run="1", host="a"),
        series("x", [None, None, 3, 4], run="2", host="a"),
        series("weight", [10, 10, 10, 10], host="a"),
    )
    found = over(source, "weight * on(host) (x @ 60 or x)", 60_000, 60_000, 60_000)
    assert found == {'{host="a"}': [20]}
    minute = 60_000
    assert over(source, "last_over_time(x[1m]) * on(host) weight", 0, 3 * minute, minute) == {
        '{host="a"}': [10, 20, 30, 40]
    }
    assert over(source, "weight * on(host) last_over_time(x[1m])", 0, 3 * minute, minute) == {
        '{host="a"}': [10, 20, 30, 40]
    }
    assert over(source, "last_over_time(x[1m]) unless on(host) (weight > 20)", 0, minute, minute) == {
        'x{host="a",run="1"}': [1, 2]
    }


def test_rows_that_become_one_are_merged_step_by_step(lists, series, over):
    """A function of values drops the name; of two series that never live together it makes one. A minus refuses them."""
    source = lists(series("a", [1, None, None]), series("b", [None, 5, 6]))
    query = 'last_over_time({__name__=~"a|b"}[1m])'
    assert over(source, f"sqrt({query} ^ 2)", 0, 120_000, 60_000) == {"{}": [1, 5, 6]}
    with pytest.raises(QueryExecutionError, match="same labelset"):
        over(source, f"-{query}", 0, 120_000, 60_000)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("1 > 2", "comparisons between scalars must use BOOL modifier"),
        ("alone and 1", "set operator"),
        ('"a" + 1', "binary expression must contain only scalar and instant vector types"),
        ("alone + bool alone", "bool modifier can only be used on comparison operators"),
        ("alone + on(a) group_left(a) alone", "must not occur in ON and GROUP clause at once"),
    ],
)
def test_types_that_do_not_fit_are_refused_before_anything_is_read(query, message):
    """No data is asked for."""
    with pytest.raises(QuerySyntaxError, match=message):
        evaluate(query, None, 0, 1, 1)
