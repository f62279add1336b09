"""Packed sketches: what is read is what was written, by numpy and by Python alike, however large the counts."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from rondo_core import Schema
from rondo_core.model import sketch, sketch_bytes
from rondo_core.model.sketch_bytes import NARROW_BYTES, WIDE_BYTES, Sketch

counts = st.one_of(st.just(0), st.integers(1, 99), st.sampled_from([65535, 65536, (1 << 24) - 1]))
large = st.one_of(counts, st.sampled_from([1 << 24, (1 << 32) - 1, 1 << 40]))


def sketches(count):
    """One sketch with at least one observation: at any scale, its cells anywhere."""
    cells = st.lists(count, min_size=sketch.CELLS, max_size=sketch.CELLS)
    made = st.builds(Sketch, st.integers(-4, sketch.MAX_SCALE), st.integers(-(1 << 30), 1 << 30), cells, count)
    return made.filter(lambda one: any(one.counts) or one.zeroes)


def as_words(one):
    """Give the statistic of a sketch; of None the empty one."""
    if one is None:
        return np.zeros(sketch.WORDS, np.int64)
    return np.array([one.scale + 128, one.first + (1 << 31), *one.counts, one.zeroes], np.int64)


def by_index(words):
    """Give what the cells count, by index at the sketch's own scale, and the scale."""
    first, held = int(sketch.first_indexes(words)), np.flatnonzero(sketch.counts_of(words)).tolist()
    return int(sketch.scales(words)), {first + at: int(sketch.counts_of(words)[at]) for at in held}, int(words[-1])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.one_of(st.none(), sketches(large)), min_size=1, max_size=4), st.sampled_from([NARROW_BYTES, WIDE_BYTES])
)
def test_both_ways_write_the_same_bytes(many, size):
    """Also where counts are too large for 3 bytes a cell."""
    packed = sketch_bytes.pack(np.stack([as_words(one) for one in many]), size)
    assert packed.tobytes() == b"".join(sketch_bytes.pack_one(one, size) for one in many)


@settings(deadline=None, max_examples=50)
@given(sketches(counts), st.sampled_from([NARROW_BYTES, WIDE_BYTES]))
def test_what_was_packed_is_read(one, size):
    """Every count, the scale and the first index, in arrays and in Python's numbers."""
    packed = sketch_bytes.pack_one(one, size)
    assert sketch_bytes.unpack_one(memoryview(packed)) == one
    assert (sketch_bytes.unpack(np.frombuffer(packed, np.uint8)) == as_words(one)).all()


@settings(deadline=None, max_examples=50)
@given(sketches(large))
def test_large_counts_lose_scale_and_no_observation(one):
    """In a short tier: what is read is the sketch at a lower scale, cell by cell, if it needs one; in a long one, whole."""
    scale, cells, zeroes = by_index(as_words(one))
    for size in (NARROW_BYTES, WIDE_BYTES):
        packed = sketch_bytes.pack_one(one, size)
        words = sketch_bytes.unpack(np.frombuffer(packed, np.uint8))
        read_scale, read, read_zeroes = by_index(words)
        wanted = dict.fromkeys((at >> scale - read_scale for at in cells), 0)
        for at, count in cells.items():
            wanted[at >> scale - read_scale] += count
        assert (read, read_zeroes) == (wanted, zeroes)
        assert read_scale == scale or (size == NARROW_BYTES and max(one.counts) >= 1 << 24)
        again = sketch_bytes.unpack_one(memoryview(packed))
        assert by_index(
            as_words(again._replace(counts=[*again.counts, *[0] * (sketch.CELLS - len(again.counts))]))
        ) == (
            read_scale,
            read,
            read_zeroes,
        )


@settings(deadline=None, max_examples=50)
@given(st.lists(sketches(counts), max_size=5))
def test_both_ways_merge_alike(many):
    """Of any number of sketches, whatever their scales."""
    words = np.stack([as_words(None), *(as_words(one) for one in many)])[:, None, :]
    whole = sketch.merge(words, np.zeros(len(words), np.int64), 1)[0, 0]
    assert whole.tolist() == as_words(sketch_bytes.merged(many, sketch.CELLS)).tolist()


@pytest.mark.parametrize("n_series", [1, 8, 32])
def test_a_sketched_series_takes_at_most_two_and_a_half_megabytes(n_series):
    """In the default tiers, all of what a summary keeps included."""
    assert Schema("s", "summary", n_series, sketch=True, reserve=0).size_bytes() / n_series <= 2.5e6


def test_two_decades_fit_at_an_error_of_two_and_a_half_percent():
    """Wherever they begin: 108 cells at scale 4, of base 2^(2^-4)."""
    assert sketch.relative_error(4) <= 0.025
    for tenth in range(100):
        low = 10.0 ** (tenth / 10 - 5)
        assert sketch.index_of(100 * low, 4) - sketch.index_of(low, 4) < sketch.CELLS
