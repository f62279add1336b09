"""Record what a virtual CPU's exits are and cost: how many by reason, time in the guest, time in the monitor."""

from __future__ import annotations

from collections.abc import Sequence

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import OnExits
from rondo_vmm.machine import REASONS


@hookimpl
def rondo_vmm_exit_bind(declare: Declare, vcpu: int) -> OnExits:
    """Declare one counter per reason, all of them from the first second on, and two summaries."""
    cpu = str(vcpu)
    said = "Exits of the virtual CPU to the monitor."
    count = [declare.counter("vcpu_exits_total", help=said, reason=reason, vcpu=cpu).inc for reason in REASONS]
    run = declare.summary(
        "vcpu_run_duration_ns", help="Time in the guest before an exit.", unit="nanoseconds", vcpu=cpu
    ).observe_many
    handling = declare.summary(
        "vcpu_exit_duration_ns", help="Time in which the monitor handled an exit.", unit="nanoseconds", vcpu=cpu
    ).observe_many

    def on_exits(reasons: Sequence[int], run_ns: Sequence[int], exit_ns: Sequence[int], now_ns: int) -> None:
        for reason, inc in enumerate(count):
            inc(reasons.count(reason), now_ns)
        run(run_ns, now_ns)
        handling(exit_ns, now_ns)

    return on_exits
