"""Statistics merge exactly: against a merge in plain Python, over every pattern of holes."""

import itertools
import math

import numpy as np
import pytest

from rondo_core.errors import SchemaError
from rondo_core.model import sketch
from rondo_core.model.statistics import (
    COVERAGE,
    MERGED_AS,
    SKETCH,
    WindowMerge,
    cell_statistics,
    cells_for,
    check_statistics,
    coarse_statistics,
    complete_statistics,
    fine_cells,
    finite_sum,
    mend_sums,
)

NAN = math.nan
HIGHEST = 1.7976931348623157e308
STATISTICS = ("first", "last", "min", "max", "sum")


def same(found, wanted):
    np.testing.assert_array_equal(np.asarray(found, float), np.asarray(wanted, float))
    return True


def test_what_each_kind_keeps_is_what_is_on_the_disk_of_every_store():
    """In file order: a change of it is another format."""
    assert fine_cells("counter", False) == fine_cells("gauge", False) == ("last",)
    assert fine_cells("gauge", False, peaks=True) == ("last", "min", "max")
    summary = ("count", "sum0", "sum1", "min0", "min1", "max0", "max1", "count_base", "sum_base")
    assert fine_cells("summary", False) == summary
    assert fine_cells("summary", True) == (*summary, "sketch_head", "sketch0", "sketch1")
    assert coarse_statistics("counter", False) == ("first", "last", "coverage")
    assert coarse_statistics("gauge", False) == ("first", "last", "min", "max", "sum", "coverage")
    coarse = ("count", "sum", "min", "max", "count_base", "sum_base", "coverage")
    assert coarse_statistics("summary", False) == coarse
    assert coarse_statistics("summary", True) == (*coarse, "sketch")


def test_statistics_that_are_asked_for_are_put_in_order():
    """Coverage always among them."""
    known = coarse_statistics("summary", True)
    assert check_statistics("summary", ("sketch", "count"), known, True) == ("count", "coverage", "sketch")
    assert check_statistics("gauge", (), (), False) == ("coverage",)


@pytest.mark.parametrize(
    ("statistics", "finer", "said"),
    [
        (
            ("sketch",),
            coarse_statistics("gauge", False),
            "statistic 'sketch': only a summary's schema with sketch = true",
        ),
        (
            ("p99",),
            coarse_statistics("gauge", False),
            "statistic 'p99': a gauge keeps first, last, min, max, sum, cover",
        ),
        (("min",), ("max",), "statistic 'min': the finer tier does not keep it; add it there"),
    ],
)
def test_statistics_that_cannot_be_are_refused(statistics, finer, said):
    """By the first of them."""
    with pytest.raises(SchemaError) as caught:
        check_statistics("gauge", statistics, finer, False)
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    ("kind", "kept", "statistic", "cells"),
    [
        ("gauge", ("last",), "last", ("last",)),
        ("gauge", ("last",), "first", ("last",)),
        ("gauge", ("last",), "sum", ("last",)),
        ("gauge", ("last",), "coverage", ("last",)),
        ("gauge", ("last",), "count", ()),
        ("gauge", ("min", "coverage"), "min", ("min",)),
        ("gauge", ("min", "coverage"), "max", ()),
        ("counter", ("last",), "min", ("last",)),
        ("counter", ("last",), "max", ("last",)),
        ("counter", ("last",), "sum", ()),
        ("counter", ("first", "last", "coverage"), "min", ("first",)),
        ("counter", ("first", "last", "coverage"), "max", ("last",)),
        ("counter", ("last", "coverage"), "min", ()),
        ("counter", ("first", "coverage"), "last", ()),
        ("summary", fine_cells("summary", False), "count", ("count",)),
        ("summary", fine_cells("summary", False), "sum", ("count", "sum0", "sum1")),
        ("summary", fine_cells("summary", False), "max", ("count", "max0", "max1")),
        ("summary", fine_cells("summary", False), "coverage", ("count",)),
        ("summary", fine_cells("summary", False), "last", ()),
        ("summary", fine_cells("summary", False), "sketch", ()),
        ("summary", fine_cells("summary", True), "sketch", ("sketch_head", "sketch0", "sketch1")),
        ("summary", ("count", "sum", "coverage"), "sum", ("sum",)),
        ("summary", ("count", "coverage"), "sum", ()),
        ("summary", ("count", "coverage"), "sketch", ()),
        ("summary", ("coverage", "sketch"), "sketch", ("sketch",)),
        ("summary", fine_cells("summary", False), "sum_base", ("sum_base",)),
    ],
)
def test_a_statistic_is_read_from_the_cells_that_tell_it(kind, kept, statistic, cells):
    """A counter's least is its first and its most its last; none where it cannot be told."""
    assert cells_for(kind, kept, statistic) == cells


