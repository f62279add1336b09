"""Save what is whole of a damaged store into a new one; the old one is only read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.errors import StoreError, StoreExistsError
from rondo_core.export.cursor import load_cursor, save_cursor
from rondo_core.maintain.check import YEAR_NS, CheckedTier, check_cursor, last_window, newest_ns, open_tiers, unmerged
from rondo_core.maintain.check_rows import CheckedRows, SlabFile
from rondo_core.maintain.recover import LOST_NAME, Recovered, listed, recover
from rondo_core.model import layout, ring
from rondo_core.model.labels import Series
from rondo_core.model.paths import is_directory
from rondo_core.model.schema import Schema
from rondo_core.storage.directory import create
from rondo_core.storage.events import carry_over
from rondo_core.storage.files import Folder
from rondo_core.storage.journal import Journal
from rondo_core.storage.lock import check_unwritten, writer_pid
from rondo_core.storage.registry import encode_series
from rondo_core.storage.runs import Run, decode_run, put_run, run_records


@attrs.define
class RepairResult:
    """What was saved, and in `left`, line by line, what was not and why."""

    n_series: int = 0
    n_placeholders: int = 0
    n_rows: int = 0
    left: list[str] = attrs.field(factory=list)


def repair_store(path: str | Path, new: str | Path, now_ns: int | None = None) -> RepairResult:
    """Make a store at `new` of all that is whole in the one at `path`, which no process may be writing.

    Args: `now_ns`: rows from more than a year after it are damage; by default the present.
    Raises: StoreLockedError: a process writes it; StoreExistsError; StoreError: no room; CorruptStoreError: nothing
    says what the store is. Nothing is left behind then.
    """
    root, target = Path(path), Path(new)
    if is_directory(root):
        check_unwritten(root / layout.LOCK_FILE)
    if os.path.lexists(target):
        raise StoreExistsError(f"{target}: exists already; choose another path")
    until_ns = newest_ns(root, now_ns) + YEAR_NS
    found, folder = recover(root), Folder(root)
    outcome = RepairResult()
    outcome.left += [f"{each.file}: {each.where}: {each.what}" for each in found.findings]
    if not found.meta.store_id:
        outcome.left.append("meta: the store's id and what its schemas matched are lost; new series go by kind alone")

    def fill(directory: Path) -> None:
        _Repair(root, directory, found, until_ns, outcome).run()
        if not folder.is_at_its_path() or writer_pid(folder / layout.LOCK_FILE) is not None:
            raise StoreError(f"{root}: was written, or replaced, while it was read; repair it again")

    meta = found.meta
    create(target, meta.schemas, meta.created_ns, store_id=meta.store_id, labels=meta.labels, fill=fill)
    return outcome


class _Repair:
    """One repair: from `old` into `new`, whose files are there at full size and empty."""

    def __init__(self, old: Path, new: Path, found: Recovered, until_ns: int, outcome: RepairResult) -> None:
        self.old, self.new, self.found, self.until_ns, self.outcome = old, new, found, until_ns, outcome
        self.guessed: dict[str, set[int]] = {}
        self.width = {name: max(columns, default=-1) + 1 for name, columns in found.series.items()}

    def run(self) -> None:
        for schema in self.found.meta.schemas:
            self._copy_schema(schema)
        self._write_series()
        self._copy_runs()
        self._copy_events()
        self._copy_cursors()

    # -- rows

    def _copy_schema(self, schema: Schema) -> None:
        with open_tiers(self.old, schema, self.width[schema.name], self.until_ns) as tiers:
            beyond = {column for tier in tiers if tier.rows is not None for column in tier.rows.beyond}
            self.outcome.left += [f"{each.file}: {each.where}: {each.what}" for tier in tiers for each in tier.findings]
        self.width[schema.name] = max(self.width[schema.name], *(column + 1 for column in beyond), 0)
        with open_tiers(self.old, schema, self.width[schema.name], self.until_ns) as tiers:
            for index, tier in enumerate(tiers):
                if tier.slab is not None and tier.rows is not None:
                    self._copy_tier(schema, index, tier)
            for index in range(1, len(tiers)):
                self._rebuild_window(schema, index, tiers)
        with open_tiers(self.new, schema, self.width[schema.name], self.until_ns) as tiers:
            for index in range(1, len(tiers)):
                self._fold_again(schema, tiers[index - 1], tiers[index])

    def _copy_tier(self, schema: Schema, index: int, tier: CheckedTier) -> None:
        slab, rows = tier.slab, tier.rows
        if slab is None or rows is None:
            return
        order = rows.order()
        target = SlabFile(self.new / tier.name, slab.spec, os.O_RDWR)
        try:
            carried = _Carried(schema, slab.spec) if index == 0 else None
            for part in slab.chunks(order):
                raw = slab.rows(part)
                raw.view("<i8")[:, 1] &= ~1  # a batch that a kill cut short is over
                for row, slot in enumerate(part.tolist()):
                    bad = sorted(rows.bad.get(slot, ()))
                    _blank(slab, raw[row : row + 1], bad)
                    if carried is not None:
                        carried.take(slab, raw[row : row + 1], bad, is_newest=slot == order[-1])
                    _put(target, slot, raw[row : row + 1])
            self.outcome.n_rows += len(order)
            self._mark_lost(target, rows, slab)
            if rows.bad:
                columns = Counter(column for found in rows.bad.values() for column in found)
                told = f"columns {listed(sorted(columns))}" if columns else ""
                self.outcome.left.append(
                    f"{tier.name}: left out {columns.total()} values of {len(rows.bad)} rows, {told}"
                )
        finally:
            target.close()

    def _mark_lost(self, target: SlabFile, rows: CheckedRows, slab: SlabFile) -> None:
        """Keep who took a row that is not valid: its window is not to be looked for in this tier."""
        newest = int(rows.buckets.max(initial=0))
        marks = {slot: int(rows.marks[slot]) for slot in rows.marks.nonzero()[0].tolist()}
        self.guessed[slab.path.name] = set(rows.lost)
        for slot in rows.lost:
            marks[slot] = ring.latest_in(slot, newest, slab.spec.slot_count)
        for slot, bucket in marks.items():
            if bucket > 0:
                os.pwrite(target.descriptor, (~bucket).to_bytes(8, "little", signed=True), target.place(slot))
        if rows.lost:
            self.outcome.left.append(
                f"{slab.path.name}: left out {len(rows.lost)} rows whose headers or checksums are damaged or cut off"
            )

    # -- windows

    def _rebuild_window(self, schema: Schema, index: int, tiers: list[CheckedTier]) -> None:
        """Let folding go on where it stood, or where that is not known from the oldest window that is whole."""
        fine, coarse = tiers[index - 1], tiers[index]
        limit = last_window(tiers, index)
        window = coarse.slab.next_window if coarse.slab is not None else -1
        if (
            coarse.slab is None
            or not 0 <= window <= limit
            or not layout.round_trips(coarse.slab.spec, coarse.slab.page)
        ):
            newest = int(fine.rows.buckets.max(initial=0)) if fine.rows is not None else 0
            slots = schema.tiers[index - 1].slot_count
            window = max(0, -(-(newest - slots + 1) // coarse.ratio)) if newest else 0
        target = SlabFile(self.new / coarse.name, schema.slab_spec(index), os.O_RDWR)
        try:
            os.pwrite(target.descriptor, window.to_bytes(8, "little", signed=True), layout.SLAB_NEXT_WINDOW)
        finally:
            target.close()

    def _fold_again(self, schema: Schema, fine: CheckedTier, coarse: CheckedTier) -> None:
        if fine.slab is None or coarse.slab is None or coarse.rows is None:
            return
        n_series, spec, again = self.width[schema.name], coarse.slab.spec, 0
        marks = coarse.rows.marks.copy()
        coarse.rows.marks[list(self.guessed.get(coarse.name, ()))] = 0  # what was lost may be folded again
        target = SlabFile(self.new / coarse.name, spec, os.O_RDWR)
        try:
            for window, columns, expected in unmerged(fine, coarse, schema, n_series, coarse.slab.next_window):
                slot = window % spec.slot_count
                raw = coarse.slab.rows([slot])
                words = raw.view("<i8")
                fresh = int(words[0, 0]) != window
                if fresh:
                    raw[:] = 0
                    words[0, 0] = window
                for name, values in expected.items():
                    block = coarse.slab.block(raw, name, n_series)
                    picked: Any = slice(None) if fresh else columns
                    block[0, picked] = values[picked]
                _put(target, slot, raw)
                coarse.rows.buckets[slot], marks[slot] = window, 0
                again += 1
        finally:
            target.close()
        coarse.rows.marks = marks
        if again:
            self.outcome.left.append(f"{coarse.name}: folded {again} windows again from the finer tier")

    # -- all else

    def _write_series(self) -> None:
        journal = Journal(self.new / layout.REGISTRY_FILE, writable=True)
        try:
            given = dict.fromkeys(self.width, 0)
            for series in [*self.found.order, *self._ends()]:
                while given[series.schema] < series.column:
                    self._append_lost(journal, series.schema, series.kind, given)
                journal.append(encode_series(series))
                given[series.schema] += 1
                self.outcome.n_series += 1
            journal.sync()
        finally:
            journal.close()

    def _ends(self) -> Iterable[Series]:
        """Give the placeholder of each schema's last column, where that is lost."""
        for schema in self.found.meta.schemas:
            last = self.width[schema.name] - 1
            if last > max(self.found.series[schema.name], default=-1):
                self._count_lost()
                yield lost_series(schema.name, schema.kind, last)

    def _append_lost(self, journal: Journal, schema: str, kind: Any, given: dict[str, int]) -> None:
        journal.append(encode_series(lost_series(schema, kind, given[schema])))
        given[schema] += 1
        self.outcome.n_series += 1
        self._count_lost()

    def _count_lost(self) -> None:
        self.outcome.n_placeholders += 1

    def _copy_runs(self) -> None:
        try:
            records = run_records(self.old / layout.RUNS_FILE)
        except StoreError:
            self.outcome.left.append(f"{layout.RUNS_FILE}: left out; who wrote the store is not known any more")
            return
        found = list[Run]()
        for slot, record in enumerate(records):
            run = decode_run(record, slot, len(records))
            if run is not None:
                found.append(run)
            elif any(record):
                self.outcome.left.append(f"{layout.RUNS_FILE}: left out the damaged record {slot}")
        for run in sorted(found, key=lambda run: run.number):
            put_run(self.new / layout.RUNS_FILE, run)

    def _copy_events(self) -> None:
        try:
            damaged = carry_over(self.old / layout.EVENTS_FILE, self.new / layout.EVENTS_FILE)
        except StoreError:
            self.outcome.left.append(f"{layout.EVENTS_FILE}: left out; its marks and notes are lost")
            return
        if damaged:
            self.outcome.left.append(f"{layout.EVENTS_FILE}: left out {damaged} bytes that do not check")

    def _copy_cursors(self) -> None:
        for file in sorted(self.old.glob("cursor_*.json")):
            sound, findings = check_cursor(file, self.found, self.until_ns)
            if sound:
                save_cursor(self.new, load_cursor(self.old, file.name.removeprefix("cursor_").removesuffix(".json")))
            else:
                self.outcome.left += [f"{each.file}: left out: {each.where} {each.what}" for each in findings]


