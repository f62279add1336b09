"""Points as pandas and pyarrow hold them; what is not rondo's own is imported only when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from rondo_core.errors import UsageError
from rondo_core.units import parse_zone

if TYPE_CHECKING:
    from rondo_core.read.query import SeriesData


def need(module: str, what: str, package: str = "") -> Any:
    """Import a package that is not rondo's own. Raises: UsageError: it is not installed; `package` brings it."""
    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        mend = f"pip install {package or name}"
        raise UsageError(f"{what}: needs {name}, which is not installed; {mend}") from None


def series_to_pandas(data: SeriesData, *, tz: str = "UTC") -> Any:
    """Give the points as a pandas Series of float64, named by the series and indexed by times in zone `tz`.

    Raises: UsageError: pandas is not installed; RangeError: no such zone.
    """
    pandas = need("pandas", "to_pandas")
    index = pandas.DatetimeIndex(data.timestamps_ns.astype("datetime64[ns]"), tz="UTC", name="time")
    return pandas.Series(data.values, index=_local(index, tz), name=str(data.series))


def to_pandas(many: Sequence[SeriesData], *, tz: str = "UTC") -> Any:
    """Give all points as a pandas DataFrame: a column per series, a row per time; NaN where a series has no point.

    Args: `tz`: the zone of the index, such as "Europe/Berlin".
    Raises: UsageError: pandas is not installed; RangeError: no such zone.
    """
    pandas = need("pandas", "to_pandas")
    columns = [series_to_pandas(data) for data in many]
    none = pandas.DataFrame(index=pandas.DatetimeIndex([], dtype="datetime64[ns, UTC]", name="time"))
    whole = pandas.concat(columns, axis=1).sort_index() if columns else none
    whole.index = _local(whole.index, tz)
    return whole


def _local(index: Any, tz: str) -> Any:
    return index if tz == "UTC" else index.tz_convert(parse_zone(tz))


def series_to_arrow(data: SeriesData) -> Any:
    """Give the points as a pyarrow Table: timestamp (ns, UTC), value, coverage, interval_ns.

    Which series it is stands in the schema's metadata: name, labels (JSON), kind, unit, help and fn, as UTF-8.
    Raises: UsageError: pyarrow is not installed.
    """
    arrow = need("pyarrow", "to_arrow")
    table = arrow.table(_columns(arrow, [data]))
    facts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in _facts(data).items()}
    return table.replace_schema_metadata(facts)


def to_arrow(many: Sequence[SeriesData]) -> Any:
    """Give all points as one pyarrow Table, series after series, with a column `series` that names each row's.

    The metadata's `series` is a JSON list of what each series is: name, labels, kind, unit, help and fn.
    Raises: UsageError: pyarrow is not installed.
    """
    arrow = need("pyarrow", "to_arrow")
    lengths = arrow.array([len(data) for data in many], arrow.int64())
    names = arrow.array([str(data.series) for data in many], arrow.string())
    index = [number for number, length in enumerate(lengths.to_pylist()) for _ in range(length)]
    series = arrow.DictionaryArray.from_arrays(arrow.array(index, arrow.int32()), names)
    table = arrow.table({"series": series, **_columns(arrow, many)})
    return table.replace_schema_metadata({"series": json.dumps([_facts(data) for data in many], ensure_ascii=False)})


def _columns(arrow: Any, many: Sequence[SeriesData]) -> dict[str, Any]:
    kinds = {"timestamp": arrow.timestamp("ns", "UTC"), "value": arrow.float64()}
    kinds |= {"coverage": arrow.int64(), "interval_ns": arrow.int64()}
    found = {}
    for name, kind in kinds.items():
        parts = [getattr(data, {"timestamp": "timestamps_ns", "value": "values"}.get(name, name)) for data in many]
        whole = np.concatenate(parts) if parts else np.empty(0)
        found[name] = arrow.array(whole if name == "value" else whole.astype(np.int64)).cast(kind)
    return found


def _facts(data: SeriesData) -> dict[str, Any]:
    series = data.series
    facts = {"name": series.name, "labels": dict(series.labels), "kind": series.kind}
    return facts | {"unit": series.unit, "help": series.help, "fn": data.fn}
