"""The hooks that the monitor adds to rondo's: a virtual CPU's exits, and the life of a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from rondo_core.hookspecs import Config, Declare, hookspec

OnExit = Callable[[int, int, int, int], None]
Questions = Mapping[str, tuple[str, Mapping[str, object]]]
OnReplies = Callable[[Mapping[str, Any], int], None]


@attrs.frozen
class QemuFacts:
    """What is known of a QEMU when its recorders are bound.

    Attributes: `pid`: its process, 0 where it is not on this host; `balloon`: the QOM path of its balloon device, empty
    where it has none; `ours`: whether this process started it.
    """

    pid: int
    balloon: str = ""
    ours: bool = False


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
def rondo_qmp_bind(declare: Declare, config: Config, qemu: QemuFacts) -> tuple[Questions, OnReplies] | None:
    """Declare series once, and say what QEMU's monitor is asked once a second and what takes the replies.

    Called: once per QEMU, when its monitor is connected, before its first instruction where it is started here.
    Args: `declare` makes handles; `config` is this plugin's own table; `qemu` is what is known of the process.
    Returns: key -> (QMP command, its arguments), and `on_replies(replies, now_ns)`, called once a second with the
        replies by key: those that were refused or late are missing; "events" holds the names of the QMP events since
        the call before. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `on_replies` is counted, and reported once per kind.
    """


@hookspec
def rondo_vmm_started(machine: str, now_ns: int) -> None:
    """Learn that a machine is about to run its first instruction.

    Called: once per run, on the monitor's thread. Args: `machine`: "kvm", "soft" or "qemu"; `now_ns`: the wall clock.
    Returns: nothing. Errors: a raise is counted and reported.
    """


@hookspec
def rondo_vmm_stopped(ended: str, now_ns: int) -> None:
    """Learn how a machine ended.

    Called: once per run, on the monitor's thread, before the last tick. Args: `ended`: in the words of the record of
    runs; `now_ns`: the wall clock. Returns: nothing. Errors: a raise is counted and reported.
    """
