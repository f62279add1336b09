"""`rondo query`: read points of a store, live or finished."""

from __future__ import annotations

import datetime as dt
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli import render
from rondo_cli.answers import AskedExpression, show_answer
from rondo_cli.params import JOB, LAST, STORE, Duration, store_choice
from rondo_cli.printing import data, say, show
from rondo_core.clock import wall_ns
from rondo_core.errors import RangeError, StoreError, UsageError, one_line
from rondo_core.lazy import load_numpy
from rondo_core.model import parse_range
from rondo_core.units import format_instant, parse_zone

if TYPE_CHECKING:
    from rondo_core import Range
    from rondo_core.read import SeriesData, StoreChoice, StoreReader, StoresReader
    from rondo_core.storage import Event

_FOLLOWED = "10s"
_INTERRUPTED = 130


@click.command("query")
@STORE
@click.argument("selector", required=False)
@click.option("--promql", "expression", metavar="EXPR", help="An expression of PromQL, in the place of SELECTOR.")
@click.option(
    "--range", "span", default=None, metavar="RANGE", help="all (default), 15m, 2h..1h, or START..END; --follow: 10s."
)
@click.option("--step", type=Duration(), help="With --promql: the time between two points; by default as fits.")
@click.option("--at", help="With --promql: one instant, or how long before the end: -3m; without --range: the end.")
@LAST
@JOB
@click.option("--tier", default="auto", show_default=True, help="A tier's number; auto: the finest that has each part.")
@click.option("--fn", default=None, help="Consolidator: avg, min, max, sum, count, first, last, rate, increase ...")
@click.option("--agg", is_flag=True, help="One value for the whole range; equal series of several stores are one.")
@click.option("--coverage", is_flag=True, help="Show how many of a point's finest buckets held a sample: 58/60.")
@click.option(
    "--xff", type=float, default=0.0, metavar="SHARE", help="Leave out points with less than this share covered."
)
@click.option("--open", "is_open", is_flag=True, help="Show rate, increase, count and sum of the open second, too.")
@click.option(
    "--tz", default=None, metavar="ZONE", help="Show times in this zone: Europe/Berlin, local; else in $TZ's."
)
@click.option("--follow", is_flag=True, help="Show each point as its second ends, until no process writes STORE.")
@click.option("--format", "form", type=click.Choice(list(render.FORMATS)), default="table", show_default=True)
def command(
    store: Path,
    selector: str | None,
    expression: str | None,
    span: str | None,
    step: int | None,
    at: str | None,
    last: int | None,
    job: str,
    tier: str,
    fn: str | None,
    agg: bool,
    coverage: bool,
    xff: float,
    is_open: bool,
    tz: str | None,
    follow: bool,
    form: str,
) -> int | None:
    """Show the points of every series that SELECTOR matches, or what an expression of PromQL gives.

    SELECTOR is name{key=value,other!="x",re=~"a|b"}; quotes may be left out. Durations are reckoned back from now, or
    from the newest sample where no process writes the store any more. Where STORE is a directory of stores, all of them
    are read, and the label rondo_store tells them apart. Marks and notes of the range stand below a table or a plot.

    \b
    rondo query demo.rondo 'vcpu_exits_total{reason=io}' --range all
    rondo query demo.rondo vcpu_exits_total --fn rate --format plot
    rondo query workers job_duration_seconds --fn p99 --agg
    rondo query demo.rondo vmm_rss_bytes --range 2h..1h --tier 1 --fn max --format csv
    rondo query demo.rondo vmm_rss_bytes --tier 1 --coverage --xff 0.5
    rondo query workers --promql 'sum by (route) (rate(http_requests_total[1m]))' --range 15m --step 1s
    rondo query lives --last 5 --job nightly --promql 'max_over_time(job_memory_peak_bytes[1d])'
    rondo query demo.rondo vmm_uptime_seconds --range 2026-11-23T12:00..2026-11-23T12:05 --tz Europe/Berlin
    rondo query demo.rondo vcpu_exits_total --fn rate --follow
    """
    zone, choice = shown_zone(tz), store_choice(store, last, job)
    if expression is not None:
        show_answer(store, choice, AskedExpression(expression, span, step, at, form, zone))
        return None
    if step is not None or at is not None:
        raise UsageError(f"--{'step' if at is None else 'at'}: only with --promql; a selector has the points of a tier")
    return _select(store, choice, selector, span, tier, fn, agg, coverage, xff, is_open, zone, follow, form)


