"""Record the monitor itself, once a tick: how long it is up, its memory, its descriptors."""

from __future__ import annotations

import os
import resource

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare, Tick
from rondo_vmm.plugins.proc import read_proc

LONGEST_SLEEP_S = 300


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Tick:
    """Declare the gauges; the first tick is when the machine came up."""
    up = uptime_tick(declare)
    memory = declare.gauge("vmm_rss_bytes", help="Resident memory of the monitor, the guest's included.", unit="bytes")
    descriptors = declare.gauge("vmm_open_fds", help="Open file descriptors of the monitor.")
    statm, fds, page_bytes = "/proc/self/statm", "/proc/self/fd", resource.getpagesize()

    def tick(now_ns: int) -> None:
        up(now_ns)
        memory.set(int(read_proc(statm).split()[1]) * page_bytes, now_ns)
        # Since Linux 6.2 their number is the directory's size; to list the thousands of a hundred machines takes long.
        descriptors.set(os.stat(fds).st_size or len(os.listdir(fds)), now_ns)  # noqa: PTH116, PTH208 - nor are paths made

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
