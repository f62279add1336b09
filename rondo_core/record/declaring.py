"""Series of an open store as its program asks for them: found or declared, and each given one handle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core.errors import CapacityError, SchemaError
from rondo_core.model.labels import Kind, Labels, Series, canonical_labels, check_metric_name, check_text, read_given
from rondo_core.model.schema import SELF_SCHEMA, Schema, home_among
from rondo_core.record.handles import Counter, Gauge, SketchedSummary, Summary
from rondo_core.storage.runs import on_record

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices
    from rondo_core.record.writer import Writer
    from rondo_core.storage.registry import Registry

_HANDLES: dict[str, Any] = {"counter": Counter, "gauge": Gauge}


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
    ) -> Any:
        """Give the handle of the series, declared first where it is new; see `Store.counter`."""
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
                kind, name, whole, check_text(name, "help", help_text), check_text(name, "unit", unit)
            )
        finally:
            self._after()

    def _declared(self, kind: Kind, name: str, whole: Labels, help_text: str, unit: str) -> Any:
        with self.lock:
            self._before()
            series = self._registry.get(name, whole, kind)
            if series is None:
                series = self._register(kind, name, whole, help_text, unit)
                self._writers[series.schema].give(series.column)
            else:
                self._notices.of_words(series, help_text, unit)
            writer = self._writers[series.schema]
            writer.add_series(series.column)
            return self._handles.setdefault((series.name, series.labels), self._bound(writer, series))

    def _bound(self, writer: Writer, series: Series) -> Any:
        """Bind a new handle to the series' cells."""
        width, current = writer.width, writer.current
        if series.kind != "summary":
            return _HANDLES[series.kind](current, series)
        if writer.sketches is None:
            return Summary(current, series, width)
        return writer.sketched.setdefault(series.column, SketchedSummary(current, series, width))

    def _register(self, kind: Kind, name: str, labels: Labels, help_text: str, unit: str) -> Series:
        candidate = Series(name, labels, kind, "", 0)
        schema = self._home(candidate)
        if schema is None:
            raise SchemaError(f"{candidate}: no schema of the store takes this {kind}; make the store with one")
        try:
            now_ns = on_record(self._writers[schema.name].clock())
            return self._registry.declare(name, labels, schema, help_text=help_text, unit=unit, created_ns=now_ns)
        except CapacityError:
            if schema.name != SELF_SCHEMA:
                self.refused += 1
            raise

    def move_to(self, registry: Registry) -> None:
        """Declare in another registry from here on, which has the same series in the same columns."""
        self._registry, self.refused = registry, 0

    def forked(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self.lock = threading.RLock()
