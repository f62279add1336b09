"""Record the monitor itself, once a tick: how long it is up, its memory, its descriptors."""

from __future__ import annotations

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare, Tick
from rondo_vmm.plugins.proc import descriptors, rss_bytes

LONGEST_SLEEP_S = 300


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Tick:
    """Declare the gauges; the first tick is when the machine came up."""
    up = uptime_tick(declare)
    memory = declare.gauge("vmm_rss_bytes", help="Resident memory of the monitor, the guest's included.", unit="bytes")
    files = declare.gauge("vmm_open_fds", help="Open file descriptors of the monitor.")

    def tick(now_ns: int) -> None:
        up(now_ns)
        memory.set(rss_bytes(now_ns), now_ns)
        files.set(descriptors(now_ns), now_ns)

    return tick


def uptime_tick(declare: Declare) -> Tick:
    """Declare the uptime, which counts from the first tick on."""
    uptime = declare.gauge("vmm_uptime_seconds", help="Time since the machine came up.", unit="seconds")
    started_ns, newest_s = 0, 0

    def tick(now_ns: int) -> None:
        nonlocal started_ns, newest_s
        started_ns = started_ns or now_ns
        now_s = now_ns // NS_PER_S
        # Uptime is known for the seconds that the ticking thread slept through as well.
        first_missed = max(newest_s + 1, now_s - LONGEST_SLEEP_S) if newest_s else now_s
        for second in range(first_missed, now_s):
            uptime.set((second * NS_PER_S - started_ns) / NS_PER_S, second * NS_PER_S)
        newest_s = now_s
        uptime.set((now_ns - started_ns) / NS_PER_S, now_ns)

    return tick
