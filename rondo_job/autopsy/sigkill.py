"""SIGKILL: by the OOM killer, a timeout, a limit of CPU time, or nobody can tell; of the job, or of a process of it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

from rondo_core.clock import NS_PER_S
from rondo_core.units import format_size
from rondo_job.autopsy.case import CPU, Case, Diagnosis
from rondo_job.autopsy.oom import MACHINE, OomCounts, count_oom, killed_children, logged_kill, short_of_memory
from rondo_job.autopsy.phrases import STOPS, after_start, logged_pids, sent_by, signal_name, waited
from rondo_job.facts import status_words

_KILLED = "it was killed for want of memory"
_IDLE_CPUS = 0.02  # below that a program waits, and looks now and then whether it still has to
GRACE_S = 120.0  # between a SIGTERM and what follows from it: ten seconds to two minutes, as supervisors have it
# Source: setrlimit(2), RLIMIT_CPU; seccomp(2), SECCOMP_SET_MODE_STRICT; pr_set_pdeathsig(2const)
_SENDER = (
    "who sent it is not on record, the kernel tells nobody: someone, one of its own, or the kernel itself (a hard "
    "limit of CPU time that was set later, as by ulimit -t; seccomp's strict mode; the death of its parent)"
)
SETTLED_S = 2.0  # before the end, when the counter was last seen to rise: the job was seen alive after that


def timed_out(case: Case) -> Diagnosis | None:
    """`--timeout` ended it: the recorder did it, and says so."""
    if not case.timed_out:
        return None
    sent = [each for each in case.signals if each.why == "timeout"]
    lines = [
        f"the recorder sent {signal_name(each.number)} {after_start(case, each.time_ns)} after the start"
        for each in sent
    ]
    asked = f" of {case.timeout_s:g} s" if case.timeout_s is not None else ""
    how = "; it ended only by SIGKILL" if case.signal == signal.SIGKILL else ""
    used = next((each.slopes for each in case.quantities if each.name == CPU), {})
    for window_s, cpus in list(used.items())[:1]:
        what = "it waited for something" if cpus < _IDLE_CPUS else "it was at work"
        span_s = min(window_s, round((case.ended_ns - case.started_ns) / NS_PER_S))
        lines.append(f"over its last {span_s} s it used {cpus:.2g} CPUs: {what}")
    return Diagnosis("timeout", "proven", f"the timeout{asked} was over{how}", (*waited(case), *lines))


def killed(case: Case) -> Diagnosis | None:
    """Tell of what killed it; never an OOM killer for the signal's number alone."""
    if case.signal != signal.SIGKILL or case.timed_out:
        return None
    counts = count_oom(case.before, case.after)
    evidence = [*waited(case), *counts.lines]
    found = _named_by_kernel(case, counts, evidence) or _by_hand(case, counts, evidence)
    return found or _counted(case, counts, evidence) or _untold(case, counts, evidence)


def _named_by_kernel(case: Case, counts: OomCounts, evidence: list[str]) -> Diagnosis | None:
    """Say so where the kernel's log has its pid."""
    logged = logged_kill(case, case.pid)
    if logged is None:
        return None
    line = f"the kernel's log: its OOM killer killed process {logged.pid} ({logged.command})"
    return _oom(
        "proven", f"it was killed for want of memory{counts.at_limit}", [*evidence, line, *_whose(case, counts.limit)]
    )


def _by_hand(case: Case, counts: OomCounts, evidence: list[str]) -> Diagnosis | None:
    """Say so where every counter that would have risen is readable, and none has, or only for others."""
    line, most = "", max([counts.own or 0, *counts.shared.values()])
    if counts.own == 0:
        line = "so no OOM killer killed a process of the job: its own group counts them all"
    elif counts.own is None and counts.machine == 0 and not most:
        line = f"so no OOM killer killed a process of {MACHINE}: its counter has those of all control groups"
    elif counts.own is None and counts.hidden:
        return None
    elif most:
        if not case.oom_log_is_whole or len(case.oom_kills) < most:
            return None
        line = f"the kernel's log names whom the OOM killer killed then, {logged_pids(case)}: not this process"
    lines = [*evidence, *([line] if line else [])]
    return _of_cpu_limit(case, lines) or _after_grace(case, lines) or _by_no_oom_killer(lines)


def _counted(case: Case, counts: OomCounts, evidence: list[str]) -> Diagnosis | None:
    """Say so where its own group counts no more victims than were killed, unless they were counted while it lived."""
    if not counts.own:
        return None
    settled_s = (case.ended_ns - case.oom_rose_ns) / NS_PER_S if case.oom_rose_ns else 0.0
    if settled_s > SETTLED_S:
        line = f"all of that was counted {settled_s:.1f} s before its end: another process of it was the victim"
        what = "SIGKILL ended it; the OOM killer had killed another process of it before"
        return Diagnosis("killed", "likely", what, (*evidence, line))
    victims = killed_children(case)
    unknown = [each.pid for each in case.children if each.ended_ns and each.status is None and each.pid != case.pid]
    if counts.own >= len(victims) + len(unknown):
        return _oom(
            "proven", f"it was killed for want of memory{counts.at_limit}", [*evidence, *_whose(case, counts.limit)]
        )
    what = f"{len(victims)} of its processes ended by SIGKILL, {len(unknown)} in ways nobody saw"
    line = f"{what}; the OOM killer killed {counts.own} of them"
    return _oom("likely", "it was killed, and the OOM killer was at work in it", [*evidence, line])


