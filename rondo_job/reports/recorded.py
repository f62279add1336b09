"""What else a report has: marks, series that the program or the machine declares itself, and its other stores."""

from __future__ import annotations

import numpy as np

from rondo_core import StoreReader, hookimpl
from rondo_core.errors import RondoError
from rondo_core.model import SELF_SCHEMA, format_series, store_name
from rondo_job.reports.content import Section, TextTable, Unit, number_text
from rondo_job.reports.subject import Subject

SHOWN = 20
_OWN = ("job_", "vmm_", "vcpu_", "process_", "rondo_")  # what other sections speak of
_UNITS: dict[str, Unit] = {"bytes": "bytes", "seconds": "seconds", "ratio": "ratio"}


@hookimpl
def rondo_report_define(subject: Subject) -> list[Section]:
    """Give the marks, and a table of the series that no other section is about."""
    sections = []
    marks = subject.marks()
    if marks:
        rows = [
            (f"+{number_text(max(0.0, (each.time_ns - subject.start_ns) / 1e9), 'seconds')}", each.kind, _said(each))
            for each in marks[-SHOWN:]
        ]
        lines = [f"The last {SHOWN} of {len(marks)}."] if len(marks) > SHOWN else []
        sections.append(Section("Marks", 30, table=TextTable(("at", "kind", "what"), rows, (True,)), lines=lines))
    recorded = _series_rows(subject.reader, "")
    for path in subject.life.stores() if subject.life is not None else ():
        try:
            with StoreReader(path) as reader:
                recorded += _series_rows(reader, store_name(path))
        except RondoError:
            continue
    if recorded:
        header = ("series", "least", "mean", "greatest", "last or sum")
        lines = [f"{SHOWN} of {len(recorded)}; rondo query shows the others."] if len(recorded) > SHOWN else []
        table = TextTable(header, recorded[:SHOWN], (False, True, True, True, True))
        sections.append(Section("What it recorded itself", 50, table=table, lines=lines))
    return sections


def _said(event: object) -> str:
    text, facts = event.text, event.facts  # type: ignore[attr-defined]
    return " ".join([text, *(f"{key}={value}" for key, value in facts.items())])


def _series_rows(reader: StoreReader, store: str) -> list[tuple[str, ...]]:
    """Give a row for each series of a store that is not of the job's, the machine's or rondo's own."""
    rows = []
    known = reader.series()
    for each in known:
        if each.schema == SELF_SCHEMA or each.name.startswith(_OWN):
            continue
        unit = _UNITS.get(each.unit, "")
        if each.kind == "counter":
            cells = ["", "", "", _cell(reader, each, "increase", unit)]
        else:
            cells = [_cell(reader, each, fn, unit) for fn in ("min", "avg", "max")]
            cells.append(_cell(reader, each, "last" if each.kind == "gauge" else "count", unit))
        name = format_series(each.name, each.labels)
        rows.append((f"{name} in {store}" if store else name, *cells))
    return rows


def _cell(reader: StoreReader, series: object, fn: str, unit: Unit) -> str:
    try:
        found = reader.query([series], fn=fn, agg=True)  # type: ignore[list-item]
    except RondoError:
        return ""
    values = found[0].values
    return (
        number_text(float(values[-1]), "" if fn == "count" else unit) if len(values) and np.isfinite(values[-1]) else ""
    )
