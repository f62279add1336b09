"""Processes that have ended: what they had counted is added up in one store of the directory, and theirs is removed.

What is to be added is written down first, as where each total is to stand afterwards: whoever is killed in between is
followed by one who reads that and does the rest, so that nothing counts twice or is lost.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from rondo_bridges.failures import Failures
from rondo_bridges.prometheus_multiprocess.directory import (
    ENDED,
    alone,
    directory_of,
    stores_of,
)
from rondo_bridges.prometheus_multiprocess.samples import SET_AT, SLOT, Identity, Reading, labels_of, readings_of
from rondo_core import RondoError, Schema, Series, Store, Tier
from rondo_core.clock import wall_ns
from rondo_core.errors import CapacityError
from rondo_core.model import RUNS_FILE, Labels, canonical_labels
from rondo_core.storage import is_abandoned, last_values, read_runs

KEPT = 8  # of the ended, whose gauges of mode `all` are still shown, each by its pid
INTENT = "prometheus-ended.json"  # what is being added up
FOLDED = "rondo_bridges_ended_processes_total"
PID = "rondo_bridges_ended_pid"
_TIERS = (Tier("1s", "10s"),)
# Room for all the samples that processes ever had, each once.
SCHEMAS = (Schema("totals", "counter", 2048, _TIERS), Schema("levels", "gauge", 512, _TIERS))
_REMOVED = ".removed.unfinished"
failures = Failures("prometheus_multiprocess")


class EndedProcess(NamedTuple):
    """A process that has ended: its store's name, its pid, and what was in the store."""

    name: str
    pid: int
    values: list[tuple[Series, float, int]]


class EndedTotals:
    """What the store of the ended holds.

    Attributes: `totals`: each total, its parts apart; `together`: totals and the gauges of all of the ended; `slots`:
    of the newest of them the gauges of mode `all`, by slot; `pids`: whose these are; `n_folded`: how many ended.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self.totals: dict[tuple[str, Labels], float] = {}
        self.together: dict[Identity, Reading] = {}
        self.slots: dict[int, dict[Identity, Reading]] = {}
        self.pids: dict[int, int] = {}
        self.n_folded = 0


def mark_process_dead(pid: int, path: str | Path | None = None) -> None:  # noqa: ARG001 - who ended is seen
    """Add up what ended processes have left; for `child_exit` of gunicorn, as prometheus_client's function is.

    Raises: StoreError: the directory cannot be used.
    """
    directory = directory_of(path)
    with alone(directory):
        fold_ended(directory)


def fold_ended(directory: Path) -> None:
    """Add up and remove the stores of processes that have ended; called `alone` in the directory.

    One that cannot be read stays where it is, and is counted and said.
    """
    _finish(directory)
    _sweep(directory)
    found = []
    for path, lives in stores_of(directory):
        if not lives:
            try:
                runs = read_runs(path / RUNS_FILE)
                found.append(EndedProcess(path.name, runs[-1].pid if runs else 0, last_values(path)))
            except RondoError as error:
                failures.take(error, f"{path.name} stays where it is")
    if found:
        _write_intent(directory, found)
        _finish(directory)


def _sweep(directory: Path) -> None:
    """Remove what the killed have left half made or half removed."""
    for path in directory.glob(".*.unfinished"):
        if path.name.endswith(_REMOVED) or is_abandoned(path):
            shutil.rmtree(path, ignore_errors=True)


# -- what the ended had


def read_ended(directory: Path) -> EndedTotals:
    """Read the store of the ended."""
    kept = EndedTotals()
    path = directory / ENDED
    if not path.exists():
        return kept
    values = last_values(path)
    # What is not in the newest row of gauges was taken away.
    newest_ns = max((time_ns for series, _, time_ns in values if series.kind == "gauge"), default=0)
    values = [each for each in values if each[0].kind == "counter" or each[2] == newest_ns]
    kept.totals = _totals(values)
    for series, value, _ in values:
        if series.name == PID:
            kept.pids[int(dict(series.labels)[SLOT])] = int(value)
        elif series.name == FOLDED:
            kept.n_folded = int(value)
    for identity, reading in readings_of((series, value) for series, value, _ in values).items():
        labels = dict(identity.labels)
        slot = labels.pop(SLOT, None)
        if slot is not None:
            kept.slots.setdefault(int(slot), {})[identity._replace(labels=tuple(labels.items()))] = reading
        else:
            kept.together[identity] = reading
    return kept


def merged(mode: str, one: Reading | None, other: Reading) -> Reading:
    """Put two processes' readings together: totals add up, gauges as their mode says, without `live` before it."""
    if one is None:
        return other
    if mode == "mostrecent":
        return other if other.set_at > one.set_at else one
    choose = {"min": min, "max": max}.get(mode)
    value = choose(one.value, other.value) if choose else one.value + other.value
    return Reading(value, help=other.help or one.help)


