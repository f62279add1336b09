"""snappy's block format: what a client packed is unpacked within a bound; answers are wrapped in it as they are.

Source: google/snappy, format_description.txt.
"""

from __future__ import annotations

_LITERAL_OF_4 = 63 << 2  # a literal whose length stands in the four bytes that follow
_MAX_HEADER_BITS = 35


def unpack(packed: bytes, max_bytes: int) -> bytes:
    """Unpack a block; one that says that it is longer than may be is not looked at.

    Raises: ValueError: it is no such block, or too long.
    """
    size, at = _header(packed)
    if size > max_bytes:
        raise ValueError(f"{size} bytes, unpacked; at most {max_bytes}")
    found = bytearray()
    try:
        while at < len(packed) and len(found) <= size:
            at = _literal(packed, at, found) if packed[at] & 3 == 0 else _copy(packed, at, found)
    except IndexError:
        raise ValueError("it ends too early") from None
    if len(found) != size:
        raise ValueError("it is not as long as it says")
    return bytes(found)


def wrap(data: bytes) -> bytes:
    """Give a block that holds data as one literal, which is quicker to read than packed data and twice as long."""
    if not data:
        return b"\0"
    size, header = len(data), bytearray()
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return b"%b%c%b%b" % (bytes(header), _LITERAL_OF_4, (len(data) - 1).to_bytes(4, "little"), data)


def _header(packed: bytes) -> tuple[int, int]:
    """Read the length of what is packed, and where that begins."""
    size = 0
    for at, byte in enumerate(packed[: _MAX_HEADER_BITS // 7]):
        size |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            return size, at + 1
    raise ValueError("it does not say how long it is")


def _literal(packed: bytes, at: int, found: bytearray) -> int:
    size = packed[at] >> 2
    at += 1
    if size >= 60:
        n_bytes = size - 59
        if at + n_bytes > len(packed):
            raise IndexError
        size = int.from_bytes(packed[at : at + n_bytes], "little")
        at += n_bytes
    end = at + size + 1
    if end > len(packed):
        raise IndexError
    found += packed[at:end]
    return end


def _copy(packed: bytes, at: int, found: bytearray) -> int:
    tag = packed[at]
    kind = tag & 3
    if kind == 1:
        size, offset, end = (tag >> 2 & 7) + 4, tag >> 5 << 8 | packed[at + 1], at + 2
    else:
        end = at + (3 if kind == 2 else 5)
        if end > len(packed):
            raise IndexError
        size, offset = (tag >> 2) + 1, int.from_bytes(packed[at + 1 : end], "little")
    if not 0 < offset <= len(found):
        raise ValueError("it copies from before its beginning")
    part = bytes(found[-offset:][:size])
    found += (part * (size // len(part) + 1))[:size]  # what is copied may reach into what it makes
    return end
