"""Points of a live store, line by line as their seconds end: what `rondo query --follow` shows."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rondo_cli import render
from rondo_core.clock import NS_PER_S, Clock
from rondo_core.errors import printable
from rondo_core.units import format_instant

if TYPE_CHECKING:
    from rondo_core import Range
    from rondo_core.read import SeriesData, StoreReader, StoresReader
    from rondo_core.storage import Event

POLL_S = 1.0
_LATE_NS = 120 * NS_PER_S  # for how long a point is waited for that comes after its neighbours'
Open = Callable[[], "StoreReader | StoresReader"]


@attrs.frozen
class Point:
    """One point of one series."""

    data: SeriesData
    at: int

    @property
    def time_ns(self) -> int:
        """When its bucket begins."""
        return int(self.data.timestamps_ns[self.at])

    @property
    def value(self) -> float:
        """What was read of it."""
        return float(self.data.values[self.at])


@attrs.frozen
class NewPoints:
    """What has come since the last look, in the order of time.

    Attributes: `ended`, no process writes it any more; `left_out`, which stores could not be read, a line each.
    """

    points: list[Point]
    events: list[Event]
    ended: bool = False
    left_out: tuple[str, ...] = ()


class LiveQuery:
    """What was shown of a store, and what is new in it at the next look."""

    def __init__(self, first: Range, clock: Clock, **asked: Any) -> None:
        """Begin with the points of a range. Args: `asked`: as `View.query` takes it: selector, tier, fn, xff."""
        self._first, self._clock, self._asked = first, clock, asked
        self._begun_ns = self._longest_ns = 0
        self._shown: dict[tuple[object, ...], int] = {}  # of each series, until when
        self._events: dict[str, int] = {}  # of each store, the last one's number

    def look(self, reader: StoreReader | StoresReader) -> NewPoints:
        """Give the points whose buckets have ended since, each once; all that there are where nobody writes the store.

        Raises: as `View.query`.
        """
        from rondo_core import Range

        ended, now_ns = reader.writer_pid() is None, self._clock()
        if not self._begun_ns:
            anchor_ns = reader.end_ns() - 1 if ended else now_ns
            span = self._first.anchored(anchor_ns)
            self._begun_ns = max(1, span.start_ns)
        else:
            back_ns = _LATE_NS + 2 * self._longest_ns
            span = Range(max(self._begun_ns, now_ns - back_ns), self._first.end_ns)
        found = reader.query(range=span, now_ns=now_ns, open=ended, **self._asked)
        points = [point for data in found for point in self._fresh(data, 1 << 62 if ended else now_ns)]
        left_out = tuple(getattr(reader, "errors", ()))
        events = [event for event in reader.events(span) if event.number > self._events.get(event.store, 0)]
        self._events |= {event.store: event.number for event in sorted(events, key=lambda event: event.number)}
        return NewPoints(sorted(points, key=lambda point: point.time_ns), events, ended, left_out)

    def _fresh(self, data: SeriesData, closed_ns: int) -> Iterator[Point]:
        ends = data.timestamps_ns + data.interval_ns
        key = data.series.name, data.series.labels
        self._longest_ns = max(self._longest_ns, int(data.interval_ns.max(initial=0)))
        shown_ns = self._shown.get(key, 0)
        for at in ((data.timestamps_ns >= shown_ns) & (ends <= closed_ns)).nonzero()[0].tolist():
            yield Point(data, at)
            self._shown[key] = int(ends[at])


def follow(live: LiveQuery, open_reader: Open, wait: Callable[[float], object]) -> Iterator[NewPoints]:
    """Look again and again, until no process writes the store any more; a store that takes its place is followed.

    Each look opens the store anew, so that series and stores that were not there before are seen.
    """
    while True:
        with open_reader() as reader:
            fresh = live.look(reader)
        yield fresh
        if fresh.ended:
            return
        wait(POLL_S)


def as_lines(fresh: NewPoints, form: str, zone: dt.tzinfo, *, coverage: bool = False) -> list[str]:
    """Write points as lines of a table (time, value, series, and marks), of CSV as `--format csv`, or as JSON lines."""
    if form == "csv":
        return [_as_csv(point) for point in fresh.points]
    if form == "json":
        return [_as_json(point) for point in fresh.points]
    lines = [(point.time_ns, _as_text(point, zone, coverage=coverage)) for point in fresh.points]
    lines += [
        (event.time_ns, f"{format_instant(event.time_ns, zone)}  {event.kind}  {event}") for event in fresh.events
    ]
    return [printable(line) for _, line in sorted(lines, key=lambda each: each[0])]


def _as_text(point: Point, zone: dt.tzinfo, *, coverage: bool) -> str:
    data, at = point.data, point.at
    more = f"  {int(data.coverage[at])}/{int(data.buckets[at])}" if coverage else ""
    return f"{format_instant(point.time_ns, zone)}  {render.number(point.value):>12}{more}  {data.series} ({data.fn})"


def _as_csv(point: Point) -> str:
    data, at = point.data, point.at
    out = io.StringIO()
    row = [str(data.series), data.fn, point.time_ns, repr(point.value)]
    csv.writer(out, lineterminator="").writerow([*row, int(data.interval_ns[at]), int(data.coverage[at]), data.error])
    return out.getvalue()


def _as_json(point: Point) -> str:
    data, at, value = point.data, point.at, point.value
    facts: dict[str, Any] = {
        "name": data.series.name,
        "labels": dict(data.series.labels),
        "kind": data.series.kind,
        "fn": data.fn,
    }
    facts |= {"timestamp_ns": point.time_ns, "value": value if math.isfinite(value) else str(value)}
    return json.dumps(facts | {"interval_ns": int(data.interval_ns[at]), "coverage": int(data.coverage[at])})


CSV_HEAD = ",".join(render.COLUMNS)
FORMS: Sequence[str] = ("table", "csv", "json")
