"""What an exporter is handed: rows of closed buckets, as columns of numbers with their series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from rondo_core.labels import Kind, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@attrs.frozen(eq=False)
class Part:
    """One schema's share of a batch: the same buckets for all of its series.

    Attributes:
        schema, tier, interval_ns: where the rows were drained from.
        kind: of every series in it.
        series: one per column.
        timestamps_ns: int64 [rows], the first nanosecond of each bucket, strictly increasing.
        statistics: name -> float64 [rows, series]; NaN: absent. A gauge or counter of the finest tier has
            "last"; a summary "count", "sum", "min", "max" of the bucket and "count_base", "sum_base", the
            totals before the bucket began, so that base + bucket is the running total; and where its schema keeps
            one, "sketch", int64 [rows, series, 163]: see sketch.py.
    """

    schema: str
    tier: int
    interval_ns: int
    kind: Kind
    series: tuple[Series, ...]
    timestamps_ns: NDArray[np.int64]
    statistics: Mapping[str, NDArray[np.float64]]

    @property
    def n_rows(self) -> int:
        """Count the buckets."""
        return len(self.timestamps_ns)

    def rows(self, keep: slice) -> Part:
        """Give the share of some of the buckets."""
        cut = {name: values[keep] for name, values in self.statistics.items()}
        return attrs.evolve(self, timestamps_ns=self.timestamps_ns[keep], statistics=cut)

    def columns(self, keep: slice) -> Part:
        """Give the share of some of the series."""
        cut = {name: values[:, keep] for name, values in self.statistics.items()}
        return attrs.evolve(self, series=self.series[keep], statistics=cut)

    @property
    def n_samples(self) -> int:
        """Count the (bucket, series) cells that hold a value."""
        import numpy as np

        values = self.statistics["count" if self.kind == "summary" else "last"]
        return int(np.count_nonzero(~np.isnan(values)))


@attrs.frozen(eq=False)
class Batch:
    """What leaves in one request: parts that together cover one span of time, oldest first.

    Attributes:
        parts: one per schema that has rows in the span.
        ended: series that will have no further sample, because the process that wrote them has ended; empty
            but for the last batch of a run, which may have no parts.
        ended_ns: the newest sample's timestamp of that run, ns since the epoch; 0 where nothing has ended.
        sketched: the schemas, of the series that have ended, whose summaries keep a sketch.
    """

    parts: tuple[Part, ...]
    ended: tuple[Series, ...] = ()
    ended_ns: int = 0
    sketched: frozenset[str] = frozenset()

    @property
    def n_samples(self) -> int:
        """Count the cells that hold a value, over all parts."""
        return sum(part.n_samples for part in self.parts)

    def split(self) -> tuple[Batch, Batch] | None:
        """Halve the batch to find what in it is refused: by time while it has several instants, then by series.

        Returns: the earlier and the later half, or the first and the second half of the series; None for one sample
        of one series. The end of a run stays with the second half.
        """
        import numpy as np

        stamps = np.unique(np.concatenate([np.empty(0, np.int64), *(part.timestamps_ns for part in self.parts)]))
        if len(stamps) > 1:
            middle = stamps[len(stamps) // 2]
            cuts = [int(np.searchsorted(part.timestamps_ns, middle)) for part in self.parts]
            early = tuple(part.rows(slice(0, cut)) for part, cut in zip(self.parts, cuts, strict=True))
            late = tuple(part.rows(slice(cut, None)) for part, cut in zip(self.parts, cuts, strict=True))
        elif sum(len(part.series) for part in self.parts) > 1:
            early, late = self._split_series()
        else:
            return None
        first = Batch(tuple(part for part in early if part.n_rows))
        return first, Batch(tuple(part for part in late if part.n_rows), self.ended, self.ended_ns, self.sketched)

    def _split_series(self) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
        half = sum(len(part.series) for part in self.parts) // 2
        first, second = [], []
        for part in self.parts:
            mine = max(0, min(half, len(part.series)))
            half -= mine
            if mine:
                first.append(part.columns(slice(0, mine)))
            if mine < len(part.series):
                second.append(part.columns(slice(mine, None)))
        return tuple(first), tuple(second)
