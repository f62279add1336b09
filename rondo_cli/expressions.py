"""Expressions of PromQL over a store or a directory of stores: where they are evaluated, and the steps between."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_cli.printing import say
from rondo_core.clock import wall_ns
from rondo_core.errors import RondoError, StoreError, UsageError, printable
from rondo_core.units import format_instant, parse_duration_ns, parse_instant_ns

if TYPE_CHECKING:
    from rondo_core import Range
    from rondo_core.read import RememberedReads, StoreChoice, StoreSource, StoresSource
    from rondo_promql import Result

NS_PER_MS = 1_000_000
# What a step is made of where none is given: what a clock shows, so that a range has at most MOST_STEPS of them.
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
MOST_STEPS = 240
# Prometheus's own bound: a longer answer is nothing that a person or a chart asks for.
MAX_STEPS = 11_000


# What the words of an error, which are Prometheus's, leave to be guessed.
_MENDS = {
    "expected type range vector": "; give its metric a range, as in metric[5m]",
    "expected type instant vector .*got range vector": "; leave its range out, or put avg_over_time() around it",
    "unexpected character inside braces": '; values stand in quotes, as in metric{label="value"}',
    'unknown function with name "p[0-9]+"': "; a quantile is histogram_quantile(0.99, sum(rate(metric[5m])))",
}


class QueryError(RondoError):
    """An expression that could not be evaluated over what is there."""


class Expressions:
    """What evaluates expressions, at instants in milliseconds since the epoch."""

    def __init__(self, path: Path, opened: Callable[[Path], Any] | None = None) -> None:
        """Open a store or a directory of stores; the engine is imported by the first expression.

        Args: `opened`: what opens the path in the place of `open_source`. Raises: as that.
        """
        from rondo_core.read import open_source

        self._path, self._open = path, opened or open_source
        self.source: StoreSource | StoresSource = self._open(path)
        self._reads: RememberedReads | None = None

    def follow(self) -> None:
        """Open what lies at the path by now, where that is not what it was; what is gone stays open."""
        if self.source.is_outdated():
            with suppress(StoreError):
                before, self.source = self.source, self._open(self._path)
                before.close()

    def close(self) -> None:
        """Close the store or the stores."""
        self.source.close()

    def instant(self, query: str, at_ms: int) -> Result:
        """Evaluate at one instant. Raises: UsageError: no such expression; QueryError: the data do not allow it."""
        from rondo_promql import evaluate_instant

        return _evaluated(query, lambda: evaluate_instant(query, self._remembered(), at_ms))

    def over(self, query: str, start_ms: int, end_ms: int, step_ms: int) -> Result:
        """Evaluate at each step from start to end, both included. Raises: as `instant`; UsageError: too many steps."""
        n_steps = (end_ms - start_ms) // step_ms + 1
        if n_steps > MAX_STEPS:
            raise UsageError(f"{n_steps} steps, of at most {MAX_STEPS}; give a longer --step or a shorter --range")
        from rondo_promql import evaluate

        return _evaluated(query, lambda: evaluate(query, self._remembered(), start_ms, end_ms, step_ms))

    def why_nothing(self) -> list[str]:
        """Say of the last expression, which gave nothing, which names are near, or when its series have samples."""
        return self._reads.why_empty() if self._reads is not None else []

    def unknown_metrics(self) -> list[str]:
        """Say of the last expression which of its metrics no series has, and which names are near."""
        return self._reads.unknown_metrics() if self._reads is not None else []

    def _remembered(self) -> RememberedReads:
        from rondo_core.read import RememberedReads

        self._reads = RememberedReads(self.source)
        return self._reads

    def end_ms(self) -> int:
        """Give the present where a process writes a store; else when the newest sample was, 0 if there is none.

        Raises: StoreError: none of a directory's stores can be read.
        """
        if self.source.is_live():
            return wall_ns() // NS_PER_MS
        newest_ms = self.source.newest_ms()
        if newest_ms is None and self.source.errors:
            raise StoreError(f"{self._path}: no store here or below can be read; repair or move what was left out")
        return newest_ms or 0

    def instant_of(self, text: str, zone: dt.tzinfo = dt.UTC) -> int:
        """Read an instant: one that `parse_instant_ns` reads, or how long before the end it lies, as -3m.

        Raises: RangeError: it is neither.
        """
        if text.startswith("-"):
            return self.end_ms() - parse_duration_ns(text[1:]) // NS_PER_MS
        return parse_instant_ns(text, zone) // NS_PER_MS

    def bounds_of(self, asked: Range, end_ms: int) -> tuple[int, int]:
        """Give where a range begins and ends; one that is relative, or open, ends at `end_ms`."""
        if asked.is_relative:
            # An anchor is the last instant that is meant, and a range ends behind it.
            asked = asked.anchored(end_ms * NS_PER_MS - 1)
        start = asked.start_ns // NS_PER_MS or (self.source.oldest_ms() or end_ms)
        return min(start, end_ms), min(asked.end_ns // NS_PER_MS, end_ms)


def _evaluated(query: str, evaluate: Callable[[], Result]) -> Result:
    """Give what was evaluated; an error of the engine becomes one of rondo's, with the expression before it."""
    from rondo_promql import PromqlError

    try:
        return evaluate()
    except PromqlError as error:
        kind = UsageError if error.exit_status == UsageError.exit_status else QueryError
        mend = next((mend for sign, mend in _MENDS.items() if re.search(sign, str(error))), "")
        raise kind(f"{query}: {printable(str(error))}{mend}") from None


def step_for(length_ms: int, step_ms: int = 0) -> int:
    """Choose a step for a range, unless one is given, of which there are at most MOST_STEPS."""
    if step_ms:
        return step_ms
    fitting = (each * 1000 for each in _STEPS_S if each * 1000 * MOST_STEPS >= length_ms)
    return next(fitting, -(-length_ms // MOST_STEPS))


def step_ms(step_ns: int | None) -> int:
    """Take an option's duration as a step in milliseconds; 0: none is given. Raises: UsageError: shorter than one."""
    if step_ns is not None and step_ns < NS_PER_MS:
        raise UsageError("--step: shorter than a millisecond; give a longer one")
    return (step_ns or 0) // NS_PER_MS


@contextmanager
def expressions_over(
    path: Path, choice: StoreChoice | None = None, opened: Callable[[Path], Any] | None = None
) -> Iterator[Expressions]:
    """Open a store or a directory of stores for expressions; at the end say what was left out of it.

    Args: `choice`: only these of a directory; `opened`: as of `Expressions`. Raises: as `open_source`.
    """
    from rondo_core.read import open_source

    if choice is not None:
        opened = partial(open_source, choice=choice)
    with closing(Expressions(path, opened)) as expressions:
        try:
            yield expressions
        finally:
            for error in expressions.source.errors:
                say(f"rondo: left out: {error}", err=True)


def say_where_it_ends(expressions: Expressions, end_ms: int, zone: dt.tzinfo) -> None:
    """Say of stores that nobody writes where the last of their time is."""
    if not expressions.source.is_live():
        end = f"the range ends with its newest sample, at {format_instant(end_ms * NS_PER_MS, zone)}"
        say(f"rondo: no process writes this store; {end if end_ms else 'it has no sample'}", err=True)
