"""Packed files, unpacked piece by piece: whoever made one says how much comes out of it, and it may never end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rondo_vmm.errors import BootError

READ_BYTES, PIECE_BYTES = 1 << 16, 1 << 20
# What comes out cannot be bounded, but what goes in: a block of 128 KiB takes 4 bytes at least: 8 MiB for this.
ZSTD_READ_BYTES = 256
LZ4_LEGACY_BLOCK = 8 << 20  # Source: LZ4 Frame Format, "Legacy frame"
XZ_MEMORY = 512 << 20  # for its dictionary, which is touched only as far as it fills; kernels have 128 MiB at most
# Source: RFC 1952 (gzip), the .xz file format, RFC 8878 (zstd), LZ4 Frame Format.
GZIP, XZ, ZSTD, LZ4_LEGACY = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"

Pieces = Iterator[bytes]


def unpacker(packed: memoryview) -> Callable[[memoryview], Pieces] | None:
    """Give what unpacks this kind of file in pieces of some MiB at most; None where nothing here does.

    The pieces raise errors of each kind's own where the file is damaged.
    """
    head = bytes(packed[:8])
    return next((found for magic, open_it in _KINDS.items() if head.startswith(magic) for found in [open_it()]), None)


def within(pieces: Pieces, room_bytes: int, what: str) -> Pieces:
    """Pass the pieces on. Raises: BootError: they are more than there is room for in the guest's memory."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > room_bytes:
            raise BootError(
                f"{what} unpacks to more than the guest's {room_bytes >> 20} MiB of memory;"
                " give --memory-mib more, or a file that is what it says"
            )
        yield piece


def unpack_gzip(packed: memoryview) -> Pieces:
    """Unpack one member of gzip. Raises: zlib.error; EOFError: it is cut off."""
    import zlib

    member = zlib.decompressobj(31)
    for at in range(0, len(packed), READ_BYTES):
        rest: bytes | memoryview = packed[at : at + READ_BYTES]
        while not member.eof and (piece := member.decompress(rest, PIECE_BYTES)):
            yield piece
            rest = member.unconsumed_tail
        if member.eof:
            return
    raise EOFError("cut off")


def _unpack_xz(packed: memoryview) -> Pieces:
    import lzma

    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)
    for at in range(0, len(packed), READ_BYTES):
        rest: bytes | memoryview = packed[at : at + READ_BYTES]
        while not stream.eof and ((piece := stream.decompress(rest, PIECE_BYTES)) or not stream.needs_input):
            yield piece
            rest = b""
        if stream.eof:
            return
    raise EOFError("cut off")


def _zstd() -> Callable[[memoryview], Pieces] | None:
    try:
        import zstandard
    except ImportError:
        return None

    def unpack(packed: memoryview) -> Pieces:
        frame = zstandard.ZstdDecompressor().decompressobj()
        for at in range(0, len(packed), ZSTD_READ_BYTES):
            if piece := frame.decompress(packed[at : at + ZSTD_READ_BYTES]):
                yield piece
            if frame.eof:
                return
        raise EOFError("cut off")

    return unpack


def _lz4() -> Callable[[memoryview], Pieces] | None:
    try:
        from lz4 import block
    except ImportError:
        return None

    def unpack(packed: memoryview) -> Pieces:
        # The blocks are followed by four bytes: the size of what was packed. Every block but the last is full.
        at, end, full = 4, len(packed) - 4, True
        while at + 4 <= end and full:
            size = int.from_bytes(packed[at : at + 4], "little")
            piece = block.decompress(packed[at + 4 : at + 4 + size], uncompressed_size=LZ4_LEGACY_BLOCK)
            full = len(piece) == LZ4_LEGACY_BLOCK
            at += 4 + size
            yield piece

    return unpack


_KINDS: dict[bytes, Callable[[], Callable[[memoryview], Pieces] | None]] = {
    GZIP: lambda: unpack_gzip,
    XZ: lambda: _unpack_xz,
    ZSTD: _zstd,
    LZ4_LEGACY: _lz4,
}
