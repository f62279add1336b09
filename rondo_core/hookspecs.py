"""The three hook families of rondo and the markers with which they are written; signatures and words, no code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

if TYPE_CHECKING:
    from rondo_core.export.batch import Batch, EventRequest
    from rondo_core.export.forecast import Forecast
    from rondo_core.model.consolidator import Consolidator
    from rondo_core.plugins.options import Option
    from rondo_core.record.batches import GaugeBatch
    from rondo_core.record.gauges import Gauge
    from rondo_core.record.handles import Counter, Summary

hookspec = pluggy.HookspecMarker("rondo")
hookimpl = pluggy.HookimplMarker("rondo")

Config = Mapping[str, Any]
Tick = Callable[[int], None]


class Declare(Protocol):
    """Makes handles: the store, as a recorder sees it."""

    def counter(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Counter:
        """Declare a counter, or find it."""

    def gauge(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        peaks: bool = False,
        **labels: object,
    ) -> Gauge:
        """Declare a gauge, or find it."""

    def summary(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        quantiles: bool = False,
        **labels: object,
    ) -> Summary:
        """Declare a summary, or find it."""

    def batch(self, gauges: list[Gauge]) -> GaugeBatch:
        """Bind gauges that are set together."""


class Exporter(Protocol):
    """Takes batches to a receiver; one thread calls it, never two at once."""

    def send(self, batch: Batch) -> int | None:
        """Deliver the batch; to return is to acknowledge it.

        Returns: how many of its samples were left out of what was sent, or refused for good while the rest was taken;
        None or 0: it took all.
        Raises: RetryableExportError: not now, and it has none of it; AnswerLostError: no answer came to what was sent,
        so it may have it; ReceiverAwayError: nothing was sent; PermanentExportError: these samples never;
        BatchTooLargeError: not in one piece; ExportError: the receiver cannot be used as it is, so it is asked again
        at long intervals; UsageError: nor ever, as configured, so the exporter stops. Nothing is lost by either.
        """

    def close(self) -> None:
        """Release connections and files."""


class EventExporter(Protocol):
    """Takes marks and notes to a receiver, one at a time; an exporter that takes samples too has both methods."""

    def send_event(self, request: EventRequest) -> None:
        """Deliver the event; to return is to acknowledge it, or to say that the receiver has it already.

        Raises: as `Exporter.send`.
        """

    def close(self) -> None:
        """Release connections and files."""


class DryRun(Exporter, Protocol):
    """An exporter that looks at batches, or events, as it would send them, and sends none."""

    def forecast(self) -> Forecast:
        """Give what of all that it was handed the receiver would not take, and why."""


@hookspec
def rondo_options_define() -> list[Option]:  # type: ignore[empty-body]
    """Describe the keys of this plugin's config table, whatever its family.

    Called: once, before any other hook of the plugin is given a config, and by what lists and checks configs.
    Args: none.
    Returns: options; a config is checked against them, and given on in their types with defaults filled in. A
    plugin without this hook is given its table as it stands.
    Errors: a raise here disables this plugin alone.
    """


@hookspec
def rondo_options_check(config: Config) -> None:
    """Say what of this plugin's config table cannot be, beside keys and types: a URL, a path, two that contradict.

    Called: by what checks configs, such as `rondo config check`, any number of times; nothing is opened afterwards.
    Args: `config` is this plugin's own table, checked against its options.
    Returns: None where all of it can be; it changes nothing, and asks no other machine.
    Errors: a UsageError names the key, what is wrong and the mend, and no secret; it is shown.
    """


@hookspec
def rondo_recorder_bind(declare: Declare, config: Config) -> Tick | None:
    """Declare series once, and hand back what the owner calls on every tick.

    Called: once, when a store's owner binds its recorders, on the owner's thread.
    Args: `declare` makes handles; `config` is this plugin's own table, checked by it.
    Returns: `tick(now_ns)`, which must end within 1 ms; None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `tick` is counted, and reported once per kind.
    """


@hookspec
def rondo_consolidator_define() -> list[Consolidator]:  # type: ignore[empty-body]
    """Describe named readings of statistics.

    Called: once, before the first query of a store.
    Args: none.
    Returns: consolidators; the first of a name and kind stands.
    Errors: a raise here leaves out this plugin's consolidators alone, and is reported.
    """


@hookspec
def rondo_exporter_open(config: Config) -> Exporter:  # type: ignore[empty-body]
    """Open a way out for batches.

    Called: once for each exporter that was asked for by name, on the owner's thread.
    Args: `config` is this plugin's own table, checked by it.
    Returns: an object with `send(batch)`, `send_event(request)` or both, and `close()`.
    Errors: a raise here disables this exporter alone; the store keeps what it has, and its cursor stays.
    """


class LakeAccess(Protocol):
    """What `rondo lake` asks of a lake that an exporter fills; every error is a RondoError of one line.

    Attributes: `errors`: what the last question in SQL left out, a line each.
    """

    errors: Sequence[str]

    def is_sql(self, question: str) -> bool:
        """Say whether a question is SQL; else it is PromQL."""

    def query(self, question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Answer a question in SQL: the columns' names, and rows."""

    def source(self) -> Any:
        """Give what PromQL is evaluated over: see `rondo_promql.Source`."""

    def compact(
        self, days: Sequence[str] = (), *, rows_per_file: int | None = None, whole: bool = False
    ) -> dict[str, Any]:
        """Join small files, of some days or all; give what was done."""

    def expire(self, keep_for_ns: int, keep_lives_for_ns: int | None = None) -> dict[str, Any]:
        """Remove what is older; give what was done."""

    def check(self, stores: Path | None = None, exporter: str = "parquet") -> dict[str, Any]:
        """Count what is there twice, missing or different; `faults` are lines."""


@hookspec
def rondo_lake_open(location: str) -> LakeAccess:  # type: ignore[empty-body]
    """Open a lake, the files that an exporter has written, for `rondo lake`.

    Called: once for each command, of the exporter that the command names.
    Args: `location` is the directory, or whatever else the exporter takes in its place.
    Returns: an object that queries, compacts, expires and checks it.
    Errors: a RondoError says in a line that there is none, or that a package is missing; nothing is changed.
    """


@hookspec
def rondo_dry_run_open(config: Config) -> DryRun:  # type: ignore[empty-body]
    """Open what looks at batches in the place of the exporter, and says what its receiver would not take.

    Called: once for each exporter of a dry run, in the place of `rondo_exporter_open`.
    Args: `config` is this plugin's own table, checked by it.
    Returns: an object with `send(batch)`, which sends nothing, `forecast()` and `close()`.
    Errors: a raise here ends the dry run of this exporter; nothing was sent.
    """
