"""`rondo serve`: an HTTP API over a store, live or finished, in a process of its own."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli import run_long
from rondo_cli.params import PATH, STORE
from rondo_cli.printing import say
from rondo_core.errors import make_logs_printable
from rondo_web import HOST, PORT, check_installed, listen, read_token


@click.command("serve")
@STORE
@click.option("--host", default=HOST, show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option(
    "--token-file",
    type=PATH,
    default=None,
    help="Answer only who sends the text in this file, as Authorization: Bearer TEXT.",
)
@click.option(
    "--allow-host", "names", multiple=True, metavar="NAME", help="A name by which clients ask; may be given again."
)
def command(store: Path, host: str, port: int, token_file: Path | None, names: tuple[str, ...]) -> None:
    """Answer HTTP requests for what STORE holds; where STORE is a directory of stores, for all of them.

    /metrics for a scraper; /metrics/health, /metrics/info and /metrics/query?series=SELECTOR&range=15m&fn=max as JSON.
    It only reads: the process that writes the store is not slowed. What a request may take is bounded, and a name that
    is not this machine's own is asked for in vain unless --allow-host has it. Where others than this machine reach the
    address there must be a token.

    \b
    rondo serve demo.rondo
    curl 'http://127.0.0.1:9464/metrics/query?series=vcpu_exits_total{reason=io}&fn=rate'
    """
    check_installed()
    with listen(host, port, token_file) as listening:
        token = read_token(token_file)
        from rondo_web import serve

        run_long()
        make_logs_printable()
        serve(
            [(store, listening)],
            token=token,
            names=names,
            on_open=lambda path, url: say(f"rondo: serving {path} on {url}/metrics/info", err=True),
        )
