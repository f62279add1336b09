"""What rondo says of itself, as series in the same store: refusals, plugin failures, exports.

Counts are kept as plain numbers where they arise and moved into counters on each tick.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import methodcaller
from typing import TYPE_CHECKING

from rondo_core.errors import CapacityError
from rondo_core.model.schema import PLUGINS_NAMED, SELF_SCHEMA, exporters_of
from rondo_core.record.admission import CAUSES

if TYPE_CHECKING:
    from rondo_core.model.schema import Schema
    from rondo_core.record.handles import Counter
    from rondo_core.storage.registry import Registry

Make = Callable[..., "Counter"]

REFUSED = "rondo_samples_refused_total"
INVALID = "rondo_samples_invalid_total"
SERIES_REFUSED = "rondo_series_refused_total"
PLUGIN_FAILURES = "rondo_plugin_failures_total"
ROWS_LOST = "rondo_rows_lost_total"
EXPORTED = "rondo_export_samples_total"
EXPORT_FAILURES = "rondo_export_failures_total"
EXPORT_REFUSED = "rondo_export_refused_samples_total"
EXPORT_LOST = "rondo_export_overwritten_buckets_total"
EXPORT_COARSE = "rondo_export_coarse_buckets_total"
EXPORT_RETRIED = "rondo_export_retried_samples_total"
EXPORT_DOUBTFUL = "rondo_export_doubtful_samples_total"
EXPORT_REQUESTS = "rondo_export_requests_total"
EXPORT_SECONDS = "rondo_export_request_seconds_total"
EXPORT_ACKNOWLEDGED = "rondo_export_acknowledged_timestamp_seconds"

HELP = {
    REFUSED: "Samples that were not taken, by reason.",
    INVALID: "Samples that were refused as invalid, by cause.",
    SERIES_REFUSED: "Label sets that found their schema full; they count in overflow series.",
    PLUGIN_FAILURES: "Failures of a plugin.",
    ROWS_LOST: "Rows that were not on the disk when the machine stopped.",
    EXPORTED: "Samples that an exporter's receiver acknowledged.",
    EXPORT_FAILURES: "Requests of an exporter that failed.",
    EXPORT_REFUSED: "Samples that an exporter's receiver refused for good.",
    EXPORT_LOST: "Buckets that were overwritten before an exporter had sent them.",
    EXPORT_COARSE: "Windows of coarser tiers that were sent in place of overwritten buckets.",
    EXPORT_RETRIED: "Samples sent again, because it was not known whether they had arrived.",
    EXPORT_DOUBTFUL: "Samples that may have arrived: no answer came, and they were refused when sent again.",
    EXPORT_REQUESTS: "Requests of an exporter.",
    EXPORT_SECONDS: "Time spent in an exporter's requests.",
    EXPORT_ACKNOWLEDGED: "The newest timestamp that an exporter's receiver has acknowledged, since the epoch.",
}
# What stands for itself and does not add up: the counter is moved to it.
OTHER = "other"  # the label of plugins beyond those that are told by name
_ABSOLUTE = frozenset({EXPORT_ACKNOWLEDGED})
_values = methodcaller("values")


class SelfMetrics:
    """Running totals by name and label, and the counters that follow them."""

    def __init__(self, make: Make, registry: Registry, schemas: Iterable[Schema]) -> None:
        """Keep `make`, which declares a counter in rondo's own schema, and see what that has room for.

        What a store counts of itself always has its series: of exporters and plugins as many are told by name as are
        sure to fit beside that, in every run of the store taken together.
        """
        self._make, self._registry = make, registry
        self._room = exporters_of(sum(schema.max_series for schema in schemas if schema.name == SELF_SCHEMA))
        self._failures: dict[str, float] = {}
        self._named: dict[str, set[str]] | None = None
        self._totals: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._moved: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._left_out = self._told = False
        self._counted = -1

    def count(
        self, refused: Sequence[Mapping[str, int]], series_refused: int, failures: Sequence[Mapping[str, int]]
    ) -> None:
        """Say what the store counts: samples refused, by reason, of each schema; series; plugins' failures, by name."""
        counted = series_refused + sum(map(sum, map(_values, (*refused, *failures))))  # which all only grow
        if counted == self._counted:
            return
        self._counted = counted
        totals: dict[str, int] = {}
        for counts in refused:
            for reason, count in counts.items():
                totals[reason] = totals.get(reason, 0) + count
        causes = {cause: totals.pop(cause) for cause in CAUSES if cause in totals}
        for reason, count in (totals | {"invalid": sum(causes.values())}).items():
            self.set_total(REFUSED, count, reason=reason)
        for cause, count in causes.items():
            if count:
                self._warn_of(cause)
                self.set_total(INVALID, count, cause=cause)
        self.set_total(SERIES_REFUSED, series_refused)
        for counts in failures:
            for plugin, count in counts.items():
                self.set_total(PLUGIN_FAILURES, count, plugin=plugin)

    def _warn_of(self, cause: str) -> None:
        """Say once that samples are invalid for this cause."""
        if (INVALID, (("cause", cause),)) not in self._totals:
            import logging

            what = "samples were refused as invalid (%s); they are counted in %s"
            logging.getLogger("rondo.store").warning(what, cause, INVALID)

    def set_total(self, name: str, total: float, **labels: str) -> None:
        """Say how many there were since the store was opened."""
        if name == PLUGIN_FAILURES:
            self._failures[labels["plugin"]] = total
            if not self._by_name("plugin", labels["plugin"], PLUGINS_NAMED):
                total = sum(each for plugin, each in self._failures.items() if not self._is_named("plugin", plugin))
                labels = {"plugin": OTHER}
        self._totals[name, tuple(sorted(labels.items()))] = total
        self._told = True

    def _by_name(self, label: str, value: str, most: int) -> bool:
        """Say whether an exporter or a plugin has series of its own, and give it them where there is room."""
        if not self._is_named(label, value) and len(self._known()[label]) < most:
            self._known()[label].add(value)
        return self._is_named(label, value)

    def _is_named(self, label: str, value: str) -> bool:
        return value in self._known()[label]

    def _known(self) -> dict[str, set[str]]:
        """Give which exporters and plugins have series, from former runs on."""
        if self._named is None:
            own = [dict(series.labels) for series in self._registry.by_schema.get(SELF_SCHEMA, ())]
            self._named = {label: {each[label] for each in own if label in each} for label in ("exporter", "plugin")}
            self._named["plugin"].discard(OTHER)
        return self._named

    def flush(self, now_ns: int) -> None:
        """Move what has come since the last flush into the counters; that some have no column is said once."""
        if self._told:
            self._told = False  # before the look: another thread may say more meanwhile
            for key, total in tuple(self._totals.items()):
                self._flush(key, total, now_ns)

    def _flush(self, key: tuple[str, tuple[tuple[str, str], ...]], total: float, now_ns: int) -> None:
        moved = self._moved.get(key)
        if moved == total:
            return
        name, labels = key
        exporter = dict(labels).get("exporter")
        if exporter is not None and not self._by_name("exporter", exporter, self._room):
            self._leave_out(name, f"exporter {exporter}: there is room for {self._room} exporters")
            return
        try:
            counter = self._make(name, help=HELP.get(name, ""), **dict(labels))
        except CapacityError as error:
            self._leave_out(name, error)
            return
        counter.inc(max(0.0, total - (counter.value if name in _ABSOLUTE else moved or 0)), now_ns)
        self._moved[key] = total

    def flush_refused(self, series_refused: int, now_ns: int) -> None:
        """Move how many label sets found no series into its counter at once: the process may end before a tick."""
        self.set_total(SERIES_REFUSED, series_refused)
        self._flush((SERIES_REFUSED, ()), series_refused, now_ns)

    def _leave_out(self, name: str, why: object) -> None:
        if not self._left_out:
            import logging

            self._left_out = True
            logging.getLogger("rondo.store").warning("%s is left out of rondo's own counters: %s", name, why)