def test_a_bucket_with_one_sample_is_all_its_statistics():
    """Of counters and gauges; coverage says whether there is one."""
    last = np.array([[1.5, NAN], [-2.0, 0.0]])
    read = cell_statistics("gauge", {"last": last})
    assert set(read) == {*STATISTICS, COVERAGE}
    assert all(same(read[name], last) for name in STATISTICS)
    assert same(read[COVERAGE], [[1, 0], [1, 1]])
    assert read[COVERAGE].dtype == np.int64
    assert set(cell_statistics("counter", {"last": last})) == {"first", "last", "min", "max", COVERAGE}


def test_peaks_of_a_bucket_reach_as_far_as_its_last_value():
    """Which may have been stored a moment before them; a bucket with no sample has none, whatever its cells hold."""
    cells = {"last": [[5.0, 1.0, 3.0, NAN]], "min": [[2.0, 2.0, NAN, 0.0]], "max": [[4.0, 4.0, NAN, 9.0]]}
    read = cell_statistics("gauge", {name: np.array(values) for name, values in cells.items()})
    assert same(read["min"], [[2, 1, 3, NAN]])
    assert same(read["max"], [[5, 4, 3, NAN]])
    assert same(read["first"], cells["last"])


def test_a_summarys_sign_says_which_copy_counts():
    """Negative: the second one. A bucket without an observation has a sum of 0 and no least, one that is absent nothing."""
    cells = {
        "count": np.array([[2.0, -3.0, 0.0, NAN]]),
        "sum0": np.array([[1.0, 9.0, 9.0, 9.0]]), "sum1": np.array([[8.0, 2.0, 8.0, 8.0]]),
        "min0": np.array([[3.0, 9.0, 9.0, 9.0]]), "min1": np.array([[8.0, 4.0, 8.0, 8.0]]),
        "max0": np.array([[5.0, 9.0, 9.0, 9.0]]), "max1": np.array([[8.0, 6.0, 8.0, 8.0]]),
        "count_base": np.array([[10.0, 11.0, 12.0, NAN]]), "sum_base": np.array([[20.0, 21.0, 22.0, NAN]]),
    }  # fmt: skip
    read = cell_statistics("summary", cells)
    assert same(read["count"], [[2, 3, 0, NAN]])
    assert same(read["sum"], [[1, 2, 0, NAN]])
    assert same(read["min"], [[3, 4, NAN, NAN]])
    assert same(read["max"], [[5, 6, NAN, NAN]])
    assert same(read["count_base"], cells["count_base"])
    assert same(read["sum_base"], cells["sum_base"])
    assert same(read[COVERAGE], [[1, 1, 1, 0]])
    assert set(cell_statistics("summary", {"count": cells["count"]})) == {"count", COVERAGE}
    assert same(
        cell_statistics("summary", {"count": cells["count"], "min0": cells["min0"], "min1": cells["min1"]})["min"],
        [[3, 4, NAN, NAN]],
    )
    full = {name: cell[:, :2] for name, cell in cells.items()}
    assert same(cell_statistics("summary", full)["sum"], [[1, 2]])


def test_a_summarys_sketch_is_lifted_with_it():
    """From the bank that its head names."""
    heads = np.array([[sketch.pack_head(3, -5, 1)]])
    banks = np.zeros((1, 1, sketch.WIDTH), np.uint32), np.ones((1, 1, sketch.WIDTH), np.uint32)
    cells = {"count": np.array([[1.0]]), "sketch_head": heads, "sketch0": banks[0], "sketch1": banks[1]}
    assert cell_statistics("summary", cells)[SKETCH][0, 0, 2:].sum() == sketch.WIDTH


def merged(statistic, values):
    """Merge one window's values in plain Python."""
    there = [value for value in values if not math.isnan(value)]
    if not there:
        return NAN
    return {"first": there[0], "last": there[-1], "min": min(there), "max": max(there), "sum": sum(there)}[statistic]


