"""A stream of bytes -> lines of bounded length, and the time that a store goes by while they are taken."""

from __future__ import annotations

from rondo_core.clock import wall_ns
from rondo_vmm.firecracker.flush import MAX_LINE_BYTES, parse_flush


class FlushLines:
    """Cuts a stream into lines of bounded length; `too_long` counts those that were dropped."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._rest = b""
        self._dropping = False
        self.too_long = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and give the lines that they complete.

        Noughts are left out: a file that is cut while its writer goes on at its old place begins with as many.
        """
        *whole, rest = (self._rest + data.translate(None, b"\0")).split(b"\n")
        if whole and self._dropping:
            del whole[0]
            self._dropping = False
        if len(rest) > MAX_LINE_BYTES and not self._dropping:
            self._dropping = True
            self.too_long += 1
        self._rest = b"" if self._dropping else rest
        lines = [line for line in whole if line.strip()]
        kept = [line for line in lines if len(line) <= MAX_LINE_BYTES]
        self.too_long += len(lines) - len(kept)
        return kept

    def end(self) -> list[bytes]:
        """Give the last line, which had no end."""
        rest, self._rest = self._rest, b""
        return [rest] if rest.strip() else []


class StreamClock:
    """The store's time: that of a flush while what was written before is taken, then the wall clock's."""

    def __init__(self) -> None:
        """Go by the wall clock."""
        self.at_ns = 0

    def __call__(self) -> int:
        """Give the time, ns since the epoch."""
        return self.at_ns or wall_ns()


def pieces(data: bytes, rest: bytes) -> list[bytes]:
    """Cut bytes behind each line's end; the last piece has none."""
    *whole, last = (rest + data).split(b"\n")
    return [*(each + b"\n" for each in whole), last]


def first_ns(data: bytes) -> int:
    """Give the time of the first flush, 0 where the first lines are none."""
    lines = FlushLines()
    for line in lines.feed(data) + lines.end():
        flush = parse_flush(line)
        if flush is not None and 0 < flush.at_ns <= wall_ns():
            return flush.at_ns
    return 0
