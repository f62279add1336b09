"""Record what a virtual CPU's exits are and cost: how many by reason, time in the guest, time in the monitor."""

from __future__ import annotations

from collections.abc import Sequence

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare
from rondo_core.record import Counter, Summary
from rondo_vmm.hookspecs import EXIT_REASONS, OnExit, OnExits, Times


@hookimpl
def rondo_vmm_exits_bind(declare: Declare, vcpu: int) -> OnExits | None:
    """Declare one counter per reason, all of them from the first second on, and two summaries; none with a sketch."""
    counters, run, handling = _declared(declare, vcpu)
    if run.sketched or handling.sketched:
        return None
    count, merge_run, merge_handling = [counter.inc for counter in counters], run.merge, handling.merge

    def on_exits(counts: Sequence[int], run_ns: Times, exit_ns: Times, now_ns: int) -> None:
        number = 0
        for inc, more in zip(count, counts, strict=True):
            if more:
                inc(more, now_ns)
                number += more
        total, least, most = run_ns
        merge_run(number, total, least, most, now_ns)
        total, least, most = exit_ns
        merge_handling(number, total, least, most, now_ns)

    return on_exits


@hookimpl
def rondo_vmm_exit_bind(declare: Declare, vcpu: int) -> OnExit | None:
    """Declare the same where a summary has a sketch, which counts each exit by itself."""
    counters, run, handling = _declared(declare, vcpu)
    if not run.sketched and not handling.sketched:
        return None
    count = [counter.inc for counter in counters]

    def on_exit(reason: int, run_ns: int, exit_ns: int, now_ns: int) -> None:
        count[reason](1.0, now_ns)
        run.observe(run_ns, now_ns)
        handling.observe(exit_ns, now_ns)

    return on_exit


def _declared(declare: Declare, vcpu: int) -> tuple[list[Counter], Summary, Summary]:
    cpu, said = str(vcpu), "Exits of the virtual CPU to the monitor."
    counters = [declare.counter("vcpu_exits_total", help=said, reason=reason, vcpu=cpu) for reason in EXIT_REASONS]
    run = declare.summary(
        "vcpu_run_duration_ns", help="Time in the guest before an exit.", unit="nanoseconds", vcpu=cpu
    )
    handling = declare.summary(
        "vcpu_exit_duration_ns", help="Time in which the monitor handled an exit.", unit="nanoseconds", vcpu=cpu
    )
    return counters, run, handling