def _select(
    store: Path,
    choice: StoreChoice,
    selector: str | None,
    span: str | None,
    tier: str,
    fn: str | None,
    agg: bool,
    coverage: bool,
    xff: float,
    is_open: bool,
    zone: dt.tzinfo,
    follow: bool,
    form: str,
) -> int | None:
    """Show the points that a selector's series have in a tier."""
    if not selector:
        raise UsageError(f"no selector; rondo info {store} lists the series, and rondo query {store} NAME shows one")
    asked = parse_range(span or (_FOLLOWED if follow else "all"), zone)
    if coverage and form == "plot":
        raise UsageError("--coverage: a plot has no place for it; choose table, csv or json")
    if follow and (agg or form == "plot"):
        raise UsageError(f"--follow: shows points as they come; leave out {'--agg' if agg else '--format plot'}")
    if follow:
        query = {"selector": selector, "tier": tier, "fn": fn, "xff": xff}
        return _follow(store, choice, asked, query, form, zone, coverage=coverage)
    load_numpy()
    from rondo_core.read import open_reader

    with open_reader(store, choice) as reader:
        now_ns = _anchor(reader, zone) if asked.is_relative else None
        try:
            found = reader.query(selector, asked, tier=tier, fn=fn, now_ns=now_ns, xff=xff, agg=agg, open=is_open)
            events = [] if form in render.DATA else events_of(reader, asked, now_ns=now_ns)
        finally:
            for error in getattr(reader, "errors", ()):
                say(f"rondo: left out: {error}", err=True)
        if form == "table":
            show(render.as_table(found, coverage=coverage, zone=zone))
        elif form == "plot":
            show(render.as_plot(found, events=events, zone=zone))
        else:
            data(render.FORMATS[form](found))
        if events:
            say("")
            show(render.as_events(events, zone=zone))
        if not any(map(len, found)):
            whole = reader.query(selector, tier=tier, fn=fn)
            say(f"rondo: {_where_points_are(whole, zone, left_out=bool(xff))}", err=True)
    return None


def shown_zone(asked: str | None) -> dt.tzinfo:
    """Give the zone in which times are shown: the one asked for, else that of TZ where it is a zone's name, else UTC.

    Raises: RangeError: what was asked for is none.
    """
    if asked is not None:
        return parse_zone(asked)
    try:
        return parse_zone(os.environ.get("TZ", "").removeprefix(":") or "UTC")
    except RangeError:
        return dt.UTC


def _follow(
    store: Path, choice: StoreChoice, asked: Range, query: dict[str, Any], form: str, zone: dt.tzinfo, *, coverage: bool
) -> int | None:
    """Show points as they come; give the status of an interrupt, which is how this is ended by hand."""
    from rondo_cli.follow import CSV_HEAD, LiveQuery, as_lines, follow
    from rondo_core.read import open_reader

    write = data if form in render.DATA else show
    if form == "csv":
        data(CSV_HEAD)
    left_out: set[str] = set()
    try:
        live = LiveQuery(asked, wall_ns, **query)
        for fresh in follow(live, lambda: open_reader(store, choice), threading.Event().wait):
            if lines := as_lines(fresh, form, zone, coverage=coverage):
                write("\n".join(lines))
            for error in sorted({*fresh.left_out} - left_out):
                say(f"rondo: left out: {error}", err=True)
            left_out |= {*fresh.left_out}
    except KeyboardInterrupt:
        return _INTERRUPTED
    say("rondo: no process writes this store any more", err=True)
    return None


def events_of(
    reader: StoreReader | StoresReader, asked: Range | str = "all", *, now_ns: int | None = None
) -> list[Event]:
    """Give the marks and notes of a range; where their file is damaged say so, and give none: the numbers are whole."""
    try:
        return reader.events(asked, now_ns=now_ns)
    except StoreError as error:
        say(f"rondo: marks and notes left out: {one_line(error)}", err=True)
        return []


def _where_points_are(whole: Sequence[SeriesData], zone: dt.tzinfo, *, left_out: bool) -> str:
    """Say which range has points, of the series that have none in the range that was asked for."""
    filled = [data for data in whole if len(data)]
    if not filled:
        return "these series have no point at all; nothing was recorded in them, or not for that tier"
    first = format_instant(min(int(data.timestamps_ns[0]) for data in filled), zone)
    last = format_instant(max(int(data.timestamps_ns[-1] + data.interval_ns[-1]) for data in filled), zone)
    fewer = "; --xff may leave out what there is" if left_out else ""
    return f"their points lie in {first}..{last}, which --range takes{fewer}"


def _anchor(reader: StoreReader | StoresReader, zone: dt.tzinfo) -> int | None:
    """Give the present where a process writes the store; else None, and say where the range ends."""
    if reader.writer_pid() is not None:
        return wall_ns()
    end = format_instant(reader.end_ns(), zone)
    say(f"rondo: no process writes this store; the range ends with its newest sample, at {end}", err=True)
    return None
