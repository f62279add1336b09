"""`rondo copy`: a consistent copy of a store that a process may be writing."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli.params import PATH, STORE
from rondo_cli.printing import say


@click.command("copy")
@STORE
@click.argument("to", type=PATH)
def command(store: Path, to: Path) -> None:
    """Copy STORE, live or finished, to TO, which is made.

    The process that writes STORE goes on, and is not slowed. TO appears when it is whole: each point as it stood at the
    moment of the copy, and every tier folded up to it. It is a store of its own, with an id of its own; how far
    exporters have come stays with STORE, so an export of the copy begins at its oldest point.

    \b
    rondo copy demo.rondo snapshot.rondo
    rondo query snapshot.rondo 'uptime_seconds' --range all
    """
    from rondo_core.maintain import copy_store

    done = copy_store(store, to)
    state = ", which is being written" if done.live else ""
    say(f"{to}: {done.n_series} series, {done.n_rows} rows of {store}{state}")
