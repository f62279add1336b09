"""An autopsy in words: for a terminal, as Markdown, as a table for JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

import attrs

from rondo_core.clock import NS_PER_S
from rondo_core.errors import printable
from rondo_core.units import format_duration, format_instant, format_size
from rondo_job.autopsy.case import Case
from rondo_job.autopsy.examine import Autopsy
from rondo_job.autopsy.stderr_text import fatal_error, last_lines, last_traceback, telling_line
from rondo_job.autopsy.trends import Quantity
from rondo_job.facts import Child, status_words

_KILLS = "job_oom_kills_total"
_REACHED = 0.99  # of a limit
_STDERR_LINES, _CHILDREN, _MARKS, _TRACE_LINES, _COMMAND, _SOON_S = 15, 8, 8, 40, 200, 3600
Section = tuple[str, list[str]]


def in_line(found: Autopsy) -> str:
    """Give the verdict on one line."""
    return f"{found.diagnosis.verdict}: {found.diagnosis.summary}"


def sections(found: Autopsy) -> Iterator[Section]:
    """Give what there is to say below the verdict: headings, each with its lines."""
    case = found.case
    yield "what", list(_what(case))
    yield "evidence", list(found.diagnosis.evidence)
    for other in found.others:
        yield f"also ({other.verdict})", [other.summary, *(f"  {line}" for line in other.evidence[-3:])]
    yield "last samples", [_quantity(each, case) for each in case.quantities if each.most and each.name != _KILLS]
    dead = [child for child in case.children if child.ended_ns and child.pid != case.pid and child.status != 0]
    yield "processes that ended", [_child(each) for each in dead[-_CHILDREN:]]
    yield "marks before the end", [f"{format_instant(each.time_ns)} {each}" for each in case.marks[-_MARKS:]]
    trace = last_traceback(case.stderr)
    dump = next((each.dump for each in case.programs if each.dump), "") or fatal_error(case.stderr)
    yield "traceback", trace.text.splitlines()[-_TRACE_LINES:] if trace else []
    yield "faulthandler", dump.splitlines()[:_TRACE_LINES]
    told = telling_line(case.stderr, case.stdout) if case.exit_code else None
    of_stdout = told is not None and told.where.startswith("standard output")
    yield "standard output", last_lines(case.stdout, _STDERR_LINES) if of_stdout and not trace else []
    yield "standard error", [] if trace or dump else last_lines(case.stderr, _STDERR_LINES)
    yield "left out, as it does not read", list(case.left_out)


def as_text(found: Autopsy) -> str:
    """Give it for a terminal: a heading at the left of each section's first line."""
    lines = [in_line(found)]
    for head, body in sections(found):
        lines += ["", head] if body else []
        lines += [f"  {printable(line)}" for line in body]
    return "\n".join(lines)


def as_markdown(found: Autopsy) -> str:
    """Give it as Markdown, as for the summary of a step."""
    lines = [
        f"### {plain(found.case.name)}: {found.diagnosis.cause}",
        "",
        f"**{found.diagnosis.verdict}**: {plain(found.diagnosis.summary)}",
    ]
    for head, body in sections(found):
        if not body:
            continue
        lines += ["", f"**{head}**", ""]
        if head in {"traceback", "faulthandler", "standard error", "standard output"}:
            fence = "`" * max(3, 1 + max(_ticks(line) for line in body))
            lines += [f"{fence}text", *map(printable, body), fence]
        else:
            lines += [f"- {plain(line.strip())}" for line in body]
    return "\n".join(lines)


