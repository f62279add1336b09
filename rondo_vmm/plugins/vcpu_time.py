"""Record what the host gave, once a tick: CPU time and steal of each virtual CPU's thread, CPU time of the process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.hookspecs import Declare
from rondo_vmm.plugins.proc import cpu_ns, read_proc

CPU_HELP = "CPU time of the virtual CPU's thread, in the guest and out of it."
STEAL_HELP = "Time that the virtual CPU's thread was ready to run and waited for a host CPU."
PROCESS_HELP = "CPU time of the monitor's process, its virtual CPUs included."


@hookimpl
def rondo_vmm_vcpu_bind(declare: Declare, vcpu: int, thread_id: int) -> Callable[[int], None] | None:
    """Declare two counters, fed from the scheduler's statistics; stay out where the kernel keeps none."""
    schedstat = f"/proc/self/task/{thread_id}/schedstat"
    if not Path(schedstat).exists():
        return None
    spent = declare.counter("vcpu_cpu_seconds_total", help=CPU_HELP, unit="seconds", vcpu=str(vcpu)).inc
    stolen = declare.counter("vcpu_steal_seconds_total", help=STEAL_HELP, unit="seconds", vcpu=str(vcpu)).inc
    spent_ns, stolen_ns = _read(schedstat)

    def tick(now_ns: int) -> None:
        nonlocal spent_ns, stolen_ns
        before = spent_ns, stolen_ns
        spent_ns, stolen_ns = _read(schedstat)
        spent((spent_ns - before[0]) / NS_PER_S, now_ns)
        stolen((stolen_ns - before[1]) / NS_PER_S, now_ns)

    return tick


def _read(schedstat: str) -> tuple[int, int]:
    """Give ns on a CPU and ns waiting for one. Source: Documentation/scheduler/sched-stats.rst of the Linux kernel."""
    spent_ns, stolen_ns, _ = read_proc(schedstat).split()
    return int(spent_ns), int(stolen_ns)


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
