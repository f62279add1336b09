"""Selectors: what an instant and a range see, and what a source is asked for."""

import math

import pytest

from rondo_promql import LabelMatcher, QuerySyntaxError, evaluate, evaluate_instant

MINUTE = 60_000


@pytest.fixture
def source(lists, series, stale):
    return lists(
        series("up", [1, 2, None, None, 5, 6, None, None, None, None, None], job="a"),
        series("up", [10, stale, 30], job="b"),
        series("down", [7], job="a", path="/x\ny"),
    )


@pytest.mark.parametrize(
    ("query", "at_ms", "found"),
    [
        ("up", 0, {'up{job="a"}': 1, 'up{job="b"}': 10}),
        ("up", MINUTE, {'up{job="a"}': 2}),  # a mark ends a series at once
        ("up", 2 * MINUTE, {'up{job="a"}': 2, 'up{job="b"}': 30}),
        ("up", 10 * MINUTE - 1, {'up{job="a"}': 6}),  # five minutes old, less a millisecond
        ("up", 10 * MINUTE, {}),  # the lookback is open to the left
        ('{__name__="up",job!="a"}', 0, {'up{job="b"}': 10}),
        ('{job=~"a|c"}', 0, {'up{job="a"}': 1, 'down{job="a",path="/x\ny"}': 7}),
        ('up{job!~"a"}', 0, {'up{job="b"}': 10}),
        ('up{path=""}', 0, {'up{job="a"}': 1, 'up{job="b"}': 10}),  # a label that is missing is empty
        ('down{path=~"/.*"}', 0, {'down{job="a",path="/x\ny"}': 7}),  # `.` fits a newline
        ('down{path=~"x"}', 0, {}),  # an expression fits the whole value
        ("down{path=~`/\\w\\s.`}", 0, {'down{job="a",path="/x\ny"}': 7}),  # nothing escapes in backticks
        ("up offset 1m", 2 * MINUTE, {'up{job="a"}': 2}),
        ("up offset -4m", 0, {'up{job="a"}': 5, 'up{job="b"}': 30}),
        ("up @ 240", 0, {'up{job="a"}': 5, 'up{job="b"}': 30}),
        ("up @ 240 offset 4m", 99 * MINUTE, {'up{job="a"}': 1, 'up{job="b"}': 10}),
        ("up # all\n", 0, {'up{job="a"}': 1, 'up{job="b"}': 10}),
    ],
)  # fmt: skip
def test_an_instant_selector_sees_the_newest_sample(source, at, query, at_ms, found):
    """At most the lookback old, shifted by offset and `@`, of the series that all matchers fit."""
    assert at(source, query, at_ms) == found


def test_a_range_is_open_to_the_left_and_counts_no_mark(source, at):
    """A sample on the left edge is outside, one on the right edge inside; a mark of an end is no sample."""
    assert at(source, "count_over_time(up[2m])", 2 * MINUTE) == {'{job="a"}': 1, '{job="b"}': 1}
    assert at(source, "count_over_time(up[121s])", 2 * MINUTE) == {'{job="a"}': 2, '{job="b"}': 2}


def test_a_range_at_one_time_gives_its_samples(source):
    """As a matrix, with the samples' own times; a mark of an end is none."""
    result = evaluate_instant('up{job="b"}[5m]', source, 2 * MINUTE)
    assert result.kind == "matrix"
    [(labels, stamps, values)] = result.plain()
    assert (labels, stamps.tolist(), values.tolist()) == ({"__name__": "up", "job": "b"}, [0, 2 * MINUTE], [10, 30])


def test_a_series_that_ends_and_returns_has_a_gap(source, over):
    """In a range of steps there is nothing between the mark and the next sample; NaN is a value, a gap is none."""
    assert over(source, 'up{job="b"}', 0, 2 * MINUTE, MINUTE // 2) == {'up{job="b"}': [10, 10, None, None, 30]}


def test_start_and_end_are_those_of_the_query(source, over):
    """In a subquery too."""
    ends = over(source, 'sum_over_time((up{job="a"} @ end())[2m:1m])', 4 * MINUTE, 5 * MINUTE, MINUTE)
    assert ends == {'{job="a"}': [12, 12]}
    assert over(source, 'up{job="a"} @ start()', 4 * MINUTE, 5 * MINUTE, MINUTE) == {'up{job="a"}': [5, 5]}


def test_a_subquery_is_aligned_to_the_epoch(lists, series, at):
    """Its steps are multiples of its step, whatever the query's own; without one it is a minute."""
    source = lists(series("t", range(200), every_ms=1000))
    assert at(source, "sum_over_time(t[20s:10s])", 57_000) == {"{}": 40 + 50}
    assert at(source, "sum_over_time(t[20s:10s] offset 5s)", 57_000) == {"{}": 40 + 50}
    assert at(source, "count_over_time(t[2m:])", 150_000) == {"{}": 2}


def test_nan_is_a_value(lists, series, at):
    """Only the bits that Prometheus writes at an end are a mark."""
    found = at(lists(series("x", [math.nan])), "x", 0)
    assert list(found) == ["x"]
    assert math.isnan(found["x"])


def test_a_source_is_told_what_will_be_read_and_why(source):
    """The range is widened by lookback, range and offset; the hint names the function, the range, the step, the labels."""
    evaluate("sum by (job) (rate(up[3m] offset 1m))", source, 600_000, 720_000, 60_000)
    assert source.asked[-1] == (600_000 - 60_000 - 180_000 + 1, 720_000 - 60_000)
    hint = source.hints[-1]
    assert (hint.func, hint.range_ms, hint.step_ms, hint.by) == ("rate", 180_000, 60_000, ("job",))
    evaluate_instant("max without (job) (up)", source, 600_000)
    assert source.asked[-1] == (300_001, 600_000)
    assert (source.hints[-1].func, source.hints[-1].by, source.hints[-1].step_ms) == ("max", None, 0)


def test_what_a_source_notes_is_an_info_once():
    """A source that answers from a coarser tier says so beside the result."""

    class Coarse:
        def select(self, matchers, start_ms, end_ms, hint):
            hint.note("averages of 10 s")
            return [({"__name__": matchers[0].value}, [0], [1.0])]

    assert evaluate_instant("a + b", Coarse(), 0).infos == ["averages of 10 s"]


def test_labels_may_be_pairs_and_values_lists(at):
    """An empty label is no label."""

    class Pairs:
        def select(self, *_):
            return [([("__name__", "x"), ("b", "2"), ("a", "1"), ("c", "")], [0], [3])]

    assert at(Pairs(), "x", 0) == {'x{a="1",b="2"}': 3}


def test_a_matcher_says_what_it_is_and_is_re2():
    """No pattern runs for ever, and Python's own extensions are refused."""
    assert LabelMatcher("a", "=~", "(a|aa)+$").matches("a" * 64 + "!") is False
    assert repr(LabelMatcher("a", "!~", "b.*")) == 'a!~"b.*"'
    with pytest.raises(QuerySyntaxError, match="error parsing regexp"):
        LabelMatcher("a", "=~", "(?<=b)a")
