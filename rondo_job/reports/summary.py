"""The first section of a report: what the life took, and what of what it had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from rondo_core import hookimpl
from rondo_core.errors import CorruptStoreError
from rondo_core.storage import read_dump
from rondo_job.reports.advice import advice, cpus_asked, memory_asked
from rondo_job.reports.content import Measure, Section, ShareBar, number_text
from rondo_job.reports.figures import FIGURES
from rondo_job.reports.subject import Subject

_SHOWN_AS_NOUGHT = {"duration", "cpu_seconds", "exit_status"}  # what is worth a line even so
_NEAR_A_LIMIT = 0.5
TAIL_LINES = 20


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the measures, the bars and the advice; and the end of what it said where it went wrong."""
    measures = [each.measured(subject) for each in FIGURES]
    shown = [each for each in measures if each.value or (each.value is not None and each.name in _SHOWN_AS_NOUGHT)]
    known = {each.name: each.value for each in measures if each.value is not None}
    sections = [Section("What it took", 10, shown, list(_bars(subject, known)), advice=advice(subject, known))]
    said = _last_words(subject)
    if said:
        sections.append(Section("The end of what it said", 5, output=said))
    return sections


def _bars(subject: Subject, known: dict[str, float]) -> Iterator[ShareBar]:
    """Hold what was used against what there was."""
    cpus, whose = cpus_asked(subject)
    used = known.get("cpus_used")
    if used is not None and cpus:
        yield ShareBar("CPU", used, cpus, f"{number_text(used)} of {number_text(cpus, 'cpus')} ({whose})")
    memory, whose = memory_asked(subject)
    peak = known.get("memory_peak")
    if peak is not None and memory:
        words = f"{number_text(peak, 'bytes')} of {number_text(memory, 'bytes')} ({whose})"
        yield ShareBar("memory", peak, memory, words)
    start = subject.life.start if subject.life is not None else None
    files = start.rlimits.get("NOFILE", (-1, -1))[0] if start is not None else -1
    opened = known.get("open_files_peak")
    if opened is not None and files > 0 and opened > files * _NEAR_A_LIMIT:
        yield ShareBar("open files", opened, files, f"{number_text(opened)} of {files} (ulimit -n)")
    if start is not None and start.timeout_s and "duration" in known:
        words = f"{number_text(subject.duration_s, 'seconds')} of {number_text(start.timeout_s, 'seconds')} (--timeout)"
        yield ShareBar("time", subject.duration_s, start.timeout_s, words)
    stalled = [(known.get(f"{each}_stalled", 0.0), each) for each in ("cpu", "memory", "io")]
    for seconds, resource in stalled:
        if seconds > 0.02 * subject.duration_s:
            share = Measure("", "", seconds / subject.duration_s, "ratio")
            waited = {"cpu": "a CPU", "memory": "memory", "io": "a disk"}[resource]
            yield ShareBar(f"{resource} stall", seconds, subject.duration_s, f"{share} of the time waited for {waited}")


def _last_words(subject: Subject) -> str:
    """Give the last lines of standard error, else of standard output, or of a crash, where the life failed."""
    if subject.outcome in {"well", "live"}:
        return ""
    if subject.life is None:
        return "\n".join(read_dump(subject.reader.folder).splitlines()[-TAIL_LINES:])
    for stream in ("stderr", "stdout"):
        data = b""
        with suppress(CorruptStoreError):  # the figures are whole all the same; the autopsy says what is not
            data, _ = subject.life.output(stream)
        text = data.decode(errors="replace").replace("\r\n", "\n").strip("\n")
        if text:
            return "\n".join(text.split("\n")[-TAIL_LINES:])
    return ""


def subject_labels(subject: Subject) -> dict[str, str]:
    """Give what names a life beside its name: host, commit, CI run."""
    if subject.life is None:
        return dict(subject.reader.meta.labels)
    start = subject.life.start
    known = start.environment
    named = {
        "host": start.host.name,
        "kernel": start.host.kernel,
        "commit": next((known[key] for key in _COMMITS if key in known), ""),
        "branch": next((known[key] for key in _BRANCHES if key in known), ""),
        "job": next((known[key] for key in _JOBS if key in known), ""),
    }
    return {key: value for key, value in named.items() if value}


_COMMITS = ("GITHUB_SHA", "CI_COMMIT_SHA", "BUILDKITE_COMMIT", "CIRCLE_SHA1", "GIT_COMMIT", "commit")
_BRANCHES = ("GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BUILDKITE_BRANCH", "CIRCLE_BRANCH", "GIT_BRANCH", "branch")
_JOBS = ("GITHUB_JOB", "CI_JOB_NAME", "BUILDKITE_STEP_KEY", "CIRCLE_JOB", "JOB_NAME", "SLURM_JOB_NAME")
