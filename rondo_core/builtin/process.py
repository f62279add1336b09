"""Record the process itself, once a tick: CPU time, memory, threads, descriptors, faults, switches, bytes of I/O."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable
from pathlib import Path

from rondo_core import hookimpl
from rondo_core.builtin.kernel_files import FollowedTotal, open_files, rate_limited
from rondo_core.hookspecs import Declare

PROC = Path("/proc")
_HERTZ = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = resource.getpagesize()


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None]:
    """Declare the process's series, under the names that Prometheus clients give them where they have one."""
    totals = _usage_totals(declare)
    both, user, system, *others = totals
    files = open_files(
        [(PROC / "self/stat", lambda: _status(declare)), (PROC / "self/io", lambda: _io(declare, totals))]
    )
    files.append(_descriptors(declare))
    pid = os.getpid()

    def tick(now_ns: int) -> None:
        nonlocal pid
        if os.getpid() != pid:  # a forked child, whose own usage begins at 0
            pid = os.getpid()
            for total in totals:
                total.counted = 0.0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        both.follow(usage.ru_utime + usage.ru_stime, now_ns)
        user.follow(usage.ru_utime, now_ns)
        system.follow(usage.ru_stime, now_ns)
        counts = (usage.ru_nvcsw, usage.ru_nivcsw, usage.ru_minflt, usage.ru_majflt)
        for total, count in zip(others, counts, strict=True):
            total.follow(count, now_ns)
        for each in files:
            each(now_ns)

    return tick


def _usage_totals(declare: Declare) -> list[FollowedTotal]:
    counters = [
        declare.counter("process_cpu_seconds_total", help="CPU time used, user and system.", unit="seconds"),
        declare.counter("process_cpu_user_seconds_total", help="CPU time used as user.", unit="seconds"),
        declare.counter("process_cpu_system_seconds_total", help="CPU time used in the kernel.", unit="seconds"),
    ]
    for kind in ("voluntary", "involuntary"):
        name, text = "process_context_switches_total", "Context switches: it waited, or its time was up."
        counters.append(declare.counter(name, help=text, kind=kind))
    for kind in ("minor", "major"):
        name, text = "process_page_faults_total", "Page faults: without reading from a disk, or with it."
        counters.append(declare.counter(name, help=text, kind=kind))
    return [FollowedTotal(counter, 0.0) for counter in counters]


def _status(declare: Declare) -> Callable[[bytes, int], None]:
    resident = declare.gauge("process_resident_memory_bytes", help="Resident memory.", unit="bytes")
    virtual = declare.gauge("process_virtual_memory_bytes", help="Address space.", unit="bytes")
    threads = declare.gauge("process_threads", help="Threads, Python's and others.")
    started = declare.gauge("process_start_time_seconds", help="When it started, since the epoch.", unit="seconds")
    booted = 0.0
    with contextlib.suppress(OSError, LookupError):
        booted = float((PROC / "stat").read_text().partition("\nbtime ")[2].split()[0])

    def take(data: bytes, now_ns: int) -> None:
        fields = data.rpartition(b") ")[2].split(None, 22)
        threads.set(int(fields[17]), now_ns)
        started.set(booted + int(fields[19]) / _HERTZ, now_ns)
        virtual.set(int(fields[20]), now_ns)
        resident.set(int(fields[21]) * _PAGE_BYTES, now_ns)

    return take


def _io(declare: Declare, totals: list[FollowedTotal]) -> Callable[[bytes, int], None]:
    name, text = "process_io_bytes_total", "Bytes that it caused to be read from disks, or written."
    counters = [declare.counter(name, help=text, unit="bytes", direction=way) for way in ("read", "write")]
    read, written = ways = [FollowedTotal(counter, 0.0) for counter in counters]
    totals += ways

    def take(data: bytes, now_ns: int) -> None:
        lines = data.split(b"\n")
        read.follow(int(lines[4][12:]), now_ns)
        written.follow(int(lines[5][13:]), now_ns)

    return take


def _descriptors(declare: Declare) -> Callable[[int], None]:
    n_open = declare.gauge("process_open_fds", help="Open file descriptors.")
    most = declare.gauge("process_max_fds", help="How many file descriptors may be open.")
    folder = PROC / "self/fd"

    def count_names(now_ns: int) -> None:
        with contextlib.suppress(OSError):
            n_open.set(sum(1 for _ in folder.iterdir()) - 1, now_ns)  # less the one that lists them

    limited = rate_limited(count_names)

    def tick(now_ns: int) -> None:
        most.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0], now_ns)
        with contextlib.suppress(OSError):
            if size := folder.stat().st_size:  # since Linux 6.2 it is their number
                n_open.set(size, now_ns)
            else:
                limited(now_ns)

    return tick
