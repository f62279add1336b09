"""Store: create, open, record, tick, close. One process writes it; its threads share it."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import attrs

from rondo_core import layout, selfmetrics
from rondo_core.clock import NS_PER_S, Clock, wall_ns
from rondo_core.consolidation import Consolidation
from rondo_core.directory import LET_GO_NS, Meta, create, let_go, open_slabs, read_meta
from rondo_core.errors import (
    CapacityError,
    SchemaError,
    StoreClosedError,
    StoreExistsError,
    StoreForkedError,
    UsageError,
    one_line,
)
from rondo_core.handles import Counter, Gauge, GaugeBatch, SketchedSummary, Summary
from rondo_core.labels import Kind, Labels, Series, canonical_labels, check_metric_name, check_text, read_given
from rondo_core.lock import WriterLock, held_here
from rondo_core.registry import Registry
from rondo_core.runs import CLOSED, Run, Survival, newest_run, on_record, survival, this_run, write_run
from rondo_core.schema import DEFAULT_SCHEMAS, SELF_SCHEMA, Schema, check_schemas, difference
from rondo_core.selector import parse_selector
from rondo_core.slab import take_up
from rondo_core.units import Duration, format_instant, seconds
from rondo_core.writer import Writer

if TYPE_CHECKING:
    from rondo_core.plugins import Plugins
    from rondo_core.query import Found
    from rondo_core.store_reader import View

_live: weakref.WeakSet[Store] = weakref.WeakSet()
_SHORTEST_TICK_S, _DAY_S = 0.001, 86_400.0


class Store:
    """A store opened for writing.

    Threads may share it and its handles. After fork the child's copy refuses to record. A process that is killed
    loses nothing that was recorded; `close` folds the open windows and notes how the run ended.
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
            tick_interval_s: tick from a thread of the store's own that often, 1 ms to a day; None: the owner calls
                `tick`. Both may be given as "1s", as in TOML.
        Raises: UsageError: an interval that cannot be; StoreLockedError: another process writes it; SchemaError: the
            schemas are not those on disk, and in what; StoreError and those below it: the path cannot be made or read.
        """
        self.path = Path(path)
        asked = None if schemas is None else check_schemas(schemas)
        tick_s = _interval_s("tick", tick_interval_s, _SHORTEST_TICK_S)
        sync_s = _interval_s("sync", sync_interval_s, 0.0)
        self._sync_interval_ns = None if sync_s is None else round(sync_s * NS_PER_S)
        self._synced_ns = self._let_go_ns = 0
        self._root = str(self.path)
        if create_missing and not self.path.exists():
            with contextlib.suppress(StoreExistsError):  # another process was faster; open what it made
                create(self.path, asked or check_schemas(DEFAULT_SCHEMAS), on_record(clock()))
        meta = read_meta(self.path)
        if asked is not None and (what := difference(asked, meta.schemas)):
            raise SchemaError(f"{self.path}: {what}; open it without schemas, or choose another path")
        self._lock_file = WriterLock(f"{self._root}/{layout.LOCK_FILE}")
        try:
            self._open(meta, clock, writer)
            if tick_s is not None:
                self._start_ticking(tick_s)
        except BaseException:
            if hasattr(self, "registry"):
                self.registry.close()
            self._lock_file.release()
            raise

    @classmethod
    def for_process(cls, directory: str | Path, schemas: Iterable[Schema] | None = None, **options: Any) -> Self:
        """Open the calling process's own store below `directory`, named by pid, start and boot.

        For programs of many processes: each calls this, after fork, and `rondo query DIRECTORY` reads them together.
        Args: `options`: as for the constructor. Raises: as the constructor.
        """
        me = this_run(0, 0, "")
        name = f"{me.pid}-{me.process_start}-{me.boot_id[:8]}.rondo"
        return cls(Path(directory) / name, schemas, **options)

    def _open(self, meta: Meta, clock: Clock, writer: str) -> None:
        self.meta, self.clock = meta, clock
        root = self._root
        last = newest_run(f"{root}/{layout.RUNS_FILE}")
        became = survival(last)
        restarted = became is Survival.RESTARTED
        registry = f"{root}/{layout.REGISTRY_FILE}"
        self.registry = Registry(registry, meta.schemas, writable=True, restarted=restarted)
        self.slabs = open_slabs(root, meta, writable=True)
        lost = 0
        if became is not Survival.SAME_BOOT or (last and not last.ended):
            copied = None if became is Survival.SAME_BOOT else not restarted
            for name, slabs in self.slabs.items():
                lost += sum(take_up(slab, self.registry.counts[name], copied=copied) for slab in slabs)
        self._selectors = {schema.name: parse_selector(schema.match) for schema in meta.schemas}
        self._writers: dict[str, Writer] = {}
        self._consolidations: dict[str, Consolidation] = {}
        for schema in meta.schemas:
            slabs, n_series = self.slabs[schema.name], self.registry.counts[schema.name]
            self._writers[schema.name] = Writer(schema, slabs[0], n_series, clock, root)
            self._consolidations[schema.name] = Consolidation(
                schema, slabs, self._writers[schema.name], anew=bool(lost)
            )
            self._writers[schema.name].settle()
        self._handles: dict[tuple[str, Labels], Any] = {}
        self._declaring = threading.RLock()
        self._ticking = threading.RLock()
        self._ticks: list[Callable[[int], None]] = []
        self._plugins: list[Plugins] = []
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._closed = False
        self._close_asked = ""
        self._reported: set[str] = set()
        self._view: View | None = None
        self._series_refused = 0
        self._told = 0, 0  # rows set aside, and there again
        self.self_metrics = selfmetrics.SelfMetrics(self.counter)
        if lost:
            self._report_lost(lost)
        self._take_back_future()
        self._tell_of_steps()
        self.run: Run = this_run(last.number + 1 if last else 1, clock(), writer)
        self._new = last is None
        write_run(f"{root}/{layout.RUNS_FILE}", self.run)
        _live.add(self)

    def _report_lost(self, rows: int) -> None:
        import logging

        self.self_metrics.set_total(selfmetrics.ROWS_LOST, rows)
        what = "rows were not on the disk when the machine stopped; they are absent"
        logging.getLogger("rondo.store").warning("%s: %d %s", self.path, rows, what)

    # -- declaring

    def counter(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Counter:
        """Declare a counter, or find the one of that name and labels; it stands at its last total.

        Args: labels as a mapping, as keywords, or both; `help`, which may also come right after the name, and `unit`
            are for people and exporters. Those that a series was first declared with stand; others are logged, once.
        Raises: LabelError: a name that receivers could not take, or the series is of another kind;
        CapacityError: the schema is full (counted too); StoreClosedError.
        """
        handle: Counter = self._declare("counter", name, given, labels, help, unit)
        return handle

    def gauge(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Gauge:
        """Declare a gauge, or find it; it is absent until it is set. Raises: as `counter`."""
        handle: Gauge = self._declare("gauge", name, given, labels, help, unit)
        return handle

    def summary(
        self,
        name: str,
        /,
        *given: str | Mapping[str, object] | None,
        help: str | None = "",
        unit: str | None = "",
        **labels: object,
    ) -> Summary:
        """Declare a summary, or find it. Raises: as `counter`."""
        handle: Summary = self._declare("summary", name, given, labels, help, unit)
        return handle

    def batch(self, gauges: Sequence[Gauge]) -> GaugeBatch:
        """Bind gauges, declared one after the other, that one call sets together. Raises: UsageError."""
        return GaugeBatch(gauges)

    def _declare(
        self,
        kind: Kind,
        name: str,
        given: tuple[object, ...],
        labels: Mapping[str, object],
        help_text: str | None,
        unit: str | None,
    ) -> Any:
        pairs, help_text = (labels.items(), help_text) if not given else read_given(name, given, labels, help_text)
        whole = canonical_labels(pairs)
        handle = self._handles.get((name, whole))
        if handle is not None and handle.series.kind == kind:
            if help_text or unit:
                self._say_kept(handle.series, help_text, unit)
            return handle
        check_metric_name(name)
        try:
            return self._declared(
                kind, name, whole, check_text(name, "help", help_text), check_text(name, "unit", unit)
            )
        finally:
            self._close_as_asked()

    def _declared(self, kind: Kind, name: str, whole: Labels, help_text: str, unit: str) -> Any:
        with self._declaring:
            self._check_open()
            series = self.registry.get(name, whole, kind)
            if series is None:
                series = self._register(kind, name, whole, help_text, unit)
            else:
                self._say_kept(series, help_text, unit)
            writer = self._writers[series.schema]
            writer.add_series(series.column)
            width = writer.slab.spec.max_series
            current = writer.current
            if kind != "summary":
                handle = _HANDLES[kind](current, series)
            elif writer.sketches is None:
                handle = Summary(current, series, width)
            else:
                handle = writer.sketched.setdefault(series.column, SketchedSummary(current, series, width))
            return self._handles.setdefault((series.name, series.labels), handle)

    def _register(self, kind: Kind, name: str, labels: Labels, help_text: str, unit: str) -> Series:
        candidate = Series(name, labels, kind, "", 0)
        for schema in self.meta.schemas:
            if schema.kind == kind and self._selectors[schema.name].matches(candidate):
                break
        else:
            raise SchemaError(f"{candidate}: no schema of the store takes this {kind}; make the store with one")
        try:
            now_ns = on_record(self.clock())
            return self.registry.declare(name, labels, schema, help_text=help_text, unit=unit, created_ns=now_ns)
        except CapacityError:
            if schema.name != SELF_SCHEMA:
                self._series_refused += 1
            raise

    def _say_kept(self, series: Series, help_text: str | None, unit: str | None) -> None:
        """Log what is given for a series that has another, once for each metric; what is on record stands."""
        for word, new, old in (("help", help_text, series.help), ("unit", unit, series.unit)):
            if new and new != old:
                mend = "values of another unit need another name" if word == "unit" else "rondo info shows it"
                had = repr(old) if old else f"no {word}"
                self._log_once(
                    f"{series.name} {word}", f"{series}: {word} {new!r}: declared with {had}, which stays; {mend}"
                )

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
        self.self_metrics.flush(now_ns)
        for name, writer in self._writers.items():
            if writer.n_series:
                writer.enter(now_ns)
                self._consolidations[name].fold_closed(min(writer.bucket, now_ns // writer.interval_ns))
        self._tell_of_steps()
        if self._sync_interval_ns is None or abs(now_ns - self._synced_ns) < self._sync_interval_ns:
            self.registry.sync()  # a series is to be known before its values are; seldom is there anything to do
        else:
            self._synced_ns = now_ns
            self.sync()
        if abs(now_ns - self._let_go_ns) >= LET_GO_NS:
            self._let_go_ns = now_ns
            let_go(self.slabs, new=self._new)
            self._new = False

    def _count(self) -> None:
        refused = [writer.refused for writer in self._writers.values()]
        self.self_metrics.count(refused, self._series_refused, [plugins.failures for plugins in self._plugins])

    def _take_back_future(self) -> None:
        for writer in self._writers.values():
            writer.take_back_future()

    def _tell_of_steps(self) -> None:
        """Log that the clock stepped back, and that it returned, once for all schemas."""
        steps = [writer.steps for writer in self._writers.values()]
        counts = sum(each.set_aside for each in steps), sum(each.returned for each in steps)
        if counts == self._told:
            return
        import logging

        log, now = logging.getLogger("rondo.store"), format_instant(on_record(self.clock()))
        (set_aside, returned), (before, returned_before) = counts, self._told
        if set_aside > before:
            what = "rows of what it took back are set aside, and there again if it returns"
            log.warning("%s: the clock stepped back to %s; %d %s", self.path, now, set_aside - before, what)
        if returned > returned_before:
            what = "rows that were set aside are there again"
            log.warning("%s: the clock went on to %s; %d %s", self.path, now, returned - returned_before, what)
        self._told = counts

    def _log_once(self, key: str, line: str) -> None:
        import logging

        if key not in self._reported:
            self._reported.add(key)
            logging.getLogger("rondo.store").warning("%s: %s", self.path, line)

    def _start_ticking(self, interval_s: float) -> None:
        def run() -> None:
            interval_ns = round(interval_s * NS_PER_S)
            while not self._stop.wait((interval_ns - self.clock() % interval_ns) / NS_PER_S):
                try:
                    self.tick()
                except StoreClosedError:
                    return
                except Exception as error:  # noqa: BLE001 - the next second is ticked whatever befell this one
                    line = one_line(error)
                    self._log_once(line, f"tick: {line}")

        self._thread = threading.Thread(target=run, name="rondo-tick", daemon=True)
        self.tick()
        self._thread.start()

    # -- reading

    @property
    def view(self) -> View:
        """The store's reading side, in this process: series, query, newest_ns."""
        if self._view is None:
            from rondo_core.store_reader import View

            self._view = View(self.path, self.meta, self.registry, self.slabs)
        return self._view

    def query(self, selector: str, span: str = "all", **options: Any) -> Found:
        """Read points; see `View.query`. A relative range ends now."""
        options.setdefault("now_ns", self.clock())
        return self.view.query(selector, span, **options)

    # -- the end

    def sync(self) -> None:
        """Write everything to the disk, and wait for it; recording goes on meanwhile."""
        for writer in self._writers.values():
            writer.seal(layout.PROVISIONAL)
        self.registry.sync()
        for slabs in self.slabs.values():
            for slab in slabs:
                slab.sync()

    def close(self, ended: str = CLOSED) -> None:
        """End the run: a last tick's counts, the open windows folded, how it ended on record. Twice is once.

        From inside a tick, a record or a declaration (a recorder, a signal handler) it takes place when that is over.
        Args: `ended`: how, in the words of the record of runs ("closed", "signal 15", "exit status 1").
        """
        if self._in_the_middle():
            self._close_asked = ended
            for writer in self._writers.values():
                writer.after = self._close_as_asked
            return
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with self._ticking, self._declaring:
            if self._closed or self.run.pid != os.getpid():
                return
            now_ns = self.clock()
            self._count()
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
                write_run(self.path / layout.RUNS_FILE, self.run)
            finally:
                self.registry.close()
                self._lock_file.release()
                _live.discard(self)
                self._close_asked = ""  # not before: who else was asked waits above until all of this is done

    def _in_the_middle(self) -> bool:
        """Say whether this thread holds a lock already: to wait for others, who may wait for it, would be for ever."""
        if held_here(self._ticking) or held_here(self._declaring):
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
        self._lock_file.abandon()
        self._declaring, self._ticking = threading.RLock(), threading.RLock()


def _interval_s(what: str, given: Duration | None, least_s: float) -> float | None:
    """Read an interval as seconds. Raises: UsageError: it is none, or not from `least_s` to a day."""
    if given is None:
        return None
    interval_s = seconds(f"{what}_interval_s", given)
    if not least_s <= interval_s <= _DAY_S:
        raise UsageError(f"{what} interval {interval_s:g} s: from {least_s:g} s to a day")
    return interval_s


_HANDLES: dict[str, Any] = {"counter": Counter, "gauge": Gauge}


def _forget_after_fork() -> None:
    for store in tuple(_live):
        store._after_fork()  # noqa: SLF001 - the same module
    _live.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
