"""`rondo lake`: questions to the files that the exporter `parquet` writes, and what keeps them in order."""

from __future__ import annotations

import datetime as dt
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli import render
from rondo_cli.params import PATH, Duration
from rondo_cli.printing import data, say, show
from rondo_core.errors import PluginNotFoundError, UsageError, printable

if TYPE_CHECKING:
    from rondo_core.hookspecs import LakeAccess

PLUGIN = "parquet"
LAKE = click.argument("lake")
FORM = click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True)


@click.group("lake")
def command() -> None:
    """Ask a lake of Parquet files, and keep it in order.

    LAKE is the directory that the exporter parquet writes, or s3://BUCKET/PREFIX.

    \b
    rondo lake query lake 'sum by (instance) (increase(job_cpu_seconds_total[1h]))'
    rondo lake query lake 'SELECT job, count(*) FROM lives GROUP BY job'
    rondo lake compact lake
    rondo lake check lake
    """


def open_lake(location: str) -> LakeAccess:
    """Open a lake through the exporter that writes it. Raises: UsageError: it is not installed; as the exporter."""
    from rondo_core import Plugins
    from rondo_core.plugins import EXPORTERS

    plugins = Plugins()
    try:
        plugins.load(EXPORTERS, [PLUGIN])
    except PluginNotFoundError:
        raise UsageError("lake: the exporter parquet is not installed; install the extra rondo-tsdb[parquet]") from None
    tools: LakeAccess = plugins.open("rondo_lake_open", PLUGIN, location=location)
    return tools


@command.command("query")
@LAKE
@click.argument("question")
@click.option("--range", "span", default=None, metavar="RANGE", help="Of PromQL: all, 15m, 2h..1h, or START..END.")
@click.option("--step", type=Duration(), help="With --range: the time between two points; by default as fits.")
@click.option("--at", help="Of PromQL: one instant, or how long before the newest sample: -3m; else that itself.")
@click.option(
    "--tz", default=None, metavar="ZONE", help="Show times in this zone: Europe/Berlin, local; else in $TZ's."
)
@click.option("--format", "form", type=click.Choice(("table", "csv", "json")), default="table", show_default=True)
def query(
    lake: str, question: str, span: str | None, step: int | None, at: str | None, tz: str | None, form: str
) -> None:
    """Answer QUESTION, which is SQL where it begins like it (SELECT, WITH, FROM ...), else PromQL.

    SQL is answered by DuckDB over the views samples, lives, increases and sketch_cells. PromQL is rondo's own engine,
    and reads only the row groups that may hold what it asks for.

    \b
    rondo lake query lake "SELECT job, quantile_cont(memory_peak_bytes, 0.95) FROM lives GROUP BY job"
    rondo lake query s3://ci/lake 'histogram_quantile(0.95, sum(rate(step_seconds[1d])))' --at 2026-11-25T12:00
    """
    from rondo_cli.answers import AskedExpression, show_answer_of
    from rondo_cli.expressions import expressions_over
    from rondo_cli.query import shown_zone

    tools = open_lake(lake)
    if tools.is_sql(question):
        if span is not None or step is not None or at is not None:
            raise UsageError("--range, --step, --at: of PromQL; in SQL write WHERE time >= ...")
        names, rows = tools.query(question)
        for line in tools.errors:
            say(f"rondo: left out: {line}", err=True)
        if form == "table":
            cells = [[_cell(each) for each in row] for row in rows]
            show(render.table(names, cells, [_is_number(rows, place) for place in range(len(names))]))
        else:
            data(_as_json(names, rows) if form == "json" else _as_csv(names, rows))
        return
    with expressions_over(Path(lake), opened=lambda _: tools.source()) as expressions:
        asked = AskedExpression(question, span, step, at, form, shown_zone(tz))
        show_answer_of(expressions, asked, says_end=False)


