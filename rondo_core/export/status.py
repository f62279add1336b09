"""How far each exporter of a store has come, from its cursor and from what the store holds."""

from __future__ import annotations

from pathlib import Path

import attrs

from rondo_core.export.cursor import cursor_held, cursor_names, load_cursor
from rondo_core.read.store_reader import StoreReader


@attrs.frozen
class Status:
    """One exporter's cursor.

    Attributes:
        store, exporter: whose it is.
        acknowledged_ns: everything before it is counted, ns since the epoch; 0 for nothing yet.
        lag_ns: from there to the end of the newest bucket.
        samples, refused, doubtful, overwritten, coarse: see `Cursor`.
        ended: the store's last run, and its end, were acknowledged whole.
        running: whether some process exports the store through it now.
        error, error_ns: the last failure, and when.
        events: marks and notes that were acknowledged; refused_events, doubtful_events, overwritten_events: that were.
    """

    store: Path
    exporter: str
    acknowledged_ns: int
    lag_ns: int
    samples: int
    refused: int
    doubtful: int
    overwritten: int
    coarse: int
    ended: bool
    running: bool
    error: str
    error_ns: int
    events: int
    refused_events: int
    doubtful_events: int
    overwritten_events: int


def export_status(path: Path) -> list[Status]:
    """Give the status of every exporter that has a cursor in the store, by name.

    Raises: as StoreReader.
    """
    with StoreReader(path) as reader:
        runs = reader.runs()
        return [_status(reader, name, runs[-1].number if runs else 0) for name in cursor_names(path)]


def _status(reader: StoreReader, name: str, last_run: int) -> Status:
    cursor = load_cursor(reader.path, name)
    reached, lags = [0], [0]
    for schema in reader.meta.schemas:
        for at, tier in enumerate(schema.tiers):
            position = cursor.positions.get(f"{schema.name}.{at}")
            if position is not None:
                newest = reader.reader(schema.name, at).index().last
                reached.append(position * tier.interval_ns)
                lags.append(max(0, newest + 1 - position) * tier.interval_ns)
    lag_ns = max(lags)
    events = cursor.events
    if events.number:
        reached.append(events.time_ns)
        lags.append(0)
    behind = [instant for instant, lag in zip(reached[1:], lags[1:], strict=True) if lag]
    return Status(
        reader.path,
        name,
        min(behind) if behind else max(reached),
        lag_ns,
        cursor.samples,
        cursor.refused,
        cursor.doubtful,
        cursor.overwritten,
        cursor.coarse,
        bool(last_run) and cursor.ended_run >= last_run and not lag_ns,
        cursor_held(reader.path, name),
        cursor.error,
        cursor.error_ns,
        events.sent,
        events.refused,
        events.doubtful,
        events.overwritten,
    )
