"""Batch -> text, a line a sample in time order: what the exporters of lines write, a row of a schema at a time.

Most of what a line says is the same in every row: it is made once, and a row is that with its time and its numbers put
in, by one call of Python's own for all of its series. To make each line on its own takes five times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Batch, Part, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUMMARY = ("count", "sum", "min", "max")
# What is written of a float64 that is a whole number, `repr` writes in this range as digits and `.0`.
_WHOLE = 1e15
_TEXTS = ("%s",) * 4
_WHOLE_MARKS, _SUMMARY_MARKS = ("%d.0",), ("%d", "%s", "%s", "%s")


@attrs.frozen
class LineFormat:
    """What a line looks like.

    Attributes:
        begin: what stands before the timestamp; it has no `%`.
        rest: series and marks -> what stands behind it; a mark, `%s` or another of Python's, for its value, or for the
            four of a summary, in the order of SUMMARY, and `%%` for each `%` of its own.
        number: a value as it is written; None: the bucket has no such value.
    """

    begin: str
    rest: Callable[[Series, tuple[str, ...]], str]
    number: Callable[[float | int | None], str]


def texts_of(batch: Batch, format: LineFormat) -> list[str]:
    """Give the lines, with their ends, of every row of a batch: by time, then in the order of parts and columns."""
    rows = [row for part in batch.parts for row in _rows(part, format)]
    if len(batch.parts) > 1:
        rows.sort(key=lambda row: row[0])
    return [text for _, text in rows]


def _rows(part: Part, format: LineFormat) -> Iterator[tuple[int, str]]:
    """Give each row that holds a sample: its timestamp, and its lines."""
    import numpy as np

    there, stamps = part.there(), part.timestamps_ns.tolist()
    values, marks = _values(part, there, format)
    begin, rests = format.begin, _rests(part.series, marks, format)
    end = -len(begin) or None
    filled = there & (part.statistics["count"] > 0) if part.kind == "summary" else there
    if filled.all():
        whole = [begin, *rests]
        for at, numbers in zip(stamps, values.reshape(len(stamps), -1).tolist(), strict=True):
            yield at, (f"{at}".join(whole) % (*numbers,))[:end]
        return
    # Of a bucket without an observation a summary has neither the least nor the greatest.
    absent = format.number(None)
    unfilled = _rests(part.series, (*marks[:2], absent, absent), format) if part.kind == "summary" else rests
    kept = there[:, :, None] & (filled[:, :, None] | (np.arange(values.shape[2]) < len(SUMMARY) // 2))
    for at, present, whole_ones, keep, numbers in zip(stamps, there, filled.tolist(), kept, values, strict=True):
        columns = present.nonzero()[0].tolist()
        if some := [rests[column] if whole_ones[column] else unfilled[column] for column in columns]:
            yield at, (f"{at}".join([begin, *some]) % (*numbers[keep].tolist(),))[:end]


def _values(part: Part, there: NDArray[np.bool_], format: LineFormat) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Give what is put into the lines of each cell, [rows, series, values], and the marks for that."""
    import numpy as np

    if part.kind == "summary":
        values = np.stack([part.statistics[name] for name in SUMMARY], axis=-1)
        seen = there & (values[:, :, 0] > 0)
        if np.isfinite(values[there][:, :2]).all() and np.isfinite(values[seen]).all():
            return values, _SUMMARY_MARKS
        return _written(values, there, format), _TEXTS
    last = part.statistics["last"]
    held = last[there]
    if not np.isfinite(held).all():
        return _written(last[:, :, None], there, format), _TEXTS[:1]
    # A minus before zero is no whole number's.
    if (np.abs(held) < _WHOLE).all() and (held == np.trunc(held)).all() and not (np.signbit(held) & (held == 0)).any():
        return np.where(there, last, 0.0).astype(np.int64)[:, :, None], _WHOLE_MARKS
    return last[:, :, None], _TEXTS[:1]


def _written(values: NDArray[np.float64], there: NDArray[np.bool_], format: LineFormat) -> NDArray[Any]:
    """Give the values as they are written, one by one, where some are no numbers."""
    import numpy as np

    written = np.full(values.shape, "", dtype=object)
    for row, column in zip(*(each.tolist() for each in there.nonzero()), strict=True):
        first, *others = values[row, column].tolist()
        written[row, column] = [format.number(number) for number in ([int(first), *others] if others else [first])]
    return written


@lru_cache(16)  # a batch has as many schemas, or fewer; its series may be thousands
def _rests(series: tuple[Series, ...], marks: tuple[str, ...], format: LineFormat) -> list[str]:
    """Give what stands behind each series' timestamp, up to that of the next line."""
    return [f"{format.rest(each, marks)}\n{format.begin}" for each in series]
