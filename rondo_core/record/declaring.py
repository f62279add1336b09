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

    Attributes: `lock`: held while a series is made; `refused`: how many series had no room; `strict`: raise where a
    schema does not keep what a series was declared with, instead of one warning.
    """

    strict = False

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
        self._schemas, self._home = tuple(schemas), home_among(schemas)
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

        Args: `wants`: what its schema is to keep, "sketch" or "peaks"; see `schema.choose`.
        Raises: SchemaError: it keeps none, where the store is strict.
        """
        pairs, help_text = (labels.items(), help_text) if not given else read_given(name, given, labels, help_text)
        whole = canonical_labels(pairs)
        handle = self._handles.get((name, whole))
        if handle is not None and handle.series.kind == kind:
            if help_text or unit:
                self._notices.of_words(handle.series, help_text, unit)
            if wants:
                self._check_kept(handle.series, handle.series.schema, wants)
            return handle
        check_metric_name(name)
        texts = check_text(name, "help", help_text), check_text(name, "unit", unit)
        try:
            return self._declared(kind, name, whole, *texts, wants)
        finally:
            self._after()

    def _check_kept(self, series: Series, schema: str, wants: str) -> None:
        """Say once for each metric that its schema does not keep what it was declared with. Raises: SchemaError."""
        kept = [each.name for each in self._schemas if getattr(each, wants, False)]
        if schema in kept:
            return
        what = "quantiles=True" if wants == "sketch" else f"{wants}=True"
        mend = f"add a schema of kind {series.kind} with {wants} = true, in a new store or with rondo migrate"
        if kept and series.schema:
            mend = f"it was declared without before, and stays; schema {kept[0]} takes one of another name"
        line = f"{series.name}: {what}, but schema {schema} keeps none; {mend}"
        if self.strict:
            raise SchemaError(line)
        self._notices.once(f"{series.name} {wants}", line)

    def _declared(self, kind: Kind, name: str, whole: Labels, help_text: str, unit: str, wants: str) -> Any:
        with self.lock:
            self._before()
            series = self._registry.get(name, whole, kind)
            if series is None:
                series = self._register(kind, name, whole, help_text, unit, wants)
                self._writers[series.schema].slab.given = series.column + 1
            else:
                self._notices.of_words(series, help_text, unit)
                if wants:
                    self._check_kept(series, series.schema, wants)
            writer = self._writers[series.schema]
            writer.add_series(series.column)
            return self._handles.setdefault((series.name, series.labels), self._bound(writer, series))

    def _bound(self, writer: Writer, series: Series) -> Any:
        """Bind a new handle to the series' cells."""
        width, current = writer.slab.spec.max_series, writer.current
        if series.kind != "summary":
            return _HANDLES[series.kind](current, series)
        if writer.sketches is None:
            return Summary(current, series, width)
        handle = SketchedSummary(current, series, width, writer.sketches.n_cells)
        return writer.sketched.setdefault(series.column, handle)

    def _register(self, kind: Kind, name: str, labels: Labels, help_text: str, unit: str, wants: str) -> Series:
        candidate = Series(name, labels, kind, "", 0)
        schema = self._home(candidate, wants)
        if schema is None:
            raise SchemaError(f"{candidate}: no schema of the store takes this {kind}; make the store with one")
        if wants:
            self._check_kept(candidate, schema.name, wants)
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
