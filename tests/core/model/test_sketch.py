"""The sketch by its definition: each value in its cell, at a scale as fine as the cells allow, merged without loss."""

import math
from array import array

import numpy as np
import pytest

from rondo_core.model import sketch
from rondo_core.model.sketch import CELLS, HEAD_WORDS, WIDTH, WORDS, ZERO, SketchCells

N_SERIES = 2
HEADS, BANKS = 1, (6, 6 + N_SERIES * WIDTH)  # one word before, so that a place of nought is not taken for right


def new_row():
    """Give an empty row: a word, the heads, and two banks of each series."""
    raw = array("B", bytes(8 * (1 + N_SERIES) + 2 * 4 * N_SERIES * WIDTH + 64))
    return memoryview(raw).cast("d") if len(raw) % 8 == 0 else memoryview(raw[: len(raw) // 8 * 8]).cast("d")


def held(row, column=0):
    """Give the scale and, by index, the counts of a series in a row; "zero" for the count of zeroes."""
    raw = row.cast("B")
    head = raw.cast("q")[HEADS + column]
    scale, first, bank = sketch.unpack_head(head)
    base = BANKS[bank] + column * WIDTH
    counts = raw[: len(raw) // 4 * 4].cast("I")[base : base + WIDTH].tolist()
    found = {first + place: count for place, count in enumerate(counts[:CELLS]) if count}
    return scale, found | ({"zero": counts[ZERO]} if counts[ZERO] else {})


def index(value, scale):
    """The cell of OpenTelemetry's definition: base^i < value <= base^(i+1), at a scale whose base is exact enough."""
    return math.ceil(math.log2(value) * 2**scale) - 1


def test_what_is_on_the_disk_never_changes():
    """How many cells there are, and where they lie."""
    assert (CELLS, ZERO, WIDTH, HEAD_WORDS, WORDS, sketch.MAX_SCALE) == (108, 108, 109, 2, 111, 20)
    assert sketch.pack_head(0, 0, 0) == (1 << 31) << 16 | 128 << 1
    assert sketch.pack_head(20, -5, 1) == ((1 << 31) - 5) << 16 | 148 << 1 | 1


@pytest.mark.parametrize("scale", [-11, -1, 0, 5, 20])
@pytest.mark.parametrize("first", [-(1 << 31), -81, 0, 7, (1 << 31) - 1])
@pytest.mark.parametrize("bank", [0, 1])
def test_a_head_reads_back(scale, first, bank):
    """And is never nothing, which is an empty sketch."""
    head = sketch.pack_head(scale, first, bank)
    assert sketch.unpack_head(head) == (scale, first, bank)
    assert 0 < head < 1 << 63


@pytest.mark.parametrize(
    ("value", "scale", "cell"),
    [(1.0, 0, -1), (1.5, 0, 0), (2.0, 0, 0), (2.1, 0, 1), (4.0, 1, 3), (0.5, 0, -2), (4.0, -1, 0), (5.0, -1, 1)],
)
def test_a_cell_holds_what_is_above_its_lower_edge_up_to_its_upper_one(value, scale, cell):
    """A power of the base belongs to the cell that it ends."""
    assert sketch.index_of(value, scale) == cell


def test_the_error_is_that_of_the_middle_of_a_cell():
    """From the base of the scale; also of many scales at once."""
    assert sketch.relative_error(0) == pytest.approx(1 / 3)
    assert round(sketch.relative_error(5), 4) == 0.0108
    assert np.asarray(sketch.relative_error(np.array([0.0, -1.0]))).tolist() == [1 / 3, 0.6]


def test_each_value_is_counted_in_its_cell():
    """At the finest scale at first, around the first one; a value that does not fit lowers it, and nothing is lost."""
    cells, row = SketchCells(HEADS, BANKS), new_row()
    power, after, place = cells.add(row, 0, 3.0)
    assert power == 2.0**20
    first = index(3.0, 20) - CELLS // 2
    assert (after, place) == (first + 1, BANKS[0])
    assert held(row) == (20, {index(3.0, 20): 1})
    assert cells.add(row, 0, 3.0) == (power, after, place)
    assert held(row) == (20, {index(3.0, 20): 2})
    cells.add(row, 0, 6.0)
    scale, found = held(row)
    assert found == {index(3.0, scale): 2, index(6.0, scale): 1}
    assert index(6.0, scale + 1) - index(3.0, scale + 1) >= CELLS > index(6.0, scale) - index(3.0, scale)
    cells.add(row, 0, 0.0)
    cells.add(row, 0, 0.0)
    cells.add(row, 1, 1.0)
    assert held(row) == (scale, {**found, "zero": 2})
    assert held(row, 1) == (20, {-1: 1})
    cells.add(row, 0, 1e9)
    coarse, wide = held(row)
    assert wide == {index(3.0, coarse): 2, index(6.0, coarse): 1, index(1e9, coarse): 1, "zero": 2}
    assert index(1e9, coarse + 1) - index(3.0, coarse + 1) >= CELLS
    assert held(row, 1) == (20, {-1: 1})


def test_a_lowered_scale_is_centred_and_in_the_other_bank():
    """What a handle counts by is where it is now; what it was before stays until the head says otherwise."""
    cells, row = SketchCells(HEADS, BANKS), new_row()
    for column in (0, 1):
        cells.add(row, column, 1.0)
        power, after, place = cells.add(row, column, 64.0)
        scale, first, bank = sketch.unpack_head(row.cast("B").cast("q")[HEADS + column])
        low, high = index(1.0, scale), index(64.0, scale)
        assert (power, after, place) == (2.0**scale, first + 1, BANKS[1] + column * WIDTH)
        assert (bank, first) == (1, low - (CELLS - (high - low + 1)) // 2)
    _, _, place = cells.add(row, 0, 1e-9)
    assert place == BANKS[0]


def test_zeroes_need_no_scale():
    """A row of zeroes alone is as fine as can be."""
    cells, row = SketchCells(HEADS, BANKS), new_row()
    power, after, _ = cells.add(row, 0, 0.0)
    assert (power, after) == (2.0**20, 1 - CELLS // 2)
    assert held(row) == (20, {"zero": 1})


def test_the_next_row_begins_as_fine_as_what_the_last_one_saw_allows():
    """At its scale or finer, around the same values, so that a steady series is not refitted second by second."""
    cells, row, later = SketchCells(HEADS, BANKS), new_row(), new_row()
    for value in (1.0, 2.0, 1000.0):
        cells.add(row, 0, value)
    scale, found = held(row)
    cells.add(later, 0, 30.0)
    assert held(later) == (scale, {index(30.0, scale): 1})
    _, first, bank = sketch.unpack_head(later.cast("B").cast("q")[HEADS])
    low, high = min(found), max(found)
    assert (bank, first) == (0, low - (CELLS - (high - low + 1)) // 2)


def test_the_next_row_is_finer_where_the_last_one_used_few_cells():
    """Twice as fine for each time that what was used fits twice."""
    cells, row, later = SketchCells(HEADS, BANKS), new_row(), new_row()
    cells.add(row, 0, 1e-6)
    cells.add(row, 0, 1e6)
    coarse, _ = held(row)
    middle = new_row()
    for value in (3.0, 3.1):
        cells.add(middle, 0, value)
    scale, found = held(middle)
    assert scale == coarse
    cells.add(later, 0, 3.05)
    fine, _ = held(later)
    span = max(found) - min(found) + 1
    assert span << (fine - scale) <= CELLS < span << (fine - scale + 1)
    _, first, _ = sketch.unpack_head(later.cast("B").cast("q")[HEADS])
    assert first == (min(found) << (fine - scale)) - (CELLS - (span << (fine - scale))) // 2


def test_a_row_after_one_of_zeroes_begins_anew():
    """Zeroes say nothing of a scale."""
    cells, row, later = SketchCells(HEADS, BANKS), new_row(), new_row()
    cells.add(row, 0, 0.0)
    cells.add(later, 0, 5.0)
    assert held(later) == (20, {index(5.0, 20): 1})


def test_no_row_is_finer_than_the_finest_scale():
    """However little the last one used."""
    cells, row, later = SketchCells(HEADS, BANKS), new_row(), new_row()
    cells.add(row, 0, 5.0)
    cells.add(later, 0, 5.0)
    assert held(later)[0] == 20


def test_a_late_value_leaves_what_the_next_row_begins_from():
    """That is the present row, not the older one that was written to last; the first ever is better than none."""
    cells, old, present, later = SketchCells(HEADS, BANKS), new_row(), new_row(), new_row()
    cells.add(present, 0, 1.0)
    cells.add(present, 0, 1000.0)
    cells.add_late(old, 0, 5.0)
    cells.add(later, 0, 2.0)
    assert held(later)[0] == held(present)[0]
    alone, first, second = SketchCells(HEADS, BANKS), new_row(), new_row()
    alone.add_late(first, 0, 1.0)
    alone.add(first, 0, 1000.0)
    alone.add(second, 0, 2.0)
    assert held(second)[0] == held(first)[0]


def statistic(values, scale):
    """Make the statistic of some values at a scale, by the definition alone."""
    out = np.zeros(WORDS, np.int64)
    above = [value for value in values if value]
    first = min([index(value, scale) for value in above], default=0)
    if len(values):
        out[:2] = scale + 128, first + (1 << 31)
    for value in above:
        out[HEAD_WORDS + index(value, scale) - first] += 1
    out[HEAD_WORDS + ZERO] = len(values) - len(above)
    return out


def read(merged):
    """Give scale and counts by index of a statistic."""
    scale, first, counts, zeroes = sketch.cells(merged)
    found = {first + place: int(count) for place, count in enumerate(counts) if count}
    return scale, found | ({"zero": zeroes} if zeroes else {})


def test_the_finest_tier_lifts_to_the_statistic_and_back():
    """The bank that counts, and nothing where nothing was observed."""
    heads = np.array([[sketch.pack_head(3, -7, 0), sketch.pack_head(-2, 9, 1), 0]])
    banks = tuple(np.arange(3 * WIDTH, dtype=np.uint32).reshape(1, 3, WIDTH) + 1000 * bank for bank in (0, 1))
    statistic = sketch.of_cells(heads, banks)
    assert statistic.shape == (1, 3, WORDS)
    assert statistic.dtype == np.int64
    assert [sketch.cells(statistic[0, column])[:2] for column in (0, 1, 2)] == [(3, -7), (-2, 9), (20, 0)]
    assert statistic[0, 0, 2:].tolist() == banks[0][0, 0].tolist()
    assert statistic[0, 1, 2:].tolist() == banks[1][0, 1].tolist()
    assert statistic[0, 2, :2].tolist() == [0, 0]
    assert sketch.scales(statistic).tolist() == [[3, -2, 20]]
    assert sketch.first_indexes(statistic[:, :2]).tolist() == [[-7, 9]]
    back, (counts, other) = sketch.to_cells(statistic)
    assert back.tolist() == [[sketch.pack_head(3, -7, 0), sketch.pack_head(-2, 9, 0), 0]]
    assert counts.dtype == other.dtype == np.uint32
    assert counts.tolist() == statistic[..., 2:].tolist()
    assert not other.any()


VALUES = [[1.0, 1.01, 3.0], [0.5, 200.0], [], [0.0, 0.0], [7.0], [1e-9, 1e9, 0.0]]
SCALES = [6, 3, 0, 20, 20, 0]


@pytest.mark.parametrize("windows", [[0] * 6, [0, 0, 1, 1, 2, 2], [2, 1, 0, 2, 1, 0], [0, 1, 2, 3, 4, 5]])
def test_sketches_merge_at_the_finest_scale_that_holds_all(windows):
    """Each count at the index that its value has at that scale: two steps coarser is the same as one and one."""
    rows = np.stack([statistic(values, scale) for values, scale in zip(VALUES, SCALES, strict=True)])
    both = np.stack([rows, rows[::-1]], axis=1)
    merged = sketch.merge(both, np.array(windows), 6)
    assert merged.shape == (6, 2, WORDS)
    for window in range(6):
        for column, order in enumerate((range(6), range(5, -1, -1))):
            sources = [each for row, each in enumerate(order) if windows[row] == window]
            together = [(value, SCALES[each]) for each in sources for value in VALUES[each]]
            above = [(value, scale) for value, scale in together if value]
            scale, found = read(merged[window, column])
            if not together:
                assert not merged[window, column].any()
                continue
            assert found.pop("zero", 0) == len(together) - len(above)
            if not above:
                assert (scale, found) == (20, {})
                continue
            assert sum(found.values()) == len(above)
            wanted = {}
            for value, own in above:
                at = index(value, own) >> (own - scale)
                wanted[at] = wanted.get(at, 0) + 1
            assert found == wanted
            finest = min(own for _, own in above)
            reach = [index(value, own) >> (own - scale - 1) for value, own in above] if scale < finest else [0, CELLS]
            assert max(reach) - min(reach) >= CELLS
            low, high = min(found), max(found)
            assert sketch.cells(merged[window, column])[1] == low - (CELLS - (high - low + 1)) // 2


def test_an_empty_sketch_says_nothing():
    """Its scale is the finest, so that it lowers no other's."""
    scale, first, counts, zeroes = sketch.cells(np.zeros(WORDS, np.int64))
    assert (scale, first, counts.sum(), len(counts), zeroes) == (20, 0, 0, CELLS, 0)
    assert np.isnan(sketch.quantile(np.zeros((1, WORDS), np.int64), 0.5)).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.26, 0.5, 0.75, 0.9, 1.0])
@pytest.mark.parametrize(
    "values", [[1.0], [1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 5.0, 9.0], [0.0], [1e-300, 1e300], [7.0] * 10]
)
def test_a_quantile_is_the_least_value_that_so_many_do_not_exceed(values, share):
    """Within the error of the scale; an observation of nought is exact."""
    scale = 5 if max(values) < 100 else -5
    ordered = sorted(values)
    wanted = ordered[max(1, math.ceil(len(values) * share)) - 1]
    (found,) = sketch.quantile(statistic(values, scale)[None], share)
    assert found == pytest.approx(wanted, rel=float(sketch.relative_error(scale)) * (1 + 1e-9), abs=0)
    cell = index(wanted, scale) if wanted else None
    if cell is not None and scale == 5:
        base = 2.0 ** (2.0**-5)
        low, high = base**cell, base ** (cell + 1)
        assert (found - low) / low == pytest.approx((high - found) / high)


def test_the_first_and_the_last_cell_are_used_before_a_row_is_laid_out_anew():
    """A value in either leaves the row where it is; one beyond moves it, at the same scale as long as all fits."""
    for end, beyond in ((0, -1), (CELLS - 1, CELLS)):
        cells, row = SketchCells(HEADS, BANKS), new_row()
        cells.add(row, 0, 1.0)
        head = row.cast("B").cast("q")[HEADS]
        first = sketch.unpack_head(head)[1]
        cells.add(row, 0, 2.0 ** ((first + end + 0.5) / 2**20))
        assert row.cast("B").cast("q")[HEADS] == head
        assert held(row) == (20, {-1: 1, first + end: 1})
        cells.add(row, 0, 2.0 ** ((first + beyond + 0.5) / 2**20))
        assert row.cast("B").cast("q")[HEADS] != head
        assert held(row) == (20, {-1: 1, first + end: 1, first + beyond: 1})


@pytest.mark.parametrize("count", [1, 63, 1 << 8, 1 << 16, 1 << 24, (1 << 32) - 1])
def test_how_much_was_counted_says_nothing_of_where(count):
    """The next row begins at the same scale whatever the counts of the last one's outermost cells."""
    cells, row, later = SketchCells(HEADS, BANKS), new_row(), new_row()
    cells.add(row, 0, 1e-6)
    cells.add(row, 0, 1e6)
    middle = new_row()
    for value in (3.0, 3.1, 7.0):
        cells.add(middle, 0, value)
    scale, found = held(middle)
    _, first, bank = sketch.unpack_head(middle.cast("B").cast("q")[HEADS])
    raw = middle.cast("B")
    counts = raw[: len(raw) // 4 * 4].cast("I")
    for at in (min(found), max(found)):
        counts[BANKS[bank] + at - first] = count
    cells.add(later, 0, 5.0)
    fine, begin, _ = sketch.unpack_head(later.cast("B").cast("q")[HEADS])
    span = max(found) - min(found) + 1
    assert span << (fine - scale) <= CELLS < span << (fine - scale + 1)
    assert begin == (min(found) << (fine - scale)) - (CELLS - (span << (fine - scale))) // 2
