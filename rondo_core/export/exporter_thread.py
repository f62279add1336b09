"""One exporter's way through the stores of an agent: a thread of its own, one connection, one store after the other."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from rondo_core import faults
from rondo_core.clock import NS_PER_S, Clock, monotonic_ns
from rondo_core.errors import RondoError, StoreError, StoreNotFoundError, one_line, printable
from rondo_core.export.cursor import Cursor, cursor_held, cursor_path, load_cursor
from rondo_core.export.delivery import RefusesAllError
from rondo_core.export.fold import fold_dead
from rondo_core.export.labelled import Labelled, takes_events, takes_samples
from rondo_core.export.ledger import Unsaved
from rondo_core.export.options import MISTAKES, open_exporter, runner_options
from rondo_core.export.outcome import Outcome
from rondo_core.export.runner import BACKOFF_FIRST_S, BACKOFF_LAST_S, PATIENCE_S, Runner
from rondo_core.export.sources import FOR_EVER
from rondo_core.export.store_state import EndedReader, Key, StoreState, read_store_state
from rondo_core.hookspecs import Exporter
from rondo_core.read.store_reader import StoreReader
from rondo_core.storage.files import Folder

# A store that an exporter cannot be brought to take is left alone that long, and twice as long each time: to rotate a
# token, or to start a receiver, takes a moment.
BACK_OFF_FIRST_S, BACK_OFF_LAST_S = 1.0, 3600.0
# When the last walk of an agent tries once more what failed in it.
LAST_WAITS_S = (0.5, 1.0)
_LOOK_S = 0.2


@attrs.frozen
class StoreEntry:
    """A store as one walk found it, and the label that tells its samples from others'.

    Attributes: `in_container`: it is a container's own: nothing is done with it but to send it.
    """

    path: Path
    state: StoreState
    label: str
    in_container: bool = False

    @property
    def key(self) -> Key:
        """Give which store it is."""
        return self.state.key


@attrs.frozen
class _Backoff:
    """A store that is left alone until an instant (monotonic s): how often in a row it failed, and how."""

    tries: int
    until_s: float
    line: str
    is_final: bool  # no try soon after would end otherwise


@attrs.define
class SentTotals:
    """What an exporter of an agent has done since the agent began; see `Outcome`."""

    samples: int = 0
    refused: int = 0
    doubtful: int = 0
    events: int = 0
    refused_events: int = 0
    doubtful_events: int = 0
    requests: int = 0
    failed: int = 0


@attrs.frozen
class _Idle:
    """A live store that was sent as far as could be, and what tells whether that is so yet.

    Attributes: `run`, `marks`: see `StoreState`; `until_ns`: when the next of its buckets is over; `cursor`, its file.
    """

    run: int
    marks: tuple[bytes, ...]
    until_ns: int
    cursor: tuple[int, ...]


class Folds:
    """Folds what a dead process left unfolded, once for all threads."""

    def __init__(self) -> None:
        """Know no store."""
        self._done: dict[Key, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def folded_state(self, held: Folder) -> StoreState:
        """Give the state of a store, folded if its process is gone; one that was opened again stays as it is.

        Threads look in turn: who folds has the store's lock, and is not to be taken for a process that writes it.
        Raises: as `fold_dead`, `read_store_state`.
        """
        with self._lock:
            state = read_store_state(held)
            if not state.ended or self._done.get(state.key) == state.end:
                return state
            fold_dead(held)
            self._done[state.key] = state.end
            faults.point("agent.folded")
            return read_store_state(held)

    def forget(self, there: set[Key]) -> None:
        """Keep no memory of stores that are gone."""
        with self._lock:
            self._done = {key: run for key, run in self._done.items() if key in there}


class ExporterThread:
    """One exporter's way through the stores.

    Attributes: `samples`, `events`, `failures`, `notes`: of the last walk; `totals`, of all; `n_pending`, how many
    ended stores of the last walk are not sent to their end. Stores are remembered by what they are, not where.
    """

    def __init__(self, name: str, table: Mapping[str, Any], agent: Mapping[str, Any], folds: Folds) -> None:
        """Open the exporter; one that fails is opened again in the next walk.

        Raises: UsageError: an option is wrong; PluginNotFoundError: it is not installed.
        """
        options, rest = runner_options(name, dict(table))
        self.name, self._folds = name, folds
        self._plugin, self._table = options.pop("plugin"), rest
        self._exporter: Exporter | None = None
        try:
            self._exporter = open_exporter(name, self._plugin, rest)
        except MISTAKES:
            raise
        except RondoError:
            pass  # the walk tries again, and says why it cannot
        self._options = {key: value for key, value in options.items() if key not in {"interval_s", "deadline_s"}}
        self._label = str(agent.get("instance_label", ""))
        self._deadline_s = float(agent.get("deadline", 60.0))
        self.samples, self.events = 0, 0
        self.failures, self.notes, self.held = list[str](), list[str](), list[str]()
        self.totals, self.n_pending = SentTotals(), 0
        self._complete: dict[Key, tuple[int, int]] = {}
        self._idle: dict[Key, _Idle] = {}
        self._unsaved: dict[Key, Unsaved] = {}
        self._backoffs: dict[Key, _Backoff] = {}
        self._not_before_ns, self._waits_for, self._backoff_s = 0, "", BACKOFF_FIRST_S
        self._last_tried: Key | None = None
        self._thread: threading.Thread | None = None
        self._runner: Runner | None = None
        self._next_work_ns, self._until_s = 0, float("inf")

    @property
    def busy(self) -> bool:
        """Whether the last walk is still under way."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def tier(self) -> int:
        """Which tier of the stores is sent."""
        return int(self._options.get("tier", 0))

    @property
    def takes_samples(self) -> bool:
        """Whether the exporter takes samples, as one that cannot be opened yet may."""
        return self._exporter is None or takes_samples(self._exporter)

    @property
    def takes_events(self) -> bool:
        """Whether the exporter takes marks and notes."""
        return self._exporter is not None and takes_events(self._exporter)

    def is_through(self, store: StoreEntry) -> bool:
        """Say whether this agent has seen a store sent to the end of its last run; its cursor has the last word."""
        return self._complete.get(store.key) == store.state.end

    def unsaved(self, store: StoreEntry) -> Cursor | None:
        """Give a store's cursor, where the disk did not take it."""
        unsaved = self._unsaved.get(store.key)
        return unsaved.cursor if unsaved is not None else None

    @property
    def hangs(self) -> bool:
        """Whether the exporter has been at one request for longer than it may."""
        runner = self._runner
        return runner is not None and runner.hangs(self._deadline_s)

    @property
    def n_waiting(self) -> int:
        """How many stores are left alone for a while, as they failed."""
        return len(self._backoffs)

    def forget(self, there: set[Key]) -> None:
        """Keep no memory of stores that are gone."""
        if not self.busy:
            self._complete = {key: run for key, run in self._complete.items() if key in there}
            self._idle = {key: idle for key, idle in self._idle.items() if key in there}
            self._unsaved = {key: unsaved for key, unsaved in self._unsaved.items() if key in there}
            self._backoffs = {key: backoff for key, backoff in self._backoffs.items() if key in there}

    def next_try_s(self) -> float:
        """Say when the first store that is left alone is to be tried again, monotonic s; infinity: none is."""
        return min((backoff.until_s for backoff in tuple(self._backoffs.values())), default=float("inf"))

    def walk(
        self,
        stores: list[StoreEntry],
        stop: threading.Event,
        clock: Clock,
        *,
        until_s: float = float("inf"),
        last: bool = False,
    ) -> None:
        """Walk over the stores, in a thread of its own.

        Args: `until_s`: when those that are written, whose rows are overwritten, are due (monotonic s): of those that
            have ended what is left waits for the next walk; `last`: no other walk tries again what fails in this.
        """
        self.samples, self.events, self.failures, self.notes, self.held = 0, 0, [], [], []
        self._until_s = until_s
        self._thread = threading.Thread(
            target=self._run, args=(stores, stop, clock, last), name=f"rondo-agent-{self.name}", daemon=True
        )
        self._thread.start()

    def join(self, until_s: float, stop: threading.Event) -> None:
        """Wait for the end of the walk, until an instant (monotonic s), or as long as its exporter does not hang."""
        while self.busy and not stop.is_set():
            now_s = monotonic_ns() / NS_PER_S
            if now_s > until_s:
                return
            if self.hangs:
                self.failures.append(f"{self.name}: hangs; this exporter is left to itself")
                return
            if self._thread is not None:
                self._thread.join(min(_LOOK_S, max(until_s - now_s, 0.0)))

    def _run(self, stores: list[StoreEntry], stop: threading.Event, clock: Clock, last: bool) -> None:
        exporter = self._opened()
        if exporter is None:
            return
        if monotonic_ns() < self._not_before_ns:
            self.failures.append(self._waits_for)
            return
        self._walk(stores, exporter, stop, clock)
        for wait_s in LAST_WAITS_S if last else ():
            backoff = {key for key, each in self._backoffs.items() if not each.is_final}
            failed = [store for store in stores if store.key in backoff]
            if not failed or stop.wait(wait_s):
                return
            for store in failed:
                self.failures = [line for line in self.failures if line != self._backoffs[store.key].line]
                outcome = self._try(store, exporter, clock)
                if outcome is not None and outcome.retry_s:
                    self.failures.append(f"{self.name}: {printable(outcome.error)}")

    def _walk(self, stores: list[StoreEntry], exporter: Exporter, stop: threading.Event, clock: Clock) -> None:
        # What the receiver does not take now may be one store's fault: the next one tells.
        waiting: tuple[StoreEntry, Outcome] | None = None
        n_ended = 0
        for store in self._in_turn(stores):
            if stop.is_set() or monotonic_ns() < self._not_before_ns:
                return
            if store.state.ended and n_ended and monotonic_ns() / NS_PER_S >= self._until_s:
                continue
            left_alone = self._backs_off(store) or self._is_done(store) or self._is_idle(store, clock())
            outcome = None if left_alone else self._try(store, exporter, clock)
            n_ended += store.state.ended and not left_alone
            if outcome is None:
                continue
            if outcome.retry_s:
                self._last_tried = store.key
                self.failures.append(f"{self.name}: {printable(outcome.error)}")
                if waiting is not None:
                    break
                waiting = store, outcome
            elif outcome.n_sent:
                self._backoff_s = BACKOFF_FIRST_S
                if waiting is not None:
                    self._back_off(waiting[0], waiting[1].error, waiting[1].retry_s)
                    waiting = None
        if waiting is not None:
            self._wait(waiting[1])

    def _opened(self) -> Exporter | None:
        if self._exporter is None:
            try:
                self._exporter = open_exporter(self.name, self._plugin, self._table)
            except RondoError as error:
                self.failures.append(f"{self.name}: {one_line(error)}")
        return self._exporter

    def _in_turn(self, stores: list[StoreEntry]) -> list[StoreEntry]:
        """Give those that have ended before those that are written, whose samples are newer.

        Among each it begins behind the store that was tried last when the receiver took nothing: none holds up those
        after it.
        """
        keys = [store.key for store in stores]
        first = keys.index(self._last_tried) + 1 if self._last_tried in keys else 0
        return sorted(stores[first:] + stores[:first], key=lambda store: not store.state.ended)

    def _is_done(self, store: StoreEntry) -> bool:
        """Say whether a store needs nothing more; one that was put back as it once was has another cursor."""
        return self.is_through(store) and load_cursor(store.path, self.name).ended_run >= store.state.run

    def _is_idle(self, store: StoreEntry, now_ns: int) -> bool:
        """Say whether a live store has nothing to be sent, as it had when it was sent last."""
        idle, state = self._idle.get(store.key), store.state
        if idle is None or (idle.run, idle.marks) != (state.run, state.marks) or state.ended or state.unknown:
            return False
        return now_ns < idle.until_ns and self._cursor_mark(store) == idle.cursor

    def _cursor_mark(self, store: StoreEntry) -> tuple[int, ...]:
        """Give what tells the cursor's file from another, as who puts it back, or moves it, leaves one."""
        try:
            found = Path(cursor_path(store.path, self.name)).stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _backs_off(self, store: StoreEntry) -> bool:
        backoff = self._backoffs.get(store.key)
        if backoff is None or monotonic_ns() / NS_PER_S >= backoff.until_s:
            return False
        self.failures.append(backoff.line)
        return True

    def _back_off(self, store: StoreEntry, why: str, at_least_s: float = 0.0, *, is_final: bool = False) -> str:
        tries = self._backoffs[store.key].tries if store.key in self._backoffs else 0
        wait_s = max(at_least_s, min(BACK_OFF_LAST_S, BACK_OFF_FIRST_S * 2**tries))
        line = f"{printable(str(store.path))}: {self.name}: {printable(why)}"
        self._backoffs[store.key] = _Backoff(min(tries + 1, 32), monotonic_ns() / NS_PER_S + wait_s, line, is_final)
        return line

    def _wait(self, outcome: Outcome) -> None:
        """Leave the receiver alone for a while."""
        wait_s = max(self._backoff_s, outcome.retry_s)
        self._not_before_ns = monotonic_ns() + round(wait_s * NS_PER_S)
        self._waits_for = f"{self.name}: {printable(outcome.error)}"
        self._backoff_s = min(BACKOFF_LAST_S, self._backoff_s * 2)

    def _try(self, store: StoreEntry, exporter: Exporter, clock: Clock) -> Outcome | None:
        """Export a store; None where there is nothing to be done about it, or it failed."""
        try:
            with Folder(store.path, follow=False) as held:
                outcome = self._export(store, held, exporter, clock)
        except Exception as error:  # noqa: BLE001 - one store, or one plugin, never stops the others
            if _is_there(store):
                is_final = isinstance(error, RefusesAllError)
                self.failures.append(self._back_off(store, one_line(error), is_final=is_final))
            else:
                self.notes.append(printable(f"{store.path}: gone before {self.name} had sent it"))
            return None
        self._backoffs.pop(store.key, None)
        return outcome

    def _export(self, store: StoreEntry, held: Folder, exporter: Exporter, clock: Clock) -> Outcome | None:
        state = self._folds.folded_state(held)
        if state.key != store.key:
            return None  # another store by now
        if cursor_held(held, self.name):
            self.held.append(str(store.path))
            return None
        shared = Labelled(exporter, {self._label: store.label} if self._label else {})
        if state.ended:
            with EndedReader(held, state.run) as ended:
                outcome = self._send(store.path, ended, shared, state, clock)
            if not ended.reopened:
                return outcome
        with StoreReader(held) as reader:
            outcome = self._send(store.path, reader, shared, attrs.evolve(state, ended=False), clock)
        if outcome is not None and store.state.marks and store.state.run == state.run:
            # What the look before this one saw: a row that was entered since is looked for once more.
            # Where the time is another machine's, only its rows say that it has passed.
            until_ns = FOR_EVER if state.elsewhere and self._next_work_ns else self._next_work_ns
            self._idle[store.key] = _Idle(state.run, store.state.marks, until_ns, self._cursor_mark(store))
        return outcome

    def _send(
        self, path: Path, reader: StoreReader, exporter: Labelled, state: StoreState, clock: Clock
    ) -> Outcome | None:
        """Send a store, to its end or as far as its buckets are closed; None where another process does meanwhile."""
        options = {"backfill": state.ended, **self._options}
        if state.elsewhere and not state.ended:
            clock = reader.newest_ns  # the store's own time: this machine's may be before it or behind
        try:
            unsaved = self._unsaved.get(state.key)
            runner = self._runner = Runner(reader, exporter, self.name, clock=clock, unsaved=unsaved, **options)
        except StoreError:
            if cursor_held(reader.folder, self.name):
                self.held.append(str(path))
                return None
            raise
        try:
            outcome = runner.send_now(state.run if state.ended else 0, self._deadline_s, retry=False)
            self._next_work_ns = runner.next_work_ns()
        finally:
            self._runner = None
            runner.release()
            if runner.unsaved is not None:
                self._unsaved[state.key] = runner.unsaved
            else:
                self._unsaved.pop(state.key, None)
        self._add_up(outcome)
        if isinstance(reader, EndedReader) and reader.reopened:
            return None
        if outcome.stopped:
            raise RefusesAllError(outcome.error) if runner.refuses_all else StoreError(outcome.error)
        if state.ended and (runner.complete or (not state.run and _was_never_recorded_in(reader))):
            self._complete[state.key] = state.end
        return outcome

    def _add_up(self, outcome: Outcome) -> None:
        self.samples, self.events = self.samples + outcome.samples, self.events + outcome.events
        totals = self.totals
        totals.samples += outcome.samples
        totals.refused += outcome.refused_samples
        totals.doubtful += outcome.doubtful_samples
        totals.events += outcome.events
        totals.refused_events += outcome.refused_events
        totals.doubtful_events += outcome.doubtful_events
        totals.requests += outcome.requests
        totals.failed += outcome.failures

    def close(self) -> None:
        """Release the exporter, which is not waited for longer than for a request."""
        if self._exporter is not None:
            closing = threading.Thread(target=self._close, args=(self._exporter,), daemon=True)
            closing.start()
            closing.join(PATIENCE_S)

    @staticmethod
    def _close(exporter: Exporter) -> None:
        with contextlib.suppress(Exception):
            exporter.close()


def _was_never_recorded_in(reader: StoreReader) -> bool:
    """Say whether a store without a run has no series and no row either: its process was killed as it made it."""
    slabs = [slab for tiers in reader.slabs.values() for slab in tiers]
    return not len(reader.registry) and not any(slab.headers().any() for slab in slabs)


def _is_there(store: StoreEntry) -> bool:
    """Say whether the store that was found still lies where it did."""
    try:
        with Folder(store.path, follow=False) as held:
            return read_store_state(held).key == store.key
    except StoreNotFoundError:
        return False
    except StoreError:
        return True
