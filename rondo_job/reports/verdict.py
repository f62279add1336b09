"""The section of a report that says how a life ended that did not end well: the autopsy's verdict and its evidence."""

from __future__ import annotations

from rondo_core import hookimpl
from rondo_job.autopsy.examine import examine
from rondo_job.autopsy.wording import in_line
from rondo_job.reports.content import Section
from rondo_job.reports.subject import Subject

EVIDENCE_LINES = 5
_UNCHANGED = ": unchanged at "  # of a counter: what proves what it was not, and is told after what it was


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the verdict, and the first lines of what proves it; `rondo autopsy` has all of them."""
    if subject.outcome in {"well", "live"}:
        return []
    found = examine(subject.path)
    evidence = sorted(found.diagnosis.evidence, key=lambda line: _UNCHANGED in line)[:EVIDENCE_LINES]
    return [Section("How it ended", 3, output="\n".join([in_line(found), *(f"  {line}" for line in evidence)]))]
