"""`rondo config check`: what a rondo.toml says, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli import render
from rondo_cli.params import CONFIG
from rondo_cli.printing import say, show
from rondo_core.errors import UsageError


@click.group("config")
def command() -> None:
    """Look at the config file, rondo.toml.

    \b
    rondo config check
    """


@command.command("check")
@CONFIG
def check(config: Path | None) -> int:
    """Check every table and key, plugins' own included, and show what will be used; secrets are masked.

    \b
    rondo config check
    rondo config check --config /etc/rondo/rondo.toml
    """
    from rondo_core.maintain import check_config
    from rondo_core.plugins import FILE_NAME, read_config

    read = read_config(config)
    if read.path is None:
        raise UsageError(f"no {FILE_NAME} here; write one, or name it with --config")
    settings, problems = check_config(read)
    rows = [[each.table, each.key, each.shown] for each in settings]
    show(render.table(["table", "key", "value"], rows))
    for problem in problems:
        say(f"rondo: {read.path}: {problem.removeprefix(f'{read.path}: ')}", err=True)
    if problems:
        return UsageError.exit_status
    say(f"{read.path}: in order")
    return 0
