"""VmResult: how the run of a VM went, whoever ran it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

PANIC_STATUS = 3  # a guest that panicked is neither a failure of the monitor's nor a wrong call


class VmResult(NamedTuple):
    """How a VM's run went.

    Attributes:
        machine, why: which machine ran it and why that one.
        ended: "power-off", "reset", "panic", "halted", "timeout", "stopped", "signal 15" or another, or "failed".
        error: the failure, or what the guest's kernel said when it panicked, in one line; empty where there was none.
        exits: how often the CPUs left the guest, by reason, as the exit loops counted; empty where another monitor ran
            it, as QEMU does; exits_by_vcpu: of each CPU.
        uptime_s: from before the first instruction to after the last; started_ns, ended_ns: the same by the wall
            clock, ns since the epoch.
        failed_plugins: plugin -> number of its failures.
        completed: instructions that the monitor ran because the host's KVM cannot, by name: empty on real hardware.
        dropped_bytes: what of the console no one took; console_trouble: why, where its sink said so.
        notes: what else is to be known of the run, a line each, as disks of which requests failed.
    """

    machine: str
    why: str
    ended: str
    error: str
    exits: dict[str, int]
    uptime_s: float
    started_ns: int
    ended_ns: int
    failed_plugins: dict[str, int]
    exits_by_vcpu: tuple[dict[str, int], ...] = ()
    completed: Mapping[str, int] = MappingProxyType({})
    dropped_bytes: int = 0
    console_trouble: str = ""
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        """Give the process's exit status: 0, 1 for a failure, 3 for a panic, 128 + n for signal n."""
        if self.ended.startswith("signal "):
            return 128 + int(self.ended.removeprefix("signal "))
        return {"failed": 1, "panic": PANIC_STATUS}.get(self.ended, 0)

    @property
    def on_record(self) -> str:
        """Give how it ended in the words of the record of runs."""
        fault = self.error if self.ended in {"failed", "panic"} else ""
        return "; ".join((fault or self.ended, *self.notes))
