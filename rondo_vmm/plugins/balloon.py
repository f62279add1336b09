"""Record the guest's memory, once a tick: its size, what of it the host holds, and what its balloon tells."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare, Tick
from rondo_vmm.plugins.totals import FollowingCounter

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.balloon import BalloonState
    from rondo_vmm.memory import GuestMemory

GAUGES = {
    "free": "Memory that the guest uses for nothing.",
    "total": "Memory that the guest knows of.",
    "available": "Memory that the guest could have without swapping.",
    "disk_caches": "Memory that the guest caches files in.",
}
COUNTERS = {
    "swap_in": ("swap_in_bytes", "Memory that the guest swapped in.", "bytes"),
    "swap_out": ("swap_out_bytes", "Memory that the guest swapped out.", "bytes"),
    "major_faults": ("major_faults", "Page faults of the guest that needed a disk.", ""),
    "minor_faults": ("minor_faults", "Page faults of the guest that needed none.", ""),
}

SIZE_HELP = "Memory that the balloon leaves to the guest."
TARGET_HELP = "Memory that the balloon is asked to leave to the guest."
NOT_REPORTED = 2**64 - 1  # what Linux tells of what it does not count


@hookimpl
def rondo_vmm_memory_bind(
    declare: Declare, memory: GuestMemory, balloon: Callable[[], BalloonState] | None
) -> Tick | None:
    """Declare the gauges; those of the balloon where there is one."""
    size = declare.gauge("vm_memory_size_bytes", help="Memory of the guest.", unit="bytes")
    resident = declare.gauge("vm_memory_resident_bytes", help="Guest memory that the host holds.", unit="bytes")
    told = balloon_tick(declare, memory.size_bytes, balloon) if balloon is not None else None

    def tick(now_ns: int) -> None:
        size.set(memory.size_bytes, now_ns)
        resident.set(memory.resident_bytes(), now_ns)
        if told is not None:
            told(now_ns)

    return tick


def balloon_tick(declare: Declare, memory_bytes: int, balloon: Callable[[], BalloonState]) -> Tick:
    """Declare the balloon's series; a statistic that the guest does not tell stays absent."""
    target = declare.gauge("vm_balloon_target_bytes", help=TARGET_HELP, unit="bytes")
    left = declare.gauge("vm_balloon_size_bytes", help=SIZE_HELP, unit="bytes")
    gauges = {
        tag: declare.gauge(f"balloon_{tag}_bytes", help=help_text, unit="bytes").set
        for tag, help_text in GAUGES.items()
    }
    counters = {
        tag: FollowingCounter(declare.counter(f"balloon_{name}_total", help=help_text, unit=unit)).set
        for tag, (name, help_text, unit) in COUNTERS.items()
    }
    setters: dict[str, Callable[[float, int], None]] = {**gauges, **counters}

    told: Mapping[str, int] = {}

    def tick(now_ns: int) -> None:
        nonlocal told
        state = balloon()
        target.set(memory_bytes - state.target_bytes, now_ns)
        left.set(memory_bytes - state.actual_bytes, now_ns)
        before, told = told, state.statistics
        if told is before:  # the guest has not answered since
            return
        for tag, value in told.items():
            if tag in setters and value != NOT_REPORTED:
                setters[tag](value, now_ns)

    return tick
