"""Histograms, classic and native: quantiles, fractions, rates and sums."""

import math

import numpy as np
import pytest

from rondo_promql import Histograms, QueryExecutionError, evaluate, evaluate_instant

NAN, INF = math.nan, math.inf
MINUTE = 60_000


@pytest.fixture
def buckets(lists, series):
    """Ten observations: 5 up to 0.1, 2 up to 0.2, 3 beyond; and a histogram that begins below 0."""
    return lists(
        series("h_bucket", [5, 10], le="0.1", job="a"),
        series("h_bucket", [7, 14], le=".2", job="a"),
        series("h_bucket", [10, 20], le="+Inf", job="a"),
        series("h_bucket", [1], le="-0.2", job="b"),
        series("h_bucket", [3], le="0.3", job="b"),
        series("h_bucket", [3], le="+Inf", job="b"),
        series("falls_bucket", [5], le="1"),
        series("falls_bucket", [4], le="2"),
        series("falls_bucket", [10], le="+Inf"),
        series("open_bucket", [5], le="1"),
        series("alone_bucket", [5], le="+Inf"),
        series("empty_bucket", [0], le="1"),
        series("empty_bucket", [0], le="+Inf"),
    )


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("histogram_quantile(0.25, h_bucket)", {'{job="a"}': 0.05, '{job="b"}': -0.2}),
        ("histogram_quantile(0.6, h_bucket)", {'{job="a"}': 0.15, '{job="b"}': -0.2 + 0.5 * 0.4}),
        ("histogram_quantile(0.99, h_bucket)", {'{job="a"}': 0.2, '{job="b"}': 0.3 - 0.5 * 0.015}),
        ("histogram_quantile(0, h_bucket)", {'{job="a"}': 0, '{job="b"}': -0.2}),
        ("histogram_quantile(-1, h_bucket)", {'{job="a"}': -INF, '{job="b"}': -INF}),
        ("histogram_quantile(1.1, h_bucket)", {'{job="a"}': INF, '{job="b"}': INF}),
        ("histogram_quantile(NaN, h_bucket)", {'{job="a"}': NAN, '{job="b"}': NAN}),
        ("histogram_quantile(0.5, falls_bucket)", {"{}": 1}),
        ("histogram_quantile(0.9, open_bucket)", {"{}": NAN}),
        ("histogram_quantile(0.9, alone_bucket)", {"{}": NAN}),
        ("histogram_quantile(0.9, empty_bucket)", {"{}": NAN}),
        ("histogram_quantile(0.9, nothing)", {}),
        ("histogram_fraction(0, 0.1, h_bucket)", {'{job="a"}': 0.5, '{job="b"}': 2 / 15}),
        ("histogram_fraction(0.05, 0.15, h_bucket)", {'{job="a"}': 0.35, '{job="b"}': 2 / 15}),
        ("histogram_fraction(-Inf, Inf, h_bucket)", {'{job="a"}': 1, '{job="b"}': 1}),
        ("histogram_fraction(1, 0, h_bucket)", {'{job="a"}': 0, '{job="b"}': 0}),
    ],
)  # fmt: skip
def test_a_classic_histogram_is_interpolated_evenly(buckets, at, query, found):
    """Within a bucket; the lowest begins at 0 if its bound is above, and beyond the highest bound there is nothing."""
    assert at(buckets, query, 0) == {labels: pytest.approx(value, nan_ok=True) for labels, value in found.items()}


def test_a_bucket_that_is_missing_at_a_step_is_left_out_of_it(lists, series, over):
    """The others are interpolated over it."""
    source = lists(
        series("h_bucket", [4, 4], le="1"),
        series("h_bucket", [8, None], le="2"),
        series("h_bucket", [16, 16], le="4"),
        series("h_bucket", [16, 16], le="+Inf"),
    )
    query = "histogram_quantile(0.5, last_over_time(h_bucket[1m]))"
    assert over(source, query, 0, MINUTE, MINUTE) == {"{}": [2, pytest.approx(1 + 3 * 4 / 12)]}


def test_two_classic_histograms_do_not_become_one(buckets):
    """Their names are dropped; the same labels twice are refused."""
    with pytest.raises(QueryExecutionError, match="same labelset"):
        evaluate_instant('histogram_quantile(0.5, {__name__=~"falls_bucket|open_bucket"})', buckets, 0)


