"""States: one of several at a time, a gauge for each that is 1 or 0, as OpenMetrics' state sets are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rondo_core.errors import UsageError
from rondo_core.record.admission import UNKNOWN_STATE
from rondo_core.record.batches import GaugeBatch

if TYPE_CHECKING:
    from rondo_core.record.gauges import Gauge


def check_states(name: str, states: Iterable[str]) -> tuple[str, ...]:
    """Give the names of states. Raises: UsageError: there is none, one comes twice, or is no text."""
    known = () if isinstance(states, str) else tuple(states)
    if not known or len(set(known)) < len(known) or not all(isinstance(each, str) and each for each in known):
        raise UsageError(f'{name}: states {states!r}: write each once, in a list, such as ["load", "transform"]')
    return known


class State:
    """One of several states; `set` says which. It stands in each bucket until it is another's, or the run ends.

    Attributes: `value`: the state that was set; empty before.
    """

    def __init__(self, name: str, gauges: Mapping[str, Gauge]) -> None:
        """Take the gauge of each state; `Store.state` does this."""
        self._name, self._gauges, self.value = name, dict(gauges), ""
        self._batch: GaugeBatch | None = None
        with contextlib.suppress(UsageError):  # some may not be side by side: of an earlier run, or without room
            self._batch = GaugeBatch(tuple(self._gauges.values()))

    def set(self, state: str) -> None:
        """Make it this state, now; one that was not declared is refused and counted, and what was set stays."""
        if state.__class__ is not str or state not in self._gauges:
            next(iter(self._gauges.values())).current.writer.refuse(UNKNOWN_STATE)
            return
        begins, self.value = not self.value, state
        values = [1.0 if each == state else 0.0 for each in self._gauges]
        if self._batch is not None:
            self._batch.set(values)
        else:
            for gauge, value in sorted(zip(self._gauges.values(), values, strict=True), key=lambda each: each[1]):
                gauge.set(value)
        if begins:
            for gauge in self._gauges.values():
                gauge.inc(0.0)  # it goes on in the next buckets

    def __repr__(self) -> str:
        """Name it and the state that it is in."""
        return f"<State {self._name}: {self.value or 'not set'}; of {', '.join(self._gauges)}>"
