"""`rondo info`: what a store is, who wrote it and how that ended, and what it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rondo_cli import render
from rondo_cli.params import STORE, of_each, stores_below
from rondo_cli.printing import data, say, show
from rondo_cli.query import events_of
from rondo_core.clock import NS_PER_S
from rondo_core.errors import UsageError, printable
from rondo_core.model import OVERFLOW, Consolidator
from rondo_core.storage import Run, how_ended, in_short, read_dump, size_bytes
from rondo_core.units import format_duration, format_instant, format_size

if TYPE_CHECKING:
    from rondo_core.read import SeriesData, StoreReader

_SHOWN_RUNS, _SHOWN_EVENTS, _SHOWN_LINES = 3, 10, 20


@click.command("info")
@STORE
@click.option("--runs", "all_runs", is_flag=True, help="A table of every run on record instead: up to 127.")
@click.option("--events", "all_events", is_flag=True, help="A table of every mark and note instead.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
def command(store: Path, form: str, *, all_runs: bool, all_events: bool) -> int:
    """Show what STORE is: size, tiers, who wrote it and how that ended, every series with its points, unit and help.

    The format json has all of it, runs, marks and notes too.

    Where STORE is a directory of stores, each of them has a line; see rondo ls.

    \b
    rondo info demo.rondo
    rondo info demo.rondo --runs
    rondo info demo.rondo --format json
    """
    below = stores_below(store)
    if below and (all_runs or all_events or form == "json"):
        raise UsageError(f"{store}: a directory of stores, which has a line each; name one store")
    if below:
        return of_each(store, below, _line)
    from rondo_core.read import StoreReader

    with StoreReader(store) as reader:
        if form == "json":
            data(json.dumps(_as_json(reader), indent=1))
        elif all_runs:
            show(_runs(reader))
        elif all_events:
            show(_events(reader))
        else:
            _show(store, reader)
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


def _show(store: Path, reader: StoreReader) -> None:
    say(f"store    {store} ({reader.meta.store_id})")
    say(f"made     {format_instant(reader.meta.created_ns)}")
    say(f"size     {format_size(size_bytes(reader.meta.schemas))}, fixed while it is open")
    runs, pid = reader.runs(), reader.writer_pid()
    for run in runs[-_SHOWN_RUNS:]:
        is_last = run is runs[-1]
        said = describe_run(run, pid if is_last else None)
        say(f"run {run.number:<4} {said}{_seen(reader, run) if is_last and pid is None and not run.ended else ''}")
    for event in events_of(reader)[-_SHOWN_EVENTS:]:
        say(f"{event.kind:<8} {format_instant(event.time_ns)} {printable(str(event))}")
    for line in read_dump(reader.folder, "fault").splitlines()[:_SHOWN_LINES]:
        say(f"crash    {printable(line)}")
    say("")
    show(_schemas(reader))
    for schema in reader.meta.schemas:
        if count := reader.slabs[schema.name][0].overflowed:
            what = f"about {count} label sets had no room, and count in {OVERFLOW[0]} series"
            say(f"overflow {schema.name}: {what}; its next opening makes room, within max_bytes")
    say("")
    show(_series(reader))


def describe_run(run: Run, writer_pid: int | None) -> str:
    """Say in words who wrote the store and how that ended."""
    who = f"pid {run.pid}" + (f" ({run.writer})" if run.writer else "")
    return f"{who}, opened {format_instant(run.opened_ns)}, {how_ended(run, writer_pid)}" + (
        f" {format_instant(run.ended_ns)}" if run.ended and writer_pid is None else ""
    )


def _seen(reader: StoreReader, run: Run) -> str:
    """Say what there is to see of the end of a run that is gone: its newest sample, and what faulthandler wrote."""
    newest_ns = reader.newest_ns()
    newest = f"; newest sample {format_instant(newest_ns)}" if newest_ns >= run.opened_ns - NS_PER_S else "; no sample"
    if run.faulthandler != "here":
        return newest + ("; faulthandler is the program's own" if run.faulthandler else "; faulthandler was not set up")
    dump = read_dump(reader.folder, "fault")
    return f"{newest}; faulthandler: {printable(in_short(dump)) if dump else 'wrote nothing'}"


def _runs(reader: StoreReader) -> str:
    runs, pid, rows = reader.runs(), reader.writer_pid(), []
    for run in runs:
        lasted = format_duration(run.ended_ns - run.opened_ns) if run.ended_ns > run.opened_ns else ""
        ended = format_instant(run.ended_ns) if run.ended_ns else ""
        how = how_ended(run, pid if run is runs[-1] else None)
        opened = format_instant(run.opened_ns)
        rows.append([str(run.number), run.writer, str(run.pid), opened, ended, how, lasted])
    if not rows:
        return "no run yet"
    header = ["run", "writer", "pid", "opened", "ended", "how", "duration"]
    return render.table(header, rows, [True, False, True, False, False, False, True])


def _events(reader: StoreReader) -> str:
    events = events_of(reader)
    if not events:
        return "no mark and no note"
    rows = [[format_instant(event.time_ns), str(event.run), event.kind, str(event)] for event in events]
    before = min(event.number for event in events) - 1
    older = f"\n{before} older ones were overwritten" if before else ""
    return render.table(["time", "run", "kind", "what"], rows, [False, True]) + older


def _as_json(reader: StoreReader) -> dict[str, Any]:
    """Give what a store is, as docs/getting-started.md has it; the keys are stable."""
    runs, pid, events = reader.runs(), reader.writer_pid(), events_of(reader)
    return {
        "path": str(reader.path),
        "store_id": reader.meta.store_id,
        "created_ns": reader.meta.created_ns,
        "size_bytes": size_bytes(reader.meta.schemas),
        "writer_pid": pid,
        "newest_ns": reader.newest_ns(),
        "schemas": [
            {
                "name": schema.name,
                "kind": schema.kind,
                "series": reader.registry.counts[schema.name],
                "max_series": schema.max_series,
                "tiers": [str(tier) for tier in schema.tiers],
                "size_bytes": schema.size_bytes(),
            }
            for schema in reader.meta.schemas
        ],
        "runs": [
            {
                "number": run.number,
                "writer": run.writer,
                "pid": run.pid,
                "opened_ns": run.opened_ns,
                "ended_ns": run.ended_ns or None,
                "ended": run.ended,
                "how": how_ended(run, pid if run is runs[-1] else None),
                "faulthandler": run.faulthandler,
            }
            for run in runs
        ],
        "events": [event.to_dict() for event in events],
        "events_overwritten": min((event.number for event in events), default=1) - 1,
        "crash": read_dump(reader.folder),
        "series": [
            {
                "series": str(found.series),
                "kind": found.series.kind,
                "points": len(found),
                "first_ns": int(found.timestamps_ns[0]) if len(found) else None,
                "last_ns": int(found.timestamps_ns[-1]) if len(found) else None,
                "unit": found.series.unit,
                "help": found.series.help,
            }
            for found in _counted(reader)
        ],
    }


def _schemas(reader: StoreReader) -> str:
    rows = []
    for schema in reader.meta.schemas:
        used = reader.registry.counts[schema.name] - sum(reader.registry.count_overflow(schema.name))
        tiers = " ".join(str(tier) for tier in schema.tiers)
        rows.append([schema.name, schema.kind, f"{used}/{schema.max_series}", tiers, format_size(schema.size_bytes())])
    return render.table(["schema", "kind", "series", "tiers", "size"], rows, [False, False, True, False, True])


def _counted(reader: StoreReader) -> Sequence[SeriesData]:
    """Give every series with its points, as coverage."""
    count = Consolidator("points", ("counter", "gauge", "summary"), ("coverage",), _coverage)
    reader.consolidators = {("points", kind): count for kind in count.kinds}
    return reader.query(list(reader.series()), fn="points")


def _series(reader: StoreReader) -> str:
    rows = []
    for found in _counted(reader):
        stamps = found.timestamps_ns
        first, last = (format_instant(int(stamps[0])), format_instant(int(stamps[-1]))) if len(found) else ("", "")
        span = format_duration(int(stamps[-1] - stamps[0] + found.interval_ns[-1])) if len(found) else ""
        series = found.series
        rows.append([str(series), series.kind, str(len(found)), span, first, last, series.unit, series.help])
    if not rows:
        return "no series yet"
    header = ["series", "kind", "points", "span", "first", "last", "unit", "help"]
    return render.table(header, rows, [False, False, True, True])


def _coverage(statistics: Mapping[str, Any], _timestamps_ns: Any, _interval_ns: Any) -> Any:
    import numpy as np

    covered = np.asarray(statistics["coverage"], dtype=float)
    return np.where(covered > 0, covered, np.nan)
