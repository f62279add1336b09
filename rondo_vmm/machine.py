"""The Machine protocol: virtual CPUs that run and stop, memory, interrupts; all that the monitor knows of a machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from rondo_vmm.boot.kernel import Start
from rondo_vmm.observe.exit_totals import ExitTotals


class Vcpu(Protocol):
    """One virtual CPU, driven by one thread. Attributes: `exits`: counts by index into hookspecs.EXIT_REASONS."""

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
        """Release descriptors; every `run` must have returned."""
