"""`rondo agent`: export the stores below a directory, and take up those whose process is gone."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli import run_long
from rondo_cli.params import CONFIG, PATH
from rondo_cli.printing import say
from rondo_core.errors import ExportError, make_logs_printable


@click.command("agent")
@click.argument("directory", type=PATH)
@CONFIG
@click.option("--once", is_flag=True, help="One walk over the directory, to its end; status 1 if anything failed.")
def command(directory: Path, config: Path | None, once: bool) -> int:
    """Export every store below DIRECTORY through the exporters of the config file, again and again.

    Of a store that a process writes, closed buckets are sent, unless the process exports them itself. A store whose
    process is gone is folded and sent to its end; once every exporter has acknowledged all of it, it is kept,
    archived or deleted, as `after` in the table [agent] says. One of which samples were refused is never deleted: it
    goes to the archive, where there is one, and is named. The agent may be killed and started at any moment.

    \b
    rondo agent /var/lib/rondo --config rondo.toml
    rondo agent runs --once
    """
    from rondo_core.export import Agent
    from rondo_core.plugins import read_config
    from rondo_core.signals import stopped_by_signals

    make_logs_printable()
    agent = Agent(directory, read_config(config))
    try:
        if once:
            done = agent.run_once(last=True)
            refusals = f"; {done.refused} samples refused, {done.doubtful} doubtful"
            say(
                f"{done.stores} stores, {done.live} live; {done.samples} samples sent; {done.complete} complete,"
                f" {done.archived} archived, {done.deleted} deleted{refusals if done.refused + done.doubtful else ''}"
            )
            for line in done.notes:
                say(line)
            for line in done.failures:
                say(f"rondo: {line}", err=True)
            if done.failures:
                raise ExportError(f"{len(done.failures)} failures, the first: {done.failures[0]}")
            return 0
        with stopped_by_signals(lambda _number: agent.stop.set()):
            run_long()
            agent.run()
    finally:
        agent.close()
    return 0
