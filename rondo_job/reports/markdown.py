"""A report as Markdown that a step summary takes: at most 64 KiB, its charts as Mermaid, which GitHub draws."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rondo_core.units import format_instant
from rondo_job.reports.content import Chart, Report, Section, TextTable
from rondo_job.reports.drawing import bar, thinned

MAX_BYTES = 64 << 10
MAX_SUMMARY_BYTES = 1 << 20  # that a step summary may have. Source: GitHub's documentation of workflow commands
SUMMARY = "GITHUB_STEP_SUMMARY"
# What begins HTML, a link by itself, a mention or code is written as an entity; other marks of Markdown are escaped.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "&#64;", "`": "&#96;", "|": "&#124;"}
_MARKS = "\\*_[]!#~$"
_MOST_POINTS, _MOST_LINES = 120, 3
_SIGNS = {"well": "✅", "failed": "❌", "stopped": "⏹️", "gone": "❔", "live": "🔵", "unclear": "🔲"}
_SCALES = {"bytes": (1 << 20, "MiB"), "bytes per second": (1 << 20, "MiB/s"), "cpus": (1, "CPUs")}


def to_markdown(report: Report, max_bytes: int = MAX_BYTES) -> str:
    """Write a report; what does not fit is left out from the end, charts before tables, and that is said."""
    head = "\n".join(_head(report))
    blocks = [(rank, text) for section in report.sections for rank, text in _blocks(section)]
    while blocks:
        text = "\n\n".join([head, *(text for _, text in blocks)]) + "\n"
        if len(text.encode()) <= max_bytes:
            return text
        worst = max(range(len(blocks)), key=lambda index: (blocks[index][0], index))
        del blocks[worst]
        head = head.removesuffix(_LEFT_OUT) + _LEFT_OUT
    return f"{head}\n".encode()[:max_bytes].decode(errors="ignore")


_LEFT_OUT = "\n\n_What did not fit is left out; `rondo report --format html` has all of it._"


def append_summary(report: Report, path: str | Path) -> str:
    """Append a report to a step summary, once for each life. Returns: why not, in words; empty: it is there.

    Raises: OSError: the file cannot be read or written.
    """
    text = to_markdown(report)
    marker = f"<!-- rondo report {escaped(Path(report.path).name)} -->"
    path = Path(path)
    before = path.read_bytes() if path.exists() else b""
    if marker.encode() in before:
        return ""
    added = f"{marker}\n{text}\n".encode()
    if before and not before.endswith(b"\n"):
        added = b"\n" + added
    if len(before) + len(added) > MAX_SUMMARY_BYTES:
        return f"{path}: the summary of this step has no room for a report of {len(added)} bytes"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with os.fdopen(descriptor, "ab") as file:
        file.write(added)
    return ""


def _head(report: Report) -> Iterator[str]:
    yield f"### {_SIGNS[report.outcome]} {escaped(report.name)}: {escaped(report.ended)}"
    yield ""
    for each in report.advice:
        yield f"> 💡 {escaped(each)}"
        yield ">"
    if report.advice:
        yield ""
    about = [f"began {format_instant(report.start_ns // 10**9 * 10**9)}"]
    about += [f"{key} `{_code(value[:40])}`" for key, value in report.labels.items()]
    about += [f"measured by {report.method}"] if report.method else []
    if report.command:
        yield f"`{_code(report.command)}`  "
    yield ", ".join(about)


def _blocks(section: Section) -> Iterator[tuple[int, str]]:
    """Give the parts of a section, each with how soon it may be left out: the higher the sooner."""
    if section.bars:
        rows = [
            (each.title, f"`{bar(each.share, 20)}`", f"{100 * each.share:.0f} %", each.note) for each in section.bars
        ]
        lines = ["| | | | |", "|---|---|--:|---|"]
        lines += [f"| {_cell(a)} | {b} | {c} | {_cell(d)} |" for a, b, c, d in rows]
        yield 0, "\n".join(lines)
    if section.measures:
        header = "| | | |\n|---|--:|---|"
        lines = [f"| {_cell(each.title)} | {_cell(str(each))} | {_cell(each.note)} |" for each in section.measures]
        yield 1, "\n".join([header, *lines])
    for chart in section.charts:
        yield 5, mermaid(chart)
    if section.table is not None or section.lines or section.output:
        parts = [f"<details{' open' if section.output else ''}><summary>{escaped(section.title)}</summary>\n"]
        if section.table is not None:
            parts.append(table_text(section.table))
        parts += [f"\n{escaped(each)}" for each in section.lines]
        if section.output:
            parts.append(_fenced(section.output))
        yield 3, "\n".join([*parts, "\n</details>"])


def mermaid(chart: Chart) -> str:
    """Write a chart as Mermaid's xychart, of at most 120 points a line."""
    scale, unit = _SCALES.get(chart.unit, (1, chart.unit))
    span = len(chart.times_s) * chart.step_s
    lines = [(line.label, _numbers(line.values / scale)) for line in chart.lines[:_MOST_LINES]]
    lines = [(label, values) for label, values in lines if len(values) > 0]
    most = max((max(values) for _, values in lines), default=0.0)
    if chart.limit is not None:
        lines.append((chart.limit_label, [chart.limit / scale] * 2))
        most = max(most, chart.limit / scale)
    over, per = ("seconds", 1.0) if span < 600 else ("minutes", 60.0) if span < 36_000 else ("hours", 3600.0)
    title = chart.title + (f": {', '.join(label for label, _ in lines)}" if len(lines) > 1 else "")
    text = ["```mermaid", "xychart-beta", f'    title "{_quoted(title)}"']
    text.append(f'    x-axis "{over}" 0 --> {_short(max(span / per, 0.1))}')
    text.append(f'    y-axis "{_quoted(unit or "number")}" 0 --> {_short(most * 1.05 or 1.0)}')
    text += [f"    line [{', '.join(map(_short, values))}]" for _, values in lines]
    return "\n".join([*text, "```"])


