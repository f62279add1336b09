"""Say in words what is wrong with a store: every file, every record, every row. Nothing is written, nothing locked."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from rondo_core.clock import wall_ns
from rondo_core.errors import StoreError
from rondo_core.export.cursor import MAX_BYTES, VERSION
from rondo_core.maintain.check_rows import (
    CheckedRows,
    SlabFile,
    check_headers,
    check_values,
    differing,
    merged,
    when,
    windows_to_compare,
)
from rondo_core.maintain.recover import Finding, Recovered, listed, plain, recover
from rondo_core.model import layout, sketch_bytes
from rondo_core.model.schema import Schema
from rondo_core.model.statistics import SKETCH
from rondo_core.storage import fault_dump
from rondo_core.storage.directory import LOCK_BYTES
from rondo_core.storage.ended import ENDED_FILE, read_ended
from rondo_core.storage.events import decode_event, read_ring
from rondo_core.storage.files import UNFINISHED, Folder, open_file, read_bytes
from rondo_core.storage.lock import writer_pid
from rondo_core.storage.runs import decode_run, read_runs, run_records

YEAR_NS = 366 * 86_400 * 10**9
_MOST = 20
_LOOKS = 3


def check_store(path: str | Path, now_ns: int | None = None) -> list[Finding]:
    """Check the store at `path`, which a process may be writing.

    While one does, only what stays wrong for three looks is given: the rest is the writer at work.
    Args: `now_ns`: rows from more than a year after it, and after the store's runs, are damage; by default the present.
    Returns: what was found, damage first; nothing where the store is sound.
    Raises: StoreNotFoundError, StoreError, FormatVersionError; CorruptStoreError: nothing says what the store is.
    """
    root = Path(path)
    until_ns = newest_ns(root, now_ns) + YEAR_NS
    live = writer_pid(root / layout.LOCK_FILE) is not None
    found = _look(root, until_ns)
    for _ in range(_LOOKS - 1):
        if not found or not (live or writer_pid(root / layout.LOCK_FILE) is not None):
            break
        again = set(_look(root, until_ns))
        found = [finding for finding in found if finding in again]
    return sorted(found, key=lambda finding: finding.severity != "damage")


def newest_ns(root: Path, now_ns: int | None) -> int:
    """Give the present; where this machine's clock is behind the store's runs, the newest instant of these."""
    known = [wall_ns() if now_ns is None else now_ns]
    with contextlib.suppress(StoreError):
        for run in read_runs(root / layout.RUNS_FILE):
            known += run.opened_ns, run.ended_ns
    return max(known)


def _look(root: Path, until_ns: int) -> list[Finding]:
    recovered = recover(root)
    findings = list(recovered.findings)
    findings += check_runs(root / layout.RUNS_FILE)
    findings += check_events(root / layout.EVENTS_FILE)
    findings += _check_lock(root / layout.LOCK_FILE)
    for schema in recovered.meta.schemas:
        findings += _check_schema(root, schema, recovered, until_ns)
    findings += _check_ended(root)
    for file in sorted(root.iterdir()):
        if file.name.startswith("cursor_") and file.suffix == ".json":
            findings += check_cursor(file, recovered, until_ns)[1]
        elif file.name.startswith("cursor_") and file.suffix == ".lock":
            findings += _check_cursor_lock(file)
        elif file.name not in _names(recovered.meta.schemas) and not file.name.startswith(layout.LIFE_PREFIX):
            findings.append(_stranger(file))
    return findings


def _names(schemas: Sequence[Schema]) -> set[str]:
    slabs = {schema.slab_name(tier) for schema in schemas for tier in range(len(schema.tiers))}
    others = {layout.META_FILE, layout.REGISTRY_FILE, layout.RUNS_FILE, layout.EVENTS_FILE, layout.LOCK_FILE}
    return slabs | others | {fault_dump.FILE, fault_dump.PREVIOUS, ENDED_FILE}


def _check_ended(root: Path) -> list[Finding]:
    """Look whether a store of the ended says which stores were folded into it."""
    try:
        with Folder(root) as held:
            read_ended(held)
    except StoreError as error:
        return [Finding(ENDED_FILE, "", str(error).partition(": ")[2])]
    return []


def _stranger(file: Path) -> Finding:
    mode = file.lstat().st_mode if os.path.lexists(file) else 0
    if stat.S_ISLNK(mode):
        return Finding(file.name, "", "a symbolic link, which a store never holds")
    if file.name.endswith(UNFINISHED):
        return Finding(file.name, "", "left by an exporter that ended while it saved its cursor; remove it", "note")
    return Finding(file.name, "", "not a file of this store; it is left alone", "note")


def check_runs(file: Path) -> list[Finding]:
    """Check the record of runs."""
    try:
        records = run_records(file)
    except StoreError as error:
        return [Finding(file.name, "", plain(error, file))]
    wrong = [s for s, record in enumerate(records) if any(record) and decode_run(record, s, len(records)) is None]
    return [Finding(file.name, f"record {slot}", "damaged: it does not check, or belongs elsewhere") for slot in wrong]


def check_events(file: Path) -> list[Finding]:
    """Check the marks and notes; a store of an older rondo has no such file."""
    try:
        ring = read_ring(file)
    except StoreError as error:
        return [Finding(file.name, "", plain(error, file))]
    wrong = [place for place, payload in ring.records if decode_event(payload) is None]
    findings = [Finding(file.name, f"place {place}", "whole, but no mark and no note") for place in wrong]
    if ring.damaged_bytes:
        findings.append(Finding(file.name, "", f"{ring.damaged_bytes} bytes between marks and notes do not check"))
    return findings


def _check_lock(file: Path) -> list[Finding]:
    try:
        descriptor = open_file(file)
    except FileNotFoundError:
        return [Finding(file.name, "", "missing; the next writer makes it", "note")]
    except StoreError as error:
        return [Finding(file.name, "", plain(error, file))]
    try:
        size, text = os.fstat(descriptor).st_size, os.pread(descriptor, LOCK_BYTES, 0)
    finally:
        os.close(descriptor)
    if size != LOCK_BYTES:
        return [Finding(file.name, "", f"{size} bytes, of {LOCK_BYTES}; the next writer needs no more", "note")]
    if text.strip(b"\0 \n") and not text.strip(b"\0 \n").isdigit():
        return [Finding(file.name, "", "its text is no pid; the next writer mends it", "note")]
    return []


def _check_cursor_lock(file: Path) -> list[Finding]:
    """Check what keeps two processes from moving one cursor: an empty file, which stays when they have gone."""
    try:
        os.close(open_file(file))
    except StoreError as error:
        return [Finding(file.name, "", plain(error, file))]
    return []


def check_cursor(file: Path, recovered: Recovered, until_ns: int) -> tuple[bool, list[Finding]]:
    """Check an exporter's cursor; say whether it reads."""
    try:
        stored: Any = json.loads(read_bytes(file, MAX_BYTES))
        if stored["version"] != VERSION or f"cursor_{stored['exporter']}.json" != file.name:
            return False, [Finding(file.name, "", f"version {stored['version']} of exporter {stored['exporter']}")]
        positions = {str(key): int(value) for key, value in stored["positions"].items()}
        counts = int(stored["ended_run"]), int(stored["samples"])
    except StoreError as error:
        return False, [Finding(file.name, "", plain(error, file))]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what = f"does not read ({type(error).__name__}); the exporter starts from the oldest bucket"
        return False, [Finding(file.name, "", what)]
    intervals = {
        f"{schema.name}.{tier}": each.interval_ns
        for schema in recovered.meta.schemas
        for tier, each in enumerate(schema.tiers)
    }
    findings = [Finding(file.name, key, "the store has no such tier") for key in positions if key not in intervals]
    for key, position in positions.items():
        if key in intervals and not 0 <= position <= until_ns // intervals[key]:
            findings.append(Finding(file.name, key, f"position {position}, which no exporter can have reached"))
    if min(counts) < 0:
        findings.append(Finding(file.name, "", f"counts below zero: run {counts[0]}, {counts[1]} samples"))
    return not findings, findings


