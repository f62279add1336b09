"""What the series of a store are in Prometheus: each one's names, types and values; where a total is 0, where a life ends."""

import numpy as np
import pytest

from rondo_core.model import prometheus, sketch
from rondo_core.model.labels import Series
from rondo_core.model.prometheus import (
    BUCKETS,
    HISTOGRAM,
    PLAIN,
    QUANTILES,
    all_columns,
    needs_of,
    sample_columns,
    sorted_labels,
    stale_ms,
    values_of,
    whole_labels,
    zero_ns,
    zeroes_ns,
)

SERIES = Series("job_seconds", (("job", "a"), ("le", "x")), "summary", "s", 0)


def test_the_types_are_those_of_the_protocol():
    """By number in io.prometheus.write.v2.Metadata, by name in its metadata of 1.0 and in the HTTP API."""
    numbers = [
        getattr(prometheus, name) for name in ("COUNTER", "GAUGE", "CLASSIC_HISTOGRAM", "GAUGE_HISTOGRAM", "SUMMARY")
    ]
    assert numbers == [1, 2, 3, 4, 5]
    assert prometheus.TYPES == {1: "counter", 2: "gauge", 3: "histogram", 4: "gaugehistogram", 5: "summary"}
    assert (prometheus.STALE_BITS, prometheus.MAX_HISTOGRAM_SCHEMA) == (0x7FF0000000000002, 8)


@pytest.mark.parametrize(
    ("kind", "sketched", "columns"),
    [
        ("counter", True, [("", "", 1, True)]),
        ("gauge", True, [("", "", 2, False)]),
        (
            "summary",
            False,
            [("_count", "", 5, True), ("_sum", "", 5, True), ("_min", "", 2, False), ("_max", "", 2, False)],
        ),
    ],
)
def test_a_kind_is_so_many_series(kind, sketched, columns):
    """Totals count on from a start, extremes are gauges; a sketch is a summary's alone."""
    assert [tuple(each) for each in sample_columns(kind, sketched=sketched)] == columns
    assert all_columns(kind, sketched=sketched) == sample_columns(kind, sketched=sketched)


def test_a_sketch_is_four_quantiles_and_two_histograms_more():
    """The histograms are asked for, and no samples."""
    found = sample_columns("summary", sketched=True)
    assert found == PLAIN["summary"] + QUANTILES
    assert [tuple(each) for each in QUANTILES] == [("", each, 5, False) for each in ("0.5", "0.9", "0.99", "0.999")]
    assert all_columns("summary", sketched=True) == (*found, HISTOGRAM, BUCKETS)
    assert (tuple(HISTOGRAM), tuple(BUCKETS)) == (("", "", 4, False), ("_bucket", "", 3, True))


def test_values_are_read_from_what_they_need_and_from_nothing_else():
    """A total with what was there before the row; an extreme of no observation is none, nor is a sum where nothing is."""
    nan = np.nan
    statistics = {
        "count_base": np.array([[10.0, 0.0, 5.0]]),
        "count": np.array([[2.0, 0.0, nan]]),
        "sum_base": np.array([[100.0, 0.0, 7.0]]),
        "sum": np.array([[3.0, 0.0, 0.0]]),
        "min": np.array([[1.0, 9.0, nan]]),
        "max": np.array([[2.0, 9.0, nan]]),
    }
    wanted = {"_count": [12.0, 0.0, nan], "_sum": [103.0, 0.0, nan], "_min": [1.0, nan, nan], "_max": [2.0, nan, nan]}
    for column in PLAIN["summary"]:
        needed = {name: statistics[name] for name in needs_of("summary", column)}
        np.testing.assert_array_equal(values_of("summary", column, needed), [wanted[column.suffix]])
    for kind in ("counter", "gauge"):
        assert needs_of(kind, PLAIN[kind][0]) == ("last",)
        np.testing.assert_array_equal(values_of(kind, PLAIN[kind][0], {"last": statistics["sum"]}), statistics["sum"])


