"""`rondo info`: what a store is, who wrote it and how that ended, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli import render
from rondo_cli.params import STORE, of_each, stores_below
from rondo_cli.printing import say, show
from rondo_core.model import OVERFLOW, Consolidator
from rondo_core.storage import Run, Survival, boot_id, size_bytes, survival
from rondo_core.units import format_duration, format_instant, format_size

if TYPE_CHECKING:
    from rondo_core.read import StoreReader


@click.command("info")
@STORE
def command(store: Path) -> int:
    """Show what STORE is: size, tiers, who wrote it, and every series with its points, unit and help.

    Where STORE is a directory of stores, each of them has a line; see rondo ls.

    \b
    rondo info demo.rondo
    """
    below = stores_below(store)
    if below:
        return of_each(store, below, _line)
    from rondo_core.read import StoreReader

    with StoreReader(store) as reader:
        say(f"store    {store} ({reader.meta.store_id})")
        say(f"made     {format_instant(reader.meta.created_ns)}")
        say(f"size     {format_size(size_bytes(reader.meta.schemas))}, fixed while it is open")
        runs, pid = reader.runs(), reader.writer_pid()
        for run in runs[-3:]:
            say(f"run {run.number:<4} {describe_run(run, pid if run is runs[-1] else None)}")
        say("")
        show(_schemas(reader))
        for schema in reader.meta.schemas:
            if count := reader.slabs[schema.name][0].overflowed:
                what = f"about {count} label sets had no room, and count in {OVERFLOW[0]} series"
                say(f"overflow {schema.name}: {what}; its next opening makes room, within max_bytes")
        say("")
        show(_series(reader))
    return 0


def _line(store: Path, name: str) -> int:
    """Say of one store of a directory what it is, in a line."""
    from rondo_core.read import StoreReader

    with StoreReader(store) as reader:
        runs, pid = reader.runs(), reader.writer_pid()
        who = describe_run(runs[-1], pid) if runs else "never written"
        size = format_size(size_bytes(reader.meta.schemas))
        say(f"{name}: {len(reader.registry)} series, {size}; {who}")
    return 0


def describe_run(run: Run, writer_pid: int | None) -> str:
    """Say in words who wrote the store and how that ended."""
    who = f"pid {run.pid}" + (f" ({run.writer})" if run.writer else "")
    opened = f"{who}, opened {format_instant(run.opened_ns)}"
    if writer_pid is not None:
        return f"{opened}, writing now"
    if run.ended:
        return f"{opened}, {run.ended} {format_instant(run.ended_ns)}"
    return f"{opened}, gone without closing the store{_SINCE[survival(run)] if _is_known(run) else _UNKNOWN}"


_SINCE = {
    Survival.SAME_BOOT: "",
    Survival.RESTARTED: "; the machine was restarted since",
    Survival.COPIED: "; that was in another boot, or on another machine",
}
_UNKNOWN = "; whether the machine was restarted since is not known"


def _is_known(run: Run) -> bool:
    """Say whether both boots have a name, and not one of noughts."""
    return all(each.strip("0-") for each in (run.boot_id, boot_id()))


def _schemas(reader: StoreReader) -> str:
    rows = []
    for schema in reader.meta.schemas:
        used = reader.registry.counts[schema.name] - sum(reader.registry.count_overflow(schema.name))
        tiers = " ".join(str(tier) for tier in schema.tiers)
        rows.append([schema.name, schema.kind, f"{used}/{schema.max_series}", tiers, format_size(schema.size_bytes())])
    return render.table(["schema", "kind", "series", "tiers", "size"], rows, [False, False, True, False, True])


def _series(reader: StoreReader) -> str:
    count = Consolidator("points", ("counter", "gauge", "summary"), ("coverage",), _coverage)
    reader.consolidators = {("points", kind): count for kind in count.kinds}
    rows = []
    for data in reader.query(list(reader.series()), fn="points"):
        stamps = data.timestamps_ns
        first, last = (format_instant(int(stamps[0])), format_instant(int(stamps[-1]))) if len(data) else ("", "")
        span = format_duration(int(stamps[-1] - stamps[0] + data.interval_ns[-1])) if len(data) else ""
        series = data.series
        rows.append([str(series), series.kind, str(len(data)), span, first, last, series.unit, series.help])
    if not rows:
        return "no series yet"
    header = ["series", "kind", "points", "span", "first", "last", "unit", "help"]
    return render.table(header, rows, [False, False, True, True])


def _coverage(statistics: Mapping[str, Any], _timestamps_ns: Any, _interval_ns: Any) -> Any:
    import numpy as np

    covered = np.asarray(statistics["coverage"], dtype=float)
    return np.where(covered > 0, covered, np.nan)
