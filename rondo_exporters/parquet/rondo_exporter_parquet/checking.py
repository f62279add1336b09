"""Whether a lake is whole: every file reads, no sample is there twice, and none that was acknowledged is missing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rondo_core import Batch, StoreReader
from rondo_core.errors import RondoError, StoreNotFoundError, one_line
from rondo_core.export import dump, load_cursor
from rondo_core.model import store_name
from rondo_core.read import find_stores
from rondo_exporter_parquet import listing
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import INSTANCE, KEYS, NS_PER_UNIT, VALUES, days, schema_of, shared, times_ns

_SHOWN = 20


@attrs.define
class LakeCheck:
    """What a check found.

    Attributes:
        files, rows, days, instances, lives: how many there are.
        twice: samples that are there more than once; missing: that were acknowledged, or lie in a store that was sent
            whole, and are not there; different: there with other values than their store's; pending: of stores, that no
            exporter was told to have arrived yet.
        stores: that were compared sample by sample; faults: what is wrong, a line each.
    """

    files: int = 0
    rows: int = 0
    days: int = 0
    instances: int = 0
    lives: int = 0
    twice: int = 0
    missing: int = 0
    different: int = 0
    pending: int = 0
    stores: int = 0
    faults: list[str] = attrs.field(factory=list)

    def fault(self, line: str) -> None:
        """Note what is wrong, as long as there are not too many to be read."""
        if len(self.faults) < _SHOWN:
            self.faults.append(line)


def check(place: Place, stores: Path | None = None, exporter: str = "parquet") -> LakeCheck:
    """Look at every file, count every sample, and compare with what was acknowledged.

    The table of lives says of each run how many samples had been acknowledged of its store; of a life whose first day
    was expired that is not compared, nor are the samples of a store's expired days.

    Args: `stores`: a directory of stores that were exported with its label `instance`, each of which is read once more
    and compared sample by sample; `exporter`: by which name.
    Raises: OSError: the lake cannot be read; StoreNotFoundError: there is no such directory.
    """
    if stores is not None and not stores.is_dir():
        raise StoreNotFoundError(f"{stores}: no directory of stores; check the path")
    found = LakeCheck()
    counts: dict[str, int] = {}
    by_day, strange = listing.by_day(place.names())
    for line in strange:
        found.fault(line)
    for day in sorted(by_day):
        listing.again(partial(_check_day, place, day, counts, found), place)
    found.days, found.instances = len(by_day), len(counts)
    first_day = min(by_day, default="1970-01-01")
    listing.again(partial(_check_lives, place, counts, first_day, found), place)
    if stores is not None:
        samples = _Samples(place)
        for path in find_stores(stores):
            _check_store(samples, stores, path, exporter, first_day, found)
    return found


def _check_day(place: Place, day: str, counts: dict[str, int], found: LakeCheck) -> None:
    there = listing.samples(place, listing.day_of(place, day))
    units = {str(each.physical_schema.field("time").type.unit) for each in there.fragments.values()}
    if len(units) > 1:
        found.fault(f"day={day}: times in {' and '.join(sorted(units))}; a lake has one unit")
        return
    unit = next(iter(units), "us")
    tables = list(_keys(there, unit))
    for line in there.faults:
        found.fault(line)
    if not tables:
        return
    table = pa.concat_tables(tables)
    found.files, found.rows = found.files + len(tables), found.rows + table.num_rows
    stamps = table["time"].cast(pa.int64()).to_numpy() * NS_PER_UNIT[unit]
    outside = int((stamps // (86_400 * 10**9) != np.datetime64(day, "D").astype(np.int64)).sum())
    if outside:
        found.fault(f"day={day}: {outside} samples of another day; they were moved by hand")
    coded = [table[name].combine_chunks().dictionary_encode() for name in (INSTANCE, "series")]
    keys = [stamps, *(each.indices.to_numpy().astype(np.int64) for each in coded)]
    order = np.lexsort(keys)
    same = np.ones(max(0, len(order) - 1), np.bool_)
    for key in keys:
        same &= key[order][1:] == key[order][:-1]
    if twice := int(same.sum()):
        found.twice += twice
        whose = coded[0].dictionary[int(keys[1][order[int(np.flatnonzero(same)[0])]])].as_py()
        found.fault(
            f"day={day}: {twice} samples are there twice, such as of {whose}; rondo lake compact --whole joins them"
        )
    own: Any = (
        np.bincount(keys[1][order][np.append(True, ~same)], minlength=len(coded[0].dictionary)) if len(order) else []
    )
    for name, count in zip(coded[0].dictionary.to_pylist(), own, strict=True):
        counts[name] = counts.get(name, 0) + int(count)


def _keys(there: listing.Listing, unit: str) -> Iterator[pa.Table]:
    """Read which samples each file has; one whose rows cannot be read is a fault. Raises: FileNotFoundError."""
    for name, fragment in there.fragments.items():
        try:
            yield fragment.to_table(schema=schema_of(unit), columns=KEYS)
        except FileNotFoundError:
            raise
        except (pa.ArrowInvalid, OSError) as error:
            there.faults.append(f"{name}: its rows cannot be read ({one_line(error)[:120]}); move it away")


def _check_lives(place: Place, counts: dict[str, int], first_day: str, found: LakeCheck) -> None:
    names = place.names(LIVES, recursive=False)
    if not names:
        return
    columns = [INSTANCE, "run", "started", "samples"]
    there = listing.lives(place, names)
    table = listing.dataset(place, there.fragments.values(), LIVES_SCHEMA).to_table(columns=columns)
    for line in there.faults:
        found.fault(line)
    found.lives = table.num_rows
    runs = table.group_by([INSTANCE, "run"]).aggregate([([], "count_all")])
    more = int(pc.sum(pc.subtract(runs["count_all"], 1)).as_py() or 0)
    if more:
        found.twice += more
        found.fault(f"{LIVES}: {more} lives are there twice; rondo lake compact joins them")
    newest: dict[str, tuple[int, int, str]] = {}
    for row in table.to_pylist():
        started = row["started"].date().isoformat() if row["started"] else ""
        known = newest.get(row[INSTANCE], (0, 0, started))
        newest[row[INSTANCE]] = (*max(known[:2], (row["run"], row["samples"] or 0)), min(known[2], started))
    for instance, (_, samples, started) in newest.items():
        if started < first_day:
            continue
        less = samples - counts.get(instance, 0)
        if less > 0:
            found.missing += less
            found.fault(f"{instance}: {samples} samples were acknowledged, and {less} of them are not there")


class _Collector:
    """An exporter that keeps what a store would send."""

    def __init__(self, unit: str, instance: str) -> None:
        self._unit, self._instance = unit, instance
        self.tables: list[pa.Table] = []

    def send(self, batch: Batch) -> None:
        """Keep a batch's rows."""
        self.tables += [table for _, table in days(batch, self._unit, self._instance)]

    def close(self) -> None:
        """Keep what there is."""


