"""What a receiver would not take of batches, by its limits, and what they would be as requests; nothing is sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import snappy
from numpy.typing import NDArray

from rondo_core import Batch, Part, Series
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.export import Forecast, Refusal
from rondo_core.model import Labels, format_series
from rondo_core.model.prometheus import sample_columns
from rondo_core.units import format_duration, format_size
from rondo_exporter_prometheus.columns import LabelSets, columns, sketch_of
from rondo_exporter_prometheus.encode import Encoder
from rondo_exporter_prometheus.encode2 import Encoder2
from rondo_exporter_prometheus.limits import Limits
from rondo_exporter_prometheus.plugin import Settings


class RemoteWriteDryRun:
    """Looks at batches as RemoteWrite would send them.

    With the protocol `auto` they are measured as 1.0; 2.0 is of about the same size.
    """

    def __init__(self, settings: Settings, limits: Limits | None, clock: Clock = wall_ns) -> None:
        """Hold batches against these limits; None: none is known."""
        self._limits, self._max_bytes, self._now_ns = limits, settings.max_bytes, clock()
        self._label_sets = label_sets = LabelSets(settings.external_labels)
        self._encoder = Encoder(label_sets, zeroes=settings.zeroes)
        self._encoder2 = Encoder2(label_sets, zeroes=settings.zeroes) if settings.protocol == "2.0" else None
        self._refused: dict[tuple[str, str], int] = defaultdict(int)
        self._reasons: dict[tuple[str, Labels], str] = {}
        self._sent_bytes = self._largest = self._samples = 0
        self._n_series = 0

    def send(self, batch: Batch) -> int:
        """Look at a batch. Returns: 0."""
        message = self._encoder2.encode(batch).body if self._encoder2 else self._encoder.encode(batch)
        if message:
            self._sent_bytes += len(snappy.compress(message))
            self._largest = max(self._largest, len(message))
        for part in batch.parts:
            self._look_at(part)
        self._label_sets.forget(batch.ended)
        for series in batch.ended:
            self._reasons.pop((series.name, series.labels), None)
        return 0

    def forecast(self) -> Forecast:
        """Give what would not be taken, the reasons in the order of their samples."""
        totals: dict[str, int] = defaultdict(int)
        for (reason, _), samples in self._refused.items():
            totals[reason] += samples
        order = sorted(self._refused.items(), key=lambda each: (-totals[each[0][0]], each[0][0], -each[1], each[0][1]))
        refusals = tuple(Refusal(reason, series, samples) for (reason, series), samples in order)
        return Forecast(self._sent_bytes, refusals, tuple(self._notes()))

    def close(self) -> None:
        """Hold nothing."""

    def _notes(self) -> Iterator[str]:
        limits = self._limits
        if self._largest > self._max_bytes:
            yield f"the largest request, of {format_size(self._largest)}, is over max_bytes, and goes in smaller pieces"
        if limits is None:
            yield "no limits are known: name the receiver, or the limits that it has"
            return
        if 0 < limits.message_bytes < min(self._largest, self._max_bytes):
            sizes = f"{format_size(self._largest)}, and the receiver takes {format_size(limits.message_bytes)}"
            yield f"the largest request has {sizes}; set max_bytes to that"
        if 0 < limits.series < self._n_series:
            what = f"the receiver takes {limits.series} of all senders together, and refuses what is beyond"
            yield f"{self._n_series} series: {what}"
        if 0 < limits.samples_per_s < self._samples:
            least = format_duration(self._samples // limits.samples_per_s * NS_PER_S)
            yield f"at {limits.samples_per_s} samples a second, which the receiver takes, it lasts {least} or longer"

    def _look_at(self, part: Part) -> None:
        there = part.there()
        counts = np.count_nonzero(there, axis=0)
        self._samples += sum(int(np.count_nonzero(~np.isnan(values))) for _, values in columns(part))
        sketched = sketch_of(part) is not None
        reasons = [self._reason_of(series, sketched=sketched) for series in part.series]
        by_time = np.zeros(there.shape, np.bool_)
        for reason, rows in self._times(part.timestamps_ns):
            found = there & rows[:, None] & ~by_time
            by_time |= found
            self._count(part, reason, np.where([not each for each in reasons], np.count_nonzero(found, axis=0), 0))
        if self._limits is not None and not self._limits.infinite:
            infinite = np.zeros(there.shape, np.bool_)
            for _, values in columns(part):
                infinite |= np.isinf(values)
            found = np.count_nonzero(infinite & ~by_time, axis=0)
            self._count(part, self._said("an infinite value"), np.where([not each for each in reasons], found, 0))
        for series, reason, count in zip(part.series, reasons, counts.tolist(), strict=True):
            if reason and count:
                self._refused[reason, self._shown(series)] += count

    def _count(self, part: Part, reason: str, counts: NDArray[np.int64]) -> None:
        for column in np.flatnonzero(counts).tolist():
            self._refused[reason, self._shown(part.series[column])] += int(counts[column])

    def _shown(self, series: Series) -> str:
        labels = self._label_sets.of(series, sample_columns(series.kind, sketched=False)[0])
        own = tuple((name, value) for name, value in labels if name != "__name__") if labels else series.labels
        return format_series(series.name, own)

    def _times(self, stamps_ns: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """Say which rows are out of the receiver's time, the receiver's newest sample being of now."""
        limits = self._limits
        if limits is not None and limits.window_ns:
            what = f"older than {format_duration(limits.window_ns)} before the receiver's newest sample"
            yield self._said(what), stamps_ns < self._now_ns - limits.window_ns
        if limits is not None and limits.ahead_ns:
            what = f"more than {format_duration(limits.ahead_ns)} ahead of the clock"
            yield self._said(what), stamps_ns > self._now_ns + limits.ahead_ns

    def _reason_of(self, series: Series, *, sketched: bool) -> str:
        """Say why nothing of a series, or not all of each of its samples, would be taken; empty: it is."""
        key = (series.name, series.labels)
        known = self._reasons.get(key)
        if known is None:
            known, n_series = "", 0
            for column in sample_columns(series.kind, sketched=sketched):
                labels = self._label_sets.of(series, column)
                n_series += bool(labels)
                known = known or (
                    self._beyond(labels) if labels else "left out: another series has its name, or none may"
                )
            self._reasons[key], self._n_series = known, self._n_series + n_series
        return known

    def _beyond(self, labels: Labels) -> str:
        limits = self._limits
        if limits is None:
            return ""
        if 0 < limits.labels < len(labels):
            return self._said(f"more than {limits.labels} labels")
        for name, value in labels:
            if 0 < limits.name_bytes < len(name.encode()):
                return self._said(f"a label's name of more than {limits.name_bytes} bytes")
            if 0 < limits.value_bytes < len(value.encode()):
                return self._said(f"a label's value of more than {limits.value_bytes} bytes")
        return ""

    def _said(self, reason: str) -> str:
        return f"{reason}: answered 2xx, and not stored so" if self._limits and self._limits.silent else reason
