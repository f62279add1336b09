"""Fold tier k into tier k+1: whole windows, from primitives that merge exactly, whenever the owner ticks.

A coarse row is always the merge of its whole window, however late or often it is folded: folding again gives the
same row. `next_window` in a coarse slab's header says from where folding goes on; it moves only after the rows are
there, so that a process killed at any instruction folds at most the same windows once more.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from operator import gt, lt

from rondo_core import faults, forking
from rondo_core.model import ring
from rondo_core.model.labels import Kind
from rondo_core.model.schema import Schema
from rondo_core.record.writer import Writer
from rondo_core.storage import set_aside
from rondo_core.storage.slab import Slab

FoldSmall = Callable[[Kind, tuple[Slab, Slab], int, int, int], int | None]


class Consolidation:
    """Keeps the coarser tiers of one schema in step with its finest one. Thread-safe; not shared over a fork.

    Attributes: `owner`, the store, which by this lives as long as a handle does; `due`: the bucket of the finest tier
        before which nothing is to be folded.
    """

    owner: object = None

    def __init__(
        self, schema: Schema, slabs: list[Slab], writer: Writer, *, anew: bool = False, copied: bool = False
    ) -> None:
        """Take up folding where the last writer left it; an open window that it folded is folded again.

        Args: `anew`: look again at every window of which the finer tier still has a row; `copied`: the files may be
        of different moments.
        """
        self._schema, self._slabs, self._writer = schema, slabs, writer
        # Reentrant: a signal handler that records in the middle of a fold may have to fold first itself.
        self._lock = threading.RLock()
        self._fold_small: FoldSmall | None = None
        self.due = 0
        if copied:
            self._drop_later()
        self._drop_folded_open()
        bucket = max(writer.bucket, writer.opened_bucket)
        for tier, slab in enumerate(slabs[1:], start=1):
            bucket //= schema.ratio(tier)
            # Damaged, or a writer was killed when it had folded its newest window, which is open again.
            if not 0 <= slab.next_window <= bucket:
                slab.next_window = min(max(slab.next_window, 0), bucket)
        if len(slabs) > 1:
            if anew:
                for tier in range(1, len(slabs)):
                    # A finer row may be older than all that the coarser tier has room for; what lies there is newer.
                    newest, count = max(slabs[tier].held_buckets(), default=0), slabs[tier].spec.slot_count
                    slabs[tier].next_window = max(self._oldest_window(tier), newest - count + 1)
            self._note_unfolded(slabs[1].next_window or self._oldest_window(1))
        writer.fold, writer.rewind, writer.steps.coarser = self.fold_closed, self.rewind, self

    def _drop_folded_open(self) -> None:
        """Drop what a closing store folded of windows that are still open: they are not whole any more.

        A closed window is, even where a late sample has it folded again, and so is an open one that held more than the
        finer tier has now: what a fold would not write again stays.
        """
        for tier, (slab, ratio) in reversed([*enumerate(self._by_ratio(), start=1)]):  # while the finer one is there
            window = slab.next_window
            slot = ring.slot_of(window, slab.spec.slot_count)
            is_open = window > 0 and (window + 1) * ratio > self._writer.bucket
            is_there = is_open and slab.row_header(slot)[0] == window
            if is_there and self._fold_any(tier, window, window + 1):
                slab.change()
                slab.unseal(slot)  # first: a row out of sight that is sealed is one that is set aside
                slab.drop([slot])
                slab.changed()
            elif slab.in_change:
                slab.change()
                slab.changed()

    def _drop_later(self) -> None:
        """Drop the windows that end after the finest tier does: its file was copied before theirs.

        To go on from its totals would be to fall behind theirs.
        """
        newest = self._writer.bucket
        for tier, (coarse, ratio) in enumerate(self._by_ratio(), start=1):
            window, finer = newest // ratio, newest * self._schema.ratio(tier) // ratio
            coarse.change()
            later = [ring.slot_of(each, coarse.spec.slot_count) for each in set_aside.later_than(coarse, window)]
            for slot in later:
                coarse.unseal(slot)  # or it would be one that is set aside
            coarse.drop(later)
            self._drop_open(tier, window, finer)
            coarse.changed()

    def _oldest_window(self, tier: int, none: int = 0) -> int:
        fine = self._slabs[tier - 1]
        held = fine.held_buckets()
        return min(held) // self._schema.ratio(tier) if held else none

    def _note_unfolded(self, window: int) -> None:
        if window:
            self._writer.unfolded_from = window * self._schema.ratio(1)

    def fold_closed(self, open_bucket: int) -> int:
        """Fold every window that ended before `open_bucket` of the finest tier began.

        Returns: how many coarse rows were written, over all tiers.
        """
        if open_bucket < self.due or len(self._slabs) < 2:
            return 0
        with self._lock:
            if self._writer.steps.is_unfinished:
                return 0  # another thread is bringing windows back, which a fold would overwrite
            written, newest = 0, self._writer.bucket
            for tier in range(1, len(self._slabs)):
                horizon, newest = open_bucket // self._schema.ratio(tier), newest // self._schema.ratio(tier)
                coarse = self._slabs[tier]
                end = min(horizon, newest + 1)  # what is not recorded yet, as a gap is entered, is not folded
                if end > coarse.next_window:
                    if coarse.next_window or self._oldest_window(tier, end) < end:
                        written += self._fold_any(tier, coarse.next_window, end)
                    faults.point("fold.move")
                    coarse.next_window = end
                    faults.point("fold.moved")
                open_bucket = max(horizon, coarse.next_window)
            self._note_unfolded(self._slabs[1].next_window)
            self.due = (self._slabs[1].next_window + 1) * self._schema.ratio(1)
            return written

    def fold_all(self) -> None:
        """Fold what is closed, and what is open as `fold_open` does: nothing more is recorded."""
        self.fold_closed(self._writer.bucket)
        self.fold_open()

    def fold_open(self) -> None:
        """Fold the newest windows too, as far as they have come; they are folded again when more comes.

        Not over what is set aside: a clock that was wrong for a second would cost the window.
        """
        with self._lock:
            newest = self._writer.bucket
            for tier in range(1, len(self._slabs)):
                newest //= self._schema.ratio(tier)
                coarse = self._slabs[tier]
                if set_aside.is_set_aside(coarse, ring.slot_of(newest, coarse.spec.slot_count)):
                    return
                self._fold_any(tier, coarse.next_window, newest + 1)

    def set_aside_rows(self, present: int) -> None:
        """Set aside the rows after the window that holds `present`, a bucket of the finest tier.

        That window itself is folded again where the finer tier still has what came before; else it stays as it is.
        """
        if len(self._slabs) < 2:
            return
        forking.load("numpy")
        with self._lock:
            for tier in range(1, len(self._slabs)):
                newest, present = present, present // self._schema.ratio(tier)
                coarse = self._slabs[tier]
                # What a killed process did not come to set aside is folded again, or the next one sets it aside.
                coarse.next_window = min(coarse.next_window, present)
                faults.point("fold.taken_back")
                coarse.change()
                set_aside.set_aside(coarse, set_aside.later_than(coarse, present))
                self._fold_again(tier, present, newest)
                coarse.changed()
            self.due = 0
            self._note_unfolded(self._slabs[1].next_window)

    def _fold_again(self, tier: int, window: int, newest: int) -> bool:
        """Drop a window's row, to be folded again from the finer tier's rows up to `newest`, if none of these is gone.

        One is gone where its slot was given to a newer bucket. Says whether the row was dropped.
        """
        fine, coarse = self._slabs[tier - 1], self._slabs[tier]
        header = coarse.row_header(ring.slot_of(window, coarse.spec.slot_count))
        if not window or header[0] != window:
            return False
        first, count = window * self._schema.ratio(tier), fine.spec.slot_count
        found = [bucket for rows in ring.slices(first, newest, count) for bucket in fine.buckets(rows)]
        # No slot's `ring.occupant` is later than the bucket.
        if any(map(gt, found, range(first, newest + 1))) or any(map(lt, found, range(~first, ~newest - 1, -1))):
            return False
        header[0] = ~header[0]
        return True

    def _drop_open(self, tier: int, window: int, newest: int) -> None:
        """Drop the row of an open window, as `_fold_again` does, for good: it is not one that is set aside."""
        if self._fold_again(tier, window, newest):
            self._slabs[tier].unseal(ring.slot_of(window, self._slabs[tier].spec.slot_count))

    def restore_rows(self, span: set_aside.Span) -> None:
        """Bring the windows that were set aside into sight, in place of what was recorded meanwhile.

        In the finest tier only what contradicts them gives way. Args: `span`: in buckets of the finest tier.
        """
        with self._lock:
            for slab in self._slabs:
                slab.change()
            for coarse, ratio in self._by_ratio():
                set_aside.drop_newer(coarse, span.of(ratio))
            set_aside.agree(self._slabs, self._schema.kind, span)
            for coarse, ratio in self._by_ratio():
                set_aside.restore_rows(coarse, (span.old + 1) // ratio, span.bucket // ratio)
            newest = span.bucket
            for tier, (_, ratio) in enumerate(self._by_ratio(), start=1):
                self._drop_open(tier, span.bucket // ratio, newest)
                newest = span.bucket // ratio
            self.due = 0
            for slab in self._slabs:
                slab.changed()

    def discard_rows(self, last: int) -> None:
        """Let rows that were set aside, up to the bucket `last` of the finest tier, never be there again."""
        with self._lock:
            for coarse, ratio in self._by_ratio():
                set_aside.discard_rows(coarse, 1, last // ratio)

    def _by_ratio(self) -> list[tuple[Slab, int]]:
        """Give the coarser slabs, each with how many of the finest buckets a row of it holds."""
        finest_ns = self._writer.interval_ns
        return [(slab, slab.spec.interval_ns // finest_ns) for slab in self._slabs[1:]]

    def rewind(self, bucket: int) -> None:
        """Fold again, on the next tick, every window from the one on that holds `bucket` of the finest tier."""
        with self._lock:
            for tier in range(1, len(self._slabs)):
                bucket //= self._schema.ratio(tier)
                coarse = self._slabs[tier]
                if coarse.next_window > bucket:
                    coarse.next_window = bucket
                    faults.point("fold.rewound")
            self.due = 0

    def _fold_any(self, tier: int, first: int, end: int) -> int:
        """Fold windows first..end-1 and count them; none, where a process was killed when it had folded its newest."""
        if first >= end:
            return 0
        n_series = self._writer.n_series
        if without_numpy():
            if self._fold_small is None:
                self._fold_small = load_fold()
            slabs = self._slabs[tier - 1], self._slabs[tier]
            written = self._fold_small(self._schema.kind, slabs, n_series, first, end)
            if written is not None:
                return written
        forking.load("rondo_core.fold.windows")
        from rondo_core.fold.windows import fold_windows

        return fold_windows(self._schema, tier, self._slabs[tier - 1], self._slabs[tier], n_series, first, end)


def load_fold() -> FoldSmall:
    """Load what folds, which the first window to close does else: no other thread runs in those 2 ms.

    What folds with numpy too, in a process that has numpy.
    """
    forking.load("rondo_core.record.fold_small", *(() if without_numpy() else ("rondo_core.fold.windows",)))
    from rondo_core.record.fold_small import fold_small

    return fold_small


def without_numpy() -> bool:
    """Say whether this process has done without numpy so far."""
    return "numpy" not in sys.modules
