"""The exporter `csv`: a row per sample, under one line of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core import Series, hookimpl
from rondo_core.builtin.path_option import rondo_options_check, rondo_options_define  # noqa: F401 - its hooks

if TYPE_CHECKING:
    from rondo_core.builtin.lines import Lines

HEADER = "timestamp_ns,series,kind,value,count,sum,min,max"


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> Lines:
    """Open the file. Raises: UsageError: it cannot be used."""
    from rondo_core.builtin.lines import Lines
    from rondo_core.builtin.row_text import LineFormat

    return Lines(config["path"], LineFormat("", _rest, _number), _check, HEADER)


def _rest(series: Series, marks: tuple[str, ...]) -> str:
    name = str(series)
    if any(character in name for character in '",\r'):
        name = '"' + name.replace('"', '""') + '"'
    values = ["", *marks] if series.kind == "summary" else [*marks, "", "", "", ""]
    return ",".join(("", name, series.kind, *values))


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)


def _check(lines: Sequence[str]) -> None:
    import csv

    for row in csv.reader(lines, strict=True) if lines else ():
        if len(row) != len(HEADER.split(",")):
            raise ValueError
        int(row[0])
