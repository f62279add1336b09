"""Batches of handles as they come: side by side in a row, or scattered where overflow series have come between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rondo_core.model.labels import Series
from rondo_core.model.schema import MAX_SERIES
from rondo_core.record.batches import CounterBatch, GaugeBatch
from rondo_core.record.gauges import Gauge
from rondo_core.record.handles import Counter

if TYPE_CHECKING:
    from rondo_core.storage.registry import Registry

Record = Callable[[Any, int], object]  # of a number, or of as many as a batch takes; at an instant, ns


class ScatteredGauges(GaugeBatch):
    """Gauges that are set together and do not all lie side by side, as where one is an overflow series.

    Those that do are set at once, and all of them in the same bucket.
    """

    def __init__(self, gauges: Sequence[Gauge]) -> None:
        """Take them as they come."""
        self.gauges = tuple(gauges)
        self._writer, self._parts = _writer_of(self.gauges), _parts_of(self.gauges, "set", GaugeBatch)

    @property
    def series(self) -> tuple[Series, ...]:
        """Name what each gauge sets, in order; an overflow series may be there more than once."""
        return tuple([gauge.series for gauge in self.gauges])

    def set(self, values: Any, now_ns: int | None = None) -> None:
        """Set every gauge, or none; see `GaugeBatch.set`.

        Raises: ValueError: the number of values is not that of the gauges.
        """
        _record(self._parts, self._writer, self._writer.numbers(values, len(self.gauges)), now_ns)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<ScatteredGauges of {len(self.gauges)}: {self.gauges[0].series} ...>"


class ScatteredCounters(CounterBatch):
    """Counters that grow together and do not all lie side by side, likewise."""

    def __init__(self, counters: Sequence[Counter]) -> None:
        """Take them as they come."""
        self.counters = tuple(counters)
        self._writer, self._parts = _writer_of(self.counters), _parts_of(self.counters, "inc", CounterBatch)

    @property
    def series(self) -> tuple[Series, ...]:
        """Name what each counter counts in, in order; an overflow series may be there more than once."""
        return tuple([counter.series for counter in self.counters])

    def inc(self, amounts: Any, now_ns: int | None = None) -> None:
        """Add to every counter, or to none; see `CounterBatch.inc`.

        Raises: ValueError: the number of amounts is not that of the counters.
        """
        _record(self._parts, self._writer, self._writer.amounts(amounts, len(self.counters)), now_ns)

    def __repr__(self) -> str:
        """Say how many and which."""
        return f"<ScatteredCounters of {len(self.counters)}: {self.counters[0].series} ...>"


def _writer_of(handles: Sequence[Any]) -> Any:
    """Give the slow path of the first handle that counts anywhere: it reads values and the clock for all of them."""
    return next((each for each in handles if each.series.schema), handles[0]).current.writer


def _parts_of(handles: Sequence[Any], verb: str, batch: Any) -> list[tuple[Record, Any]]:
    """Give what records each handle, or each stretch of them that lies side by side, and which values it takes."""
    starts = [at for at, each in enumerate(handles) if not at or not _follows(each.series, handles[at - 1].series)]
    parts: list[tuple[Record, Any]] = []
    for first, end in pairwise((*starts, len(handles))):
        if end - first == 1:
            parts.append((getattr(handles[first], verb), first))
        else:
            parts.append((getattr(batch(handles[first:end]), verb), slice(first, end)))
    return parts


def _follows(series: Series, before: Series) -> bool:
    return series.schema == before.schema and series.column == before.column + 1


def _record(parts: list[tuple[Record, Any]], writer: Any, numbers: Any, now_ns: Any) -> None:
    """Record what was read, in the order of the handles, at one instant; None: it is refused."""
    if numbers is None:
        return
    instant_ns = writer.instant(now_ns, len(numbers))
    if instant_ns is not None:
        for record, which in parts:
            record(numbers[which], instant_ns)


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
