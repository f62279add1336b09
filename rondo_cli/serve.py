"""`rondo serve`: an HTTP API over a store, live or finished, in a process of its own."""

from __future__ import annotations

import threading
import webbrowser
from functools import partial
from pathlib import Path

import click

from rondo_cli import run_long
from rondo_cli.params import ALLOW_HOST, JOB, LAST, PATH, STORE, store_choice
from rondo_cli.printing import say
from rondo_core.errors import LabelError, UsageError, make_logs_printable
from rondo_core.model import canonical_labels
from rondo_web import HOST, PORT, check_installed, listen, read_token, tls_context


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
@ALLOW_HOST
@click.option(
    "--store-label",
    default="",
    callback=lambda _context, _option, given: _label_name(given),
    metavar="NAME",
    help="The label that has a store's name in PromQL, as dashboards want it: instance. "
    "Default: rondo_store, of a directory of stores.",
)
@LAST
@JOB
@click.option("--tls-cert", type=PATH, default=None, help="Speak HTTPS by this certificate, in PEM.")
@click.option("--tls-key", type=PATH, default=None, help="Its key, where the file of the certificate has it not.")
@click.option("--open", "opens", is_flag=True, help="Open it in a browser.")
def command(
    store: Path,
    host: str,
    port: int,
    token_file: Path | None,
    names: tuple[str, ...],
    store_label: str,
    last: int | None,
    job: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    opens: bool,
) -> None:
    """Serve STORE, or a directory of stores, as a page for a browser and as a data source for Grafana.

    / is a page for a browser, which works offline. It is a data source for Grafana and for whatever asks a Prometheus:
    give it as the URL of one. /metrics for a scraper; /metrics/health, /metrics/info and
    /metrics/query?series=SELECTOR&range=15m&fn=max as JSON. It only reads: the process that writes the store is not
    slowed. What a request may take is bounded, and a name that is not this machine's own is asked for in vain unless
    --allow-host has it. Where others than this machine reach the address there must be a token.

    \b
    rondo serve demo.rondo
    rondo serve demo.rondo --open
    rondo serve lives --last 20 --job nightly
    curl 'http://127.0.0.1:9464/metrics/query?series=vcpu_exits_total{reason=io}&fn=rate'
    curl 127.0.0.1:9464/api/v1/query --data-urlencode 'query=sum by (reason)(rate(vcpu_exits_total[1m]))'
    """
    check_installed()
    tls, choice = tls_context(tls_cert, tls_key), store_choice(store, last, job)
    with listen(host, port, token_file) as listening:
        token = read_token(token_file)
        from rondo_web import serve

        run_long()
        make_logs_printable()
        serve(
            [(store, listening)],
            token=token,
            names=names,
            tls=tls,
            store_label=store_label,
            choice=choice,
            on_open=partial(_opened, opens=opens),
        )


def _label_name(name: str) -> str:
    """Give the name of a label. Raises: UsageError: it is none."""
    try:
        canonical_labels({name: "x"} if name else {})
    except LabelError as error:
        raise UsageError(f"--store-label {name}: {error}") from None
    return name


def _opened(path: Path, url: str, *, opens: bool) -> None:
    """Say where a store is served; with `opens` have a browser ask for it, which waits until it is up."""
    say(f"rondo: serving {path} on {url}/", err=True)
    if not opens:
        return
    here = f"{url}/".replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        say(f"rondo: no browser here; open {here} in one", err=True)
        return
    # A browser in a terminal would not come back before it ends.
    threading.Thread(target=browser.open, args=(here,), daemon=True).start()