@attrs.define
class CheckedTier:
    """One tier of a schema as it was found: its slab, None where that cannot be read, and its rows."""

    name: str
    ratio: int
    slab: SlabFile | None = None
    rows: CheckedRows | None = None
    findings: list[Finding] = attrs.field(factory=list)


@contextlib.contextmanager
def open_tiers(root: Path, schema: Schema, n_series: int, until_ns: int) -> Iterator[list[CheckedTier]]:
    """Open and judge each tier's slab on its own; they are closed at the end."""
    tiers: list[CheckedTier] = []
    try:
        for index in range(len(schema.tiers)):
            tier = CheckedTier(schema.slab_name(index), schema.ratio(index) if index else 1)
            tiers.append(tier)
            _open_tier(root, schema, index, tier, n_series, until_ns)
        yield tiers
    finally:
        for tier in tiers:
            if tier.slab is not None:
                tier.slab.close()


def _open_tier(root: Path, schema: Schema, index: int, tier: CheckedTier, n_series: int, until_ns: int) -> None:
    spec = schema.slab_spec(index)
    try:
        tier.slab = slab = SlabFile(root / tier.name, spec)
    except StoreError as error:
        tier.findings.append(Finding(tier.name, "", plain(error, root / tier.name)))
        return
    if slab.size != spec.file_bytes:
        tier.findings.append(Finding(tier.name, f"byte {slab.size}", f"{slab.size} bytes, of {spec.file_bytes}"))
    if not layout.round_trips(spec, slab.page):
        tier.findings.append(Finding(tier.name, "header", "not the one that the store's schema makes"))
    tier.rows = check_headers(slab, until_ns)
    buckets_per_row = spec.interval_ns // schema.tiers[0].interval_ns
    check_values(slab, tier.rows, schema.kind, n_series, buckets_per_row)
    found = [Finding(tier.name, where, what) for where, what in tier.rows.found]
    tier.findings += found[:_MOST]
    if len(found) > _MOST:
        tier.findings.append(Finding(tier.name, "", f"and {len(found) - _MOST} more of these"))
    if tier.rows.beyond:
        what = f"columns {listed(sorted(tier.rows.beyond))} hold values, but no series is known for them"
        tier.findings.append(Finding(tier.name, "", what))


