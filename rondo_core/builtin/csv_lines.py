"""The exporter `csv`: a row per sample, under one line of names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rondo_core import hookimpl
from rondo_core.builtin.path_option import rondo_options_check, rondo_options_define  # noqa: F401 - its hooks

if TYPE_CHECKING:
    from rondo_core.builtin.lines import Lines
    from rondo_core.builtin.samples import Sample

HEADER = "timestamp_ns,series,kind,value,count,sum,min,max"


@hookimpl
def rondo_exporter_open(config: Mapping[str, Any]) -> Lines:
    """Open the file. Raises: UsageError: it cannot be used."""
    from rondo_core.builtin.lines import Lines

    return Lines(config["path"], _line, _check, HEADER)


def _line(sample: Sample) -> str:
    name = str(sample.series)
    if any(character in name for character in '",\r'):
        name = '"' + name.replace('"', '""') + '"'
    values = ("" if value is None else repr(value) for value in sample.values)
    return ",".join((str(sample.timestamp_ns), name, sample.series.kind, *values))


def _check(lines: Sequence[str]) -> None:
    import csv

    for row in csv.reader(lines, strict=True) if lines else ():
        if len(row) != len(HEADER.split(",")):
            raise ValueError
        int(row[0])
