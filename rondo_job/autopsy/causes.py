"""The table of causes: what proves each, first come first served.

Each row is a pure function of a case. It gives a diagnosis where what is on record speaks for its cause, or None. The
first diagnosis is the verdict; those that follow may name what else happened.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import PurePath

from rondo_core.clock import NS_PER_S
from rondo_core.storage import Survival, in_short
from rondo_core.units import format_duration, format_size
from rondo_job.autopsy import living, machines, programs, sigkill
from rondo_job.autopsy.case import Case, Diagnosis
from rondo_job.autopsy.phrases import STOPS, sent_by, signal_name, waited
from rondo_job.autopsy.stderr_text import fatal_error, last_lines, last_traceback, limit_in, telling_line

Row = Callable[[Case], Diagnosis | None]
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGTRAP, signal.SIGSYS}
_NO_DUMP = "no faulthandler wrote where; a signal of that number that someone sent would look the same"
_TIMED_OUT = 124  # Source: coreutils, timeout
_IN_SUMMARY = 100
_LINE = 200  # of what is quoted of standard error
_UNTOUCHED = "what it wrote is not on record: its output went to a device such as /dev/null, or --no-output was given"
_OF_BYTES = {"AS", "FSIZE"}
_BY_LIMIT = {signal.SIGXCPU: ("CPU", "CPU time"), signal.SIGXFSZ: ("FSIZE", "the size of a file")}


def find_causes(case: Case) -> list[Diagnosis]:
    """Give what the table says, the verdict first. At least one: the last row always speaks."""
    rows: tuple[Row, ...] = {"job": JOB, "program": programs.ROWS, "machine": machines.ROWS}[case.kind]
    if case.is_live:
        rows = living.ROWS
    elif case.kind != "job" and case.status is not None:  # it ran in a job, whose recorder saw its end
        rows = JOB
    found = [diagnosis for row in rows if (diagnosis := row(case)) is not None]
    return found or [_unseen(case)]


def not_begun(case: Case) -> Diagnosis | None:
    """A command that could not be begun: the kernel's answer is on record."""
    if not case.not_begun:
        return None
    line = "nothing of it ran: the process that was to become it gave the status that shells have for that"
    return Diagnosis("start-failed", "proven", f"it could not be begun: {case.not_begun}", (*waited(case), line))


# -- ended by another signal


def crashed(case: Case) -> Diagnosis | None:
    """SIGSEGV and its kind; faulthandler's dump says where, where there is one."""
    if case.signal not in CRASHES:
        return None
    dump = next((each.dump for each in case.programs if each.dump), "") or fatal_error(case.stderr)
    where = f": {in_short(dump)}" if dump else ""
    core = ("a core was dumped",) if case.status is not None and os.WCOREDUMP(case.status) else ()
    said = (f"faulthandler: {in_short(dump)}",) if dump else (_NO_DUMP,)
    if case.signal == signal.SIGABRT and not dump:  # abort() is called by what has just said why
        where = "".join(f"; before it: {line.strip()[:_LINE]}" for line in last_lines(case.stderr, 1))
    return Diagnosis("crash", "proven", f"{signal_name(case.signal)}{where}", (*waited(case), *core, *said))


def limit_by_signal(case: Case) -> Diagnosis | None:
    """SIGXCPU, SIGXFSZ: a limit of resources that was there from the start proves whose."""
    if case.signal not in _BY_LIMIT:
        return None
    key, what = _BY_LIMIT[signal.Signals(case.signal)]
    soft = case.rlimits.get(key, (-1, -1))[0]
    name = f"RLIMIT_{key}"
    if soft < 0:
        line = f"{name} had no limit at the start: it was set later, or someone sent the signal"
        return Diagnosis(
            "limit", "likely", f"{signal_name(case.signal)}: {what} came to a limit", (*waited(case), line)
        )
    size = f"{soft} s" if key == "CPU" else format_size(soft)
    line = f"{name} was {size} at the start"
    summary = f"{signal_name(case.signal)}: {what} came to {name}, {size}"
    return Diagnosis("limit", "proven", summary, (*waited(case), line))


