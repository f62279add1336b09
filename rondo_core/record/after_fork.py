"""A store after fork: the child's handles count into a store of the child's own, or nowhere, and the parent's goes on.

In the child all handles take the slow path, whose first record, or the store's thread, makes a store with the parent's
schemas and with its series in the same columns, and points the same handles at its rows. What the child has of its
parent's files it lets go of at once.
"""

from __future__ import annotations

import abc
import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, get_args

from rondo_core import forking
from rondo_core.clock import Clock
from rondo_core.errors import RondoError, StoreClosedError, StoreForkedError, one_line
from rondo_core.forking import at_fork
from rondo_core.record.closed_files import open_again
from rondo_core.record.consolidation import Consolidation
from rondo_core.record.declaring import Declarations
from rondo_core.record.instruments import Instruments
from rondo_core.record.marks import EventLog
from rondo_core.record.notices import Notices
from rondo_core.record.ticking import TickThread
from rondo_core.record.writer import Writer
from rondo_core.storage.directory import Meta, open_alone
from rondo_core.storage.files import Folder
from rondo_core.storage.lock import WriterLock, held_by_thread
from rondo_core.storage.own import create_own, sync_own
from rondo_core.storage.registry import Registry
from rondo_core.storage.runs import Run, on_record
from rondo_core.storage.slab import Slab

if TYPE_CHECKING:
    from rondo_core.read.store_reader import View
    from rondo_core.retention.retention_thread import RetentionThread
    from rondo_core.storage.held import HeldFile

IfLocked = Literal["raise", "beside", "off"]
IF_LOCKED = get_args(IfLocked)
Paths = Callable[[], Iterable[Path]]
OFF, FORKED, NO_FILES = "off", "forked", "descriptors"  # why nothing is kept
FAR_NS = 1 << 62
_live: weakref.WeakSet[ForkableStore] = weakref.WeakSet()
_untold = threading.RLock()  # of what a child does that no hook has told of its fork


class Attachment(Protocol):
    """What goes along with a store, as its exporters do."""

    def close(self, ended_run: int, /) -> object:
        """End, after the store was closed, which ended the run of this number."""


