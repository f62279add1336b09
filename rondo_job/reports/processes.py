"""The table of a report in which its processes stand: by what they used, and how they ended."""

from __future__ import annotations

from rondo_core import hookimpl
from rondo_core.errors import RondoError
from rondo_job.facts import Child, status_words
from rondo_job.reports.content import Section, TextTable, number_text
from rondo_job.reports.subject import Subject

SHOWN = 10


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the processes with the most CPU and memory; nothing of a life that has only one."""
    if subject.life is None:
        return []
    try:
        children, evicted = subject.life.children()
    except RondoError:
        return []
    if len(children) + evicted < 2:
        return []
    most = sorted(children, key=lambda each: (each.cpu_s, each.peak_bytes), reverse=True)[: SHOWN - 2]
    hungry = sorted(children, key=lambda each: each.peak_bytes, reverse=True)[:SHOWN]
    shown = [*most, *(each for each in hungry if each not in most)][:SHOWN]
    shown.sort(key=lambda each: each.cpu_s, reverse=True)
    failed = [each for each in children if each.status and each not in shown]
    lines = []
    total = len(children) + evicted
    if total > len(shown):
        lines.append(f"{len(shown)} of {total} processes that were seen; shorter ones are in the job's CPU time.")
    if failed:
        lines.append(f"{len(failed)} more did not end well: {', '.join(_short(each) for each in failed[:5])}.")
    header = ("process", "pid", "began", "lasted", "CPU", "peak", "ended")
    rows = [_row(each, subject) for each in shown]
    return [Section("Processes", 40, table=TextTable(header, rows, (False, True, True, True, True, True)), lines=lines)]


def _row(child: Child, subject: Subject) -> tuple[str, ...]:
    started_ns = max(child.started_ns, subject.start_ns)  # the job's own process is there before it begins
    began = (started_ns - subject.start_ns) / 1e9
    lasted = ((child.ended_ns or subject.end_ns) - started_ns) / 1e9
    ended = status_words(child.status) if child.status is not None else "ended" if child.ended_ns else "alive"
    return (
        child.command,
        str(child.pid),
        f"+{number_text(began, 'seconds')}",
        number_text(max(0.0, lasted), "seconds"),
        number_text(child.cpu_s, "seconds"),
        number_text(child.peak_bytes, "bytes"),
        ended,
    )


def _short(child: Child) -> str:
    return f"{child.command} ({child.pid}): {status_words(child.status)}"