def _untold(case: Case, counts: OomCounts, evidence: list[str]) -> Diagnosis:
    if counts.shared:
        short = short_of_memory(case)
        if short and not counts.hidden:
            return _oom("likely", "it was killed while memory was short and an OOM killer at work", [*evidence, short])
        line = "an OOM killer was at work, in groups that others share: whom it killed is not known"
    else:
        line = "whether an OOM killer was at work cannot be seen from here"
    what = "it was killed by SIGKILL; whether by someone or for want of memory cannot be seen"
    return Diagnosis("sigkill", "cannot tell", what, (*evidence, line))


def _oom(verdict: str, summary: str, evidence: list[str]) -> Diagnosis:
    return Diagnosis("oom", "proven" if verdict == "proven" else "likely", f"out of memory: {summary}", tuple(evidence))


def _whose(case: Case, limit: str | None) -> Iterator[str]:
    """Say whose limit it was, as far as that is known, and that the victim need not be the culprit."""
    own = {case.pid, *(child.pid for child in case.children)}
    if any(each.of_machine for each in case.oom_kills if each.pid in own):
        yield "the memory of the whole machine ran out, and no limit of a control group was met: the kernel's log"
    else:
        yield f"memory ran out at {limit}" if limit else "whose limit it was is not known: the machine's, or one above"
    most = max(case.children, key=lambda child: child.peak_bytes, default=None)
    if most is not None and most.pid != case.pid and most.peak_bytes:
        size = format_size(most.peak_bytes)
        yield f"the largest process was {most.command} (pid {most.pid}), {size}; a victim is no culprit"


def _by_no_oom_killer(evidence: list[str]) -> Diagnosis:
    what = "SIGKILL ended it; no OOM killer was at work"
    return Diagnosis("killed", "proven", what, (*evidence, _SENDER))


def _of_cpu_limit(case: Case, evidence: list[str]) -> Diagnosis | None:
    """Say so where the CPU that it used came to the hard limit of the start: the kernel then sends SIGKILL."""
    hard = case.rlimits.get("CPU", (-1, -1))[1]
    used_s = 0.0 if case.usage is None else case.usage.user_s + case.usage.system_s
    if hard < 0 or used_s < hard:
        return None
    line = f"RLIMIT_CPU could be raised to {hard} s at the start, and {used_s:.1f} s were used: the kernel kills there"
    what = f"SIGKILL: CPU time came to RLIMIT_CPU's hard limit, {hard} s"
    return Diagnosis("limit", "likely", what, (*evidence, line, "someone who sent SIGKILL then would look the same"))


def _after_grace(case: Case, evidence: list[str]) -> Diagnosis | None:
    """Say that a SIGTERM came first, as supervisors send it: a SIGKILL is then the end of their patience."""
    asked = [each for each in case.signals if each.number in STOPS]
    gap_s = (case.ended_ns - asked[0].time_ns) / NS_PER_S if asked else -1.0
    if not 0 <= gap_s <= GRACE_S:
        return None
    name = signal_name(asked[0].number)
    line = f"{name} came {gap_s:.1f} s before{sent_by(asked[0])}"
    what = f"it was told to stop by {name} and, {gap_s:.1f} s later, killed"
    return Diagnosis("stop-grace", "likely", what, (*evidence, line))


def child_killed(case: Case) -> Diagnosis | None:
    """Tell of a process of it that was killed for want of memory, where itself then failed."""
    return child_killed_in_passing(case) if case.exit_code != 0 else None


def child_killed_in_passing(case: Case) -> Diagnosis | None:
    """Tell of a process of it that was killed for want of memory, whatever became of itself."""
    if case.status is None or case.signal == signal.SIGKILL:
        return None
    counts = count_oom(case.before, case.after)
    logged = {each.pid for each in case.oom_kills} & {child.pid for child in case.children if child.ended_ns}
    if not counts.own and not logged:
        return None
    victims = killed_children(case)
    named = logged or set(victims if len(victims) <= (counts.own or 0) else ())
    who = ", ".join(f"{each.command} (pid {each.pid})" for each in case.children if each.pid in named)
    lines = [*waited(case), *counts.lines, *_whose(case, counts.limit)]
    if logged:
        lines.append(f"the kernel's log: its OOM killer killed {', '.join(map(str, sorted(logged)))}")
    lines.append("that its own end followed from this is likely, and not on record")
    killed = f"{who or 'a process of it'} was killed for want of memory{counts.at_limit}"
    what = f"{killed}; then it ended, {status_words(case.status)}"
    return Diagnosis("oom", "proven", f"out of memory: {what}", tuple(lines))