@pytest.mark.parametrize("n_series", [1, 2, 255, 256, 300])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_windows_merge_as_they_do_one_by_one(statistic, n_series):
    """Whatever of them is absent: whole windows, windows with holes, and windows of nothing, side by side."""
    ratio, patterns = 3, list(itertools.product((True, False), repeat=3))
    values = np.arange(len(patterns) * ratio * n_series, dtype=float).reshape(-1, n_series) % 17 - 8.0
    for row, there in enumerate(itertools.chain(*patterns)):
        if not there:
            values[row] = NAN
    values[4, 0] = NAN  # and one series alone
    everywhere = slice(0, len(values))
    found = WindowMerge(everywhere, len(patterns), ratio)(statistic, values)
    wanted = [
        [merged(statistic, values[window * ratio : window * ratio + ratio, column]) for column in range(n_series)]
        for window in range(len(patterns))
    ]
    assert same(found, wanted)
    whole = np.nan_to_num(values, nan=3.0)
    wanted = [
        [merged(statistic, whole[window * ratio : window * ratio + ratio, column]) for column in range(n_series)]
        for window in range(len(patterns))
    ]
    assert same(WindowMerge(everywhere, len(patterns), ratio)(statistic, whole), wanted)
    holed = values.copy()
    holed[::ratio] = NAN
    wanted = [
        [merged(statistic, holed[window * ratio : window * ratio + ratio, column]) for column in range(n_series)]
        for window in range(len(patterns))
    ]
    assert same(WindowMerge(everywhere, len(patterns), ratio)(statistic, holed), wanted)


def test_rows_that_are_missing_are_absent_buckets():
    """Of a window of which not all buckets have a row, by their places."""
    merge = WindowMerge(np.array([1, 2, 5]), 2, 3)
    values = np.array([[1.0, 10.0], [2.0, NAN], [5.0, 50.0]])
    assert same(merge("sum", values), [[3, 10], [5, 50]])
    assert same(merge("first", values), [[1, 10], [5, 50]])
    assert same(merge("last", values), [[2, 10], [5, 50]])
    assert same(merge.windows(), [0, 0, 1])
    assert same(merge.coverage(values), [[2, 1], [1, 1]])
    assert same(merge(COVERAGE, np.array([[7, 1], [2, 0], [5, 3]])), [[9, 1], [5, 3]])
    assert merge(COVERAGE, np.array([[7, 1], [2, 0], [5, 3]])).dtype == np.int64
    whole = WindowMerge(slice(0, 4), 2, 2)
    assert same(whole.windows(), [0, 0, 1, 1])
    assert same(whole.coverage(np.ones((4, 2))), [[2, 2], [2, 2]])
    assert same(whole.coverage(np.array([[1.0, NAN], [1, 1], [NAN, NAN], [NAN, 1]])), [[2, 1], [0, 1]])


def test_counts_are_summed_and_bases_are_those_of_the_first_bucket():
    """What a window began from is what its first bucket began from."""
    assert MERGED_AS == {"count": "sum", "count_base": "first", "sum_base": "first"}
    merge = WindowMerge(slice(0, 2), 1, 2)
    values = np.array([[3.0], [4.0]])
    assert [merge(name, values)[0, 0] for name in ("count", "count_base", "sum_base")] == [7.0, 3.0, 3.0]


def test_a_sum_that_is_not_known_makes_its_windows_so():
    """Where a bucket that is covered has no sum, the window has none; where it is not covered, it does not count."""
    merge = WindowMerge(slice(0, 4), 2, 2)
    sums, covered = np.array([[NAN], [2.0], [NAN], [3.0]]), np.array([[0], [1], [1], [1]])
    assert same(merge("sum", sums, covered), [[2], [NAN]])
    assert same(WindowMerge(slice(0, 4), 2, 2)("sum", sums), [[2], [3]])
    assert same(WindowMerge(slice(0, 4), 2, 2)("min", sums, covered), [[2], [3]])


def test_a_row_knows_its_window_where_windows_are_many_and_rows_few():
    """More windows than a window has buckets, and a few rows of each."""
    merge = WindowMerge(np.array([0, 3, 9, 10, 11]), 6, 2)
    assert merge.windows().tolist() == [0, 1, 4, 5, 5]
    assert same(merge("sum", np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])), [[1], [2], [NAN], [NAN], [3], [9]])
    few = WindowMerge(np.arange(1, 9), 3, 4)
    assert same(few("sum", np.arange(8.0)[:, None]), [[0 + 1 + 2], [3 + 4 + 5 + 6], [7]])


def test_sketches_merge_by_window():
    """As all other statistics do."""
    rows = np.zeros((2, 1, sketch.WORDS), np.int64)
    rows[:, 0, :2] = 128 + 3, (1 << 31) - 5
    rows[0, 0, 2], rows[1, 0, 2] = 4, 6
    (window,) = WindowMerge(slice(0, 2), 1, 2)(SKETCH, rows)
    assert sketch.cells(window[0])[2].sum() == 10


