"""Conditions of `--fail-if`: `memory_peak > 4GiB`, `cpu_seconds > 1.2 * base`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping

import attrs

from rondo_core.errors import UsageError, meant
from rondo_core.units import parse_duration_ns, parse_size_bytes
from rondo_job.comparison.statistics import Change
from rondo_job.reports.content import Unit, number_text

_SIGNS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_TEXT = re.compile(r"\s*([A-Za-z_]\w*)\s*(>=|<=|==|!=|>|<)\s*(\S.*?)\s*")
_NUMBER = r"\d+(?:\.\d+)?"
_OF_BASE = re.compile(
    rf"(?:({_NUMBER})\s*\*\s*base|base\s*\*\s*({_NUMBER})|base(?:\s*([+-])\s*(\S+(?:\s?[A-Za-z]+)?))?)"
)


@attrs.frozen
class FailIf:
    """A condition that a new life is not to meet.

    Attributes: text: as given; figure; sign; factor: of the base's median, 0: the bound has no part of it; offset: what
        is added, in the figure's unit; unit.
    """

    text: str
    figure: str
    sign: str
    factor: float
    offset: float
    unit: Unit = ""

    def judged(self, change: Change) -> FailIfResult:
        """Judge a figure; where the bound has a part of the base, only a change that is more than noise can meet it."""
        if change.new is None or (self.factor and change.base is None):
            return FailIfResult(self, "unknown", "no life has this figure" if change.new is None else "no base has it")
        holds = _SIGNS[self.sign]
        bound = self.factor * (change.base or 0.0) + self.offset
        value = number_text(change.new, self.unit)
        words = f"{value}, and the bound is {number_text(bound, self.unit)}"
        if not holds(change.new, bound):
            return FailIfResult(self, "holds", words)
        if not self.factor:
            return FailIfResult(self, "fails", words)
        if change.noise is None:
            few = "; of too few runs to know their noise" if change.n_base + change.n_new > 2 else ""
            return FailIfResult(self, "fails", f"{words}{few}")
        if change.verdict in {"same", "cannot tell"}:
            why = "within the noise" if change.verdict == "same" else "too noisy to tell"
            return FailIfResult(self, "noise", f"{words}, but that is {why}")
        return FailIfResult(self, "fails", words)


@attrs.frozen
class FailIfResult:
    """What became of a condition.

    Attributes: condition; outcome: "holds" (it is not met: all is well), "fails" (it is), "noise" (it is, but the runs
        are too noisy to count that), "unknown" (there is no such figure); words: why.
    """

    condition: FailIf
    outcome: str
    words: str


def read_fail_if(text: str, units: Mapping[str, Unit], *, has_base: bool = True) -> FailIf:
    """Read a condition. Args: `units`: of the figures that there are, by name.

    Raises: UsageError: it is no condition, or of no figure that there is, or speaks of a base where there is none.
    """
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(
            f"--fail-if {text!r}: not a condition; write 'memory_peak > 4GiB' or 'cpu_seconds > 1.2 * base'"
        )
    figure, sign, rest = match.groups()
    if figure not in units:
        raise UsageError(f"--fail-if {text!r}: {_no_figure(figure, units)}")
    unit = units[figure]
    of_base = _OF_BASE.fullmatch(rest)
    if of_base is None:
        return FailIf(text.strip(), figure, sign, 0.0, _read(text, rest, unit), unit)
    if not has_base:
        raise UsageError(f"--fail-if {text!r}: there is no base here; give --against DIR, or a number")
    before, after, plus, added = of_base.groups()
    offset = 0.0 if added is None else _read(text, added, unit) * (-1.0 if plus == "-" else 1.0)
    return FailIf(text.strip(), figure, sign, float(before or after or 1.0), offset, unit)


def _read(text: str, bound: str, unit: Unit) -> float:
    try:
        if unit == "seconds":
            return parse_duration_ns(bound) / 1e9 if bound.strip("0.") else 0.0
        if unit == "bytes":
            return float(parse_size_bytes(bound))
        return float(bound)
    except ValueError as error:
        what = {"seconds": "a duration, such as 90s", "bytes": "a size, such as 4GiB"}.get(unit, "a number")
        raise UsageError(f"--fail-if {text!r}: {bound!r} is not {what}") from error


def _no_figure(figure: str, known: Collection[str]) -> str:
    return f"no figure {figure}; {meant(figure, known) or ''}there are {', '.join(sorted(known))}"
