"""Series of an open store as its program asks for them: found or declared, and each given one handle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rondo_core.errors import CapacityError, LabelError, SchemaError, one_line
from rondo_core.model.labels import (
    Kind,
    Labels,
    Series,
    canonical_labels,
    check_metric_name,
    check_text,
    cut_value,
    read_given,
)
from rondo_core.model.schema import Schema, given_schema_lookup, schema_lookup
from rondo_core.record.admission import FUNCTION_RAISED
from rondo_core.record.families import Family
from rondo_core.record.gauges import Gauge, PeakGauge
from rondo_core.record.handles import Counter, SketchedSummary, Summary
from rondo_core.record.overflow import Overflow
from rondo_core.record.selfmetrics import HELP
from rondo_core.storage.runs import on_record

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices
    from rondo_core.record.writer import Writer
    from rondo_core.storage.registry import Registry

_functions = attrgetter("functions")

MAX_AT_HAND = 1024  # label sets without a series of their own whose handle is found at once


class Declarations:
    """Handles of an open store's series, by name and labels.

    Attributes: `registry`; `lock`: held while a series is made; `at_refusal`: called when one more has found no room.
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
        strict: bool = False,
    ) -> None:
        """Declare in these; `before` raises where the store takes no series any more, `after` follows each new one.

        `strict`: a full schema raises; otherwise it gives handles of overflow series.
        """
        self.registry, self._writers, self._notices = registry, writers, notices
        self._given = [writer.current.writer for writer in writers.values()]
        self._before, self._after = before, after
        self._schemas = tuple(schemas)
        self._schema_for, self._own_schema_for = given_schema_lookup(schemas), schema_lookup(schemas)
        self._handles: dict[tuple[str, Labels], Any] = {}
        self._strict, self._full = strict, set[str]()
        self._beyond: dict[tuple[str, Labels], Any] = {}  # of overflow series, by some that have none of their own
        self._overflow = Overflow(schemas, registry, writers, self._bound)
        self.at_refusal: Callable[[], object] = int
        self.lock = threading.RLock()

    @property
    def refused(self) -> int:
        """How many label sets found no series of their own: exact while they are few, then about."""
        return self._overflow.count()

    def is_declared(self, name: str, labels: Mapping[str, object]) -> bool:
        """Say whether the series has a handle: it was asked for in this run, here or before a fork."""
        return (name, self._canonical(labels.items())) in self._handles

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
        whole = self._canonical(pairs)
        handle = self._handles.get((name, whole))
        if handle is not None and handle.series.kind == kind:
            if help_text or unit:
                self._notices.of_words(handle.series, help_text, unit)
            if wants:
                self._check_kept(handle.series, handle.series.schema, wants)
            return handle
        if handle is None and (beyond := self._beyond.get((name, whole))) is not None and beyond.series.kind == kind:
            return beyond
        check_metric_name(name)
        texts = check_text(name, "help", help_text), check_text(name, "unit", unit)
        try:
            return self._declared(kind, name, whole, *texts, wants)
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
        self._canonical([*pairs, *((each, "") for each in known)])
        check_metric_name(name)

        def declare(values: Mapping[str, str]) -> Any:
            return self.declare(kind, name, (), {**dict(pairs), **values}, help_text, unit, wants)

        return Family(name, known, declare)

    def _canonical(self, pairs: Iterable[tuple[str, object]]) -> Labels:
        """Sort a label set; a value that is too long, or no Unicode, is cut.

        Raises: LabelError: it is no label set, or would be cut where the store is strict.
        """
        try:
            return canonical_labels(pairs)
        except LabelError:
            if self._strict:
                raise
            return canonical_labels([(name, cut_value(value)) for name, value in pairs])

    def read_functions(self, now_ns: int) -> None:
        """Set the gauges that functions are read for; one that raises is counted, and logged once."""
        for given in filter(_functions, self._given):
            for gauge, function in tuple(given.functions.items()):
                try:
                    value = function()
                except Exception as error:  # noqa: BLE001 - the program's own, which is not to end a tick
                    given.refuse(FUNCTION_RAISED)
                    said = one_line(error)
                    self._notices.once(f"function of {gauge.series}", f"{gauge.series}: its function raised {said}")
                else:
                    gauge.set(value, now_ns)

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
        if self._strict:
            raise SchemaError(line)
        self._notices.once(f"{series.name} {wants}", line)

    def _declared(self, kind: Kind, name: str, whole: Labels, help_text: str, unit: str, wants: str) -> Any:
        self._before()  # without the lock, which is made anew there where a fork has told no one
        with self.lock:
            self._before()
            series = self.registry.get(name, whole, kind)
            if series is None:
                return self._new(Series(name, whole, kind, "", 0, help_text, unit), wants)
            self._notices.of_words(series, help_text, unit)
            if wants:
                self._check_kept(series, series.schema, wants)
            return self._bound(series)

    def _bound(self, series: Series) -> Any:
        """Give the handle of a series that is on record."""
        found = self._handles.get((series.name, series.labels))
        if found is not None:
            return found
        writer = self._writers[series.schema]
        writer.assign_column(series.column)
        writer.add_series(series.column, series.created_ns)
        return self._handles.setdefault((series.name, series.labels), self._handle(writer, series))

    def _handle(self, writer: Writer, series: Series) -> Any:
        """Bind a new handle to the series' cells."""
        width, current = writer.width, writer.current
        if series.kind == "counter":
            return Counter(current, series)
        if series.kind == "gauge":
            return PeakGauge(current, series, width) if writer.peaks else Gauge(current, series)
        if writer.sketches is None:
            return Summary(current, series, width)
        handle = SketchedSummary(current, series, width, writer.sketches.n_cells)
        return writer.sketched.setdefault(series.column, handle)

    def _new(self, asked: Series, wants: str) -> Any:
        """Declare a series, or give the handle of an overflow series, which rondo's own counts never are.

        Raises: SchemaError: no schema takes the kind; CapacityError: strict, or rondo's own, and there is no room.
        """
        own = asked.name in HELP
        schema = (self._own_schema_for if own else self._schema_for)(asked, wants)
        if schema is None:
            raise SchemaError(f"{asked}: no schema of the store takes this {asked.kind}; make the store with one")
        if wants:
            self._check_kept(asked, schema.name, wants)
        words: dict[str, Any] = {
            "created_ns": on_record(self._writers[schema.name].clock()),
            "help_text": asked.help,
            "unit": asked.unit,
        }
        why = ""
        if own or self._strict or schema.name not in self._full:
            try:
                return self._bound(self.registry.declare(asked.name, asked.labels, schema, **words))
            except CapacityError as error:
                if own:
                    raise
                if error.__cause__ is None:
                    self._full.add(schema.name)
                else:
                    why = f"{error}; {asked} is not on record, and nothing of it is kept, until the next opening"
                if self._strict:
                    self._count(schema, asked, why)
                    raise
        handle = self._overflow.handle(schema, asked.name, **words)
        self._count(schema, asked, why)
        if len(self._beyond) >= MAX_AT_HAND:
            self._beyond.clear()
        self._beyond[asked.name, asked.labels] = handle
        return handle

    def _count(self, schema: Schema, refused: Series, why: str) -> None:
        if self._overflow.note(schema, (refused.name, refused.labels)):
            self.at_refusal()
            if self._strict:
                return
            if why:
                self._notices.once("registry", why)
                return
            mend = "give it a larger max_series, or use rondo migrate; the next opening makes room within max_bytes"
            what = f"schema {schema.name} has room for {schema.max_series} series and has them all"
            self._notices.once("overflow", f"{refused}: {what}; what is beyond {self._overflow.said(schema)}; {mend}")

    def move_to(self, registry: Registry) -> None:
        """Declare in another registry from here on, which has the same series in the same columns."""
        self.registry = registry
        self._overflow.move_to(registry)

    def forked(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self.lock = threading.RLock()
