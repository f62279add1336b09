"""Rows of a future that the clock took back: set aside, and there again when the clock is.

A row that is set aside lies where it lay, whole and sealed, under a negative header: nobody reads it, and the ring
gives its slot away as any other. Whether the clock was wrong before it stepped back, or is wrong since, only time can
tell: it has returned when it goes forward at one go by more than half of what it had gone back, and by more than it has
lived since. Then those rows are there again, and of what was recorded meanwhile totals go on, but rows give way that
contradict that history. Rows that the clock passes without that are discarded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rondo_core import faults
from rondo_core.model import layout, ring
from rondo_core.model.statistics import COVERAGE

if TYPE_CHECKING:
    from rondo_core.model.labels import Kind
    from rondo_core.storage.slab import Slab, Words

_LOWEST, _PRESENT, _FIRST, _BEFORE, _NEWEST, _BACK = range(layout.STEP_WORDS)
_GOING_BACK, _COARSER_WENT = -1, -2  # in _BACK, while rows are set aside; when those of the coarser tiers are


class Step:
    """Where the clock stepped back, in buckets of the finest tier, as words in that tier's header.

    Attributes: `stepped`: whether rows may be set aside. What the words say is in docs/storage-format.md.
    """

    __slots__ = ("_words", "stepped")

    def __init__(self, slab: Slab) -> None:
        """Take up what the last writer left; words that contradict each other say nothing."""
        self._words: Words = slab.step_words
        lowest, present, _, before, newest, back = self._words
        sound = 0 < lowest <= present and 0 < before <= newest and back >= _COARSER_WENT
        if not sound and any(self._words):
            self.clear()
        self.stepped = sound

    def note_step_back(self, present: int, first: int, newest: int) -> None:
        """Put on record that the clock stands at `present`, and rows from `first` to `newest` are to be set aside."""
        words, self.stepped = self._words, True
        words[_LOWEST] = min(words[_LOWEST] or present, present)
        words[_NEWEST] = max(words[_NEWEST], newest)
        words[_BEFORE], words[_FIRST], words[_PRESENT] = newest, first, present
        words[_BACK] = _GOING_BACK  # the last, for a kill in between: nothing is set aside yet

    def has_returned(self, old: int, bucket: int) -> bool:
        """Say whether going from `old` on to `bucket` is a return to the time before the step."""
        present, before = self._words[_PRESENT], self._words[_BEFORE]
        return self.stepped and bucket - old > max(old - present, (before - present) // 2)

    def span(self, old: int, bucket: int) -> Span:
        """Give what going from `old` back on to `bucket` goes over."""
        return Span(self._words[_LOWEST], old, bucket, self.reach(bucket))

    def is_over(self, bucket: int) -> bool:
        """Say whether the clock has passed all that it took back."""
        return self.stepped and bucket > self._words[_NEWEST]

    def reach(self, bucket: int) -> int:
        """Say up to where rows were recorded before `bucket`, where the clock has stepped back more than once; else 0.

        Then some of what it took back was recorded over the rest.
        """
        words = self._words
        nested = words[_LOWEST] != words[_PRESENT] or words[_BEFORE] != words[_NEWEST]
        return min(words[_NEWEST], bucket) if nested else 0

    @property
    def lowest(self) -> int:
        """The first bucket recorded after a step back."""
        return self._words[_LOWEST]

    @property
    def present(self) -> int:
        """The last bucket that the clock stepped back to, or returned to."""
        return self._words[_PRESENT]

    @property
    def is_setting_aside(self) -> bool:
        """Whether rows are being set aside."""
        return self._words[_BACK] < 0

    @property
    def is_coarser_set_aside(self) -> bool:
        """Whether those of the coarser tiers are set aside already, for which the finest had to be as it was."""
        return self._words[_BACK] == _COARSER_WENT

    def note_coarser_set_aside(self) -> None:
        """Put on record that they are."""
        self._words[_BACK] = _COARSER_WENT

    @property
    def back(self) -> int:
        """The first bucket of rows that are to be there again up to the newest, while these return; 0: none do."""
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
        words[_BEFORE] = words[_NEWEST]
        words[_PRESENT] = bucket
        words[_BACK] = 0

    def clear(self) -> None:
        """Put on record that nothing is set aside."""
        for word in (_PRESENT, _BACK, _LOWEST, _FIRST, _BEFORE, _NEWEST):
            self._words[word] = 0
        self.stepped = False


def stepped_to(slab: Slab) -> int:
    """Give the lowest bucket of the finest tier that the clock stepped back to; 0: none is on record."""
    return slab.step_words[_LOWEST]


class Span(NamedTuple):
    """What a return goes over: `lowest`, the first bucket recorded since the clock stepped back; `old`, the last one
    before it went on; `bucket`, the one it went on to; `reach`: see `Step.reach`. All are a tier's own.
    """

    lowest: int
    old: int
    bucket: int
    reach: int

    def of(self, ratio: int) -> Span:
        """Give the same in a tier whose rows hold so many buckets."""
        return Span(self.lowest // ratio, (self.old + 1) // ratio - 1, self.bucket // ratio, self.reach // ratio)


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


def restore_rows(slab: Slab, first: int, last: int) -> int:
    """Bring the rows of buckets first..last that are set aside into sight; count them."""
    places = _whole(slab, first, last)
    for bucket, slot in places:
        slab.row_header(slot)[0] = bucket
        faults.point("aside.back")
    return len(places)


def _whole(slab: Slab, first: int, last: int) -> list[tuple[int, int]]:
    """Give bucket and slot of the rows of buckets first..last that are set aside."""
    there = [(~header, slot) for slot, header in enumerate(slab.buckets()) if first <= ~header <= last]
    return [(bucket, slot) for bucket, slot in there if is_set_aside(slab, slot)]


def is_set_aside(slab: Slab, slot: int) -> bool:
    """Say whether a slot's row is set aside: out of sight, and whole."""
    return slab.row_header(slot)[0] < 0 and bool(slab.seal_of(slot))


