"""Handles for what a full schema has no room for: they count into overflow series, and how many label sets do is known.

Bounded in memory, whatever is thrown at it: of label sets only a bit is kept, of metrics at most so many handles.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rondo_core.errors import CapacityError, LabelError
from rondo_core.model.labels import Kind, Labels, Series
from rondo_core.model.overflow import OVERFLOW, OVERFLOW_HELP, overflow_of, overflow_of_all
from rondo_core.model.schema import Schema
from rondo_core.record.gauges import Gauge
from rondo_core.record.handles import Counter, Current, Summary

if TYPE_CHECKING:
    from rondo_core.record.writer import Writer
    from rondo_core.storage.registry import Registry

BITS = 1 << 16
MAX_METRICS = 1024  # whose handles are kept at hand
_ENDLESS = 1 << 62
_SUMMARY = (0.0, 0.0, 0.0, math.nan, math.nan, math.nan, math.nan, 0.0, 0.0)

Bind = Callable[[Series], Any]


class DistinctLabelSets:
    """How many different label sets were seen: exact while they are few, then about, in 8 KiB.

    Source: Whang, Vander-Zanden, Taylor: A linear-time probabilistic counting algorithm (1990).
    """

    __slots__ = ("_bits", "_bytes")

    def __init__(self) -> None:
        """Have seen none."""
        self._bytes, self._bits = bytearray(BITS // 8), 0

    def add(self, identity: tuple[str, Labels]) -> bool:
        """Take one in; say whether it is a new one for sure."""
        at = hash(identity) % BITS
        bit = 1 << at % 8
        if self._bytes[at // 8] & bit:
            return False
        self._bytes[at // 8] |= bit
        self._bits += 1
        return True

    def count(self) -> int:
        """Give how many there were, never less than were new for sure."""
        left = max(BITS - self._bits, 0.5)
        return max(self._bits, round(BITS * math.log(BITS / left)))


class Overflow:
    """The overflow series of an open store."""

    def __init__(
        self, schemas: Iterable[Schema], registry: Registry, writers: Mapping[str, Writer], bind: Bind
    ) -> None:
        """Count in these; `bind` gives the handle of a series."""
        self._schemas, self._registry, self._writers, self._bind = tuple(schemas), registry, writers, bind
        self._handles: dict[tuple[str, str], Any] = {}
        self._seen: dict[str, DistinctLabelSets] = {}

    def note(self, schema: Schema, identity: tuple[str, Labels]) -> bool:
        """Count a label set without a series, in the store at once; say whether it is a new one."""
        seen = self._seen.setdefault(schema.name, DistinctLabelSets())
        if not seen.add(identity):
            return False
        writer = self._writers[schema.name]
        if not writer.unkept:
            writer.slab.overflowed = max(writer.slab.overflowed, seen.count())
        return True

    def move_to(self, registry: Registry) -> None:
        """Count in another registry's series from here on, and label sets anew."""
        self._registry = registry
        self._seen.clear()

    def count(self) -> int:
        """Give how many label sets found no series: exact while they are few, then about."""
        return sum(seen.count() for seen in self._seen.values()) if self._seen else 0

    def said(self, schema: Schema) -> str:
        """Say what becomes of what overflows."""
        if self._overflow_schema(schema).reserve:
            return f"is counted in {OVERFLOW[0]} series"
        return "is not recorded, as no schema of its kind has a reserve"

    def handle(self, schema: Schema, name: str, created_ns: int, help_text: str, unit: str) -> Any:
        """Give the handle that takes a metric's label sets beyond those that the schema has series for."""
        found = self._handles.get((schema.name, name))
        if found is None:
            found = self._found(self._overflow_schema(schema), name, created_ns, help_text, unit)
            if len(self._handles) < MAX_METRICS:
                self._handles[schema.name, name] = found
        return found

    def _overflow_schema(self, schema: Schema) -> Schema:
        """Give the schema that has overflow series: this one, or another one of the kind."""
        alike = (each for each in self._schemas if each.kind == schema.kind and each.reserve)
        return schema if schema.reserve else next(alike, schema)

    def _found(self, schema: Schema, name: str, created_ns: int, help_text: str, unit: str) -> Any:
        tries = (*overflow_of(name), help_text, unit), (*overflow_of_all(schema.kind, schema.name), OVERFLOW_HELP, "")
        for known_as, labels, words, measured_in in tries:
            try:
                series = self._registry.get(known_as, labels, schema.kind) or self._registry.declare(
                    known_as, labels, schema, help_text=words, unit=measured_in, created_ns=created_ns
                )
            except (CapacityError, LabelError):  # no room; or the name has an overflow series of another kind
                continue
            return self._bind(series)
        return _uncounted(schema.kind, name)


class _Refuses:
    """The slow path of handles that count nowhere."""

    def _refuse(self, *_record: object) -> bool:
        return False

    def number(self, _value: object) -> None:
        """Read no number."""

    def numbers(self, _values: object, _n_values: int) -> None:
        """Read none."""

    amounts = numbers

    def floats(self, _values: object) -> tuple[float, ...]:
        """Read no numbers."""
        return ()

    @property
    def functions(self) -> dict[Gauge, object]:
        """What no tick reads."""
        return {}

    inc_slow = inc_many_slow = set_slow = set_many_slow = change_slow = observe_slow = merge_slow = refuse = _refuse


def _uncounted(kind: Kind, name: str) -> Any:
    """Give a handle that takes what even the overflow has no room for, in a store made before it had any."""
    cells = array("d", _SUMMARY)
    current = Current(_Refuses(), _no_time, False, len(cells))  # type: ignore[arg-type]
    current.point_at(memoryview(cells), memoryview(array("q", [0, 0])), 0, _ENDLESS)
    series = Series(name, (OVERFLOW,), kind, "", 0)
    if kind == "summary":
        return Summary(current, series, 1)
    return Counter(current, series) if kind == "counter" else Gauge(current, series)


def _no_time() -> int:
    return 0
