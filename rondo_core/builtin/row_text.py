"""Batch -> text, a line a sample in time order: what the exporters of lines write, a row of a schema at a time.

Most of what a line says is the same in every row: it is made once, and a row is that with its time and its numbers put
between, joined at once for all of its series. To make each line on its own takes five times as long.
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
_MARK = "\0"
_MARKS, _WHOLE_MARKS = (_MARK,), (f"{_MARK}.0",)


@attrs.frozen
class LineFormat:
    """What a line looks like.

    Attributes:
        begin: what stands before the timestamp.
        rest: series and marks -> what stands behind it: a mark for its value, or for the four of a summary, in the
            order of SUMMARY, behind all else that may hold a mark's character.
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

    there, n_series = part.there(), len(part.series)
    texts, marks = _texts(part, there, format)
    pieces = _pieces(part.series, marks, format)
    # Of a series its timestamp, what stands behind that, its value, what stands behind that, its next value ...
    line, stride = [format.begin, *pieces], len(pieces) // max(1, n_series)
    end = -len(format.begin) or None
    for row, (at, present) in enumerate(zip(part.timestamps_ns.tolist(), there, strict=True)):
        line[1::stride] = [f"{at}"] * n_series
        mine = texts[row * n_series * len(marks) : (row + 1) * n_series * len(marks)]
        for place in range(len(marks)):
            line[3 + 2 * place :: stride] = mine[place :: len(marks)]
        if present.all():
            yield at, "".join(line)[:end]
        elif present.any():
            yield at, "".join(compress(line, [True, *np.repeat(present, stride).tolist()]))[:end]


def _texts(part: Part, there: NDArray[np.bool_], format: LineFormat) -> tuple[list[str], tuple[str, ...]]:
    """Give what is written of each value, row by row, of a summary its four, and the marks for those of one series."""
    import numpy as np

    is_summary = part.kind == "summary"
    values = np.stack([part.statistics[name] for name in (SUMMARY if is_summary else ("last",))], axis=-1)
    values[~there] = 0.0
    if not is_summary:
        values = values.ravel()
        if _orjson() is None and _are_whole(values):
            return [*map(str, values.astype(np.int64).tolist())], _WHOLE_MARKS
        return _written(values, format), _MARKS
    unseen = values[:, :, 0] == 0
    values[unseen, 2:] = 0.0  # no observation: what stands there is not written
    written, n_numbers = _written(values[:, :, 1:].ravel(), format), len(SUMMARY) - 1
    texts = [""] * values.size
    texts[:: len(SUMMARY)] = map(str, values[:, :, 0].ravel().astype(np.int64).tolist())
    for place in range(n_numbers):
        texts[place + 1 :: len(SUMMARY)] = written[place::n_numbers]
    # Of a bucket without an observation a summary has neither the least nor the greatest.
    for cell in np.flatnonzero(unseen).tolist():
        texts[cell * len(SUMMARY) + 2 : (cell + 1) * len(SUMMARY)] = [format.number(None)] * 2
    return texts, _MARKS * len(SUMMARY)


def _are_whole(values: NDArray[np.float64]) -> bool:
    """Say whether all are whole numbers that `repr` writes as digits and `.0`; a minus before zero is none's."""
    import numpy as np

    whole: np.bool_ = (np.abs(values) < _WHOLE).all() and (values == np.trunc(values)).all()
    return bool(whole) and not bool((np.signbit(values) & (values == 0)).any())


def _written(values: NDArray[np.float64], format: LineFormat) -> list[str]:
    """Give each value as it is written: by orjson at once, where it writes what `repr` does, the others one by one."""
    import numpy as np

    orjson, sizes = _orjson(), np.abs(values)
    if orjson is None:
        texts, odd = [*map(repr, values.tolist())], ~np.isfinite(values)
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
def _pieces(series: tuple[Series, ...], marks: tuple[str, ...], format: LineFormat) -> list[str]:
    """Give what stands around the timestamp and the values of each series, these left empty, up to the next line."""
    pieces: list[str] = []
    for each in series:
        between = format.rest(each, marks).rsplit(_MARK, len(marks))  # a label may hold one, and stands before them
        for text in between:
            pieces += "", text
        pieces[-1] += f"\n{format.begin}"
    return pieces
