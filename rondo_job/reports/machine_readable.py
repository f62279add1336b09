"""A report for programs: JSON, OpenMetrics text as GitLab reads it, and JUnit XML with properties."""

from __future__ import annotations

import json
import math
import re
from typing import Any
from xml.etree import ElementTree as ET

from rondo_job.reports.content import Measure, Report

_FAILED = ("failed", "gone", "stopped")
_UNIT_NAMES = {"seconds": "seconds", "bytes": "bytes", "ratio": "ratio", "cpus": "cpus"}
# Not in XML 1.0 even as a reference. Source: XML 1.0, section 2.2
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_json(report: Report) -> str:
    """Write the facts, figures, charts, tables and advice."""
    charts = [
        {
            "title": chart.title,
            "unit": chart.unit,
            "step_s": chart.step_s,
            "times_s": chart.times_s.tolist(),
            "limit": chart.limit,
            "lines": {line.label: list(map(_plain, line.values.tolist())) for line in chart.lines},
        }
        for section in report.sections
        for chart in section.charts
    ]
    tables = {
        section.title: {"header": list(section.table.header), "rows": [list(row) for row in section.table.rows]}
        for section in report.sections
        if section.table is not None
    }
    plain: dict[str, Any] = {
        "name": report.name,
        "command": report.command,
        "ended": report.ended,
        "outcome": report.outcome,
        "start_ns": report.start_ns,
        "end_ns": report.end_ns,
        "method": report.method,
        "store": report.path,
        "labels": report.labels,
        "figures": {each.name: each.value for each in report.measures},
        "units": {each.name: each.unit for each in report.measures},
        "advice": report.advice,
        "charts": charts,
        "tables": tables,
        "left_out": list(report.left_out),
    }
    return json.dumps(plain, ensure_ascii=False, indent=1)


def to_openmetrics(report: Report) -> str:
    """Write the figures as gauges of one life, which GitLab's `artifacts:reports:metrics` compares.

    Source: the OpenMetrics specification 1.0; GitLab, "Metrics reports".
    """
    lines = []
    label = f'{{life="{_label_value(report.name)}"}}'
    for each in report.measures:
        name, unit = _metric_name(each)
        lines += [f"# TYPE {name} gauge"]
        if unit:
            lines.append(f"# UNIT {name} {unit}")
        help_text = f"{each.title}{f', {each.note}' if each.note else ''}"
        lines.append(f"# HELP {name} {_help_text(help_text)}")
        lines.append(f"{name}{label} {each.value!r}")
    return "\n".join([*lines, "# EOF"])


def to_junit(report: Report) -> str:
    """Write the life as one test case with its figures as properties; failed where it ended so.

    Source: the Jenkins xUnit plugin's junit-10.xsd.
    """
    lasted_s = next((each.value for each in report.measures if each.name == "duration"), None)
    seconds = f"{lasted_s if lasted_s is not None else 0.0:.3f}"
    is_failed = report.outcome in _FAILED
    counts = {"tests": "1", "failures": str(int(is_failed)), "errors": "0"}
    root = ET.Element("testsuites", counts | {"time": seconds})
    suite = ET.SubElement(root, "testsuite", {"name": "rondo", "time": seconds, "skipped": "0"} | counts)
    properties = ET.SubElement(suite, "properties")
    facts = {"store": report.path, "command": report.command, "ended": report.ended, **report.labels}
    for key, value in facts.items():
        ET.SubElement(properties, "property", {"name": f"rondo.{key}", "value": _xml(value)})
    for each in report.measures:
        ET.SubElement(properties, "property", {"name": f"rondo.{each.name}", "value": f"{each.value:.12g}"})
    case = ET.SubElement(suite, "testcase", {"classname": "rondo", "name": _xml(report.name), "time": seconds})
    if is_failed:
        output = "\n".join(section.output for section in report.sections if section.output)
        failure = ET.SubElement(case, "failure", {"message": _xml(report.ended), "type": report.outcome})
        failure.text = _xml(output)
    if report.advice:
        ET.SubElement(case, "system-out").text = _xml("\n".join(report.advice))
    ET.indent(root)
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _metric_name(each: Measure) -> tuple[str, str]:
    """Name a figure so that its name ends in its unit, as OpenMetrics asks."""
    unit = _UNIT_NAMES.get(each.unit, "")
    name = re.sub(r"[^a-zA-Z0-9_]", "_", f"rondo_life_{each.name}")
    return (name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"), unit


def _label_value(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _help_text(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _xml(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
