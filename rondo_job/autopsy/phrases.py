"""Phrases that rows of the table of causes have in common."""

from __future__ import annotations

import os
import signal

from rondo_core.clock import NS_PER_S
from rondo_job.autopsy.case import Case
from rondo_job.facts import ReceivedSignal, status_words

STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}  # told to stop


def logged_pids(case: Case) -> str:
    """Name whom the kernel's log names."""
    return ", ".join(f"{each.pid} ({each.command})" for each in case.oom_kills)


def signal_name(number: int) -> str:
    """Give the name of a signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def sent_by(received: ReceivedSignal) -> str:
    """Say who sent a signal, after a comma."""
    if not received.sender:
        return ", sent by a terminal or by nobody known"
    return f", sent by pid {received.sender}" + (f" ({received.command})" if received.command else "")


def after_start(case: Case, time_ns: int) -> str:
    """Give how long after the start a moment was."""
    return f"{max(time_ns - case.started_ns, 0) / NS_PER_S:.1f} s"


def waited(case: Case) -> tuple[str, ...]:
    """Say what `waitid` said, and to whom."""
    if case.status is None:
        return ()
    how = "CLD_EXITED" if os.WIFEXITED(case.status) else "CLD_DUMPED" if os.WCOREDUMP(case.status) else "CLD_KILLED"
    who = {"wait": "its parent waited for it", "pidfd": "the relay learned it from the kernel; the recorder was gone"}
    return (f"{status_words(case.status)}: {who.get(case.seen_by, case.seen_by)} ({how})",)
