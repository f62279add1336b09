"""Batch -> samples one by one, in time order: what the exporters of lines write."""

from __future__ import annotations

from typing import NamedTuple

from rondo_core import Batch, Part, Series

FIELDS = ("value", "count", "sum", "min", "max")


class Sample(NamedTuple):
    """One series' sample of one bucket; `values` are those of FIELDS, None where the kind or the bucket has none."""

    timestamp_ns: int
    series: Series
    values: tuple[float | int | None, ...]


def samples(batch: Batch) -> list[Sample]:
    """Give every sample of a batch: by time, then in the order of parts and columns."""
    found = [sample for part in batch.parts for sample in _of(part)]
    found.sort(key=lambda sample: sample.timestamp_ns)
    return found


def _of(part: Part) -> list[Sample]:
    import numpy as np

    summary, statistics = part.kind == "summary", part.statistics
    rows, columns = np.nonzero(~np.isnan(statistics["count" if summary else "last"]))
    stamps = part.timestamps_ns[rows].tolist()
    series = [part.series[column] for column in columns.tolist()]
    if not summary:
        lasts = statistics["last"][rows, columns].tolist()
        return [
            Sample(at, who, (last, None, None, None, None)) for at, who, last in zip(stamps, series, lasts, strict=True)
        ]
    facts = zip(*(statistics[name][rows, columns].tolist() for name in FIELDS[1:]), strict=True)
    return [
        Sample(at, who, (None, int(count), total, low if count else None, high if count else None))
        for at, who, (count, total, low, high) in zip(stamps, series, facts, strict=True)
    ]
