"""One slow record at a time, and none where none is kept: what stands between the handles and a schema's rows.

Why no lock guards the fast half: between the handle's look at the clock and its last store there is no call, so
CPython, which hands the interpreter over only at calls, loops and function entries, runs that stretch in one piece.
The slow half empties the span first, so that from then on every record waits for its lock and the rows stand still.
"""

from __future__ import annotations

import abc
import os
import threading
from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rondo_core.errors import StoreClosedError, StoreForkedError
from rondo_core.record import first_rows
from rondo_core.record.handles import Current, SketchedSummary
from rondo_core.storage.lock import held_by_thread

if TYPE_CHECKING:
    from rondo_core.storage.slab import Cells, Slab

Slow = Callable[[int, Any, int], object]  # column, what is recorded, now_ns


def _nothing_to_fold(_bucket: int) -> int:
    """Stand in for consolidation in a schema of one tier."""
    return 0


class SlowPath(abc.ABC):
    """Whatever a handle cannot store by itself, one record after the other.

    Attributes: `current`, what handles look at on every record; `row`, the float64 cells of the current row, and
    `header`, its int64 header; `bucket`, the newest one entered; `unfolded_from`, the first bucket not yet
    consolidated; `fold` and `rewind`, consolidation's part; `sketched`, the handles that count in a sketch by
    themselves; `refused`, counts by reason; `after`, called at the end of a slow record, without the lock;
    `after_fork`, before the first one in a child: see `forked`; `unkept`: the reason under which all is counted that
    comes, where none is kept, and `on_lost`, called with how many they are.
    """

    __slots__ = (
        "_busy",
        "_ended",
        "_is_over",
        "_lock",
        "_pid",
        "_template",
        "_touched",
        "_waiting",
        "after",
        "after_fork",
        "bucket",
        "current",
        "fold",
        "header",
        "on_lost",
        "path",
        "refused",
        "rewind",
        "row",
        "sketched",
        "slab",
        "unfolded_from",
        "unkept",
    )
    slab: Slab

    def __init__(self, path: str, refused: dict[str, int], template: Cells, current: Current) -> None:
        """Stand before every bucket; `template`: a row without a series; `path`: the store's, for messages."""
        self.path, self.refused, self.current, self._template = path, refused, current, template
        self.sketched: dict[int, SketchedSummary] = {}
        self._pid, self._ended, self.unkept, self._is_over = os.getpid(), "", "", False
        self.after: Callable[[], None] | None = None
        self.after_fork: Callable[[], None] | None = None
        self.on_lost: Callable[[int], None] | None = None
        self._touched: set[int] = set()
        self._waiting: deque[tuple[Slow, int, Any, int]] = deque()
        self._lock, self._busy = threading.RLock(), False
        self._point_at_scratch(0)

    def _point_at_scratch(self, until_ns: int) -> None:
        """Stand before every bucket, at a row in memory alone that takes records until then."""
        self.row, self.header = first_rows.scratch_of(self._template)
        self.current.point_at(self.row, self.header, 0, until_ns)
        self.bucket, self.unfolded_from = 0, 1 << 62
        self.fold: Callable[[int], int] = _nothing_to_fold
        self.rewind: Callable[[int], object] = _nothing_to_fold

    def stop(self, ended: str, *, is_over: bool = False) -> None:
        """Send every further record into the slow path, which refuses it: without a word where the process is over."""
        with self._lock:
            self._ended, self._is_over = ended, is_over
            self.current.force_slow_path()
            self.current.writer.functions.clear()

    def forked(self, *, renewed: bool) -> None:
        """Do the same in a child process, without a lock that a thread of the parent may hold.

        The next slow record there calls `after_fork`, which has the writer `begin` in another slab, or `keep_nothing`.
        Args: `renewed`: let no handle look at the parent's row any more: totals stand at 0.
        """
        self._pid = 0
        self.current.force_slow_path()
        if renewed:
            self._point_at_scratch(0)
        for handle in self.sketched.values():
            handle.force_slow_path()
        for reason in self.refused:
            self.refused[reason] = 0
        self._lock, self._busy = threading.RLock(), False
        self._touched.clear()
        self._waiting.clear()

    def begin(self) -> None:
        """Record in this process, once all is ready for it, and what came meanwhile."""
        self._pid = os.getpid()
        if self._waiting:
            self._alone(lambda _column, _value, _now_ns: None, 0, None, 0)

    def keep_nothing(self, reason: str, until_ns: int) -> None:
        """Take everything and keep none of it, counted under this reason where it is not for an instant before then."""
        self.unkept, self._pid = reason, os.getpid()
        self.refused[reason] = self.refused.get(reason, 0) + len(self._waiting)
        self._waiting.clear()
        self._point_at_scratch(until_ns)

    def _alone(self, call: Slow, column: int, value: Any, now_ns: int) -> None:
        """Run one slow record at a time; one from a signal handler in the middle of another waits for its end.

        Raises: StoreClosedError, StoreForkedError.
        """
        if self._pid != os.getpid() and not self._is_opened_in_child():
            self._waiting.append((call, column, value, now_ns))
            return
        try:
            with self._lock:
                if self._is_over:
                    return
                if self._ended:
                    raise StoreClosedError(f"{self.path}: closed; open it again to record")
                if self.unkept:
                    self._refuse(len(value) if isinstance(value, array) else 1)
                    return
                self._waiting.append((call, column, value, now_ns))
                if self._busy:
                    return
                self._busy = True
                self._record_waiting()
        finally:
            if self.after:
                self.after()

    def _refuse(self, n_samples: int) -> None:
        self.refused[self.unkept] += n_samples
        if self.on_lost is not None:
            self.on_lost(n_samples)

    def _record_waiting(self) -> None:
        pid = self._pid
        self.slab.change()
        try:
            while self._waiting:
                call, column, value, now_ns = self._waiting.popleft()
                call(column, value, now_ns)
        except Exception:
            if self._pid == pid:
                raise  # else a signal handler has forked: this is the child, and the record its parent's
        finally:
            if self._pid == pid:
                if self._touched:
                    self._seal_touched()
                self._busy = False  # no call lies between the last look at what waits and this
                self.slab.changed()

    def _is_opened_in_child(self) -> bool:
        """Have the store of a child taken up; False: this very thread is at it. Raises: as `_alone`."""
        if self._ended:
            return True
        if self.after_fork is None:
            what = "opened before fork by another process"
            raise StoreForkedError(f"{self.path}: {what}; open a store of your own here")
        self.after_fork()
        return self._pid == os.getpid()

    def held_by_thread(self) -> bool:
        """Say whether this very thread is in the middle of a slow record."""
        return held_by_thread(self._lock)

    @abc.abstractmethod
    def _seal_touched(self) -> None:
        """Seal the rows that a slow record has changed."""
