"""Instruments of a store: what a program declares its series with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rondo_core.record.handles import Counter, Gauge, GaugeBatch, Summary
from rondo_core.record.overflow import batch_of

if TYPE_CHECKING:
    from rondo_core.record.declaring import Declarations


class Instruments:
    """Declares counters, gauges and summaries; a store is one."""

    _declarations: Declarations

    def counter(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Counter:
        """Declare a counter, or find the one of that name and labels; it stands at its last total.

        Args: labels as a mapping, as keywords, or both; `help`, which may also come right after the name, and `unit`
            are for people and exporters. Those that a series was first declared with stand; others are logged, once.
        Raises: LabelError: a name that receivers could not take, or the series is of another kind;
        CapacityError: the store is strict and the schema full; StoreClosedError. Of a full schema the handle otherwise
        counts into an overflow series, `{rondo_overflow="true"}`, which all that have no room share.
        """
        handle: Counter = self._declarations.declare("counter", name, given, labels, help, unit)
        return handle

    def gauge(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Gauge:
        """Declare a gauge, or find it; it is absent until it is set. Raises: as `counter`."""
        handle: Gauge = self._declarations.declare("gauge", name, given, labels, help, unit)
        return handle

    def summary(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        quantiles: bool = False,
        **labels: object,
    ) -> Summary:
        """Declare a summary, or find it.

        Args: `quantiles`: keep what p50, p99 and the like are read from, where the store has a schema with
            `sketch = true`; where it has none, a warning says so once, and the summary keeps none. Values are then
            at least 0.
        Raises: as `counter`.
        """
        wants = "sketch" if quantiles else ""
        handle: Summary = self._declarations.declare("summary", name, given, labels, help, unit, wants)
        return handle

    def batch(self, gauges: Sequence[Gauge]) -> GaugeBatch:
        """Bind gauges, declared one after the other, that one call sets together. Raises: UsageError: others."""
        return batch_of(gauges, self._declarations.registry)
