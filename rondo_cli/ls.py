"""`rondo ls`: the stores of a directory, whose they are and how those ended."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli import render
from rondo_cli.params import PATH
from rondo_cli.printing import data, say, show
from rondo_core.clock import NS_PER_S, wall_ns
from rondo_core.errors import RondoError, one_line
from rondo_core.lazy import load_numpy
from rondo_core.model import state_directory
from rondo_core.units import format_duration, format_instant, format_size

if TYPE_CHECKING:
    from rondo_core.retention import Listed

HEADER = ["store", "process", "age", "series", "size", "export lag"]


@click.command("ls")
@click.argument("directory", type=PATH, required=False)
@click.option("--sort", type=click.Choice(("name", "age", "size")), default="name", show_default=True)
@click.option("--format", "form", type=click.Choice(("table", "json")), default="table", show_default=True)
def command(directory: Path | None, sort: str, form: str) -> int:
    """List the stores of DIRECTORY: who writes each or how that ended, its age, series and size, and its export lag.

    Without a DIRECTORY, the lives of `rondo run`. Where none lies in it, those in the directories right below it.

    The age is that of the newest run; the store of the ended, `ended.rondo`, says how many stores were folded into it.

    \b
    rondo ls stores
    rondo ls stores --sort size
    rondo ls stores --format json
    """
    load_numpy()
    from rondo_core.retention import list_stores

    directory = directory or state_directory() / "lives"
    stores, errors = list_stores(directory)
    places = {"": stores}
    if not stores and not errors:  # a directory of programs, as the one that open_store makes
        for each in sorted(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False)):
            places[f"{each}/"], wrong = list_stores(directory / each)
            errors += wrong
    now_ns, rows = wall_ns(), list[dict[str, Any]]()
    for place, store in ((place, store) for place, found in places.items() for store in found):
        try:
            rows.append(_facts(store, now_ns) | {"name": place + store.name})
        except RondoError as error:
            errors.append(one_line(error))
    keys = {"name": lambda row: row["name"], "age": lambda row: row["age_s"] or 0, "size": lambda row: -row["bytes"]}
    rows.sort(key=keys[sort])
    for line in errors:
        say(f"rondo: left out: {line}", err=True)
    if form == "json":
        data(json.dumps(rows, indent=1))
    elif not rows:
        say(f"{directory}: no store here")
    else:
        lines = [_line(row) for row in rows]
        total = format_size(sum(row["bytes"] for row in rows))
        show(render.table(HEADER, lines, [False, False, True, True, True, True]))
        say(f"{len(rows)} {'store' if len(rows) == 1 else 'stores'}, {total}")
    return int(bool(errors))


def _facts(store: Listed, now_ns: int) -> dict[str, Any]:
    """Give what is known of one store, as the JSON has it."""
    from rondo_core.export import export_status
    from rondo_core.read import StoreReader

    with StoreReader(store.path) as reader:
        n_series = len(reader.registry)
    lags = {each.exporter: each.lag_ns / NS_PER_S for each in export_status(store.path)}
    opened_ns = store.run.opened_ns if store.run else 0
    return {
        "name": store.name,
        "store_id": store.store_id,
        "pid": store.pid,
        "writer": store.run.writer if store.run else "",
        "ended": store.ended,
        "opened_ns": opened_ns,
        "ended_ns": store.ended_ns,
        "age_s": round((now_ns - opened_ns) / NS_PER_S, 3) if opened_ns else None,
        "series": n_series,
        "bytes": store.size_bytes,
        "export_lag_s": lags,
        "folded_stores": None if store.folded is None else store.folded.stores,
        "folded_unexported": None if store.folded is None else store.folded.unexported,
        "hidden": store.hidden,
        "unknown": store.unknown,
    }


def _line(row: dict[str, Any]) -> list[str]:
    lags = [f"{name} {format_duration(round(lag) * NS_PER_S)}" for name, lag in row["export_lag_s"].items()]
    age = format_duration(round(row["age_s"]) * NS_PER_S) if row["age_s"] is not None else ""
    return [row["name"], _process(row), age, str(row["series"]), format_size(row["bytes"]), ", ".join(lags)]


def _process(row: dict[str, Any]) -> str:
    """Say in words who writes the store, or how that ended."""
    if row["hidden"]:
        return "folded, to be removed"
    if row["folded_stores"] is not None:
        unexported = f", {row['folded_unexported']} before they were sent" if row["folded_unexported"] else ""
        return f"{row['folded_stores']} folded{unexported}"
    if row["unknown"]:
        return "not known"
    if row["pid"] is not None:
        return f"pid {row['pid']}" if row["pid"] else "a process"
    if not row["ended"]:
        return "never written"
    return f"{row['ended']} {format_instant(row['ended_ns'])}" if row["ended_ns"] else row["ended"]
