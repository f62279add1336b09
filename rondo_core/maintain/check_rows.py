"""What is wrong with the rows of one slab: headers, values that contradict each other, windows that are no merge.

Slabs are read, not mapped, a few MiB at a time. Samples carry no checksum: a value that contradicts nothing is taken.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from rondo_core.model import layout
from rondo_core.model.statistics import COVERAGE, SKETCH, WindowMerge, cell_statistics, complete_statistics
from rondo_core.storage.files import open_file, read_at
from rondo_core.storage.slab import MAX_INSTANT_NS
from rondo_core.units import format_instant

_CHUNK = 4 << 20


class SlabFile:
    """One slab as it lies on disk: `size` in bytes, `page` its header page; what is cut off reads as zeroes."""

    def __init__(self, path: Path, spec: layout.SlabSpec, flags: int = os.O_RDONLY) -> None:
        """Open it. Raises: StoreError and below."""
        self.path, self.spec = path, spec
        self.descriptor = open_file(path, flags)
        self.size = os.fstat(self.descriptor).st_size
        self.page = read_at(self.descriptor, 0, layout.PAGE_BYTES).ljust(layout.PAGE_BYTES, b"\0")

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    @property
    def next_window(self) -> int:
        """The first window that is still to be folded into this tier."""
        raw = read_at(self.descriptor, layout.SLAB_NEXT_WINDOW, 8).ljust(8, b"\0")
        return int.from_bytes(raw, "little", signed=True)

    @property
    def in_change(self) -> bool:
        """Whether rows are about to change, or a killed process has left it so: the next writer ends that."""
        return bool(self.page[layout.SLAB_GENERATION] % 2)

    def headers(self) -> NDArray[np.int64]:
        """Give bucket and sequence of every row that the file has room for: int64 [slots, 2]."""
        count = min(self.spec.slot_count, max(0, self.size - layout.PAGE_BYTES) // self.spec.row_bytes)
        found = np.zeros((count, 2), "<i8")
        view = found.view(np.uint8)
        for slot in range(count):
            os.preadv(self.descriptor, [memoryview(view[slot])], self.place(slot))
        return found

    def place(self, slot: int) -> int:
        """Give where a row begins in the file."""
        return layout.PAGE_BYTES + slot * self.spec.row_bytes

    def rows(self, slots: Any) -> NDArray[np.uint8]:
        """Copy whole rows: uint8 [rows, bytes]."""
        found = np.zeros((len(slots), self.spec.row_bytes), np.uint8)
        for index, slot in enumerate(slots):
            os.preadv(self.descriptor, [memoryview(found[index])], self.place(int(slot)))
        return found

    def block(self, rows: NDArray[np.uint8], cell: str, n_series: int | None = None) -> NDArray[Any]:
        """View one cell in copied rows: [rows, series], and one more axis where a series has several values."""
        placed, width = self.spec.cell(cell), self.spec.max_series
        kind = np.dtype("<" + placed.format[-1])
        values = rows[:, placed.offset : placed.offset + kind.itemsize * placed.each * width].view(kind)
        return (values if placed.each == 1 else values.reshape(len(rows), width, placed.each))[:, :n_series]

    def chunks(self, slots: Any, at_least: int = 1) -> Iterator[Any]:
        """Split slots so that each part's rows take a few MiB, in multiples of `at_least`."""
        step = max(1, _CHUNK // (self.spec.row_bytes * at_least)) * at_least
        for first in range(0, len(slots), step):
            yield slots[first : first + step]


@attrs.define
class CheckedRows:
    """What the rows of a slab were found to hold.

    Attributes:
        buckets: int64 [slots]: the bucket of each sound row, else 0; marks: who took a row that is not valid, else 0.
        lost: slots whose header is damaged; bad: slot -> columns whose values contradict each other or their peers.
        found: (where, what) of each thing that is wrong; beyond: columns with values that no series is known for.
    """

    buckets: Any
    marks: Any
    lost: list[int] = attrs.field(factory=list)
    bad: dict[int, set[int]] = attrs.field(factory=dict)
    found: list[tuple[str, str]] = attrs.field(factory=list)
    beyond: set[int] = attrs.field(factory=set)

    def order(self) -> Any:
        """Give the slots of sound rows, oldest bucket first."""
        slots = np.flatnonzero(self.buckets)
        return slots[np.argsort(self.buckets[slots], kind="stable")]

    def mark_bad(self, slot: int, column: int, where: str, what: str) -> None:
        """Note one value."""
        self.bad.setdefault(slot, set()).add(column)
        self.found.append((where, what))


def when(spec: layout.SlabSpec, bucket: int) -> str:
    """Name a row by the time of its bucket."""
    return f"row of {format_instant(bucket * spec.interval_ns)}"


def check_headers(slab: SlabFile, until_ns: int) -> CheckedRows:
    """Judge every row's header: the bucket lies in its slot and not after `until_ns`, the sequence is one."""
    spec = slab.spec
    headers = slab.headers()
    slots = np.arange(len(headers))
    occupants = np.where(headers[:, 0] < 0, ~headers[:, 0], headers[:, 0])
    # A row that was taken back may be of any future that a clock has claimed.
    newest = np.where(headers[:, 0] < 0, MAX_INSTANT_NS, min(until_ns, MAX_INSTANT_NS)) // spec.interval_ns
    placed = (occupants % spec.slot_count == slots) & (occupants <= newest) | (headers[:, 0] == 0)
    counted = headers[:, 1] >= 0
    sound = placed & counted
    buckets = np.where(sound & (headers[:, 0] > 0), occupants, 0)
    latest = int(buckets.max(initial=0))
    odd = (headers[:, 1] % 2 == 1) & (buckets > 0) & (buckets < latest) & (not slab.in_change)
    marks = np.where(sound & (headers[:, 0] < 0), occupants, 0)
    rows = CheckedRows(_whole(buckets, spec), _whole(marks, spec), np.flatnonzero(~sound).tolist())
    for slot in rows.lost:
        bucket, sequence = (int(value) for value in headers[slot])
        what = f"its header says bucket {bucket}, which cannot lie there"
        if placed[slot]:
            what = f"its sequence is {sequence}, which no writer counts to"
        rows.found.append((f"slot {slot}", what))
    rows.lost += range(len(headers), spec.slot_count)  # cut off, as the file's size says
    for slot in np.flatnonzero(odd).tolist():
        what = "its sequence is odd, though no writer is in the middle of it"
        rows.found.append((when(spec, int(buckets[slot])), what))
    return rows


def _whole(values: Any, spec: layout.SlabSpec) -> Any:
    return np.concatenate([values, np.zeros(spec.slot_count - len(values), np.int64)])


def check_values(slab: SlabFile, rows: CheckedRows, kind: str, n_series: int, buckets_per_row: int) -> None:
    """Judge every sound row's values against each other and, where they only grow, against the rows before."""
    spec, slots = slab.spec, rows.order()
    grown: dict[int, list[Any]] = {}
    torn: list[int] = []
    with np.errstate(all="ignore"):
        for part in slab.chunks(slots):
            raw = slab.rows(part)
            present = _present(slab, raw)
            rows.beyond |= set((np.flatnonzero(present[:, n_series:].any(axis=0)) + n_series).tolist())
            cells = {cell.name: slab.block(raw, cell.name, n_series) for cell in spec.cells}
            good = _consistent(kind, spec.tier, cells, buckets_per_row) | _unknown(spec.tier, cells, buckets_per_row)
            wrong = present[:, :n_series] & ~good
            torn += part[_torn(raw)].tolist()
            for row, column in np.argwhere(wrong).tolist():
                where = when(spec, int(rows.buckets[part[row]]))
                what = f"column {column} contradicts itself: {_in_words(cells, row, column)}"
                rows.mark_bad(int(part[row]), column, where, what)
            if spec.tier == 0 and kind != "gauge":
                totals = cells["last"] if kind == "counter" else cells["count_base"] + np.abs(cells["count"])
                grown.setdefault(0, []).append(np.where(wrong, np.nan, totals))
    if grown:
        _check_growth(spec, rows, slots, np.concatenate(grown[0]))
    for slot in torn:
        if slot not in rows.bad:
            what = "its checksum does not fit: something in it is not what was recorded"
            rows.found.append((when(spec, int(rows.buckets[slot])), what))
            rows.lost.append(slot)
            rows.buckets[slot] = 0


def _torn(raw: Any) -> Any:
    """Say of each copied row whether it has a seal that does not fit; one that a sync set may not fit any more."""
    words = raw[:, : layout.ROW_HEADER_BYTES].view(np.uint32)
    torn = np.zeros(len(raw), dtype=bool)
    for row in np.flatnonzero((words[:, 3] != 0) & (words[:, 3] & layout.PROVISIONAL == 0)).tolist():
        data = raw[row].tobytes()
        torn[row] = layout.seal_of(data) != int(words[row, 3])
    return torn


def _present(slab: SlabFile, raw: Any) -> Any:
    if slab.spec.tier:
        return slab.block(raw, COVERAGE) > 0
    return ~np.isnan(slab.block(raw, slab.spec.cells[0].name))


def _in_words(cells: dict[str, Any], row: int, column: int) -> str:
    return ", ".join(f"{name} {block[row, column]:g}" for name, block in cells.items() if SKETCH not in name)


def _unknown(tier: int, cells: dict[str, Any], buckets_per_row: int) -> Any:
    """Say where a coarse row has no value of a statistic: it was migrated from tiers that did not keep it."""
    if not tier:
        return False
    unknown = np.any([np.isnan(values) for values in cells.values() if values.dtype.kind == "f"], axis=0)
    return unknown & (cells[COVERAGE] <= buckets_per_row)


def _consistent(kind: str, tier: int, cells: dict[str, Any], buckets_per_row: int) -> Any:
    """Say of each value whether its cells can belong together; NaN is never consistent where it is compared."""
    if not tier and kind == "gauge":
        # The last value counts where it is beyond them: a process may have been killed before they were stored.
        return ~(cells["min"] > cells["max"]) if "min" in cells else np.full(cells["last"].shape, True)
    if not tier and kind == "counter":
        return (cells["last"] >= 0) & (cells["last"] < np.inf)
    if tier:
        good = cells[COVERAGE] <= buckets_per_row
        whole = cells
    else:
        second = cells["count"] < 0
        names = ("min", "max", "sum")
        whole = {name: np.where(second, cells[name + "1"], cells[name + "0"]) for name in names}
        whole |= {"count": np.abs(cells["count"]), "count_base": cells["count_base"]}
        good = np.full(whole["count"].shape, True)
    for name in ("count", "count_base"):
        if name in whole:
            good &= (whole[name] >= 0) & (whole[name] < 1 << 53) & (whole[name] == np.floor(whole[name]))
    if kind == "counter":
        low, high = whole.get("first"), whole.get("last")
        return good & (_at_most(0.0, low) & _at_most(low, high) & _at_most(high, np.finfo(float).max))
    if kind == "gauge":
        for name in ("first", "last"):
            good &= _at_most(whole.get("min"), whole.get(name)) & _at_most(whole.get(name), whole.get("max"))
    if kind == "gauge" or "count" in whole:
        count = whole["count"] if kind == "summary" else whole[COVERAGE]
        good &= (count == 0) | _sum_fits(count, whole.get("min"), whole.get("max"), whole.get("sum"))
    return good


def _at_most(low: Any, high: Any) -> Any:
    """Compare where both are kept."""
    return True if low is None or high is None else low <= high


def _sum_fits(count: Any, low: Any, high: Any, total: Any) -> Any:
    """Say whether so many values from `low` to `high` can have that sum, as floats add up."""
    good = _at_most(low, high)
    if low is None or high is None or total is None:
        return good
    slack = 1e-9 * count * np.maximum(np.abs(low), np.abs(high)) + 1e-300
    fits = (total >= count * low - slack) & (total <= count * high + slack)
    return good & (fits | ~np.isfinite(count * low) | ~np.isfinite(count * high))


def _check_growth(spec: layout.SlabSpec, rows: CheckedRows, slots: Any, totals: Any) -> None:
    """Find the totals that are no part of the longest series that never falls."""
    highest = np.fmax.accumulate(totals, axis=0)
    falls = (totals[1:] < highest[:-1]).any(axis=0)
    for column in np.flatnonzero(falls).tolist():
        known = np.flatnonzero(~np.isnan(totals[:, column]))
        values = totals[known, column].tolist()
        kept = set(longest_growth(values))
        for index, value in enumerate(values):
            if index not in kept:
                slot = int(slots[known[index]])
                what = f"column {column} is {value:g}: a total that falls, against the rows around it"
                rows.mark_bad(slot, column, when(spec, int(rows.buckets[slot])), what)


def longest_growth(values: list[float]) -> list[int]:
    """Give the indices of the longest run of values, gaps allowed, that never falls."""
    tails: list[float] = []
    ends: list[int] = []
    before = [-1] * len(values)
    for index, value in enumerate(values):
        at = bisect.bisect_right(tails, value)
        before[index] = ends[at - 1] if at else -1
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [index]
    kept, index = [], ends[-1] if ends else -1
    while index >= 0:
        kept.append(index)
        index = before[index]
    return kept[::-1]


def windows_to_compare(fine: SlabFile, fine_rows: CheckedRows, coarse_rows: CheckedRows, ratio: int, until: int) -> Any:
    """Give the closed windows, before `until`, of which the finer tier still holds all that it ever held.

    A window whose coarse row was given to a newer one, or was taken back, is none.
    """
    slots = fine.spec.slot_count
    windows = np.unique(fine_rows.buckets[fine_rows.buckets > 0] // ratio)
    windows = windows[windows < until]
    if not len(windows):
        return windows
    buckets = windows[:, None] * ratio + np.arange(ratio)
    held = fine_rows.buckets[buckets % slots] <= buckets
    held &= (fine_rows.marks[buckets % slots] == 0) & ~np.isin(buckets % slots, fine_rows.lost)
    width = len(coarse_rows.buckets)
    taken = np.maximum(coarse_rows.buckets, coarse_rows.marks)[windows % width]
    return windows[held.all(axis=1) & (taken <= windows) & (coarse_rows.marks[windows % width] != windows)]


def merged(
    fine: SlabFile, fine_rows: CheckedRows, windows: Any, ratio: int, kind: str, names: Any, n_series: int
) -> Any:
    """Merge windows from the finer tier: name -> [windows, series], and how many of its rows were there but empty."""
    buckets = (windows[:, None] * ratio + np.arange(ratio)).ravel()
    slots = buckets % fine.spec.slot_count
    there = np.flatnonzero(fine_rows.buckets[slots] == buckets)
    raw = fine.rows(slots[there])
    cells = {cell.name: fine.block(raw, cell.name, n_series) for cell in fine.spec.cells}
    with np.errstate(all="ignore"):
        statistics = complete_statistics(kind, cells) if fine.spec.tier else cell_statistics(kind, cells)  # type: ignore[arg-type]
        merge = WindowMerge(there, len(windows), ratio)
        covered = statistics[COVERAGE] if fine.spec.tier else None
        result = {name: merge(name, statistics[name], covered) for name in names}
        empty = np.zeros((len(buckets), n_series), np.int64)
        empty[there] = statistics[COVERAGE] == 0
    return result, empty.reshape(len(windows), ratio, n_series).sum(axis=1)


def differing(kind: str, kept: dict[str, Any], expected: dict[str, Any], empty: Any) -> Any:
    """Say of each value of each window whether it is not what the finer tier merges to: bool [windows, series].

    Where a repair left a hole in the finer tier, a counter's or a summary's window knows more, and is right.
    """
    wrong = kept[COVERAGE] != expected[COVERAGE]
    covered = expected[COVERAGE] > 0
    with np.errstate(all="ignore"):
        for name, values in expected.items():
            if name == COVERAGE:
                continue
            if name == SKETCH:
                wrong |= covered & (values != kept[name]).any(axis=-1) & kept[name].any(axis=-1)
                continue
            scale = np.maximum(np.abs(values), np.abs(kept[name]))
            if name == "sum" and {"min", "max"} <= expected.keys():
                count = np.fmax(expected.get("count", 0), expected[COVERAGE])
                scale = np.fmax(scale, count * np.fmax(np.abs(expected["min"]), np.abs(expected["max"])))
            near = (np.abs(values - kept[name]) <= 1e-9 * scale) | (values == kept[name])
            wrong |= covered & ~(near | np.isnan(kept[name]))  # NaN: not known, since a migration
    hole = (kind != "gauge") & (empty > 0) & (kept[COVERAGE] > expected[COVERAGE])
    return wrong & ~hole