def _numbers(values: np.ndarray) -> list[float]:
    """Give the points of a line; Mermaid knows no gap, so what is absent is nought."""
    kept = np.nan_to_num(thinned(values, _MOST_POINTS), nan=0.0)
    return [*kept.tolist(), float(kept[-1])] if len(kept) == 1 else kept.tolist()


def _short(value: float) -> str:
    text = f"{value:.4g}"
    return f"{value:.0f}" if "e" in text and abs(value) >= 1 else "0" if "e" in text else text


def table_text(table: TextTable) -> str:
    """Write a table."""
    sides = [*table.right, *[False] * (len(table.header) - len(table.right))]
    lines = ["| " + " | ".join(map(_cell, table.header)) + " |"]
    lines.append("|" + "|".join("--:" if side else "---" for side in sides) + "|")
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in table.rows)])


def _cell(text: str) -> str:
    return escaped(text)


def escaped(text: str) -> str:
    """Make a stranger's text stay text: no HTML, no link, no mention, no table, no line of its own."""
    text = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    return "".join(_ENTITIES.get(each) or (f"\\{each}" if each in _MARKS else each) for each in text)


def _code(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text).replace("`", "'").replace("|", "¦")


def _fenced(text: str) -> str:
    longest = max((len(run) for run in _runs(text)), default=0)
    fence = "`" * max(3, longest + 1)
    clean = "\n".join(
        "".join(each if each.isprintable() or each == "\t" else "·" for each in line) for line in text.split("\n")
    )
    return f"\n{fence}text\n{clean}\n{fence}"


def _runs(text: str) -> Iterator[str]:
    import re

    yield from re.findall("`+", text)


def _quoted(text: str) -> str:
    return text.replace('"', "'").replace("\n", " ")
