"""Take series out of a store that nobody writes, or call them otherwise: it is built anew, and takes its own place.

The writing lock is held meanwhile. A kill at any moment leaves the old store or the new one at the path.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from rondo_core.errors import ConsolidatorError, LabelError, UsageError
from rondo_core.export.cursor import Cursor, cursor_names, load_cursor, save_cursor
from rondo_core.model import layout
from rondo_core.model.labels import Series, canonical_labels, check_metric_name
from rondo_core.model.overflow import is_overflow
from rondo_core.model.schema import SELF_SCHEMA
from rondo_core.model.selector import parse_selector
from rondo_core.read.query import SeriesData
from rondo_core.read.store_reader import StoreReader
from rondo_core.read.unmatched import no_such_series
from rondo_core.storage import replace
from rondo_core.storage.directory import read_meta
from rondo_core.storage.grow import Contents, rebuild
from rondo_core.storage.lock import WriterLock, check_unwritten
from rondo_core.storage.registry import Registry, encode_series


@attrs.frozen
class Edit:
    """What an edit does, or would do.

    Attributes:
        removed: series that are not in the store any more; renamed: series as they were and as they are.
        points: how many points of the removed ones there were, over all tiers.
        room: of each schema that has lost series: how many it had, has and can have.
        unsent: of each exporter: points of the removed series that it had not sent; its cursor counts them as refused.
    """

    path: Path
    removed: list[Series]
    renamed: list[tuple[Series, Series]]
    points: int
    room: dict[str, tuple[int, int, int]]
    unsent: dict[str, int]


def remove_series(path: str | Path, selector: str, *, dry_run: bool = False) -> Edit:
    """Take every series that the selector matches out of the store; its columns are free for others.

    Raises: StoreLockedError: a process writes the store; SelectorError; UnknownSeriesError: no match; UsageError: one
        of them is a count of rondo's own; CapacityError: the names are too long; StoreError: an export is running, or
        the disk has no room. The store is then as it was.
    """
    return _edit(path, selector, None, {}, dry_run=dry_run)


def rename_series(
    path: str | Path, selector: str, name: str, labels: Mapping[str, Any] | None = None, *, dry_run: bool = False
) -> Edit:
    """Call every series that the selector matches by another name, and give it labels; an empty one is taken away.

    Points, help, unit and birth stay. What exporters have sent was sent under the old name.
    Raises: as `remove_series`; LabelError: the name or a label is none, or another series is called so.
    """
    return _edit(path, selector, check_metric_name(name), labels or {}, dry_run=dry_run)


def _edit(path: str | Path, selector: str, name: str | None, labels: Mapping[str, Any], *, dry_run: bool) -> Edit:
    root = Path(os.path.realpath(path))
    if not dry_run:
        replace.recover(root)
    meta = read_meta(root)
    if dry_run:
        check_unwritten(root / layout.LOCK_FILE)
        return _planned(root, selector, name, labels)
    lock = WriterLock(root / layout.LOCK_FILE)
    try:
        edit = _planned(root, selector, name, labels)
        contents = partial(_contents, {_key(each) for each in edit.removed}, dict(edit.renamed), edit.unsent)
        lock = rebuild(root, lock, meta, meta, contents)[2]
    finally:
        lock.release()
    return edit


def _planned(root: Path, selector: str, name: str | None, labels: Mapping[str, Any]) -> Edit:
    with StoreReader(root) as reader:
        chosen = _chosen(reader, selector)
        called = _called(reader, chosen, name, labels)
        removed = [] if name is not None else chosen
        unsent = {each: _unsent(reader, removed, load_cursor(root, each)) for each in cursor_names(root)}
        return Edit(root, removed, called, _points(reader, removed), _room(reader, removed), unsent)


def _key(series: Series) -> tuple[str, Any]:
    return series.name, series.labels


def _chosen(reader: StoreReader, selector: str) -> list[Series]:
    parsed = parse_selector(selector)
    chosen = reader.series(parsed)
    if not chosen:
        raise no_such_series(parsed, reader.registry)
    for each in chosen:
        if each.schema == SELF_SCHEMA or is_overflow(each):
            raise UsageError(f"{each}: a count of rondo's own, which stays; narrow {selector!r}")
    return chosen


def _called(
    reader: StoreReader, chosen: Sequence[Series], name: str | None, labels: Mapping[str, Any]
) -> list[tuple[Series, Series]]:
    """Give each series that changes with what it is to be called. Raises: LabelError: two would be one."""
    if name is None:
        return []
    if name.startswith("rondo_"):
        raise LabelError(f"{name}: names that begin with rondo_ are rondo's own; choose another")
    renamed = []
    taken = {_key(each) for each in reader.registry} - {_key(each) for each in chosen}
    for each in chosen:
        new = each._replace(name=name, labels=canonical_labels({**dict(each.labels), **labels}))
        if _key(new) in taken:
            raise LabelError(f"{each}: another series is, or would be, {new}; remove that one first, or give labels")
        taken.add(_key(new))
        renamed.append((each, new))
    return renamed


def _points(reader: StoreReader, removed: Sequence[Series]) -> int:
    found = 0
    for schema in reader.meta.schemas:
        own = [each for each in removed if each.schema == schema.name]
        for tier in range(len(schema.tiers) if own else 0):
            found += sum(len(_recorded(reader, each, tier)) for each in own)
    return found


def _recorded(reader: StoreReader, series: Series, tier: int) -> SeriesData:
    """Read a series' points, by whatever its tier keeps."""
    for fn in ("count", "max", "min", "sum"):
        with contextlib.suppress(ConsolidatorError):
            return reader.query([series], tier=tier, fn=fn)[0]
    return reader.query([series], tier=tier, fn="total")[0]


