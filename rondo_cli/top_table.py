"""The table of `rondo top`: its rows, their order, and how they are drawn; pure but for the expressions it asks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from rondo_cli.expressions import NS_PER_MS, Expressions
from rondo_cli.render import number
from rondo_cli.render_result import label_text
from rondo_core.errors import printable
from rondo_core.units import format_instant

_SPARKS = "▁▂▃▄▅▆▇█"
_SPARK_STEPS, _VALUE_WIDTH, _NAME_MIN = 20, 12, 20
# A rate of a metric is over a quarter of what is shown, and at least so long: a live view follows what it shows.
_LEAST_WINDOW_S = 10


@attrs.frozen
class TopRow:
    """One label set: its text, the newest value of each column (NaN: none), and each column's values over time."""

    name: str
    values: tuple[float, ...]
    histories: tuple[tuple[float, ...], ...]


@attrs.frozen
class TopTable:
    """What was read: the rows, the heads of the columns, the instant, and what was said beside it."""

    rows: list[TopRow]
    heads: tuple[str, ...]
    at_ms: int
    notes: tuple[str, ...] = ()

    @property
    def n_columns(self) -> int:
        """Count the columns of values."""
        return len(self.heads)


@attrs.frozen
class TopView:
    """What of a table is shown: the column that sorts (0: the labels), the order, the first row, whether it is held."""

    sort: int = 1
    turned: bool = False
    first: int = 0
    held: bool = False

    def after(self, key: str, n_rows: int, n_columns: int, height: int) -> TopView:
        """Give the view after a key was pressed; one that means nothing changes nothing."""
        last = max(0, n_rows - height)
        moves = {"up": -1, "down": 1, "pageup": -height, "pagedown": height, "home": -n_rows, "end": n_rows}
        if key in moves:
            return attrs.evolve(self, first=max(0, min(last, self.first + moves[key])))
        if key in {"left", "right"}:
            return attrs.evolve(self, sort=(self.sort + (1 if key == "right" else -1)) % (n_columns + 1))
        if key == "r":
            return attrs.evolve(self, turned=not self.turned)
        return attrs.evolve(self, held=not self.held) if key == " " else self


