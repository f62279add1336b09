"""The questions of `sql` for pandas and Polars: each takes a frame of a lake's rows and gives one of the same kind.

A frame is what `pandas.read_parquet` or `polars.read_parquet` gives of a lake; filter it as you like before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from rondo_core.errors import UsageError
from rondo_exporter_parquet.cells import Sketches, quantile

_SKETCH = ("scale", "zeroes", "first_cell", "cells")
_KEYS = ["name", "instance", "series"]


def increases(frame: Any) -> Any:
    """Give the rows of counters and summaries, with a column `increase`: how much each grew in its bucket; they add up.

    Null where it is not known: the first row of a series whose beginning is not in the frame.
    """
    if _is_polars(frame):
        import polars as pl

        rows = frame.filter(pl.col("kind") != "gauge").sort([*_KEYS, "time"])
        before = pl.col("value").shift(1).over(_KEYS)
        born = pl.col("time") == pl.col("zero_time") + pl.duration(microseconds=pl.col("interval_ns") // 1000)
        told = (
            pl.when(pl.col("kind") == "summary")
            .then(pl.col("count").cast(pl.Float64))
            .when(before.is_not_null() & (pl.col("value") >= before))
            .then(pl.col("value") - before)
            .when(before.is_not_null() | born.fill_null(value=False))
            .then(pl.col("value"))
        )
        return rows.with_columns(told.alias("increase"))
    rows = frame[frame["kind"] != "gauge"].sort_values([*_KEYS, "time"])
    before = rows.groupby(_KEYS, observed=True)["value"].shift(1)
    born = rows["time"] == rows["zero_time"] + rows["interval_ns"].astype("timedelta64[ns]")
    grown: Any = np.where(rows["value"] >= before, rows["value"] - before, rows["value"])
    grown = np.where(before.notna() | born, grown, np.nan)
    return rows.assign(increase=np.where(rows["kind"] == "summary", rows["count"].astype("float64"), grown))


def quantile_by(frame: Any, share: float, by: Sequence[str] = ()) -> Any:
    """Give the quantile of all that the frame's summaries observed, from their merged sketches, as the column `value`.

    Args: `by`: labels, or `instance`; a group each, in the columns called so. Raises: UsageError: `share` is none.
    """
    if not 0 < share < 1:
        raise UsageError(f"quantile {share}: between 0 and 1, such as 0.95")
    table = _table(frame, [*_SKETCH, "instance", "labels"])
    table = table.filter(table["scale"].is_valid())
    columns = [_texts(table, name) for name in by]
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, key in enumerate(zip(*columns, strict=True) if columns else [()] * table.num_rows):
        groups.setdefault(key, []).append(row)
    values = [
        quantile(*Sketches.of(table.take(rows)).merged(), share)
        for rows in groups.values()
    ]  # fmt: skip
    found = {name: [key[place] for key in groups] for place, name in enumerate(by)} | {"value": values}
    return _framed(frame, found)


def lives_quantile(
    frame: Any, share: float, of: str = "memory_peak_bytes", by: Sequence[str] = ("job", "commit")
) -> Any:
    """Give an interpolated quantile of what lives took, by their columns: the p95 of peak memory by job and commit."""
    if _is_polars(frame):
        import polars as pl

        rows = frame.filter(pl.col(of).is_not_null())
        value = pl.col(of).quantile(share, interpolation="linear").alias("value")
        counted = [pl.len().alias("lives"), value]
        return rows.group_by(list(by)).agg(counted) if by else rows.select(counted)
    rows = frame[frame[of].notna()]
    if not by:
        return _framed(frame, {"lives": [len(rows)], "value": [rows[of].quantile(share)]})
    grouped = rows.groupby(list(by), dropna=False, observed=True)[of]
    return grouped.agg(lives="size", value=lambda values: values.quantile(share)).reset_index()


def _is_polars(frame: Any) -> bool:
    return type(frame).__module__.partition(".")[0] == "polars"


def _table(frame: Any, names: Sequence[str]) -> pa.Table:
    if _is_polars(frame):
        return frame.select(names).to_arrow()
    schema = {"scale": pa.int32(), "zeroes": pa.int64(), "first_cell": pa.int64(), "cells": pa.list_(pa.int64())}
    columns = {name: pa.array(frame[name], schema.get(name), from_pandas=True) for name in (*_SKETCH, "instance")}
    pairs = [dict(each) if each is not None else {} for each in frame["labels"]]
    return pa.table(
        {**columns, "labels": pa.array([list(each.items()) for each in pairs], pa.map_(pa.string(), pa.string()))}
    )


def _texts(table: pa.Table, name: str) -> list[str | None]:
    if name == "instance":
        return table["instance"].to_pylist()  # type: ignore[no-any-return]
    found = []
    for each in table["labels"].to_pylist():
        pairs = [(pair["key"], pair["value"]) if isinstance(pair, dict) else pair for pair in each or ()]
        found.append(dict(pairs).get(name))
    return found


def _framed(frame: Any, columns: dict[str, list[Any]]) -> Any:
    if _is_polars(frame):
        import polars as pl

        return pl.DataFrame(columns)
    import pandas as pd

    return pd.DataFrame(columns)
