"""What may be wrong with a job or program while it runs: a process of it died, or its own series stand still."""

from __future__ import annotations

import os
import signal

from rondo_core.clock import NS_PER_S
from rondo_core.units import format_duration
from rondo_job.autopsy.case import Activity, Case, Diagnosis
from rondo_job.facts import Child, status_words

# What no parent sends to end a child in order, and no pipe that is closed.
_DEADLY = {
    *(signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL),
    *(signal.SIGSYS, signal.SIGXCPU, signal.SIGXFSZ),
}
_TICKS_AGE_NS = 15 * NS_PER_S  # a recorder that goes on has written something in that time


def child_died(case: Case) -> Diagnosis | None:
    """Tell of a process of it that a signal ended which is no way to end, while itself went on."""
    dead = dead_children(case)
    kills = next((each.last for each in case.quantities if each.name == "job_oom_kills_total"), 0.0)
    if not dead and not kills:
        return None
    lines = [f"{each.command} (pid {each.pid}) ended by {status_words(each.status)}" for each in dead[-8:]]
    if kills:
        lines.append(f"job_oom_kills_total is {kills:.0f}: the OOM killer was at work in it")
    lines.append(f"pid {case.pid} {'goes on' if case.is_live else f'ended by itself, {status_words(case.status)}'}")
    n_killed = sum(1 for each in dead if os.WTERMSIG(each.status or 0) == signal.SIGKILL)
    why = " for want of memory" if kills and kills >= n_killed > 0 else ""
    who = f"{dead[-1].command} (pid {dead[-1].pid})" if dead else "a process of it"
    how = f", {status_words(dead[-1].status)}" if dead else " for want of memory"
    first = "it runs, but " if case.is_live else ""
    then = "" if case.is_live else f"; then it ended, {status_words(case.status)}"
    return Diagnosis("child-died", "proven", f"{first}{who} died{why}{how}{then}", tuple(lines))


def dead_children(case: Case) -> list[Child]:
    """Give the processes of a job, itself left out, that a signal ended which no parent sends to end one in order."""
    return [
        child
        for child in case.children
        if child.pid != case.pid
        and child.status is not None
        and os.WIFSIGNALED(child.status)
        and os.WTERMSIG(child.status) in _DEADLY
    ]


def hung(case: Case) -> Diagnosis | None:
    """Its own series stand still while the recorders of the same store go on."""
    still = [each for each in case.activities if _stands_still(case, each)]
    if not still or len(still) < len([each for each in case.activities if each.series]):
        return None
    lines = []
    for each in still:
        flat = format_duration((case.now_ns - each.changed_ns) // NS_PER_S * NS_PER_S)
        lines.append(f"{each.store}: none of its {each.series} series has changed for {flat}")
        age = max(case.now_ns - each.ticked_ns, 0) / NS_PER_S
        lines.append(f"{each.store}: series of the process itself go on, {age:.0f} s ago")
    lines.append("a program that waits for work looks the same")
    return Diagnosis("hang", "likely", "it runs, but nothing of what it measures itself moves", tuple(lines))


def _stands_still(case: Case, activity: Activity) -> bool:
    ticking = activity.ticked_ns >= case.now_ns - _TICKS_AGE_NS
    return bool(activity.changed_ns) and ticking and case.now_ns - activity.changed_ns >= case.flat_ns


def running(case: Case) -> Diagnosis | None:
    """It runs."""
    if case.activities and not any(each.series for each in case.activities):
        more = "it measures nothing of its own: whether it hangs cannot be seen"
    else:
        more = "nothing on record speaks against it"
    return Diagnosis("running", "proven", f"it runs, pid {case.pid}", (more,))


ROWS = (child_died, hung, running)
