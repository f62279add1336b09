"""Record what the host gave, once a tick: CPU time and steal of each virtual CPU's thread, CPU time of the process."""

from __future__ import annotations

import os
from collections.abc import Callable

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.hookspecs import Declare
from rondo_vmm.plugins.proc import SHORT, cpu_ns

CPU_HELP = "CPU time of the virtual CPU's thread, in the guest and out of it."
STEAL_HELP = "Time that the virtual CPU's thread was ready to run and waited for a host CPU."
PROCESS_HELP = "CPU time of the monitor's process, its virtual CPUs included."


@hookimpl
def rondo_vmm_vcpu_bind(declare: Declare, vcpu: int, thread_id: int) -> Callable[[int], None] | None:
    """Declare two counters, fed from the scheduler's statistics; stay out where the kernel keeps none."""
    try:
        read = Schedstat(thread_id).read
    except OSError:
        return None
    spent = declare.counter("vcpu_cpu_seconds_total", help=CPU_HELP, unit="seconds", vcpu=str(vcpu)).inc
    stolen = declare.counter("vcpu_steal_seconds_total", help=STEAL_HELP, unit="seconds", vcpu=str(vcpu)).inc
    spent_ns, stolen_ns = read()

    def tick(now_ns: int) -> None:
        nonlocal spent_ns, stolen_ns
        before = spent_ns, stolen_ns
        spent_ns, stolen_ns = read()
        spent((spent_ns - before[0]) / NS_PER_S, now_ns)
        stolen((stolen_ns - before[1]) / NS_PER_S, now_ns)

    return tick


class Schedstat:
    """The scheduler's statistics of a thread of this process, kept open: to read them is then one call into the kernel.

    In each such call the interpreter goes to another thread, of which a process with many machines has many.
    """

    def __init__(self, thread_id: int) -> None:
        """Open them. Raises: OSError: the kernel keeps none, or no such thread."""
        self._descriptor = os.open(f"/proc/self/task/{thread_id}/schedstat", os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> tuple[int, int]:
        """Give ns on a CPU and ns waiting for one. Source: Documentation/scheduler/sched-stats.rst of Linux."""
        spent_ns, stolen_ns, _ = os.pread(self._descriptor, SHORT, 0).split()
        return int(spent_ns), int(stolen_ns)

    def __del__(self) -> None:
        """Close them, with whoever read them."""
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None]:
    """Declare the process's CPU time."""
    spent = declare.counter("vmm_cpu_seconds_total", help=PROCESS_HELP, unit="seconds").inc
    spent_ns = cpu_ns(wall_ns())

    def tick(now_ns: int) -> None:
        nonlocal spent_ns
        before, spent_ns = spent_ns, cpu_ns(now_ns)
        spent((spent_ns - before) / NS_PER_S, now_ns)

    return tick
