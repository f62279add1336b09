"""The exporter `jsonl`: a JSON object per sample, one a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from rondo_core import Series, hookimpl
from rondo_core.builtin.path_option import rondo_options_check, rondo_options_define  # noqa: F401 - its hooks
from rondo_core.model.labels import format_series

if TYPE_CHECKING:
    from rondo_core.builtin.lines import Lines
    from rondo_core.builtin.samples import Sample


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> Lines:
    """Open the file. Raises: UsageError: it cannot be used."""
    from rondo_core.builtin.lines import Lines

    return Lines(config["path"], _line, _check)


def _line(sample: Sample) -> str:
    value, count, total, low, high = map(_number, sample.values)
    told = f'"value": {value}' if sample.series.kind != "summary" else None
    told = told or f'"count": {count}, "sum": {total}, "min": {low}, "max": {high}'
    return f'{{"timestamp_ns": {sample.timestamp_ns}, {_identity(sample.series)}, {told}}}'


@lru_cache(4096)
def _identity(series: Series) -> str:
    facts = {"name": series.name, "labels": dict(series.labels), "kind": series.kind}
    return json.dumps(facts)[1:-1]


def _number(value: float | None) -> str:
    """Write a number exactly; JSON has no infinity, which is a text."""
    if value is None:
        return "null"
    return repr(value) if math.isfinite(value) else f'"{value}"'


def _check(lines: Sequence[str]) -> None:
    for row in map(json.loads, lines):
        int(row["timestamp_ns"]), format_series(row["name"], tuple(row["labels"].items()))
