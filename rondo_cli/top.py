"""`rondo top`: a live table of what a store or a directory of stores records, sorted by any expression."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click

from rondo_cli import run_long
from rondo_cli.expressions import NS_PER_MS, Expressions, expressions_over
from rondo_cli.params import JOB, LAST, STORE, Duration, store_choice
from rondo_cli.printing import say
from rondo_cli.terminal import STDOUT, keys_of_terminal, own_terminal, to_descriptor
from rondo_cli.top_table import TopTable, TopView, frame, read_table
from rondo_core.errors import UsageError, printable

_ENTER, _LEAVE, _HOME, _BELOW = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l", b"\x1b[H", b"\x1b[J"


@click.command("top")
@STORE
@click.argument("expressions", nargs=-1, metavar="[EXPRESSION]...")
@click.option("--at", help="An instant, or how long before the end: -3m; by default the end, again and again.")
@click.option("--range", "span", type=Duration(), default="1m", show_default=True, help="What the sparklines show.")
@click.option("--interval", type=Duration(), default="1s", show_default=True, help="How often it is looked at.")
@click.option("--sort", "by", type=int, default=None, help="The column that sorts, from 1; 0: the labels.")
@LAST
@JOB
@click.option("--once", is_flag=True, help="Print one table, and end; so it is too where output is no terminal.")
def command(
    store: Path,
    expressions: tuple[str, ...],
    at: str | None,
    span: int,
    interval: int,
    by: int | None,
    last: int | None,
    job: str,
    once: bool,
) -> None:
    """Show each EXPRESSION of PromQL as a column, series by series, with a sparkline of the one that sorts.

    Without one it shows every metric of its own: totals as rates, others as they are. Keys: q ends; the arrows up and
    down, PgUp, PgDn, Home and End move; left and right choose the column that sorts; r turns the order; a space
    holds it. Where STORE is a directory of stores, all of them are read.

    \b
    rondo top demo.rondo
    rondo top workers 'sum by (rondo_store) (rate(http_requests_total[10s]))' 'max by (rondo_store) (rss_bytes)'
    rondo top workers 'topk(5, rate(http_requests_total[10s]))' --at -3m --once
    """
    if interval < 100 * NS_PER_MS:
        raise UsageError("--interval: shorter than 100ms, which nobody can read; give a longer one")
    columns = len(expressions) or 1
    if by is not None and not 0 <= by <= columns:
        raise UsageError(f"--sort {by}: there are columns 1 to {columns}; 0 sorts by the labels")
    # What has expressions is looked at for its largest; a list of all metrics for its names.
    view = TopView(sort=(1 if expressions else 0) if by is None else by)
    with expressions_over(store, store_choice(store, last, job)) as opened:
        at_ms = None if at is None else opened.instant_of(at)
        table = _read(opened, expressions, at_ms, span)
        if once or not sys.stdout.isatty() or not own_terminal():
            for line in frame(table, view, shutil.get_terminal_size().columns, None):
                say(line)
            return
        run_long()
        _show(opened, expressions, at_ms, (span, interval), table, view)


def _read(opened: Expressions, expressions: tuple[str, ...], at_ms: int | None, span: int) -> TopTable:
    return read_table(opened, expressions, opened.end_ms() if at_ms is None else at_ms, span // NS_PER_MS)


def _show(
    opened: Expressions,
    expressions: tuple[str, ...],
    at_ms: int | None,
    times: tuple[int, int],
    table: TopTable,
    view: TopView,
) -> None:
    """Draw the table on the terminal again and again, until it is left."""
    span, interval = times
    write = to_descriptor(STDOUT)
    with keys_of_terminal() as next_key:
        write(_ENTER)
        try:
            while True:
                size = shutil.get_terminal_size()
                lines = frame(table, view, size.columns, size.lines)
                body = "\x1b[K\r\n".join(map(printable, lines))
                write(_HOME + body.encode(errors="backslashreplace") + b"\x1b[K" + _BELOW)
                key = next_key(interval / 1e9)
                if key == "q":
                    return
                if key:
                    view = view.after(key, len(table.rows), table.n_columns, max(1, size.lines - 3))
                elif not view.held and at_ms is None:
                    opened.follow()
                    table = _read(opened, expressions, None, span)
        except KeyboardInterrupt:
            return
        finally:
            write(_LEAVE)
