"""Causes of virtual machines, by the words that monitors and watchers put on record."""

from __future__ import annotations

from rondo_job.autopsy import programs
from rondo_job.autopsy.case import Case, Diagnosis

# Beginning or part of the words, the cause, and what it means.
_WORDS = (
    ("start failed: ", "start-failed", "it could not be started"),
    ("panic", "panic", "the guest's kernel panicked"),
    ("triple fault", "triple-fault", "the guest shut its CPU down"),
    ("failed", "failed", "the monitor failed"),
    ("timeout", "timeout", "its time was over"),
    ("power-off", "finished", "the guest powered off"),
    ("reset", "finished", "the guest asked for a reset"),
    ("halted", "finished", "the guest halted, with nothing to wake it"),
    ("stopped", "finished", "it was stopped"),
    ("quit", "finished", "it was told to quit"),
    ("shutdown", "finished", "it shut down"),
)


def by_words(case: Case) -> Diagnosis | None:
    """The monitor's own word; a disk that failed stands beside it."""
    if not case.words or case.words.startswith(("signal ", "raised ", "exit status ")):
        return None
    lines = (f'record of runs: pid {case.pid} ({case.writer}), "{case.words}"', *programs.last_seen(case))
    for begin, cause, what in _WORDS:
        if case.words.startswith(begin) or (begin == "triple fault" and begin in case.words):
            return Diagnosis(cause, "proven", f"{what}: {case.words}", lines)
    if case.words == "gone":
        what = "its monitor was gone from one moment to the next, and no status of it is known"
        return Diagnosis("unseen", "cannot tell", what, lines)
    return None


def disk_failed(case: Case) -> Diagnosis | None:
    """Requests of a disk failed; the machine's end may have followed from it."""
    notes = [each for each in case.words.split("; ") if each.startswith("disk ")]
    if not notes:
        return None
    lines = (f"record of runs: {'; '.join(notes)}", "that its end followed from this is not on record")
    return Diagnosis("disk-error", "proven", f"requests of a disk failed: {'; '.join(notes)}", lines)


def disk_was_cause(case: Case) -> Diagnosis | None:
    """A disk's failure, where the machine did not end as it was to."""
    ended = case.words.split("; ")[0]
    return disk_failed(case) if ended.startswith(("panic", "failed", "reset", "halted")) else None


ROWS = (disk_was_cause, by_words, disk_failed, *programs.ROWS)