def discard_rows(slab: Slab, first: int, last: int) -> None:
    """Let rows of buckets first..last that are set aside never be there again."""
    for slot, header in enumerate(slab.buckets()):
        if header < 0 and first <= ~header <= last:
            slab.unseal(slot)


def drop_newer(slab: Slab, step: Span) -> int:
    """Let the rows recorded since the step give way that lie in slots of the ring as it now is; count them.

    They were recorded over what was set aside there; so were, where the clock has stepped back more than once, rows
    that were set aside themselves.
    """
    slots, count = slab.spec.slot_count, 0
    for slot, bucket in enumerate(slab.buckets()):
        if step.lowest <= bucket <= min(step.old, step.bucket - slots):
            _free_slot(slab, slot, step.bucket)
            count += 1
    for bucket, slot in _whole(slab, step.old + 1, step.bucket):
        if bucket <= step.reach - slots:
            _free_slot(slab, slot, step.bucket)
    return count


def _free_slot(slab: Slab, slot: int, newest: int) -> None:
    """Leave the mark of the next bucket to come in the slot, as if the ring had come round.

    What lay there is then looked for in the next coarser tier.
    """
    slots = slab.spec.slot_count
    slab.unseal(slot)
    slab.row_header(slot)[0] = ~(ring.latest_in(slot, newest, slots) + slots)
    faults.point("aside.gave_way")


def agree(slabs: Sequence[Slab], kind: Kind, step: Span) -> None:
    """Let the rows since the step give way whose totals are above those of a later row, or of one that is to come back.

    All tiers together, the newest row first, so that what one tier still has of the history counts for each.
    """
    import numpy as np

    rows: list[tuple[int, int, int, Slab, Any]] = []
    for slab in slabs:
        totals, ratio = _totals(slab, kind), slab.spec.interval_ns // slabs[0].spec.interval_ns
        if totals is not None:
            mine = step.of(ratio)
            places = [(bucket, slot) for slot, bucket in enumerate(slab.buckets()) if bucket >= mine.lowest]
            places += _whole(slab, mine.old + 1, mine.bucket)
            rows += [((bucket + 1) * ratio, bucket * ratio, slot, slab, totals) for bucket, slot in places]
    rows.sort(key=lambda row: row[:2], reverse=True)
    bound: Any = np.inf
    ahead: list[tuple[int, Any]] = []  # rows that begin before the one that is looked at ends, one of each tier at most
    for end, start, slot, slab, totals in rows:
        mine = totals(slot)
        for each in [each for each in ahead if each[0] >= end]:
            bound = np.fmin(bound, each[1])
            ahead = [other for other in ahead if other is not each]
        if end <= step.bucket and (mine > bound).any():
            _free_slot(slab, slot, step.bucket * slabs[0].spec.interval_ns // slab.spec.interval_ns)
        else:
            ahead.append((start, mine))


def _totals(slab: Slab, kind: Kind) -> Any:
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
            return block[slot].copy()
    else:
        return None
    if not slab.spec.tier:
        return read
    coverage = slab.block(COVERAGE)
    return lambda slot: np.where(coverage[slot] > 0, read(slot), np.nan)
