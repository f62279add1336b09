"""The Machine protocol: virtual CPUs that run and stop, memory, interrupts; all that the monitor knows of a machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_vmm.bus import Bus
from rondo_vmm.devices.clock import Clock
from rondo_vmm.memory import GuestMemory
from rondo_vmm.observe.exit_totals import ExitTotals


@attrs.frozen
class Start:
    """How the first CPU starts: at `entry` in flat 32-bit mode, or in 64-bit mode with boot/longmode's page tables."""

    entry: int
    rsi: int = 0
    rbx: int = 0
    long_mode: bool = False


@attrs.frozen
class Slot:
    """A memory-mapped device that a kernel is told of: its registers' address, their bytes, its interrupt line."""

    address: int
    size_bytes: int
    irq: int


class Vcpu(Protocol):
    """One virtual CPU, driven by one thread. Attributes: `exits`, counts by the index of the reason in EXIT_REASONS."""

    exits: list[int]

    def run(self, totals: ExitTotals) -> str:
        """Run until the guest ends or the machine is stopped, every exit added up; give how it ended, "" for stopped.

        Raises: GuestError: the guest left what the machine can do; VmmError: the machine failed.
        """


class Machine(Protocol):
    """Virtual CPUs with their memory. Attributes: `name`, for people."""

    name: str

    @property
    def vcpus(self) -> Sequence[Vcpu]:
        """The CPUs, by number."""

    @property
    def completed(self) -> dict[str, int]:
        """Instructions by name that the monitor ran because the host's KVM cannot."""

    def set_up(self, start: Start) -> None:
        """Make the first CPU ready, after all devices are on the bus."""

    def interrupt_line(self, irq: int) -> Callable[[int], None]:
        """Give what sets the level of an interrupt line, 1 or 0, from any thread."""

    def stop(self) -> None:
        """Make every `run` return soon, whatever the guest does; from any thread, more than once is once."""

    def close(self) -> None:
        """Let go of descriptors; every `run` must have returned."""


class Board:
    """What is around the CPUs, the same for every machine: memory, bus, clock, and how the guest ended it.

    Attributes: `slots`, the memory-mapped devices that a Linux kernel is told of.
    """

    def __init__(self, memory: GuestMemory) -> None:
        """Start with an empty bus."""
        self.memory = memory
        self.bus = Bus()
        self.slots: list[Slot] = []
        self.clock = Clock(monotonic_ns)
        self.ended = ""
        self._stopped = threading.Event()

    def finish(self, how: str) -> None:
        """Note how the guest ended the machine; the CPU's loop looks after every exit."""
        self.ended = self.ended or how

    def stop(self) -> None:
        """Wake a sleeping CPU, and let it not sleep again."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped.is_set()

    def sleep_until_alarm(self) -> None:
        """Do what HLT does on this board: sleep until the alarm; without one the guest sleeps for ever."""
        if not self.clock.alarm_ns:
            self.finish("halted")
            return
        wait_s = (self.clock.alarm_ns - monotonic_ns()) / NS_PER_S
        self.clock.alarm_ns = 0
        if wait_s > 0:
            self._stopped.wait(wait_s)
