"""Questions in SQL that DuckDB, Spark and Trino answer as rondo does; a lake's views for DuckDB and Spark.

`views(engine, lake)` gives statements that make `samples`, `lives`, `increases` and `sketch_cells`; the others give one
query each, over these views. What a dialect calls otherwise is in `Dialect`; nothing else differs.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Sequence
from typing import Literal

import attrs
import pyarrow as pa

from rondo_core.errors import UsageError
from rondo_core.model import check_metric_name, sketch
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.rows import schema_of

Engine = Literal["duckdb", "spark", "trino"]
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SPARK_TYPES = {
    "string": "STRING",
    "int32": "INT",
    "int64": "BIGINT",
    "double": "DOUBLE",
    "bool": "BOOLEAN",
    "timestamp[us, tz=UTC]": "TIMESTAMP",
    "map<string, string>": "MAP<STRING, STRING>",
    "list<item: int64>": "ARRAY<BIGINT>",
}
_VALUES = "time, instance, series, name, labels, kind, interval_ns"


@attrs.frozen
class Dialect:
    """What an engine calls otherwise.

    Attributes: `cells`: what makes a row of each cell, with its place from 0 as `place`; `shifted`: an index at a lower
        scale; `interpolated`: a quantile between two values; `label`: the value of a label; `numbers`: 0 to 40, as
        `shift`; `stamp`: an instant; `born`: whether a row is of the bucket in which its series was declared.
    """

    cells: str
    shifted: str
    interpolated: str
    label: str
    numbers: str
    stamp: str
    born: str


# Source: Trino's documentation, "Bitwise functions", "Date and time functions" (whose intervals have no
# shorter unit than a millisecond), "Map functions and operators", "Aggregate functions".
DIALECTS: dict[Engine, Dialect] = {
    "duckdb": Dialect(
        "FROM samples, LATERAL (SELECT unnest(cells) AS n, generate_subscripts(cells, 1) - 1 AS place)",
        "({0} >> CAST({1} AS INTEGER))",
        "quantile_cont({0}, {1})",
        "labels['{0}']",
        "(SELECT unnest(generate_series(0, 40)) AS shift)",
        "TIMESTAMPTZ '{0}'",
        "time = zero_time + to_microseconds(interval_ns // 1000)",
    ),
    "spark": Dialect(
        "FROM samples LATERAL VIEW posexplode(cells) AS place, n",
        "shiftright({0}, CAST({1} AS INT))",
        "percentile({0}, {1})",
        "labels['{0}']",
        "(SELECT explode(sequence(0, 40)) AS shift)",
        "TIMESTAMP '{0}'",
        "time = timestampadd(MICROSECOND, interval_ns div 1000, zero_time)",
    ),
    "trino": Dialect(
        "FROM samples CROSS JOIN UNNEST(cells) WITH ORDINALITY AS t(n, ordinal) "
        "CROSS JOIN LATERAL (SELECT ordinal - 1 AS place)",
        "bitwise_right_shift_arithmetic({0}, {1})",
        "approx_percentile({0}, {1})",
        "element_at(labels, '{0}')",
        "(SELECT shift FROM UNNEST(sequence(0, 40)) AS t(shift))",
        "TIMESTAMP '{0} UTC'",
        "date_diff('millisecond', zero_time, time) = interval_ns / 1000000",
    ),
}


def views(engine: Engine, lake: str = "", *, has_lives: bool = True) -> list[str]:
    """Give the statements that make the views of a lake; of Trino those over its tables `samples` and `lives`.

    Args: `lake`: its directory; empty: `samples` and `lives` are there already.
    """
    dialect, made = DIALECTS[engine], []
    quoted = glob.escape(lake).replace("'", "''")
    if lake and engine == "duckdb":
        files = f"'{quoted}/day=*/*/*.parquet', hive_partitioning = true, union_by_name = true"
        made.append(f"CREATE OR REPLACE VIEW samples AS SELECT * FROM read_parquet({files})")
        if has_lives:
            made.append(f"CREATE OR REPLACE VIEW lives AS SELECT * FROM read_parquet('{quoted}/_lives/*.parquet')")
    if lake and engine == "spark":
        for name, path, columns in (
            ("samples", f"{lake}/day=*", [*schema_of("us"), pa.field("day", pa.string())]),
            ("lives", f"{lake}/_lives", [*LIVES_SCHEMA]),
        )[: 1 + has_lives]:
            told = ", ".join(f"`{each.name}` {_SPARK_TYPES[str(each.type)]}" for each in columns)
            options = "path '{}', basePath '{}'".format(*(each.replace("'", "\\'") for each in (path, lake)))
            made.append(f"CREATE OR REPLACE TEMPORARY VIEW {name} ({told}) USING parquet OPTIONS ({options})")
    create = "CREATE OR REPLACE TEMPORARY VIEW" if engine == "spark" else "CREATE OR REPLACE VIEW"
    return [*made, f"{create} increases AS {increases(dialect)}", f"{create} sketch_cells AS {sketch_cells(dialect)}"]


def view_of(name: str, paths: Iterable[str]) -> str:
    """Give the statement that makes a view of these files alone, for DuckDB, with a column of their folder's day."""
    quoted = ", ".join("'{}'".format(glob.escape(path).replace("'", "''")) for path in paths)
    return (
        f"CREATE OR REPLACE VIEW {name} AS SELECT * "
        f"FROM read_parquet([{quoted}], hive_partitioning = true, union_by_name = true)"
    )


