"""Answers of `rondo query --promql`: an expression evaluated over a range, or at one instant, and shown."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
from click.core import ParameterSource

from rondo_cli import render_result
from rondo_cli.expressions import Expressions, expressions_over, say_where_it_ends, step_for, step_ms
from rondo_cli.printing import data, say, show
from rondo_core.errors import UsageError
from rondo_core.lazy import load_numpy
from rondo_core.model import parse_range

if TYPE_CHECKING:
    from rondo_core.read import StoreChoice

_OF_SELECTORS = {
    "selector": "SELECTOR",
    "tier": "--tier",
    "fn": "--fn",
    "agg": "--agg",
    "coverage": "--coverage",
    "xff": "--xff",
    "is_open": "--open",
    "follow": "--follow",
}


def _is_given(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


class AskedExpression(NamedTuple):
    """An expression that was asked for, and how its answer is to be shown.

    Attributes: `text`; `span`: the range, None: one instant; `step`: between two points of it, ns; `at`: the instant;
        `form`: of what is shown; `zone`: of its times.
    """

    text: str
    span: str | None
    step: int | None
    at: str | None
    form: str
    zone: dt.tzinfo


def show_answer(store: Path, choice: StoreChoice, asked: AskedExpression) -> None:
    """Show what an expression answers: over a range where one is given, else at one instant.

    Raises: UsageError: options that contradict each other, or an expression that is none; QueryError: the data do not
        allow it.
    """
    for name, shown in _OF_SELECTORS.items():
        if _is_given(name):
            raise UsageError(f"{shown}: not with --promql, which says all of that itself; leave it out")
    load_numpy()
    with expressions_over(store, choice) as expressions:
        show_answer_of(expressions, asked)


def show_answer_of(expressions: Expressions, asked: AskedExpression, *, says_end: bool = True) -> None:
    """Show what an expression answers over what is open already. Args: `says_end`: whether to say where it ends.

    Raises: as `show_answer`.
    """
    expression, span, step, at, form, zone = asked
    if span is not None and at is not None:
        raise UsageError("--at: given with --range; keep one of them")
    if step is not None and span is None:
        raise UsageError("--step: one instant has none; give --range too")
    shown = parse_range(span or "all", zone)
    end_ms = expressions.end_ms()
    if span is not None:
        start_ms, end_ms = expressions.bounds_of(shown, end_ms)
        every_ms = step_for(end_ms - start_ms, step_ms(step))
        # Steps are counted back from the end, which has a point whatever the step is.
        start_ms = end_ms - max(0, end_ms - start_ms) // every_ms * every_ms
        result = expressions.over(expression, start_ms, end_ms, every_ms)
    else:
        end_ms = end_ms if at is None else expressions.instant_of(at, zone)
        result = expressions.instant(expression, end_ms)
    if says_end and at is None and shown.end_ns >= 1 << 62:
        say_where_it_ends(expressions, end_ms, zone)
    is_empty = result.kind in {"vector", "matrix"} and not result.series
    reasons = expressions.why_nothing() if is_empty else []
    if form in render_result.DATA:
        data(render_result.DATA[form](result))
    elif form == "plot":
        show(render_result.as_plot(result, expression, zone))
    else:
        show(render_result.as_table(result, zone))
    for text in (*result.warnings, *result.infos, *reasons):
        say(f"rondo: {text}", err=True)
