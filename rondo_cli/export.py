"""`rondo export`: send what a store still holds through an exporter plugin."""

from __future__ import annotations

from pathlib import Path

import click

from rondo_cli.params import STORE, Duration, LabelSet
from rondo_core.clock import NS_PER_S
from rondo_core.errors import ExportError
from rondo_core.export.runner import open_runner
from rondo_core.store_reader import StoreReader


@click.command("export")
@STORE
@click.option("--to", "exporter", required=True, help="The exporter plugin's name; see `rondo plugins`.")
@click.option("--url", default=None, help="Where to; the exporter's option url.")
@click.option("--external-labels", type=LabelSet(), default=None, help="Labels that every series gets on its way out.")
@click.option("--option", "-o", "options", multiple=True, metavar="KEY=VALUE", help="Any other option of the exporter.")
@click.option("--deadline", type=Duration(), default="60s", show_default=True, help="How long to retry.")
def command(
    store: Path,
    exporter: str,
    url: str | None,
    external_labels: dict[str, str] | None,
    options: tuple[str, ...],
    deadline: int,
) -> None:
    """Send what STORE holds and the exporter's receiver has not acknowledged yet.

    The cursor is kept in the store, so a second call sends only what is new. Of a store that a process still writes,
    the buckets that have closed are sent.

    \b
    rondo export demo.rondo --to csv
    rondo export demo.rondo --to jsonl -o path=demo.jsonl
    rondo export demo.rondo --to prometheus --url http://127.0.0.1:9090/api/v1/write --external-labels instance=vm1
    """
    config: dict[str, object] = {}
    for option in options:
        key, sign, value = option.partition("=")
        if not sign:
            raise click.BadParameter(f"{option!r}: write KEY=VALUE", param_hint="--option")
        config[key] = value
    if url is not None:
        config["url"] = url
    if external_labels is not None:
        config["external_labels"] = external_labels
    with StoreReader(store) as reader:
        runs = reader.runs()
        ended_run = runs[-1].number if runs and reader.writer_pid() is None else 0
        runner = open_runner(reader, exporter, config)
        outcome = runner.finish(ended_run, deadline / NS_PER_S)
    click.echo(
        f"{outcome.samples} samples sent in {outcome.requests} requests; {outcome.refused_samples} refused,"
        f" {outcome.overwritten_buckets} buckets overwritten before they were sent",
        err=True,
    )
    if outcome.error and (outcome.stopped or not outcome.samples):
        raise ExportError(f"{exporter}: {outcome.error}")
