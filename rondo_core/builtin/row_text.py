"""Batch -> text, a line a sample in time order: what the exporters of lines write, a row of a schema at a time.

Most of what a line says is the same in every row: it is made once, and a row is that with its time and its numbers put
in, by one call of Python's own for all of its series. To make each line on its own takes five times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import compress
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import Batch, Part, Series

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SUMMARY = ("count", "sum", "min", "max")
# What is written of a float64 that is a whole number, `repr` writes in this range as digits and `.0`.
_WHOLE = 1e15
# In this range every shortest text of a float64 is the same one; beyond it `repr` has exponents of its own form.
_SHORTEST_FROM, _SHORTEST_TO = 1e-4, 1e16
_TEXTS = ("%s",)
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
    width = len(values) // max(1, len(stamps))
    numbers_of = (values[first : first + width] for first in range(0, len(values), width or 1))
    if filled.all():
        whole = [begin, *rests]
        for at, numbers in zip(stamps, numbers_of, strict=True):
            yield at, (f"{at}".join(whole) % (*numbers,))[:end]
        return
    # Of a bucket without an observation a summary has neither the least nor the greatest.
    absent = format.number(None)
    unfilled = _rests(part.series, (*marks[:2], absent, absent), format) if part.kind == "summary" else rests
    kept = there[:, :, None] & (filled[:, :, None] | (np.arange(len(marks)) < len(SUMMARY) // 2))
    for at, present, whole_ones, keep, numbers in zip(stamps, there, filled.tolist(), kept, numbers_of, strict=True):
        columns = present.nonzero()[0].tolist()
        if some := [rests[column] if whole_ones[column] else unfilled[column] for column in columns]:
            yield at, (f"{at}".join([begin, *some]) % (*compress(numbers, keep.ravel().tolist()),))[:end]


def _values(part: Part, there: NDArray[np.bool_], format: LineFormat) -> tuple[list[Any], tuple[str, ...]]:
    """Give what is put into the lines of each cell, row by row, and the marks for that of one cell."""
    import numpy as np

    is_summary = part.kind == "summary"
    values = np.stack([part.statistics[name] for name in (SUMMARY if is_summary else ("last",))], axis=-1)
    values[~there] = 0.0
    if not is_summary:
        values = values.ravel()
        if _are_whole(values):
            return values.astype(np.int64).tolist(), _WHOLE_MARKS
        return _written(values, format), _TEXTS
    values[values[:, :, 0] == 0, 2:] = 0.0  # no observation: what stands there is not written
    texts = _written(values[:, :, 1:].ravel(), format)
    n_numbers = len(SUMMARY) - 1
    cells: list[Any] = [0] * values.size
    cells[:: len(SUMMARY)] = values[:, :, 0].ravel().astype(np.int64).tolist()
    for place in range(n_numbers):
        cells[place + 1 :: len(SUMMARY)] = texts[place::n_numbers]
    return cells, _SUMMARY_MARKS


def _are_whole(values: NDArray[np.float64]) -> bool:
    """Say whether all are whole numbers that `repr` writes as digits and `.0`; a minus before zero is none's."""
    import numpy as np

    whole: np.bool_ = (np.abs(values) < _WHOLE).all() and (values == np.trunc(values)).all()
    return bool(whole) and not bool((np.signbit(values) & (values == 0)).any())


def _written(values: NDArray[np.float64], format: LineFormat) -> list[Any]:
    """Give each value as it is written: by orjson at once, where it writes what `repr` does, the others one by one.

    Without orjson finite values are left to the mark.
    """
    import numpy as np

    orjson, sizes = _orjson(), np.abs(values)
    if orjson is None:
        texts: list[Any] = values.tolist()
        odd = ~np.isfinite(values)
    else:
        texts = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].decode().split(",") if len(values) else []
        odd = ~((sizes >= _SHORTEST_FROM) & (sizes < _SHORTEST_TO) | (sizes == 0))
    for at in np.flatnonzero(odd).tolist():
        texts[at] = format.number(float(values[at]))
    return texts


@lru_cache(1)
def _orjson() -> Any:
    """Give orjson, which writes a number of 17 digits in a fifth of the time of `repr`; None: it is not installed."""
    try:
        import orjson
    except ImportError:
        return None
    return orjson


@lru_cache(16)  # a batch has as many schemas, or fewer; its series may be thousands
def _rests(series: tuple[Series, ...], marks: tuple[str, ...], format: LineFormat) -> list[str]:
    """Give what stands behind each series' timestamp, up to that of the next line."""
    return [f"{format.rest(each, marks)}\n{format.begin}" for each in series]
