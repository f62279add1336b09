"""Series of an open store as its program asks for them: found or declared, and each given one handle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core.errors import CapacityError, LabelError, SchemaError, one_line
from rondo_core.model.labels import Kind, Labels, Series, canonical_labels, check_metric_name, check_text, read_given
from rondo_core.model.schema import SELF_SCHEMA, Schema, home_among
from rondo_core.record.admission import FUNCTION_RAISED
from rondo_core.record.families import Family
from rondo_core.record.gauges import Gauge, PeakGauge
from rondo_core.record.handles import Counter, SketchedSummary, Summary
from rondo_core.storage.runs import on_record

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices
    from rondo_core.record.writer import Writer
    from rondo_core.storage.registry import Registry


class Declarations:
    """Handles of an open store's series, by name and labels.

    Attributes: `lock`: held while a series is made; `refused`: how many series had no room.
    """

    def __init__(
        self,
        schemas: Sequence[Schema],
        registry: Registry,
        writers: Mapping[str, Writer],
        notices: Notices,
        *,
        before: Callable[[], None],
        after: Callable[[], None],
    ) -> None:
        """Declare in these; `before` raises where the store takes no series any more, `after` follows each new one."""
        self._registry, self._writers, self._notices = registry, writers, notices
        self._before, self._after = before, after
        self._home = home_among(schemas)
        self._handles: dict[tuple[str, Labels], Any] = {}
        self.lock = threading.RLock()
        self.refused = 0

    def declare(
        self,
        kind: Kind,
        name: str,
        given: tuple[object, ...],
        labels: Mapping[str, object],
        help_text: str | None,
        unit: str | None,
        wants: str = "",
    ) -> Any:
        """Give the handle of the series, declared first where it is new; see `Store.counter`.

        Args: `wants`: what its schema is to keep where it is new; see `choose` in model/schema.
        """
        pairs, help_text = (labels.items(), help_text) if not given else read_given(name, given, labels, help_text)
        whole = canonical_labels(pairs)
        handle = self._handles.get((name, whole))
        if handle is not None and handle.series.kind == kind:
            if help_text or unit:
                self._notices.of_words(handle.series, help_text, unit)
            return handle
        check_metric_name(name)
        try:
            return self._declared(
                kind, name, whole, check_text(name, "help", help_text), check_text(name, "unit", unit), wants
            )
        finally:
            self._after()

    def family(
        self,
        kind: Kind,
        name: str,
        given: tuple[object, ...],
        names: object,
        fixed: Mapping[str, object],
        help_text: str | None,
        unit: str | None,
        wants: str = "",
    ) -> Any:
        """Give what looks up series of one name by the values of these labels; `fixed` ones are the same for all.

        With no names it is the one series' handle.

        Raises: LabelError: a name of a metric or a label that cannot be, or that comes twice.
        """
        if isinstance(names, str | Mapping) or not isinstance(names, Iterable):
            mend = 'write a list, such as labels=["method"]; labels with values stand as method="get"'
            raise LabelError(f"{name}: labels={names!r}: not names of labels; {mend}")
        known = tuple(names)
        if not known:
            return self.declare(kind, name, given, fixed, help_text, unit, wants)
        pairs, help_text = read_given(name, given, fixed, help_text)
        canonical_labels([*pairs, *((each, "") for each in known)])
        check_metric_name(name)

        def declare(values: Mapping[str, str]) -> Any:
            return self.declare(kind, name, (), {**dict(pairs), **values}, help_text, unit, wants)

        return Family(name, known, declare)

    def read_functions(self, now_ns: int) -> None:
        """Set the gauges that functions are read for; one that raises is counted, and logged once."""
        for writer in self._writers.values():
            given = writer.current.writer
            for gauge, function in tuple(given.functions.items()):
                try:
                    value = function()
                except Exception as error:  # noqa: BLE001 - the program's own, which is not to end a tick
                    given.refuse(FUNCTION_RAISED)
                    said = one_line(error)
                    self._notices.once(f"function of {gauge.series}", f"{gauge.series}: its function raised {said}")
                else:
                    gauge.set(value, now_ns)

    def _declared(self, kind: Kind, name: str, whole: Labels, help_text: str, unit: str, wants: str) -> Any:
        with self.lock:
            self._before()
            series = self._registry.get(name, whole, kind)
            if series is None:
                series = self._register(kind, name, whole, help_text, unit, wants)
                self._writers[series.schema].slab.given = series.column + 1
            else:
                self._notices.of_words(series, help_text, unit)
            writer = self._writers[series.schema]
            writer.add_series(series.column)
            return self._handles.setdefault((series.name, series.labels), self._bound(writer, series))

    def _bound(self, writer: Writer, series: Series) -> Any:
        """Bind a new handle to the series' cells."""
        width, current = writer.slab.spec.max_series, writer.current
        if series.kind == "counter":
            return Counter(current, series)
        if series.kind == "gauge":
            return PeakGauge(current, series, width) if writer.peaks else Gauge(current, series)
        if writer.sketches is None:
            return Summary(current, series, width)
        return writer.sketched.setdefault(series.column, SketchedSummary(current, series, width))

    def _register(self, kind: Kind, name: str, labels: Labels, help_text: str, unit: str, wants: str) -> Series:
        candidate = Series(name, labels, kind, "", 0)
        schema = self._home(candidate, wants)
        if schema is None and wants:
            keeps = f"no schema of the store that takes this {kind} has {wants} = true"
            raise SchemaError(f"{candidate}: {keeps}; make the store with one, or rondo migrate it")
        if schema is None:
            raise SchemaError(f"{candidate}: no schema of the store takes this {kind}; make the store with one")
        try:
            now_ns = on_record(self._writers[schema.name].clock())
            return self._registry.declare(name, labels, schema, help_text=help_text, unit=unit, created_ns=now_ns)
        except CapacityError:
            if schema.name != SELF_SCHEMA:
                self.refused += 1
            raise

    def forked(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self.lock = threading.RLock()
