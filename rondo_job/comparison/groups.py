"""The two groups of lives that are compared: the figures of each life, and which lives belong to a group."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from rondo_core.errors import RondoError, StoreNotFoundError, UsageError, one_line
from rondo_core.read import find_stores
from rondo_core.units import format_duration
from rondo_job.life import Life, holds_the_ended
from rondo_job.reports.content import Unit
from rondo_job.reports.figures import FIGURES
from rondo_job.reports.subject import Subject

MOST_LIVES = 50


@attrs.frozen
class MeasuredLife:
    """The figures of one life.

    Attributes: path; name; outcome, ended: how; started_ns; values: by figure; commands: CPU of the processes of each
    command that were seen, in seconds.
    """

    path: Path
    name: str
    outcome: str
    ended: str
    started_ns: int
    values: Mapping[str, float]
    commands: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen
class Expression:
    """A figure that was asked for in PromQL: its name, the expression, the unit that its values are written in."""

    name: str
    text: str
    unit: Unit = ""


def read_expression(text: str) -> Expression:
    """Read NAME=EXPRESSION. Raises: UsageError: it is none, or the name is one of rondo's own."""
    name, sign, rest = (part.strip() for part in text.partition("="))
    if not sign or not rest or not name.isidentifier():
        raise UsageError(f"--figure {text!r}: write NAME=EXPRESSION, such as 'p99=max_over_time(latency[$life])'")
    if name in {each.name for each in FIGURES} | {"base"}:
        raise UsageError(f"--figure {text!r}: {name} is a figure of rondo's own; choose another name")
    unit: Unit = "bytes" if name.endswith("_bytes") else "seconds" if name.endswith("_seconds") else ""
    return Expression(name, rest, unit)


def measure(path: Path, expressions: Sequence[Expression] = ()) -> MeasuredLife:
    """Read the figures of one life. Raises: as `Subject`; UsageError: an expression cannot be evaluated."""
    with Subject(path) as subject:
        values = {each.name: value for each in FIGURES if (value := each.of(subject)) is not None}
        for each in expressions:
            value = _evaluated(each, subject)
            if value is not None:
                values[each.name] = value
        commands = _by_command(subject)
        return MeasuredLife(path, subject.name, subject.outcome, subject.ended, subject.start_ns, values, commands)


def _by_command(subject: Subject) -> dict[str, float]:
    found: dict[str, float] = {}
    if subject.life is not None:
        with contextlib.suppress(RondoError):
            for child in subject.life.children()[0]:
                found[child.command] = found.get(child.command, 0.0) + child.cpu_s
    return found


def _evaluated(expression: Expression, subject: Subject) -> float | None:
    """Evaluate at the life's end; `$life` in it stands for how long it lasted. None: it gives no series."""
    from rondo_promql import PromqlError, evaluate_instant

    span = format_duration(-(-(subject.end_ns - subject.start_ns) // 10**9) * 10**9)
    text = expression.text.replace("$life", span)
    source: Any = subject.reader.source()
    try:
        found = evaluate_instant(text, source, subject.end_ns // 10**6)
    except PromqlError as error:
        raise UsageError(f"--figure {expression.name}={expression.text}: {one_line(error)}") from None
    if found.kind == "scalar":
        return float(found.value)  # type: ignore[arg-type]
    values = [float(each) for _, each in found.plain()] if found.kind == "vector" else []
    if found.kind != "vector":
        raise UsageError(f"--figure {expression.name}={expression.text}: gives a {found.kind}; one number is needed")
    if len(values) > 1:
        what = f"gives {len(values)} series; say which number of them counts, such as sum(...) or max(...)"
        raise UsageError(f"--figure {expression.name}={expression.text}: {what}")
    return values[0] if values else None


def lives_at(path: Path, *, name: str = "", without: Iterable[Path] = (), last: int = MOST_LIVES) -> list[Path]:
    """Give the lives at a path, oldest first: itself, or the newest of a directory, of one name where one is given.

    Raises: StoreNotFoundError: there is none.
    """
    if (path / "meta").exists() or not path.is_dir():
        return [path]
    left_out = {each.resolve() for each in without}
    found: list[tuple[int, Path]] = []
    runs = {life.path.resolve(): life for life in Life.all(path)}
    programs = set() if runs else {each.resolve() for each in find_stores(path)}
    for each, life in runs.items():
        if each not in left_out and (not name or life.start.name == name):
            found.append((life.start.started_ns, life.path))
    for each in programs - left_out:
        try:
            if holds_the_ended(each):
                continue
            with Subject(each) as subject:
                found.append((subject.start_ns, each))
        except RondoError:
            continue
    if not found:
        of_name = f" of the name {name}" if name else ""
        raise StoreNotFoundError(f"{path}: no life{of_name} lies there; see rondo ls {path}")
    return [each for _, each in sorted(found)[-last:]]


def values_of(lives: Sequence[MeasuredLife], figure: str) -> list[float]:
    """Give the values that a figure had, of the lives that have it."""
    return [each.values[figure] for each in lives if figure in each.values]


def median_of(lives: Sequence[MeasuredLife], figure: str) -> float | None:
    """Give the median of a figure; None: no life has it."""
    values = values_of(lives, figure)
    return statistics.median(values) if values else None
