"""Which series there are and in which column each lies: kept in memory, appended to a journal."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Self

import msgpack

from rondo_core.errors import CapacityError, CorruptStoreError, LabelError
from rondo_core.model import layout
from rondo_core.model.labels import Kind, Labels, Series
from rondo_core.model.overflow import OVERFLOW, OVERFLOW_NAMES, is_of_all, is_overflow
from rondo_core.model.schema import SELF_SCHEMA, Schema, room_taken
from rondo_core.storage.files import StrPath
from rondo_core.storage.held import HeldFile
from rondo_core.storage.journal import MENDED_BY, Journal, MemoryJournal, create_journal
from rondo_core.storage.lock import abandon_after_fork

# Room for one series: name, labels, help and unit of ordinary length. A store whose series are longer fills its
# registry before its columns, and the error says so.
BYTES_PER_SERIES = 256
MAX_LABELS = 4096
_WORTH_SPARING = 1000
_AT_ONCE = 512  # records of which the parts are in memory, and in the processor's cache, at a time
_SHARE = 8  # one in so many asked for at a time, and all are read
_MANY = 8  # records that are read together rather than one by one


def registry_bytes(schemas: Iterable[Schema]) -> int:
    """Give the exact size of the registry's file for these schemas."""
    return layout.round_up(sum(schema.n_columns for schema in schemas) * BYTES_PER_SERIES, layout.PAGE_BYTES)


def create_registry(path: Path, schemas: Iterable[Schema], records: tuple[bytes, ...] = ()) -> None:
    """Make the registry's file at its full size, with no series in it but for these records.

    Raises: StoreError: the disk has no room.
    """
    create_journal(path, registry_bytes(schemas), records)


def encode_series(series: Series) -> bytes:
    """Write a series as a record of the journal."""
    name, labels, _, schema, column, help_text, unit, created_ns = series
    payload: bytes = msgpack.packb((name, labels, schema, column, help_text, unit, created_ns))
    return payload


def decode_series(payload: bytes, schemas: Mapping[str, Schema]) -> Series:
    """Read what `encode_series` wrote.

    Raises: ValueError: it does not read, or no schema has such a column.
    """
    try:
        plain: tuple[Any, ...] = msgpack.unpackb(payload, max_array_len=MAX_LABELS, use_list=False)
        name, given, known, column, help_text, unit, created_ns = plain
        schema = schemas[known]
        labels = tuple((str(key), str(value)) for key, value in given)
        texts, numbers = (str(name), str(help_text), str(unit)), (int(column), int(created_ns))
    except (KeyError, TypeError, ValueError, OverflowError, msgpack.UnpackException) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    if not 0 <= numbers[0] < schema.n_columns:
        raise ValueError(f"column {numbers[0]} of schema {schema.name}, which has {schema.n_columns}")
    return Series(texts[0], labels, schema.kind, schema.name, numbers[0], texts[1], texts[2], numbers[1])


def decode_many(payloads: Sequence[bytes], schemas: Mapping[str, Schema]) -> list[Series] | None:
    """Read many records by few calls, equal texts and labels as one object.

    Returns: the series; None where one of the records is not as `encode_series` writes it.
    """
    texts: dict[Any, Any] = {}
    pairs: dict[Any, Any] = {}
    series: list[Series] = []
    for first in range(0, len(payloads), _AT_ONCE):
        some = _decode_some(payloads[first : first + _AT_ONCE], schemas, texts, pairs)
        if some is None:
            return None
        series += some
    right = {*map(type, pairs)} <= {tuple} and {*map(len, pairs)} <= {2}
    right = right and {*map(type, texts), *map(type, chain.from_iterable(pairs))} <= {str}
    return series if right else None


