"""A report made of a life: each plugin asked for its sections, one that fails left out and named."""

from __future__ import annotations

from pathlib import Path

from rondo_core import Plugins
from rondo_core.errors import printable
from rondo_job import hookspecs
from rondo_job.reports.content import Report, Section
from rondo_job.reports.subject import Subject
from rondo_job.reports.summary import subject_labels

GROUP = "rondo.reports"
MOST_MARKS = 100  # that charts show


def make_report(path: str | Path) -> Report:
    """Make the report of the life at a path.

    Raises: StoreNotFoundError: none lies there; StoreError, CorruptStoreError: it does not read.
    """
    plugins = Plugins(hookspecs)
    plugins.load(GROUP)
    with Subject(path) as subject:
        sections: list[Section] = []
        for name, found in plugins.bind("rondo_report_define", subject=subject):
            good = [each for each in found if isinstance(each, Section)]
            if len(good) < len(found):
                plugins.report(name, TypeError("rondo_report_define gave back what is no Section"))
            sections += good
        sections.sort(key=lambda each: (each.order, each.title))
        left_out = [f"{name}: its sections are left out" for name in sorted(plugins.failures)]
        life = subject.life
        command = " ".join(life.start.command) if life is not None else subject.run.writer
        return Report(
            name=subject.name,
            command=printable(command)[:400],
            ended=subject.ended,
            outcome=subject.outcome,
            start_ns=subject.start_ns,
            end_ns=subject.end_ns,
            method=life.start.method if life is not None and subject.has_begun else "",
            path=str(subject.path),
            labels=subject_labels(subject),
            sections=sections,
            marks_ns=[each.time_ns for each in subject.marks() if each.kind == "mark"][-MOST_MARKS:],
            left_out=left_out,
            timeout_s=(life.start.timeout_s or 0.0) if life is not None else 0.0,
        )
