"""The hooks that the monitor adds to rondo's: a virtual CPU's exits, and the life of a machine."""

from __future__ import annotations

from collections.abc import Callable

from rondo_core.hookspecs import Config, Declare, hookspec

OnExit = Callable[[int, int, int, int], None]


@hookspec
def rondo_vmm_exit_bind(declare: Declare, config: Config, vcpu: int) -> OnExit | None:
    """Declare series once, and hand back what the CPU's thread calls on every exit.

    Called: once per virtual CPU, before it runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `vcpu` is the CPU's number.
    Returns: `on_exit(reason, run_ns, exit_ns, now_ns)`, where `reason` is an index into rondo_vmm.machine.REASONS,
        `run_ns` the time in the guest before the exit, `exit_ns` the monitor's handling of it, `now_ns` the wall
        clock; it must take well under a microsecond. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `on_exit` is counted, reported, and ends its calls.
    """


@hookspec
def rondo_vmm_started(machine: str, now_ns: int) -> None:
    """Learn that a machine is about to run its first instruction.

    Called: once per run, on the monitor's thread. Args: `machine`: "kvm" or "soft"; `now_ns`: the wall clock.
    Returns: nothing. Errors: a raise is counted and reported.
    """


@hookspec
def rondo_vmm_stopped(ended: str, now_ns: int) -> None:
    """Learn how a machine ended.

    Called: once per run, on the monitor's thread, before the last tick. Args: `ended`: in the words of the record of
    runs; `now_ns`: the wall clock. Returns: nothing. Errors: a raise is counted and reported.
    """
