"""Where a bucket lies in a ring: pure functions on ints.

A bucket is `timestamp_ns // interval_ns`; a tier keeps bucket b in slot `b % slot_count`. A row's header says
which bucket it holds: b, or ~b (negative) while the row is being initialised for b, or 0 where none ever was.
"""

from __future__ import annotations

NEVER = 0


def bucket_of(timestamp_ns: int, interval_ns: int) -> int:
    """Give the bucket that holds the instant; the first nanosecond of a bucket belongs to it."""
    return timestamp_ns // interval_ns


def start_ns(bucket: int, interval_ns: int) -> int:
    """Give a bucket's first nanosecond: the timestamp under which its values are read."""
    return bucket * interval_ns


def slot_of(bucket: int, slot_count: int) -> int:
    """Give the slot in which the bucket lies."""
    return bucket % slot_count


def latest_in(slot: int, newest: int, slot_count: int) -> int:
    """Give the latest bucket, up to `newest`, that lies in the slot; negative where none does yet."""
    return newest - (newest - slot) % slot_count


def occupant(header: int) -> int:
    """Give the bucket that last took the row, whether or not its initialisation was finished."""
    return ~header if header < 0 else header


def runs(first: int, last: int, slot_count: int) -> list[tuple[int, int, int]]:
    """Split buckets first..last (both included) into contiguous slot runs, oldest first.

    Returns: (bucket, slot, length) of one or two runs; only the newest `slot_count` buckets of a longer
    span can lie in the ring, so only these are covered; nothing where last < first.
    """
    first = max(first, last - slot_count + 1)
    if last < first:
        return []
    slot, length = first % slot_count, last - first + 1
    head = min(length, slot_count - slot)
    parts = [(first, slot, head)]
    if length > head:
        parts.append((first + head, 0, length - head))
    return parts


def slices(first: int, last: int, slot_count: int) -> tuple[slice, ...]:
    """Give the slots of buckets first..last, at most `slot_count` of them, as one or two slices, oldest first."""
    slot, length = first % slot_count, last - first + 1
    head = min(length, slot_count - slot)
    return (slice(slot, slot + head),) if head == length else (slice(slot, slot + head), slice(0, length - head))
