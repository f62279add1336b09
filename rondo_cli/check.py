"""`rondo check`: say in words what is wrong with a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from rondo_cli import render
from rondo_cli.params import STORE, of_each, stores_below
from rondo_cli.printing import data, say, show


@click.command("check")
@STORE
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(store: Path, form: str) -> int:
    """Check every file, record and row of STORE, also while a process writes it; nothing is changed.

    Where STORE is a directory of stores, all of them are checked, and the worst status counts. Exits with 0 where the
    store is sound, notes or not, and with 1 where something is damaged; what is whole can then be saved with rondo
    repair.

    \b
    rondo check demo.rondo
    rondo check demo.rondo --format json
    """
    below = stores_below(store)
    if below:
        return _check_many(store, below, form)
    from rondo_core.maintain import check_store

    found = check_store(store)
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


def _check_many(directory: Path, stores: list[Path], form: str) -> int:
    """Say of each store of a directory what is wrong with it."""
    from rondo_core.maintain import check_store

    damaged: dict[str, list[Any]] = {}

    def check(store: Path, name: str) -> int:
        found = check_store(store)
        n_damaged = sum(finding.severity == "damage" for finding in found)
        if form == "json":
            damaged[name] = json.loads(render.findings_as_json(found))
        for finding in found if form == "table" else ():
            where = f" {finding.where}" if finding.where else ""
            say(f"{name}: {finding.severity}: {finding.file}{where}: {finding.what}")
        if form == "table" and not n_damaged:
            say(f"{name}: sound")
        return int(n_damaged > 0)

    worst = of_each(directory, stores, check)
    if form == "json":
        data(json.dumps(damaged, indent=1))
    return worst
