"""What a schema does when its clock steps back and when it returns: no history is lost in either, and no total.

The finest tier's part is here, under the writer's lock; the coarser tiers' is Consolidation's. Which rows, and how a
return is told from time going on: see set_aside.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rondo_core import faults
from rondo_core.model import ring
from rondo_core.storage import set_aside

if TYPE_CHECKING:
    from rondo_core.record.writer import Writer


class Coarser(Protocol):
    """The coarser tiers of a schema; buckets are of the finest."""

    def set_aside_rows(self, present: int) -> None:
        """Set aside what is later than the window of `present`."""

    def restore_rows(self, span: set_aside.Span) -> None:
        """Bring what was set aside into sight, in place of what was recorded since, in the finest tier too."""

    def discard_rows(self, last: int) -> None:
        """Let what was set aside up to `last` never be there again."""


class ClockSteps:
    """Attributes: `coarser`, None where there is one tier only; `step`, where the clock stands; `moved`, of each step
    how many rows were set aside and how many are there again, for who tells of it.
    """

    __slots__ = ("_writer", "coarser", "moved", "step")

    def __init__(self, writer: Writer) -> None:
        """Take up what the last writer's clock did."""
        self._writer, self.step = writer, set_aside.Step(writer.slab)
        self.coarser: Coarser | None = None
        self.moved: list[tuple[int, int]] = []

    def set_aside_rows(self, present: int) -> None:
        """Set aside the rows later than `present`, two buckets or more before the newest; totals go on in it."""
        writer = self._writer
        writer.current.force_slow_path()
        writer.fold(writer.bucket)  # late samples too: finer rows may be gone when what is set aside is there again
        self.step.note_step_back(present, set_aside.later_than(writer.slab, present)[0], writer.bucket)
        self._set_aside(present)

    def _set_aside(self, present: int) -> None:
        writer = self._writer
        slab, newest = writer.slab, writer.bucket
        future = set_aside.later_than(slab, present)
        # First, so that coarse rows are never ahead of the finest tier for any other reason; and once: the present row
        # may take the slot of one that a window is folded from.
        if self.coarser and not self.step.is_coarser_set_aside:
            self.coarser.set_aside_rows(present)
            self.step.note_coarser_set_aside()
            faults.point("take_back.coarser")
        # The newest last, after the present row has its totals: whoever reads, or is killed, in between finds no total
        # that steps back, and none lost.
        set_aside.set_aside(slab, future[:-1])
        slab.seal(ring.slot_of(newest, slab.spec.slot_count))
        writer.carry(present)
        faults.point("take_back.carried")
        if writer.holds(newest):  # not so where the present row has taken the newest one's slot
            set_aside.set_aside(slab, future[-1:])
        faults.point("take_back.dropped")
        writer.refused["taken_back"] += len(future)
        self.moved.append((len(future), 0))
        writer.unfolded_from = min(writer.unfolded_from, present // writer.ratio * writer.ratio)
        writer.opened_bucket = present
        writer.publish(present)
        self.step.back = 0

    def is_return(self, old: int, bucket: int) -> bool:
        """Say whether going from `old` on to `bucket` is a return; if not, discard what was set aside between.

        There is nothing to ask where `step.stepped` is false.
        """
        step = self.step
        if step.has_returned(old, bucket):
            step.back = old + 1
            return True
        if bucket > old + 1:
            set_aside.discard_rows(self._writer.slab, old + 1, bucket - 1)
        if step.is_over(bucket):
            if self.coarser:
                self.coarser.discard_rows(bucket)
            step.clear()
        return False

    def restore_rows(self, old: int, bucket: int) -> None:
        """Bring what was set aside between the buckets into sight, once what contradicts it has given way."""
        writer, step = self._writer, self.step
        slab, span = writer.slab, step.span(old, bucket)
        writer.refused["taken_back"] += set_aside.drop_newer(slab, span)
        if self.coarser:
            self.coarser.restore_rows(span)
        else:
            set_aside.agree([slab], writer.kind, span)
        self.moved.append((0, set_aside.restore_rows(slab, old + 1, bucket - 1)))
        faults.point("aside.returned")
        writer.changed(step.lowest)
        writer.opened_bucket = bucket
        step.returned(bucket)

    @property
    def lowest(self) -> int:
        """The first bucket recorded since the clock stepped back; 0: nothing is set aside."""
        return self.step.lowest

    @property
    def is_unfinished(self) -> bool:
        """Whether a process was killed as its clock stepped back, or returned."""
        return self.step.back != 0

    def finish(self) -> None:
        """End what it had begun."""
        bucket = self._writer.bucket
        if self.step.is_setting_aside:
            if bucket > self.step.present:
                self._set_aside(self.step.present)
            self.step.back = 0
            return
        if bucket < self.step.back:  # nothing has returned yet: whether the clock has, the next record finds
            self.step.back = 0
            return
        if self.coarser:
            self.coarser.set_aside_rows(bucket)
        self.restore_rows(self.step.back - 1, bucket)
