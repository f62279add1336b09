"""Readings of instruments that another library keeps, recorded as the series of a store."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rondo_bridges.failures import Failures
from rondo_core import Store

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_:]")
_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")
Key = tuple[str, str, tuple[tuple[str, str], ...]]


class Readings:
    """The series that were read so far, at most `max_series` of them, and where each total stood.

    One thread at a time uses it. What has no room, or a name that no store takes, is counted in `failures`, once each
    series, and left out from then on.
    """

    def __init__(self, store: Store, failures: Failures, max_series: int, *, leave_declared: bool = False) -> None:
        """Know no series yet.

        Args: `leave_declared`: leave alone what the program or a recorder has declared, which would count twice.
        """
        self._leave_declared = leave_declared
        self._store, self._failures, self._max_series = store, failures, max_series
        self._handles: dict[Key, Any] = {}
        self._totals: dict[Key, float] = {}
        self._n_left_out = 0

    def handle(self, kind: str, name: str, labels: Mapping[str, object], help_text: str = "", unit: str = "") -> Any:
        """Give the handle of a series, declared at its first reading; None where there can be none."""
        key = kind, name, tuple([(each, str(value)) for each, value in labels.items()])
        try:
            return self._handles[key]
        except KeyError:
            return self._declared(key, help_text, unit)

    def _declared(self, key: Key, help_text: str, unit: str) -> Any:
        kind, name, labels = key
        if len(self._handles) >= self._max_series:
            if not self._n_left_out:
                self._failures.take(OverflowError(f"{name}: more than {self._max_series} series"), "left out")
            self._n_left_out += 1
            return None
        try:
            plain = {_plain(_NOT_IN_A_LABEL, each): value for each, value in labels}
            written = _plain(_NOT_IN_A_NAME, name)
            handle = None
            if not (self._leave_declared and self._store.is_declared(written, **plain)):
                handle = getattr(self._store, kind)(written, plain, help=help_text, unit=unit)
        except Exception as error:  # noqa: BLE001 - one series that cannot be is not the others' fault
            self._failures.take(error, "left out")
            handle = None
        self._handles[key] = handle
        return handle

    def total(
        self, name: str, labels: Mapping[str, object], value: float, help_text: str = "", *, begins_anew: bool = True
    ) -> bool:
        """Let a counter grow to where a running total stands; say whether that has begun anew.

        A total that is lower than it was began at 0 again, unless `begins_anew` says that it just falls: then the
        counter waits for it.
        """
        counter = self.handle("counter", name, labels, help_text)
        if counter is None:
            return False
        before = self._totals.get(key := (name, counter.series.schema, counter.series.labels), 0.0)
        anew = value < before
        if not anew or begins_anew:
            if value != before:
                counter.inc(value if anew else value - before)
            self._totals[key] = value
        return anew

    def level(self, name: str, labels: Mapping[str, object], value: float, help_text: str = "") -> None:
        """Set a gauge."""
        gauge = self.handle("gauge", name, labels, help_text)
        if gauge is not None:
            gauge.set(value)


def _plain(wrong: re.Pattern[str], name: str) -> str:
    """Write a name with underscores for what stores, and most receivers, do not take."""
    plain = wrong.sub("_", name)
    return f"_{plain}" if plain[:1].isdigit() else plain
