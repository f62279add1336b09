"""The hooks that the monitor adds to rondo's: a virtual CPU's exits, and the life of a machine."""

from __future__ import annotations

from collections.abc import Callable

from rondo_core.hookspecs import Config, Declare, hookspec

OnExit = Callable[[int, int, int, int], None]
OnMilestone = Callable[[str, int, int], None]
Tick = Callable[[int], None]


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
def rondo_vmm_vcpu_bind(declare: Declare, config: Config, vcpu: int, thread_id: int) -> Tick | None:
    """Declare series of a virtual CPU's thread, and hand back what is called on every tick.

    Called: once per virtual CPU, when its thread is there and before it runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `vcpu` is the CPU's number; `thread_id` the
        kernel's id of its thread, as in /proc/self/task.
    Returns: `tick(now_ns)`, which must end within 1 ms; None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `tick` is counted, and reported once per kind.
    """


@hookspec
def rondo_vmm_milestone_bind(declare: Declare, config: Config) -> OnMilestone | None:
    """Declare series, and hand back what is called when the guest has come as far as never before.

    Called: once, before the machine runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table.
    Returns: `on_milestone(name, since_ns, now_ns)`, where `name` is one of rondo_vmm.milestones.NAMES, `since_ns` the
        time since the monitor began to make the machine, and `now_ns` the wall clock; on a CPU's thread. None to stay
        out.
    Errors: a raise here disables this plugin alone; a raise in `on_milestone` is counted, and reported once per kind.
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
