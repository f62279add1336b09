"""Batch -> Arrow tables, one row per sample; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rondo_core import Batch, Part
from rondo_core.model import Series

NS_PER_DAY = 86_400 * 10**9
NS_PER_UNIT = {"us": 1000, "ns": 1}
LABELS = pa.map_(pa.string(), pa.string())
INSTANCE = "instance"  # the column, and the label that it is taken from
# Which sample a row is of, and in which order rows stand in a file.
KEYS = ["time", "series"]
# What a row says of its sample; the other columns say whose sample it is.
VALUES = ["kind", "interval_ns", "value", "count", "sum", "min", "max"]


def schema_of(unit: str) -> pa.Schema:
    """Give the columns of a file; `unit` is that of its times: us or ns."""
    return pa.schema(
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
        ]
    )


def in_order(table: pa.Table) -> pa.Table:
    """Sort rows by time and series."""
    return table.sort_by([(key, "ascending") for key in KEYS])


def days(batch: Batch, unit: str, instance: str) -> Iterator[tuple[str, pa.Table]]:
    """Give the samples of each day (UTC, "2026-11-25"), by time and series.

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
    plain = pa.table({INSTANCE: table[INSTANCE], "time": pa.array(times_ns(table))})
    found = plain.group_by(INSTANCE).aggregate([("time", "min"), ("time", "max")])
    names, firsts, lasts = (found[name].to_pylist() for name in (INSTANCE, "time_min", "time_max"))
    return {name: [first, last] for name, first, last in zip(names, firsts, lasts, strict=True)}


def of_version_1(old: pa.Table, unit: str, instance: str) -> pa.Table:
    """Give a file of version 1, whose times were in ns and whose instance was in its path only, today's columns."""
    stamps_ns = old["time"].cast(pa.int64()).to_numpy()
    named = [dict(labels).get(INSTANCE) or instance for labels in old["labels"].to_pylist()]
    columns = {name: old[name] for name in old.schema.names}
    columns |= {"time": _times(stamps_ns, unit), INSTANCE: pa.array(named, pa.string())}
    return pa.table(columns, schema=schema_of(unit))


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

    nothing = pa.nulls(len(rows), pa.float64())
    told = {"value": nothing, "count": nothing.cast(pa.int64()), "sum": nothing, "min": nothing, "max": nothing}
    if summary:
        counts = statistics["count"][rows, columns]
        told |= {"count": pa.array(counts.astype(np.int64)), "sum": taken("sum")}
        told |= {name: taken(name, counts > 0) for name in ("min", "max")}
    else:
        told["value"] = taken("last")
    return pa.table(
        {
            "time": _times(part.timestamps_ns[rows], unit),
            INSTANCE: repeated([_instance(series) or instance for series in part.series], pa.string()),
            "series": repeated([str(series) for series in part.series], pa.string()),
            "name": repeated([series.name for series in part.series], pa.string()),
            "labels": repeated([list(series.labels) for series in part.series], LABELS),
            "kind": pa.array([part.kind] * len(rows), pa.string()),
            "interval_ns": pa.array(np.full(len(rows), part.interval_ns)),
            **told,
        },
        schema=schema_of(unit),
    )


def _instance(series: Series) -> str:
    return dict(series.labels).get(INSTANCE, "")
