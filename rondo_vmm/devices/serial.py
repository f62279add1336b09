"""A 16550 UART as far as polled output needs it: what the guest writes goes to a sink, byte by byte."""

from __future__ import annotations

from collections.abc import Callable

# Source: National Semiconductor PC16550D data sheet, registers and their bits.
THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)
LCR_DLAB = 0x80
LSR_EMPTY = 0x60  # transmitter and holding register empty
IIR_NONE = 0x01
IIR_FIFO = 0xC0
MSR_READY = 0xB0  # carrier, data set ready, clear to send
COM1 = 0x3F8


class Serial:
    """One UART; its transmitter is always ready."""

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        """Send what the guest writes to `sink`, one byte a call."""
        self._sink = sink
        self._registers = {IER: 0, LCR: 3, MCR: 0, SCR: 0}
        self._divisor = [1, 0]
        self._fifo = False

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - registers are a byte wide
        """Give a register's value; no input ever waits."""
        if offset in {THR, IER} and self._registers[LCR] & LCR_DLAB:
            return self._divisor[offset]
        if offset == IIR_FCR:
            return IIR_NONE | (IIR_FIFO if self._fifo else 0)
        return {THR: 0, LSR: LSR_EMPTY, MSR: MSR_READY}.get(offset, self._registers.get(offset, 0))

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - registers are a byte wide
        """Take a register's value; the transmitter's goes out at once."""
        value &= 0xFF
        if offset in {THR, IER} and self._registers[LCR] & LCR_DLAB:
            self._divisor[offset] = value
        elif offset == THR:
            self._sink(bytes((value,)))
        elif offset == IIR_FCR:
            self._fifo = bool(value & 1)
        elif offset in self._registers:
            self._registers[offset] = value & 0x0F if offset == IER else value
