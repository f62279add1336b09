"""A dry run of an export: what would be sent, and what of it the receiver would not take; nothing leaves.

A plugin that knows its receivers looks at each batch as it would send it (`rondo_dry_run_open`); of one that does not,
the samples are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.clock import Clock, wall_ns
from rondo_core.export.batch import EventRequest
from rondo_core.export.cursor import Cursor, load_cursor
from rondo_core.export.drain import Drain
from rondo_core.export.events import pending_events
from rondo_core.export.labelled import Labelled
from rondo_core.export.options import runner_options
from rondo_core.export.outcome import Outcome
from rondo_core.export.runner import MAX_SAMPLES, SETTLE_NS
from rondo_core.export.sources import FOR_EVER
from rondo_core.model import layout
from rondo_core.storage.events import read_ring

if TYPE_CHECKING:
    from rondo_core.export.batch import Batch
    from rondo_core.hookspecs import DryRun
    from rondo_core.read.store_reader import View

_OF_A_DRAIN = ("tier", "fn", "match", "backfill")


@attrs.frozen
class Refusal:
    """Samples of one series that a receiver would not take, or not as they are.

    Attributes: `reason`, in words, with the limit; `series`, with the labels that it is sent with; `samples`, as a
        cursor counts them: one of a summary is all that is sent of its bucket.
    """

    reason: str
    series: str
    samples: int


@attrs.frozen
class Forecast:
    """What a plugin found. Attributes: `sent_bytes`, of all requests as sent, None: not known; `notes`, a line each."""

    sent_bytes: int | None = None
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[str, ...] = ()


class _Unknowing:
    """The dry run of a plugin that knows no limits."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin

    def send(self, _: Batch) -> int:
        return 0

    def forecast(self) -> Forecast:
        return Forecast(
            notes=(f"the plugin {self._plugin} knows no limits of its receivers; samples are counted alone",)
        )

    def close(self) -> None:
        """Hold nothing."""


def open_dry_run(name: str, table: dict[str, Any]) -> DryRun:
    """Open what looks at the batches of an exporter's table, of one store or several.

    Raises: PluginNotFoundError, PluginLoadError: the plugin is not installed or does not load; RondoError: what it says
    of its config.
    """
    from rondo_core.plugins.manager import EXPORTERS, Plugins

    mine, rest = runner_options(name, table)
    plugin = mine["plugin"]
    plugins = Plugins(config={plugin: rest}, where={plugin: f"exporters.{name}"})
    plugins.load(EXPORTERS, [plugin])
    if not plugins.implements("rondo_dry_run_open", plugin):
        return _Unknowing(plugin)
    opened: DryRun = plugins.open("rondo_dry_run_open", plugin)
    return opened


def dry_run(
    view: View,
    name: str,
    table: dict[str, Any],
    into: DryRun,
    *,
    ended_run: int = 0,
    from_start: bool = False,
    labels: Mapping[str, str] | None = None,
    clock: Clock = wall_ns,
) -> Outcome:
    """Hand what is pending of a store to a dry run, batch by batch, as a runner hands it to the exporter.

    Args: `table`: the exporter's, as in rondo.toml; `ended_run`: the run that has ended, which closes every bucket, 0:
        none has; `from_start`: all that the store holds, acknowledged or not; `labels`: what every series gets.
    Returns: how many samples, marks and notes in how many requests, and how many buckets, marks and notes were
        overwritten before they were sent.
    Raises: UsageError: as `Drain`.
    """
    mine, _ = runner_options(name, table)
    drain = Drain(view, **{key: mine[key] for key in _OF_A_DRAIN if key in mine})
    cursor = Cursor(name) if from_start else load_cursor(view.folder, name)
    through = Labelled(into, labels or {})
    closed_ns = FOR_EVER if ended_run else clock() - SETTLE_NS
    positions = dict(cursor.positions)
    samples = requests = overwritten = 0
    n_events, n_lost = _look_at_events(view, cursor, through) if through.takes_events else (0, 0)
    found = Outcome(
        requests=n_events,
        events=n_events,
        overwritten_events=n_lost,
        takes_samples=through.takes_samples,
        takes_events=through.takes_events,
    )
    if not found.takes_samples:
        return found
    most = mine.get("max_samples", MAX_SAMPLES)
    while (drained := drain.next(positions, closed_ns, most, sent=cursor.sent)) is not None:
        positions |= drained.positions
        overwritten += drained.overwritten
        if n_samples := drained.batch.n_samples:
            through.send(drained.batch)
            samples, requests = samples + n_samples, requests + 1
    if ended_run > cursor.ended_run and positions:
        through.send(drain.ended(view.newest_ns(), lambda _: True))
        requests += 1
    return attrs.evolve(found, samples=samples, requests=requests + n_events, overwritten_buckets=overwritten)


def _look_at_events(view: View, cursor: Cursor, through: Labelled) -> tuple[int, int]:
    """Hand the marks and notes that are pending to a dry run. Returns: how many, and how many were overwritten."""
    counted, events = pending_events(read_ring(view.folder / layout.EVENTS_FILE).events(), cursor.events)
    for event in events:
        through.send_event(EventRequest(event, view.meta.store_id, dict(view.meta.labels)))
    return len(events), events[-1].number - counted.number - len(events) if events else 0
