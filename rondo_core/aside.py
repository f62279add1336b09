"""Rows of a future that the clock took back: set aside, and there again when the clock is.

A row that is set aside lies where it lay, whole and sealed, under a negative header: nobody reads it, and the ring gives
its slot away as any other. Whether the clock was wrong before it stepped back, or is wrong since, only time can tell:
it has returned when it goes forward at one go by more than half of what it had gone back, and by more than it has lived
since. Then those rows are there again, and of what was recorded meanwhile counters and summaries keep their totals only,
since at these times they were lower. Rows that the clock passes without that are let go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rondo_core import faults, layout, ring
from rondo_core.statistics import COVERAGE

if TYPE_CHECKING:
    from rondo_core.slab import Slab, Words

_LOWEST, _PRESENT, _FIRST, _BEFORE, _NEWEST, _BACK = range(layout.STEP_WORDS)


class Step:
    """Where the clock stepped back, in buckets of the finest tier, as words in that tier's header.

    Attributes: `stepped`: whether rows may be set aside. What the words say is in docs/storage-format.md.
    """

    __slots__ = ("_words", "stepped")

    def __init__(self, slab: Slab) -> None:
        """Take up what the last writer left; words that contradict each other say nothing."""
        self._words: Words = slab.step_words
        lowest, present, _, before, newest, back = self._words
        sound = 0 < lowest <= present and 0 < before <= newest and back >= 0
        if not sound and any(self._words):
            self.clear()
        self.stepped = sound

    def take_back(self, present: int, first: int, newest: int) -> None:
        """Put on record that the clock stands at `present`, and the rows from `first` to `newest` are to be set aside."""
        words = self._words
        words[_BACK] = present + 1
        words[_LOWEST] = min(words[_LOWEST] or present, present)
        words[_NEWEST] = max(words[_NEWEST], newest)
        words[_BEFORE], words[_FIRST], words[_PRESENT] = newest, first, present
        self.stepped = True

    def has_returned(self, old: int, bucket: int) -> bool:
        """Say whether going from `old` on to `bucket` is a return to the time before the step."""
        present, before = self._words[_PRESENT], self._words[_BEFORE]
        return self.stepped and bucket - old > max(old - present, (before - present) // 2)

    def is_over(self, bucket: int) -> bool:
        """Say whether the clock has passed all that it took back."""
        return self.stepped and bucket > self._words[_NEWEST]

    @property
    def lowest(self) -> int:
        """The first bucket recorded after a step back."""
        return self._words[_LOWEST]

    @property
    def back(self) -> int:
        """The first bucket of rows that are to be there again up to the newest, while a change is under way; else 0."""
        return self._words[_BACK]

    @back.setter
    def back(self, bucket: int) -> None:
        self._words[_BACK] = bucket

    def returned(self, bucket: int) -> None:
        """Put on record that all before `bucket` is settled; what was set aside beyond it still is."""
        words = self._words
        if bucket > words[_NEWEST]:
            self.clear()
            return
        words[_FIRST] = max(words[_FIRST], bucket + 1)
        words[_PRESENT] = words[_LOWEST] = bucket
        words[_BEFORE] = words[_NEWEST]
        words[_BACK] = 0

    def clear(self) -> None:
        """Put on record that nothing is set aside."""
        for word in (_PRESENT, _BACK, _LOWEST, _FIRST, _BEFORE, _NEWEST):
            self._words[word] = 0
        self.stepped = False


def set_aside(slab: Slab, buckets: Iterable[int]) -> None:
    """Take these rows out of sight, whole."""
    for bucket in buckets:
        slot = ring.slot_of(bucket, slab.spec.slot_count)
        if not slab.is_sealed(slot):
            slab.seal(slot)
        slab.row_header(slot)[0] = ~bucket
        faults.point("aside.set")


def later_than(slab: Slab, bucket: int) -> list[int]:
    """Give the buckets after this one whose rows are there, ascending."""
    return sorted(header for header in slab.buckets() if header > bucket)


def come_back(slab: Slab, first: int, last: int) -> int:
    """Bring the rows of buckets first..last that are set aside into sight; count them."""
    count = 0
    for slot, header in enumerate(slab.buckets()):
        if header < 0 and first <= ~header <= last and slab.seal_of(slot):
            slab.row_header(slot)[0] = ~header
            count += 1
            faults.point("aside.back")
    return count


def let_go(slab: Slab, first: int, last: int) -> None:
    """Let rows of buckets first..last that are set aside never be there again."""
    for slot, header in enumerate(slab.buckets()):
        if header < 0 and first <= ~header <= last:
            slab.unseal(slot)


def agree(slab: Slab, kind: str, first: int, last: int) -> None:
    """Let go of the rows of buckets first..last whose totals are above those of a later row."""
    import numpy as np

    totals = _totals(slab, kind)
    if totals is None:
        return
    bound: Any = np.inf
    headers = slab.buckets()
    held = sorted(((bucket, slot) for slot, bucket in enumerate(headers) if bucket >= first), reverse=True)
    for bucket, slot in held:
        mine = totals(slot)
        if bucket <= last and (mine > bound).any():
            slab.unseal(slot)
            slab.drop((slot,))
            faults.point("aside.agreed")
        else:
            bound = np.fmin(bound, mine)


def _totals(slab: Slab, kind: str) -> Any:
    """Give what reads a row's running totals, NaN where a series has none; None where the tier keeps none."""
    import numpy as np

    kept = [cell.name for cell in slab.spec.cells]
    if kind == "summary" and {"count", "count_base"} <= set(kept):
        counts, bases = slab.block("count"), slab.block("count_base")

        def read(slot: int) -> Any:
            return bases[slot] + np.abs(counts[slot])
    elif kind == "counter" and (name := next((each for each in ("last", "first") if each in kept), "")):
        block = slab.block(name)

        def read(slot: int) -> Any:
            return block[slot]
    else:
        return None
    if not slab.spec.tier:
        return read
    coverage = slab.block(COVERAGE)
    return lambda slot: np.where(coverage[slot] > 0, read(slot), np.nan)
