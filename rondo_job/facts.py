"""The facts of a life: what ran, where, with which limits; what was counted before and after; how it ended."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs

Method = Literal["cgroup2", "cgroup1", "tree"]
METHODS: tuple[Method, ...] = get_args(Method)
MAX_FACTS_BYTES = 256 << 10  # of a file of facts; longer commands are cut before
T = TypeVar("T")


@attrs.frozen
class GroupLevel:
    """One control group of memory, the job's own or one above it, as it was at one moment.

    Attributes:
        path: below the mount of its hierarchy, as /proc/PID/cgroup has it; "/" is the root.
        own: whether it holds the job and nothing else. Never so by tree.
        limit_bytes: of memory; None: it has none, or it cannot be read.
        oom: how often this level's own limit was met with nothing left to reclaim; None: cannot be read. Version 1 does
            not count that.
        oom_kill: how many of its processes any OOM killer has killed, those of levels below it too in version 2 (not in
            version 1); None: cannot be read.
        oom_kill_local: likewise, without those of levels below it; None: cannot be read.
        peak_bytes: the most memory that was in use, page cache included, by the kernel's own account; None: unknown.
    """

    path: str
    own: bool = False
    limit_bytes: int | None = None
    oom: int | None = None
    oom_kill: int | None = None
    oom_kill_local: int | None = None
    peak_bytes: int | None = None


@attrs.frozen
class Evidence:
    """The counters that tell an OOM kill from another, read once before the job's start and once after its end.

    Attributes:
        taken_ns: when, ns since the epoch.
        levels: the job's control group first, then each one above it up to the root that can be seen.
        vmstat: `oom_kill` of /proc/vmstat, which counts the whole machine's; None: cannot be read.
        hidden: what could not be read, as path and reason; a difference of what is hidden is no zero.
    """

    taken_ns: int
    levels: tuple[GroupLevel, ...] = ()
    vmstat: int | None = None
    hidden: tuple[str, ...] = ()


@attrs.frozen
class Host:
    """The machine as the job could see it.

    Attributes:
        name: of the host; kernel: its release; boot_id: of this boot, empty: hidden (unknown is not equal to unknown).
        n_cpus: that the job may use by its affinity; memory_bytes, swap_bytes: of the machine.
    """

    name: str
    kernel: str
    boot_id: str
    n_cpus: int
    memory_bytes: int
    swap_bytes: int = 0


@attrs.frozen
class LifeStart:
    """What was known when the job was about to start; written before its first instruction.

    Attributes:
        name: of the life, by its command or as it was given; command, cwd: what was run, and where.
        pid: of the job's first process; recorder_pid; user: the numeric user.
        started_ns: ns since the epoch.
        method: how the tree was measured; why: in words, why no better one could be had; empty: there is none better.
        every_ns: how often it was measured from the eleventh second on.
        version: of rondo.
        host: the machine.
        memory_limit_bytes, cpu_limit (in CPUs), pids_limit: the least of all levels; None: none, or unreadable.
        rlimits: name, as in `resource`, without RLIMIT_ -> (soft, hard); -1: no limit.
        environment: of known variables only: the CI system, its run, job and step, the commit and the branch.
        output: "stdout" and "stderr" -> "terminal", "pipe", "file" (untouched, its tail read at the end), "stdout"
            (stderr went where stdout goes), "untouched" (no tail is kept).
        timeout_s: after which the job was to be ended; None: none was asked for.
        before: the counters.
    """

    name: str
    command: tuple[str, ...]
    cwd: str
    pid: int
    recorder_pid: int
    user: int
    started_ns: int
    method: Method
    why: str
    every_ns: int
    version: str
    host: Host
    before: Evidence
    memory_limit_bytes: int | None = None
    cpu_limit: float | None = None
    pids_limit: int | None = None
    rlimits: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    environment: Mapping[str, str] = attrs.field(factory=dict)
    output: Mapping[str, str] = attrs.field(factory=dict)
    timeout_s: float | None = None


@attrs.frozen
class Usage:
    """What the kernel says that the job's first process took, with all descendants that were waited for (`wait4`).

    Attributes: user_s, system_s; max_rss_bytes: of the largest single process, not of the tree; None: it is so small
        that what the process was before it became the job was larger, and it was not looked at; minor_faults,
        major_faults; voluntary_switches, involuntary_switches; blocks_in, blocks_out: of 512 bytes.
    """

    user_s: float
    system_s: float
    max_rss_bytes: int | None
    minor_faults: int
    major_faults: int
    blocks_in: int
    blocks_out: int
    voluntary_switches: int
    involuntary_switches: int


@attrs.frozen
class ReceivedSignal:
    """A signal that was sent to the recorder and passed on, or sent by the recorder itself.

    Attributes: number; time_ns; sender: the pid that sent it, 0: the kernel (a terminal), or not known; `why`: "passed
        on", "group" (the sender sent it to the job too, so it was not passed on), "timeout"; command: the sender's name
        (`comm`) when it came, empty: it was gone by then, or cannot be seen.
    """

    number: int
    time_ns: int
    sender: int
    why: str
    command: str = ""


@attrs.frozen
class LifeEnd:
    """How the job ended, and what was counted then; absent while it runs, and where recorder and relay were killed.

    Attributes:
        ended_ns: ns since the epoch, as seen by who saw it.
        status: as `wait` gives it; None: nobody could learn it. See `exit_code`, `signal`.
        seen_by: "wait": its parent, the recorder; "pidfd": the relay, as the recorder was gone (Linux 6.15 or newer
            says the status then); "relay": likewise, without a status.
        timed_out: whether `--timeout` ended it; signals: those that came for it, oldest first, at most 32.
        usage: of `wait4`; None: where `seen_by` is not "wait".
        cpu_s: of the whole tree, those who died unwaited included by cgroup; None: not known.
        memory_peak_bytes: the kernel's peak of the job's own control group, page cache included; None by tree.
        remaining: pids of the job's tree that were alive after its first process had ended.
        after: the counters; None: not read.
        not_begun: why its command could not be begun; empty: it was. `status` is then that of the process that was to
            become it, as shells have it, and nothing was measured.
        left_group: whether processes of it left its own control group: `cpu_s` and `memory_peak_bytes` are then the
            least that it took, and the counters of `after` are no group's of its own.
        lasted_s: by a clock that is never set; None: the recorder did not see the end.
    """

    ended_ns: int
    status: int | None
    seen_by: Literal["wait", "pidfd", "relay"]
    timed_out: bool = False
    signals: tuple[ReceivedSignal, ...] = ()
    usage: Usage | None = None
    cpu_s: float | None = None
    memory_peak_bytes: int | None = None
    remaining: tuple[int, ...] = ()
    after: Evidence | None = None
    not_begun: str = ""
    left_group: bool = False
    lasted_s: float | None = None

    @property
    def exit_code(self) -> int | None:
        """What it gave to exit(); None: a signal ended it, or that is not known."""
        return os.WEXITSTATUS(self.status) if self.status is not None and os.WIFEXITED(self.status) else None

    @property
    def signal(self) -> int | None:
        """The signal that ended it; None: none did, or that is not known."""
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else None

    @property
    def core_dumped(self) -> bool:
        """Whether the kernel wrote a core, or gave one to a handler."""
        return self.status is not None and os.WCOREDUMP(self.status)

    @property
    def ended(self) -> str:
        """How, in the words of the record of runs: "exit status 3", "signal 9", "ended" where that is not known."""
        if self.not_begun:
            return f"start failed: {self.not_begun.partition('; ')[0]}"
        return f"signal {self.signal}" if self.signal else status_words(self.status)

    def __str__(self) -> str:
        """Say how, for people: a signal by its name, and whether a core was dumped."""
        return f"{status_words(self.status)}, not begun" if self.not_begun else status_words(self.status)


def status_words(status: int | None) -> str:
    """Say a wait status in words: "exit status 3", "SIGKILL"; "ended" where it is not known."""
    if status is None:
        return "ended"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"{name}, core dumped" if os.WCOREDUMP(status) else name
    return f"exit status {os.WEXITSTATUS(status)}"


def encode(facts: Any) -> bytes:
    """Give facts as JSON, with the field names as keys."""
    return json.dumps(attrs.asdict(facts), ensure_ascii=False, indent=1).encode(errors="backslashreplace")


def decode_start(data: bytes) -> LifeStart:
    """Read what `encode` gave of a LifeStart. Raises: ValueError: it is none."""
    return _decoded(LifeStart, data)


def decode_end(data: bytes) -> LifeEnd:
    """Read what `encode` gave of a LifeEnd. Raises: ValueError: it is none."""
    return _decoded(LifeEnd, data)


def _decoded(kind: type[T], data: bytes) -> T:
    try:
        made: T = _as(kind, json.loads(data))
    except (TypeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    return made


def _as(hint: Any, value: Any) -> Any:
    """Give what JSON has of a type of facts as that type. Raises: TypeError: it is of another."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None else _as(next(each for each in inner if each is not NoneType), value)
    if origin is tuple and isinstance(value, list):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            return tuple(_as(each, part) for each, part in zip(kinds, value, strict=True))
    if origin is Mapping and isinstance(value, dict):
        return {key: _as(inner[1], each) for key, each in value.items()}
    if attrs.has(hint) and isinstance(value, dict):  # keys of a newer rondo are passed over
        return hint(**{name: _as(each, value[name]) for name, each in _hints(hint).items() if name in value})
    if _is_plain(hint, value):
        return value
    raise TypeError(f"{value!r:.40} where {getattr(hint, '__name__', hint)} is expected")


def _is_plain(hint: Any, value: Any) -> bool:
    """Say whether a value is a text, a truth or a number of a type; a newer rondo may have more literals."""
    if get_origin(hint) is Literal:
        return type(value) is str
    if type(value) is int and hint in {int, float}:
        return not abs(value) >> 63
    return type(value) is hint


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


@attrs.frozen
class Child:
    """A process of the job's tree, the first one among them, as the recorder saw it.

    Attributes:
        pid, parent_pid; command: its name (`comm`), or its arguments, cut to 60 bytes.
        started_ns: ns since the epoch; ended_ns: 0: it was alive when last looked at.
        cpu_s: that it used itself, as last seen; peak_bytes: its greatest resident memory (VmHWM), as last seen.
        status: as `wait` gives it; None: alive, or nobody who was asked could tell (a kernel before 6.15 tells only its
            parent).
    """

    pid: int
    parent_pid: int
    command: str
    started_ns: int
    ended_ns: int = 0
    cpu_s: float = 0.0
    peak_bytes: int = 0
    status: int | None = None
