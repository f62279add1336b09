"""Export the stores below a directory: live ones as they go on, those of dead processes to their end.

All state is in the stores: cursors, and whether a store is still there. So an agent may be killed at any moment, and
the next one goes on. Each exporter has a lane, a thread of its own, which walks over the stores through one connection;
one that hangs, fails or is slow holds up no other.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from rondo_core import faults, layout
from rondo_core.clock import NS_PER_S, Clock, monotonic_ns, wall_ns
from rondo_core.config import Config
from rondo_core.errors import RondoError, StoreError, StoreLockedError, UsageError, one_line
from rondo_core.export.cursor import cursor_held
from rondo_core.export.fold import fold_dead
from rondo_core.export.labelled import Labelled
from rondo_core.export.opening import MISTAKES, open_exporter, runner_options
from rondo_core.export.runner import BACKOFF_FIRST_S, BACKOFF_LAST_S, PATIENCE_S, Runner
from rondo_core.hookspecs import Exporter
from rondo_core.lock import WriterLock, writer_pid
from rondo_core.runs import read_runs
from rondo_core.store_reader import StoreReader
from rondo_core.stores import find_stores

logger = logging.getLogger("rondo.agent")

# A store that an exporter cannot be brought to take is left alone that long, and twice as long each time.
SLEEP_FIRST_S, SLEEP_LAST_S = 60.0, 3600.0
DELETED = ".deleted.unfinished"
_LOOK_S = 0.2


@attrs.define
class Pass:
    """What one walk over the directory found and did."""

    stores: int = 0
    live: int = 0
    samples: int = 0
    complete: int = 0
    archived: int = 0
    deleted: int = 0
    failures: list[str] = attrs.field(factory=list)


@attrs.define
class Found:
    """A store as one walk found it: the number of its last run, and whether a process writes it."""

    path: Path
    run: int
    live: bool


class Lane:
    """One exporter's way through the stores."""

    def __init__(self, name: str, table: Mapping[str, Any], directory: Path, agent: Mapping[str, Any]) -> None:
        """Open the exporter; one that fails is opened again in the next walk.

        Raises: UsageError: an option is wrong; PluginNotFoundError: it is not installed.
        """
        options, rest = runner_options(name, dict(table))
        self.name, self._directory, self._agent = name, directory, agent
        self._plugin, self._table = options.pop("plugin"), rest
        self._exporter: Exporter | None = None
        try:
            self._exporter = open_exporter(name, self._plugin, rest)
        except MISTAKES:
            raise
        except RondoError:
            pass  # the walk tries again, and says why it cannot
        self._options = {key: value for key, value in options.items() if key not in {"interval_s", "deadline_s"}}
        self.complete: dict[Path, int] = {}
        self.samples, self.failures = 0, list[str]()
        self._asleep: dict[Path, tuple[int, float]] = {}
        self._not_before_ns, self._backoff_s = 0, BACKOFF_FIRST_S
        self._thread: threading.Thread | None = None
        self._deadline_s = float(agent.get("deadline", 60.0))
        self._runner: Runner | None = None

    @property
    def busy(self) -> bool:
        """Whether the last walk is still under way."""
        return self._thread is not None and self._thread.is_alive()

    def walk(self, stores: list[Found], stop: threading.Event, clock: Clock) -> None:
        """Walk over the stores, in a thread of its own."""
        self.samples, self.failures = 0, []
        self._thread = threading.Thread(
            target=self._walk, args=(stores, stop, clock), name=f"rondo-agent-{self.name}", daemon=True
        )
        self._thread.start()

    def join(self, until_s: float, stop: threading.Event) -> None:
        """Wait for the end of the walk, until an instant (monotonic s), or as long as its exporter does not hang."""
        while self.busy and not stop.is_set():
            now_s = monotonic_ns() / NS_PER_S
            if now_s > until_s:
                return
            runner = self._runner
            if runner is not None and runner.hangs(self._deadline_s):
                self.failures.append(f"{self.name}: hangs; this exporter is left to itself")
                return
            if self._thread is not None:
                self._thread.join(min(_LOOK_S, max(until_s - now_s, 0.0)))

    def _walk(self, stores: list[Found], stop: threading.Event, clock: Clock) -> None:
        if self._exporter is None:
            try:
                self._exporter = open_exporter(self.name, self._plugin, self._table)
            except RondoError as error:
                self.failures.append(f"{self.name}: {one_line(error)}")
                return
        for store in stores:
            if stop.is_set() or monotonic_ns() < self._not_before_ns:
                return
            tries, until_s = self._asleep.get(store.path, (0, 0.0))
            if self.complete.get(store.path) == store.run or monotonic_ns() / NS_PER_S < until_s:
                continue
            try:
                self._export(store, self._exporter, clock)
                self._asleep.pop(store.path, None)
            except Exception as error:  # noqa: BLE001 - one store, or one plugin, never stops the others
                wait_s = min(SLEEP_LAST_S, SLEEP_FIRST_S * 2**tries)
                self._asleep[store.path] = tries + 1, monotonic_ns() / NS_PER_S + wait_s
                self.failures.append(f"{store.path}: {self.name}: {one_line(error)}")

    def _export(self, store: Found, exporter: Exporter, clock: Clock) -> None:
        if cursor_held(store.path, self.name):  # the process exports itself
            return
        label = str(self._agent.get("instance_label", ""))
        value = str(store.path.relative_to(self._directory)).removesuffix(".rondo")
        with StoreReader(store.path) as reader:
            options = {"backfill": not store.live, **self._options}
            shared = Labelled(exporter, {label: value} if label else {})
            runner = self._runner = Runner(reader, shared, self.name, clock=clock, **options)
            try:
                ended_run = 0 if store.live else store.run
                outcome = runner.send_now(ended_run, self._deadline_s, retry=False)
            finally:
                self._runner = None
                runner.release()
        self.samples += outcome.samples
        if outcome.stopped:
            raise StoreError(outcome.error)
        if runner.complete:
            self.complete[store.path] = store.run
        if outcome.retry_s:  # the receiver's trouble, not this store's
            self.failures.append(f"{self.name}: {outcome.error}")
            wait_s = max(self._backoff_s, outcome.retry_s)
            self._not_before_ns = monotonic_ns() + round(wait_s * NS_PER_S)
            self._backoff_s = min(BACKOFF_LAST_S, self._backoff_s * 2)
        elif outcome.samples:
            self._backoff_s = BACKOFF_FIRST_S

    def close(self) -> None:
        """Let go of the exporter, which is not waited for longer than for a request."""
        if self._exporter is not None:
            closing = threading.Thread(target=self._close, args=(self._exporter,), daemon=True)
            closing.start()
            closing.join(PATIENCE_S)

    @staticmethod
    def _close(exporter: Exporter) -> None:
        with contextlib.suppress(Exception):
            exporter.close()


