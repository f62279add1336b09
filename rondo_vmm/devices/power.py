"""How a guest ends its machine: ACPI power-off and the keyboard controller's reset."""

from __future__ import annotations

from collections.abc import Callable

# Source: QEMU's PM1a control block at 0x604; SLP_EN (bit 13) with sleep type 0 is S5, power-off.
PM1A_CONTROL = 0x604
SLP_EN = 0x2000
PM1A_EVENT, PM1A_EVENT_COUNT = 0x600, 4
# Source: IBM PC AT Technical Reference: command 0xfe on port 0x64 pulses the CPU's reset line.
I8042_DATA, I8042_COMMAND = 0x60, 0x64
PULSE_RESET = 0xFE


class PowerOff:
    """The register behind PM1a control."""

    def __init__(self, finish: Callable[[str], None]) -> None:
        """Call `finish` with how the machine ends."""
        self._finish = finish

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - one register
        """Give the sleep state: working."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - one register
        """Power off when the guest asks for it, in one write or with its upper byte."""
        if offset in {0, 1} and value << 8 * offset & SLP_EN:
            self._finish("power-off")


class PowerEvents:
    """The PM1a event registers: nothing ever happens, and nothing can be enabled."""

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - all the same
        """Give status and enable: none."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Take it, and keep nothing."""


class KeyboardController:
    """An i8042 with no keyboard: it never has data, and it can reset the machine."""

    def __init__(self, finish: Callable[[str], None]) -> None:
        """Call `finish` with how the machine ends."""
        self._finish = finish

    def read(self, offset: int, size: int) -> int:  # noqa: ARG002 - nothing ever waits
        """Give status and data: both buffers empty."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:  # noqa: ARG002 - a byte wide
        """Reset when the guest asks for it."""
        if offset == I8042_COMMAND - I8042_DATA and value & 0xFF == PULSE_RESET:
            self._finish("reset")