def _decode_some(
    payloads: Sequence[bytes], schemas: Mapping[str, Schema], texts: dict[Any, Any], pairs: dict[Any, Any]
) -> list[Series] | None:
    """Read records as `decode_many` does; what `texts` and `pairs` have come to hold is still to be looked at."""
    unpacker = msgpack.Unpacker(use_list=False, max_array_len=MAX_LABELS, max_buffer_size=0)
    try:
        unpacker.feed(b"".join(payloads))
        records = list(unpacker)
        names, labels, known, columns, helps, units, created = zip(*records, strict=True)
        name, text, unit = [list(map(texts.setdefault, each, each)) for each in (names, helps, units)]
        flat = list(chain.from_iterable(labels))
        shared, widths = iter(list(map(pairs.setdefault, flat, flat))), {*map(len, labels)}
        if len(widths) == 1 and 0 not in widths:
            whole: Iterator[Any] = zip(*repeat(shared, widths.pop()), strict=True)
        else:
            whole = (tuple(islice(shared, len(each))) for each in labels)
        own = {name: (name, schema.kind) for name, schema in schemas.items()}
        homes, kinds = zip(*map(own.__getitem__, known), strict=True)
        right = {*map(type, labels)} <= {tuple} and {*map(type, columns), *map(type, created)} <= {int}
    except (KeyError, TypeError, ValueError, OverflowError, msgpack.UnpackException):
        return None
    if len(records) != len(payloads) or not right:
        return None
    rows = zip(name, whole, kinds, homes, columns, text, unit, created, strict=True)
    return list(map(partial(tuple.__new__, Series), rows))


def _make_old(n_series: int) -> None:
    """Spare the next collection, of what is young, a walk over all the series that were just read."""
    if n_series >= _WORTH_SPARING and not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()  # into the oldest generation


