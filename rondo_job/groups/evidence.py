"""The counters that are evidence of an OOM kill, at every level of the control groups, and the limits of a job."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rondo_job.facts import Evidence, GroupLevel
from rondo_job.groups.mounted import V2, Group, read_keys, read_number

UNLIMITED = 1 << 62  # from about here on version 1 means no limit


def read_evidence(groups: Mapping[str, Group], now_ns: int, *, own: bool, proc: Path = Path("/proc")) -> Evidence:
    """Read them. Args: `groups`: of the job, see `find_groups`; `own`: whether the lowest is the job's alone."""
    hidden, levels = list[str](), list[GroupLevel]()
    memory = memory_group(groups)
    if memory is None:
        hidden.append("memory: no control group of it can be seen")
    else:
        group, is_v2 = memory
        read = _level_v2 if is_v2 else _level_v1
        for level in group.levels():
            found = read(group, level, own and level == group.path)
            levels.append(found)
            if found.oom_kill is None and not (is_v2 and level == group.mount):  # the root has no such files
                hidden.append(f"{level}: its OOM kills cannot be read")
    counts = read_keys(proc / "vmstat")
    vmstat = None if counts is None else counts.get("oom_kill")
    if vmstat is None:
        hidden.append(f"{proc}/vmstat: oom_kill cannot be read")
    return Evidence(now_ns, tuple(levels), vmstat, tuple(hidden))


def memory_group(groups: Mapping[str, Group]) -> tuple[Group, bool] | None:
    """Give the group that memory is accounted in, and whether it is of version 2; None: there is none."""
    if "memory" in groups:
        return groups["memory"], False
    if V2 not in groups:
        return None
    group = groups[V2]
    is_accounted = any((level / "memory.current").exists() for level in group.levels())
    if is_accounted or "memory" in _text(group.mount / "cgroup.controllers").split():  # the machine's root has no files
        return group, True
    return None


def _level_v2(group: Group, level: Path, own: bool) -> GroupLevel:
    """Source: Documentation/admin-guide/cgroup-v2.rst, memory.events."""
    events, local = read_keys(level / "memory.events") or {}, read_keys(level / "memory.events.local") or {}
    return GroupLevel(
        group.name(level),
        own,
        read_number(level / "memory.max"),
        local.get("oom", events.get("oom")),
        events.get("oom_kill"),
        local.get("oom_kill"),
        read_number(level / "memory.peak"),
    )


def _level_v1(group: Group, level: Path, own: bool) -> GroupLevel:
    """Source: Documentation/admin-guide/cgroup-v1/memory.rst, memory.oom_control."""
    events, limit = read_keys(level / "memory.oom_control") or {}, read_number(level / "memory.limit_in_bytes")
    kills = events.get("oom_kill")
    limited = limit is not None and limit < UNLIMITED
    peak = read_number(level / "memory.max_usage_in_bytes")
    return GroupLevel(group.name(level), own, limit if limited else None, None, kills, kills, peak)


def read_limits(groups: Mapping[str, Group]) -> tuple[int | None, float | None, int | None]:
    """Give the least limit of all levels: memory in bytes, CPUs, tasks; None: none can be seen."""
    memory, cpus, tasks = list[int](), list[float](), list[int]()
    known = memory_group(groups)
    if known is not None:
        name = "memory.max" if known[1] else "memory.limit_in_bytes"
        memory += [size for level in known[0].levels() if (size := read_number(level / name)) and size < UNLIMITED]
    for level in groups[V2].levels() if V2 in groups else ():
        quota, _, period = _text(level / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            cpus.append(int(quota) / int(period))
        tasks += [limit for limit in [read_number(level / "pids.max")] if limit]
    for level in groups["cpu"].levels() if "cpu" in groups else ():
        allowed, period_us = read_number(level / "cpu.cfs_quota_us"), read_number(level / "cpu.cfs_period_us")
        if allowed and period_us and allowed > 0:
            cpus.append(allowed / period_us)
    for level in groups["pids"].levels() if "pids" in groups else ():
        tasks += [limit for limit in [read_number(level / "pids.max")] if limit]
    return min(memory, default=None), min(cpus, default=None), min(tasks, default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
