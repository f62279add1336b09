"""Data points as bytes: all points of a series are records of equal size, which numpy lays out at once.

Every field of a number's or a summary's point but its attributes is eight bytes wide, so a point is its attributes and
then, for each field, a tag and the eight bytes. Messages around points are concatenated: protobuf merges what follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

# Source: opentelemetry/proto/metrics/v1/metrics.proto; field number << 3 | wire type 1, eight bytes.
START, TIME, AS_DOUBLE, COUNT, SUM = 0x11, 0x19, 0x21, 0x21, 0x29
# `quantile_values`, field 6, a message of 18 bytes: the quantile and the value, both eight bytes wide.
QUANTILE_HEAD = b"\x32\x12"
QUANTILE, QUANTILE_VALUE = 0x09, 0x11

Field = tuple[bytes, NDArray[np.uint64]]


def field(tag: int, values: NDArray[np.generic], before: bytes = b"") -> Field:
    """Give one field of points: what stands before its value, and its values as 64 bits each.

    Args: `values`: [rows] or [rows, series], float64, int64 or uint64.
    """
    return before + bytes([tag]), np.ascontiguousarray(values).view(np.uint64)


def points(attributes: bytes, fields: Sequence[Field]) -> bytes:
    """Write the points of one series, each as field 1 of what holds them.

    Args: `attributes`: fields that all points share, as protobuf writes them; `fields`: values are [rows].
    """
    size = len(attributes) + sum(len(before) + 8 for before, _ in fields)
    lead = b"\x0a" + varint(size) + attributes
    shape: list[tuple[str, str]] = [("lead", f"V{len(lead)}")]
    for index, (before, _) in enumerate(fields):
        shape += [(f"before{index}", f"V{len(before)}"), (f"value{index}", "<u8")]
    rows = np.empty(len(fields[0][1]), np.dtype(shape))
    rows["lead"] = np.void(lead)
    for index, (before, values) in enumerate(fields):
        rows[f"before{index}"] = np.void(before)
        rows[f"value{index}"] = values
    return rows.tobytes()


def message(number: int, *parts: bytes) -> bytes:
    """Write field `number`, a message that is the concatenation of `parts`."""
    return varint(number << 3 | 2) + varint(sum(map(len, parts))) + b"".join(parts)


def messages(number: int, bodies: Iterable[bytes]) -> bytes:
    """Write a repeated message field."""
    return b"".join(message(number, body) for body in bodies)


def varint(number: int) -> bytes:
    """Write a number of at least 0, seven bits a byte, lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
