"""The hooks that the monitor adds to rondo's: exits, disks, memory, the guest's lines, and the life of a machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core.hookspecs import Config, Declare, Tick, hookspec

if TYPE_CHECKING:
    from rondo_vmm.devices.virtio.balloon import BalloonState
    from rondo_vmm.devices.virtio.block.device import OnRequest
    from rondo_vmm.memory import GuestMemory

# Why a virtual CPU left the guest; hooks and counts go by the index. Source: KVM_EXIT_* of the KVM API.
EXIT_REASONS = ("io", "mmio", "hlt", "shutdown", "other")
IO, MMIO, HLT, SHUTDOWN, OTHER = range(len(EXIT_REASONS))
MILESTONES = ("first_instruction", "first_byte", "init", "phase_cpu", "phase_idle", "phase_io", "phase_mixed", "done")
OnExit = Callable[[int, int, int, int], None]
Times = tuple[int, int, int]  # sum, least, greatest, ns
OnExits = Callable[[Sequence[int], Times, Times, int], None]
OnLine = Callable[[bytes, int], None]  # a line without its end, and the wall clock, ns
MAX_LINE_BYTES = 1024  # of a line that a guest hands in
OnMilestone = Callable[[str, int, int], None]
Questions = Mapping[str, tuple[str, Mapping[str, object]]]
OnReplies = Callable[[Mapping[str, Any], int], None]


class QemuFacts(NamedTuple):
    """What is known of a QEMU when its recorders are bound.

    Attributes: `pid`: its process, 0 where it is not on this host; `balloon`: the QOM path of its balloon device, empty
    where it has none; `ours`: whether this process started it.
    """

    pid: int
    balloon: str = ""
    ours: bool = False


@hookspec
def rondo_vmm_exits_bind(declare: Declare, config: Config, vcpu: int) -> OnExits | None:
    """Declare series once, and hand back what takes a CPU's exits, added up, which costs the CPU next to nothing.

    Called: once per virtual CPU, before it runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `vcpu` is the CPU's number.
    Returns: `on_exits(counts, run_ns, exit_ns, now_ns)`, where `counts` are the exits since the last call by index
        into EXIT_REASONS, `run_ns` is sum, least and greatest of their times in the guest before the
        exit, `exit_ns` of the monitor's handling, and `now_ns` the wall clock at the last of them; all are of the
        same second. Called when there is an exit 250 ms after the last call or in another second, on every tick and at
        the end, by one thread at a time; it must take at most some microseconds. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `on_exits` is counted, reported, and ends its calls.
    """


@hookspec
def rondo_vmm_exit_bind(declare: Declare, config: Config, vcpu: int) -> OnExit | None:
    """Declare series once, and hand back what the CPU's thread calls on every exit, at the price of a call.

    Called: once per virtual CPU, before it runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `vcpu` is the CPU's number.
    Returns: `on_exit(reason, run_ns, exit_ns, now_ns)`, where `reason` is an index into EXIT_REASONS,
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
def rondo_vmm_block_bind(declare: Declare, config: Config, disk: str) -> OnRequest | None:
    """Declare series once, and hand back what is called after every request of a disk.

    Called: once per disk, before the machine runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `disk` is the disk's name, "vda" for the first.
    Returns: `on_request(op, size_bytes, status, duration_ns, depth, now_ns)`, where `op` is an index into
        rondo_vmm.devices.virtio.block.request.OPS, `size_bytes` what was read or written, `status` 0 for done, 1 for
        failed, 2 for unsupported, `depth` how many requests waited when the driver notified, this one among them. One
        thread at a time calls it. None to stay out.
    Errors: a raise here disables this plugin alone; one in `on_request` is counted, reported, and ends its calls.
    """


@hookspec
def rondo_vmm_memory_bind(
    declare: Declare, config: Config, memory: GuestMemory, balloon: Callable[[], BalloonState] | None
) -> Tick | None:
    """Declare series once, and hand back what is called on every tick to look at the guest's memory.

    Called: once per machine, before it runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table; `memory` is the guest's; `balloon()` says how
        its balloon stands and asks the guest for its next statistics, None where it has no balloon.
    Returns: `tick(now_ns)`, which must end within 1 ms. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `tick` is counted, and reported once per kind.
    """


@hookspec
def rondo_vmm_milestone_bind(declare: Declare, config: Config) -> OnMilestone | None:
    """Declare series, and hand back what is called when the guest has come as far as never before.

    Called: once, before the machine runs, on the monitor's thread.
    Args: `declare` makes handles; `config` is this plugin's own table.
    Returns: `on_milestone(name, since_ns, now_ns)`, where `name` is one of MILESTONES, `since_ns` the
        time since the monitor began to make the machine, and `now_ns` the wall clock; on a CPU's thread. None to stay
        out.
    Errors: a raise here disables this plugin alone; a raise in `on_milestone` is counted, and reported once per kind.
    """


@hookspec
def rondo_vmm_guest_line_bind(declare: Declare, config: Config) -> OnLine | None:
    """Declare series once, and hand back what is called with every line that the guest hands in.

    Called: once per channel, before the machine runs, on the monitor's thread.
    Args: `declare` makes handles, at any time; `config` is this plugin's own table.
    Returns: `on_line(line, now_ns)`; `line` is bytes that the guest chose, without its end, and at most 1025 of them:
        one that has more than 1024 was cut. One thread at a time calls it. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `on_line` is counted, reported, and ends its calls.
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