class ForkableStore(Instruments, abc.ABC):
    """What a store is beyond one process.

    Attributes: `unkept`: why this process keeps nothing of what it records, a word; "": it keeps all.
    """

    path: Path
    meta: Meta
    clock: Clock
    run: Run
    registry: Registry
    slabs: dict[str, list[Slab]]
    unkept = ""
    _pid = 0
    _under_way = _made_in_child = False
    _is_over = False  # the process ends: what is recorded yet goes nowhere, without a word
    _events: EventLog | None = None
    _faulthandler = False
    _from_children = -1  # an eventfd, by which children say how many of their samples were not kept
    _entered = 0  # how many blocks are in it: `open_store` gives the same store to several
    _paths: Paths | None = None  # of stores of a process's own, where its children have such; None: they have none
    _strict: bool
    _tick_s: float | None
    _folder: Folder
    _lock_file: WriterLock
    _runs: HeldFile | None
    _closed: bool
    _view: View | None
    _thread: TickThread | None
    _notices: Notices
    _writers: dict[str, Writer]
    _consolidations: dict[str, Consolidation]
    _declarations: Declarations
    _attachment: Attachment | None
    retention_thread: RetentionThread | None = None  # what keeps the directory that the store lies in within its bound
    _make_attachment: Callable[[Any], Attachment] | None
    _retain_in_child: Callable[[], None] | None = None  # what keeps the directory within its bound, left to children
    _ticking: threading.RLock
    _taking_up: threading.RLock

    @abc.abstractmethod
    def tick(self, now_ns: int | None = None) -> None:
        """Do what is done about once a second; see `Store.tick`."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Give the lock back, and close what is open."""

    @abc.abstractmethod
    def _open(self, *, new: bool = False) -> None:
        """Take up the files of the store whose lock this process has; `new`: a child's, with its parent's series."""

    def set_child_paths(self, paths: Paths) -> None:
        """Have each child of a fork record into a store of its own, made at the first of these paths that is free."""
        self._paths = paths

    def attach(self, make: Callable[[Any], Attachment]) -> None:
        """Have what `make` gives, for this store, closed after it; in a child it is made anew for the child's own.

        Where no thread is to be had for it, that is logged, and raised where the store is strict.
        """
        if forking.is_untold_parent():
            self._make_attachment = make
            return
        try:
            self._attachment = make(self)
        except RuntimeError as error:
            if self._strict:
                raise
            self._make_attachment = None
            self._warn_of_absence("exporters", error)
        else:
            self._make_attachment = make

    def _complete_in_child(self) -> None:
        """Do what a child's first record had no time for: write its new store to the disk, and make its companion."""
        self._made_in_child = False
        self._notices.of_disk(partial(sync_own, self.path))
        self._attach_in_child()
        if self._retain_in_child is not None:
            self._retain_in_child()

    def _attach_in_child(self) -> None:
        """Make what accompanies the store, in a child. A failure is logged, and recording goes on without."""
        if self._make_attachment is not None and self._attachment is None:
            try:
                self.attach(self._make_attachment)
            except (RondoError, RuntimeError) as error:  # the latter: no thread is to be had
                self._make_attachment = None
                self._warn_of_absence("exporters", error)

    def _warn_of_absence(self, what: str, why: Exception) -> None:
        """Log that recording goes on without `what`, exporters for example."""
        self._notices.warn(f"recording goes on without {what}: {one_line(why)}")

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied or pickled. Raises: TypeError."""
        raise TypeError(f"{self}: a store is of one process, and is not copied or pickled; open it where it is needed")

    def _is_own_process(self) -> bool:
        """Say whether this process is the one that the store was taken up in."""
        return self._pid == os.getpid()

    def _begin(self) -> None:
        """Let this process record, and know of its forks."""
        for writer in self._writers.values():
            writer.after_fork = self._open_in_child
            writer.begin()
        self._pid = os.getpid()  # not before: other threads wait until all of it is ready
        _live.add(self)

    def _before_fork(self) -> None:
        """Let children that will have no store of their own say what they lose of it."""
        if self._paths is None and not self.unkept and self._from_children < 0:
            with contextlib.suppress(OSError):  # no more descriptors are to be had
                self._from_children = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def _lost_by_children(self) -> int:
        """Give how many samples children have lost since the last look."""
        with contextlib.suppress(BlockingIOError):  # none
            return os.eventfd_read(self._from_children)
        return 0

    # -- in a child

    def _notify_parent(self, n_samples: int) -> None:
        with contextlib.suppress(OSError):
            os.eventfd_write(self._from_children, n_samples)

    def _after_fork(self) -> None:
        """Stand still, as what a fork has made of a store; from here on this is the child's."""
        self._pid = 0
        self._taking_up, self._under_way = threading.RLock(), False
        self.retention_thread = None  # its thread is the parent's
        self._ticking = threading.RLock()
        self._declarations.forked()
        renewed = self._paths is not None
        for writer in self._writers.values():
            writer.forked(renewed=renewed)
        if self.unkept:
            self._keep_nothing(self.unkept)
            return
        if self._runs is not None:
            self._runs.close()
            self._runs = None
        if self._events is not None:
            self._events.close()
        self._thread = self._attachment = self._events = None
        if renewed:
            self._unmap_parent()
            if self._tick_s is not None:
                self._start_ticking(later=True)

    def _unmap_parent(self) -> None:
        """Unmap the parent's rows, and close its directory."""
        if self._view is not None:
            self._view.forget()
        for slab in (each for slabs in self.slabs.values() for each in slabs):
            slab.close()
        self._folder.close()
        self._view, self.slabs = None, {}
        self._consolidations.clear()

    def _start_ticking(self, *, later: bool = False) -> None:
        if self._tick_s is not None and not forking.is_untold_parent():
            self._thread = TickThread(self, self._tick_s, self._notices, later=later)
            try:
                self._thread.start()
            except RuntimeError as error:  # the process may have no more threads: its records go on
                self._thread = None
                if self._strict and not later:
                    raise
                self._notices.warn(f"not ticked in process {os.getpid()}: {one_line(error)}")

    def _open_in_child(self) -> None:
        """Have what records here recorded: in a store of this process's own, or nowhere; once for each process.

        Called before each slow record, declaration and tick of a child. From a signal handler in the middle of it,
        it does nothing.
        Raises: StoreForkedError, StoreError: where the store is strict and the child can have none of its own.
        """
        if not self._is_own_process():
            with _untold:  # one of several threads
                if self._pid and not self._is_own_process():
                    self._after_fork()
        with self._taking_up:
            if self._is_own_process() or self._under_way or self._closed:
                return
            self._under_way = True
            try:
                self._make_own()
            finally:
                self._under_way = False

    def _make_own(self) -> None:
        if self._paths is None:
            what = f"opened before fork by process {self.run.pid}"
            if self._strict:
                raise StoreForkedError(f"{self.path}: {what}; open a store of your own here")
            self._keep_nothing(FORKED)
            if self._from_children >= 0:
                for writer in self._writers.values():
                    writer.on_lost = self._notify_parent
            mend = "open the store after fork, or with Store.for_process or open_store, which give each child its own"
            self._notices.warn(f"{what}; what process {os.getpid()} records is not kept; {mend}")
            return
        try:
            schemas = self.meta.schemas
            series = Registry.in_memory(str(self.path), schemas, self.registry.records)
            path = create_own(self._paths(), schemas, series, on_record(self.clock()), self.meta.labels)
            self._folder, self.meta, self._lock_file = open_alone(path, None)
            self.path = path
            self._notices.name(path)
            self._open(new=True)
            self._made_in_child = True
        except Exception as error:  # whatever it is, the program goes on
            self._pid = 0
            for writer in self._writers.values():
                writer.forked(renewed=True)
            if self._strict:
                raise
            self._keep_nothing(FORKED)
            self._notices.warn(f"no store for process {os.getpid()}, which keeps nothing: {one_line(error)}")

    def _keep_nothing(self, why: str) -> None:
        """Let every handle take what it is given, and none of it be kept; what is declared is so in memory."""
        self._pid, self.unkept = os.getpid(), why
        self._declarations.move_to(Registry.in_memory(str(self.path), self.meta.schemas, self.registry.records))
        for writer in self._writers.values():
            for handle in writer.sketched.values():
                handle.force_slow_path()
            writer.keep_nothing(why, FAR_NS if why == OFF else 0)
        _live.add(self)

    def _check_process(self) -> None:
        if not self._is_own_process() and not self._closed and not held_by_thread(self._taking_up):
            self._open_in_child()

    def _check_open(self, *, all_files: bool = True) -> None:
        """Look whether the store may be used here. Args: `all_files`: else at its directory alone, if that is open."""
        if self._pid != os.getpid():
            self._check_process()
        if self._closed:
            raise StoreClosedError(f"{self.path}: closed; open it again to record")
        if not self.unkept and (all_files or not self._folder.is_open()):
            self._check_files()

    def _check_registry(self) -> None:
        """Look whether the store may be used here, and at what a new series is put on record with alone."""
        file = self._declarations.registry.file
        self._check_open(all_files=file is not None and not file.is_open())

    def _check_files(self) -> None:
        """Open anew what the program has closed of the store's files; where that cannot be, keep nothing more."""
        if self._runs is None:
            return
        with self._taking_up:
            files = [each for each in (self.registry.file, self._runs, self._events and self._events.file) if each]
            if self.unkept or (self._lock_file.is_open() and all(file.is_open() for file in files)):
                return
            self._from_children = -1  # which may be anyone's by now
            try:
                open_again(self._lock_file, files, self.slabs, self._events)
                self._notices.warn("the program has closed descriptors of the store, which were opened again")
            except (RondoError, OSError) as error:
                self._release()
                self._keep_nothing(NO_FILES)
                what = "the program has closed descriptors of the store; what is recorded from here on is not kept"
                self._notices.warn(f"{what}: {one_line(error)}")

    def _events_of_process(self) -> EventLog | None:
        """Give what keeps marks and notes, in this process; None where it keeps nothing, or is at its end."""
        if not self._is_over:
            self._check_open()
        return self._events

    def _stop(self, ended: str) -> None:
        for writer in self._writers.values():
            writer.stop(ended, is_over=self._is_over)
        self._closed = True
        self._forget()

    def _close_untaken(self, ended: str) -> None:
        """Close what no record of this process has had taken up; what is the parent's stays open."""
        if self._paths is None:
            return
        with self._taking_up:
            self._stop(ended)
        if self._thread is not None:
            self._thread.end()

    def _forget(self) -> None:
        """Have a fork do nothing to the store, which is closed."""
        _live.discard(self)


def _before() -> None:
    for store in tuple(_live):
        store._before_fork()  # noqa: SLF001 - the same module


def _in_child() -> None:
    global _untold  # noqa: PLW0603 - the parent's may be held by a thread that the child has not
    _untold = threading.RLock()
    for store in tuple(_live):
        store._after_fork()  # noqa: SLF001 - the same module


at_fork(before=_before, after_in_child=_in_child)
