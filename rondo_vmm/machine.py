"""The Machine protocol: run, stop, memory; all that the monitor knows of a CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_vmm.bus import Bus
from rondo_vmm.devices.clock import Clock
from rondo_vmm.memory import GuestMemory

REASONS = ("io", "mmio", "hlt", "shutdown", "other")
IO, MMIO, HLT, SHUTDOWN, OTHER = range(len(REASONS))

# reason's index, ns in the guest, ns in the monitor, wall clock ns
OnExit = Callable[[int, int, int, int], None]


class Machine(Protocol):
    """One virtual CPU with its memory, driven by one thread.

    Attributes: `name`, for people; `exits`, counts by the index of the reason in REASONS.
    """

    name: str
    exits: list[int]

    def set_up(self, entry: int, boot_params: int) -> None:
        """Make the CPU ready in flat 32-bit protected mode at `entry`, %esi holding `boot_params`."""

    def run(self, observers: Sequence[OnExit]) -> str:
        """Run until the guest ends or `stop` is called; give how it ended, "" for stopped.

        Raises: GuestError: the guest left what the machine can do; VmmError: the machine failed.
        """

    def stop(self) -> None:
        """Make `run` return soon, whatever the guest does; from any thread, more than once is once."""

    def close(self) -> None:
        """Let go of descriptors; `run` must have returned."""


class Board:
    """What is around the CPU, the same for every machine: memory, bus, clock, and how the guest ended it."""

    def __init__(self, memory: GuestMemory) -> None:
        """Start with an empty bus."""
        self.memory = memory
        self.bus = Bus()
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