class Registry:
    """The series of a store, by identity and by schema; columns are given out in order and never change.

    Their records are checked against their checksums when the registry opens, and read when they are asked for: all
    of them, or those that a selector has narrowed them to. Thread-safe, but for `declare`.

    Attributes: `records`, as `encode_series` writes them, in the order of declaration; `counts`, how many series each
    schema has.
    """

    def __init__(self, path: StrPath, schemas: Iterable[Schema], *, writable: bool, restarted: bool = False) -> None:
        """Take up the registry at `path`; `restarted`: the machine stopped since it was written.

        Raises: StoreNotFoundError, StoreError, CorruptStoreError, FormatVersionError.
        """
        known = tuple(schemas)
        journal = Journal(path, writable=writable, size_bytes=registry_bytes(known), restarted=restarted)
        self._take_journal(journal, known)

    @classmethod
    def in_memory(cls, path: StrPath, schemas: Iterable[Schema], records: Iterable[bytes] = ()) -> Self:
        """Make one that begins with these records, as `encode_series` writes them, and writes none of its own."""
        self = cls.__new__(cls)
        self._take_journal(MemoryJournal(path, records), tuple(schemas))
        return self

    def _take_journal(self, journal: Journal | MemoryJournal, known: Sequence[Schema]) -> None:
        self._journal: Journal | MemoryJournal = journal
        self._schemas = {schema.name: schema for schema in known}
        self._most_kept = BYTES_PER_SERIES * sum(
            each.max_series if each.name == SELF_SCHEMA else each.reserve for each in known
        )
        self.records = self._journal.payloads
        self._series: list[Series] = []  # what was read of the records: the first so many
        self._alone: dict[int, Series] = {}  # and single ones beyond, by position
        self._by_identity: dict[tuple[str, Labels], Series] = {}
        self._by_schema: dict[str, list[Series]] = {name: [] for name in self._schemas}
        self._pairs: dict[tuple[str, str], tuple[str, str]] = {}  # of labels declared here: equal ones are one object
        self._overflow: dict[str, tuple[int, int, int]] = {}  # of so many series of a schema; see count_overflow
        self._reading = threading.RLock()
        abandon_after_fork(self)
        try:
            self.counts = self._count()
        except BaseException:
            self._journal.close()
            raise

    @property
    def torn_bytes(self) -> int:
        """Count the bytes of a record that a crash cut short; they were cut off."""
        return self._journal.torn_bytes

    @property
    def by_schema(self) -> dict[str, list[Series]]:
        """The series of each schema, by column; the lists grow with what is declared.

        Raises: CorruptStoreError: a record is no series, or one that has no place.
        """
        self._read()
        return self._by_schema

    def __len__(self) -> int:
        """Count the series."""
        return len(self.records)

    def __iter__(self) -> Iterator[Series]:
        """Walk over the series in the order of their declaration. Raises: as `by_schema`."""
        self._read()
        return iter(tuple(self._series))

    def at(self, positions: Sequence[int]) -> list[Series]:
        """Give the series at these places in the order of declaration. Raises: as `by_schema`."""
        if len(positions) * _SHARE > len(self.records):
            self._read()
        series, alone, n_read = self._series, self._alone, len(self._series)
        for at in positions:
            if at >= n_read and at not in alone:
                alone[at] = self._decode(self.records[at])
        return [series[at] if at < n_read else alone[at] for at in positions]

    def refresh(self) -> None:
        """Take in what the writing process has declared since. Raises: as `by_schema`."""
        with self._reading:
            follow = len(self._series) == len(self.records)
            if fresh := self._journal.read_more():
                self.records += fresh
                if follow:  # who holds a schema's list sees it grow
                    self._read()
                self.counts = self._count()

    def _count(self) -> dict[str, int]:
        """Count the series of each schema by its last record, as columns count up; where it does not fit, read all."""
        counts = dict.fromkeys(self._schemas, 0)
        newest = self._decode(self.records[-1]).schema if self.records else ""
        for name in sorted(counts, key=lambda name: name != newest):
            mark = msgpack.packb(name)
            for record in reversed(self.records):
                if mark in record and (series := self._decode(record)).schema == name:
                    counts[name] = series.column + 1
                    break
            if sum(counts.values()) == len(self.records):
                return counts
        self._read()
        return {name: len(group) for name, group in self._by_schema.items()}

    def _read(self) -> None:
        """Read the records that were not read yet."""
        if len(self._series) == len(self.records):
            return
        with self._reading:
            collecting = gc.isenabled()
            gc.disable()  # of what is read here nothing is garbage, and to look for it costs as much as the reading
            try:
                self._take(self.records[len(self._series) :])
                self._alone = {}  # another thread may be at the old one
            finally:
                if collecting:
                    _make_old(len(self))
                    gc.enable()

    def _take(self, records: Sequence[bytes]) -> None:
        if len(records) >= _MANY and (series := decode_many(records, self._schemas)) and self._place(series):
            return
        for record in records:
            each = self._decode(record)
            if each.column != len(self._by_schema[each.schema]) or (each.name, each.labels) in self._by_identity:
                what = f"{each}: a series that the schemas have no place for; {MENDED_BY}"
                raise CorruptStoreError(str(self._journal.path), what, self._journal.offset)
            self._add(each)

    def _add(self, series: Series) -> None:
        self._by_identity[series.name, series.labels] = series
        self._by_schema[series.schema].append(series)
        self._series.append(series)

    def _place(self, many: Sequence[Series]) -> bool:
        """Add series whose identities are new and whose columns follow those that are there; False: they do not."""
        fresh = {(series[0], series[1]): series for series in many}
        groups: dict[str, list[Series]] = {}
        for series in many:
            groups.setdefault(series.schema, []).append(series)
        for name, group in groups.items():
            first = len(self._by_schema[name])
            columns = [series.column for series in group]
            if columns != list(range(first, first + len(group))) or columns[-1] >= self._schemas[name].n_columns:
                return False
        if len(fresh) < len(many) or not fresh.keys().isdisjoint(self._by_identity):
            return False
        self._by_identity.update(fresh)
        for name, group in groups.items():
            self._by_schema[name] += group
        self._series += many
        return True

    def _decode(self, record: bytes) -> Series:
        try:
            return decode_series(record, self._schemas)
        except ValueError as error:
            what = f"a record that is no series ({error}); {MENDED_BY}"
            raise CorruptStoreError(str(self._journal.path), what, self._journal.offset) from None

    def declare(
        self, name: str, labels: Labels, schema: Schema, *, help_text: str, unit: str, created_ns: int
    ) -> Series:
        """Give a new series the next column of its schema, and record it before anyone can write to it.

        Raises: CapacityError: the schema has no column left, or the registry's file no room.
        """
        column = len(self.by_schema[schema.name])  # which reads what there is
        if not self._has_column(schema, name, labels):
            raise CapacityError(
                f"{name}: schema {schema.name} has room for {schema.max_series} series and has them all;"
                " rondo plan says what more of them take, rondo migrate makes room for them"
            )
        labels = tuple(map(self._pairs.setdefault, labels, labels))
        series = Series(name, labels, schema.kind, schema.name, column, help_text, unit, created_ns)
        record = encode_series(series)
        # How much is to be left is worked out where it may matter, and not for each series of a file with room for all.
        is_roomy = self._journal.has_room(len(record), self._most_kept)
        self._journal.append(record, 0 if is_roomy else self._bytes_kept(name, labels, schema))
        with self._reading:
            self.records.append(record)
            self._add(series)
            self.counts[schema.name] = column + 1
        return series

    def _has_column(self, schema: Schema, name: str, labels: Labels) -> bool:
        """Say whether a schema has a column for one more series of that identity."""
        n_series, overflows = len(self._by_schema[schema.name]), OVERFLOW in labels
        if n_series < schema.max_series and not overflows:
            return True
        of_metrics, of_all = self.count_overflow(schema.name)
        if overflows and name == OVERFLOW_NAMES[schema.kind] and schema.reserve:
            return not of_all
        if overflows and of_metrics < schema.reserve - 1:
            return True
        return room_taken(schema, n_series - of_metrics - of_all, of_metrics, of_all) < schema.max_series

    def count_overflow(self, schema: str) -> tuple[int, int]:
        """Count the overflow series of a schema: those of one metric, and those of all. Raises: as `by_schema`."""
        self._read()
        group, (seen, of_metrics, of_all) = self._by_schema.get(schema, ()), self._overflow.get(schema, (0, 0, 0))
        if seen < len(group):
            more = [series for series in group[seen:] if is_overflow(series)]
            of_all_more = sum(map(is_of_all, more))
            of_metrics, of_all = of_metrics + len(more) - of_all_more, of_all + of_all_more
            self._overflow[schema] = (len(group), of_metrics, of_all)
        return of_metrics, of_all

    def _bytes_kept(self, name: str, labels: Labels, schema: Schema) -> int:
        """Give how much of the file a new series leaves to rondo's own and to overflow series, of short records.

        It is never more than `_most_kept`.
        """
        if schema.name == SELF_SCHEMA:
            return 0
        others = self._schemas.values()
        own = sum(each.max_series - self.counts[each.name] for each in others if each.name == SELF_SCHEMA)
        if name == OVERFLOW_NAMES[schema.kind]:
            return BYTES_PER_SERIES * own
        if OVERFLOW in labels:
            return BYTES_PER_SERIES * (own + sum(each.reserve > 0 for each in others))
        return BYTES_PER_SERIES * (
            own + sum(max(0, each.reserve - sum(self.count_overflow(each.name))) for each in others)
        )

    def get(self, name: str, labels: Labels, kind: Kind) -> Series | None:
        """Find a series by identity.

        Raises: LabelError: it is there, but of another kind; CorruptStoreError: see `by_schema`.
        """
        self._read()
        series = self._by_identity.get((name, labels))
        if series is not None and series.kind != kind:
            raise LabelError(f"{series}: is a {series.kind} already; use another name for a {kind}")
        return series

    def sync(self) -> None:
        """Write what was declared to the disk, and wait for it; nothing to do where nothing was since."""
        self._journal.sync()

    def note_synced(self) -> None:
        """Take what was declared for written to the disk, as where the store has its name only when it is."""
        self._journal.note_synced()

    @property
    def file(self) -> HeldFile | None:
        """The file that is open for writing; None: it has none."""
        return self._journal.file if isinstance(self._journal, Journal) else None

    def is_in_place(self) -> bool:
        """Say whether the file that is open for writing still has its name."""
        return self._journal.is_in_place()

    def abandon(self) -> None:
        """Let a forked child read on, without the parent's file: a thread of the parent may have been at it."""
        self._reading = threading.RLock()
        if self._journal.writable:
            self._journal.close()
            self._journal = MemoryJournal(self._journal.path)

    def close(self) -> None:
        """Close the file."""
        self._journal.close()
