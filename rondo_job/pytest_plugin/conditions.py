"""Conditions on what a test took: `memory_growth > 100MiB`, `duration > 5s`, `descriptors > 0`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import NamedTuple

from rondo_core.errors import UsageError
from rondo_core.units import format_duration, format_size, parse_duration_ns, parse_size_bytes
from rondo_job.pytest_plugin.table import Test

_SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}
_TEXT = re.compile(r"\s*(?:test\.)?([a-z_]+)\s*(>=|<=|>|<)\s*(\S.*?)\s*")


class Figure(NamedTuple):
    """One figure of a test: how it is had, read and written."""

    of: Callable[[Test], int]
    read: Callable[[str], int]
    write: Callable[[int], str]


def duration_text(nanoseconds: int) -> str:
    """Write a duration with the three digits that matter."""
    if nanoseconds >= 10**9:
        return (
            f"{nanoseconds / 1e9:.2f} s" if nanoseconds < 100 * 10**9 else format_duration(nanoseconds // 10**9 * 10**9)
        )
    return f"{nanoseconds / 1e6:.1f} ms"


def size_text(size_bytes: int) -> str:
    """Write a size, or what it changed by, as people do."""
    return f"-{format_size(-size_bytes)}" if size_bytes < 0 else format_size(size_bytes)


FIGURES = {
    "duration": Figure(lambda test: test.duration_ns, parse_duration_ns, duration_text),
    "cpu": Figure(lambda test: test.cpu_ns, parse_duration_ns, duration_text),
    "memory_growth": Figure(lambda test: test.growth_bytes, parse_size_bytes, size_text),
    "memory_peak": Figure(lambda test: test.peak_bytes, parse_size_bytes, size_text),
    "descriptors": Figure(lambda test: test.descriptors, int, str),
    "threads": Figure(lambda test: test.threads, int, str),
}


class Condition(NamedTuple):
    """A figure that a test is not to have."""

    text: str
    figure: str
    holds: Callable[[int, int], bool]
    bound: int

    def met_by(self, test: Test) -> str | None:
        """Say what the test took, where it meets the condition; None where it does not."""
        figure = FIGURES[self.figure]
        value = figure.of(test)
        return figure.write(value) if self.holds(value, self.bound) else None


def read_condition(text: str) -> Condition:
    """Read a condition. Raises: UsageError: it is none, or of no figure that there is."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise UsageError(f"--rondo-fail-if {text!r}: not a condition; write 'memory_growth > 100MiB'")
    figure, sign, bound = match.groups()
    if figure not in FIGURES:
        raise UsageError(f"--rondo-fail-if {text!r}: {figure}: no such figure; there are {', '.join(FIGURES)}")
    try:
        return Condition(text.strip(), figure, _SIGNS[sign], FIGURES[figure].read(bound))
    except ValueError as error:
        raise UsageError(f"--rondo-fail-if {text!r}: {error}") from None
