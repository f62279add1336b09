"""The board around the CPUs: guest memory, bus and clock, and how the guest ended it; the same for every machine."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_vmm.devices.bus import Bus
from rondo_vmm.devices.clock import GuestClock
from rondo_vmm.memory import GuestMemory

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.slots import MmioRegion


class Board:
    """What is around the CPUs, the same for every machine: memory, bus, clock, and how the guest ended it.

    Attributes: `mmio_regions`, the memory-mapped devices that a Linux kernel is told of.
    """

    def __init__(self, memory: GuestMemory) -> None:
        """Start with an empty bus."""
        self.memory = memory
        self.bus = Bus()
        self.mmio_regions: list[MmioRegion] = []
        self.clock = GuestClock(monotonic_ns)
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
