"""Batch -> Arrow tables, one row per sample; pure, no I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rondo_core import Batch, Part
from rondo_core.model import Series, prometheus, sketch

NS_PER_DAY = 86_400 * 10**9
NS_PER_UNIT = {"us": 1000, "ns": 1}
LABELS = pa.map_(pa.string(), pa.string())
INSTANCE = "instance"  # the column, and the label that it is taken from
# Which sample a row is of.
KEYS = ["time", INSTANCE, "series"]
# In which order rows stand in a file: one metric's together, of it one store's, so that engines skip the rest.
ORDER = ["name", INSTANCE, "series", "time"]
# What a row says of its sample; the other columns say whose sample it is.
VALUES = ["kind", "interval_ns", "value", "count", "sum", "min", "max"]
# What files of layout version 2 did not have.
LATER = ["total_count", "total_sum", "zero_time", "scale", "zeroes", "first_cell", "cells"]


def schema_of(unit: str, version: int = 3) -> pa.Schema:
    """Give the columns of a file; `unit` is that of its times: us or ns."""
    whole = pa.schema(
        [
            pa.field("time", pa.timestamp(unit, "UTC"), nullable=False),
            pa.field(INSTANCE, pa.string(), nullable=False),
            pa.field("series", pa.string(), nullable=False),
            pa.field("name", pa.string(), nullable=False),
            pa.field("labels", LABELS, nullable=False),
            pa.field("kind", pa.string(), nullable=False),
            pa.field("interval_ns", pa.int64(), nullable=False),
            pa.field("value", pa.float64()),
            pa.field("count", pa.int64()),
            pa.field("sum", pa.float64()),
            pa.field("min", pa.float64()),
            pa.field("max", pa.float64()),
            pa.field("total_count", pa.int64()),
            pa.field("total_sum", pa.float64()),
            pa.field("zero_time", pa.timestamp(unit, "UTC")),
            pa.field("scale", pa.int32()),
            pa.field("zeroes", pa.int64()),
            pa.field("first_cell", pa.int64()),
            pa.field("cells", pa.list_(pa.int64())),
        ]
    )
    return whole if version > 2 else pa.schema([field for field in whole if field.name not in LATER])


def widened(table: pa.Table, unit: str) -> pa.Table:
    """Give rows of layout version 2 today's columns; what these did not say is null."""
    schema = schema_of(unit)
    columns = {field.name: _column(table, field) for field in schema}
    return pa.table(columns, schema=schema)


def _column(table: pa.Table, field: pa.Field) -> Any:
    return table[field.name] if field.name in table.schema.names else pa.nulls(table.num_rows, field.type)


def in_order(table: pa.Table) -> pa.Table:
    """Sort rows by name, instance, series and time."""
    return table.sort_by([(key, "ascending") for key in ORDER])


def distinct(table: pa.Table) -> pa.Table:
    """Give rows in order, of each sample the last one."""
    table = in_order(table)
    if table.num_rows < 2:
        return table
    # Dictionaries: equal neighbours are found by numbers, whatever the texts are.
    same = np.ones(table.num_rows - 1, np.bool_)
    for name in KEYS:
        codes = _codes(table[name])
        same &= codes[1:] == codes[:-1]
    return table.filter(pa.array(np.append(~same, True))) if same.any() else table


def _codes(column: pa.ChunkedArray) -> Any:
    if pa.types.is_timestamp(column.type):
        return column.cast(pa.int64()).to_numpy()
    return column.combine_chunks().dictionary_encode().indices.to_numpy()


def digest(table: pa.Table) -> str:
    """Give a text of 16 digits that is made of which samples the rows are of, in their order."""
    hashed = hashlib.sha256(np.ascontiguousarray(times_ns(table)).tobytes())
    for name in (INSTANCE, "series"):
        texts = table[name].combine_chunks().dictionary_encode()
        hashed.update("\0".join(texts.dictionary.to_pylist()).encode())
        hashed.update(texts.indices.to_numpy().tobytes())
    return hashed.hexdigest()[:16]


def days(batch: Batch, unit: str, instance: str) -> Iterator[tuple[str, pa.Table]]:
    """Give the samples of each day (UTC, "2026-11-25"), in order.

    Args: `unit`: of the times; `instance`: whose samples they are where a series has no such label.
    """
    tables = [_table(part, unit, instance) for part in batch.parts if part.n_samples]
    if not tables:
        return
    whole = in_order(pa.concat_tables(tables))
    numbers = times_ns(whole) // NS_PER_DAY
    for number in np.unique(numbers).tolist():
        yield str(np.datetime64(number, "D")), whole.filter(pa.array(numbers == number))


def times_ns(table: pa.Table) -> Any:
    """Give the times as int64 [rows], ns since the epoch."""
    return table["time"].cast(pa.int64()).to_numpy() * NS_PER_UNIT[table.schema.field("time").type.unit]


def spans(table: pa.Table) -> dict[str, list[int]]:
    """Give the first and the last time of each instance, ns since the epoch."""
    coded, stamps = table[INSTANCE].combine_chunks().dictionary_encode(), times_ns(table)
    codes, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    bounds = np.full((2, len(names)), np.iinfo(np.int64).max)
    np.minimum.at(bounds[0], codes, stamps)
    np.minimum.at(bounds[1], codes, -stamps)
    return {name: [first, -last] for name, first, last in zip(names, *bounds.tolist(), strict=True)}


