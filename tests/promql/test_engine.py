"""The engine's doors: what they refuse, what bounds a query, and that a query is a value."""

import copy
import math
import pickle

import numpy as np
import pytest

from rondo_promql import (
    PromqlError,
    QueryBudget,
    QueryCanceledError,
    QueryExecutionError,
    QuerySyntaxError,
    QueryTimeoutError,
    TooManySamplesError,
    errors,
    evaluate,
    evaluate_instant,
    parse_query,
)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "parse error: no expression found in input"),
        ("sum(", "parse error: unclosed left parenthesis"),
        ("sum(x))", "parse error: unexpected right parenthesis ')'"),
        ("x y", "parse error: this is no PromQL: x y"),
        ("topk(x, y)", "parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("time()[5m:]", "parse error: subquery is only allowed on instant vector, got scalar instead"),
        ('-"a"', 'unary expression only allowed on expressions of type scalar or instant vector, got "string"'),
        ("foo(x)", 'parse error: unknown function with name "foo"'),
        ("rate(x)", 'parse error: expected type range vector in call to function "rate", got instant vector'),
        ("abs(x[1m])", 'parse error: expected type instant vector in call to function "abs", got range vector'),
        ("rate(x[1m], 1)", 'parse error: expected 1 argument(s) in call to "rate", got 2'),
        ('{__name__=~".*"}', "parse error: vector selector must contain at least one non-empty matcher"),
        ('{a!="b"}', "parse error: vector selector must contain at least one non-empty matcher"),
        ('x{a="b" or c="d"}', 'parse error: unexpected "or" between label matchers'),
        ('x{a=~"(?<=b)"}', "parse error: "),
        ('"abc', "parse error: unterminated quoted string"),
        (r'"\q"', "parse error: unknown escape sequence"),
        ("x @ -1", "parse error: timestamp out of bounds for @ modifier"),
        ("x @ 1e30", "parse error: "),
        ("mad_over_time(x[1m])", 'parse error: function "mad_over_time" is not enabled'),
        ("limitk(1, x)", "parse error: limitk() is experimental"),
        ("x + fill(0) y", "parse error: fill modifiers are experimental"),
        ("(" * 600 + "x" + ")" * 600 + "+" * 600, "parse error: query of 1200 levels and operators"),
        ("x" + "+x" * 900, "parse error: query of too many levels"),
        ("-" * 90_000 + "1", "parse error: query of 90000 levels"),
        ("x" * 200_000, "parse error: query of 200000 characters"),
        ("x\ud800", "parse error: "),
    ],
)
def test_a_query_that_does_not_parse_is_refused_in_one_line(query, message):
    """In the words of Prometheus, before a source is asked; a deep one ends no process."""
    with pytest.raises(QuerySyntaxError) as refused:
        evaluate_instant(query, None, 0)
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert (refused.value.error_type, refused.value.exit_status) == ("bad_data", 2)


@pytest.mark.parametrize(
    ("query", "range_ms", "message"),
    [
        ("x", (0, 1, 0), "zero or negative query resolution step widths are not accepted. Try a positive integer"),
        ("x", (1, 0, 1), "end timestamp must not be before start time"),
        ('"a"', (0, 1, 1), 'invalid expression type "string" for range query, must be Scalar or instant Vector'),
        ("x[1m]", (0, 1, 1), 'invalid expression type "range vector" for range query, must be Scalar or instant Vector'),
    ],
)  # fmt: skip
def test_a_range_that_is_none_is_refused(query, range_ms, message):
    """In the words of Prometheus."""
    with pytest.raises(QuerySyntaxError) as refused:
        evaluate(query, None, *range_ms)
    assert str(refused.value) == message


@pytest.mark.parametrize("given", [2**63, -(2**70), math.nan, math.inf, "soon", None])
def test_a_time_that_is_none_is_refused(lists, given):
    """As start, end, step and time alike: in one line that names it, before anything is read."""
    asked = [
        lambda: evaluate("x", None, given, 1, 1),
        lambda: evaluate("x", None, 0, given, 1),
        lambda: evaluate("x", None, 0, 1, given),
        lambda: evaluate_instant("x[5m:]", None, given),
    ]
    for name, ask in zip(("start", "end", "step", "time"), asked, strict=True):
        with pytest.raises(QuerySyntaxError) as refused:
            ask()
        assert str(refused.value).startswith(f"{name} {given!r}: no time in milliseconds; give a whole number")
    with pytest.raises(QuerySyntaxError, match="zero or negative"):
        evaluate("x", None, 0, 1, 0.5)
    for at_ms in (-(2**60), 2**60):
        assert evaluate_instant("max_over_time(x[5m:1m] offset 1w) + x", lists(), at_ms).plain() == []


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (([0, 1, 2], [1.0, 2.0]), "3 timestamps with 2 values; the source must give as many, of weights too"),
        (([0, 1], [1.0, 2.0], [1.0]), "2 timestamps with 2 values; the source must give as many, of weights too"),
        (([2, 0, 1], [1.0, 2.0, 3.0]), "timestamps that fall; the source must sort them"),
    ],
)
def test_a_source_that_breaks_its_word_is_told_of_it(row, message):
    """By the labels of the series: nothing is answered from windows that are wrong. The same time twice is no fall."""

    class One:
        def select(self, *_):
            return [({"__name__": "x", "i": "1"}, *row)]

    with pytest.raises(QueryExecutionError) as refused:
        evaluate_instant("sum_over_time(x[1m])", One(), 3)
    assert str(refused.value) == f"{{'__name__': 'x', 'i': '1'}}: {message}"
    row = ([0, 1, 1], [1.0, 2.0, 3.0])
    assert evaluate_instant("x", One(), 3).plain() == [({"__name__": "x", "i": "1"}, 3.0)]


