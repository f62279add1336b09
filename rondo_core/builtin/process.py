"""Record the process itself, once a tick: resident memory, CPU time, open descriptors, threads."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None]:
    """Declare the process's series under the names that Prometheus clients give them."""
    memory = declare.gauge("process_resident_memory_bytes", help="Resident memory.", unit="bytes")
    cpu = declare.counter("process_cpu_seconds_total", help="CPU time used, user and system.", unit="seconds")
    descriptors = declare.gauge("process_open_fds", help="Open file descriptors.")
    threads = declare.gauge("process_threads", help="Python threads.")
    pid, counted = os.getpid(), 0.0
    statm, fds, page_bytes = Path("/proc/self/statm"), Path("/proc/self/fd"), resource.getpagesize()

    def tick(now_ns: int) -> None:
        nonlocal pid, counted
        if pid != os.getpid():  # a child, whose own CPU time begins at 0
            pid, counted = os.getpid(), 0.0
        usage = resource.getrusage(resource.RUSAGE_SELF)
        memory.set(int(statm.read_text().split()[1]) * page_bytes, now_ns)
        used = usage.ru_utime + usage.ru_stime
        cpu.inc(used - counted, now_ns)
        counted = used
        descriptors.set(sum(1 for _ in fds.iterdir()), now_ns)
        threads.set(threading.active_count(), now_ns)

    return tick
