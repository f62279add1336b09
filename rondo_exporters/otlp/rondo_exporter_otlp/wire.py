"""Data points as bytes: points whose labels are of one length are records of equal size, which numpy lays out at once.

Every field of a number's or a summary's point but its attributes is eight bytes wide, so a point is its attributes and
then, for each field, a tag and the eight bytes. Messages around points are concatenated: protobuf merges what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rondo_core.export.protobuf import varint

# Source: opentelemetry/proto/metrics/v1/metrics.proto; field number << 3 | wire type 1, eight bytes.
START, TIME, AS_DOUBLE, COUNT, SUM = 0x11, 0x19, 0x21, 0x21, 0x29
# `quantile_values`, field 6, a message of 18 bytes: the quantile and the value, both eight bytes wide.
QUANTILE_HEAD = b"\x32\x12"
QUANTILE, QUANTILE_VALUE = 0x09, 0x11

Field = tuple[bytes, NDArray[np.uint64]]


def field(tag: int, values: NDArray[np.generic], before: bytes = b"") -> Field:
    """Give one field of points: what stands before its value, and its values, of 64 bits each."""
    return before + bytes([tag]), np.ascontiguousarray(values).view(np.uint64)


def points(leads: Sequence[bytes], fields: Sequence[Field], sent: NDArray[np.bool_]) -> list[bytes]:
    """Write the points of each series, each as field 1 of what holds them.

    Args: `leads`: for each series the fields that all of its points share, as protobuf writes them; `fields`: values
    are [series, rows]; `sent`: bool [series, rows], which of them are there.
    """
    lengths = np.array([len(lead) for lead in leads])
    found = [b""] * len(leads)
    for length in np.unique(lengths).tolist():
        mine = np.flatnonzero(lengths == length)
        keep = sent[mine]
        size = length + sum(len(before) + 8 for before, _ in fields)
        head = b"\x0a" + varint(size)
        rows = np.empty(keep.shape, _record(len(head), length, tuple(len(before) for before, _ in fields)))
        rows["head"] = np.void(head)
        if length:
            rows["lead"] = np.frombuffer(b"".join(leads[index] for index in mine.tolist()), f"V{length}")[:, None]
        for index, (before, values) in enumerate(fields):
            rows[f"before{index}"] = np.void(before)
            rows[f"value{index}"] = values[mine]
        data = rows[keep].tobytes()
        ends = (np.cumsum(np.count_nonzero(keep, axis=1)) * rows.itemsize).tolist()
        for index, (first, end) in zip(mine.tolist(), pairwise([0, *ends]), strict=True):
            found[index] = data[first:end]
    return found


@lru_cache
def _record(head: int, lead: int, leading: tuple[int, ...]) -> np.dtype[np.void]:
    """Lay out one point."""
    shape = [("head", f"V{head}"), ("lead", f"V{lead}")] if lead else [("head", f"V{head}")]
    for index, length in enumerate(leading):
        shape += [(f"before{index}", f"V{length}"), (f"value{index}", "<u8")]
    return np.dtype(shape)
