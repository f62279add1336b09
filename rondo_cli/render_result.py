"""Tables, CSV, JSON and plots of what an expression of PromQL answered; plain text, no rule of the domain."""

from __future__ import annotations

import datetime as dt
import json
import math
from typing import TYPE_CHECKING, Any

from rondo_cli import render
from rondo_core.errors import printable
from rondo_core.model import format_series
from rondo_core.units import format_instant

if TYPE_CHECKING:
    from rondo_promql import Result

NS_PER_MS = 1_000_000


def label_text(labels: dict[str, str]) -> str:
    """Write labels as PromQL does: `name{key="value"}`, of none `{}`."""
    rest = tuple(sorted((key, value) for key, value in labels.items() if key != "__name__"))
    return format_series(labels.get("__name__", ""), rest) or "{}"


def texts(values: Any) -> list[str]:
    """Write values for people, a histogram by its count and sum."""
    if hasattr(values, "cells"):
        pairs = zip(values.count.tolist(), values.sum.tolist(), strict=True)
        return [f"{{count:{render.number(count)}, sum:{render.number(total)}}}" for count, total in pairs]
    return list(map(render.number, values.tolist()))


def as_table(result: Result, zone: dt.tzinfo = dt.UTC) -> str:
    """Write a result as a table: of a vector a row for each series, of a matrix a row for each step."""
    if result.kind in {"scalar", "string"}:
        return render.number(result.value) if isinstance(result.value, float) else printable(str(result.value))
    if not result.series:
        return "no series"
    if result.kind == "vector":
        rows = [[label_text(labels), texts(values)[0]] for labels, _, values in result.series]
        return render.table(["series", "value"], rows, [False, True])
    names = [label_text(labels) for labels, _, _ in result.series]
    heads, lines = names, []
    if len(names) > 1:
        heads = [f"[{place}]" for place in range(1, len(names) + 1)]
        lines = [*(printable(f"{head:>5} {name}") for head, name in zip(heads, names, strict=True)), ""]
    cells: dict[int, list[str]] = {}
    for place, (_, stamps, values) in enumerate(result.series):
        for stamp, text in zip(stamps.tolist(), texts(values), strict=True):
            cells.setdefault(stamp, [""] * len(names))[place] = text
    rows = [[format_instant(stamp * NS_PER_MS, zone), *cells[stamp]] for stamp in sorted(cells)]
    return "\n".join([*lines, render.table(["time", *heads], rows, [False, *[True] * len(heads)])])


def as_csv(result: Result) -> str:
    """Write a result as series,timestamp_ns,value, floats in full; of a histogram the value is its JSON."""
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["series", "timestamp_ns", "value"])
    if result.kind in {"scalar", "string"}:
        writer.writerow(["", "", result.value])
    for labels, stamps, values in result.series:
        found = map(json.dumps, _histograms(values)) if hasattr(values, "cells") else map(repr, values.tolist())
        for stamp, value in zip(stamps.tolist(), found, strict=True):
            writer.writerow([label_text(labels), stamp * NS_PER_MS, value])
    return out.getvalue().rstrip("\n")


def as_json(result: Result) -> str:
    """Write a result as the HTTP API of Prometheus has it: the object under `data`, with warnings and infos."""
    if result.kind in {"scalar", "string"}:
        value = _float_text(result.value) if isinstance(result.value, float) else result.value
        return json.dumps({"resultType": result.kind, "result": value})
    found = []
    for labels, stamps, values in result.series:
        key, each = ("histogram", _histograms(values)) if hasattr(values, "cells") else ("value", _floats(values))
        points = [[stamp / 1000, value] for stamp, value in zip(stamps.tolist(), each, strict=True)]
        many = {"metric": labels, f"{key}s": points}
        found.append({"metric": labels, key: points[0]} if result.kind == "vector" else many)
    whole: dict[str, Any] = {"resultType": result.kind, "result": found}
    whole |= {name: texts for name in ("warnings", "infos") if (texts := getattr(result, name))}
    return json.dumps(whole, indent=1)


def _floats(values: Any) -> list[str]:
    return list(map(_float_text, values.tolist()))


def _float_text(value: float) -> str:
    """Write a value as the API does: a text, so that NaN and the infinities can be told."""
    if math.isfinite(value):
        return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def _histograms(values: Any) -> list[dict[str, Any]]:
    """Write histograms as the API does: count, sum, and the buckets that are not empty."""
    bounds = [
        2.0 ** ((values.first_index + place - 1) * 2.0**-values.schema) for place in range(values.cells.shape[1] + 1)
    ]
    found = []
    rows = zip(
        values.count.tolist(), values.sum.tolist(), values.zero_count.tolist(), values.cells.tolist(), strict=True
    )
    for count, total, zeroes, cells in rows:
        buckets: list[list[Any]] = [[3, "0", "0", _float_text(zeroes)]] if zeroes else []
        for place, number in enumerate(cells):
            if number:
                edges = (_float_text(bounds[place]), _float_text(bounds[place + 1]))
                buckets.append([0, *edges, _float_text(number)])
        found.append({"count": _float_text(count), "sum": _float_text(total), "buckets": buckets})
    return found


def as_plot(result: Result, query: str, zone: dt.tzinfo) -> str:
    """Draw a matrix over time, as wide as the terminal; of a vector and of histograms there is only the table."""
    import numpy as np

    from rondo_core import Series
    from rondo_core.read import SeriesData

    drawn = []
    for labels, stamps, values in result.series if result.kind == "matrix" else ():
        if hasattr(values, "cells"):
            continue
        rest = tuple(sorted((key, value) for key, value in labels.items() if key != "__name__"))
        series = Series(labels.get("__name__", ""), rest, "gauge", "", 0)
        ones = np.ones(len(stamps), np.int64)
        drawn.append(SeriesData(series, query, stamps * NS_PER_MS, values, ones, ones))
    return render.as_plot(drawn, zone=zone, title=query) if drawn else as_table(result, zone)


DATA = {"csv": as_csv, "json": as_json}