class Agent:
    """Walks over a directory again and again."""

    def __init__(self, directory: str | Path, config: Config, *, clock: Clock = wall_ns) -> None:
        """Open every exporter of the config; one that is broken is opened again in each walk, and holds up no other.

        Raises: UsageError: there is none, or one cannot follow its table, or the archive is missing or on another file
        system; PluginNotFoundError: an exporter is not installed; StoreError: no such directory.
        """
        self.directory, self._clock, self._settings = Path(directory), clock, config.agent
        if not self.directory.is_dir():
            raise StoreError(f"{self.directory}: no such directory; check the path")
        if not config.exporters:
            raise UsageError("the config has no exporter; write an [exporters.NAME] table")
        self._after = str(config.agent.get("after", "keep"))
        self._archive = Path(config.agent["archive"]) if config.agent.get("archive") else None
        if self._after == "archive":
            if self._archive is None:
                raise UsageError('agent.archive: missing; after = "archive" needs a directory')
            self._archive.mkdir(parents=True, exist_ok=True)
            if self._archive.stat().st_dev != self.directory.stat().st_dev:
                raise UsageError(f"agent.archive: {self._archive}: on another file system than {self.directory}")
        self._lanes: list[Lane] = []
        self._folded: dict[Path, int] = {}
        self._reported: set[str] = set()
        self.stop = threading.Event()
        try:
            for name, table in config.exporters.items():
                self._lanes.append(Lane(name, table, self.directory, config.agent))
        except BaseException:
            self.close()
            raise

    def run_once(self, wait_s: float | None = None) -> Pass:
        """Walk over the directory once: fold, export, and see to the stores that are exported whole.

        Args: `wait_s`: how long to wait for lanes that are still at it; they go on meanwhile. None: to the end, but for
        a lane whose exporter hangs.
        """
        result, found = Pass(), []
        for path in self._stores():
            try:
                store = self._look(path)
            except RondoError as error:
                result.failures.append(one_line(error))
                continue
            found.append(store)
            result.stores += 1
            result.live += store.live
        idle = [lane for lane in self._lanes if not lane.busy]
        for lane in idle:
            lane.walk(found, self.stop, self._clock)
        until_s = float("inf") if wait_s is None else monotonic_ns() / NS_PER_S + wait_s
        for lane in idle:
            lane.join(until_s, self.stop)
        for lane in idle:
            result.samples += lane.samples
            result.failures += lane.failures
        for store in found:
            if not store.live and all(lane.complete.get(store.path) == store.run for lane in self._lanes):
                result.complete += 1
                self._finish(store, result)
        self._forget({store.path for store in found})
        for line in result.failures:
            if line not in self._reported and len(self._reported) < 10_000:
                self._reported.add(line)
                logger.warning("%s", line)
        return result

    def run(self) -> None:
        """Walk over the directory at every interval, until `stop` is set."""
        interval_s = float(self._settings.get("interval", 30.0))
        while not self.stop.is_set():
            self.run_once(interval_s)
            self.stop.wait(interval_s)

    def close(self) -> None:
        """Let go of the exporters."""
        self.stop.set()
        for lane in self._lanes:
            lane.close()

    # -- stores

    def _stores(self) -> list[Path]:
        for left in self.directory.rglob(f"*{DELETED}"):  # what was to be deleted when an agent was killed
            shutil.rmtree(left, ignore_errors=True)
        archive = None if self._archive is None else self._archive.resolve()
        return [
            path for path in find_stores(self.directory) if archive is None or archive not in path.resolve().parents
        ]

    def _look(self, path: Path) -> Found:
        runs = read_runs(path / layout.RUNS_FILE)
        run = runs[-1].number if runs else 0
        live = writer_pid(path / layout.LOCK_FILE) is not None
        if not live and run and not runs[-1].ended and self._folded.get(path) != run:
            fold_dead(path)
            self._folded[path] = run
            faults.point("agent.folded")
        return Found(path, run, live)

    def _finish(self, store: Found, result: Pass) -> None:
        """Archive or delete a store that every exporter has acknowledged whole, while no one can write it."""
        if self._after == "keep":
            return
        try:
            lock = WriterLock(store.path / layout.LOCK_FILE)
        except StoreLockedError:
            return  # it was opened again
        try:
            runs = read_runs(store.path / layout.RUNS_FILE)
            if (runs[-1].number if runs else 0) != store.run:
                return
            faults.point("agent.finish")
            if self._after == "archive" and self._archive is not None:
                store.path.rename(_free(self._archive, store.path.relative_to(self.directory)))
                result.archived += 1
            else:
                going = store.path.with_name(f"{store.path.name}{DELETED}")
                store.path.rename(going)
                faults.point("agent.deleting")
                shutil.rmtree(going)
                result.deleted += 1
            faults.point("agent.finished")
        except OSError as error:
            result.failures.append(f"{store.path}: {self._after}: {one_line(error)}")
        finally:
            lock.release()

    def _forget(self, there: set[Path]) -> None:
        """Keep no memory of stores that are gone."""
        for known in (self._folded, *(lane.complete for lane in self._lanes)):
            for path in [path for path in known if path not in there]:
                del known[path]


def _free(archive: Path, relative: Path) -> Path:
    """Name a place in the archive that nothing has yet."""
    wanted = archive / "-".join(relative.parts)
    number, place = 1, wanted
    while place.exists():
        number += 1
        place = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    return place