def _totals(values: Iterable[tuple[Series, float, int]]) -> dict[tuple[str, Labels], float]:
    """Give the totals of programs, each part by itself."""
    return {
        (series.name, series.labels): value
        for series, value, _ in values
        if series.kind == "counter" and not series.name.startswith("rondo_")
    }


# -- adding up


def _write_intent(directory: Path, found: Iterable[EndedProcess]) -> None:
    """Write down which stores are to go, and where everything is to stand then."""
    kept, helps = read_ended(directory), dict[str, str]()
    for ended in found:
        slot, kept.n_folded = kept.n_folded % KEPT, kept.n_folded + 1
        kept.pids[slot], kept.slots[slot] = ended.pid, {}
        for identity, reading in readings_of((series, value) for series, value, _ in ended.values).items():
            helps[identity.name] = reading.help
            if identity.mode == "all":
                kept.slots[slot][identity] = reading
            elif identity.mode and not identity.mode.startswith("live"):
                kept.together[identity] = merged(identity.mode, kept.together.get(identity), reading)
        for key, value in _totals(ended.values).items():
            kept.totals[key] = kept.totals.get(key, 0.0) + value
    totals = [(name, dict(labels), value) for (name, labels), value in kept.totals.items()]
    intent = {
        "stores": [each.name for each in found],
        "totals": [*totals, (FOLDED, {}, kept.n_folded)],
        "gauges": _gauges(kept),
        "helps": {name: text for name, text in helps.items() if text},
    }
    unfinished = directory / f".{INTENT}.new"
    unfinished.write_text(json.dumps(intent))
    unfinished.replace(directory / INTENT)


def _gauges(kept: EndedTotals) -> list[tuple[str, dict[str, str], float]]:
    """Give all gauges as the store of the ended has them: name, labels, value."""
    gauges: list[tuple[str, dict[str, str], float]] = [(PID, {SLOT: str(slot)}, pid) for slot, pid in kept.pids.items()]
    for identity, reading in kept.together.items():
        if identity.mode:
            gauges.append((identity.name, labels_of(identity), reading.value))
        if identity.mode == "mostrecent":
            gauges.append((identity.name, labels_of(identity, SET_AT), reading.set_at))
    for slot, readings in kept.slots.items():
        for identity, reading in readings.items():
            gauges.append((identity.name, {**labels_of(identity), SLOT: str(slot)}, reading.value))
    return gauges


def _finish(directory: Path) -> None:
    """Do what is written down, or the rest of it; twice is once."""
    try:
        intent = json.loads((directory / INTENT).read_bytes())
    except FileNotFoundError:
        return
    _set_ended(directory / ENDED, intent)
    for name in intent["stores"]:
        gone = directory / f".{name}{_REMOVED}"
        with contextlib.suppress(FileNotFoundError):
            (directory / name).rename(gone)  # at once, so that nobody finds half of it
        shutil.rmtree(gone, ignore_errors=True)
    (directory / INTENT).unlink()


def _set_ended(path: Path, intent: dict[str, Any]) -> None:
    """Let everything stand in the store of the ended where it is to stand."""
    before = last_values(path) if path.exists() else []
    now_ns = max(
        [wall_ns(), *(time_ns for _, _, time_ns in before)]
    )  # a clock that stepped back, or none, is no matter
    helps = intent["helps"]
    schemas = None if path.exists() else SCHEMAS
    # What has no room is to be an error, and not to be added to something else's total.
    with Store(path, schemas, clock=lambda: now_ns, writer="prometheus ended", strict=True) as store:
        for name, labels, value in intent["totals"]:
            try:
                counter = store.counter(name, labels, help=helps.get(name, ""))
                counter.inc(max(0.0, value - counter.value))
            except CapacityError as error:
                failures.take(error, "no room for what ended processes counted")
        levels = {(series.name, series.labels): math.nan for series, _, _ in before if series.kind == "gauge"}
        levels |= {(name, canonical_labels(labels)): value for name, labels, value in intent["gauges"]}
        for (name, known), value in levels.items():
            try:
                store.gauge(name, dict(known), help=helps.get(name, "")).set(value)
            except CapacityError as error:
                failures.take(error, "no room for what ended processes had set")
