"""Find series by label without reading each: which records may hold a label that is asked for.

What is looked at is the records' own bytes: a label with its value appears in a record as msgpack writes the pair, so
that a record without these bytes is not of such a series, and one with them is read to make sure.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import msgpack
import numpy as np
from numpy.typing import NDArray

from rondo_core.model.labels import Series
from rondo_core.model.selector import NAME_KEY, Selector
from rondo_core.read.label_hashes import POSITION, entries_of, entry_of
from rondo_core.storage.lock import abandon_after_fork
from rondo_core.storage.registry import Registry

if TYPE_CHECKING:
    from rondo_core.read.budget import Budget

FEW = 512  # records that are looked at one by one sooner than their labels are sorted


class SeriesIndex:
    """Which records may hold a label with a value.

    All labels of all records are hashed and sorted together, once there are many records, and again when many have
    come since; from then on what one of 100,000 series costs depends on how many share its rarest label, not on how
    many there are. Thread-safe.
    """

    def __init__(self, registry: Registry) -> None:
        """Look into the records of a registry, which may grow."""
        self._registry = registry
        self._sorted: tuple[NDArray[np.uint64] | None, int] = (None, 0)  # and of how many records
        self._usual = True  # every record is as it was written here
        self._sorting = threading.Lock()
        abandon_after_fork(self)

    def select(self, selector: Selector, budget: Budget | None = None) -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration.

        Raises: CorruptStoreError: see `Registry.by_schema`; QueryLimitError: the time of the `budget` is over.
        """
        pairs = selector.pairs()
        if not pairs:
            return matching(selector, self._registry, budget)
        try:
            marks = [_packed(pair) for pair in pairs]
        except UnicodeEncodeError:  # a text that no label has
            return []
        records = self._registry.records
        positions = self._rarest(marks, len(records))
        for mark in reversed(marks):  # the name, which most share, last
            positions = [at for at in positions if mark in records[at]]
        found = self._registry.at(positions)
        if len(pairs) < selector.conditions():
            return matching(selector, found, budget)
        for pair in pairs:
            if pair[0] == NAME_KEY:
                found = [each for each in found if each.name == pair[1]]
            else:
                found = [each for each in found if pair in each.labels]
        return found

    def abandon(self) -> None:
        """Let a forked child sort for itself: a thread of the parent may have been at it."""
        self._sorting = threading.Lock()

    def keep_up(self) -> None:
        """Sort the labels of what came since, where it is much; a reader that does so early selects at once."""
        n_records = len(self._registry.records)
        if not self._usual or n_records - self._sorted[1] <= FEW:
            return
        with self._sorting:
            known, n_known = self._sorted
            if n_known >= n_records:  # another thread was faster
                return
            try:
                entries = entries_of(self._registry.records, n_known, n_records)
            except ValueError:  # which costs time and no series: every record is looked at
                self._usual, self._sorted = False, (None, 0)
                return
            entries = entries if known is None else np.concatenate((known, entries))
            self._sorted = np.unique(entries), n_records  # two labels of a record may have the same hash

    def _rarest(self, marks: Collection[bytes], n_records: int) -> Sequence[int]:
        """Give the positions, ascending, of the records that may have the rarest of the labels."""
        self.keep_up()
        entries, n_sorted = self._sorted
        if entries is None:
            return range(n_records)
        least = [entry_of(mark) for mark in marks]
        firsts = entries.searchsorted(np.array(least, np.uint64)).tolist()
        ends = entries.searchsorted(np.array([each | POSITION for each in least], np.uint64), "right").tolist()
        first, end = min(zip(firsts, ends, strict=True), key=lambda found: found[1] - found[0])
        positions: list[int] = (entries[first:end] & np.uint64(POSITION)).tolist()
        return [*positions, *range(n_sorted, n_records)]


def matching(selector: Selector, some: Iterable[Series], budget: Budget | None = None) -> list[Series]:
    """Give those of the series that match, one looked at after the other. Raises: QueryLimitError."""
    if budget is None:
        return [each for each in some if selector.matches(each)]
    found = []
    for each in some:
        budget.check()
        if selector.matches(each):
            found.append(each)
    return found


def _packed(pair: tuple[str, str]) -> bytes:
    """Give the bytes that the record of every series with this label, or this name, holds."""
    packed: bytes = msgpack.packb(pair[1] if pair[0] == NAME_KEY else pair)
    return packed