def as_table(found: Autopsy) -> dict[str, Any]:
    """Give it as JSON has it; the keys are stable."""
    case, trace = found.case, last_traceback(found.case.stderr)
    return {
        "path": case.path,
        "name": case.name,
        "kind": case.kind,
        "command": list(case.command),
        "pid": case.pid,
        "running": case.running,
        "started_ns": case.started_ns or None,
        "ended_ns": case.ended_ns or None,
        "looked_ns": case.now_ns,
        "method": case.method,
        **attrs.asdict(found.diagnosis),
        "exit_code": case.exit_code,
        "signal": case.signal or None,
        "others": [attrs.asdict(each) for each in found.others],
        "newest_sample_ns": case.newest_ns or None,
        "last_samples": [
            {
                "series": each.name,
                "last": each.last,
                "last_ns": each.last_ns,
                "most": each.most,
                "slopes": {f"{window}s": slope for window, slope in each.slopes.items()},
                "limit": each.limit,
                "limit_of": each.limit_name,
                "seconds_to_limit": each.seconds_left,
            }
            for each in case.quantities
        ],
        "children": [attrs.asdict(each) for each in case.children],
        "marks": [each.to_dict() for each in case.marks],
        "traceback": trace.text if trace else "",
        "faulthandler": next((each.dump for each in case.programs if each.dump), "") or fatal_error(case.stderr),
        "stderr": case.stderr[-8192:],
        "stdout": case.stdout[-8192:],
        "left_out": list(case.left_out),
    }


def _what(case: Case) -> Iterator[str]:
    if case.command:
        words = shlex.join(case.command)
        yield words if len(words) <= _COMMAND else f"{words[:_COMMAND]}..."
    measured = f", measured by {case.method}" if case.method else f" ({case.writer})" if case.writer else ""
    yield f"{case.kind}, pid {case.pid}{measured}: {case.path}"
    if case.started_ns:
        end_ns = case.ended_ns or (case.now_ns if case.is_live else case.newest_ns)
        lasted = f", {_span(end_ns - case.started_ns)}" if end_ns > case.started_ns else ""
        ended = f", ended {format_instant(case.ended_ns)}" if case.ended_ns else ""
        yield f"started {format_instant(case.started_ns)}{ended}{lasted}"


def _span(span_ns: int) -> str:
    return f"{span_ns / NS_PER_S:.1f} s" if span_ns < 60 * NS_PER_S else format_duration(span_ns // NS_PER_S * NS_PER_S)


def _quantity(each: Quantity, case: Case) -> str:
    end_ns = case.ended_ns or case.now_ns
    age = max(end_ns - each.last_ns, 0) / NS_PER_S
    text = f"{each.name} {_value(each.last, each.unit)}, {age:.1f} s before the {'end' if case.ended_ns else 'look'}"
    if each.most > each.last:
        text += f", at most {_value(each.most, each.unit)}"
    slopes = [
        f"{'-' if slope < 0 else '+'}{_value(abs(slope), each.unit)}/s over {window} s"
        for window, slope in each.slopes.items()
        if slope
    ]
    text += "".join(f"; {slope}" for slope in slopes)
    if each.limit:
        text += (
            f"; {each.share or 0.0:.0%} of {each.limit_name}, {_value(each.limit, each.unit)}"
            if (each.share or 0.0) >= 0.01
            else ""
        )
        left = each.seconds_left
        if left is not None and left < _SOON_S and (each.share or 0.0) < _REACHED:
            text += f"; {left:.0f} s to {each.limit_name}"
    return text


def _value(value: float, unit: str) -> str:
    if unit == "bytes":
        return format_size(int(value))
    return f"{value:.0f}" if value == int(value) else f"{value:.2g}"


def _child(child: Child) -> str:
    how = status_words(child.status)
    size = f", at most {format_size(child.peak_bytes)}" if child.peak_bytes else ""
    return f"{format_instant(child.ended_ns)} {child.command} (pid {child.pid}): {how}; {child.cpu_s:.2f} s CPU{size}"


def plain(text: str) -> str:
    """Give a line that Markdown leaves as it is, and that calls nobody."""
    escaped = "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in printable(text))
    return escaped.replace("@", "&#64;")


def _ticks(line: str) -> int:
    longest = run = 0
    for char in line:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest
