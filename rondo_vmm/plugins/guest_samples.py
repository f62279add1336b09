"""Record the samples that a guest hands in, a line each: `name{label="x"} value [unix_ms]`.

The guest is not trusted: its series are called guest_NAME, there is a bounded number of them, no time of its own moves
the store's, and a line that is not a sample is counted and forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.errors import RondoError
from rondo_core.hookspecs import Config, Declare
from rondo_core.labels import canonical_labels
from rondo_vmm.hookspecs import MAX_LINE_BYTES, OnLine
from rondo_vmm.plugins.totals import Total

OUTCOMES = ("recorded", "malformed", "refused", "untimely")
RECORDED, MALFORMED, REFUSED, UNTIMELY = range(len(OUTCOMES))
PREFIX = "guest_"
MAX_SERIES = 32
MAX_LABELS = 8
MAX_VALUE = 1e100  # so that no sum of them, in any window, is infinite
NS_PER_MS = 1_000_000
FUTURE_NS, PAST_NS = 5 * NS_PER_S, 60 * NS_PER_S

NUMBER = r"[+-]?(?:\d{1,30}(?:\.\d{0,30})?|\.\d{1,30})(?:[eE][+-]?\d{1,3})?"
LINE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]{{0,127}})(?:\{{(.*)\}})? +({NUMBER})(?: +(\d{{1,15}}))? *", re.ASCII)
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]{0,63})="((?:[^"\\]|\\["\\n]){0,128})"(?:,|$)', re.ASCII)
ESCAPE = re.compile(r'\\(["\\n])')

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
        self._declare, self._room = declare, max_series
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], Record] = {}

    def take(self, line: bytes, now_ns: int) -> int:
        """Record a line as a sample, and give what became of it: an index into OUTCOMES."""
        parsed = parse(line)
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
                record = Total(self._declare.counter(full_name, given, help=help_text)).set
            else:
                record = self._declare.gauge(full_name, given, help=help_text).set
        except RondoError:
            self._room = 0  # the store has no more room than this
            return None
        self._room -= 1
        self._series[name, labels] = record
        return record


def parse(line: bytes) -> tuple[str, tuple[tuple[str, str], ...], float, int | None] | None:
    """Give a line's name, labels in order, value, and time in ms since the epoch if it has one; None: no sample."""
    if len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = LINE.fullmatch(line.decode())
        labels = _labels(found[2] or "") if found else None
        if found is None or labels is None:
            return None
        value = float(found[3])
        whole = canonical_labels(labels)
    except (UnicodeDecodeError, RondoError):
        return None
    if not -MAX_VALUE <= value <= MAX_VALUE:
        return None
    return found[1], whole, value, None if found[4] is None else int(found[4])


def _labels(text: str) -> list[tuple[str, str]] | None:
    labels: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = LABEL.match(text, at)
        if found is None or len(labels) == MAX_LABELS:
            return None
        labels.append((found[1], ESCAPE.sub(lambda mark: "\n" if mark[1] == "n" else mark[1], found[2])))
        at = found.end()
    return labels
