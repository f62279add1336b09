"""Record what a virtual CPU's exits are and cost: how many by reason, time in the guest, time in the monitor."""

from __future__ import annotations

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import OnExit
from rondo_vmm.machine import REASONS


@hookimpl
def rondo_vmm_exit_bind(declare: Declare, vcpu: int) -> OnExit:
    """Declare one counter per reason, all of them from the first second on, and two summaries."""
    cpu = str(vcpu)
    said = "Exits of the virtual CPU to the monitor."
    count = [declare.counter("vcpu_exits_total", help=said, reason=reason, vcpu=cpu).inc for reason in REASONS]
    run = declare.summary(
        "vcpu_run_duration_ns", help="Time in the guest before an exit.", unit="nanoseconds", vcpu=cpu
    ).observe
    handling = declare.summary(
        "vcpu_exit_duration_ns", help="Time in which the monitor handled an exit.", unit="nanoseconds", vcpu=cpu
    ).observe

    def on_exit(reason: int, run_ns: int, exit_ns: int, now_ns: int) -> None:
        count[reason](1.0, now_ns)
        run(run_ns, now_ns)
        handling(exit_ns, now_ns)

    return on_exit
