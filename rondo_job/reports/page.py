"""A report as one file of HTML with the page's own charts: no other file is loaded, and no network asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

import attrs
import numpy as np

from rondo_core.units import format_instant
from rondo_job.reports.bundle import bundled, digest
from rondo_job.reports.content import Chart, ChartLine, Report, Section, ShareBar, TextTable

MAX_BYTES = 1_000_000
_STYLES = ("uplot/uPlot.min.css", "app.css", "panels.css")
_UPLOT = "uplot/uPlot.iife.min.js"
_UNITS = {"bytes per second": ("bytes", True), "per second": ("", True), "cpus": ("", False)}
_SIGNS = {"well": "✓", "failed": "✕", "stopped": "■", "gone": "?", "live": "●", "unclear": "-"}
_FULL_SHARE, _HIGH_SHARE = 0.95, 0.8


def to_html(report: Report, max_bytes: int = MAX_BYTES) -> str:
    """Write a report; where it would be too large its charts get fewer points, then its last sections are left out."""
    for fewer in (1, 2, 4, 8):
        text = _written(report, fewer)
        if len(text.encode()) <= max_bytes:
            return text
    while report.sections:
        report = attrs.evolve(
            report, sections=report.sections[:-1], left_out=[*report.left_out, report.sections[-1].title]
        )
        text = _written(report, 8)
        if len(text.encode()) <= max_bytes:
            break
    return text


@cache
def _own(name: str) -> str:
    """Read one of the report's own files, or else of the page's, which it shares."""
    own = files("rondo_job.reports") / "static" / name
    found = own if own.is_file() else files("rondo_web.page") / "static" / name
    return found.read_text(encoding="utf-8")


@cache
def _parts() -> tuple[str, str, str]:
    """Give the style sheet and the two scripts, which are the same in every report."""
    style = "\n".join(map(_own, (*_STYLES, "report.css")))
    return style, _own(_UPLOT), bundled("report.js", _own)


def _written(report: Report, fewer: int) -> str:
    style, uplot, script = _parts()
    policy = (
        f"default-src 'none'; script-src {digest(uplot)} {digest(script)}; style-src {digest(style)}; img-src data:"
    )
    policy += "; base-uri 'none'; form-action 'none'"
    charts = [chart for section in report.sections for chart in section.charts]
    numbers = iter(range(len(charts)))
    body = "\n".join(
        [*_head(report), *(line for section in report.sections for line in _section(section, numbers)), *_foot(report)]
    )
    return f"""<!doctype html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_text(report.name)}: {_text(report.ended)}</title>
