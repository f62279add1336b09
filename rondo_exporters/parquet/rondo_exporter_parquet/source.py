"""A lake as a source of PromQL: the series that matchers choose, from the row groups that may hold them.

It has the shape that `rondo_promql` asks for, and gives what the stores would that were exported: a counter begins at
0, a life's series end with it, a summary is `_count`, `_sum`, `_min`, `_max`, its quantiles, a native histogram, and
where that is asked for by name `_bucket`.
"""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rondo_core.errors import ExportError, one_line
from rondo_core.model import prometheus
from rondo_core.read import MAX_BUCKET_SCALE, BucketTotals, Cells, Choice, buckets_of
from rondo_exporter_parquet import listing
from rondo_exporter_parquet.cells import Sketches
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import INSTANCE, NS_PER_UNIT, schema_of

NAME, QUANTILE = "__name__", "quantile"
_SUFFIXES = ("_count", "_sum", "_min", "_max", prometheus.BUCKETS.suffix)
_OF_SKETCHES = (prometheus.HISTOGRAM, prometheus.BUCKETS, *prometheus.QUANTILES)
_ALWAYS_MS = 1 << 52
_TOTALS = frozenset({"rate", "increase", "irate"})
_HIGHEST = prometheus.MAX_HISTOGRAM_SCHEMA
_PLAIN = ["time", INSTANCE, "series", "name", "labels", "kind", "interval_ns", "value", "zero_time"]
_SUMMARY = ["count", "sum", "min", "max", "total_count", "total_sum"]
_SKETCH = ["scale", "zeroes", "first_cell", "cells"]
_US_PER_MS = 1000
_MS_PER_DAY = 86_400_000
_BIRTH_MS = 3_600_000  # how long after its zero a series' first sample may lie: the longest finest bucket
Selected = tuple[dict[str, str], Any, Any]
_T = TypeVar("_T")


@attrs.frozen(eq=False)
class CellHistograms:
    """Native histograms of one series, as the engine takes them: see `rondo_promql.Histograms`."""

    schema: int
    zero_count: Any
    first_index: int
    cells: Any
    sum: Any
    count: Any

    def __len__(self) -> int:
        """Count the histograms."""
        return len(self.count)


