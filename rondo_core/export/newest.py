"""The newest closed sample of each series, out of the batches that come."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from rondo_core.clock import NS_PER_S
from rondo_core.export.batch import Batch, Part
from rondo_core.export.drain import Drain
from rondo_core.export.exposition import SummaryValue, Value
from rondo_core.export.sources import FOR_EVER
from rondo_core.model import sketch
from rondo_core.model.labels import Series
from rondo_core.read.store_reader import View

QUANTILES = (0.5, 0.9, 0.99)
# A series without a sample for longer is not shown: a scraper would take its last value for a present one.
STALE_AFTER_NS = 60 * NS_PER_S
MAX_SAMPLES = 200_000  # that are in memory at once
NewestSample = tuple[Series, int, Value]


class Newest:
    """Where each series stands; threads may read it while another takes batches."""

    def __init__(self) -> None:
        """Know no series."""
        self._known: dict[tuple[str, object], NewestSample] = {}
        self._lock = threading.Lock()

    def take(self, batch: Batch) -> None:
        """Move every series to its newest sample of the batch, and forget those that have ended."""
        found = [each for part in batch.parts for each in _newest(part)]
        with self._lock:
            for series, time_ns, value in found:
                known = self._known.get((series.name, series.labels))
                if known is None or time_ns >= known[1]:
                    self._known[series.name, series.labels] = series, time_ns, value
            for series in batch.ended:
                self._known.pop((series.name, series.labels), None)

    def values(self) -> list[NewestSample]:
        """Give (series, time in ns since the epoch, value), in the order in which series came."""
        with self._lock:
            return list(self._known.values())


def _newest(part: Part) -> Iterator[NewestSample]:
    import numpy as np

    statistics = part.statistics
    present = ~np.isnan(statistics["count" if part.kind == "summary" else "last"])
    rows = part.n_rows - 1 - present[::-1].argmax(axis=0)
    for column in np.flatnonzero(present.any(axis=0)).tolist():
        row = int(rows[column])
        value = _summary(part, row, column) if part.kind == "summary" else float(statistics["last"][row, column])
        yield part.series[column], int(part.timestamps_ns[row]), value


def _summary(part: Part, row: int, column: int) -> SummaryValue:
    """Give the running totals, and of the bucket min and max as quantiles 0 and 1 with what a sketch has between."""
    import numpy as np

    at = {name: values[row, column] for name, values in part.statistics.items()}
    quantiles: list[tuple[float, float]] = []
    if at["count"] > 0:
        low, high = float(at["min"]), float(at["max"])
        between = []
        if "sketch" in at:
            between = [(q, float(np.clip(sketch.quantile(at["sketch"], q), low, high))) for q in QUANTILES]
        quantiles = [(0.0, low), *between, (1.0, high)]
    return SummaryValue(float(at["count_base"] + at["count"]), float(at["sum_base"] + at["sum"]), tuple(quantiles))


def newest_of(view: View) -> list[NewestSample]:
    """Read where each series of a store stands: (series, time in ns since the epoch, value)."""
    first_ns = max(0, view.newest_ns() - STALE_AFTER_NS)
    positions = {f"{schema.name}.0": first_ns // schema.tiers[0].interval_ns for schema in view.meta.schemas}
    newest, drain = Newest(), Drain(view)
    while (drained := drain.next(positions, FOR_EVER, MAX_SAMPLES)) is not None:
        newest.take(drained.batch)
        positions |= drained.positions
    return newest.values()
