"""A 16550 UART that carries a terminal both ways: polled, or by interrupt; what it keeps is a FIFO's worth."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

# Source: National Semiconductor PC16550D data sheet, registers and their bits.
THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(8)
RBR = THR
IER_RECEIVED, IER_EMPTY = 0x01, 0x02
LCR_DLAB = 0x80
FCR_ENABLE, FCR_CLEAR_RECEIVER = 0x01, 0x02
LSR_DATA_READY = 0x01
LSR_EMPTY = 0x60  # transmitter and holding register empty
IIR_NONE, IIR_EMPTY, IIR_RECEIVED = 0x01, 0x02, 0x04
IIR_FIFO = 0xC0
MSR_READY = 0xB0  # carrier, data set ready, clear to send
MCR_LOOP = 0x10
COM1, COM1_IRQ = 0x3F8, 4
FIFO_BYTES = 16


class Serial:
    """One UART; its transmitter is always ready, its receiver holds FIFO_BYTES.

    The CPUs' threads take turns; `receive` may come from another thread.
    """

    def __init__(self, sink: Callable[[bytes], object], interrupt: Callable[[int], None] | None = None) -> None:
        """Send what the guest writes to `sink`, one byte a call; `interrupt` sets the level of the line."""
        self._sink = sink
        self._interrupt = interrupt
        self._lock = threading.Lock()
        self._registers = {IER: 0, LCR: 3, MCR: 0, SCR: 0}
        self._divisor = [1, 0]
        self._fifo = False
        self._received: deque[int] = deque()
        self._empty_pending = False
        self._level = 0
        self._room = threading.Event()
        self._room.set()

    def receive(self, data: bytes) -> int:
        """Take bytes for the guest, as many as there is room for; give how many."""
        with self._lock:
            taken = data[: FIFO_BYTES - len(self._received)]
            self._received.extend(taken)
            if len(self._received) >= FIFO_BYTES:
                self._room.clear()
            self._update()
        return len(taken)

    def wait_for_room(self, timeout_s: float) -> bool:
        """Wait until the guest has read; say whether there is room."""
        return self._room.wait(timeout_s)

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - registers are a byte wide
        """Give a register's value."""
        registers = self._registers
        if offset == LSR:
            return LSR_EMPTY | bool(self._received)
        if offset in {THR, IER} and registers[LCR] & LCR_DLAB:
            return self._divisor[offset]
        if offset == RBR:
            return self._take()
        if offset == IIR_FCR:
            return self._identify() | (IIR_FIFO if self._fifo else 0)
        if offset == MSR:
            return _looped_back(registers[MCR]) if registers[MCR] & MCR_LOOP else MSR_READY
        return registers.get(offset, 0)

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - registers are a byte wide
        """Take a register's value; the transmitter's goes out at once."""
        value &= 0xFF
        registers = self._registers
        if offset in {THR, IER} and registers[LCR] & LCR_DLAB:
            self._divisor[offset] = value
        elif offset == THR:
            self._send(value)
        elif offset == IER:
            with self._lock:
                if value & ~registers[IER] & IER_EMPTY:
                    self._empty_pending = True
                registers[IER] = value & 0x0F
                self._update()
        elif offset == IIR_FCR:
            self._fifo = bool(value & FCR_ENABLE)
            if value & FCR_CLEAR_RECEIVER:
                with self._lock:
                    self._received.clear()
                    self._room.set()
                    self._update()
        elif offset in registers:
            registers[offset] = value

    def _send(self, value: int) -> None:
        if self._registers[MCR] & MCR_LOOP:
            self.receive(bytes((value,)))
            return
        self._sink(bytes((value,)))
        if self._registers[IER] & IER_EMPTY:
            with self._lock:
                self._empty_pending = True
                self._update()

    def _take(self) -> int:
        with self._lock:
            if not self._received:
                return 0
            value = self._received.popleft()
            self._room.set()
            self._update()
            return value

    def _identify(self) -> int:
        """Say why the line is up, the receiver first; saying so of the transmitter takes its reason away."""
        with self._lock:
            enabled = self._registers[IER]
            if self._received and enabled & IER_RECEIVED:
                return IIR_RECEIVED
            if self._empty_pending and enabled & IER_EMPTY:
                self._empty_pending = False
                self._update()
                return IIR_EMPTY
            return IIR_NONE

    def _update(self) -> None:
        """Set the line's level where it changed."""
        if self._interrupt is None:
            return
        enabled = self._registers[IER]
        level = int(
            bool(self._received and enabled & IER_RECEIVED) or bool(self._empty_pending and enabled & IER_EMPTY)
        )
        if level != self._level:
            self._level = level
            self._interrupt(level)


def _looped_back(mcr: int) -> int:
    """Modem status in loop-back: what modem control says, each output at the input that it is tied to."""
    return (mcr & 0x0C) << 4 | (mcr & 0x02) << 3 | (mcr & 0x01) << 5
