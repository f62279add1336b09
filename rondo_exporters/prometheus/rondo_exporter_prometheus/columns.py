"""What of a batch is sent, and under which names and labels: for both versions of the protocol; no I/O."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from rondo_core import Batch, Part, Series
from rondo_core.errors import LabelError, printable
from rondo_core.model import Labels, canonical_labels, check_metric_name
from rondo_core.model.prometheus import (
    HISTOGRAM,
    NS_PER_MS,
    Column,
    sample_columns,
    sorted_labels,
    values_of,
    whole_labels,
    zero_ns,
    zeroes_ns,
)
from rondo_exporter_prometheus.wire import Values

logger = logging.getLogger("rondo.export.prometheus")


def columns(part: Part) -> Iterator[tuple[Column, Values]]:
    """Give the values [rows, series] of all that is sent of a part as samples; NaN: not sent."""
    for column in sample_columns(part.kind, sketched=sketch_of(part) is not None):
        yield column, values_of(part.kind, column, part.statistics)


def sketch_of(part: Part) -> NDArray[np.int64] | None:
    """Give a part's sketches, int64 [rows, series, words], where its schema keeps them."""
    return part.statistics.get("sketch")  # type: ignore[return-value]


def ended_columns(series: Series, sketched: frozenset[str]) -> tuple[Column, ...]:
    """Name the columns, of samples, that a series which has ended was sent as.

    Args: `sketched`: the schemas that keep sketches.
    """
    return sample_columns(series.kind, sketched=series.schema in sketched)


class Beginnings:
    """When the running totals of series were 0, and which of them begin within a part."""

    def __init__(self, *, zeroes: bool) -> None:
        """Know of no series yet. Args: `zeroes`: whether a sample of 0 is sent there."""
        self._zeroes = zeroes
        self._created: dict[str, tuple[tuple[Series, ...], NDArray[np.int64]]] = {}
        self._starts: dict[tuple[str, int], tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def starts_ms(self, part: Part) -> NDArray[np.int64]:
        """Give when the total of each series of a part was 0: int64 [series]; 0: not known."""
        finest_ns, created = _finest_ns(part), self._created_of(part)
        known = self._starts.get((part.schema, finest_ns))
        if known is None or known[0] is not created:
            starts = [zero_ns(each, finest_ns) // NS_PER_MS for each in created.tolist()]
            known = self._starts[part.schema, finest_ns] = created, np.array(starts, np.int64)
        return known[1]

    def zeroes_ms(self, part: Part) -> NDArray[np.int64] | None:
        """Give when samples of 0 are sent, before the first samples of series: int64 [series], -1: none; None: no one.

        They go with the first samples, always: who sends these again sends the same zeroes, and no one else sends any.
        """
        created = self._created_of(part)
        if not self._zeroes or part.kind == "gauge" or not part.n_rows or not len(created):
            return None
        finest_ns = _finest_ns(part)
        starts = part.timestamps_ns + finest_ns - part.interval_ns
        if int(created.max()) < int(starts[0]):
            return None
        found = zeroes_ns(created, starts, part.interval_ns, finest_ns, part.there())
        return np.where(found >= 0, found // NS_PER_MS, -1) if (found >= 0).any() else None

    def _created_of(self, part: Part) -> NDArray[np.int64]:
        series, created = self._created.get(part.schema, ((), np.empty(0, np.int64)))
        if series is not part.series:
            created = np.array([each.created_ns for each in part.series], np.int64)
            self._created[part.schema] = part.series, created
        return created


def _finest_ns(part: Part) -> int:
    """Give the length of the finest buckets: a coarser one has the timestamp of the last of these in it."""
    return part.interval_ns - int(part.timestamps_ns[0]) % part.interval_ns


class LabelSets:
    """Which label set each series is sent under, and whose it is."""

    def __init__(self, external_labels: Labels = ()) -> None:
        """Add `external_labels` to every series; they win over its own, see `overridden`.

        Attributes: `written`, the bytes of label sets, kept by whoever writes them for as long as they are known.
        """
        self._external = dict(external_labels)
        self._labels: dict[tuple[str, Labels, Column], Labels] = {}
        self._owners: dict[Labels, tuple[str, Labels, str, bool]] = {}
        self._left_out: set[tuple[str, Labels]] = set()
        self.written: dict[Labels, bytes] = {}

    def of(self, series: Series, column: Column) -> Labels:
        """Give the whole label set, sorted by name; empty where another series has it already, or none may be sent.

        Where two series of the store become one label set (`x_count` beside a summary `x`, or by external labels), the
        first to come keeps it; the other is left out, and a warning says so.
        """
        key = (series.name, series.labels, column)
        known = self._labels.get(key)
        if known is not None:
            return known
        labels: Labels = ()
        what = series.name + column.suffix
        try:
            labels = self._whole(series, column, what)
        except LabelError as error:
            # Such a series cannot be declared; only one made by hand comes here.
            logger.warning("%s: left out as %s; %s", printable(str(series)), what, printable(str(error)))
        owner = (series.name, series.labels, column.suffix, column == HISTOGRAM)
        if labels and self._owners.setdefault(labels, owner) != owner:
            said = "another series is sent under that name and these labels"
            logger.warning("%s: left out as %s; %s", printable(str(series)), what, said)
            labels = ()
        if not labels:
            self._left_out.add(key[:2])
        self._labels[key] = labels
        return labels

    def n_left_out(self, batch: Batch) -> int:
        """Count the samples of a batch that are not, or not wholly, in the request that was made of it."""
        if not self._left_out:
            return 0
        left_out = batch.where(lambda series: (series.name, series.labels) in self._left_out)
        return left_out.n_samples

    def forget(self, ended: Iterable[Series]) -> None:
        """Keep nothing of series that have ended: whoever sends the stores of others sees ever new ones."""
        for series in ended:
            for column in (*sample_columns(series.kind, sketched=True), HISTOGRAM):
                labels = self._labels.pop((series.name, series.labels, column), ())
                self._owners.pop(labels, None)
                self.written.pop(labels, None)
            self._left_out.discard((series.name, series.labels))

    def _whole(self, series: Series, column: Column, what: str) -> Labels:
        check_metric_name(what)
        own = canonical_labels((name, value) for name, value in series.labels if value)
        return sorted_labels(whole_labels(series._replace(labels=own), column, self._external))
