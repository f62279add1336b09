"""What the guest says on its serial console, line by line, for those who look for something in it."""

from __future__ import annotations

from collections.abc import Callable

from rondo_core.clock import wall_ns
from rondo_vmm.hookspecs import OnLine

MAX_LINE_BYTES = 256


class ConsoleLines:
    """Passes the guest's bytes on, and tells `observer` of each line: its bytes, and when its first one came.

    What has no end is cut every MAX_LINE_BYTES bytes, so that a flood takes no memory.
    """

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        """Pass bytes on to `sink`."""
        self._sink = sink
        self._line = bytearray()
        self._began_ns = 0
        self.observer: OnLine | None = None

    def __call__(self, data: bytes) -> None:
        """Take one byte."""
        self._sink(data)
        if self.observer is None:
            return
        line = self._line
        if not line:
            self._began_ns = wall_ns()
        line += data
        if data == b"\n" or len(line) >= MAX_LINE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Tell of what has come so far."""
        if self._line:
            line = bytes(self._line).rstrip(b"\r\n")
            self._line.clear()
            if self.observer is not None:
                self.observer(line, self._began_ns)
