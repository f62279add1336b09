"""The newest value of each counter and gauge of a store, live or not: without numpy, a lock or a query."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from rondo_core.model import layout
from rondo_core.model.labels import Series
from rondo_core.storage.files import Folder
from rondo_core.storage.lock import writer_pid
from rondo_core.storage.recovery import opened
from rondo_core.storage.slab import MAX_INSTANT_NS, Slab

_CELL = "last"  # of the finest tier, of counters and of gauges
_TRIES = 100
Last = tuple[Series, float, int]


def last_values(path: Path) -> list[Last]:
    """Read where each counter and gauge stands that has a value in the finest tier.

    Returns: (series, value, start of the bucket that has it, ns since the epoch), by schema and column. What another
    process writes meanwhile may be in it: each value is whole, and no counter's is lower than at an earlier look.
    Raises: StoreNotFoundError, StoreError, FormatVersionError, CorruptStoreError.
    """
    with Folder(path) as folder, opened(folder, writable=False) as parts:
        copied = parts.recovery.copied if writer_pid(folder / layout.LOCK_FILE) is None else None
        found: list[Last] = []
        for schema in parts.meta.schemas:
            if schema.kind != "summary":
                slab = parts.slabs[schema.name][0]
                torn = slab.torn(slab.held(), copied=copied) if copied is not None else []
                known = parts.registry.by_schema.get(schema.name, ())
                found += sorted(_newest(slab, known, torn), key=lambda each: each[0].column)
        return found


def _newest(slab: Slab, series: Sequence[Series], torn: Sequence[int]) -> list[Last]:
    """Look through the rows, newest first, until each series has a value; anew where a row is another's meanwhile."""
    found: list[Last] = []
    for _ in range(_TRIES):
        found, missing = [], list(series)
        for bucket, slot in _held(slab, torn):
            row = _row(slab, slot, bucket) if missing else ()
            if row is None:
                break
            start_ns, absent = bucket * slab.spec.interval_ns, []
            for each in missing:
                value = row[each.column]
                if isnan(value):
                    absent.append(each)
                else:
                    found.append((each, value, start_ns))
            missing = absent
        else:
            break
    return found


def _held(slab: Slab, torn: Sequence[int]) -> list[tuple[int, int]]:
    """Give the buckets that are held and their slots, newest first."""
    slab.check_size()
    count, latest = slab.spec.slot_count, MAX_INSTANT_NS // slab.spec.interval_ns
    return sorted(
        (
            (bucket, slot)
            for slot, bucket in enumerate(slab.buckets())
            if 0 < bucket <= latest and bucket % count == slot and slot not in torn
        ),
        reverse=True,
    )


def _row(slab: Slab, slot: int, bucket: int) -> list[float] | None:
    """Copy a row's values; None where it has become another bucket's meanwhile."""
    first = slab.cell_words(_CELL)
    for _ in range(_TRIES):
        header = slab.row_header(slot)
        before = header[0], header[1]
        values = list(map(float, slab.row_cells(slot)[first : first + slab.spec.max_series]))
        if header[0] != bucket:
            return None
        if before == (header[0], header[1]):
            break  # else several gauges were being set together: each by itself is whole all the same
    return values
