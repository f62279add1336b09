"""Open a store's directory for writing, grown first where more room was asked for, or a run before has overflowed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core.clock import NS_PER_S, monotonic_ns
from rondo_core.errors import SchemaError, StoreError, UsageError, one_line
from rondo_core.model import layout
from rondo_core.model.labels import Labels
from rondo_core.model.schema import DEFAULT_SCHEMAS, SELF_SCHEMA, Schema, with_room
from rondo_core.storage.directory import Meta, create, open_alone, size_bytes
from rondo_core.storage.files import Folder, open_file
from rondo_core.storage.lock import WriterLock
from rondo_core.storage.replace import recover
from rondo_core.units import format_size, parse_size_bytes

if TYPE_CHECKING:
    from rondo_core.record.notices import Notices


def read_bound(max_bytes: int | str | None) -> int | None:
    """Read `max_bytes` as bytes; None: not given. Raises: UsageError: it is no size."""
    if max_bytes is None:
        return None
    try:
        size = parse_size_bytes(max_bytes) if isinstance(max_bytes, str) else max_bytes
    except UsageError as error:
        raise UsageError(f"max_bytes: {error}") from None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise UsageError(f'max_bytes: {max_bytes!r}: not a size; write whole bytes, or "64MiB"')
    return size


def default_schemas(max_bytes: int | None, n_exporters: int = 1) -> tuple[Schema, ...]:
    """Give the schemas of a store that is made without any: with as much room as `max_bytes` holds of the default's."""
    schemas = with_room(DEFAULT_SCHEMAS, n_exporters)
    if max_bytes is None:
        return schemas
    from rondo_core.model.growth import shared_out

    return shared_out(schemas, max_bytes, size_bytes)


def make_missing(
    path: Path, schemas: tuple[Schema, ...], max_bytes: int | None, created_ns: int, labels: Labels = ()
) -> None:
    """Make the store, unless one that grew was killed, and the old one is only to be put back.

    Raises: SchemaError: it takes more than was said; others as `create`.
    """
    if recover(path):
        return
    if max_bytes is not None and (size := size_bytes(schemas)) > max_bytes:
        what = f"the schemas take {format_size(size)}, more than max_bytes, {format_size(max_bytes)}"
        raise SchemaError(f"{path}: {what}; give a larger one, or smaller schemas")
    create(path, schemas, created_ns, labels=labels)


def open_grown(
    path: Path,
    asked: tuple[Schema, ...] | None,
    max_bytes: int | None,
    notices: Notices,
    make: Callable[[], None] | None,
) -> tuple[Folder, Meta, WriterLock]:
    """Open a store's directory, read what is in it, and take its lock, with room for what is asked for.

    Growth that fails leaves the store as it is, and is logged, unless a schema is asked for that is not there.
    Raises: as `open_alone`; SchemaError: as `wanted`; StoreError: as `grow`.
    """
    folder, meta, lock = open_alone(path, make)
    try:
        overflowed = _overflowed(folder, meta)
        if asked in (None, meta.schemas) and not any(overflowed.values()):
            return folder, meta, lock
        from rondo_core.model.growth import MAX_BYTES, wanted  # which most openings do without

        bound = MAX_BYTES if max_bytes is None else max_bytes
        try:
            schemas = wanted(asked, meta.schemas, overflowed, bound, size_bytes)
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from None
        if schemas == meta.schemas:
            return folder, meta, lock
        from rondo_core.storage.grow import grow

        began = monotonic_ns()
        try:
            grown = grow(path, lock, meta, schemas)
        except StoreError as error:
            if {each.name for each in schemas} > {each.name for each in meta.schemas}:
                raise
            notices.warn(f"not grown: {one_line(error)}")
            return folder, meta, lock
    except BaseException:
        lock.release()
        raise
    notices.warn(f"{_said(meta.schemas, schemas)}, in {(monotonic_ns() - began) / NS_PER_S:.2f} s")
    return grown


def _overflowed(folder: Folder, meta: Meta) -> dict[str, int]:
    """Read how many label sets found each schema full in one run."""
    found = {}
    for schema in meta.schemas:
        if schema.name != SELF_SCHEMA:
            descriptor = open_file(folder / schema.slab_name(0))
            try:
                word = os.pread(descriptor, 8, layout.SLAB_OVERFLOWED)
            finally:
                os.close(descriptor)
            found[schema.name] = max(0, int.from_bytes(word, "little", signed=True))
    return found


def _said(before: tuple[Schema, ...], after: tuple[Schema, ...]) -> str:
    """Say what has grown."""
    had = {schema.name: schema.max_series for schema in before}
    parts = [
        f"{each.name} {had.get(each.name, 0)} -> {each.max_series} series"
        for each in after
        if each.max_series != had.get(each.name, 0)
    ]
    return f"grown from {format_size(size_bytes(before))} to {format_size(size_bytes(after))}: {', '.join(parts)}"
