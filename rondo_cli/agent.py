"""`rondo agent`: export the stores below a directory, and take up those whose process is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli import run_long
from rondo_cli.params import ALLOW_HOST, CONFIG, PATH
from rondo_cli.printing import say
from rondo_core.errors import ExportError, UsageError, make_logs_printable, printable
from rondo_web import HOST, check_installed, listen, read_token

if TYPE_CHECKING:
    from rondo_core.export import AgentStatus

_SHOWN = 5


@click.command("agent")
@click.argument("directory", type=PATH)
@CONFIG
@click.option("--once", is_flag=True, help="One walk over the directory, to its end; status 1 if anything failed.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Answer /health and /metrics there; 0: any that is free. Default: nowhere.",
)
@click.option("--host", default=HOST, show_default=True, help="The address to listen on, with --port.")
@click.option(
    "--token-file",
    type=PATH,
    default=None,
    help="Tell the metrics only to who sends the text in this file, as Authorization: Bearer TEXT.",
)
@ALLOW_HOST
def command(
    directory: Path,
    config: Path | None,
    once: bool,
    port: int | None,
    host: str,
    token_file: Path | None,
    names: tuple[str, ...],
) -> int:
    """Export every store below DIRECTORY through the exporters of the config file, again and again.

    Of a store that a process writes, closed buckets are sent, unless the process exports them itself. A store whose
    process is gone is folded and sent to its end; once every exporter has acknowledged all of it, it is kept,
    archived or deleted, as `after` in the table [agent] says. One of which samples were refused is never deleted: it
    goes to the archive, where there is one, and is named. The agent may be killed and started at any moment.

    \b
    rondo agent /var/lib/rondo --config rondo.toml
    rondo agent runs --once
    rondo agent /var/lib/rondo --port 9465
    """
    from rondo_core.export import Agent
    from rondo_core.plugins import read_config
    from rondo_core.signals import stopped_by_signals

    make_logs_printable()
    if once and port is not None:
        raise UsageError("--port: nothing is answered in one walk; leave out --once, or --port")
    agent = Agent(directory, read_config(config))
    try:
        if once:
            done = agent.run_once(last=True)
            events = f", {done.events} marks and notes" if done.events else ""
            refusals = f"; {done.refused} samples refused, {done.doubtful} doubtful"
            said = f"{done.stores} stores, {done.live} live; {done.samples} samples sent{events}"
            say(
                f"{said}; {done.complete} complete, {done.archived} archived,"
                f" {done.deleted} deleted{refusals if done.refused + done.doubtful else ''}"
            )
            if done.held:
                say(_left_to_others(done.held))
            for line in done.notes:
                say(line)
            for line in done.failures:
                say(f"rondo: {line}", err=True)
            if done.failures:
                raise ExportError(f"{len(done.failures)} failures, the first: {done.failures[0]}")
            return 0
        with stopped_by_signals(lambda _: agent.stop.set()), _server(agent.status, port, host, token_file, names):
            run_long()
            agent.run()
    finally:
        agent.close()
    return 0


def _left_to_others(held: Sequence[str]) -> str:
    """Say which stores were passed over, as another process sends them."""
    shown = ", ".join(map(printable, held[:_SHOWN])) + (f" and {len(held) - _SHOWN} more" if held[_SHOWN:] else "")
    what = f"{len(held)} store{'' if len(held) == 1 else 's'} left to whoever exports them now"
    return f"{what}, the program itself or another agent: {shown}"


@contextmanager
def _server(
    status: AgentStatus, port: int | None, host: str, token_file: Path | None, names: Sequence[str]
) -> Iterator[None]:
    """Answer on a port while the agent walks; nothing is loaded and nothing listens without one."""
    if port is None:
        yield
        return
    check_installed()
    token = read_token(token_file)
    listening = listen(host, port, token_file)
    from rondo_web import AgentServer

    server = AgentServer(status, listening, token=token, names=names)
    try:
        say(f"rondo: {server.url}/health and {server.url}/metrics", err=True)
        yield
    finally:
        server.close()