def read_table(expressions: Expressions, columns: Sequence[str], at_ms: int, span_ms: int) -> TopTable:
    """Evaluate each column over the span that ends at an instant; without columns, every metric by itself."""
    step_ms = max(1, span_ms // _SPARK_STEPS)
    start_ms = at_ms - _SPARK_STEPS * step_ms
    notes: dict[str, None] = {}
    if columns:
        heads, asked = tuple(columns), [(place, "", each) for place, each in enumerate(columns)]
    else:
        window_s = max(_LEAST_WINDOW_S, span_ms // 4000)
        heads, asked = ("value",), [(0, name, each) for name, each in _every_metric(expressions, window_s)]
    found: dict[str, list[tuple[float, ...]]] = {}
    for place, name, query in asked:
        result = expressions.over(query, start_ms, at_ms, step_ms)
        notes |= dict.fromkeys((*result.warnings, *result.infos))
        for labels, stamps, values in result.series:
            if hasattr(values, "cells"):
                continue
            row = found.setdefault(_row_name(labels, name, several=len(columns) > 1), [()] * len(heads))
            history = [math.nan] * (_SPARK_STEPS + 1)
            for stamp, value in zip(stamps.tolist(), values.tolist(), strict=True):
                history[(stamp - start_ms) // step_ms] = value
            row[place] = tuple(history)
    rows = [
        TopRow(name, tuple(each[-1] if each else math.nan for each in histories), tuple(histories))
        for name, histories in found.items()
    ]
    return TopTable(rows, heads, at_ms, tuple(notes))


def _row_name(labels: dict[str, str], metric: str, *, several: bool) -> str:
    """Name a row by its labels; beside other columns without the name, and that of a rate as what it is a rate of."""
    if several:
        return label_text({key: value for key, value in labels.items() if key != "__name__"})
    return f"{label_text({**labels, '__name__': metric})} /s" if metric else label_text(labels)


def _every_metric(expressions: Expressions, window_s: int) -> list[tuple[str, str]]:
    """Give an expression for each metric of the program's own, and before it the metric's name where it is a rate."""
    found = []
    for name, (kind, _, _) in sorted(expressions.source.metadata().items()):
        if name.startswith("rondo_") or kind == "histogram":
            continue
        if kind == "gaugehistogram":
            found.append(("", f'{name}{{quantile!=""}}'))
            continue
        totals = kind == "counter" or name.endswith(("_count", "_sum"))
        found.append((name, f"rate({name}[{window_s}s])") if totals else ("", name))
    return found


def ordered(rows: Sequence[TopRow], view: TopView) -> list[TopRow]:
    """Sort rows as the view says: by a column, the largest first and what has no value last, or by the labels."""
    by_name = sorted(rows, key=lambda row: row.name, reverse=view.turned and not view.sort)
    if not view.sort:
        return by_name
    there = [row for row in by_name if not math.isnan(row.values[view.sort - 1])]
    absent = [row for row in by_name if math.isnan(row.values[view.sort - 1])]
    return sorted(there, key=lambda row: row.values[view.sort - 1], reverse=not view.turned) + absent


def frame(table: TopTable, view: TopView, width: int, height: int | None) -> list[str]:
    """Draw a table as lines of at most `width` characters; `height`: at most so many lines, None: all rows."""
    spark_width = _SPARK_STEPS + 1
    taken = table.n_columns * (_VALUE_WIDTH + 2) + 2 + spark_width
    rows = ordered(table.rows, view)
    longest = max((len(printable(row.name)) for row in rows), default=0)
    name_width = max(_NAME_MIN, longest if height is None else min(longest, width - taken))
    heads, legend = _heads(table.heads)
    shown = rows if height is None else rows[view.first : view.first + max(1, height - 3 - len(legend))]
    at = format_instant(table.at_ms * NS_PER_MS)
    state = "  held" if view.held else ""
    if height is not None and len(shown) < len(rows):
        state += f"  {view.first + 1} to {view.first + len(shown)}"
    marks = ["*" if view.sort == place else "" for place in range(table.n_columns + 1)]
    heads = [f"{mark}{head}".rjust(_VALUE_WIDTH) for head, mark in zip(heads, marks[1:], strict=True)]
    lines = [
        f"{at}  {len(rows)} series{state}",
        *legend,
        "  ".join([f"{marks[0]}labels".ljust(name_width), *heads]),
    ]
    for row in shown:
        cells = [("-" if math.isnan(each) else number(each)).rjust(_VALUE_WIDTH) for each in row.values]
        spark = sparkline(row.histories[max(0, view.sort - 1)])
        lines.append("  ".join([_cut(row.name, name_width).ljust(name_width), *cells, spark]))
    if not rows:
        lines.append("no series has a value here")
    lines += [f"rondo: {note}" for note in table.notes]
    if height is not None:
        lines = lines[: height - 1]
        lines.append("q quit  arrows move and choose the column  r turn  space hold")
    return [(line if height is None else line[:width]).rstrip() for line in lines]


def _heads(columns: Sequence[str]) -> tuple[list[str], list[str]]:
    """Give the heads of columns, and a line for each that its column is too narrow for."""
    texts = list(map(printable, columns))
    if all(len(text) < _VALUE_WIDTH for text in texts):
        return texts, []
    heads = [f"[{place}]" for place in range(1, len(texts) + 1)]
    return heads, [f"{head} {text}" for head, text in zip(heads, texts, strict=True)]


def sparkline(values: Sequence[float]) -> str:
    """Draw values as a line of bars, from the least to the greatest of them; a space where there is none."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return ""
    least, span = min(there), max(there) - min(there)
    bars = (
        " " if not math.isfinite(value) else _SPARKS[int((value - least) / span * (len(_SPARKS) - 1)) if span else 0]
        for value in values
    )
    return "".join(bars)


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "…"