@command.command("compact")
@LAKE
@click.option("--day", "days", multiple=True, metavar="DAY", help="Only this day, 2026-11-25; may be given again.")
@click.option("--rows", type=click.IntRange(1), default=None, help="How many rows a file has at most; 1000000.")
@click.option("--whole", is_flag=True, help="Join large files too, so that what is there twice becomes one.")
@FORM
def compact(lake: str, days: tuple[str, ...], rows: int | None, whole: bool, form: str) -> int:
    """Join the small files of each day of LAKE, and those of lives.

    A file is removed once another has its rows, so a kill at any moment loses nothing. Files that an exporter on this
    machine writes now stay as they are; in an object store exporters and compactions go on side by side. What is no
    file of the lake's, or damaged, is named and stays as it is; the exit status is then 1.
    """
    for day in days:
        _check_day(day)
    done = open_lake(lake).compact(days, rows_per_file=rows, whole=whole)
    if form == "json":
        data(json.dumps(done))
        return int(bool(done["faults"]))
    for line in done["faults"]:
        say(f"rondo: {line}", err=True)
    for name in done["busy"]:
        say(f"rondo: {name}: its exporter writes now; its files stay as they are", err=True)
    more = f", {done['same']} samples that were there twice" if done["same"] else ""
    lives = f", {done['lives']} files of lives" if done["lives"] else ""
    say(f"{done['before']} files became {done['after']}: {done['rows']} rows of {done['days']} days{more}{lives}")
    return int(bool(done["faults"]))


@command.command("expire")
@LAKE
@click.option("--keep-for", type=Duration(), required=True, help="How long samples are kept, such as 90d.")
@click.option("--keep-lives-for", type=Duration(), default=None, help="How long lives are; for ever, unless given.")
@FORM
def expire(lake: str, keep_for: int, keep_lives_for: int | None, form: str) -> int:
    """Remove the days of LAKE that are older than --keep-for, by the UTC clock of this machine."""
    done = open_lake(lake).expire(keep_for, keep_lives_for)
    if form == "json":
        data(json.dumps(done))
    else:
        say(f"{done['days']} days before {done['before']} removed, and {done['lives']} files of lives")
    return 0


@command.command("check")
@LAKE
@click.option("--stores", type=PATH, default=None, help="Compare each sample with these stores, a directory.")
@click.option("--exporter", default=PLUGIN, show_default=True, help="By which name the stores were exported.")
@FORM
def check(lake: str, stores: Path | None, exporter: str, form: str) -> int:
    """Say whether every sample that was acknowledged is in LAKE, and none twice.

    Every file is read; counts are compared with what was acknowledged when each life ended. With --stores each store is
    read once more and compared sample by sample. The exit status is 1 where something is wrong.
    """
    found = open_lake(lake).check(stores, exporter)
    if form == "json":
        data(json.dumps(found))
        return int(bool(found["faults"]))
    for line in found["faults"]:
        say(f"rondo: {line}", err=True)
    counted = ("rows", "files", "days", "instances", "lives")
    say(", ".join(f"{found[name]} {name}" for name in counted))
    wrong = ", ".join(f"{found[name]} {name}" for name in ("twice", "missing", "different"))
    compared = f"; {found['stores']} stores compared, {found['pending']} samples not sent yet" if stores else ""
    say(f"{wrong}{compared}")
    return int(bool(found["faults"]))


def _check_day(day: str) -> None:
    try:
        is_day = dt.date.fromisoformat(day).isoformat() == day  # which reads 20261125 and 2026-W48-3 too
    except ValueError:
        is_day = False
    if not is_day:
        raise UsageError(f"--day: {day}: no day; write 2026-11-25")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return render.number(value)
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return "" if value is None else printable(str(value))


def _is_number(rows: list[tuple[Any, ...]], place: int) -> bool:
    return any(isinstance(row[place], int | float) and not isinstance(row[place], bool) for row in rows[:100])


def _plain(value: Any) -> Any:
    """Give a cell as JSON has it: a number, a text, a list or an object; times as ISO 8601."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return value if value is None or isinstance(value, bool | int | float | str) else _cell(value)


def _as_json(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    return json.dumps([dict(zip(names, map(_plain, row), strict=True)) for row in rows], indent=1, ensure_ascii=False)


def _csv_cell(value: Any) -> Any:
    """Give a cell as CSV has it: times as ISO 8601, lists and maps as JSON."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(_plain(value), ensure_ascii=False)
    return value.isoformat() if isinstance(value, dt.datetime) else value


def _as_csv(names: list[str], rows: list[tuple[Any, ...]]) -> str:
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(map(_csv_cell, row) for row in rows)
    return out.getvalue().rstrip("\n")
