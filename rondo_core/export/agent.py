"""Export the stores below a directory: live ones as they go on, those of dead processes to their end.

All state is in the stores: cursors, and whether a store is still there. So an agent may be killed at any moment, and
the next one goes on. Each exporter has a thread of its own, which walks over the stores through one connection;
one that hangs, fails or is slow holds up no other, and neither does an entry that is none of what is looked for.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

import attrs

from rondo_core.clock import NS_PER_S, Clock, monotonic_ns, wall_ns
from rondo_core.errors import LabelError, StoreError, StoreNotFoundError, UsageError, one_line, printable
from rondo_core.export.agent_status import AgentStatus
from rondo_core.export.containers import in_containers
from rondo_core.export.exporter_thread import BACK_OFF_FIRST_S, ExporterThread, Folds, StoreEntry
from rondo_core.export.finish import Finish, delivery_report
from rondo_core.export.options import check_exporters
from rondo_core.export.store_state import Key, read_store_state
from rondo_core.model import layout
from rondo_core.model.labels import canonical_labels
from rondo_core.plugins.config_file import Config
from rondo_core.read.stores import scan_directory
from rondo_core.storage.ended import read_ended
from rondo_core.storage.files import Folder
from rondo_core.storage.write_check import check_directory

logger = logging.getLogger("rondo.agent")


@attrs.define
class Pass:
    """What one walk over the directory found and did.

    Attributes:
        stores, live: how many there were, and how many of them a process writes.
        samples, events: acknowledged in this walk, events being marks and notes.
        complete: stores that every exporter is through with.
        refused, doubtful: samples of these that no receiver has, or that may have none.
        archived, deleted: stores that were, for all of that.
        failures: what went wrong, a line each; notes: what else there is to be said, likewise.
        held: stores that were left to the process that exports them now, itself or another agent.
    """

    stores: int = 0
    live: int = 0
    samples: int = 0
    events: int = 0
    complete: int = 0
    refused: int = 0
    doubtful: int = 0
    archived: int = 0
    deleted: int = 0
    failures: list[str] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)
    held: list[str] = attrs.field(factory=list)


class Agent:
    """Walks over a directory again and again. Attributes: `status`, how it fares, for who asks from another thread."""

    def __init__(self, directory: str | Path, config: Config, *, clock: Clock = wall_ns) -> None:
        """Open every exporter of the config; one that is broken is opened again in each walk, and holds up no other.

        Raises: UsageError: there is none, or one cannot follow its table, or the directory is a store, or the archive
        is missing, on another file system or where it cannot be, or `containers` is no path; PluginNotFoundError: an
        exporter is not installed; StoreError: no such directory.
        """
        self.directory, self._clock = Path(directory), clock
        if not os.path.isdir(self.directory):  # noqa: PTH112 - it raises nothing
            raise StoreError(f"{self.directory}: no such directory; check the path")
        if os.path.lexists(self.directory / layout.META_FILE) and not (self.directory / layout.META_FILE).is_dir():
            what = "give the agent the directory that it lies in, or send it with rondo export"
            raise UsageError(f"{self.directory}: a store, and not a directory of stores; {what}")
        if not config.exporters:
            raise UsageError("the config has no exporter; write an [exporters.NAME] table")
        self._label = str(config.agent.get("instance_label", ""))
        try:
            canonical_labels({self._label: ""} if self._label else {})
        except LabelError as error:
            raise UsageError(f"agent.instance_label: {error}") from None
        check_exporters(config.exporters, {self._label} - {""})
        after = str(config.agent.get("after", "keep"))
        self._archive = Path(config.agent["archive"]) if config.agent.get("archive") else None
        if self._archive is not None:
            _check_archive(self._archive, self.directory, make=after != "keep")
        elif after == "archive":
            raise UsageError('agent.archive: missing; after = "archive" needs a directory')
        self._containers = Path(config.agent["containers"]) if config.agent.get("containers") else None
        if self._containers is not None and not _is_plain(self._containers):
            raise UsageError(f"agent.containers: {self._containers}: name it from / on, without ..")
        self._finish = Finish(after, self._archive, self.directory, config.exporters)
        self._threads: list[ExporterThread] = []
        self._folds = Folds()
        self._reported: set[str] = set()
        self._interval_s = float(config.agent.get("interval", 30.0))
        self.status = AgentStatus(self._threads, self._interval_s)
        self.stop, self._tiers = threading.Event(), set[int]()
        try:
            for name, table in config.exporters.items():
                self._threads.append(ExporterThread(name, table, config.agent, self._folds))
                self._tiers.add(self._threads[-1].tier)
            _check_after(after, self._threads)
        except BaseException:
            self.close()
            raise

    def run_once(self, wait_s: float | None = None, *, last: bool = False) -> Pass:
        """Walk over the directory once: fold, export, and see to the stores that are exported whole.

        Args: `wait_s`: how long to wait for threads still at it, which go on meanwhile. None: to the end, but for
        a thread whose exporter hangs; `last`: what fails is tried twice more, for there is no next walk.
        """
        result = Pass()
        self.status.begin_walk()
        found = self._scan(result)
        idle = [thread for thread in self._threads if not thread.busy]
        until_s = float("inf") if wait_s is None else monotonic_ns() / NS_PER_S + wait_s
        for thread in idle:
            thread.walk(found, self.stop, self._clock, until_s=until_s, last=last)
        for thread in idle:
            thread.join(until_s, self.stop)
        for thread in idle:
            result.samples += thread.samples
            result.events += thread.events
            result.failures += thread.failures
            result.notes += thread.notes
            result.held += thread.held
        for thread in self._threads:
            thread.n_pending = sum(store.state.ended and not thread.is_through(store) for store in found)
        for store in found:
            if not store.in_container and all(thread.is_through(store) for thread in self._threads):
                self._finish_store(store, result)
        result.archived, result.deleted = self._finish.archived, self._finish.deleted
        result.failures += self._finish.failures
        there = {store.key for store in found}
        self._folds.forget(there)
        for thread in self._threads:
            thread.forget(there)
        result.held = sorted({*result.held})
        result.failures, result.notes = list(dict.fromkeys(result.failures)), list(dict.fromkeys(result.notes))
        self.status.end_walk(result)
        return result

    def run(self) -> None:
        """Walk over the directory at every interval, until `stop` is set; what is new to be said is logged."""
        interval_s = self._interval_s
        while not self.stop.is_set():
            done = self.run_once(interval_s)
            said = {*done.failures, *done.notes}
            for line in (*done.failures, *done.notes):
                if line not in self._reported:
                    logger.warning("%s", line)
            self._reported = said
            soonest_s = min(thread.next_try_s() for thread in self._threads) - monotonic_ns() / NS_PER_S
            self.stop.wait(min(interval_s, max(soonest_s, BACK_OFF_FIRST_S)))

    def close(self) -> None:
        """Release the exporters."""
        self.stop.set()
        for thread in self._threads:
            thread.close()

    # -- stores

    def _scan(self, result: Pass) -> list[StoreEntry]:
        """Scan the directory, and sort out what is no store to be exported."""
        self._finish.archived = self._finish.deleted = 0
        self._finish.failures = []
        try:
            left_out = None if self._archive is None else self._archive.stat()
        except OSError:
            left_out = None
        if not os.path.isdir(self.directory):  # noqa: PTH112 - it raises nothing
            result.failures.append(printable(f"{self.directory}: no such directory any more"))
        stores: dict[Key, StoreEntry] = {}
        try:
            for directory, prefix in self._places(result):
                below = scan_directory(directory, left_out)
                result.failures += below.errors
                result.notes += below.passed
                for path in below.unfinished if not prefix else ():
                    self._finish.left(path)
                entries = [self._read_entry(path, directory, prefix, result) for path in below.stores]
                for entry in filter(None, entries):  # a volume that several containers have is there once
                    stores.setdefault(entry.key, entry)
        except StoreError as error:
            result.failures.append(one_line(error))
            return []
        return self._told_apart(stores.values(), result)

    def _places(self, result: Pass) -> list[tuple[Path, str]]:
        """Give the directories to look through, each with what the labels of its stores begin with."""
        if self._containers is None:
            return [(self.directory, "")]
        inside, notes = in_containers(self._containers)
        result.notes += notes
        return [(self.directory, ""), *((each.path, f"{each.name}/") for each in inside)]

    def _told_apart(self, stores: Iterable[StoreEntry], result: Pass) -> list[StoreEntry]:
        """Leave out stores that would be sent under one label."""
        by_label: dict[str, list[StoreEntry]] = {}
        for store in stores:
            by_label.setdefault(store.label if self._label else str(store.path), []).append(store)
        for label, same in by_label.items():
            if len(same) > 1:
                names = " and ".join(printable(str(store.path)) for store in same)
                what = f'{self._label}="{printable(label)}" would be the label of both; rename one'
                result.failures.append(f"{names}: {what}")
        found = [same[0] for same in by_label.values() if len(same) == 1]
        # Oldest first: a receiver that takes no sample an hour behind its newest then takes a backlog whole.
        found.sort(key=lambda each: (each.state.since_ns, each.path))
        result.stores, result.live = len(found), sum(not (each.state.ended or each.state.unknown) for each in found)
        return found

    def _read_entry(self, path: Path, directory: Path, prefix: str, result: Pass) -> StoreEntry | None:
        held = None
        try:
            with Folder(path, follow=False) as held:
                if read_ended(held) is not None:
                    return None  # its parts were sent as they were
                state = read_store_state(held, self._tiers, events=any(each.takes_events for each in self._threads))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one entry never stops the others
            if held is not None and held.is_at(path):
                result.failures.append(one_line(error))
            elif isinstance(error, StoreNotFoundError) or held is not None:
                result.notes.append(printable(f"{path}: gone while it was looked at"))
            else:
                result.failures.append(one_line(error))
            return None
        if state.unknown:
            result.failures.append(state.unknown)
        return StoreEntry(path, state, prefix + layout.store_name(path, directory), in_container=bool(prefix))

    def _finish_store(self, store: StoreEntry, result: Pass) -> None:
        """Finish a store that is through all threads, and say what of it was not acknowledged."""
        kept = {thread.name: thread.unsaved(store) for thread in self._threads}
        unsaved = {name: cursor for name, cursor in kept.items() if cursor is not None}
        known = delivery_report(store.path, kept, store.state.run, unsaved)
        if known is None:
            return
        became = self._finish.store(store.path, store.state, known, unsaved)
        result.complete += 1
        if not known:
            result.refused += sum(known.refused.values())
            result.doubtful += sum(known.doubtful.values())
            result.notes.append(f"{printable(str(store.path))}: {became}, and not acknowledged whole: {known}")


def _check_after(after: str, threads: Iterable[ExporterThread]) -> None:
    """Raise where samples would be deleted that no exporter takes. Raises: UsageError."""
    if after == "delete" and not any(thread.takes_samples for thread in threads):
        what = "no exporter takes samples, which would be deleted unsent; add one that does, or keep the stores"
        raise UsageError(f"agent.after: delete: {what}")


def _is_plain(path: Path) -> bool:
    return path.is_absolute() and ".." not in path.parts


def _check_archive(archive: Path, directory: Path, *, make: bool) -> None:
    """Make the archive, if it is to be; refuse one that cannot be used, or from which stores would come back.

    Raises: UsageError: says what is wrong with it.
    """
    where, root = (Path(os.path.realpath(each)) for each in (archive, directory))  # which follows loops nowhere
    if where == root or where in root.parents:
        what = "the directory of the stores itself" if where == root else f"it holds {directory}"
        raise UsageError(f"agent.archive: {archive}: {what}; choose another, beside it or inside it")
    for each in (where, *where.parents):
        if os.path.isfile(each / layout.META_FILE):  # noqa: PTH113 - it raises nothing
            raise UsageError(f"agent.archive: {archive}: {each} is a store; choose another directory")
    if not make:
        return
    check_directory("agent.archive", archive)
    try:
        archive.mkdir(parents=True, exist_ok=True)
        other = archive.stat().st_dev != directory.stat().st_dev
    except OSError as error:
        what = f"{os.strerror(error.errno or 0)}; choose a directory that can be written"
        raise UsageError(f"agent.archive: {archive}: {what}") from None
    if other:
        raise UsageError(f"agent.archive: {archive}: on another file system than {directory}")
