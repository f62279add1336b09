"""Where a bucket lies in a ring: by hand for the edges, and against a list of buckets for all small rings."""

import pytest

from rondo_core.model import ring


def test_an_instant_lies_in_the_bucket_that_begins_with_it():
    """The first nanosecond of a bucket belongs to it, the one before to the last bucket."""
    assert [ring.bucket_of(at, 10) for at in (0, 9, 10, 19, 20)] == [0, 0, 1, 1, 2]
    assert ring.bucket_of(-1, 10) == -1
    assert [ring.start_ns(bucket, 10) for bucket in (0, 1, 7)] == [0, 10, 70]
    assert ring.start_ns(3, 7) == 21


@pytest.mark.parametrize("slot_count", [1, 2, 3, 7])
def test_the_latest_bucket_of_a_slot_is_the_newest_that_lies_there(slot_count):
    """None later, up to the newest, has that slot; negative is none yet."""
    for newest in range(20):
        for slot in range(slot_count):
            there = [bucket for bucket in range(newest + 1) if ring.slot_of(bucket, slot_count) == slot]
            latest = ring.latest_in(slot, newest, slot_count)
            assert latest == there[-1] if there else latest < 0
            assert ring.slot_of(latest, slot_count) == slot


def test_the_occupant_of_a_row_is_read_off_either_mark():
    """A bucket, or its complement while the row is made for it; nothing where none ever was."""
    assert [ring.occupant(header) for header in (5, ~5, 1, ~1, ~0, ring.NEVER)] == [5, 5, 1, 1, 0, 0]


@pytest.mark.parametrize("slot_count", [1, 2, 3, 5])
def test_runs_cover_the_newest_buckets_in_order_each_in_its_slot(slot_count):
    """One or two contiguous runs, oldest first, of as many buckets as the ring has slots; none where none are asked."""
    for first in range(8):
        for last in range(first - 2, first + 9):
            wanted = list(range(first, last + 1))[-slot_count:]
            runs = ring.runs(first, last, slot_count)
            assert [bucket + n for bucket, _, length in runs for n in range(length)] == wanted
            assert [slot + n for _, slot, length in runs for n in range(length)] == [b % slot_count for b in wanted]
            assert all(length > 0 and slot + length <= slot_count for _, slot, length in runs)
            assert len(runs) <= 2
            if wanted:
                parts = ring.slices(wanted[0], wanted[-1], slot_count)
                assert [slot for part in parts for slot in range(part.start, part.stop)] == [
                    bucket % slot_count for bucket in wanted
                ]
                assert all(part.start < part.stop for part in parts)
