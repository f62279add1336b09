"""The end of a job on record: by the recorder that waited for it, or by the relay where the recorder is gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.clock import wall_ns
from rondo_job.facts import LifeEnd, ReceivedSignal, Usage, encode
from rondo_job.files import names
from rondo_job.files.tail import TAIL_BYTES, TailWriter
from rondo_job.groups.evidence import read_evidence
from rondo_job.groups.leaf import Leaf
from rondo_job.groups.mounted import V2, Group, read_keys, read_number
from rondo_job.processes.pidfd import status_when_reaped

if TYPE_CHECKING:
    from rondo_job.processes.tree import Tree

_EXEC_BYTES = (
    2 << 20
)  # what a process may grow by until its exec, and by which the kernel's count of its pages is behind

# By how much what was waited for must exceed what a group counted: the process that becomes the job began outside.
_LEFT_CPU_S, _LEFT_SHARE = 0.1, 0.02


def usage_of(usage: Any, before_bytes: int, largest_bytes: int) -> Usage:
    """Give what `wait4` said.

    Args: `before_bytes`: what the process had resident at most before it became the job, which `wait4` counts too;
        `largest_bytes`: the largest process that was seen; 0: none was.
    """
    resident = usage.ru_maxrss * 1024
    return Usage(
        usage.ru_utime,
        usage.ru_stime,
        resident if resident > before_bytes + _EXEC_BYTES else largest_bytes or None,
        usage.ru_minflt,
        usage.ru_majflt,
        usage.ru_inblock,
        usage.ru_oublock,
        usage.ru_nvcsw,
        usage.ru_nivcsw,
    )


def cpu_of(leaf: Leaf) -> float | None:
    """Give the CPU time of a job's own group, in seconds; None: it has none, or it cannot be read."""
    if not leaf.own:
        return None
    if leaf.method == "cgroup2":
        used = (read_keys(leaf.groups[V2].path / "cpu.stat") or {}).get("usage_usec")
        return None if used is None else used / 1e6
    used = read_number(leaf.groups["cpuacct"].path / "cpuacct.usage")
    return None if used is None else used / 1e9


def with_counters(end: LifeEnd, leaf: Leaf) -> LifeEnd:
    """Add what the job's control group and the evidence counters say now."""
    after = read_evidence(leaf.groups, wall_ns(), own=leaf.own)
    peak = after.levels[0].peak_bytes if leaf.own and after.levels else None
    cpu_s = cpu_of(leaf)
    return attrs.evolve(end, after=after, memory_peak_bytes=peak, cpu_s=end.cpu_s if cpu_s is None else cpu_s)


def with_those_who_left(end: LifeEnd, tree: Tree) -> LifeEnd:
    """Say whether processes of a job left its own control group: what is known of them beside it, and what is not.

    One that was never seen outside is known by its CPU time, where it was waited for: it has more than the group.
    """
    counted_s = end.cpu_s or 0.0
    if not tree.left and tree.waited_s <= counted_s + max(_LEFT_CPU_S, _LEFT_SHARE * counted_s):
        return end
    after = end.after
    if after is not None:  # the group's counters are no proof of what befell the job any more
        after = attrs.evolve(after, levels=tuple(attrs.evolve(each, own=False) for each in after.levels))
    peak = max(end.memory_peak_bytes or 0, tree.largest_bytes)
    return attrs.evolve(
        end, left_group=True, after=after, cpu_s=max(counted_s, tree.waited_s), memory_peak_bytes=peak or None
    )


def keep_file_tails(life: Path, files: Mapping[str, int]) -> None:
    """Keep the tails of regular files that a job wrote. Args: `files`: "stdout", "stderr" -> where it began in each."""
    numbers = {"stdout": 1, "stderr": 2}
    for name, began in files.items():
        with contextlib.suppress(OSError):
            size = os.fstat(numbers[name]).st_size
            descriptor = os.open(f"/proc/self/fd/{numbers[name]}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                first = max(began if began <= size else 0, size - TAIL_BYTES)
                data = os.pread(descriptor, size - first, first)
            finally:
                os.close(descriptor)
            tail = TailWriter(life / names.STREAMS[name])
            tail.passed = max(size - began, len(data)) - len(data)
            tail.put(data)


def encode_leaf(leaf: Leaf) -> dict[str, Any]:
    """Give a leaf as JSON has it."""
    groups = {name: [str(group.mount), str(group.path)] for name, group in leaf.groups.items()}
    return {"method": leaf.method, "own": leaf.own, "groups": groups, "made": list(map(str, leaf.made))}


def decode_leaf(plain: Mapping[str, Any]) -> Leaf:
    """Read what `encode_leaf` gave."""
    groups = {name: Group(Path(mount), Path(path)) for name, (mount, path) in plain["groups"].items()}
    return Leaf(plain["method"], "", groups, own=plain["own"], made=tuple(map(Path, plain["made"])))


def write_lost_end(told: Mapping[str, Any], pidfd: int) -> None:
    """Put on record how a job ended whose recorder is gone; the relay's part.

    Args: `told`: what the recorder told it when the job began; `pidfd`: of the job, which has ended.
    """
    ended_ns, life, leaf = wall_ns(), Path(told["life"]), decode_leaf(told["leaf"])
    status = status_when_reaped(pidfd)
    signals = tuple(ReceivedSignal(**each) for each in told.get("signals", ()))
    timed_out = any(each.why == "timeout" for each in signals)
    end = LifeEnd(ended_ns, status, "relay" if status is None else "pidfd", timed_out=timed_out, signals=signals)
    end = with_counters(end, leaf)
    with contextlib.suppress(OSError):
        if not (life / names.END).exists():
            names.write_end(life, encode(end))
    keep_file_tails(life, told["files"])
    leaf.remove()