<style>{style}</style>
</head>
<body>
<main class="report">
{body}
</main>
<p id="said" class="unseen" aria-live="polite"></p>
<script type="application/json" id="points">{_points(report, charts, fewer)}</script>
<script>{uplot}</script>
<script>{script}</script>
</body>
</html>
"""


def _head(report: Report) -> Iterator[str]:
    badge = f'<span class="badge {report.outcome}"><span class="sign">{_SIGNS[report.outcome]}</span>'
    yield f'<header><h1>{_text(report.name)}</h1><p class="state">{badge}{_text(report.ended)}</span></p>'
    if report.command:
        yield f'<p class="command">$ {_text(report.command)}</p>'
    facts = {"began": format_instant(report.start_ns // 10**9 * 10**9)} | report.labels
    facts |= {"measured by": report.method} if report.method else {}
    yield '<dl class="facts">'
    yield from (f"<div><dt>{_text(key)}</dt><dd>{_text(value)}</dd></div>" for key, value in facts.items())
    yield "</dl></header>"
    if report.advice:
        yield '<ul class="advice">'
        yield from (f"<li>{_text(each)}</li>" for each in report.advice)
        yield "</ul>"


def _section(section: Section, numbers: Iterator[int]) -> Iterator[str]:
    yield f'<section class="block"><h2>{_text(section.title)}</h2>'
    if section.bars:
        yield '<div class="shares">'
        yield from map(_bar, section.bars)
        yield "</div>"
    if section.measures:
        yield '<dl class="measures">'
        for each in section.measures:
            note = f'<span class="note">{_text(each.note)}</span>' if each.note else ""
            yield f"<div><dt>{_text(each.title)}</dt><dd>{_text(str(each))}{note}</dd></div>"
        yield "</dl>"
    if section.charts:
        yield '<div class="grid">'
        for chart in section.charts:
            without = f"<noscript><h3>{_text(chart.title)}</h3>The chart is drawn by JavaScript.</noscript>"
            yield f'<article class="panel" id="chart-{next(numbers)}">{without}</article>'
        yield "</div>"
    if section.table is not None:
        yield from _table(section.table)
    yield from (f'<p class="quiet">{_text(each)}</p>' for each in section.lines)
    if section.output:
        yield f'<pre tabindex="0">{_text(section.output)}</pre>'
    yield "</section>"


def _bar(each: ShareBar) -> str:
    kind = "full" if each.share > _FULL_SHARE else "high" if each.share > _HIGH_SHARE else "low"
    drawn = f'<rect width="{100 * each.share:.1f}" height="8"/>'
    return (
        f'<span>{_text(each.title)}</span><svg class="{kind}" viewBox="0 0 100 8" preserveAspectRatio="none" '
        f'aria-hidden="true">{drawn}</svg><span class="share">{100 * each.share:.0f} %</span>'
        f'<span class="words quiet">{_text(each.note)}</span>'
    )


def _table(table: TextTable) -> Iterator[str]:
    sides = [' class="right"' if side else "" for side in table.right]
    sides += [""] * (len(table.header) - len(sides))
    yield '<div class="wide"><table class="rows"><thead><tr>'
    yield "".join(f'<th scope="col"{side}>{_text(cell)}</th>' for cell, side in zip(table.header, sides, strict=True))
    yield "</tr></thead><tbody>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td{side}>{_text(cell)}</td>' for cell, side in zip(row, sides, strict=True))}</tr>"
    yield "</tbody></table></div>"


def _foot(report: Report) -> Iterator[str]:
    left_out = f" Left out: {_text(', '.join(report.left_out))}." if report.left_out else ""
    yield f"<footer>Made by rondo of {_text(report.path)}; this file loads nothing.{left_out}</footer>"


def _points(report: Report, charts: list[Chart], fewer: int) -> str:
    """Give the points of all charts as JSON that no text in it can end: seconds count from the life's start."""
    start_s = report.start_ns / 1e9
    marks: list[Any] = [{"at": 0, "colour": "--start"}]
    colour = {"well": "--well", "failed": "--failed", "gone": "--failed"}.get(report.outcome, "--stopped")
    length_s = (report.end_ns - report.start_ns) / 1e9
    marks.append({"at": length_s, "colour": colour})
    if 0 < report.timeout_s <= length_s:
        marks.append({"at": report.timeout_s, "colour": "--stopped", "dashed": True})
    marks += [{"at": (each - report.start_ns) / 1e9, "colour": "--mark", "dashed": True} for each in report.marks_ns]
    plain = {"length_s": length_s, "instants": marks, "charts": [_chart(each, start_s, fewer) for each in charts]}
    return json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")


def _chart(chart: Chart, start_s: float, fewer: int) -> dict[str, Any]:
    unit, per_second = _UNITS.get(chart.unit, (chart.unit, False))
    times = np.maximum(chart.times_s[::fewer] - start_s, 0.0)
    lines = [_line(each, fewer) for each in chart.lines]
    if chart.limit is not None:
        lines.append({"label": chart.limit_label, "values": [chart.limit] * len(times), "dash": 1})
    return {
        "title": chart.title,
        "unit": unit,
        "perSecond": per_second,
        "step_s": chart.step_s * fewer,
        "times": [round(each, 3) for each in times.tolist()],
        "lines": lines,
    }


def _line(line: ChartLine, fewer: int) -> dict[str, Any]:
    plain: dict[str, Any] = {"label": line.label, "values": _numbers(line.values, fewer, np.fmax)}
    if line.low is not None:
        plain["low"] = _numbers(line.low, fewer, np.fmin)
    return plain


def _numbers(values: np.ndarray, fewer: int, merge: Any) -> list[float | None]:
    """Give values with five digits, the extreme of each run of neighbours; null where there is none."""
    padded = np.concatenate([values, np.full(-len(values) % fewer, np.nan)])
    merged = merge.reduce(padded.reshape(-1, fewer), axis=1)
    return [None if each != each else float(f"{each:.5g}") for each in merged.tolist()]  # noqa: PLR0124 - NaN


def _text(text: str) -> str:
    """Give a text as HTML has it; what steers the direction of text, or is no text, is shown as an escape."""
    return escape("".join(each if each.isprintable() or each in "\n\t" else ascii(each)[1:-1] for each in text))
