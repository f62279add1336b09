"""Record the samples that a guest hands in, a line each: `name{label="x"} value [unix_ms]`.

The guest is not trusted: its series are called guest_NAME, there is a bounded number of them, no time of its own moves
the store's, and a line that is not a sample is counted and forgotten.
"""

from __future__ import annotations

from collections.abc import Callable

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.errors import RondoError
from rondo_core.hookspecs import Config, Declare
from rondo_core.model import OVERFLOW
from rondo_vmm.hookspecs import OnLine
from rondo_vmm.plugins.totals import FollowingCounter

OUTCOMES = ("recorded", "malformed", "refused", "untimely")
RECORDED, MALFORMED, REFUSED, UNTIMELY = range(len(OUTCOMES))
PREFIX = "guest_"
MAX_SERIES = 32
NS_PER_MS = 1_000_000
FUTURE_NS, PAST_NS = 5 * NS_PER_S, 60 * NS_PER_S

Record = Callable[[float, int], None]


@hookimpl
def rondo_vmm_guest_line_bind(declare: Declare, config: Config) -> OnLine:
    """Count lines by what became of them. `config`: `max_series`, how many series the guest may make."""
    lines = [
        declare.counter("vmm_guest_lines_total", help="Lines that the guest handed in.", outcome=outcome).inc
        for outcome in OUTCOMES
    ]
    take = GuestSamples(declare, int(config.get("max_series", MAX_SERIES))).take

    def on_line(line: bytes, now_ns: int) -> None:
        lines[take(line, now_ns)](1.0, now_ns)

    return on_line


class GuestSamples:
    """The series that a guest has made."""

    def __init__(self, declare: Declare, max_series: int) -> None:
        """Start with none."""
        from rondo_vmm.observe.guest_line import parse  # its patterns take as long to compile as ten modules to import

        self._parse = parse
        self._declare, self._room = declare, max_series
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], Record] = {}

    def take(self, line: bytes, now_ns: int) -> int:
        """Record a line as a sample, and give what became of it: an index into OUTCOMES."""
        parsed = self._parse(line)
        if parsed is None:
            return MALFORMED
        name, labels, value, at_ms = parsed
        at_ns = now_ns if at_ms is None else at_ms * NS_PER_MS
        if not now_ns - PAST_NS <= at_ns <= now_ns + FUTURE_NS:
            return UNTIMELY
        record = self._series.get((name, labels)) or self._make(name, labels)
        if record is None or (value < 0 and name.endswith("_total")):
            return REFUSED
        # A sample from ahead of the store's time would take every other series of its schema along.
        record(value, min(at_ns, now_ns))
        return RECORDED

    def _make(self, name: str, labels: tuple[tuple[str, str], ...]) -> Record | None:
        if self._room <= 0:
            return None
        given, full_name, help_text = dict(labels), PREFIX + name, "Handed in by the guest."
        record: Record
        try:
            if name.endswith("_total"):
                counter = self._declare.counter(full_name, given, help=help_text)
                record, series = FollowingCounter(counter).set, counter.series
            else:
                gauge = self._declare.gauge(full_name, given, help=help_text)
                record, series = gauge.set, gauge.series
        except RondoError:
            self._room = 0
            return None
        if OVERFLOW in series.labels:  # the store has no more room than this
            self._room = 0
            return None
        self._room -= 1
        self._series[name, labels] = record
        return record
