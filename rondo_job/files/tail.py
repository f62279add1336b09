"""The tail of a stream: the last 64 KiB of it in a file of fixed size, written through a map that outlives its writer.

The first 16 bytes are a magic number and how many bytes have passed; the ring follows. The bytes are put before they
are counted, so that after a kill what is counted is there; of the chunk that was being put, older bytes may be lost.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

MAGIC = b"RONDOTL1"
_HEADER = struct.Struct("<8sQ")
TAIL_BYTES = 64 << 10


class TailWriter:
    """Keeps the tail of what passes. One writer."""

    def __init__(self, path: Path, size_bytes: int = TAIL_BYTES) -> None:
        """Make the file. Raises: OSError: it cannot be made, or the disk has no room."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _HEADER.size + size_bytes)
            self._map = mmap.mmap(descriptor, _HEADER.size + size_bytes)
        except OSError:
            os.unlink(path)  # noqa: PTH108 - half made: it would read as damaged
            raise
        finally:
            os.close(descriptor)
        self._size, self.passed = size_bytes, 0
        self._map[: _HEADER.size] = _HEADER.pack(MAGIC, 0)
        self._count = memoryview(self._map)[8:16].cast("Q")

    def put(self, data: bytes | memoryview) -> None:
        """Take what has passed."""
        passed = self.passed + len(data)
        kept = memoryview(data)[-self._size :]
        at = (passed - len(kept)) % self._size
        first = min(len(kept), self._size - at)
        start = _HEADER.size + at
        self._map[start : start + first] = kept[:first]
        if first < len(kept):
            self._map[_HEADER.size : _HEADER.size + len(kept) - first] = kept[first:]
        self._count[0] = self.passed = passed


def read_tail(path: Path) -> tuple[bytes, int]:
    """Give the tail, and how many bytes have passed in all; (b"", 0) where there is none.

    Raises: ValueError: the file is none of a tail; OSError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b"", 0
    if not data.strip(b"\0"):  # its writer was killed while it was made
        return b"", 0
    if len(data) <= _HEADER.size or data[:8] != MAGIC:
        raise ValueError(f"{path}: not the tail of a stream")
    passed, ring = _HEADER.unpack_from(data)[1], data[_HEADER.size :]
    at = passed % len(ring)
    return (ring[at:] + ring[:at] if passed >= len(ring) else ring[:passed]), passed