def test_a_scalar_over_a_range_is_a_series_without_labels(lists):
    """At every step."""
    result = evaluate("time() * 2", lists(), 0, 2000, 1000)
    [(labels, stamps, values)] = result.plain()
    assert (result.kind, labels, stamps.tolist(), values.tolist()) == ("matrix", {}, [0, 1000, 2000], [0, 2, 4])


def test_a_query_that_takes_too_much_is_ended(lists, series):
    """By samples read, by points made, by time, and from elsewhere; each is an error of its own."""
    source = lists(*(series("x", range(100), i=str(place)) for place in range(10)))
    arguments = ("sum(x)", source, 0, 6_000_000, 60_000)
    assert evaluate(*arguments, budget=QueryBudget(max_samples=1000, max_points=2000, deadline_s=100)).series
    with pytest.raises(TooManySamplesError):
        evaluate(*arguments, budget=QueryBudget(max_samples=999))
    with pytest.raises(TooManySamplesError):
        evaluate(*arguments, budget=QueryBudget(max_points=1009))
    with pytest.raises(QueryTimeoutError, match="query timed out in expression evaluation"):
        evaluate(*arguments, budget=QueryBudget(deadline_s=-1))
    with pytest.raises(QueryCanceledError, match="query was canceled in expression evaluation"):
        evaluate(*arguments, budget=QueryBudget(canceled=lambda: True))


def test_steps_without_end_are_refused_before_there_is_an_array_of_them(lists):
    """The bound of points holds for a query without series, and for a subquery's steps."""
    budget = QueryBudget(max_points=11_000)
    with pytest.raises(TooManySamplesError, match="10000000001 points where 11000 are allowed"):
        evaluate("1", lists(), 0, 10_000_000_000, 1, budget=budget)
    counter = lists(({"__name__": "x"}, list(range(0, 100_000, 1000)), list(range(100))))
    with pytest.raises(TooManySamplesError, match="10000 points where 200 are allowed"):
        evaluate('count_values("v", x)', counter, 0, 99_000, 1000, budget=QueryBudget(max_points=200))
    with pytest.raises(TooManySamplesError):
        evaluate_instant("max_over_time(vector(1)[10y:1ms])", lists(), 0, budget=budget)


def test_what_a_source_raises_is_its_own():
    """No error of a source is hidden or renamed."""

    class Broken:
        def select(self, *_):
            raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        evaluate_instant("x", Broken(), 0)


def test_a_parsed_query_is_kept_and_compares(lists):
    """The same text is parsed once."""
    assert parse_query("sum(x)") is parse_query("sum(x)")
    assert parse_query("sum(x)") != parse_query("sum(y)")


def test_nothing_that_was_answered_changes_what_was_asked(lists, series):
    """A source's arrays are not written to."""
    values = np.array([1.0, np.nan, 3.0])
    labels, stamps, _ = series("x", values)
    stamps = np.array(stamps)
    values.setflags(write=False)
    stamps.setflags(write=False)

    class Arrays:
        def select(self, *_):
            return [(labels, stamps, values)]

    for query in (
        "x",
        "rate(x[5m])",
        "-x",
        "x + x",
        "topk(1, x)",
        "sum(x)",
        "sort(x)",
        "x[5m]",
        "max_over_time(x[5m:1s])",
    ):
        evaluate_instant(query, Arrays(), 120_000)


def test_every_error_has_one_root_and_pickles():
    """A caller needs one `except`; an error that crosses a process boundary keeps its line."""
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    assert len(classes) == 6
    for each in classes:
        assert issubclass(each, PromqlError)
        error = each("what")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), "what", vars(error))
        assert str(copy.copy(error)) == "what"
    kinds = {each.error_type for each in (QueryExecutionError, QueryTimeoutError, QueryCanceledError, QuerySyntaxError)}
    assert kinds == {"execution", "timeout", "canceled", "bad_data"}


class Fixed:
    """A source of series that all have one sample, at 1 s."""

    def __init__(self, **values):
        self.values = values

    def select(self, _matchers, _start_ms, _end_ms, _hint):
        stamps = np.array([1000], dtype=np.int64)
        return [({"__name__": "m", "g": g}, stamps, np.array([value])) for g, value in self.values.items()]


def test_sums_keep_what_is_small_and_the_sign_of_nothing():
    """Beside 1e305 in another group 1e-297 stays; a group of -0 alone is -0, as in Prometheus."""
    source = Fixed(big=1e305, small=1e-297, none=-0.0)
    found = {dict(labels)["g"]: value for labels, value in evaluate_instant("sum by (g) (m)", source, 1000).plain()}
    assert found["small"] == 1e-297
    assert math.copysign(1, found["none"]) == -1


def test_dates_of_what_no_calendar_has_are_those_of_prometheus():
    """NaN and infinities are the last second that an int64 counts, as there on x86-64."""
    for function, value in (("minute", 30), ("hour", 15), ("day_of_month", 4), ("year", 292277026596)):
        for number in ("NaN", "Inf", "-Inf", "1e300"):
            assert evaluate_instant(f"{function}(vector({number}))", Fixed(), 1000).plain()[0][1] == value
