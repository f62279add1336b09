"""One exporter for several stores, told apart by labels, and what an exporter takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import attrs

from rondo_core.export.batch import Batch, EventRequest
from rondo_core.hookspecs import EventExporter, Exporter
from rondo_core.model.labels import Series, overridden


class Labelled:
    """An exporter whose series and events all get labels, which win over their own; see `overridden`."""

    def __init__(self, exporter: Exporter, labels: Mapping[str, str]) -> None:
        """Bind to an exporter; no labels add nothing."""
        self._exporter, self._labels = exporter, dict(labels)
        self.takes_samples, self.takes_events = takes_samples(exporter), takes_events(exporter)
        self._known: dict[tuple[Series, ...], tuple[Series, ...]] = {}

    def send(self, batch: Batch) -> int | None:
        """Send the batch on. Returns, raises: as the exporter."""
        if not self._labels:
            return self._exporter.send(batch)
        parts = tuple(attrs.evolve(part, series=self._named(part.series)) for part in batch.parts)
        return self._exporter.send(attrs.evolve(batch, parts=parts, ended=self._named(batch.ended)))

    def send_event(self, request: EventRequest) -> None:
        """Send a mark or a note on. Raises: as the exporter."""
        labels = dict(overridden(tuple(sorted(request.labels.items())), self._labels))
        cast("EventExporter", self._exporter).send_event(attrs.evolve(request, labels=labels))

    def _named(self, series: tuple[Series, ...]) -> tuple[Series, ...]:
        if series not in self._known:
            self._known[series] = tuple(each._replace(labels=overridden(each.labels, self._labels)) for each in series)
        return self._known[series]

    def close(self) -> None:
        """Close the exporter."""
        self._exporter.close()


def takes_samples(exporter: object) -> bool:
    """Say whether an exporter takes samples: for one that does not, none is read."""
    return bool(getattr(exporter, "takes_samples", True)) and hasattr(exporter, "send")


def takes_events(exporter: object) -> bool:
    """Say whether an exporter takes marks and notes."""
    return bool(getattr(exporter, "takes_events", True)) and hasattr(exporter, "send_event")
