"""Whether a lake is whole: every file reads, no sample is there twice, and none that was acknowledged is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rondo_core import Batch, StoreReader
from rondo_core.errors import RondoError, one_line
from rondo_core.export import dump, load_cursor
from rondo_core.model import store_name
from rondo_core.read import find_stores
from rondo_exporter_parquet.compaction import Footer, footer_of
from rondo_exporter_parquet.lives import FOLDER as LIVES
from rondo_exporter_parquet.lives import SCHEMA as LIVES_SCHEMA
from rondo_exporter_parquet.place import Place
from rondo_exporter_parquet.rows import INSTANCE, KEYS, NS_PER_UNIT, VALUES, days, schema_of, shared
from rondo_exporter_parquet.source import unit_of

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
    was expired that is not compared. Args: `stores`: a directory of stores that were exported with its label
    `instance`, each of which is read once more and compared sample by sample; `exporter`: by which name.
    Raises: OSError: the lake cannot be read.
    """
    found = LakeCheck()
    counts: dict[str, int] = {}
    names = [name for name in place.names() if name.startswith("day=")]
    by_day: dict[str, list[str]] = {}
    for name in names:
        by_day.setdefault(name[4:14], []).append(name)
    for day, several in sorted(by_day.items()):
        _check_day(place, day, several, counts, found)
    found.days, found.instances = len(by_day), len(counts)
    _check_lives(place, counts, min(by_day, default=""), found)
    if stores is not None:
        unit = unit_of(place, names[:1])
        for path in find_stores(stores):
            _check_store(place, names, unit, stores, path, exporter, found)
    return found


def _check_day(place: Place, day: str, names: list[str], counts: dict[str, int], found: LakeCheck) -> None:
    footers = list(_readable(place, names, found))
    units = {each.unit for each in footers}
    if len(units) > 1:
        found.fault(f"day={day}: times in {' and '.join(sorted(units))}; a lake has one unit")
        return
    if not footers:
        return
    unit = footers[0].unit
    table = place.dataset([each.name for each in footers], schema_of(unit)).to_table(columns=KEYS)
    found.files, found.rows = found.files + len(footers), found.rows + table.num_rows
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


def _readable(place: Place, names: list[str], found: LakeCheck) -> Iterator[Footer]:
    for name in names:
        try:
            yield footer_of(place, name)
        except (RondoError, KeyError) as error:
            found.fault(one_line(error))
        except FileNotFoundError:
            continue  # compacted since


def _check_lives(place: Place, counts: dict[str, int], first_day: str, found: LakeCheck) -> None:
    names = place.names(LIVES, recursive=False)
    if not names:
        return
    columns = [INSTANCE, "run", "started", "samples"]
    table = place.dataset(names, LIVES_SCHEMA).to_table(columns=columns)
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


def _check_store(
    place: Place, names: list[str], unit: str, root: Path, path: Path, exporter: str, found: LakeCheck
) -> None:
    """Compare what a store holds with what the lake has of it."""
    instance = store_name(path, root)
    collector = _Collector(unit, instance)
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
    there = place.dataset(names, schema_of(unit)).to_table(
        columns=[*KEYS, *VALUES], filter=pc.field(INSTANCE) == instance
    )
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
