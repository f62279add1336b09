"""Store: create, open, record, tick, close. One process writes it; its threads share it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rondo_core import forking
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.errors import StoreError, StoreLockedError, UsageError, instead, one_line
from rondo_core.model import layout
from rondo_core.model.labels import canonical_labels
from rondo_core.model.schema import Schema, check_schemas
from rondo_core.record import ending, selfmetrics
from rondo_core.record.after_fork import FORKED, IF_LOCKED, Attachment, IfLocked
from rondo_core.record.consolidation import Consolidation
from rondo_core.record.declaring import Declarations
from rondo_core.record.end_words import CLOSED, DROPPED, of_error
from rondo_core.record.growing import read_bound
from rondo_core.record.marks import EventLog, Marks
from rondo_core.record.notices import NO_ROOM, Notices
from rondo_core.record.ticking import SHORTEST_TICK_S, TickThread, interval_s
from rondo_core.record.writer import Writer
from rondo_core.retention.in_directory import InDirectory
from rondo_core.storage.directory import DROP_RESIDENT_NS, drop_resident, events_bytes, read_meta
from rondo_core.storage.held import HeldFile
from rondo_core.storage.lock import held_by_thread
from rondo_core.storage.recovery import recovery_of
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import Run, grow_runs, on_record, this_run, write_run_to
from rondo_core.units import Duration

if TYPE_CHECKING:
    from rondo_core.model.labels import Series
    from rondo_core.model.ranges import Range
    from rondo_core.model.selector import Selector
    from rondo_core.plugins.manager import Plugins
    from rondo_core.read.query import QueryResult
    from rondo_core.read.source import StoreSource
    from rondo_core.read.store_reader import View

_NOTICE_NS = 10 * NS_PER_S  # how often a writer looks whether its files are still there
_END_WAIT_S = 5.0  # for a tick under way when the process ends; a recorder that hangs must not keep it


class Store(InDirectory, Marks):
    """A store opened for writing.

    Threads may share it and its handles. After fork these count into a store of the child's own, where this one is a
    process's own too (`for_process`, `open_store`); else the child's keep nothing. A process that is killed loses
    nothing that was recorded; `close` folds the open windows and notes how the run ended. A store that nothing refers
    to any more, no handle either, lets go of all that it holds, with a ResourceWarning.
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
        faulthandler: bool = False,
        if_locked: IfLocked = "raise",
        strict: bool = False,
        max_bytes: int | str | None = None,
        labels: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the store at `path` for writing; make it first where it is missing.

        Args:
            schemas: what to keep; default: 100 counters, some dozens of gauges and summaries, 1s/10m, 10s/6h, 5m/7d.
                For a store that exists: what it was made with, or more; or None for whatever that is.
            clock: read where a record gives no `now_ns`.
            writer: what the program calls itself, for the record of runs.
            sync_interval_s: write everything to the disk that often, in a tick; None: the kernel does, within about
                half a minute. It is what a loss of power, or a crash of the kernel, takes at most; a death of the
                process takes nothing.
            labels: what every series of the store gets where a directory of stores is read, such as worker="3"; kept
                in a store that is made, and passed over by one that exists. `rondo_store` takes the place of its name.
            faulthandler: have Python's faulthandler write into the store as this process crashes, unless the program
                has enabled it itself; `rondo info` shows what it wrote.
            tick_interval_s: tick from a thread of the store's own that often, 1 ms to a day; None: the owner calls
                `tick`. Both may be given as "1s", as in TOML.
            if_locked: where another process writes the store: "raise"; "beside": record into a store of this process's
                own, made beside it; "off": have handles that take everything, and keep nothing.
            strict: raise CapacityError where a series finds no room, which else counts into an overflow series; and in
                a child of a fork that keeps nothing, instead of a warning.
            max_bytes: up to which the store is made, without `schemas` with as much room as that holds, or grows at an
                opening: bytes, or "64MiB", to which it grows where none is given. It grows where `schemas` ask for more
                series or for more schemas than it has, and after a run that had too little room; while it is open its
                size never changes.
        Raises: UsageError: an interval that cannot be; StoreLockedError: another process writes it; SchemaError: the
            schemas are not those on disk, and in what; StoreError and those below it: the path cannot be made or read.
        """
        given = None if schemas is None else _listed(schemas)
        asked = None if given is None else check_schemas(given)
        self._max_bytes, self._labels = read_bound(max_bytes), canonical_labels(labels or {})
        tick_s = interval_s("tick", tick_interval_s, SHORTEST_TICK_S)
        sync_s = interval_s("sync", sync_interval_s, 0.0)
        if if_locked not in IF_LOCKED:
            raise UsageError(f"if_locked {if_locked!r}: {instead(str(if_locked), IF_LOCKED)}")
        self._begin_unopened(path, clock, writer, strict=strict)
        self._tick_s, self._faulthandler = tick_s, faulthandler
        self._sync_interval_ns = None if sync_s is None else round(sync_s * NS_PER_S)
        try:
            self._find(asked, given, create_missing)
        except StoreLockedError as error:
            if if_locked == "raise":
                raise
            self._do_without(error, asked or read_meta(self.path).schemas, off=if_locked == "off")
        if self.unkept:
            return
        try:
            self._prepare(self.meta.schemas)
            self._open()
            if tick_s is not None:
                self.tick()
                self._start_ticking()
        except BaseException:
            self._closed = True
            self._release()
            raise

    def _begin_unopened(self, path: str | Path, clock: Clock, writer: str, *, strict: bool) -> None:
        """Be a store of which nothing is open yet."""
        self.path, self.clock, self._writer, self._strict = Path(path), clock, writer, strict
        self._tick_s: float | None = None
        self._faulthandler = False
        self._synced_ns = self._drop_resident_ns = self._noticed_ns = 0
        self._closed, self._made = True, False
        self._runs: HeldFile | None = None
        self._notices = Notices(self.path)
        self._thread: TickThread | None = None
        self._view: View | None = None
        self._ticking, self._taking_up = threading.RLock(), threading.RLock()
        self._ticks: list[Callable[[int], None]] = []
        self._failures: list[Mapping[str, int]] = []  # of plugins, by name
        self._close_asked = ""
        self.slabs, self._consolidations = {}, {}
        self._attachment: Attachment | None = None
        self._make_attachment: Callable[[Any], Attachment] | None = None

    def _prepare(self, schemas: tuple[Schema, ...]) -> None:
        """Have what handles are bound to, before and beyond any file."""
        path = str(self.path)
        self._writers = {schema.name: Writer(schema, None, 0, self.clock, path) for schema in schemas}
        self._moved: list[tuple[int, int]] = []  # rows whose clock has stepped, of all schemas; see ClockSteps
        self._of_children: dict[str, int] = {}  # what children lost, by reason
        self._refused = [self._of_children, *(writer.refused for writer in self._writers.values())]
        self._declarations = Declarations(
            schemas,
            Registry.in_memory(path, schemas),
            self._writers,
            self._notices,
            before=self._check_open,
            after=self._close_as_asked,
            strict=self._strict,
        )

    def _open(self, *, new: bool = False) -> None:
        root, meta = self._folder, self.meta
        recovery = recovery_of(root)
        blank = new or (self._made and recovery.last is None)  # no one has opened it since it was made here
        self.registry, self.slabs = recovery.open(root, meta, writable=True, blank=blank)
        self._declarations.move_to(self.registry)
        lost = sum(recovery.recover_rows(slabs, self.registry.counts[name]) for name, slabs in self.slabs.items())
        for schema in meta.schemas:
            slabs, n_series = self.slabs[schema.name], self.registry.counts[schema.name]
            if slabs[0].given > n_series:  # to series that are not known any more: the registry is an older one
                for slab in slabs:
                    slab.clear(n_series)
            slabs[0].given = n_series
            writes = self._writers[schema.name]
            writes.resume(slabs[0], n_series, str(root))
            folds = Consolidation(schema, slabs, writes, anew=recovery.moved or lost > 0, copied=recovery.moved)
            folds.owner, self._consolidations[schema.name] = self, folds
            writes.steps.moved = self._moved
            writes.finish_clock_step()
            for slab in slabs:
                slab.blank = False
            if new and n_series:
                writes.begin_totals(meta.created_ns)
        self._new = recovery.last is None
        number = recovery.last.number + 1 if recovery.last else 1
        self.run: Run = this_run(number, self.clock(), self._writer, root.place)
        self._closed = False
        self.self_metrics = selfmetrics.SelfMetrics(self.counter, self.registry, meta.schemas)
        self._declarations.at_refusal = self._count_refused
        self._begin()
        if lost:
            self.self_metrics.set_total(selfmetrics.ROWS_LOST, lost)
            self._notices.warn(f"{lost} rows were not on the disk when the machine stopped; they are absent")
        self._set_aside_future()
        self._notices.of_steps(self._moved, self.clock())
        grow_runs(root / layout.RUNS_FILE, self.run.number)
        self._runs = HeldFile(root / layout.RUNS_FILE, os.O_WRONLY)
        self._events = EventLog(root, events_bytes(meta.schemas), self.run.number, self._notices, self.clock)
        handled = self._events.watch_faults(root, begin=self._faulthandler)
        self.run = self.run._replace(faulthandler=handled)
        write_run_to(self._runs.descriptor, self.run)
        ending.watch(self)

    # -- time

    def bind_recorders(self, plugins: Plugins) -> list[str]:
        """Let the recorders among the plugins declare their series; their ticks run in `tick`.

        Returns: the names of those that will tick.
        """
        bound = []
        for name, tick in plugins.bind("rondo_recorder_bind", declare=self):
            self._ticks.append(plugins.guard(name, tick))
            bound.append(name)
        self._failures.append(plugins.failures)
        return bound

    def tick(self, now_ns: int | None = None) -> None:
        """Enter the bucket of `now_ns` in every schema, run the recorders, and fold the windows that have closed.

        Called about once a second, by the owner or by the store's own thread; a tick more or less changes no value.
        Raises: StoreClosedError; StoreForkedError: see `strict`.
        """
        if held_by_thread(self._ticking) or self._is_over:
            return  # a recorder's call, or a signal handler's: the tick is under way
        try:
            with self._ticking:
                # Who closes what it has not opened closes all; while the directory is open no other has the lock.
                self._check_open(all_files=False)
                if not self.unkept:
                    self._tick(self.clock() if now_ns is None else now_ns)
        finally:
            self._close_as_asked()

    def _tick(self, now_ns: int) -> None:
        if self._made_in_child:
            self._complete_in_child()
        if abs(now_ns - self._noticed_ns) >= _NOTICE_NS:
            self._noticed_ns = now_ns
            self._check_files()
            if self.unkept:
                return
            self._notices.of_files(self.registry)
        self._set_aside_future(now_ns)
        for call in self._ticks:
            call(now_ns)
        self._declarations.read_functions(now_ns)
        if self._pid != os.getpid():
            return  # a recorder, or a gauge's function, has forked: this is the child
        self._count()
        self.self_metrics.flush(now_ns)
        self._fold(now_ns)
        if self._moved:
            self._notices.of_steps(self._moved, now_ns)
        if self._sync_interval_ns is None or abs(now_ns - self._synced_ns) < self._sync_interval_ns:
            self._notices.of_disk(self.registry.sync)  # a series is to be known before its values are
        else:
            self._synced_ns = now_ns
            self._notices.of_disk(self.sync)
        if abs(now_ns - self._drop_resident_ns) >= DROP_RESIDENT_NS:
            self._drop_resident_ns = now_ns
            drop_resident(self.slabs, new=self._new)
            self._new = False

    def _fold(self, now_ns: int) -> None:
        for name, writer in self._writers.items():
            bucket = min(writer.bucket, now_ns // writer.interval_ns)
            folds = self._consolidations[name]
            if bucket >= folds.due and writer.n_series:
                self._notices.of_fold(folds.fold_closed, bucket)

    def _count(self) -> None:
        if self._from_children >= 0 and (lost := self._lost_by_children()):
            self._of_children[FORKED] = self._of_children.get(FORKED, 0) + lost
        self.self_metrics.count(self._refused, self._declarations.refused, self._failures)

    def _count_refused(self) -> None:
        self.self_metrics.flush_refused(self._declarations.refused, self.clock())

    def _set_aside_future(self, enter_ns: int | None = None) -> None:
        """Set aside what is later than the clock says, and enter the bucket of an instant in every schema."""
        now_ns = self.clock()
        for writer in self._writers.values():
            if now_ns // writer.interval_ns < writer.bucket - 1:
                writer.set_aside_future()
            if enter_ns is not None and writer.n_series and enter_ns // writer.interval_ns != writer.bucket:
                writer.enter(enter_ns)

    # -- reading

    @property
    def view(self) -> View:
        """The store's reading side, in this process: series, query, newest_ns."""
        if self._paths is not None:
            self._check_process()
        if self._view is None:
            if not self.slabs:
                raise StoreError(f"{self.path}: keeps nothing in this process ({self.unkept}); nothing is to be read")
            forking.load("numpy", "rondo_core.read.store_reader")
            from rondo_core.read.store_reader import View

            self._view = View(self.path, self._folder, self.meta, self.registry, self.slabs)
        return self._view

    def query(
        self, selector: str | Selector | Sequence[Series], range: str | Range = "all", **options: Any
    ) -> QueryResult:
        """Read points; see `View.query`. A relative range ends now."""
        options.setdefault("now_ns", self.clock())
        return self.view.query(selector, range, **options)

    def source(self) -> StoreSource:
        """Give the store as a source of PromQL, of what is over by its clock; see `View.source`."""
        return self.view.source(clock=self.clock)

    # -- the end

    def sync(self) -> None:
        """Write everything to the disk, and wait for it; recording goes on meanwhile.

        Raises: StoreForkedError: see `strict`; StoreError: a file was removed or replaced while the store is open.
        """
        if not self._is_own_process():
            self._check_open()
        self._check_files()
        if self.unkept:
            return
        for writer in self._writers.values():
            writer.seal(layout.PROVISIONAL)
        self.registry.sync()
        for slabs in self.slabs.values():
            for slab in slabs:
                slab.sync()
        if self._events is not None:
            self._events.sync()
        if self._runs is not None:
            os.fdatasync(self._runs.descriptor)

    def close(self, ended: str = CLOSED) -> None:
        """End the run: a last tick's counts, the open windows folded, how it ended on record. Twice is once.

        From inside a tick, a record or a declaration (a recorder, a signal handler) it takes place when that is over.
        Args: `ended`: how, in the words of the record of runs ("closed", "signal 15", "exit status 1"); where the
            process is ending already, "closed" gives way to how it does.
        """
        if not self._is_own_process():
            self._close_untaken(ended)
            return
        ended = ending.known() or ended if ended == CLOSED else ended
        if self._in_the_middle():
            self._close_asked = ended
            for writer in self._writers.values():
                writer.after = self._close_as_asked
            return
        if self._thread is not None:
            self._thread.end()
        if not (self._closed or self.unkept):
            self._attach_in_child()
            self._check_files()
        with self._ticking, self._declarations.lock:
            if not self._closed:
                self._end(ended)
        attachment, self._attachment, self._make_attachment = self._attachment, None, None
        retention_thread, self.retention_thread = self.retention_thread, None
        if attachment is not None:
            attachment.close(self.run.number)
        if retention_thread is not None:  # not before: what this store is one too many of may wait for its exporters
            retention_thread.close()

    def _end(self, ended: str) -> None:
        if self.unkept:
            self._stop(ended)
        else:
            now_ns = self.clock()
            self._count()
            self._notices.of_files(self.registry)
            self.self_metrics.flush(now_ns)
            self._stop(ended)
            try:
                for name, writer in self._writers.items():
                    writer.seal()
                    if writer.n_series:
                        self._consolidations[name].fold_all()
                self._note_end(ended, now_ns)
                if self._sync_interval_ns is not None:
                    self._notices.of_disk(self.sync)
            except NO_ROOM as error:
                self._notices.warn(f"its end is not on record; the next writer folds what is left: {one_line(error)}")
            finally:
                self._ticks.clear()  # and with them what recorders keep open
                self._release()
                self._close_asked = ""  # not before: who else was asked waits until all of this is done

    def end_with_process(self, ended: str) -> None:
        """Close it as the process ends: what is recorded yet goes nowhere, a tick that hangs is not waited for."""
        if self._closed:
            return
        self._is_over = True
        self._notices.leave_out("files")  # a program that ends has removed them itself
        try:
            if self._thread is not None and self._is_own_process():
                self._thread.end(_END_WAIT_S)
                self._thread = None  # a tick that it is in yet is waited for below, with a bound
            if self._ticking.acquire(timeout=_END_WAIT_S):
                self._ticking.release()
                self.close(ended)
            elif self._runs is not None:
                self._note_end(ended, self.clock())
        except Exception as error:  # noqa: BLE001 - the program ends as it would without a store
            self._notices.warn(f"not closed at the end of the process: {one_line(error)}")

    def _note_end(self, ended: str, now_ns: int) -> None:
        self.run = self.run._replace(ended_ns=on_record(now_ns), ended=ended)
        if self._runs is not None:
            write_run_to(self._runs.descriptor, self.run)

    def _release(self) -> None:
        """Give the lock back, and close what is open but for the maps and the directory, which readers have too."""
        if hasattr(self, "registry"):
            self.registry.close()
        if self._runs is not None:
            self._runs.close()
            self._runs = None
        if self._events is not None:
            self._events.close()
        if self._from_children >= 0:
            os.close(self._from_children)
            self._from_children = -1
        if hasattr(self, "_lock_file"):
            self._lock_file.release()
        self._forget()
        ending.unwatch(self)

    def __del__(self) -> None:
        """Release what a store holds that was dropped without `close`, and say so; nothing is folded here."""
        if getattr(self, "_closed", True) or not self._is_own_process() or self.unkept or sys.is_finalizing():
            return
        self._closed = True
        try:
            if self._thread is not None:
                self._thread.end(1.0)
            if self.retention_thread is not None:
                self.retention_thread.stop()
            for writer in self._writers.values():
                writer.seal()
                writer.stop(DROPPED)
            with contextlib.suppress(OSError, StoreError):
                self._note_end(DROPPED, self.clock())
        finally:
            self._release()
        what = f"{self.path}: {DROPPED}; use it in a with statement, or close it"
        warnings.warn(what, ResourceWarning, stacklevel=2)  # no source: who keeps the warning kept the store

    def _in_the_middle(self) -> bool:
        """Say whether this thread holds a lock already: to wait for others, who may wait for it, would be for ever."""
        if held_by_thread(self._ticking) or held_by_thread(self._declarations.lock):
            return True
        return any(writer.held_by_thread() for writer in self._writers.values())

    def _close_as_asked(self) -> None:
        if self._close_asked and not self._in_the_middle():
            self.close(self._close_asked)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def __enter__(self) -> Self:
        """Give the store itself."""
        self._entered += 1
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, unless another block is in it; what made the block end is put on record."""
        self._entered -= 1
        if self._entered <= 0:
            self.close(CLOSED if error is None else of_error(error, trace))

    def __repr__(self) -> str:
        """Say where it is and how much is in it."""
        return f"<Store {self.path}: {len(self.registry)} series{', closed' if self._closed else ''}>"


def _listed(schemas: Any) -> tuple[Schema, ...]:
    """Give what was given as a tuple; what is no list of schemas is refused by its own name."""
    return tuple(schemas) if isinstance(schemas, Iterable) and not isinstance(schemas, Schema | str) else (schemas,)
