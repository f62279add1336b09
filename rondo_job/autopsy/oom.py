"""What the counters and the kernel's log say of OOM kills between a job's start and its end."""

from __future__ import annotations

import os
import signal

import attrs

from rondo_core.units import format_size
from rondo_job.autopsy.case import Case, OomKill
from rondo_job.facts import Evidence, GroupLevel

NEAR = 0.9  # of a limit: from there on memory is short
MACHINE = "the machine"
_NEARLY = 64 << 10  # of a peak below its limit: what the kernel asks for at a time


@attrs.frozen
class OomCounts:
    """How the counters of OOM kills have risen.

    Attributes:
        own: of the job's own control group, which counts its processes alone; None: it has none, or it cannot be read.
        shared: level, or "the machine" -> by how much it rose, where it rose; others' kills raise these too.
        hidden: what could not be read or compared; lines: all of it in words.
        limit: the level whose limit was met with nothing left, as far as the counters say; None: they do not;
            limit_bytes: how much that is, 0: not known.
        machine: how many processes of the whole machine were killed, control groups' included; None: it cannot be read.
    """

    own: int | None
    shared: dict[str, int]
    hidden: tuple[str, ...]
    lines: tuple[str, ...]
    limit: str | None = None
    limit_bytes: int = 0
    machine: int | None = None

    @property
    def at_limit(self) -> str:
        """Say how much the limit was that was met, after a comma; empty: that is not known."""
        return f", at the limit of {format_size(self.limit_bytes)}" if self.limit_bytes else ""


def count_oom(before: Evidence | None, after: Evidence | None) -> OomCounts:
    """Compare the counters before the start with those after the end; what is not in both is hidden, and no zero."""
    if before is None or after is None:
        what = "counters of OOM kills: not read after the end" if after is None else "counters of OOM kills: not read"
        return OomCounts(None, {}, (what,), (what,))
    hidden = [f"{each} (before the start)" for each in before.hidden if each not in after.hidden] + list(after.hidden)
    later = {level.path: level for level in after.levels}
    own, shared, lines, limits = None, dict[str, int](), list[str](), list[tuple[str, int]]()
    for level in before.levels:
        now = later.get(level.path, GroupLevel(level.path))
        limits += _limit_met(level, now)
        grown = _grown(level.oom_kill, now.oom_kill)
        if grown is None:
            if level.own or level.oom_kill is not None:
                hidden.append(f"{level.path}: its OOM kills cannot be compared")
            continue
        is_own = level.own and now.own  # it is not, once processes of the job have left it
        lines.append(f"oom_kill of {'the own group ' if is_own else ''}{level.path}: {_rise(level.oom_kill, grown)}")
        if is_own:
            own = grown
        elif grown:
            shared[level.path] = grown
    grown = _grown(before.vmstat, after.vmstat)
    if grown is not None:
        lines.append(f"oom_kill of {MACHINE} (/proc/vmstat): {_rise(before.vmstat, grown)}")
        if grown:
            shared[MACHINE] = grown
    lines += [f"hidden: {each}" for each in hidden]
    limit, limit_bytes = limits[0] if limits else (None, 0)
    return OomCounts(own, shared, tuple(hidden), tuple(lines), limit, limit_bytes, grown)


def _grown(before: int | None, after: int | None) -> int | None:
    """Give the difference; None where either is unknown, or the counter began anew."""
    return None if before is None or after is None or after < before else after - before


def _rise(before: int | None, grown: int) -> str:
    return f"rose by {grown}, from {before}" if grown else f"unchanged at {before}"


def _limit_met(before: GroupLevel, after: GroupLevel) -> list[tuple[str, int]]:
    """Name the level, and its limit, if that was met: its `oom` rose, or (version 1 has none) its peak is the limit."""
    limit, peak = after.limit_bytes or 0, after.peak_bytes or 0
    if _grown(before.oom, after.oom):
        return [(f"the limit{f' of {format_size(limit)}' if limit else ''} of {after.path}, whose oom rose", limit)]
    if after.oom is None and limit and peak >= limit - _NEARLY:
        return [(f"the limit of {format_size(limit)} of {after.path}, which its peak has met", limit)]
    return []


def killed_children(case: Case) -> list[int]:
    """Give the pids of the job's processes that a SIGKILL ended, itself among them."""
    found = [child.pid for child in case.children if child.status is not None and _by_kill(child.status)]
    return sorted({*found, *([case.pid] if case.signal == signal.SIGKILL else [])})


def _by_kill(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def logged_kill(case: Case, pid: int) -> OomKill | None:
    """Give the kernel's own word that its OOM killer killed a process; None: it has none, or cannot be read."""
    return next((each for each in case.oom_kills if each.pid == pid), None)


def short_of_memory(case: Case) -> str:
    """Say that the job's memory was near its limit when it was last measured; empty: it was not, or none is known."""
    for each in case.quantities:
        if each.unit == "bytes" and each.share is not None and each.share >= NEAR:
            return f"{each.name} came to {format_size(int(each.most))}, {each.share:.0%} of {each.limit_name}"
    return ""