def increases(dialect: Dialect) -> str:
    """Give a query of how much each counter grew in each bucket, and what each summary observed: they add up.

    The first bucket of a series counts from 0 where it is known that the total was 0 just before; else it says nothing.
    """
    return (
        f"SELECT {_VALUES}, CASE WHEN kind = 'summary' THEN CAST(grown.count AS DOUBLE) "
        "WHEN before IS NOT NULL AND value >= before THEN value - before "
        "WHEN before IS NOT NULL THEN value "
        f"WHEN {dialect.born} THEN value END AS increase FROM ("
        "SELECT *, lag(value) OVER (PARTITION BY name, instance, series ORDER BY time) AS before "
        "FROM samples WHERE kind <> 'gauge') AS grown"
    )


def sketch_cells(dialect: Dialect) -> str:
    """Give a query of each cell of each sketch: its scale, its index at that, and how much it counts; see `quantile`.

    What was 0 is the cell of index NULL.
    """
    kept = f"{_VALUES}, scale"
    return (
        f"SELECT {kept}, first_cell + place AS cell, n {dialect.cells} WHERE n > 0 "
        f"UNION ALL SELECT {kept}, CAST(NULL AS BIGINT) AS cell, zeroes AS n FROM samples WHERE zeroes > 0"
    )


def increase(
    engine: Engine,
    metric: str,
    start: str = "",
    end: str = "",
    *,
    by: Sequence[str] = ("instance",),
    per_s: bool = False,
) -> str:
    """Give the query of how much a counter, or a summary's count, grew within a range, by labels or `instance`.

    Args: `start`, `end`: "2026-11-25 00:00:00", UTC, the end not included; empty: all. `per_s`: as a rate, over the
        range, which must have both ends.
    Raises: UsageError: no such name can be, or a rate has no range.
    """
    total = "sum(increase)"
    if per_s:
        if not (start and end):
            raise UsageError(f"{metric}: a rate needs a start and an end; give both")
        total = f"sum(increase) / {_seconds(end) - _seconds(start)!r}"
    wanted = _where(engine, metric, start, end)
    groups, names = _groups(engine, by)
    return f"SELECT {groups}{total} AS value FROM increases WHERE {wanted}{_grouped(names)}"


