"""What reads a lake sees the same rows and values: pandas, DuckDB, polars, and Spark where there is Java."""

import datetime as dt
import math
import os
import re
import shutil
from pathlib import Path

import attrs
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from rondo_core import Batch, Plugins
from rondo_core.plugins.manager import EXPORTERS
from rondo_core.testing import make_part

MIDNIGHT_NS = 19_700 * 86_400 * 10**9
README_BLOCKS = re.findall(r"```python\n(.*?)```", (Path(__file__).parents[1] / "README.md").read_text(), re.DOTALL)
COLUMNS = ["time", "instance", "series", "name", "kind", "interval_ns", "value", "count", "sum", "min", "max"]


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    """Rows of three stores around midnight: absent values, infinities, odd labels, an instance that looks like a number."""
    directory = tmp_path_factory.mktemp("lake")
    plugins = Plugins(config={"parquet": {"directory": str(directory), "instance": "fleet", "rows_per_file": 20}})
    plugins.load(EXPORTERS, ["parquet"])
    exporter = plugins.open("rondo_exporter_open", "parquet")
    values = np.array([[1.0, 2.5], [np.nan, math.inf], [0.5, 1e300], [7.0, np.nan]])
    seen = {"count": np.where(np.isnan(values), 0.0, 3.0), "sum": np.nan_to_num(values), "min": values, "max": values}
    for instance in ("007", "2026-01-01", 'a "b" é'):
        parts = []
        for kind in ("counter", "gauge", "summary"):
            part = make_part(kind, [f"{kind}_a", f"{kind}_b"], values)
            stamps = MIDNIGHT_NS + (np.arange(4) - 2) * 10**9 + (10**9 - 1_000_000)
            series = tuple(each._replace(labels=(("instance", instance),)) for each in part.series)
            statistics = seen if kind == "summary" else part.statistics
            parts.append(attrs.evolve(part, timestamps_ns=stamps, series=series, statistics=statistics))
        exporter.send(Batch(tuple(parts)))
    exporter.close()
    return directory


def by_pandas(lake):
    frame = pd.read_parquet(lake)
    return [[*row[:-2], dict(row[-2]), row[-1]] for row in frame[[*COLUMNS, "labels", "day"]].itertuples(index=False)]


def by_duckdb(lake):
    query = (
        f"SELECT {', '.join(COLUMNS)}, labels, day FROM read_parquet('{lake}/*/*/*.parquet', hive_partitioning=true)"
    )
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return [[*row[:-2], dict(row[-2]), row[-1]] for row in connection.execute(query).fetchall()]


def by_polars(lake):
    run_as_shown(README_BLOCKS[1].replace('"lake/', f'"{lake}/'))
    frame = pl.read_parquet(lake / "*/*/*.parquet", hive_partitioning=True)
    return [[*row[:-2], dict(row[-2]), row[-1]] for row in frame.select([*COLUMNS, "labels", "day"]).rows()]


def by_spark(lake):
    session = spark_session(lake.parent)
    try:
        frame = session.read.parquet(str(lake))
        assert dict(frame.dtypes)["time"] == "timestamp"
        assert dict(frame.dtypes)["instance"] == "string"
        stamps = frame.selectExpr("unix_micros(time) AS time", *COLUMNS[1:], "labels", "day")
        found = [[dt.datetime.fromtimestamp(row[0] / 1e6, dt.UTC), *row[1:]] for row in stamps.collect()]
        run_as_shown(README_BLOCKS[2].replace('"lake"', repr(str(lake))), spark=session)
        return found
    finally:
        session.stop()


def spark_session(place):
    """Start Spark, which takes half a minute and a package of 500 MB: `make test-systems` does."""
    if not os.environ.get("RONDO_SYSTEMS"):
        pytest.skip("Spark is run by make test-systems")
    if not shutil.which("java"):
        pytest.skip("no Java")
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for key, value in {
        "spark.driver.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": str(place / "warehouse"),
    }.items():
        builder = builder.config(key, value)
    return builder.getOrCreate()


def run_as_shown(block, **names):
    exec(block, names)


def plain(row):
    """Name a row's cells in one way, whatever an engine calls them; NaN is what pandas calls null."""
    cells = {}
    for name, cell in zip([*COLUMNS, "labels", "day"], row, strict=True):
        absent = cell is None or (isinstance(cell, float) and math.isnan(cell)) or cell is pd.NA
        cells[name] = None if absent else cell
    cells["time"] = pd.Timestamp(cells["time"]).tz_convert("UTC").value
    cells["day"] = str(cells["day"])[:10]
    cells["labels"] = tuple(sorted(cells["labels"].items()))
    return tuple(cells.items())


READERS = {"pandas": by_pandas, "duckdb": by_duckdb, "polars": by_polars}


@pytest.mark.parametrize("engine", [*READERS, pytest.param("spark", marks=pytest.mark.spark)])
def test_every_engine_reads_the_same_rows(lake, engine):
    """As it is, without a setting: times to the microsecond, the instance as text, labels as a map, null where absent."""
    found = sorted((plain(row) for row in (READERS | {"spark": by_spark})[engine](lake)), key=repr)
    assert found == sorted(expected(lake), key=repr)
    assert len(found) == 3 * (6 + 6 + 8)
    assert {dict(row)["instance"] for row in found} == {"007", "2026-01-01", 'a "b" é'}
    assert {dict(row)["day"] for row in found} == {"2023-12-08", "2023-12-09"}


def expected(lake):
    """Read each file alone, with no engine's idea of what its path says."""
    import pyarrow.parquet as pq

    for file in lake.rglob("*.parquet"):
        for row in pq.ParquetFile(file).read().to_pylist():
            row["labels"] = dict(row["labels"])
            row["day"] = file.parents[1].name.removeprefix("day=")
            yield plain([row[name] for name in [*COLUMNS, "labels", "day"]])
