"""The exporter `jsonl`: a JSON object per sample, one a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core import Series, hookimpl
from rondo_core.builtin.path_option import rondo_options_check, rondo_options_define  # noqa: F401 - its hooks
from rondo_core.model.labels import format_series

if TYPE_CHECKING:
    from rondo_core.builtin.lines import Lines


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> Lines:
    """Open the file. Raises: UsageError: it cannot be used."""
    from rondo_core.builtin.lines import Lines
    from rondo_core.builtin.row_text import LineFormat

    return Lines(config["path"], LineFormat('{"timestamp_ns": ', _rest, _number), _check)


def _rest(series: Series, marks: tuple[str, ...]) -> str:
    facts = {"name": series.name, "labels": dict(series.labels), "kind": series.kind}
    names = ("count", "sum", "min", "max") if series.kind == "summary" else ("value",)
    told = ", ".join(f'"{name}": {mark}' for name, mark in zip(names, marks, strict=True))
    return f", {json.dumps(facts)[1:-1]}, {told}}}"


def _number(value: float | None) -> str:
    """Write a number exactly; JSON has no infinity, which is a text."""
    if value is None:
        return "null"
    return repr(value) if math.isfinite(value) else f'"{value}"'


def _check(lines: Sequence[str]) -> None:
    for row in map(json.loads, lines):
        int(row["timestamp_ns"]), format_series(row["name"], tuple(row["labels"].items()))
