"""`rondo report`: what a life took, how it ended, and what to change, on one screen or in one file."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli import render
from rondo_cli.params import PATH, stores_below
from rondo_cli.printing import data, say
from rondo_core.errors import StoreNotFoundError, UsageError
from rondo_core.model import state_directory

if TYPE_CHECKING:
    from rondo_job.reports.content import Report

FORMATS = ("terminal", "md", "html", "json", "openmetrics", "junit")
_SUFFIXES = {".md": "md", ".html": "html", ".json": "json", ".xml": "junit", ".txt": "openmetrics"}


@click.command("report")
@click.argument("life", type=PATH, required=False)
@click.option("--last", is_flag=True, help="The newest run: of LIFE, a directory of lives, or of rondo's own.")
@click.option("--format", "form", type=click.Choice(FORMATS), default=None, help="By default as -o ends; terminal.")
@click.option("-o", "--output", type=PATH, default=None, help="The file to write, instead of standard output.")
@click.option("--summary/--no-summary", default=True, help="Append Markdown to $GITHUB_STEP_SUMMARY where that is set.")
def command(life: Path | None, last: bool, form: str | None, output: Path | None, summary: bool) -> None:
    """Report what LIFE took, how it ended and what to change.

    LIFE is a run of `rondo run`, or the store of a program or a virtual machine, live or finished. Where
    GITHUB_STEP_SUMMARY is set, the report is appended to it as Markdown, too, once for each life. Of a directory of
    lives each has a line, the newest last.

    \b
    rondo report --last
    rondo report lives/make-cgroup2-71-2026-11-29T12.00-5f3c.rondo -o report.html
    rondo report --last lives --format openmetrics -o metrics.txt
    rondo report lives
    """
    form = form or (_SUFFIXES.get(output.suffix, "terminal") if output is not None else "terminal")
    if life is not None and not last and stores_below(life):
        _put(_listed(life, form), output, life)
        return
    from rondo_job.reports.making import make_report

    report = make_report(_chosen(life, last))
    _put(_written(report, form, to_file=output is not None), output, report.path)
    if summary:
        append_to_summary(report)


def _put(text: str, output: Path | None, of: Path | str) -> None:
    if output is not None:
        output.write_text(text if text.endswith("\n") else f"{text}\n", encoding="utf-8", errors="backslashreplace")
        say(f"rondo: {output}: report of {of}", err=True)
    else:
        data(text.rstrip("\n"))


def _listed(directory: Path, form: str) -> str:
    """Write a line for each life of a directory. Raises: UsageError: the form is one of a single life."""
    from rondo_job.comparison import listing

    if form not in {"terminal", "md", "json"}:
        raise UsageError(f"{directory}: a directory of lives, and {form} is of one; name one, or give --last")
    lives = listing.measured_lives(directory, lambda line: say(f"rondo: {line}", err=True))
    if form == "json":
        return listing.as_json(lives)
    table = listing.as_table(lives)
    if form == "md":
        from rondo_job.reports.markdown import table_text

        return table_text(table)
    return render.table(table.header, table.rows, table.right)


def _chosen(life: Path | None, last: bool) -> Path:
    """Give the store that is meant. Raises: UsageError: none is; StoreNotFoundError: there is none."""
    from rondo_job import Life

    if not last:
        if life is None:
            raise UsageError("no LIFE; name one, or give --last for the newest run")
        return life
    directory = life or state_directory() / "lives"
    found = Life.last(directory)
    if found is None:
        raise StoreNotFoundError(f"{directory}: no life of rondo run lies there; name its directory")
    return found.path


def _written(report: Report, form: str, *, to_file: bool) -> str:
    if form == "terminal":
        from rondo_job.reports.terminal import TerminalReport

        is_terminal = not to_file and sys.stdout.isatty()
        coloured = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return TerminalReport(report, width=shutil.get_terminal_size((100, 40)).columns, coloured=coloured).text()
    if form == "md":
        from rondo_job.reports.markdown import to_markdown

        return to_markdown(report)
    if form == "html":
        from rondo_job.reports.page import to_html

        return to_html(report)
    from rondo_job.reports import machine_readable

    return {
        "json": machine_readable.to_json,
        "openmetrics": machine_readable.to_openmetrics,
        "junit": machine_readable.to_junit,
    }[form](report)


def append_to_summary(report: Report) -> None:
    """Append a report to the step summary of a CI run, where there is one; say why, where it cannot be."""
    from rondo_job.reports.markdown import SUMMARY, append_summary

    path = os.environ.get(SUMMARY)
    if not path:
        return
    try:
        why = append_summary(report, path)
    except OSError as error:
        why = f"{path}: {error.strerror}; the report is not in the step's summary"
    if why:
        say(f"rondo: {why}", err=True)
