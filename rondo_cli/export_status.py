"""`rondo export-status`: how far each exporter has come."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rondo_cli import render
from rondo_cli.params import STORE
from rondo_cli.printing import data, say, show
from rondo_core.errors import RondoError, one_line
from rondo_core.units import format_duration, format_instant

if TYPE_CHECKING:
    from rondo_core.export import Status

HEADER = ["exporter", "acknowledged up to", "lag", "samples", "refused", "doubtful", "overwritten", "coarse", "state"]


@click.command("export-status")
@STORE
@click.option("--format", "style", type=click.Choice(("table", "json")), default="table", show_default=True)
def command(store: Path, style: str) -> int:
    """Show how far each exporter of STORE, or of the stores below it, has come, and what it could not send.

    \b
    acknowledged up to: everything before is settled       lag: from there to the newest bucket
    refused: samples that the receiver takes never         overwritten: buckets lost before they were sent
    doubtful: may have arrived, see docs/limits.md         coarse: windows sent in place of overwritten buckets

    \b
    rondo export-status demo.rondo
    rondo export-status stores --format json
    """
    from rondo_core.export import export_status
    from rondo_core.model import layout
    from rondo_core.read import DirectoryScan, scan_directory

    single = os.path.exists(store / layout.META_FILE)  # noqa: PTH110 - it raises nothing
    scan = DirectoryScan([store]) if single else scan_directory(store)
    paths = scan.stores or [store]
    found, failed = [], bool(scan.errors)
    for line in (*scan.errors, *scan.passed):
        say(f"rondo: left out: {line}", err=True)
    for path in paths:
        try:
            found += export_status(path)
        except RondoError as error:
            if len(paths) == 1:
                raise
            failed = True
            say(f"rondo: {one_line(error)}", err=True)
    if style == "json":
        import json

        import attrs

        data(json.dumps([{**attrs.asdict(each), "store": str(each.store)} for each in found], indent=1))
        return int(failed)
    if not found:
        say("no exporter has a cursor here")
        return int(failed)
    rows = []
    for each in found:
        state = "running" if each.running else "complete" if each.ended else "idle"
        row = [
            each.exporter,
            format_instant(each.acknowledged_ns) if each.acknowledged_ns else "nothing",
            format_duration(each.lag_ns) if each.lag_ns else "0s",
            *(str(count) for count in (each.samples, each.refused, each.doubtful, each.overwritten, each.coarse)),
            state,
        ]
        rows.append(row if single else [str(each.store.relative_to(store)), *row])
    right = [False, False, *[True] * 6]
    show(render.table(HEADER if single else ["store", *HEADER], rows, right if single else [False, *right]))
    for each in found:
        _say_more(each.exporter if single else f"{each.store.relative_to(store)} {each.exporter}", each)
    return int(failed)


def _say_more(where: str, each: Status) -> None:
    """Say what an exporter has done of marks and notes, if anything, and its last failure."""
    counts = each.events, each.refused_events, each.doubtful_events, each.overwritten_events
    if any(counts):
        say("{}: {} marks and notes sent; {} refused, {} doubtful, {} overwritten".format(where, *counts))
    if each.error:
        say(f"{where}: last failure {format_instant(each.error_ns)}: {each.error}")