def of_version_1(old: pa.Table, unit: str, instance: str) -> pa.Table:
    """Give a file of version 1, whose times were in ns and whose instance was in its path only, today's columns."""
    stamps_ns = old["time"].cast(pa.int64()).to_numpy()
    named = [dict(labels).get(INSTANCE) or instance for labels in old["labels"].to_pylist()]
    columns = {name: old[name] for name in old.schema.names}
    columns |= {"time": _times(stamps_ns, unit), INSTANCE: pa.array(named, pa.string())}
    return widened(pa.table(columns), unit)


def shared(old: pa.Table, new: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Give the rows of both whose samples the other has too, in one order."""
    old_keys, new_keys = (
        table.select(KEYS).append_column(name, pa.array(np.arange(table.num_rows)))
        for name, table in (("old", old), ("new", new))
    )
    pairs = old_keys.join(new_keys, KEYS, join_type="inner").sort_by("new")
    return old.take(pairs["old"].combine_chunks()), new.take(pairs["new"].combine_chunks())


def without(table: pa.Table, other: pa.Table) -> pa.Table:
    """Give the rows of `table` whose samples `other` has not, in their order."""
    if not other.num_rows:
        return table
    marked = table.select(KEYS).append_column("row", pa.array(np.arange(table.num_rows)))
    left = marked.join(other.select(KEYS), KEYS, join_type="left anti")
    return table.take(left["row"].combine_chunks().sort())


def _times(stamps_ns: Any, unit: str) -> pa.Array:
    # A bucket is 1 ms or longer, so that no two fall into one microsecond.
    return pa.array(stamps_ns // NS_PER_UNIT[unit], pa.timestamp(unit, "UTC"))


def _table(part: Part, unit: str, instance: str) -> pa.Table:
    """Lay a part's samples out as rows."""
    statistics: Any = part.statistics
    summary = part.kind == "summary"
    rows, columns = np.nonzero(~np.isnan(statistics["count" if summary else "last"]))

    def taken(name: str, there: Any = None) -> pa.Array:
        values = statistics[name][rows, columns]
        return pa.array(values, pa.float64(), mask=None if there is None else ~there)

    def repeated(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array(values, kind).take(pa.array(columns))

    told: dict[str, Any] = {}
    if summary:
        counts = statistics["count"][rows, columns]
        told |= {"count": pa.array(counts.astype(np.int64)), "sum": taken("sum")}
        told |= {name: taken(name, counts > 0) for name in ("min", "max")}
        if "count_base" in statistics:
            bases = [statistics[name][rows, columns] for name in ("count_base", "sum_base")]
            told["total_count"] = pa.array((bases[0] + counts).astype(np.int64))
            told["total_sum"] = pa.array(bases[1] + statistics["sum"][rows, columns])
        if "sketch" in statistics:
            told |= _sketches(statistics["sketch"][rows, columns], counts > 0)
    else:
        told["value"] = taken("last")
    if part.kind != "gauge" and not part.tier:
        told["zero_time"] = _zero_times(part, unit).take(pa.array(columns))
    schema = schema_of(unit)
    return pa.table(
        {
            "time": _times(part.timestamps_ns[rows], unit),
            INSTANCE: repeated([instance_of(series) or instance for series in part.series], pa.string()),
            "series": repeated([str(series) for series in part.series], pa.string()),
            "name": repeated([series.name for series in part.series], pa.string()),
            "labels": repeated([list(series.labels) for series in part.series], LABELS),
            "kind": pa.array([part.kind] * len(rows), pa.string()),
            "interval_ns": pa.array(np.full(len(rows), part.interval_ns)),
            **{name: told.get(name, pa.nulls(len(rows), schema.field(name).type)) for name in (*VALUES[2:], *LATER)},
        },
        schema=schema,
    )


def _zero_times(part: Part, unit: str) -> pa.Array:
    """Give when the totals of each series were 0; null where that is not known."""
    zeroes = np.array([prometheus.zero_ns(each.created_ns, part.interval_ns) for each in part.series], np.int64)
    stamps = zeroes // NS_PER_UNIT[unit]
    return pa.array(stamps, pa.int64(), mask=zeroes <= 0).cast(pa.timestamp(unit, "UTC"))


def _sketches(words: Any, there: Any) -> dict[str, pa.Array]:
    """Take sketches apart, int64 [rows, cells + 3]: the scale, the zeroes, and the cells between the outermost used.

    Args: `there`: bool [rows], whether anything was observed; null where not.
    """
    counts = sketch.counts_of(words)
    used = counts > 0
    filled = used.any(axis=1)
    low = np.where(filled, used.argmax(axis=1), 0)
    high = np.where(filled, counts.shape[1] - used[:, ::-1].argmax(axis=1), 0)
    places = np.arange(counts.shape[1])
    inside = (places >= low[:, None]) & (places < high[:, None])
    offsets = np.append(0, np.cumsum(high - low)).astype(np.int32)
    cells = pa.ListArray.from_arrays(offsets, pa.array(counts[inside].astype(np.int64)), mask=pa.array(~there))
    return {
        "scale": pa.array(sketch.scales(words).astype(np.int32), mask=~there),
        "zeroes": pa.array(sketch.zeroes(words), mask=~there),
        "first_cell": pa.array(np.where(filled, sketch.first_indexes(words) + low, 0), mask=~there),
        "cells": cells,
    }


def instance_of(series: Series) -> str:
    """Give whose a series is by its label; empty: it does not say."""
    return dict(series.labels).get(INSTANCE, "")
