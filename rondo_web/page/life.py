"""/api/v1/rondo/life: what is known of one life beside its points: runs, marks and notes, tiers, series."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from rondo_core.errors import StoreError, one_line
from rondo_core.read import StoreReader
from rondo_core.storage import Event, Run, how_ended, outcome, read_dump
from rondo_web.http.responses import PageResponse
from rondo_web.page.lives import NS_PER_MS, LifeDirectory, success
from rondo_web.reading.limits import ReadLimits
from rondo_web.reading.served_store import ServedStore

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_SERIES_TOLD = 10_000
_MAX_DUMP = 8_000  # characters


def life(known: LifeDirectory, store: ServedStore, request: Request, limits: ReadLimits) -> PageResponse:
    """Give what is known of the life whose name is the parameter `store`; of the only one, where a store is served.

    Raises: UsageError: there is none of that name.
    """
    asked = request.query_params.get("store", "")
    found = known.one(asked, directory=store.is_directory())
    with StoreReader(found.listed.path) as reader:
        limits.check_series(len(reader.registry))
        return success(found.facts | _details(reader))


def _details(reader: StoreReader) -> dict[str, Any]:
    events, damage = _events(reader)
    runs, pid = reader.runs(), reader.writer_pid()
    return {
        "newest_ms": reader.end_ns() // NS_PER_MS or None,
        "runs": [_run(each, pid if each is runs[-1] else None) for each in runs],
        "events": [_event(each) for each in events],
        "events_overwritten": min((each.number for each in events), default=1) - 1,
        "events_damaged": damage,
        "crash": read_dump(reader.folder)[:_MAX_DUMP],
        "schemas": [
            {
                "name": schema.name,
                "kind": schema.kind,
                "tiers": [
                    {"interval_ms": tier.interval_ns // NS_PER_MS, "retention_ms": tier.retention_ns // NS_PER_MS}
                    for tier in schema.tiers
                ],
                "sketch": bool(schema.sketch),
                "peaks": schema.peaks,
            }
            for schema in reader.meta.schemas
        ],
        "series": [
            {
                "name": each.name,
                "labels": dict(each.labels),
                "kind": each.kind,
                "unit": each.unit,
                "help": each.help,
                "schema": each.schema,
            }
            for each in islice(reader.registry, MAX_SERIES_TOLD)
        ],
    }


def _run(run: Run, writer_pid: int | None) -> dict[str, Any]:
    return {
        "number": run.number,
        "writer": run.writer,
        "pid": run.pid,
        "start_ms": run.opened_ns // NS_PER_MS,
        "end_ms": run.ended_ns // NS_PER_MS if run.ended_ns and writer_pid is None else None,
        "ended": how_ended(run, writer_pid),
        "outcome": outcome(run, writer_pid),
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "time_ms": event.time_ns // NS_PER_MS,
        "kind": event.kind,
        "text": event.text,
        "facts": event.facts,
        "run": event.run,
    }


def _events(reader: StoreReader) -> tuple[list[Event], str]:
    """Give the marks and notes, or none and why, where their file is damaged: the numbers are whole."""
    try:
        return reader.events(), ""
    except StoreError as error:
        return [], one_line(error)