def _check_schema(root: Path, schema: Schema, recovered: Recovered, until_ns: int) -> list[Finding]:
    n_series = max(recovered.series[schema.name], default=-1) + 1
    with open_tiers(root, schema, n_series, until_ns) as tiers:
        findings = [finding for tier in tiers for finding in tier.findings]
        for index in range(1, len(tiers)):
            fine, coarse = tiers[index - 1], tiers[index]
            if coarse.slab is None:
                continue
            window, limit = coarse.slab.next_window, last_window(tiers, index)
            if not 0 <= window <= limit:
                what = f"the next window to fold is {window}; it can be 0 to {limit}"
                findings.append(Finding(coarse.name, f"byte {layout.SLAB_NEXT_WINDOW}", what))
                window = min(max(window, 0), limit)
            if fine.slab is not None:
                wrong = [found[:2] for found in unmerged(fine, coarse, schema, n_series, window)]
                if coarse.slab.next_window >= window:  # else a late sample has just come in: to be folded again
                    findings += _findings_of_windows(coarse, wrong)
    return findings


def _findings_of_windows(coarse: CheckedTier, wrong: list[tuple[int, list[int]]]) -> list[Finding]:
    assert coarse.slab is not None  # noqa: S101 - for the type checker; the caller has opened it
    findings = []
    for window, columns in wrong[:_MOST]:
        what = f"columns {listed(columns)} are not what the finer tier's rows merge to"
        findings.append(Finding(coarse.name, when(coarse.slab.spec, window), what))
    if len(wrong) > _MOST:
        findings.append(Finding(coarse.name, "", f"and {len(wrong) - _MOST} more of these windows"))
    return findings


def last_window(tiers: Sequence[CheckedTier], index: int) -> int:
    """Give the highest window that any row of the schema can have made the next one to fold into a tier."""
    ends = [0]
    for tier in tiers:
        if tier.slab is not None and tier.rows is not None:
            newest = int(max(tier.rows.buckets.max(initial=0), tier.rows.marks.max(initial=0)))
            ends.append((newest + 1) * tier.slab.spec.interval_ns if newest else 0)
    coarse = tiers[index].slab
    return -(-max(ends) // coarse.spec.interval_ns) if coarse is not None else 0


def unmerged(
    fine: CheckedTier, coarse: CheckedTier, schema: Schema, n_series: int, until: int
) -> Iterator[tuple[int, list[int], dict[str, Any]]]:
    """Give each closed window that is not what the finer tier merges to: columns, and what it should be."""
    if fine.slab is None or fine.rows is None or coarse.slab is None or coarse.rows is None or not n_series:
        return
    windows = windows_to_compare(fine.slab, fine.rows, coarse.rows, coarse.ratio, until)
    names = [cell.name for cell in coarse.slab.spec.cells]
    step = max(1, (4 << 20) // (fine.slab.spec.row_bytes * coarse.ratio))
    for first in range(0, len(windows), step):
        part = windows[first : first + step]
        expected, empty = merged(fine.slab, fine.rows, part, coarse.ratio, schema.kind, names, n_series)
        slots = part % len(coarse.rows.buckets)
        raw = coarse.slab.rows(slots)
        kept = {name: np.array(coarse.slab.block(raw, name, n_series)) for name in names}
        if SKETCH in kept:
            expected[SKETCH] = sketch_bytes.written(expected[SKETCH], kept[SKETCH])
        missing = coarse.rows.buckets[slots] != part
        for name in names:
            kept[name][missing] = 0
        wrong = differing(schema.kind, kept, expected, empty)
        for row in np.flatnonzero(wrong.any(axis=1) | missing).tolist():
            columns = np.flatnonzero(wrong[row]).tolist()
            yield int(part[row]), columns, {name: values[row] for name, values in expected.items()}