class _Samples:
    """All samples of a lake: its files are looked at once, and anew where one went before it was read."""

    def __init__(self, place: Place) -> None:
        """Look at nothing yet."""
        self._place = place
        self._listed: listing.Listing | None = None

    def unit(self) -> str:
        """Give the unit of its times. Raises: OSError: as `listing.again`."""
        return listing.unit_of(listing.again(self._files, self._place))

    def of(self, instance: str) -> pa.Table:
        """Read the samples of an instance. Raises: as `unit`."""
        return listing.again(partial(self._read, instance), self._place)

    def _files(self) -> listing.Listing:
        if self._listed is None:
            by_day, _ = listing.by_day(self._place.names())
            self._listed = listing.samples(self._place, [name for names in by_day.values() for name in names])
        return self._listed

    def _read(self, instance: str) -> pa.Table:
        files = self._files()
        whole = listing.dataset(self._place, files.fragments.values(), schema_of(listing.unit_of(files)))
        try:
            return whole.to_table(columns=[*KEYS, *VALUES], filter=pc.field(INSTANCE) == instance)
        except FileNotFoundError:
            self._listed = None
            raise


def _check_store(samples: _Samples, root: Path, path: Path, exporter: str, first_day: str, found: LakeCheck) -> None:
    """Compare what a store holds with what the lake has of it, but for the days that have expired."""
    instance = store_name(path, root)
    collector = _Collector(samples.unit(), instance)
    try:
        with StoreReader(path) as reader:
            cursor = load_cursor(path, exporter)
            is_whole = bool(reader.runs()) and cursor.ended_run == reader.runs()[-1].number and not cursor.in_flight
            dump(reader, exporter, {}, ended=True, labels={INSTANCE: instance}, exporter=collector)
    except (RondoError, OSError) as error:
        found.fault(f"{path}: not compared: {one_line(error)}")
        return
    found.stores += 1
    if not collector.tables:
        return
    own = pa.concat_tables(collector.tables)
    own = own.filter(pa.array(times_ns(own) >= np.datetime64(first_day, "ns").astype(np.int64)))
    there = samples.of(instance)
    both, again = shared(there, own.select(there.schema.names))
    less = own.num_rows - len(set(zip(*(again[key].to_pylist() for key in KEYS), strict=True)))
    if is_whole and less:
        found.missing += less
        found.fault(f"{path}: {less} of its samples are not in the lake, and its cursor says that all were sent")
    elif less:
        found.pending += less
    if other := _different(both, again):
        found.different += other
        found.fault(f"{path}: {other} of its samples have other values in the lake")


def _different(some: pa.Table, others: pa.Table) -> int:
    """Count the rows of which any value differs; null is equal to null, and NaN to NaN."""
    unequal = np.zeros(some.num_rows, np.bool_)
    for name in VALUES:
        if pa.types.is_string(some.schema.field(name).type):
            unequal |= ~np.asarray(pc.equal(some[name], others[name]).fill_null(True))
            continue
        left, right = (_numbers(each[name]) for each in (some, others))
        unequal |= (left != right) & ~(np.isnan(left) & np.isnan(right))
    return int(unequal.sum())


def _numbers(column: Any) -> Any:
    return column.cast(pa.float64(), safe=False).to_numpy()
