"""Batch -> Arrow tables, one row per sample; pure, no I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rondo_core import Batch, Part

NS_PER_DAY = 86_400 * 10**9
SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("ns", "UTC"), nullable=False),
        pa.field("series", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("labels", pa.map_(pa.string(), pa.string()), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("interval_ns", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("count", pa.int64()),
        pa.field("sum", pa.float64()),
        pa.field("min", pa.float64()),
        pa.field("max", pa.float64()),
    ]
)
ORDER = [("time", "ascending"), ("series", "ascending")]


def days(batch: Batch) -> Iterator[tuple[str, pa.Table]]:
    """Give the samples of each day (UTC, "2026-11-25"), by time and series."""
    tables = [_table(part) for part in batch.parts if part.n_samples]
    if not tables:
        return
    whole = pa.concat_tables(tables).sort_by(ORDER)
    numbers = whole["time"].cast(pa.int64()).to_numpy() // NS_PER_DAY
    for number in np.unique(numbers).tolist():
        yield str(np.datetime64(number, "D")), whole.filter(pa.array(numbers == number))


def _table(part: Part) -> pa.Table:
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
            "time": pa.array(part.timestamps_ns[rows], pa.timestamp("ns", "UTC")),
            "series": repeated([str(series) for series in part.series], pa.string()),
            "name": repeated([series.name for series in part.series], pa.string()),
            "labels": repeated([list(series.labels) for series in part.series], SCHEMA.field("labels").type),
            "kind": pa.array([part.kind] * len(rows), pa.string()),
            "interval_ns": pa.array(np.full(len(rows), part.interval_ns)),
            **told,
        },
        schema=SCHEMA,
    )