def quantile(
    engine: Engine, share: float, metric: str, start: str = "", end: str = "", *, by: Sequence[str] = ()
) -> str:
    """Give the query of a quantile of all that summaries with a sketch observed in a range, merged by labels.

    It is what rondo answers over the same stores: cells are merged at the finest scale that holds all of a group, and
    the value is the middle of the cell, within its relative error. Args, raises: as `increase`.
    """
    if not 0 < share < 1:
        raise UsageError(f"quantile {share}: between 0 and 1, such as 0.95")
    dialect = DIALECTS[engine]
    groups, names = _groups(engine, by)
    keys = "".join(f"{name}, " for name in names)
    using = " AND ".join(f"c.{name} IS NOT DISTINCT FROM s.{name}" for name in names) or "1 = 1"
    if engine == "spark":
        using = using.replace(" IS NOT DISTINCT FROM ", " <=> ")
    over = f"PARTITION BY {', '.join(names)} " if names else ""
    wanted = _where(engine, metric, start, end)
    low, high = (dialect.shifted.format(each, "shift") for each in ("low", "high"))
    at_base = dialect.shifted.format("cell", "scale - base")
    at_least = dialect.shifted.format("cell", "c.scale - s.at_scale")
    width = "power(CAST(2 AS DOUBLE), power(CAST(2 AS DOUBLE), -at_scale))"
    value = f"power(CAST(2 AS DOUBLE), cell * power(CAST(2 AS DOUBLE), -at_scale)) * 2 * {width} / (1 + {width})"
    return (
        f"WITH chosen AS (SELECT {groups}scale, cell, n FROM sketch_cells WHERE {wanted}), "
        f"based AS (SELECT {keys}scale, cell, "
        f"min(CASE WHEN cell IS NOT NULL THEN scale END) OVER ({over}) AS base FROM chosen), "
        f"bounds AS (SELECT {keys}base, min({at_base}) AS low, max({at_base}) AS high "
        f"FROM based WHERE cell IS NOT NULL GROUP BY {keys}base), "
        f"scaled AS (SELECT {keys}base - min(shift) AS at_scale FROM bounds CROSS JOIN {dialect.numbers} AS shifts "
        f"WHERE {high} - {low} < {sketch.CELLS} GROUP BY {keys}base), "
        f"merged AS (SELECT {''.join(f'c.{name}, ' for name in names)}s.at_scale, "
        f"{at_least} AS cell, sum(c.n) AS n FROM chosen c LEFT JOIN scaled s ON {using} "
        f"GROUP BY {''.join(f'c.{name}, ' for name in names)}s.at_scale, {at_least}), "
        f"ranked AS (SELECT *, sum(n) OVER ({over}ORDER BY cell NULLS FIRST ROWS UNBOUNDED PRECEDING) AS upto, "
        f"sum(n) OVER ({over.strip()}) AS total FROM merged), "
        f"found AS (SELECT *, row_number() OVER ({over}ORDER BY cell NULLS FIRST) AS place FROM ranked "
        f"WHERE upto >= greatest(1, ceil(total * CAST({share!r} AS DOUBLE)))) "
        f"SELECT {keys}CASE WHEN cell IS NULL THEN CAST(0 AS DOUBLE) ELSE {value} END AS value "
        "FROM found WHERE place = 1"
    )


def lives_quantile(
    engine: Engine, share: float, of: str = "memory_peak_bytes", *, by: Sequence[str] = ("job", "commit")
) -> str:
    """Give the query of a quantile, interpolated, of what lives took: the p95 of peak memory by job and commit.

    Raises: UsageError: no such column.
    """
    for name in (of, *by):
        if not _LABEL.fullmatch(name):
            raise UsageError(f"{name}: no column of lives; memory_peak_bytes, cpu_seconds, job, commit, host ...")
    columns = "".join(f'"{name}", ' if engine != "spark" else f"`{name}`, " for name in by)
    value = DIALECTS[engine].interpolated.format(of, repr(share))
    grouped = f" GROUP BY {columns[:-2]}" if by else ""
    return f"SELECT {columns}count(*) AS lives, {value} AS value FROM lives WHERE {of} IS NOT NULL{grouped}"


def _where(engine: Engine, metric: str, start: str, end: str) -> str:
    wanted = [f"name = '{check_metric_name(metric)}'"]
    for sign, text in ((">=", start), ("<", end)):
        if text:
            _seconds(text)
            wanted.append(f"time {sign} {DIALECTS[engine].stamp.format(_written(engine, text))}")
    return " AND ".join(wanted)


def _written(engine: Engine, text: str) -> str:
    return text if engine == "trino" else f"{text}+00:00"


def _seconds(text: str) -> float:
    import datetime as dt

    try:
        return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()
    except ValueError:
        raise UsageError(f"{text}: no time; write 2026-11-25 12:00:00, in UTC") from None


def _groups(engine: Engine, by: Sequence[str]) -> tuple[str, list[str]]:
    """Give what is selected of labels and `instance`, and what the columns are called."""
    for name in by:
        if not _LABEL.fullmatch(name):
            raise UsageError(f"{name!r}: not a label name; letters, digits and _ only, no digit first")
    selected = [name if name == "instance" else f"{DIALECTS[engine].label.format(name)} AS by_{name}" for name in by]
    names = [name if name == "instance" else f"by_{name}" for name in by]
    return "".join(f"{each}, " for each in selected), names


def _grouped(names: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(str(place + 1) for place in range(len(names)))}" if names else ""
