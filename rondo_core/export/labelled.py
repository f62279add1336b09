"""One exporter for several stores, told apart by labels."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from rondo_core.export.batch import Batch
from rondo_core.hookspecs import Exporter
from rondo_core.model.labels import Series, overridden


class Labelled:
    """An exporter whose series all get labels, which win over their own; see `overridden`."""

    def __init__(self, exporter: Exporter, labels: Mapping[str, str]) -> None:
        """Bind to an exporter; no labels add nothing."""
        self._exporter, self._labels = exporter, dict(labels)
        self._known: dict[tuple[Series, ...], tuple[Series, ...]] = {}

    def send(self, batch: Batch) -> int | None:
        """Send the batch on. Returns, raises: as the exporter."""
        if not self._labels:
            return self._exporter.send(batch)
        parts = tuple(attrs.evolve(part, series=self._named(part.series)) for part in batch.parts)
        return self._exporter.send(attrs.evolve(batch, parts=parts, ended=self._named(batch.ended)))

    def _named(self, series: tuple[Series, ...]) -> tuple[Series, ...]:
        if series not in self._known:
            self._known[series] = tuple(each._replace(labels=overridden(each.labels, self._labels)) for each in series)
        return self._known[series]

    def close(self) -> None:
        """Close the exporter."""
        self._exporter.close()