@pytest.mark.parametrize("n_series", [1, 3, prometheus.SKETCHES_AT_ONCE + 1])
def test_a_quantile_is_the_sketchs_within_what_was_observed(n_series):
    """Whatever is looked at at once; where nothing was observed there is none."""
    shape = (5, n_series)
    sketches = np.zeros((*shape, sketch.CELLS + 3), np.int64)
    sketch.counts_of(sketches)[..., 3] = np.arange(5)[:, None]  # none in the first row
    sketches[..., 0] = 128  # a scale of 0
    sketches[..., 1] = (1 << 31) + np.array([1, 5, 2, 7, 3])[:, None]  # the first cells
    count = np.broadcast_to(np.arange(5.0)[:, None], shape)
    estimate = sketch.quantile(sketches, 0.5)
    low, high = np.zeros(shape), np.full(shape, 1e9)
    high[2], low[3] = 5.0, 1e8
    statistics = {"sketch": sketches, "min": low, "max": high, "count": count}
    assert needs_of("summary", QUANTILES[0]) == tuple(statistics)
    found = values_of("summary", QUANTILES[0], statistics)
    assert np.isnan(found[0]).all()
    np.testing.assert_array_equal(found[[1, 4]], estimate[[1, 4]])
    assert (found[2] == 5.0).all()
    assert (found[3] == 1e8).all()


def test_a_label_set_has_the_name_and_the_quantile_and_what_wins():
    """It is sorted for receivers; what is displaced is kept."""
    count, half = PLAIN["summary"][0], QUANTILES[0]
    assert whole_labels(SERIES, count, {}) == {"job": "a", "le": "x", "__name__": "job_seconds_count"}
    assert whole_labels(SERIES, half, {"job": "b"}) == {
        "__name__": "job_seconds", "exported_job": "a", "job": "b", "le": "x", "quantile": "0.5",
    }  # fmt: skip
    assert sorted_labels({"b": "2", "a": "1"}) == (("a", "1"), ("b", "2"))


@pytest.mark.parametrize(("created", "zero"), [(0, 0), (-5, 0), (1, 0), (10, 0), (19, 0), (20, 10), (39, 20)])
def test_a_total_was_0_one_bucket_before_the_one_of_its_declaration(created, zero):
    """0 where that is not known, or before the epoch."""
    assert zero_ns(created, 10) == zero


@pytest.mark.parametrize("intervals", [10, np.array([10, 10, 20])])
def test_series_begin_in_the_rows_that_have_their_declaration_and_a_sample(intervals):
    """Before the rows, after them, in a gap and without a sample they do not."""
    starts = np.array([100, 110, 140], np.int64)
    created = np.array([99, 100, 109, 110, 125, 149, 0, 105, 120], np.int64)
    there = np.ones((3, len(created)), bool)
    there[0, 7] = False
    found = zeroes_ns(created, starts, intervals, 10, there)
    assert found.tolist() == [-1, 90, 90, 100, -1, 130, -1, -1, -1]
    late = zeroes_ns(np.array([150, 160], np.int64), starts, intervals, 10, there)
    assert late.tolist() == ([-1, -1] if isinstance(intervals, int) else [140, -1])


def test_no_rows_and_rows_after_every_declaration_begin_nothing():
    """Each has an answer for each series; a declaration at the first row's very start is in it."""
    none = np.empty(0, np.int64)
    assert zeroes_ns(np.array([5]), none, 10, 10, np.ones((0, 1), bool)).tolist() == [-1]
    assert zeroes_ns(none, np.array([5]), 10, 10, np.ones((1, 0), bool)).tolist() == []
    assert zeroes_ns(np.array([99, 0]), np.array([100]), 10, 10, np.ones((1, 2), bool)).tolist() == [-1, -1]
    assert zeroes_ns(np.array([100]), np.array([100]), 10, 10, np.ones((1, 1), bool)).tolist() == [90]


def test_a_life_ends_a_millisecond_after_its_newest_sample():
    """The millisecond that has it, and one."""
    assert [stale_ms(each) for each in (5_000_000, 5_999_999, 6_000_000)] == [6, 6, 7]
