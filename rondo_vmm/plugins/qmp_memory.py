"""Record the guest's memory and life as QEMU tells them: size, balloon and its statistics, whether it runs, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import OnReplies, QemuFacts, Questions
from rondo_vmm.plugins.totals import Follower

GAUGES = {
    "free-memory": ("free", "Memory that the guest uses for nothing."),
    "total-memory": ("total", "Memory that the guest knows of."),
    "available-memory": ("available", "Memory that the guest could have without swapping."),
    "disk-caches": ("disk_caches", "Memory that the guest caches files in."),
}
COUNTERS = {
    "swap-in": ("swap_in_bytes", "Memory that the guest swapped in.", "bytes"),
    "swap-out": ("swap_out_bytes", "Memory that the guest swapped out.", "bytes"),
    "major-faults": ("major_faults", "Page faults of the guest that needed a disk.", ""),
    "minor-faults": ("minor_faults", "Page faults of the guest that needed none.", ""),
}
NOT_REPORTED = 2**64 - 1
NEWS_S = 5
NOT_LOOKED = -1
EVENTS = ("STOP", "RESUME", "RESET", "SHUTDOWN", "POWERDOWN", "SUSPEND", "WAKEUP", "GUEST_PANICKED", "BLOCK_IO_ERROR")


@hookimpl
def rondo_qmp_bind(declare: Declare, qemu: QemuFacts) -> tuple[Questions, OnReplies]:
    """Declare the series; those of the balloon where there is one. What the guest does not tell stays absent."""
    running = declare.gauge("vm_running", help="1 while the guest's processors run, 0 while they are paused.")
    size = declare.gauge("vm_memory_size_bytes", help="Memory of the guest.", unit="bytes")
    counted = {
        event: declare.counter("vm_events_total", help="Events that QEMU told.", event=event.lower()).inc
        for event in (*EVENTS, "other")
    }
    questions: dict[str, tuple[str, Mapping[str, object]]] = {
        "status": ("query-status", {}),
        "memory": ("query-memory-size-summary", {}),
    }
    balloon = None
    if qemu.balloon:
        questions["balloon"] = ("query-balloon", {})
        questions["guest"] = ("qom-get", {"path": qemu.balloon, "property": "guest-stats"})
        balloon = _bind_balloon(declare)

    def on_replies(replies: Mapping[str, Any], now_ns: int) -> None:
        for event in replies.get("events", ()):
            counted.get(event, counted["other"])(1.0, now_ns)
        if "status" in replies:
            running.set(float(bool(replies["status"].get("running"))), now_ns)
        if "memory" in replies:
            size.set(sum(replies["memory"].values()), now_ns)
        if balloon is not None:
            balloon(replies, now_ns)

    return questions, on_replies


def _bind_balloon(declare: Declare) -> OnReplies:
    actual = declare.gauge("vm_balloon_size_bytes", help="Memory that the balloon leaves to the guest.", unit="bytes")
    gauges = {
        tag: declare.gauge(f"balloon_{name}_bytes", help=words, unit="bytes").set
        for tag, (name, words) in GAUGES.items()
    }
    followed = Follower(declare)
    counters = {tag: followed(f"balloon_{name}_total", words, unit) for tag, (name, words, unit) in COUNTERS.items()}
    setters: dict[str, Callable[[float, int], None]] = {**gauges, **counters}
    newest_s = NOT_LOOKED

    def on_replies(replies: Mapping[str, Any], now_ns: int) -> None:
        nonlocal newest_s
        if "balloon" in replies:
            actual.set(replies["balloon"]["actual"], now_ns)
        told = replies.get("guest")
        if told is None:
            return
        before, newest_s = newest_s, told.get("last-update", 0)
        # What was told before the watch began, and long ago, is no news; later, whatever is told anew is.
        new = now_ns // NS_PER_S - newest_s <= NEWS_S if before == NOT_LOOKED else newest_s != before
        if new and newest_s:
            for tag, value in told["stats"].items():
                put = setters.get(tag.removeprefix("stat-"))
                if put is not None and 0 <= value < NOT_REPORTED:
                    put(value, now_ns)

    return on_replies
