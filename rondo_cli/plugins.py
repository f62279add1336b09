"""`rondo plugins`: what is installed, from where, and what is wrong with it."""

from __future__ import annotations

import click

from rondo_cli import render
from rondo_core.plugins import installed


@click.command("plugins")
def command() -> int:
    """List the installed recorders, consolidators and exporters.

    A plugin that cannot be used is listed with the reason; the others work all the same.
    """
    infos = installed()
    rows = [
        [info.group.removeprefix("rondo."), info.name, info.distribution, info.version, info.error or "ok"]
        for info in infos
    ]
    click.echo(render.table(["family", "name", "distribution", "version", "state"], rows) if rows else "none installed")
    return 0
