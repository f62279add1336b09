"""A clock and an alarm by which a guest without interrupts keeps time and sleeps, and scratch registers."""

from __future__ import annotations

from collections.abc import Callable

CLOCK_PORT = 0x700
ALARM_OFFSET = 4
PORT_COUNT = 8
SCRATCH_PORT, SCRATCH_PORT_COUNT = 0x710, 8
SCRATCH_MMIO, SCRATCH_MMIO_BYTES = 0xD0000000, 4096
LONGEST_ALARM_MS = 60_000


class GuestClock:
    """Reads as milliseconds since the machine started; a write at 4 says how long the next HLT sleeps.

    `alarm_ns` is when the next HLT ends, by the monotonic clock; 0 where no alarm is set.
    """

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        """Start at zero."""
        self._monotonic_ns = monotonic_ns
        self._started_ns = monotonic_ns()
        self.alarm_ns = 0

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - the bus cuts it to size
        """Give the milliseconds, modulo 2^32."""
        return 0 if offset else (self._monotonic_ns() - self._started_ns) // 1_000_000

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - whatever its width
        """Set the alarm, at most a minute away."""
        if offset == ALARM_OFFSET:
            self.alarm_ns = self._monotonic_ns() + min(value, LONGEST_ALARM_MS) * 1_000_000


class Scratch:
    """Registers that keep what is written to them: something to do I/O with."""

    def __init__(self, size_bytes: int) -> None:
        """Start with zeroes."""
        self._bytes = bytearray(size_bytes)

    def read(self, offset: int, size: int) -> int:
        """Give what was written."""
        return int.from_bytes(self._bytes[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Keep it, as far as the registers reach."""
        size = max(0, min(size, len(self._bytes) - offset))
        self._bytes[offset : offset + size] = (value & (1 << size * 8) - 1).to_bytes(size, "little")
