"""Batches of handles as they come: side by side in a row, or scattered where overflow series have come between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core.model.labels import Series
from rondo_core.model.schema import MAX_SERIES
from rondo_core.record.batches import CounterBatch, GaugeBatch
from rondo_core.record.gauges import Gauge
from rondo_core.record.handles import Counter

if TYPE_CHECKING:
    from rondo_core.storage.registry import Registry


class ScatteredGauges(GaugeBatch):
    """Gauges that are set together and do not lie side by side, as where one is an overflow series: one by one."""

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        """Take them as they come."""
        self.gauges = tuple(gauges)

    @property
    def series(self) -> tuple[Series, ...]:
        """Name what each gauge sets, in order; an overflow series may be there more than once."""
        return tuple([gauge.series for gauge in self.gauges])

    def set(self, values: Any, now_ns: int | None = None) -> None:
        """Set every gauge. Raises: ValueError: the number of values is not that of the gauges."""
        given = list(values)
        if len(given) != len(self.gauges):
            raise ValueError(f"{len(given)} values for {len(self.gauges)} gauges")
        for gauge, value in zip(self.gauges, given, strict=True):
            gauge.set(value, now_ns)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<ScatteredGauges of {len(self.gauges)}: {self.gauges[0].series} ...>"


class ScatteredCounters(CounterBatch):
    """Counters that grow together and do not lie side by side, as where one is an overflow series: one by one."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        """Take them as they come."""
        self.counters = tuple(counters)

    @property
    def series(self) -> tuple[Series, ...]:
        """Name what each counter counts in, in order; an overflow series may be there more than once."""
        return tuple([counter.series for counter in self.counters])

    def inc(self, amounts: Any, now_ns: int | None = None) -> None:
        """Add to every counter. Raises: ValueError: the number of amounts is not that of the counters."""
        given = list(amounts)
        if len(given) != len(self.counters):
            raise ValueError(f"{len(given)} amounts for {len(self.counters)} counters")
        for counter, amount in zip(self.counters, given, strict=True):
            counter.inc(amount, now_ns)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<ScatteredCounters of {len(self.counters)}: {self.counters[0].series} ...>"


def gauge_batch_of(gauges: Iterable[Gauge], registry: Registry) -> GaugeBatch:
    """Bind gauges for a batch; scattered where overflow series have come between them. Raises: UsageError."""
    taken, scattered = _taken(gauges, registry)
    return ScatteredGauges(taken) if scattered else GaugeBatch(taken)


def counter_batch_of(counters: Iterable[Counter], registry: Registry) -> CounterBatch:
    """Bind counters for a batch, likewise. Raises: UsageError."""
    taken, scattered = _taken(counters, registry)
    return ScatteredCounters(taken) if scattered else CounterBatch(taken)


def _taken(handles: Iterable[Any], registry: Registry) -> tuple[list[Any], bool]:
    """Give handles for a batch as far as they are looked at, and whether they are to be recorded one by one."""
    taken: list[Any] = []
    side_by_side, may_lie_apart = True, False
    for handle in handles:  # one by one: some have no end
        taken.append(handle)
        series, first = handle.series, taken[0].series
        if series.schema != first.schema or series.column != first.column + len(taken) - 1:
            side_by_side = False
        may_lie_apart = may_lie_apart or not series.schema or any(registry.count_overflow(series.schema))
        if len(taken) > MAX_SERIES or not (side_by_side or may_lie_apart):
            break
    return taken, may_lie_apart and not side_by_side and len(taken) <= MAX_SERIES
