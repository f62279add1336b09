"""What a report is made of, before it is written in any form: measures, bars, charts and tables in sections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.units import format_duration, format_size

_LEAST_S = 1e-6  # that is told: what is less was not seen to last
Unit = Literal["", "seconds", "bytes", "cpus", "ratio", "bytes per second", "per second"]


@attrs.frozen
class Measure:
    """One number of a life.

    Attributes:
        name: as `--fail-if`, JSON and OpenMetrics call it; title: as people do.
        value: in its unit; None: not known.
        note: what has to be known beside it.
    """

    name: str
    title: str
    value: float | None
    unit: Unit = ""
    note: str = ""

    def __str__(self) -> str:
        """Write the value with its unit."""
        return number_text(self.value, self.unit)


@attrs.frozen
class ShareBar:
    """A share of something that there was only so much of.

    Attributes: title; used, most: in one unit, `most` above 0; note: both in words.
    """

    title: str
    used: float
    most: float
    note: str

    @property
    def share(self) -> float:
        """How much of it was used, 0 to 1."""
        return min(1.0, max(0.0, self.used / self.most))


@attrs.frozen(eq=False)
class ChartLine:
    """One line of a chart. Attributes: label; values: float64 [points], NaN: absent; low: the least, likewise."""

    label: str
    values: NDArray[np.float64]
    low: NDArray[np.float64] | None = None


@attrs.frozen(eq=False)
class Chart:
    """Lines over the time of a life.

    Attributes: title; unit; times_s: since the epoch, float64 [points], where each bucket begins; step_s: its length;
        lines; limit: what the values are held against, in their unit; limit_label: whose it is.
    """

    title: str
    unit: Unit
    times_s: NDArray[np.float64]
    step_s: float
    lines: Sequence[ChartLine]
    limit: float | None = None
    limit_label: str = "limit"


@attrs.frozen
class TextTable:
    """Rows of texts. Attributes: header; rows; right: which columns stand at their right edge."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[bool] = ()


@attrs.frozen
class Section:
    """A part of a report: what one plugin has to say.

    Attributes:
        title; order: sections stand by it, least first; rondo's own have 0 to 90.
        measures, bars, charts; table; lines: texts, each a paragraph; output: the end of what was written.
        advice: what a person should change, each a sentence.
    """

    title: str
    order: int = 50
    measures: Sequence[Measure] = ()
    bars: Sequence[ShareBar] = ()
    charts: Sequence[Chart] = ()
    table: TextTable | None = None
    lines: Sequence[str] = ()
    output: str = ""
    advice: Sequence[str] = ()


@attrs.frozen
class Report:
    """All that is told of one life.

    Attributes:
        name, command: of the life; ended: in words; outcome: as `rondo_core.storage.outcome` sorts ends.
        start_ns, end_ns: since the epoch; method: how it was measured; path: of its store; labels: facts that name it.
        sections: by their order; marks_ns: when something was marked, since the epoch.
        left_out: plugins that failed, in words; timeout_s: after which it was to be ended, 0: none.
    """

    name: str
    command: str
    ended: str
    outcome: str
    start_ns: int
    end_ns: int
    method: str
    path: str
    labels: dict[str, str]
    sections: Sequence[Section]
    marks_ns: Sequence[int] = ()
    left_out: Sequence[str] = ()
    timeout_s: float = 0.0

    @property
    def measures(self) -> list[Measure]:
        """All numbers that are known, each name once."""
        found: dict[str, Measure] = {}
        for section in self.sections:
            for each in section.measures:
                if each.value is not None:
                    found.setdefault(each.name, each)
        return list(found.values())

    @property
    def advice(self) -> list[str]:
        """What a person should change."""
        return [each for section in self.sections for each in section.advice]


def number_text(value: float | None, unit: Unit = "") -> str:
    """Write a number in about three digits with its unit; a dash where it is not known."""
    if value is None or value != value:  # noqa: PLR0124 - NaN
        return "-"
    if unit.startswith("bytes"):
        size = f"-{format_size(int(-value))}" if value < 0 else format_size(int(value))
        return size + ("/s" if unit != "bytes" else "")
    if unit == "seconds":
        return _seconds_text(value)
    if unit == "ratio":
        return f"{100 * value:.3g} %"
    number = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.3g}"
    return number + ({"cpus": " CPUs", "per second": "/s"}.get(unit, ""))


def _seconds_text(value: float) -> str:
    size = abs(value)
    if size < 1.0:
        return f"{1000 * value:.3g} ms" if size >= _LEAST_S else "0 s"
    if size < 100:
        return f"{value:.3g} s"
    return format_duration(round(value) * 10**9)
