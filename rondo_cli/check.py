"""`rondo check`: say in words what is wrong with a store."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli import render
from rondo_cli.params import STORE, one_store
from rondo_cli.printing import data, say, show


@click.command("check")
@STORE
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(store: Path, form: str) -> int:
    """Check every file, record and row of STORE, also while a process writes it; nothing is changed.

    Exits with 0 where the store is sound, notes or not, and with 1 where something is damaged; what is whole can
    then be saved with rondo repair.

    \b
    rondo check demo.rondo
    rondo check demo.rondo --format json
    """
    from rondo_core.maintain import check_store

    found = check_store(one_store(store))
    n_damaged = sum(finding.severity == "damage" for finding in found)
    if form == "json":
        data(render.findings_as_json(found))
    elif found:
        rows = [[finding.severity, finding.file, finding.where, finding.what] for finding in found]
        show(render.table(["severity", "file", "where", "what"], rows))
    else:
        say(f"{store}: sound")
    if n_damaged and form == "table":
        say(f"rondo: {store}: damaged; rondo repair {store} NEW_STORE saves what is whole", err=True)
    return 1 if n_damaged else 0
