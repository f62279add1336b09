"""What an exporter is handed: rows of closed buckets, as columns of numbers with their series."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from rondo_core.model.labels import Kind, Series
from rondo_core.storage.events import Event

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@attrs.frozen(eq=False)
class Part:
    """One schema's share of a batch: the same buckets for all of its series.

    Attributes:
        schema, tier, interval_ns: where the rows were drained from.
        kind: of every series in it. A reading of a tier, such as x_avg, is a gauge, whatever it was read from.
        series: one per column.
        timestamps_ns: int64 [rows], the first nanosecond of each bucket, strictly increasing; where a coarser tier
            stands in for what the finest has overwritten, that of the window's last finest bucket.
        statistics: name -> float64 [rows, series]; NaN: absent. A gauge or counter has
            "last"; a summary "count", "sum", "min", "max" of the bucket and "count_base", "sum_base", the
            totals before the bucket began, so that base + bucket is the running total; and where its schema keeps
            one, "sketch", int64 [rows, series, cells + 3]: see sketch.py.
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

    def picked(self, columns: Sequence[int]) -> Part:
        """Give the share of the series in these columns."""
        cut = {name: values[:, columns] for name, values in self.statistics.items()}
        return attrs.evolve(self, series=tuple(self.series[column] for column in columns), statistics=cut)

    def there(self) -> NDArray[np.bool_]:
        """Say which (bucket, series) cells hold a value: bool [rows, series]."""
        import numpy as np

        return ~np.isnan(self.statistics["count" if self.kind == "summary" else "last"])

    @property
    def n_samples(self) -> int:
        """Count the (bucket, series) cells that hold a value."""
        import numpy as np

        return int(np.count_nonzero(self.there()))


@attrs.frozen
class RunEnd:
    """The run whose end a batch tells.

    Attributes: `store`: the path of its store, which is there while the batch is sent; `number`: of the run; `samples`:
        acknowledged of the store so far, by the exporter that is sent the batch.
    """

    store: str
    number: int
    samples: int


@attrs.frozen(eq=False)
class Batch:
    """What leaves in one request: parts that together cover one span of time, oldest first.

    Attributes:
        parts: one per schema that has rows in the span.
        ended: series that will have no further sample, because the process that wrote them has ended; empty
            but for the last batch of a run, which may have no parts.
        ended_ns: the newest sample's timestamp of that run, ns since the epoch; 0 where nothing has ended.
        ended_until_ns: when the bucket of that sample, and every other of the run, was over; 0 where nothing has ended.
        sketched: the schemas, of the series that have ended, whose summaries keep a sketch.
        resent: whether it may have arrived before: no answer came to it, or the process that sent it was killed. It is
            then equal to the first try, or a share of it.
        run: which run has ended, and where its store is; None: none has.
    """

    parts: tuple[Part, ...]
    ended: tuple[Series, ...] = ()
    ended_ns: int = 0
    sketched: frozenset[str] = frozenset()
    ended_until_ns: int = 0
    resent: bool = False
    run: RunEnd | None = None

    @property
    def n_samples(self) -> int:
        """Count the cells that hold a value, over all parts."""
        return sum(part.n_samples for part in self.parts)

    def instants(self) -> list[int]:
        """Give the timestamps at which any series holds a value, ns since the epoch, ascending."""
        import numpy as np

        stamps = [part.timestamps_ns[part.there().any(axis=1)] for part in self.parts]
        instants: list[int] = np.unique(np.concatenate([np.empty(0, np.int64), *stamps])).tolist()
        return instants

    def where(self, wanted: Callable[[Series], bool]) -> Batch:
        """Give the share of the series that are wanted; nothing has ended in it."""
        parts = []
        for part in self.parts:
            columns = [column for column, series in enumerate(part.series) if wanted(series)]
            if len(columns) == len(part.series):
                parts.append(part)
            elif columns:
                parts.append(part.picked(columns))
        return Batch(tuple(parts), resent=self.resent)

    def filled(self) -> Batch:
        """Leave out the series that hold no value in it."""
        import numpy as np

        parts = []
        for part in self.parts:
            columns = np.flatnonzero(part.there().any(axis=0)).tolist()
            if columns:
                parts.append(part if len(columns) == len(part.series) else part.picked(columns))
        return attrs.evolve(self, parts=tuple(parts))

    def split_time(self) -> tuple[Batch, Batch] | None:
        """Give the earlier and the later half; None for one instant."""
        import numpy as np

        stamps = self.instants()
        if len(stamps) < 2:
            return None
        middle = stamps[len(stamps) // 2]
        cuts = [int(np.searchsorted(part.timestamps_ns, middle)) for part in self.parts]
        early = [part.rows(slice(0, cut)) for part, cut in zip(self.parts, cuts, strict=True)]
        late = [part.rows(slice(cut, None)) for part, cut in zip(self.parts, cuts, strict=True)]
        first = Batch(tuple(part for part in early if part.n_rows), resent=self.resent)
        return first, attrs.evolve(self, parts=tuple(part for part in late if part.n_rows))

    def split_series(self) -> tuple[Batch, Batch] | None:
        """Give the first and the second half of the series; None for one series."""
        half = sum(len(part.series) for part in self.parts) // 2
        if not half:
            return None
        first, second = [], []
        for part in self.parts:
            mine = max(0, min(half, len(part.series)))
            half -= mine
            if mine:
                first.append(part.columns(slice(0, mine)))
            if mine < len(part.series):
                second.append(part.columns(slice(mine, None)))
        return Batch(tuple(first), resent=self.resent), attrs.evolve(self, parts=tuple(second))


@attrs.frozen
class EventRequest:
    """A mark or a note on its way out.

    Attributes:
        event: what happened, and when; its number is 1 for a store's first, and one more for each.
        store_id: the store's own, the same wherever it lies.
        labels: of the store, and what everything gets on its way out.
        resent: the receiver may have it already: where it can be asked, it is.
    """

    event: Event
    store_id: str
    labels: Mapping[str, str] = attrs.field(factory=dict)
    resent: bool = False
