"""Store: create, open, record, tick, close. One process writes it; its threads share it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from rondo_core import forking
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import StoreClosedError, StoreForkedError
from rondo_core.model import layout
from rondo_core.model.labels import canonical_labels
from rondo_core.model.schema import DEFAULT_SCHEMAS, Schema, check_schemas
from rondo_core.record import selfmetrics
from rondo_core.record.consolidation import Consolidation
from rondo_core.record.declaring import Declarations
from rondo_core.record.instruments import Instruments
from rondo_core.record.notices import Notices
from rondo_core.record.ticking import SHORTEST_TICK_S, TickThread, interval_s
from rondo_core.record.writer import Writer
from rondo_core.storage.directory import LET_GO_NS, Meta, create, let_go, open_alone
from rondo_core.storage.files import open_file
from rondo_core.storage.lock import held_here
from rondo_core.storage.recovery import recovery_of
from rondo_core.storage.runs import CLOSED, Run, on_record, this_run, write_run_to
from rondo_core.units import Duration

if TYPE_CHECKING:
    from rondo_core.plugins.manager import Plugins
    from rondo_core.read.query import Found
    from rondo_core.read.store_reader import View
    from rondo_core.retention.keeper import Keeper

_NOTICE_NS = 10 * NS_PER_S  # how often a writer looks whether its files are still there
DROPPED = "dropped without close"
_live: weakref.WeakSet[Store] = weakref.WeakSet()


class Store(Instruments):
    """A store opened for writing.

    Threads may share it and its handles. After fork the child's copy refuses to record. A process that is killed
    loses nothing that was recorded; `close` folds the open windows and notes how the run ended. A store that nothing
    refers to any more, no handle either, lets go of all that it holds, with a ResourceWarning.
    """

    def __init__(
        self,
        path: str | Path,
        schemas: Iterable[Schema] | None = None,
        *,
        clock: Clock = wall_ns,
        writer: str = "",
        tick_interval_s: Duration | None = None,
        sync_interval_s: Duration | None = None,
        create_missing: bool = True,
        labels: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the store at `path` for writing; make it first where it is missing.

        Args:
            schemas: what to keep; default: counters, gauges and summaries, 32 of each, 1s/10m, 10s/6h, 5m/7d.
                For a store that exists: what it must have been made with, or None for whatever that is.
            clock: read where a record gives no `now_ns`.
            writer: what the program calls itself, for the record of runs.
            sync_interval_s: write everything to the disk that often, in a tick; None: the kernel does, within about
                half a minute. It is what a loss of power, or a crash of the kernel, takes at most; a death of the
                process takes nothing.
            labels: what every series of the store gets where a directory of stores is read, such as worker="3"; kept
                in a store that is made, and passed over by one that exists. `rondo_store` takes the place of its name.
            tick_interval_s: tick from a thread of the store's own that often, 1 ms to a day; None: the owner calls
                `tick`. Both may be given as "1s", as in TOML.
        Raises: UsageError: an interval that cannot be; StoreLockedError: another process writes it; SchemaError: the
            schemas are not those on disk, and in what; StoreError and those below it: the path cannot be made or read.
        """
        self.path = Path(path)
        given = None if schemas is None else tuple(schemas) if isinstance(schemas, Iterable) else (schemas,)
        asked = None if given is None else check_schemas(given)
        own_labels = canonical_labels(labels or {})
        tick_s = interval_s("tick", tick_interval_s, SHORTEST_TICK_S)
        sync_s = interval_s("sync", sync_interval_s, 0.0)
        self._sync_interval_ns = None if sync_s is None else round(sync_s * NS_PER_S)
        self._synced_ns = self._let_go_ns = self._noticed_ns = 0
        self._closed, self._runs = True, -1
        self._notices = Notices(self.path)
        self._thread: TickThread | None = None
        self.keeper: Keeper | None = None  # what keeps the directory that the store lies in within its bound

        def make() -> None:
            create(self.path, asked or check_schemas(DEFAULT_SCHEMAS), on_record(clock()), labels=own_labels)

        self._folder, meta, self._lock_file = open_alone(self.path, given, make if create_missing else None)
        try:
            self._open(meta, clock, writer)
            if tick_s is not None:
                self.tick()
                self._thread = TickThread(self, tick_s, self._notices)
                self._thread.start()
        except BaseException:
            self._closed = True
            self._let_go()
            raise

    @classmethod
    def for_process(
        cls,
        directory: str | Path,
        schemas: Iterable[Schema] | None = None,
        *,
        name: str = "",
        keep_last: int | None = None,
        keep_for: Duration | None = None,
        keep_bytes: int | str | None = None,
        exporters: Iterable[str] | None = None,
        rondo_store: str = "",
        labels: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Self:
        """Open the calling process's own store below `directory`, named by pid, start and a text that no other has.

        For programs of many processes: each calls this, after fork, and `rondo query DIRECTORY` reads them together.
        With a bound, dead processes' stores beyond it are folded into the store of the ended, `ended.rondo`, by a
        thread of its own, now and each minute, and once more after `close`.

        Args:
            name: what the store's name begins with, such as "web".
            keep_last: how many stores of dead processes are kept; keep_for: for how long after their end ("1d").
            keep_bytes: what all stores of the directory may take ("1GiB"), sent by exporters or not.
            exporters: whose cursors keep_last and keep_for wait for; None: all that a store has one of.
            rondo_store: the label of that name where the directory is read, in place of the store's own name.
            labels, options: as for the constructor.
        Raises: as the constructor; UsageError: a name or a bound that cannot be.
        """
        from rondo_core.retention.bound import Bound
        from rondo_core.retention.naming import own_name

        given = {"keep_last": keep_last, "keep_for": keep_for, "keep_bytes": keep_bytes}
        bound = Bound.read(given, None if exporters is None else tuple(exporters))
        telling = {**(labels or {}), **({"rondo_store": rondo_store} if rondo_store else {})}
        store = cls(Path(directory) / own_name(name), schemas, labels=telling, **options)
        if bound:
            from rondo_core.retention.keeper import Keeper

            store.keeper = Keeper(Path(directory), bound, store.clock)
        return store

    def _open(self, meta: Meta, clock: Clock, writer: str) -> None:
        self.meta, self.clock = meta, clock
        root = self._folder
        recovery = recovery_of(root)
        self.registry, self.slabs = recovery.open(root, meta, writable=True)
        lost = sum(recovery.take_up(slabs, self.registry.counts[name]) for name, slabs in self.slabs.items())
        self._writers: dict[str, Writer] = {}
        self._moved: list[tuple[int, int]] = []  # rows whose clock has stepped, of all schemas; see ClockSteps
        self._consolidations: dict[str, Consolidation] = {}
        for schema in meta.schemas:
            slabs, n_series = self.slabs[schema.name], self.registry.counts[schema.name]
            if slabs[0].given > n_series:  # to series that are not known any more: the registry is an older one
                for slab in slabs:
                    slab.clear(n_series)
            slabs[0].given = n_series
            writes = self._writers[schema.name] = Writer(schema, slabs[0], n_series, clock, str(root))
            folds = Consolidation(schema, slabs, writes, anew=recovery.moved or lost > 0, copied=recovery.moved)
            folds.owner, self._consolidations[schema.name] = self, folds
            writes.steps.moved = self._moved
            writes.settle()
        self._refused = [writer.refused for writer in self._writers.values()]
        self._declarations = Declarations(
            meta.schemas,
            self.registry,
            self._writers,
            self._notices,
            before=self._check_open,
            after=self._close_as_asked,
        )
        self._ticking = threading.RLock()
        self._ticks: list[Callable[[int], None]] = []
        self._plugins: list[Plugins] = []
        self._close_asked = ""
        self._view: View | None = None
        self._new = recovery.last is None
        number = recovery.last.number + 1 if recovery.last else 1
        self.run: Run = this_run(number, clock(), writer, root.place)
        self._closed = False
        self.self_metrics = selfmetrics.SelfMetrics(self.counter, self.registry, meta.schemas)
        if lost:
            self.self_metrics.set_total(selfmetrics.ROWS_LOST, lost)
            self._notices.warn(f"{lost} rows were not on the disk when the machine stopped; they are absent")
        self._take_back_future()
        self._notices.of_steps(self._moved, clock())
        self._runs = open_file(root / layout.RUNS_FILE, os.O_WRONLY)
        write_run_to(self._runs, self.run)
        _live.add(self)

    # -- time

    def bind_recorders(self, plugins: Plugins) -> list[str]:
        """Let the recorders among the plugins declare their series; their ticks run in `tick`.

        Returns: the names of those that will tick.
        """
        bound = []
        for name, tick in plugins.bind("rondo_recorder_bind", declare=self):
            self._ticks.append(plugins.guard(name, tick))
            bound.append(name)
        self._plugins.append(plugins)
        return bound

    def tick(self, now_ns: int | None = None) -> None:
        """Run the recorders, enter the bucket of `now_ns` in every schema, and fold the windows that have closed.

        Called about once a second, by the owner or by the store's own thread; a tick more or less changes no value.
        Raises: StoreClosedError, StoreForkedError.
        """
        if held_here(self._ticking):
            return  # a recorder's call, or a signal handler's: the tick is under way
        try:
            with self._ticking:
                self._check_open()
                self._tick(self.clock() if now_ns is None else now_ns)
        finally:
            self._close_as_asked()

    def _check_open(self) -> None:
        if self.run.pid != os.getpid():
            what = f"opened before fork by process {self.run.pid}"
            raise StoreForkedError(f"{self.path}: {what}; open a store of your own here")
        if self._closed:
            raise StoreClosedError(f"{self.path}: closed; open it again to record")

    def _tick(self, now_ns: int) -> None:
        self._take_back_future()
        for call in self._ticks:
            call(now_ns)
        self._count()
        if abs(now_ns - self._noticed_ns) >= _NOTICE_NS:
            self._noticed_ns = now_ns
            self._notices.of_files(self.registry)
        self.self_metrics.flush(now_ns)
        for name, writer in self._writers.items():
            if writer.n_series:
                writer.enter(now_ns)
                self._consolidations[name].fold_closed(min(writer.bucket, now_ns // writer.interval_ns))
        self._notices.of_steps(self._moved, now_ns)
        if self._sync_interval_ns is None or abs(now_ns - self._synced_ns) < self._sync_interval_ns:
            self._notices.of_disk(self.registry.sync)  # a series is to be known before its values are
        else:
            self._synced_ns = now_ns
            self._notices.of_disk(self.sync)
        if abs(now_ns - self._let_go_ns) >= LET_GO_NS:
            self._let_go_ns = now_ns
            let_go(self.slabs, new=self._new)
            self._new = False

    def _count(self) -> None:
        self.self_metrics.count(
            self._refused, self._declarations.refused, [plugins.failures for plugins in self._plugins]
        )

    def _take_back_future(self) -> None:
        now_ns = self.clock()
        for writer in self._writers.values():
            if now_ns // writer.interval_ns < writer.bucket - 1:
                writer.take_back_future()

    # -- reading

    @property
    def view(self) -> View:
        """The store's reading side, in this process: series, query, newest_ns."""
        if self._view is None:
            forking.load("numpy", "rondo_core.read.store_reader")
            from rondo_core.read.store_reader import View

            self._view = View(self.path, self._folder, self.meta, self.registry, self.slabs)
        return self._view

    def query(self, selector: str, span: str = "all", **options: Any) -> Found:
        """Read points; see `View.query`. A relative range ends now."""
        options.setdefault("now_ns", self.clock())
        return self.view.query(selector, span, **options)

    # -- the end

    def sync(self) -> None:
        """Write everything to the disk, and wait for it; recording goes on meanwhile.

        Raises: StoreForkedError; StoreError: a file was removed or replaced while the store is open.
        """
        if self.run.pid != os.getpid():
            self._check_open()
        for writer in self._writers.values():
            writer.seal(layout.PROVISIONAL)
        self.registry.sync()
        for slabs in self.slabs.values():
            for slab in slabs:
                slab.sync()
        if self._runs >= 0:
            os.fdatasync(self._runs)

    def close(self, ended: str = CLOSED) -> None:
        """End the run: a last tick's counts, the open windows folded, how it ended on record. Twice is once.

        From inside a tick, a record or a declaration (a recorder, a signal handler) it takes place when that is over.
        Args: `ended`: how, in the words of the record of runs ("closed", "signal 15", "exit status 1").
        """
        if self.run.pid != os.getpid():
            return
        if self._in_the_middle():
            self._close_asked = ended
            for writer in self._writers.values():
                writer.after = self._close_as_asked
            return
        if self._thread is not None:
            self._thread.end()
        with self._ticking, self._declarations.lock:
            if self._closed:
                return
            now_ns = self.clock()
            self._count()
            self._notices.of_files(self.registry)
            self.self_metrics.flush(now_ns)
            for writer in self._writers.values():
                writer.stop(ended)
            self._closed = True
            try:
                for name, writer in self._writers.items():
                    writer.seal()
                    if writer.n_series:
                        self._consolidations[name].fold_closed(writer.bucket)
                        self._consolidations[name].fold_open()
                self.run = attrs.evolve(self.run, ended_ns=on_record(now_ns), ended=ended)
                write_run_to(self._runs, self.run)
                if self._sync_interval_ns is not None:
                    self._notices.of_disk(self.sync)
            finally:
                self._let_go()
                self._close_asked = ""  # not before: who else was asked waits above until all of this is done
        self._keep_bound()

    def _keep_bound(self) -> None:
        """Fold what this store is one too many of, if its directory has a bound."""
        if self.keeper is not None:
            self.keeper.close()

    def _let_go(self) -> None:
        """Give the lock back, and close what is open but for the maps and the directory, which readers have too."""
        if hasattr(self, "registry"):
            self.registry.close()
        if self._runs >= 0:
            os.close(self._runs)
            self._runs = -1
        self._lock_file.release()
        _live.discard(self)

    def __del__(self) -> None:
        """Let go of what a store holds that was dropped without `close`, and say so; nothing is folded here."""
        if getattr(self, "_closed", True) or self.run.pid != os.getpid() or sys.is_finalizing():
            return
        self._closed = True
        try:
            if self._thread is not None:
                self._thread.end(1.0)
            if self.keeper is not None:
                self.keeper.stop()
            for writer in self._writers.values():
                writer.seal()
                writer.stop(DROPPED)
            with contextlib.suppress(OSError):
                write_run_to(self._runs, attrs.evolve(self.run, ended_ns=self.clock(), ended=DROPPED))
        finally:
            self._let_go()
        what = f"{self.path}: {DROPPED}; use it in a with statement, or close it"
        warnings.warn(what, ResourceWarning, stacklevel=2)  # no source: who keeps the warning kept the store

    def _in_the_middle(self) -> bool:
        """Say whether this thread holds a lock already: to wait for others, who may wait for it, would be for ever."""
        if held_here(self._ticking) or held_here(self._declarations.lock):
            return True
        return any(writer.held_here() for writer in self._writers.values())

    def _close_as_asked(self) -> None:
        if self._close_asked and not self._in_the_middle():
            self.close(self._close_asked)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        """Give the store itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it; what made the block end is put on record."""
        self.close(CLOSED if kind is None else f"raised {kind.__name__}")

    def __repr__(self) -> str:
        """Say where it is and how much is in it."""
        return f"<Store {self.path}: {len(self.registry)} series{', closed' if self._closed else ''}>"

    def _after_fork(self) -> None:
        for writer in self._writers.values():
            writer.forked()
        self._declarations.forked()
        self._ticking = threading.RLock()


def _forget_after_fork() -> None:
    for store in tuple(_live):
        store._after_fork()  # noqa: SLF001 - the same module
    _live.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
