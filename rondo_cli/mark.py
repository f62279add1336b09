"""`rondo mark`: an event in the life that a shell is part of."""

from __future__ import annotations

import click

from rondo_core.clock import wall_ns


@click.command("mark")
@click.argument("name")
@click.argument("facts", nargs=-1, metavar="[KEY=VALUE] ...")
def command(name: str, facts: tuple[str, ...]) -> None:
    """Put on record that something happened, in the life that this shell is part of: that of `rondo run`.

    \b
    rondo mark tests-begin
    rondo mark deploy version=1.4.2
    """
    from rondo_job.files.inbox import Entry, life_inbox, pairs_of, post

    post(life_inbox(), Entry("mark", name, 0.0, pairs_of(facts), wall_ns()))