def lost_series(schema: str, kind: Any, column: int) -> Series:
    """Name a series whose record is lost, so that the columns after it stay in place."""
    labels = (("column", str(column)), ("schema", schema))
    return Series(LOST_NAME, labels, kind, schema, column, "A series whose name was lost in a repair.")


def _put(target: SlabFile, slot: int, raw: NDArray[np.uint8]) -> None:
    """Seal a row, uint8 [1, bytes], and write it."""
    raw.view("<u4")[0, 3] = layout.seal_of(raw.tobytes())
    os.pwrite(target.descriptor, raw.tobytes(), target.place(slot))


def _blank(slab: SlabFile, raw: NDArray[np.uint8], columns: list[int]) -> None:
    """Make values of one row absent."""
    for cell in slab.spec.cells if columns else ():
        values = slab.block(raw, cell.name)
        values[0, columns] = float("nan") if values.dtype.kind == "f" else 0


class _Carried:
    """The totals on which the next writer goes on: where the newest row's are damaged, the last sound ones."""

    def __init__(self, schema: Schema, spec: layout.SlabSpec) -> None:
        self.kind = schema.kind
        self.count, self.total = np.full(spec.max_series, np.nan), np.full(spec.max_series, np.nan)

    def take(self, slab: SlabFile, raw: Any, bad: list[int], *, is_newest: bool) -> None:
        """Note the totals of one row, oldest first; mend the newest."""
        if self.kind == "gauge":
            return
        cells = {cell.name: slab.block(raw, cell.name)[0] for cell in slab.spec.cells}
        if is_newest:
            self._mend(cells, bad)
        if self.kind == "counter":
            self.count = np.where(np.isnan(cells["last"]), self.count, cells["last"])
            return
        there, second = ~np.isnan(cells["count"]), cells["count"] < 0
        with np.errstate(all="ignore"):
            total = cells["sum_base"] + np.where(second, cells["sum1"], cells["sum0"])
            self.total = np.where(there, total, self.total)
            self.count = np.where(there, cells["count_base"] + np.abs(cells["count"]), self.count)

    def _mend(self, cells: dict[str, Any], bad: list[int]) -> None:
        if self.kind == "counter":
            cells["last"][bad] = self.count[bad]
            return
        known = [column for column in bad if self.count[column] >= 0]
        empty = {"count": 0.0, "sum0": 0.0, "sum1": 0.0, "min0": float("inf"), "min1": float("inf")}
        for name, value in {**empty, "max0": -float("inf"), "max1": -float("inf")}.items():
            cells[name][known] = value
        cells["count_base"][known], cells["sum_base"][known] = self.count[known], self.total[known]
