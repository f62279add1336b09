"""`rondo alert`: an expression as the exit status of a cron job, a check or a CI step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli.expressions import NS_PER_MS, Expressions, QueryError, expressions_over, step_for, step_ms
from rondo_cli.params import JOB, LAST, STORE, Duration, store_choice
from rondo_cli.printing import data, say
from rondo_cli.render_result import label_text, texts
from rondo_core.errors import RondoError, UsageError, one_line

if TYPE_CHECKING:
    from rondo_promql import Result

FIRES, UNKNOWN = 1, 3


@click.command("alert")
@STORE
@click.argument("expression")
@click.option("--for", "lasting", type=Duration(), default=0, help="How long a series must have been there: 2m.")
@click.option("--at", help="An instant, or how long before the end: -3m; by default the end.")
@click.option("--step", type=Duration(), help="With --for: how often it is looked at; by default as fits.")
@LAST
@JOB
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(
    store: Path,
    expression: str,
    lasting: int,
    at: str | None,
    step: int | None,
    last: int | None,
    job: str,
    form: str,
) -> int:
    """Tell by the exit status whether EXPRESSION, in PromQL, gives a series: 0 none, 1 some do, which are printed.

    With --for a series must have been there at every step of that time. Status 2 is a command line that is wrong, 3
    what could not be evaluated, or where nothing fires but a store could not be read: a check by Nagios or Icinga takes
    it for UNKNOWN, and 1 for WARNING. Nothing is printed where nothing fires, so that cron sends no mail, but for a
    metric that no series has. Where STORE is a directory of stores, all of them are read.

    \b
    rondo alert demo.rondo 'rate(vcpu_exits_total{reason="io"}[10s]) > 1000' --for 1m
    rondo alert workers 'sum(rate(errors_total[5m])) / sum(rate(requests_total[5m])) > 0.01' || notify-send errors
    """
    choice = store_choice(store, last, job)
    try:
        with expressions_over(store, choice) as expressions:
            found = _firing(expressions, expression, lasting, at, step)
            if not found and expressions.source.errors:
                return UNKNOWN  # what was left out may fire
    except RondoError as error:
        if error.exit_status != QueryError.exit_status:
            raise
        say(f"rondo: {one_line(error)}", err=True)
        return UNKNOWN
    if form == "json":
        import json

        data(json.dumps([{"labels": labels, "value": value} for labels, value in found], indent=1))
    else:
        for labels, value in found:
            say(f"fires: {label_text(labels)} {value}")
    return FIRES if found else 0


def _firing(
    expressions: Expressions, expression: str, lasting: int, at: str | None, step: int | None
) -> list[tuple[dict[str, str], str]]:
    """Give the series that are there at every step, and their newest values."""
    at_ms = expressions.end_ms() if at is None else expressions.instant_of(at)
    now = expressions.instant(expression, at_ms)
    if now.kind != "vector":
        raise UsageError(f"{expression}: a {now.kind}, which is always there; compare series, such as x > 5")
    _say_notes(now)
    if not now.series:
        for text in expressions.unknown_metrics():  # else a name that is misspelt would never fire
            say(f"rondo: {text}", err=True)
    firing = [(labels, texts(values)[0]) for labels, _, values in now.series]
    if not lasting or not firing:
        return firing
    length_ms = lasting // NS_PER_MS
    every_ms = step_for(length_ms, step_ms(step))
    before = expressions.over(expression, at_ms - -(-length_ms // every_ms) * every_ms, at_ms, every_ms)
    n_steps = -(-length_ms // every_ms) + 1
    lasted = [labels for labels, stamps, _ in before.series if len(stamps) == n_steps]
    return [(labels, value) for labels, value in firing if labels in lasted]


def _say_notes(result: Result) -> None:
    for text in (*result.warnings, *result.infos):
        say(f"rondo: {text}", err=True)
