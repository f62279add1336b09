"""Functions of single values, labels and dates, each against a truth worked out by hand."""

import math

import pytest

from rondo_promql import QueryExecutionError, evaluate_instant

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("abs(vector(-2.5))", 2.5),
        ("ceil(vector(-2.5))", -2),
        ("floor(vector(-2.5))", -3),
        ("round(vector(-2.5))", -2),  # halves are rounded upwards
        ("round(vector(2.5))", 3),
        ("round(vector(5.25), 0.1)", 5.3),
        ("round(vector(7), 5)", 5),
        ("sgn(vector(-3))", -1),
        ("sgn(vector(0))", 0),
        ("sgn(vector(NaN))", NAN),
        ("1 / clamp_max(vector(-0), 0)", -INF),  # a zero has a sign, which a division shows
        ("1 / clamp_max(vector(0), -0)", -INF),
        ("1 / clamp_min(vector(-0), 0)", INF),
        ("1 / clamp_min(vector(-0), -0)", -INF),
        ("1 / vector(scalar(vector(-0)))", -INF),
        ("sqrt(vector(-1))", NAN),
        ("exp(vector(1))", math.e),
        ("ln(vector(0))", -INF),
        ("log2(vector(8))", 3),
        ("log10(vector(0.001))", -3),
        ("deg(vector(pi()))", 180),
        ("rad(vector(180))", math.pi),
        ("sin(vector(1))", math.sin(1)),
        ("cos(vector(1))", math.cos(1)),
        ("tan(vector(1))", math.tan(1)),
        ("asin(vector(0.5))", math.asin(0.5)),
        ("acos(vector(2))", NAN),
        ("atan(vector(1))", math.atan(1)),
        ("sinh(vector(1))", math.sinh(1)),
        ("cosh(vector(1))", math.cosh(1)),
        ("cosh(vector(-709.7))", math.cosh(709.7)),
        ("cosh(vector(-710))", INF),  # as Prometheus halves what is infinite already
        ("sinh(vector(-710))", -INF),
        ("sinh(vector(NaN))", NAN),
        ("tanh(vector(1))", math.tanh(1)),
        ("asinh(vector(1))", math.asinh(1)),
        ("acosh(vector(2))", math.acosh(2)),
        ("atanh(vector(0.5))", math.atanh(0.5)),
        ("clamp(vector(7), 1, 5)", 5),
        ("clamp(vector(7), NaN, 5)", NAN),
        ("clamp(vector(7), 5, 1)", None),
        ("clamp_min(vector(7), 9)", 9),
        ("clamp_max(vector(7), 5)", 5),
        ("clamp_max(vector(NaN), 5)", NAN),
        ("clamp_max(vector(NaN), -Inf)", -INF),
        ("clamp_min(vector(Inf), NaN)", INF),
        ("vector(time())", 1_136_239_445.5),
        ("year()", 2006),
        ("month()", 1),
        ("day_of_month()", 2),
        ("day_of_week()", 1),
        ("day_of_year()", 2),
        ("days_in_month()", 31),
        ("hour()", 22),
        ("minute()", 4),
        ("days_in_month(vector(1454284800))", 29),
        ("day_of_year(vector(1483191420))", 366),
        ("day_of_week(vector(0))", 4),
        ("year(vector(-1))", 1969),
        ("month(vector(NaN))", 12),
    ],
)
def test_a_function_of_a_value_has_its_value(lists, at, query, found):
    """At 2006-01-02 22:04:05.5 UTC."""
    answer = at(lists(), query, 1_136_239_445_500)
    assert answer == ({} if found is None else {"{}": pytest.approx(found, nan_ok=True)})


def test_names_are_dropped_by_functions_and_kept_by_selection(lists, series, at):
    """Labels stay."""
    source = lists(series("x", [4], a="b"))
    assert at(source, "sqrt(x)", 0) == {'{a="b"}': 2}
    assert at(source, "sort(x)", 0) == {'x{a="b"}': 4}
    assert at(source, "last_over_time(x[1m])", 0) == {'x{a="b"}': 4}
    assert at(source, "timestamp(x)", 1000) == {'{a="b"}': 0}


def test_a_timestamp_is_the_samples_own_where_there_is_a_sample(lists, series, at):
    """What an operator makes is as old as the step."""
    source = lists(series("x", [4]))
    assert at(source, "timestamp((x))", 60_000) == {"{}": 0}
    assert at(source, "timestamp(x + 0)", 60_000) == {"{}": 60}
    assert at(source, "timestamp(timestamp(x))", 60_000) == {"{}": 60}


@pytest.mark.parametrize(
    ("call", "found"),
    [
        ('label_replace(x, "to", "$1-$2", "from", "(.*):(.*)")', 'x{from="a:1",to="a-1"}'),
        ('label_replace(x, "to", "${port}$$", "from", "a:(?P<port>.*)")', 'x{from="a:1",to="1$"}'),
        ('label_replace(x, "to", "$1", "from", ":(.*)")', 'x{from="a:1"}'),  # the whole value, not a part
        ('label_replace(x, "to", "v$9", "none", "")', 'x{from="a:1",to="v"}'),
        ('label_replace(x, "from", "", "from", ".*")', "x"),
        ('label_replace(x, "__name__", "y", "from", ".*")', 'y{from="a:1"}'),
        ('label_join(x, "to", "/", "from", "none", "from")', 'x{from="a:1",to="a:1//a:1"}'),
        ('label_join(x, "from", "/")', "x"),
        (r'label_replace(x, "\x66rom", "\u00e4", "from", ".*")', 'x{from="ä"}'),
    ],
)
def test_labels_are_rewritten(lists, series, at, call, found):
    """By RE2's groups, or by joining."""
    assert list(at(lists(series("x", [1], **{"from": "a:1"})), call, 0)) == [found]


def test_series_that_live_in_turn_become_one_by_a_label(lists, series, over):
    """At no step are there two of the same labels."""
    minute = 60_000
    source = lists(series("x", [1, None], i="1"), series("x", [None, 2], i="2"))
    query = 'label_replace(last_over_time(x[1m]), "i", "", "", "")'
    assert over(source, query, 0, minute, minute) == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('label_replace(x, "to", "$1", "from", "(.*")', "invalid regular expression in label_replace(): (.*"),
        ('label_replace(x, "\\xff", "", "from", "(.*)")', "invalid destination label name in label_replace()"),
        ('label_replace(x, "", "", "from", "(.*)")', "invalid destination label name in label_replace()"),
        ('label_join(x, "\\xff", "-", "from")', "invalid destination label name in label_join()"),
        ('label_replace(x, "i", "", "", "")', "vector cannot contain metrics with the same labelset"),
        ('count_values("\\xff", x)', "invalid label name"),
    ],
)
def test_labels_that_cannot_be_are_refused(lists, series, call, message):
    """By name, and where two series would become one."""
    source = lists(series("x", [1], i="1"), series("x", [1], i="2"))
    with pytest.raises(QueryExecutionError) as refused:
        evaluate_instant(call, source, 0)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("query", "found"),
    [('"a"', "a"), (r'"\x41\101\u0041\n"', "AAA\n"), (r"`\n`", r"\n"), ("'it\"s'", 'it"s'), ('("")', "")],
)
def test_a_string_is_read_by_the_rules_of_go(lists, query, found):
    """In quotes with escapes, in backticks without."""
    result = evaluate_instant(query, lists(), 0)
    assert (result.kind, result.plain()) == ("string", found)
