"""`rondo repair`: save what is whole of a damaged store into a new one."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli.params import PATH, STORE, one_store
from rondo_cli.printing import say


@click.command("repair")
@STORE
@click.argument("new_store", type=PATH)
def command(store: Path, new_store: Path) -> None:
    """Save what is whole of STORE into NEW_STORE, which is made; STORE is not changed.

    A point that is damaged is left out; a coarse point that the finer tier still has all of is folded again. A
    series whose record was lost keeps its column under the name rondo_repaired_lost. What was left, and why, is said.

    \b
    rondo repair demo.rondo mended.rondo
    rondo check mended.rondo
    """
    from rondo_core.maintain import repair_store

    outcome = repair_store(one_store(store), new_store)
    for line in outcome.left:
        say(line)
    lost = f", {outcome.n_placeholders} of them under a name of rondo's own" if outcome.n_placeholders else ""
    say(f"{new_store}: {outcome.n_series} series{lost}, {outcome.n_rows} rows saved")