def timed_out_by_command(case: Case) -> Diagnosis | None:
    """Tell of timeout(1), where the job is one and gives the status that it has for that."""
    if case.exit_code != _TIMED_OUT or not case.command or PurePath(case.command[0]).name != "timeout":
        return None
    line = "the job is timeout(1), which gives 124 where the time was over, or where what it ran gave 124 itself"
    summary = f"the time of `{' '.join(case.command)[:60]}` was over"
    return Diagnosis("timeout", "likely", summary, (*waited(case), line))


def stopped(case: Case) -> Diagnosis | None:
    """SIGTERM and its kind, or an exit that follows one: it was told to stop."""
    came = [each for each in case.signals if each.number in STOPS and each.why != "timeout"]
    last = came[-1] if came else None
    if case.signal in STOPS:
        who = sent_by(last) if last is not None and last.number == case.signal else ""
        line = (
            f"it came through the recorder{who}"
            if who
            else "it did not come through the recorder: who sent it is not known"
        )
        return Diagnosis("signal", "proven", f"{signal_name(case.signal)} ended it{who}", (*waited(case), line))
    code = case.exit_code
    if last is None or code is None or (last.number == signal.SIGHUP and code != 128 + last.number):
        return None  # SIGHUP has many a program read its configuration anew
    if not 0 <= case.ended_ns - last.time_ns <= sigkill.GRACE_S * NS_PER_S:
        return None
    ago = format_duration((case.ended_ns - last.time_ns) // 1_000_000 * 1_000_000)
    line = f"{signal_name(last.number)} came {ago} before the end{sent_by(last)}"
    what = f"exit status {code} after {signal_name(last.number)}"
    return Diagnosis("signal", "proven" if code == 128 + last.number else "likely", what, (*waited(case), line))


def other_signal(case: Case) -> Diagnosis | None:
    """Any other signal."""
    if not case.signal or case.signal in {signal.SIGKILL, *CRASHES, *STOPS, *_BY_LIMIT}:
        return None
    more = ": its reader went away" if case.signal == signal.SIGPIPE else ""
    return Diagnosis("signal", "proven", f"{signal_name(case.signal)} ended it{more}", waited(case))


# -- ended by itself


def failed_of_a_limit(case: Case) -> Diagnosis | None:
    """An exception, or the last lines, name a limit: descriptors, the disk, threads, memory."""
    if not case.exit_code:
        return None
    raised = [each.words for each in case.programs if each.words.startswith("raised ")]
    found = next(((limit, words) for words in raised if (limit := limit_in(words))), None)
    verdict, words = ("proven", found[1]) if found else ("likely", "")
    limit, place = found[0] if found else None, ""
    if limit is None:
        trace = last_traceback(case.stderr)
        said = [trace.error] if trace and trace.at_end else last_lines(case.stderr, 5)
        words = next((line for line in reversed(said) if limit_in(line)), "")
        limit, place = limit_in(words), f" ({trace.place})" if trace and trace.error == words else ""
    if limit is None or (limit[0] == "MemoryError" and case.rlimits.get("AS", (-1, -1))[0] < 0):
        return None  # of one that asked for more than there can be, its own place says more
    told = "the program's record of runs" if found else "standard error"
    lines = [*waited(case), f"{told}: {words}{place}", *_about_limit(case, limit[1])]
    what = f"{limit[0]}: the limit of {limit[2]} was met"
    return Diagnosis("limit", "proven" if verdict == "proven" else "likely", what, tuple(lines))


def _about_limit(case: Case, key: str) -> Iterator[str]:
    if key in case.rlimits:
        soft, hard = case.rlimits[key]
        text = format_size if key in _OF_BYTES else str
        was, could_be = (text(value) if value >= 0 else "no limit" for value in (soft, hard))
        yield f"RLIMIT_{key} was {was} at the start, and could be raised to {could_be}"
    most = next((each.most for each in case.quantities if each.name.endswith(("_open_files", "_open_fds"))), None)
    if key == "NOFILE" and most is not None:
        yield f"at most {most:.0f} descriptors were open when it was measured"


def raised(case: Case) -> Diagnosis | None:
    """An exception that nobody caught: by the program's own record, else by the traceback and exit status 1."""
    if not case.exit_code:
        return None
    own = next((each for each in case.programs if each.words.startswith("raised ")), None)
    if own is not None:
        what = own.words.removeprefix("raised ")
        return Diagnosis("exception", "proven", what, (*waited(case), f"{own.store}: pid {own.pid} {own.words}"))
    trace = last_traceback(case.stderr)
    if trace is None or not trace.at_end or not trace.ends_program or case.exit_code != 1:
        return None
    line = f"standard error ends in a traceback: {trace.error} ({trace.place})"
    beware = "a traceback may also be printed of an exception that was caught"
    return Diagnosis("exception", "likely", f"{trace.error} ({trace.place})", (*waited(case), line, beware))


def child_took_it_along(case: Case) -> Diagnosis | None:
    """Tell of a process of it that died, where its own exit status is what a shell makes of that."""
    signals = {os.WTERMSIG(child.status or 0) for child in living.dead_children(case)}
    return living.child_died(case) if case.exit_code is not None and case.exit_code - 128 in signals else None


def child_died_before(case: Case) -> Diagnosis | None:
    """Tell of a process of it that died, beside what ended itself."""
    return living.child_died(case) if living.dead_children(case) and case.status is not None else None


# Source: POSIX, Shell Command Language, 2.8.2; coreutils, timeout.
_CONVENTIONS = {
    124: "timeout(1) gives 124 where the time that it was given was over",
    126: "a shell gives 126 where what it was to run cannot be executed: its mode, its format, its interpreter",
    127: "a shell gives 127 where what it was to run was not found: its name, its interpreter",
}


def exited(case: Case) -> Diagnosis | None:
    """It ended by itself: `waitid` says so."""
    code = case.exit_code
    if code is None:
        return None
    lines = list(waited(case))
    if code > 128 and code - 128 in set(signal.Signals):
        lines.append(
            f"a shell gives {code} where what it ran was ended by {signal_name(code - 128)}; that alone proves nothing"
        )
    if code in _CONVENTIONS:
        lines.append(f"{_CONVENTIONS[code]}; that alone proves nothing")
    remaining = [pid for pid in case.remaining if pid != case.pid]
    if remaining:
        lines.append(f"of its processes lived on: {', '.join(map(str, remaining[:8]))}")
    trace = last_traceback(case.stderr) if code else None
    if trace is not None and not trace.ends_program:
        lines.append(f"the last traceback is of a thread, or was ignored, which ends no program: {trace.error}")
    told = telling_line(case.stderr, case.stdout) if code else None
    lines += [f"{told.where}: {told.line[:_LINE]}"] if told else []
    lines += [_UNTOUCHED] if code and set(case.output.values()) == {"untouched"} else []
    if code == 0:
        return Diagnosis("finished", "proven", "it ended by itself, exit status 0", tuple(lines))
    said = f"; {told.where}: {told.line[:_IN_SUMMARY]}" if told else ""
    return Diagnosis("exit", "proven", f"it ended by itself, exit status {code}{said}", tuple(lines))


def _unseen(case: Case) -> Diagnosis:
    """Nothing says how it ended."""
    if case.running is None:
        what = "neither its end nor its boot is on record: whether it runs elsewhere cannot be seen"
        return Diagnosis("unseen", "cannot tell", what, programs.last_seen(case))
    lines = [f"the end was seen by {_SEEN.get(case.seen_by, 'nobody')}"]
    if case.kind == "job" and not case.seen_by:
        lines.append("its recorder wrote no end: recorder, relay and job were all killed, or lost their machine")
        if case.survival is Survival.SAME_BOOT:
            lines.append("the machine was not restarted since: they were killed, as one who kills a whole group does")
        lines += programs.other_oom_kills(case)
    what = "nobody who could say how it ended was there to see it"
    return Diagnosis("unseen", "cannot tell", what, (*lines, *programs.last_seen(case)))


_SEEN = {"relay": "the relay, whom the kernel did not tell the status: the recorder was gone", "pidfd": "the relay"}

JOB: tuple[Row, ...] = (
    not_begun,
    sigkill.timed_out,
    sigkill.killed,
    crashed,
    limit_by_signal,
    stopped,
    other_signal,
    sigkill.child_killed,
    timed_out_by_command,
    failed_of_a_limit,
    raised,
    child_took_it_along,
    exited,
    sigkill.child_killed_in_passing,
    child_died_before,
    programs.oom_killed,
    programs.machine_stopped,
)
