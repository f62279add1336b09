"""Instruments of a store: what a program declares its series with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, overload

from rondo_core import forking
from rondo_core.model.labels import check_keywords
from rondo_core.record.gauges import Gauge
from rondo_core.record.handles import Counter, Summary

if TYPE_CHECKING:
    from rondo_core.model.labels import Kind
    from rondo_core.record.batches import CounterBatch, GaugeBatch
    from rondo_core.record.declaring import Declarations
    from rondo_core.record.states import State

    Given = str | Mapping[str, object] | None


class CounterFamily(Protocol):
    """Counters of one name, by the values of their labels."""

    def labels(self, *values: object, **named: object) -> Counter:
        """Give the counter with these values; see `Family.labels`."""


class GaugeFamily(Protocol):
    """Gauges of one name, by the values of their labels."""

    def labels(self, *values: object, **named: object) -> Gauge:
        """Give the gauge with these values; see `Family.labels`."""


class SummaryFamily(Protocol):
    """Summaries of one name, by the values of their labels."""

    def labels(self, *values: object, **named: object) -> Summary:
        """Give the summary with these values; see `Family.labels`."""


class Instruments:
    """Declares counters, gauges and summaries; a store is one."""

    _declarations: Declarations

    @overload
    def counter(  # type: ignore[overload-overlap]  # a label of that name comes in a mapping
        self,
        name: str,
        /,
        *given: Given,
        labels: list[str] | tuple[str, ...],
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> CounterFamily: ...
    @overload
    def counter(
        self,
        name: str,
        /,
        *given: Given,
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> Counter: ...
    def counter(
        self,
        name: str,
        /,
        *given: Given,
        labels: Any = None,
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> Any:
        """Declare a counter, or find the one of that name and labels; it stands at its last total.

        Args: labels with their values as a mapping, as keywords, or both; `labels`: names of labels instead, whose
            values are given where something is recorded, by `.labels(...)` of the family that this gives; `help`, which
            may also come right after the name, and `unit` are for people and exporters. Those that a series was first
            declared with stand; others are logged, once.
        Raises: LabelError: a name that receivers could not take, or the series is of another kind;
        CapacityError: the store is strict and the schema full; StoreClosedError. Of a full schema the handle otherwise
        counts into an overflow series, `{rondo_overflow="true"}`, which all that have no room share.
        """
        return self._declare("counter", name, given, labels, help, unit, fixed)

    @overload
    def gauge(  # type: ignore[overload-overlap]  # a label of that name comes in a mapping
        self,
        name: str,
        /,
        *given: Given,
        labels: list[str] | tuple[str, ...],
        peaks: bool = False,
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> GaugeFamily: ...
    @overload
    def gauge(
        self,
        name: str,
        /,
        *given: Given,
        peaks: bool = False,
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> Gauge: ...
    def gauge(
        self,
        name: str,
        /,
        *given: Given,
        labels: Any = None,
        peaks: bool = False,
        help: str | None = "",
        unit: str | None = "",
        **fixed: object,
    ) -> Any:
        """Declare a gauge, or find it; it is absent until it is set or changed.

        Args: as `counter`; `peaks`: keep the least and the greatest value of each bucket too, in the first schema of
            gauges with `peaks = true` that takes it; where none does, a warning says so once, and the gauge keeps its
            last values alone, as does one that there is already and was declared without.
        Raises: as `counter`.
        """
        return self._declare("gauge", name, given, labels, help, unit, fixed, "peaks" if peaks else "")

    @overload
    def summary(  # type: ignore[overload-overlap]  # a label of that name comes in a mapping
        self,
        name: str,
        /,
        *given: Given,
        labels: list[str] | tuple[str, ...],
        help: str | None = "",
        unit: str | None = "",
        quantiles: bool = False,
        **fixed: object,
    ) -> SummaryFamily: ...
    @overload
    def summary(
        self,
        name: str,
        /,
        *given: Given,
        help: str | None = "",
        unit: str | None = "",
        quantiles: bool = False,
        **fixed: object,
    ) -> Summary: ...
    def summary(
        self,
        name: str,
        /,
        *given: Given,
        labels: Any = None,
        help: str | None = "",
        unit: str | None = "",
        quantiles: bool = False,
        **fixed: object,
    ) -> Any:
        """Declare a summary, or find it.

        Args: as `counter`; `quantiles`: keep what p50, p99 and the like are read from, where the store has a schema
            with `sketch = true`; where it has none, a warning says so once, and the summary keeps none. Values are
            then at least 0.
        Raises: as `counter`.
        """
        return self._declare("summary", name, given, labels, help, unit, fixed, "sketch" if quantiles else "")

    def state(
        self, name: str, states: Iterable[str], /, *given: Given, help: str | None = "", **fixed: object
    ) -> State:
        """Declare what is in one of several states at a time: `set` says in which.

        Each state is a gauge, `name{name="state"}`, that is 1 where it is the one and 0 else, as in OpenMetrics' state
        sets. Raises: UsageError: no state, or one twice; as `counter`.
        """
        from rondo_core.record.states import State, check_states

        known = check_states(name, states)
        with self._declarations.lock:
            gauges = {
                each: self._declare("gauge", name, (*given, {name: each}), None, help, "", fixed) for each in known
            }
        return State(name, gauges)

    def info(self, name: str, /, *given: Given, help: str | None = "", **facts: object) -> Gauge:
        """Put facts on record, such as a version: the gauge `name_info` with them as labels is 1, in each bucket.

        Raises: as `counter`.
        """
        whole = name if name.endswith("_info") else f"{name}_info"
        gauge: Gauge = self._declarations.declare("gauge", whole, given, facts, help, "")
        gauge.set(1.0)
        gauge.inc(0.0)  # it goes on in the next buckets
        gauge.set_function(_one)  # and in those of a forked child
        return gauge

    def is_declared(self, name: str, /, **labels: object) -> bool:
        """Say whether the program, or a recorder, has declared this very series since the store was opened.

        Raises: LabelError: no labels.
        """
        return self._declarations.is_declared(name, labels)

    def batch(self, gauges: Sequence[Gauge]) -> GaugeBatch:
        """Bind gauges, declared one after the other, that one call sets together. Raises: UsageError: others."""
        forking.load("rondo_core.record.scattered_batches")
        from rondo_core.record.scattered_batches import gauge_batch_of

        return gauge_batch_of(gauges, self._declarations.registry)

    def counter_batch(self, counters: Sequence[Counter]) -> CounterBatch:
        """Bind counters, declared one after the other, that one call adds to together. Raises: UsageError: others."""
        forking.load("rondo_core.record.scattered_batches")
        from rondo_core.record.scattered_batches import counter_batch_of

        return counter_batch_of(counters, self._declarations.registry)

    def _declare(
        self,
        kind: Kind,
        name: str,
        given: tuple[Given, ...],
        labels: object,
        help_text: str | None,
        unit: str | None,
        fixed: Mapping[str, object],
        wants: str = "",
    ) -> Any:
        check_keywords(name, fixed)
        if labels is None:
            return self._declarations.declare(kind, name, given, fixed, help_text, unit, wants)
        return self._declarations.family(kind, name, given, labels, fixed, help_text, unit, wants)


def _one() -> float:
    return 1.0