def test_what_was_mended_is_said(buckets):
    """Counts that fall are raised and told of; a bound that is no number is warned of, and that series left out."""
    result = evaluate_instant("histogram_quantile(0.5, falls_bucket)", buckets, 0)
    assert len(result.infos) == 1
    assert "needed to be fixed for monotonicity" in result.infos[0]
    result = evaluate_instant('histogram_quantile(0.5, label_replace(h_bucket, "le", "x", "le", "0.3"))', buckets, 0)
    assert result.warnings == [
        'PromQL warning: bucket label "le" is missing or has a malformed value of "x" for metric name "h_bucket"'
    ]
    assert result.plain()[1] == ({"job": "b"}, -0.2)  # as if there were no bound between the lowest and the highest
    assert evaluate_instant("histogram_quantile(1.5, h_bucket)", buckets, 0).warnings == [
        "PromQL warning: quantile value should be between 0 and 1, got 1.5"
    ]


def native(counts, *, every_ms=MINUTE, schema=0, first_index=0, zero=0.0, **labels):
    """Make a series of native histograms with the given cells at each time; each observation counts 1 in the sum."""
    cells = np.array(counts, dtype=float)
    total = cells.sum(axis=1) + zero
    stamps = [place * every_ms for place in range(len(cells))]
    return {"__name__": "n", **labels}, stamps, Histograms(schema, zero, first_index, cells, total, total)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("histogram_count(n)", 4),
        ("histogram_sum(n)", 4),
        ("histogram_avg(n)", 1),
        ("histogram_quantile(0.5, n)", math.sqrt(2)),  # midway in (1, 2], exponentially
        ("histogram_quantile(1, n)", 4),
        ("histogram_quantile(0, n)", 0.5),
        ("histogram_quantile(2, n)", INF),
        ("histogram_fraction(1, 2, n)", 0.5),
        ("histogram_fraction(0, 8, n)", 1),
        ("histogram_fraction(1, sqrt_of_two(), n)", 0.25),
        (
            "histogram_stdvar(n)",
            ((math.sqrt(0.5) - 1) ** 2 + 2 * (math.sqrt(2) - 1) ** 2 + (math.sqrt(8) - 1) ** 2) / 4,
        ),
        ("histogram_quantile(0.5, n * 3)", math.sqrt(2)),
        ("histogram_count(n * 3)", 12),
        ("histogram_count(n / 2)", 2),
        ("histogram_count(n + n)", 8),
        ("histogram_sum(n - n)", 0),
        ("histogram_count(-n)", -4),
        ("count(n == n)", 1),
        ("n == bool n", 1),
        ("n != bool n", 0),
        ("absent(n)", None),
        ("abs(n)", None),
        ("max(n)", None),
        ("n + 1", None),
    ],
)
def test_a_native_histogram_of_four_observations(lists, at, query, found):
    """One in (0.5, 1], two in (1, 2], one in (2, 4]."""
    query = query.replace("sqrt_of_two()", repr(math.sqrt(2)))
    answer = at(lists(native([[1, 2, 1]])), query, 0)
    assert answer == ({} if found is None else {"{}": pytest.approx(found)})


def test_native_histograms_are_rated_and_added_up(lists, at):
    """Over resets, over schemas and over series, as floats are; the coarsest schema is what is left."""
    fine = native([[4, 4, 4, 4], [6, 6, 6, 6], [1, 1, 1, 1]], schema=1, first_index=1, host="a")
    coarse = native([[10, 20], [20, 30], [30, 40]], host="b", first_index=1)
    source = lists(fine, coarse)
    # 24 - 16 and, after a reset, 4; 120 s of which lie between first and last sample, 60 s before it.
    grown = (24 - 16 + 4) * 180 / 120
    assert at(source, 'histogram_count(increase(n{host="a"}[3m]))', 2 * MINUTE) == {'{host="a"}': pytest.approx(grown)}
    assert at(source, 'histogram_count(rate(n{host="b"}[3m]))', 2 * MINUTE) == {'{host="b"}': pytest.approx(60 / 180)}
    assert at(source, "histogram_count(sum(n))", 2 * MINUTE) == {"{}": 74}
    assert at(source, "histogram_count(avg(n))", 2 * MINUTE) == {"{}": 37}
    merged = evaluate_instant("sum(n)", source, 2 * MINUTE).plain()[0][1]
    assert (merged.schema, merged.first_index, merged.cells.tolist()) == (0, 1, [[32.0, 42.0]])
    assert at(source, 'histogram_count(sum_over_time(n{host="b"}[3m]))', 2 * MINUTE) == {'{host="b"}': 150}
    assert at(source, 'histogram_sum(avg_over_time(n{host="b"}[3m]))', 2 * MINUTE) == {'{host="b"}': 50}
    assert at(source, "histogram_count(irate(n[3m]))", 2 * MINUTE) == {
        '{host="a"}': pytest.approx(4 / 60), '{host="b"}': pytest.approx(20 / 60),
    }  # fmt: skip
    assert at(source, "resets(n[3m])", 2 * MINUTE) == {'{host="a"}': 1, '{host="b"}': 0}
    assert at(source, "count_over_time(n[3m])", 2 * MINUTE) == {'{host="a"}': 3, '{host="b"}': 3}
    assert at(source, "max_over_time(n[3m])", 2 * MINUTE) == {}


