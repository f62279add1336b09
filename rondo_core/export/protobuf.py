"""How protobuf writes numbers and fields, for exporters that write many messages and parse none.

Source: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache


@lru_cache(maxsize=1 << 12)  # lengths and places come again; instants, of ever new lives, do not
def varint(number: int) -> bytes:
    """Write a number of at least 0, seven bits a byte, lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def field(tag: bytes, body: bytes) -> bytes:
    """Write a field of wire type 2: its tag, its length, its bytes."""
    return tag + varint(len(body)) + body


def message(number: int, *parts: bytes) -> bytes:
    """Write field `number`, a message that is the concatenation of `parts`."""
    return b"".join((varint(number << 3 | 2), varint(sum(map(len, parts))), *parts))


def messages(number: int, bodies: Iterable[bytes]) -> bytes:
    """Write a repeated message field."""
    return b"".join(message(number, body) for body in bodies)
