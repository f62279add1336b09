"""A report as one screen of a terminal: bars, sparklines, what to change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rondo_core.errors import printable
from rondo_core.units import format_instant
from rondo_job.reports.content import Chart, Measure, Report, Section, TextTable, number_text
from rondo_job.reports.drawing import bar, sparkline

_SIGNS = {"well": "✓", "failed": "✗", "stopped": "■", "gone": "?", "live": "●", "unclear": "-"}
_COLOURS = {"well": "32", "failed": "31", "stopped": "33", "gone": "31", "live": "36", "unclear": "33"}
_BAR, _LABEL = 24, 14
_FULL_SHARE, _HIGH_SHARE = 0.95, 0.8
_MOST_ROWS = 6  # of a table: a screen is not a list
_MOST_OUTPUT = 12  # lines of what it said


class TerminalReport:
    """Writes a report for a terminal so wide, in colours where it has them."""

    def __init__(self, report: Report, *, width: int = 80, coloured: bool = False) -> None:
        """Bind to a report."""
        self.report, self.width, self.coloured = report, max(60, min(width, 110)), coloured

    def text(self) -> str:
        """Write all of it."""
        return "\n".join(line.rstrip() for line in self._lines())

    def _lines(self) -> Iterator[str]:
        report = self.report
        sign = self._paint(f"{_SIGNS[report.outcome]} {printable(report.ended)}", _COLOURS[report.outcome] + ";1")
        yield f"{self._paint(printable(report.name), '1')}  {sign}"
        began = format_instant(report.start_ns // 10**9 * 10**9)
        about = [began, *(f"{key} {value[:12]}" for key, value in report.labels.items() if key in {"host", "commit"})]
        about += [f"measured by {report.method}"] if report.method else []
        yield self._quiet(self._cut("  ".join(map(printable, about))))
        if report.command:
            yield self._quiet(self._cut(f"$ {printable(report.command)}"))
        for section in report.sections:
            lines = list(self._section(section))
            if lines:
                yield ""
                yield from lines
        if report.advice:
            yield ""
            for each in report.advice:
                yield from self._wrapped(f"{self._paint('→', '33;1')} ", printable(each))
        for each in report.left_out:
            yield self._quiet(f"left out: {printable(each)}")

    def _section(self, section: Section) -> Iterator[str]:
        if section.bars:
            yield from (self._bar(each.title, each.share, each.note) for each in section.bars)
            if section.measures:
                yield ""
        if section.measures:
            yield from self._measures(section.measures)
        for chart in section.charts:
            yield from self._chart(chart)
        if section.table is not None:
            yield self._paint(printable(section.title), "1")
            yield from self._table(section.table)
        for line in section.lines:
            yield self._quiet(self._cut(f"  {printable(line)}"))
        if section.output:
            yield self._paint(printable(section.title), "1")
            for line in section.output.split("\n")[-_MOST_OUTPUT:]:
                yield from self._two_rows(printable(line))

    def _bar(self, title: str, share: float, note: str) -> str:
        colour = "31" if share > _FULL_SHARE else "33" if share > _HIGH_SHARE else "32"
        drawn = self._paint(bar(share, _BAR), colour)
        return f"{_shortened(printable(title), _LABEL - 1):<{_LABEL}}{drawn} {100 * share:4.0f} %  {printable(note)}"

    def _measures(self, measures: Sequence[Measure]) -> Iterator[str]:
        """Put measures into as many columns as fit."""
        cells = [(printable(each.title), str(each)) for each in measures]
        titles = max(len(title) for title, _ in cells) + 2
        values = max(len(value) for _, value in cells)
        n_columns = max(1, (self.width + 3) // (titles + values + 3))
        n_rows = -(-len(cells) // n_columns)
        for row in range(n_rows):
            line = [f"{title:<{titles}}{value:>{values}}" for title, value in cells[row::n_rows]]
            yield "   ".join(line)
        for each in measures:
            if each.note:
                yield self._quiet(printable(f"{each.title}: {each.note}"))

    def _chart(self, chart: Chart) -> Iterator[str]:
        room = self.width - _LABEL - 2
        for index, line in enumerate(chart.lines):
            if index and chart.unit != "bytes per second":
                continue  # a screen has room for the first line of each
            peak = float(np.nanmax(line.values, initial=0.0))
            if not peak:
                continue
            limit = f" of {number_text(chart.limit, chart.unit)}" if chart.limit else ""
            words = f"  {number_text(peak, chart.unit)}{limit} at most"
            title = line.label if chart.unit == "bytes per second" else chart.title
            top = chart.limit if chart.limit and chart.limit >= peak else None
            drawn = sparkline(line.values, max(10, room - 30), top)
            yield f"{_shortened(printable(title), _LABEL - 1):<{_LABEL}}{self._paint(drawn, '36')}{words}"

    def _table(self, table: TextTable) -> Iterator[str]:
        header = list(map(printable, table.header))
        rows = [list(map(printable, row)) for row in table.rows[:_MOST_ROWS]]
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        widest = max(range(len(widths)), key=widths.__getitem__)
        widths[widest] = max(
            12, min(widths[widest], self.width - 2 - sum(widths) + widths[widest] - 2 * len(widths) + 2)
        )
        sides = [*table.right, *[False] * (len(widths) - len(table.right))]
        for row in (header, *rows):
            cells = [
                _shortened(cell, width).rjust(width) if side else _shortened(cell, width).ljust(width)
                for cell, width, side in zip(row, widths, sides, strict=True)
            ]
            line = "  " + "  ".join(cells)
            yield self._quiet(line) if row is header else line
        if len(table.rows) > _MOST_ROWS:
            yield self._quiet(f"  and {len(table.rows) - _MOST_ROWS} more; --format html shows them")

    def _wrapped(self, begin: str, text: str) -> Iterator[str]:
        import textwrap

        lines = textwrap.wrap(text, self.width - 2) or [""]
        yield begin + lines[0]
        yield from (f"  {line}" for line in lines[1:])

    def _two_rows(self, text: str) -> Iterator[str]:
        """Give a line of output on as many as two rows of the screen, the second further in."""
        indent = 2 + len(text) - len(text.lstrip(" "))
        first = self.width - 2
        if len(text) > first and " " in text[indent:first]:
            first = text.rindex(" ", 0, first + 1)
        yield f"  {text[:first]}"
        if text[first:]:
            yield self._cut(" " * (indent + 2) + text[first:].lstrip(" "))

    def _cut(self, text: str) -> str:
        return _shortened(text, self.width)

    def _paint(self, text: str, colour: str) -> str:
        return f"\033[{colour}m{text}\033[0m" if self.coloured and text else text

    def _quiet(self, text: str) -> str:
        return self._paint(text, "2")


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
