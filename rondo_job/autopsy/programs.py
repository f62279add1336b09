"""Causes of programs with a store of their own: the record of runs, a dump, the boots, the newest sample."""

from __future__ import annotations

from rondo_core.clock import NS_PER_S
from rondo_core.storage import Survival, in_short
from rondo_core.units import format_duration, format_instant
from rondo_job.autopsy.case import Case, Diagnosis
from rondo_job.autopsy.oom import logged_kill
from rondo_job.autopsy.stderr_text import limit_in

REBOOT_NS = 300 * NS_PER_S  # from the newest sample to the next boot, where the one came from the other
_IN_ORDER = ("closed", "returned", "exited")


def last_seen(case: Case) -> tuple[str, ...]:
    """Say when the newest sample was written."""
    if not case.newest_ns:
        return ("no sample was written",)
    age = format_duration(max(case.now_ns - case.newest_ns, 0) // NS_PER_S * NS_PER_S)
    return (f"newest sample {format_instant(case.newest_ns)}, {age} before this look",)


def _on_record(case: Case) -> tuple[str, ...]:
    return (f'record of runs: pid {case.pid}, "{case.words}"',)


def _is_gone(case: Case) -> bool:
    """Whether nothing says how it ended, and it is known not to run."""
    return not case.words and case.running is not True and case.status is None and not case.seen_by


def raised(case: Case) -> Diagnosis | None:
    """An exception, as the interpreter's hook saw it."""
    _, sign, what = case.words.partition("raised ")
    if not sign or case.words.startswith("exit status"):
        return None
    limit = limit_in(what)
    if limit is not None:
        words = f"{limit[0]}: the limit of {limit[2]} was met"
        return Diagnosis("limit", "proven", words, (*_on_record(case), *last_seen(case)))
    return Diagnosis("exception", "proven", what, (*_on_record(case), *last_seen(case)))


def by_signal(case: Case) -> Diagnosis | None:
    """A signal that the program took in order."""
    if not case.words.startswith("signal "):
        return None
    return Diagnosis("signal", "proven", case.words, (*_on_record(case), *last_seen(case)))


def in_order(case: Case) -> Diagnosis | None:
    """It ended in order; with an exit status other than 0 it says that it failed."""
    words = case.words
    if words.startswith("exit status ") and not words.startswith("exit status 0"):
        return Diagnosis("exit", "proven", f"it ended by itself, {words}", (*_on_record(case), *last_seen(case)))
    if words.startswith(_IN_ORDER) or words == "exit status 0":
        return Diagnosis("finished", "proven", f"it ended in order: {words}", (*_on_record(case), *last_seen(case)))
    return None


def in_other_words(case: Case) -> Diagnosis | None:
    """Whatever the writer gave to `close`."""
    if not case.words:
        return None
    return Diagnosis(
        "ended", "proven", f"its own word for its end: {case.words}", (*_on_record(case), *last_seen(case))
    )


def crashed(case: Case) -> Diagnosis | None:
    """Gone, with faulthandler's dump in the store."""
    dump = next((each.dump for each in case.programs if each.dump), "")
    if not _is_gone(case) or not dump:
        return None
    lines = ("the record of runs has no word of its end", f"faulthandler: {in_short(dump)}", *last_seen(case))
    return Diagnosis("crash", "proven", in_short(dump), lines)


def machine_stopped(case: Case) -> Diagnosis | None:
    """Another boot, and the newest sample before it."""
    if not _is_gone(case) or case.survival is not Survival.RESTARTED:
        return None
    lines = ["no end is on record", *last_seen(case), "the machine was restarted since: another boot id"]
    gap_ns = case.booted_ns - case.newest_ns
    if not case.newest_ns or gap_ns < -NS_PER_S:  # the newest bucket ends after its last sample
        return None
    gap_ns = max(gap_ns, 0)
    lines.append(f"the present boot began {format_instant(case.booted_ns)}, {_gap(gap_ns)} after it")
    verdict = "likely"
    if case.kind == "job" and gap_ns <= REBOOT_NS:
        verdict = "proven"
        lines.append("recorder, relay and job ended together, none of them with a word")
    elif gap_ns > REBOOT_NS:
        lines.append("what happened in that time is not on record")
    what = "the machine stopped: it was restarted, and nothing says that it ended before"
    return Diagnosis("machine-stopped", "proven" if verdict == "proven" else "likely", what, tuple(lines))


def _gap(gap_ns: int) -> str:
    return format_duration(gap_ns // NS_PER_S * NS_PER_S)


def oom_killed(case: Case) -> Diagnosis | None:
    """Gone, and the kernel's log names its pid."""
    logged = logged_kill(case, case.pid) if _is_gone(case) else None
    if logged is None:
        return None
    line = f"the kernel's log: its OOM killer killed process {logged.pid} ({logged.command})"
    lines = (line, "no end is on record", *last_seen(case))
    return Diagnosis("oom", "proven", "out of memory: it was killed for want of memory", lines)


def other_oom_kills(case: Case) -> tuple[str, ...]:
    """Say what the kernel's log has of OOM kills, where it goes back so far and does not name this process."""
    if not case.oom_log_is_whole:
        return ()
    others = f"names {len(case.oom_kills)} OOM kills of that time, and not this process"
    return (f"the kernel's log {others if case.oom_kills else 'has no OOM kill of that time'}",)


def gone(case: Case) -> Diagnosis | None:
    """Gone without a word: SIGKILL, a signal without a handler, os._exit, exec; nothing can tell them apart."""
    if not _is_gone(case) or case.kind == "job":
        return None
    lines = ["no end is on record", *last_seen(case)]
    handler = next((each.faulthandler for each in case.programs), "")
    lines.append(
        {
            "here": "faulthandler was to write a crash into the store, and wrote nothing: no crash that it sees",
            "elsewhere": "faulthandler is the program's own: see its standard error",
        }.get(handler, "faulthandler was not set up: a crash is as likely as a kill")
    )
    lines += other_oom_kills(case)
    if case.survival is None:
        lines.append("whether the machine was restarted since is not known: boots have no names here")
    elif case.survival is Survival.COPIED:
        lines.append("the store was copied from another machine or boot")
    what = "it is gone, and left no word: a SIGKILL, a signal, a crash, os._exit or exec"
    return Diagnosis("unseen", "cannot tell", what, tuple(lines))


ROWS = (crashed, oom_killed, machine_stopped, by_signal, raised, in_order, in_other_words, gone)