def test_a_native_histogram_is_answered_at_each_step(lists, stale):
    """As rows of histograms, with a gap where the series ended."""
    labels, stamps, histograms = native([[1], [2], [3]])
    histograms.sum[1] = stale
    [(_, at_ms, found)] = evaluate("n", lists((labels, stamps, histograms)), 0, 2 * MINUTE, MINUTE).plain()
    assert at_ms.tolist() == [0, 2 * MINUTE]
    assert found.count.tolist() == [1, 3]
    [(_, at_ms, found)] = evaluate("rate(n[3m])", lists((labels, stamps, histograms)), 0, 2 * MINUTE, MINUTE).plain()
    assert at_ms.tolist() == [2 * MINUTE]


@pytest.mark.parametrize(
    "query", ["sum(rate({}[3m]))", "sum by (job) (increase({}[3m]))", "avg(irate({}[3m]))", "sum({})"]
)
def test_a_series_that_has_ended_adds_nothing_to_those_that_go_on(lists, query):
    """At no step after its end, and none before its begin: a sum over a fleet with a dead worker is that of the living."""
    grown = [[each, 2 * each] for each in range(1, 21)]
    living = native(grown, i="living")
    labels, stamps, histograms = native(grown[:3], i="dead")
    late = ({**labels, "i": "late"}, [each + 12 * MINUTE for each in stamps], histograms)
    both = lists(living, (labels, stamps, histograms), late)
    every, one = query.format("n"), query.format('n{i="living"}')

    def asked(expression, first, last):
        [(_, stamps, values)] = evaluate(expression, both, first * MINUTE, last * MINUTE, MINUTE).plain()
        return stamps.tolist(), [round(each, 9) for each in values.tolist()]

    # Of one shape all of them, and so of one quantile at every step.
    assert asked(f"histogram_quantile(0.9, {every})", 0, 19) == asked(f"histogram_quantile(0.9, {one})", 0, 19)
    assert asked(f"histogram_count({every})", 8, 11) == asked(f"histogram_count({one})", 8, 11)


def test_a_native_histogram_lacks_no_bucket_label(lists):
    """Only a float that is there can lack its `le`: a quantile of native histograms alone warns of nothing."""
    source = lists(native([[1, 2], [2, 4]], i="0"), native([[3, 4], [5, 6]], i="1"))
    for query in ("n", "sum(n)", "rate(n[3m])", "sum by (i) (rate(n[3m]))", "avg(n) * 2"):
        result = evaluate_instant(f"histogram_quantile(0.5, {query})", source, MINUTE)
        assert (len(result.plain()) > 0, result.warnings) == (True, []), query


def test_floats_and_histograms_do_not_mix(lists, series):
    """A group with both has no sum, and says so; an operator on both says so too."""
    source = lists(native([[1, 2]], i="0"), series("n", [3], i="1"))
    result = evaluate_instant("sum(n)", source, 0)
    assert (result.plain(), len(result.warnings)) == ([], 1)
    result = evaluate_instant("n > 1", source, 0)
    assert [labels["i"] for labels, _ in result.plain()] == ["1"]
    assert result.infos == [
        'PromQL info: incompatible sample types encountered for binary operator ">": histogram > float'
    ]
