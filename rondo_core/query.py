"""Selector + range + tier -> numpy arrays, stitched from the finest tier that still has each part.

A point's timestamp is the first nanosecond of its bucket; a bucket belongs to a range that it overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core import ring
from rondo_core.errors import ConsolidatorError, RangeError
from rondo_core.labels import Kind, Series
from rondo_core.reader import occupants, read_rows
from rondo_core.schema import Schema
from rondo_core.slab import Slab
from rondo_core.statistics import COVERAGE, derived, lift
from rondo_core.units import parse_duration_ns, parse_instant_ns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_FN: dict[Kind, str] = {"counter": "last", "gauge": "avg", "summary": "avg"}
AUTO = "auto"


@attrs.frozen(eq=False)
class Consolidator:
    """A named reading of statistics.

    Attributes:
        name: what `--fn` takes.
        kinds: of which series it can be read.
        needs: the statistics that `read` is given.
        read: statistics -> values. Each statistic is float64 [rows, series], NaN where absent; `timestamps_ns`
            int64 [rows] and `interval_ns` int64 [rows] are passed beside them. The result has the same shape.
        help: one line for people.
    """

    name: str
    kinds: tuple[Kind, ...]
    needs: tuple[str, ...]
    read: Callable[[Mapping[str, Any], Any, Any], Any]
    help: str = ""


@attrs.frozen(eq=False)
class SeriesData:
    """The points of one series: only those that are there.

    Attributes:
        series: whose they are; `fn`: the consolidator that read them.
        timestamps_ns: int64 [points], ascending; values: float64 [points].
        coverage: int64 [points], how many of the finest buckets in the point's own held a sample.
        interval_ns: int64 [points], the length of each point's bucket: which tier it came from.
    """

    series: Series
    fn: str
    timestamps_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    coverage: NDArray[np.int64]
    interval_ns: NDArray[np.int64]

    def __len__(self) -> int:
        """Count the points."""
        return len(self.values)

    def __repr__(self) -> str:
        """Name the series and count its points."""
        return f"<SeriesData {self.series} {self.fn}: {len(self)} points>"

    def to_pandas(self) -> Any:
        """Give a pandas Series; see `frames`. Raises: UsageError: pandas is not installed."""
        from rondo_core.frames import series_to_pandas

        return series_to_pandas(self)

    def to_arrow(self) -> Any:
        """Give a pyarrow Table; see `frames`. Raises: UsageError: pyarrow is not installed."""
        from rondo_core.frames import series_to_arrow

        return series_to_arrow(self)


@attrs.frozen
class Range:
    """A span of time: `start_ns` <= t < `end_ns`; or the last `last_ns` before an anchor still to be named."""

    start_ns: int = 0
    end_ns: int = 2**62
    last_ns: int | None = None

    def anchored(self, anchor_ns: int) -> Range:
        """Settle a relative range at its end; an absolute one stays as it is."""
        if self.last_ns is None:
            return self
        return Range(max(0, anchor_ns + 1 - self.last_ns), anchor_ns + 1)


def parse_range(text: str) -> Range:
    """Read "all", a duration back from the anchor ("15m", "1h30m"), or two instants ("START..END").

    An instant is ISO 8601 or seconds since the epoch; either side of .. may be left out.

    Raises: RangeError: it is none of these, or ends before it starts.
    """
    compact = text.strip()
    if compact == "all":
        return Range()
    if ".." not in compact:
        try:
            return Range(last_ns=parse_duration_ns(compact))
        except RangeError:
            raise RangeError(f"{text!r}: not a range; write all, 15m, 1h30m or START..END") from None
    start, _, end = compact.partition("..")
    whole = Range(parse_instant_ns(start) if start else 0, parse_instant_ns(end) if end else 2**62)
    if whole.end_ns <= whole.start_ns:
        raise RangeError(f"{text!r}: ends before it starts; write START..END")
    return whole


Consolidators = Mapping[tuple[str, Kind], Consolidator]


def pick(name: str | None, kind: Kind, consolidators: Consolidators) -> Consolidator:
    """Find the consolidator by name, or the kind's default.

    Raises: ConsolidatorError: there is none of that name, or it does not read this kind.
    """
    wanted = name or DEFAULT_FN[kind]
    found = consolidators.get((wanted, kind))
    if found is not None:
        return found
    fitting = sorted(known for known, fits in consolidators if fits == kind)
    what = f"not for a {kind}" if any(known == wanted for known, _ in consolidators) else "no such consolidator"
    raise ConsolidatorError(f"fn {wanted}: {what}; choose {', '.join(fitting)}")


def tier_index(tier: int | str, schema: Schema) -> int | None:
    """Read a tier as asked for: a number, or "auto", which is None.

    Raises: RangeError: the schema has no such tier.
    """
    if tier == AUTO:
        return None
    kept = ", ".join(f"{index} ({each})" for index, each in enumerate(schema.tiers))
    try:
        index = int(tier)
        schema.tiers[index]
    except (ValueError, IndexError):
        index = -1
    if index < 0:
        raise RangeError(f"tier {tier!r}: schema {schema.name} has {kept}; or choose auto")
    return index


class SchemaQuery:
    """Reads of one schema's tiers, in this process or another."""

    def __init__(self, schema: Schema, slabs: Sequence[Slab], is_live: Callable[[], bool]) -> None:
        """Bind to the mapped slabs; `is_live` says whether some process writes them."""
        self._schema, self._slabs, self._is_live = schema, slabs, is_live

    def newest_ns(self) -> int:
        """Give the start of the newest bucket of the finest tier, ns since the epoch; 0 where there is none."""
        headers = self._slabs[0].headers()
        return ring.start_ns(int(max(headers.max(), 0)), self._schema.tiers[0].interval_ns)

    def read(
        self, series: Sequence[Series], span: Range, tier: int | None, consolidator: Consolidator
    ) -> list[SeriesData]:
        """Read the series, all of this schema, through one consolidator.

        Args: `tier`: its index, or None to stitch.
        Raises: ConsolidatorError: the tier does not keep what the consolidator needs.
        """
        import numpy as np

        needs = tuple(dict.fromkeys((*consolidator.needs, COVERAGE)))
        columns = [each.column for each in series]
        if tier is None:
            parts = self._stitch(columns, span, needs)
        else:
            self._check_kept(tier, consolidator)
            parts = [self._part(tier, columns, *self._bounds(tier, span), needs)]
        stamps = np.concatenate([part[0] for part in parts])
        intervals = np.concatenate([part[1] for part in parts])
        statistics = {name: np.concatenate([part[2][name] for part in parts]) for name in needs}
        if len(parts) > 1:
            order = np.argsort(stamps, kind="stable")
            stamps, intervals = stamps[order], intervals[order]
            statistics = {name: values[order] for name, values in statistics.items()}
        values = consolidator.read(statistics, stamps, intervals)
        there = ~np.isnan(values) & (statistics[COVERAGE] > 0)
        found = []
        for index, each in enumerate(series):
            mask = there[:, index]
            coverage = statistics[COVERAGE][mask, index].astype(np.int64)
            found.append(
                SeriesData(each, consolidator.name, stamps[mask], values[mask, index], coverage, intervals[mask])
            )
        return found

    def _check_kept(self, tier: int, consolidator: Consolidator) -> None:
        if not self._keeps(tier, consolidator.needs):
            kept = ", ".join(self._schema.cells(tier))
            raise ConsolidatorError(f"fn {consolidator.name}: tier {tier} of {self._schema.name} keeps only {kept}")

    def _keeps(self, tier: int, needs: Sequence[str]) -> bool:
        if not tier:
            return True
        kept = set(self._schema.cells(tier))
        if self._schema.kind == "counter":
            kept |= {"min"} if "first" in kept else set()
            kept |= {"max"} if "last" in kept else set()
        return all(name in kept for name in needs)

    def _bounds(self, tier: int, span: Range) -> tuple[int, int]:
        interval_ns = self._schema.tiers[tier].interval_ns
        return span.start_ns // interval_ns, (span.end_ns - 1) // interval_ns

    def _part(
        self, tier: int, columns: Sequence[int], first: int, last: int, needs: Sequence[str]
    ) -> tuple[Any, Any, dict[str, Any], Any]:
        """Read one tier: timestamps, intervals, statistics, buckets."""
        import numpy as np

        slab, schema = self._slabs[tier], self._schema
        rows = read_rows(slab, first, last, columns, schema.cells(tier), is_live=self._is_live)
        statistics = derived(schema.kind, rows.cells if tier else lift(schema.kind, rows.cells))
        if not tier and schema.kind == "counter":
            statistics["min"] = statistics["max"] = statistics["last"]
        interval_ns = schema.tiers[tier].interval_ns
        stamps = rows.buckets * interval_ns
        return stamps, np.full(len(stamps), interval_ns), {name: statistics[name] for name in needs}, rows.buckets

    def _stitch(self, columns: Sequence[int], span: Range, needs: Sequence[str]) -> list[tuple[Any, ...]]:
        """Read each part of the span from the finest tier that still has all of it."""
        import numpy as np

        parts = [self._part(0, columns, *self._bounds(0, span), needs)]
        for tier in range(1, len(self._slabs)):
            if not self._keeps(tier, needs):
                break
            part = self._part(tier, columns, *self._bounds(tier, span), needs)
            if not len(part[3]):
                continue
            lost = self._overwritten(tier, part[3])
            if not lost.any():
                continue
            interval_ns = self._schema.tiers[tier].interval_ns
            taken = part[3][lost] * interval_ns
            parts = [self._without(finer, taken, interval_ns) for finer in parts]
            parts.append(self._masked(part, lost))
        return [part[:3] for part in parts] if parts else [(np.empty(0), np.empty(0), {}, np.empty(0))]

    def _overwritten(self, tier: int, windows: Any) -> Any:
        """Say of each window whether the finer tier has given any of its slots to a newer bucket."""
        import numpy as np

        ratio, finer = self._schema.ratio(tier), self._slabs[tier - 1]
        held = occupants(finer)
        buckets = windows[:, None] * ratio + np.arange(ratio)
        return (held[buckets % len(held)] > buckets).any(axis=1)

    @staticmethod
    def _masked(part: tuple[Any, ...], keep: Any) -> tuple[Any, ...]:
        stamps, intervals, statistics, buckets = part
        return stamps[keep], intervals[keep], {name: each[keep] for name, each in statistics.items()}, buckets[keep]

    @classmethod
    def _without(cls, part: tuple[Any, ...], starts: Any, interval_ns: int) -> tuple[Any, ...]:
        """Drop the points that lie in the given coarser windows."""
        import numpy as np

        window = part[0] // interval_ns * interval_ns
        return cls._masked(part, ~np.isin(window, starts))