def test_a_sum_of_finite_values_is_finite():
    """It stands at the last that there is, either way; sums that go up and down again are exact."""
    assert finite_sum([HIGHEST, HIGHEST]) == HIGHEST
    assert finite_sum([-HIGHEST, -HIGHEST, -1.0]) == -HIGHEST
    assert finite_sum([HIGHEST, HIGHEST, -HIGHEST]) == HIGHEST
    assert finite_sum([1.5, 2.5]) == 4.0
    assert finite_sum([HIGHEST, -HIGHEST / 2]) == HIGHEST / 2


def test_a_sum_of_finite_values_that_cancel_is_exact():
    """What leaves the floats on the way comes back to the bit; an absent bucket adds nothing to it."""
    for one in (1.7e308, 1.3e308, 1.497338097087121e308, 1.612527614953831e308, 1.6520426872926906e308):
        for series, wanted in (([one, one, -one, -one], 0.0), ([one, one, -one], one)):
            assert finite_sum(series) == wanted
            block = np.array([*series, NAN])[:, None, None]
            sums = np.array([[math.inf]])
            mend_sums(sums, block)
            assert sums.tolist() == [[wanted]]


def test_sums_that_left_what_floats_hold_are_mended():
    """And only those: one with an infinite value, and one of nothing, stand as they are."""
    block = np.array([[[HIGHEST, HIGHEST, math.inf, 1.0, NAN, -HIGHEST]], [[HIGHEST, NAN, 1.0, 2.0, NAN, -HIGHEST]]])
    with np.errstate(over="ignore"):
        sums = np.array([[math.inf, math.inf, math.inf, 3.0, NAN, -math.inf]])
        mend_sums(sums, block)
    assert same(sums, [[HIGHEST, HIGHEST, math.inf, 3.0, NAN, -HIGHEST]])
    with np.errstate(over="ignore"):
        found = WindowMerge(slice(0, 2), 1, 2)("sum", np.array([[HIGHEST], [HIGHEST]]))
        assert same(found, [[HIGHEST]])
        found = WindowMerge(slice(0, 3), 1, 3)("sum", np.array([[HIGHEST], [HIGHEST], [NAN]]))
        assert same(found, [[HIGHEST]])
        cancelled = WindowMerge(slice(0, 4), 1, 4)("sum", np.array([[HIGHEST], [HIGHEST], [-HIGHEST], [-HIGHEST]]))
        assert same(cancelled, [[0]])


@pytest.mark.parametrize("n_windows", [1, 3])
@pytest.mark.parametrize("n_series", [1, 2, 255, 256])
def test_sums_add_up_bucket_by_bucket(n_series, n_windows):
    """However many series and windows there are: not pairwise, and from -0.0 on."""
    values = np.array([0.1, 1e16, 0.3, -1e16, 7.7, 1e-9, 0.2, 0.9, 3.3, 0.7] * n_windows)
    rows = np.repeat(values[:, None], n_series, axis=1)
    wanted = 0.0
    for value in values[:10].tolist():
        wanted += value
    merge = WindowMerge(slice(0, len(rows)), n_windows, 10)
    assert (merge("sum", rows) == wanted).all()
    assert np.signbit(merge("sum", np.full_like(rows, -0.0))).all()


def test_what_is_not_covered_is_absent():
    """Whatever its cells hold; a counter's least and most are its first and last."""
    statistics = {COVERAGE: np.array([[2, 0]]), "first": np.array([[1.0, 9.0]]), "last": np.array([[3.0, 9.0]])}
    read = complete_statistics("counter", statistics)
    assert same(read["first"], [[1, NAN]])
    assert same(read["min"], [[1, NAN]])
    assert same(read["max"], [[3, NAN]])
    assert same(read[COVERAGE], [[2, 0]])
    assert set(complete_statistics("gauge", statistics)) == {COVERAGE, "first", "last"}
    assert set(complete_statistics("counter", {COVERAGE: np.array([[1]]), "last": np.array([[1.0]])})) == {
        COVERAGE,
        "last",
        "max",
    }
    assert set(complete_statistics("counter", {COVERAGE: np.array([[1]]), "first": np.array([[1.0]])})) == {
        COVERAGE,
        "first",
        "min",
    }
    kept = np.full((1, 2, sketch.WORDS), 5, np.int64)
    read = complete_statistics("summary", {COVERAGE: np.array([[1, 0]]), SKETCH: kept, "sum": np.array([[1.0, 2.0]])})
    assert (read[SKETCH][0, 0] == 5).all()
    assert (read[SKETCH][0, 1] == 0).all()
    assert same(read["sum"], [[1, NAN]])
    whole = {COVERAGE: np.array([[1]]), "sum": np.array([[2.0]])}
    assert complete_statistics("summary", whole) == whole
    assert complete_statistics("summary", whole) is not whole