def _room(reader: StoreReader, removed: Sequence[Series]) -> dict[str, tuple[int, int, int]]:
    lost = Counter(each.schema for each in removed)
    room = {schema.name: schema.max_series for schema in reader.meta.schemas}
    counts = reader.registry.counts
    return {name: (counts[name], counts[name] - number, room[name]) for name, number in lost.items()}


def _unsent(reader: StoreReader, removed: Sequence[Series], cursor: Cursor) -> int:
    """Count the points of series that lie behind where an exporter stands, in each tier that it sends."""
    found = 0
    for each in removed:
        keys = [key for key in cursor.positions if key.rpartition(".")[0] == each.schema] or [f"{each.schema}.0"]
        for key in keys:
            held = cursor.held.get(str(each))
            first = held.position if held is not None and held.key == key else cursor.positions.get(key, 0)
            tier = int(key.rpartition(".")[2])
            data = _recorded(reader, each, tier)
            found += int((data.timestamps_ns >= first * data.interval_ns).sum())
    return found


def _contents(
    removed: set[tuple[str, Any]],
    called: Mapping[Series, Series],
    unsent: Mapping[str, int],
    registry: Registry,
) -> Contents:
    """Say what the new store takes of the old one, and where its series lie in it."""
    columns: dict[str, list[int]] = {}
    records, gone = list[bytes](), set[str]()
    for each in registry:
        kept = columns.setdefault(each.schema, [])
        if _key(each) in removed:
            gone.add(each.schema)
            continue
        records.append(encode_series(called.get(each, each)._replace(column=len(kept))))
        kept.append(each.column)
    names = {str(old): str(new) for old, new in called.items()}
    dropped = {str(each) for each in registry if _key(each) in removed}
    adjust = partial(_adjust_cursors, names, dropped, unsent)
    return Contents(tuple(records), {schema: columns[schema] for schema in gone}, adjust)


def _adjust_cursors(names: Mapping[str, str], dropped: set[str], unsent: Mapping[str, int], new: Path) -> None:
    """Let cursors stand where they stood: with series by their new names, and what was not sent and is gone refused."""
    for exporter in cursor_names(new):
        cursor = load_cursor(new, exporter)
        held = {names.get(name, name): of for name, of in cursor.held.items() if name not in dropped}
        suspects = tuple(names.get(name, name) for name in cursor.suspects if name not in dropped)
        refused = cursor.refused + unsent.get(exporter, 0)
        save_cursor(new, attrs.evolve(cursor, held=held, suspects=suspects, refused=refused))