class LakeSource:
    """The series of a lake. What a compaction joins meanwhile is listed anew.

    Attributes: `errors`: files that were left out, damaged or a stranger's, a line each.
    """

    def __init__(self, place: Place) -> None:
        """List the lake's files; of these one is opened. Raises: OSError; StoreNotFoundError: as `open_place`."""
        self._place = place
        self.errors: list[str] = []
        self._read_once(lambda: None)

    def select(self, matchers: Sequence[Any], start_ms: int, end_ms: int, hint: Any = None) -> list[Selected]:
        """Give the samples, from start to end, both included, of the series that all matchers take.

        Returns: (labels, timestamps_ms, values) for each, `__name__` among the labels. Raises: OSError; ExportError:
        the rows of a file cannot be read.
        """
        return self._read_once(lambda: self._select(matchers, start_ms, end_ms, hint))

    def _select(self, matchers: Sequence[Any], start_ms: int, end_ms: int, hint: Any) -> list[Selected]:
        func = getattr(hint, "func", "") or ""
        choice = _Choice(matchers, func)
        known = self._names(choice, start_ms, end_ms)
        if not known:
            return []
        sketched = any(column in _OF_SKETCHES for _, _, column in known)
        summaries = any(kind == "summary" for _, kind, _ in known)
        columns = [*_PLAIN, *(_SUMMARY if summaries else ()), *(_SKETCH if sketched else ())]
        # Histograms' running totals are of all that is kept, so that they do not depend on where the span begins.
        running = sketched and (func in _TOTALS or any(column == prometheus.BUCKETS for _, _, column in known))
        table = self._read(columns, {name for name, _, _ in known}, choice, 0 if running else start_ms, end_ms)
        ends = self._ends(start_ms, end_ms)
        found: dict[object, Selected] = {}
        owners = Counter(other + column.suffix for other, _, column in known if column not in _OF_SKETCHES)
        buckets: list[BucketTotals] = []
        span = start_ms, end_ms
        for rows in _by_series(table):
            name, kind = rows["name"][0].as_py(), rows["kind"][0].as_py()
            for column in [column for other, of, column in known if (other, of) == (name, kind)]:
                labels = _labels(rows, column)
                if not choice.takes(labels, column):
                    continue
                stale = ends.get(rows[INSTANCE][0].as_py(), _NONE)
                if column == prometheus.BUCKETS:
                    buckets += self._buckets(rows, labels, span, stale)
                    continue
                key = (
                    prometheus.sorted_labels(labels) if owners[name + column.suffix] > 1 else (name, column, len(found))
                )
                if not column.suffix:
                    found.pop(key, None)  # `x_count` itself, which comes after a summary `x`, and answers in its place
                if (read := self._series(rows, kind, column, func, span, stale)) is not None:
                    found[key] = labels, *read
        return [*found.values(), *buckets_of(buckets, choice)]

    def series(self, matchers: Sequence[Any] = ()) -> list[dict[str, str]]:
        """Give the labels of the series that all matchers take; of classic buckets, asked for by name, but for `le`."""
        return [labels for labels, _ in self._read_once(lambda: self._series_of(matchers))]

    def _series_of(self, matchers: Sequence[Any]) -> list[tuple[dict[str, str], tuple[int, int]]]:
        """Give the labels of series, and between which instants each has samples, in ms."""
        choice = _Choice(matchers)
        known = self._names(choice, 0, _ALWAYS_MS)
        if not known:
            return []
        table = self._read(_PLAIN[:6], {name for name, _, _ in known}, choice, 0, _ALWAYS_MS)
        per_unit, found = NS_PER_UNIT[self._unit], dict[object, tuple[dict[str, str], tuple[int, int]]]()
        for rows in _by_series(table):
            mine = rows["name"][0].as_py(), rows["kind"][0].as_py()
            stamps = rows["time"].cast(pa.int64())
            first, last = (stamps[at].as_py() * per_unit // prometheus.NS_PER_MS for at in (0, -1))
            for column in [column for name, kind, column in known if (name, kind) == mine]:
                labels = _labels(rows, column)
                if choice.takes(labels, column):
                    found[prometheus.sorted_labels(labels), column == prometheus.HISTOGRAM] = labels, (first, last)
        return [*found.values()]

    def metadata(self) -> dict[str, tuple[str, str, str]]:
        """Give the type of each metric by its name; a lake has neither help nor unit, which are empty."""
        known = self._read_once(lambda: self._names(_Choice(()), 0, _ALWAYS_MS))
        named = [(name + column.suffix, column) for name, _, column in known if column not in _OF_SKETCHES]
        return {name: (prometheus.TYPES[column.type], "", "") for name, column in named}

    def sampled_ms(self, matchers: Sequence[Any]) -> tuple[int, int] | None:
        """Give between which instants the series that all matchers take have samples, in ms; None: none has."""
        found = self._read_once(lambda: self._series_of(matchers))
        return None if not found else (min(span[1][0] for span in found), max(span[1][1] for span in found))

    def oldest_ms(self) -> int | None:
        """Give the oldest instant that has a sample, in milliseconds since the epoch; None: none has."""
        return self._read_once(lambda: self._extreme(sorted(self._by_day), "min"))

    def newest_ms(self) -> int | None:
        """Give the newest instant that has a sample, in milliseconds since the epoch; None: none has."""
        return self._read_once(lambda: self._extreme(sorted(self._by_day, reverse=True), "max"))

    def is_live(self) -> bool:
        """Say that nobody writes what is there: its end is where its samples end."""
        return False

    def is_outdated(self) -> bool:
        """Say that it is not: what is gone is listed anew where it is read."""
        return False

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _list(self) -> None:
        self._by_day, strange = listing.by_day(self._place.names())
        self._lives = self._place.names(LIVES, recursive=False)
        self.errors += [line for line in strange if line not in self.errors]
        self._unit = "us"
        for name in sorted(name for names in self._by_day.values() for name in names):
            if there := self._fragments([name], listing.samples):
                self._unit = str(there[0].physical_schema.field("time").type.unit)
                return

    def _read_once(self, read: Callable[[], _T]) -> _T:
        """Read, and again where a file went, or was written anew, meanwhile: another process compacts or sends."""
        tries = itertools.count()

        def read_all() -> _T:
            tried = next(tries)
            self._known: dict[str, Any] = {}  # for one read: an exporter may write a file anew under its name
            if tried or not hasattr(self, "_lives"):
                self._list()
            try:
                return read()
            except FileNotFoundError:
                raise
            except OSError as error:  # of an object store that is not reached
                raise ExportError(" ".join(str(error).split())) from None
            except pa.ArrowInvalid as error:
                if not tried:
                    raise FileNotFoundError from None
                what = f"{self._place.location}: {one_line(error)[:200]}; rondo lake check names the file"
                raise ExportError(what) from None

        return listing.again(read_all, self._place)

    def _fragments(self, names: Sequence[str], look: Callable[[Place, list[str]], listing.Listing]) -> list[Any]:
        """Give those of some files that can be read, each footer read once."""
        found = look(self._place, [name for name in names if name not in self._known])
        self._known |= dict.fromkeys(names) | {name: self._known[name] for name in names if name in self._known}
        self._known |= found.fragments
        self.errors += [line for line in found.faults if line not in self.errors]
        return [fragment for name in names if (fragment := self._known[name]) is not None]

    def _samples(self, names: Sequence[str]) -> Any:
        return listing.dataset(self._place, self._fragments(names, listing.samples), schema_of(self._unit))

    def _extreme(self, days: Sequence[str], which: str) -> int | None:
        for day in days:
            times = self._samples(self._by_day[day]).to_table(columns=["time"])["time"]
            stamp = pc.min_max(times.cast(pa.int64()))[which].as_py()
            if stamp is not None:
                return int(stamp) * NS_PER_UNIT[self._unit] // prometheus.NS_PER_MS
        return None

    def _files(self, start_ms: int, end_ms: int) -> list[str]:
        first, last = (_day(each) for each in (start_ms, end_ms))
        return [name for day, names in sorted(self._by_day.items()) if first <= day <= last for name in names]

    def _names(self, choice: _Choice, start_ms: int, end_ms: int) -> list[tuple[str, str, prometheus.Column]]:
        """Give the names, kinds and columns that the matchers may take."""
        files = self._files(start_ms, end_ms + _BIRTH_MS)
        if not files:
            return []
        dataset = self._samples(files)
        wanted = None if choice.names is None else pc.field("name").isin(sorted(choice.names))
        pairs = set()
        for batch in dataset.to_batches(columns=["name", "kind"], filter=wanted):
            table = pa.Table.from_batches([batch]).group_by(["name", "kind"]).aggregate([])
            pairs |= set(zip(table["name"].to_pylist(), table["kind"].to_pylist(), strict=True))
        columns = {kind: prometheus.all_columns(kind, sketched=True) for kind in ("counter", "gauge", "summary")}
        return [
            (name, kind, column)
            for name, kind in sorted(pairs)
            for column in columns[kind]
            if choice.takes_name(name, column)
        ]

    def _read(self, columns: list[str], names: set[str], choice: _Choice, start_ms: int, end_ms: int) -> pa.Table:
        per_unit = NS_PER_UNIT[self._unit]
        first, last, birth = (
            pa.scalar(each * prometheus.NS_PER_MS // per_unit, pa.timestamp(self._unit, "UTC"))
            for each in (start_ms, end_ms + 1, end_ms + 1 + _BIRTH_MS)
        )
        # A series that was 0 within the span may have its first sample just behind it.
        born = (pc.field("zero_time") >= first) & (pc.field("zero_time") < last) & (pc.field("time") < birth)
        wanted = pc.field("name").isin(sorted(names)) & (pc.field("time") >= first)
        wanted &= (pc.field("time") < last) | born
        if choice.instance is not None:
            wanted &= pc.field(INSTANCE) == choice.instance
        dataset = self._samples(self._files(start_ms, end_ms + _BIRTH_MS))
        return dataset.to_table(columns=columns, filter=wanted)

    def _ends(self, start_ms: int, end_ms: int) -> dict[str, Any]:
        """Give when lives ended within a span, in ms, by instance."""
        if not self._lives:
            return {}
        bounds = [pa.scalar(each * _US_PER_MS, pa.timestamp("us", "UTC")) for each in (start_ms - 1, end_ms + 1)]
        within = (pc.field("newest") >= bounds[0]) & (pc.field("newest") <= bounds[1])
        there = listing.dataset(self._place, self._fragments(self._lives, listing.lives), LIVES_SCHEMA)
        table = there.to_table(columns=[INSTANCE, "newest"], filter=within)
        found: dict[str, set[int]] = {}
        newest_us = table["newest"].cast(pa.int64()).to_pylist()
        for instance, stamp in zip(table[INSTANCE].to_pylist(), newest_us, strict=True):
            stale = prometheus.stale_ms(stamp * 1000)
            if start_ms <= stale <= end_ms:
                found.setdefault(instance, set()).add(stale)
        return {instance: np.array(sorted(stamps), np.int64) for instance, stamps in found.items()}

    def _series(
        self, rows: pa.Table, kind: str, column: prometheus.Column, func: str, span: tuple[int, int], stale: Any
    ) -> tuple[Any, Any] | None:
        """Give one series' timestamps and values within a span; None: it has none there."""
        per_unit = NS_PER_UNIT[self._unit]
        stamps = rows["time"].cast(pa.int64()).to_numpy() * per_unit // prometheus.NS_PER_MS
        counts_on = column.cumulative or (column == prometheus.HISTOGRAM and func in _TOTALS)
        zero_ms = _zero_ms(rows, stamps, per_unit, span) if counts_on else -1
        within = _within(stamps, span)
        if column == prometheus.HISTOGRAM:
            return _histograms(rows, stamps, within, func, zero_ms, stale)
        values = _values(rows, kind, column)[within]
        kept = ~np.isnan(values)
        stamps, values = stamps[within][kept], values[kept]
        if zero_ms >= 0:
            stamps, values = _inserted(stamps, values, np.array([zero_ms]), 0.0)
        if not len(stamps):
            return None
        new = np.setdiff1d(stale, stamps)
        if len(new):
            stamps, values = _inserted(stamps, values, new, np.nan)
            values.view(np.uint64)[np.isin(stamps, new)] = prometheus.STALE_BITS
        return stamps, values

    def _buckets(
        self, rows: pa.Table, labels: dict[str, str], span: tuple[int, int], stale: Any
    ) -> Iterator[BucketTotals]:
        """Give one series' running totals within a span, which `buckets_of` makes classic buckets of."""
        if not rows["scale"].is_valid().to_numpy().any():
            return
        per_unit = NS_PER_UNIT[self._unit]
        stamps = rows["time"].cast(pa.int64()).to_numpy() * per_unit // prometheus.NS_PER_MS
        within, zero_ms = _within(stamps, span), _zero_ms(rows, stamps, per_unit, span)
        if within.start == within.stop and zero_ms < 0:  # it ended before, and its scale is none of the answer's
            return
        sketches = Sketches.of(rows[: within.stop])
        scale, first, counts = sketches.dense(MAX_BUCKET_SCALE)
        cells = Cells(scale, sketches.zeroes.astype(np.float64), first, counts).running().rows(within)
        there = np.ones(len(stamps[within]), np.bool_)
        yield BucketTotals(labels, stamps[within], cells, there, zero_ms, stale)


_NONE = np.empty(0, np.int64)


class _Choice(Choice):
    """The matchers of one selector. Attributes: what a file may be asked for: `names` and `instance`; None: any."""

    def __init__(self, matchers: Sequence[Any], func: str = "") -> None:
        super().__init__(matchers, func)
        self.instance = self.equal.get(INSTANCE)
        self.names: set[str] | None = None
        if self.name:
            self.names = {self.name, *(self.name.removesuffix(suffix) for suffix in _SUFFIXES)}


def _day(stamp_ms: int) -> str:
    day = min(max(stamp_ms // _MS_PER_DAY, 0), 2_932_896)  # the last of the year 9999
    return (dt.date(1970, 1, 1) + dt.timedelta(days=day)).isoformat()


def _by_series(table: pa.Table) -> Iterator[pa.Table]:
    """Give the rows of each series by time, of a sample that is there twice the last."""
    if not table.num_rows:
        return
    table = table.sort_by(
        [("name", "ascending"), (INSTANCE, "ascending"), ("series", "ascending"), ("time", "ascending")]
    )
    table = table.combine_chunks()
    codes = [
        table[name].combine_chunks().dictionary_encode().indices.to_numpy() for name in ("name", INSTANCE, "series")
    ]
    changes = np.zeros(table.num_rows - 1, np.bool_)
    for each in codes:
        changes |= each[1:] != each[:-1]
    stamps = table["time"].cast(pa.int64()).to_numpy()
    cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), table.num_rows]
    for start, end in itertools.pairwise(cuts):
        rows = table.slice(start, end - start)
        again = np.append(stamps[start + 1 : end] == stamps[start : end - 1], False)
        yield rows.filter(pa.array(~again)) if again.any() else rows


def prometheus_labels(labels: dict[str, str], instance: str, name: str, column: prometheus.Column) -> dict[str, str]:
    """Give a series' whole label set: its own, `instance`, its name and its quantile."""
    whole = {**labels, INSTANCE: instance, NAME: name + column.suffix}
    return {**whole, QUANTILE: column.quantile} if column.quantile else whole


def _labels(rows: pa.Table, column: prometheus.Column) -> dict[str, str]:
    name, instance = rows["name"][0].as_py(), rows[INSTANCE][0].as_py()
    return prometheus_labels(dict(rows["labels"][0].as_py()), instance, name, column)


def _within(stamps: Any, span: tuple[int, int]) -> slice:
    return slice(*stamps.searchsorted((span[0], span[1] + 1)).tolist())


def _zero_ms(rows: pa.Table, stamps: Any, per_unit: int, span: tuple[int, int]) -> int:
    """Give when a series' total was 0, where the sample of the bucket in which it was declared is among the rows.

    -1: it was not within the span.
    """
    zeroes = rows["zero_time"].drop_null()
    if not len(zeroes):
        return -1
    zero_ms = int(zeroes[0].cast(pa.int64()).as_py()) * per_unit // prometheus.NS_PER_MS
    born = zero_ms + rows["interval_ns"].to_numpy() // prometheus.NS_PER_MS
    return zero_ms if span[0] <= zero_ms <= span[1] and bool((stamps == born).any()) else -1


def _values(rows: pa.Table, kind: str, column: prometheus.Column) -> Any:
    """Read the values of a column, float64 [rows]; NaN: there is no sample."""

    def read(name: str) -> Any:
        return rows[name].cast(pa.float64()).to_numpy(zero_copy_only=False)

    if kind != "summary":
        return read("value")
    if column.quantile:
        estimates = Sketches.of(rows).quantiles(float(column.quantile))
        return np.clip(estimates, read("min"), read("max"))
    return read({"_count": "total_count", "_sum": "total_sum"}.get(column.suffix, column.suffix[1:]))


def _inserted(stamps: Any, values: Any, new: Any, value: float) -> tuple[Any, Any]:
    """Put a value at new instants; where there is a sample already it stays."""
    new = np.setdiff1d(new, stamps)
    places = stamps.searchsorted(new)
    return np.insert(stamps, places, new), np.insert(values, places, value)


def _histograms(
    rows: pa.Table, stamps: Any, within: slice, func: str, zero_ms: int, stale: Any
) -> tuple[Any, Any] | None:
    """Read sketches as native histograms: each bucket's own, or for a rate running totals."""
    if not rows["scale"].is_valid().to_numpy().any():
        return None
    # What lies outside of the span has no part in the scale, but where totals run on from before it.
    outer = slice(0 if func in _TOTALS else within.start, within.stop)
    rows, stamps, within = rows[outer], stamps[outer], slice(within.start - outer.start, within.stop - outer.start)
    sketches = Sketches.of(rows)
    scale, first, cells = sketches.dense(_HIGHEST)
    sums = rows["sum"].fill_null(0.0).to_numpy().astype(np.float64)
    zeroes = sketches.zeroes.astype(np.float64)
    if func in _TOTALS:
        cells, zeroes, sums = cells.cumsum(axis=0), zeroes.cumsum(), sums.cumsum()
        there = np.ones(len(stamps), np.bool_)
    else:
        there = zeroes + cells.sum(axis=1) > 0
    kept = np.flatnonzero(there[within]) + within.start
    if not len(kept):
        return None
    stamps, cells, zeroes, sums = stamps[kept], cells[kept], zeroes[kept], sums[kept]
    extra = np.union1d(stale, [zero_ms]) if zero_ms >= 0 else stale
    extra = np.setdiff1d(extra, stamps).astype(np.int64)
    places = stamps.searchsorted(extra)
    whole = np.insert(stamps, places, extra)
    cells, zeroes, sums = (
        np.insert(cells, places, 0.0, axis=0),
        np.insert(zeroes, places, 0.0),
        np.insert(sums, places, 0.0),
    )
    sums.view(np.uint64)[np.isin(whole, stale)] = prometheus.STALE_BITS
    return whole, CellHistograms(scale, zeroes, first + 1, cells, sums, zeroes + cells.sum(axis=1))
