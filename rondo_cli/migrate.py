"""`rondo migrate`: move a store to other schemas, keeping all that both have room for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli import render
from rondo_cli.params import PATH, STORE, one_store
from rondo_cli.printing import show
from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import printable
from rondo_core.units import format_size

if TYPE_CHECKING:
    from rondo_core.maintain import Migration, TierChange


@click.command("migrate")
@STORE
@click.option("--schema", "file", required=True, type=PATH, help="A TOML file of the new schemas.")
@click.option("--dry-run", is_flag=True, help="Show what would be kept and dropped; write nothing.")
def command(store: Path, file: Path, dry_run: bool) -> None:
    """Move STORE to the schemas of a file: other tiers, room for more series, other statistics.

    What old and new tiers both have room for is kept; a new tier is folded from the tiers that there were. No process
    may write the store meanwhile. Killed at any moment, the old store is there, or the new one. A window that is
    open, and that the new tiers could not give back, must end first; the message says when.

    \b
    rondo plan demo.rondo --format toml > schemas.toml       # then change it
    rondo migrate demo.rondo --schema schemas.toml --dry-run
    rondo migrate demo.rondo --schema schemas.toml
    """
    from rondo_core.maintain import migrate_store
    from rondo_core.model import read_schemas

    done = migrate_store(one_store(store), read_schemas(file), dry_run=dry_run, progress=_Progress())
    show(_report(done, dry_run=dry_run))


class _Progress:
    """A line on a terminal, from the first second on."""

    def __init__(self) -> None:
        self._started_ns = monotonic_ns()

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty() and monotonic_ns() - self._started_ns > NS_PER_S:
            click.echo(f"\rrondo: {done}/{total} schemas", err=True, nl=done == total)


def _report(done: Migration, *, dry_run: bool) -> str:
    if not done.changed:
        return f"{printable(str(done.path))} has these schemas already; nothing to do"
    heads = ["schema", "tier", "windows kept", "dropped", "bytes"]
    before = render.table(heads, [_row(each, each.dropped) for each in done.before], [False, False, True, True, True])
    heads[3] = "folded"
    after = render.table(heads, [_row(each, each.folded) for each in done.after], [False, False, True, True, True])
    sizes = f"{format_size(done.bytes_before)} before, {format_size(done.bytes_after)} after"
    last = f"nothing was written; {sizes}" if dry_run else f"{printable(str(done.path))} has been migrated: {sizes}"
    return f"before:\n{before}\n\nafter:\n{after}\n\n{last}"


def _row(change: TierChange, other: int) -> list[str]:
    return [change.schema, str(change.tier), str(change.kept), str(other), str(change.size_bytes)]
