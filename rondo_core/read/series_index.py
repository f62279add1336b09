"""Find series by label without reading each: which records may hold a label that is asked for.

What is looked at is the records' own bytes: a label with its value appears in a record as msgpack writes the pair, so
that a record without these bytes is not of such a series, and one with them is read to make sure.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgpack
import numpy as np
from numpy.typing import NDArray

from rondo_core.model.labels import Series
from rondo_core.model.selector import NAME_KEY, Selector
from rondo_core.storage.registry import Registry

if TYPE_CHECKING:
    from rondo_core.read.budget import Budget

    Entries = NDArray[np.int64]

FEW = 512  # records that are looked at one by one sooner than a label's values are sorted
_POSITION = (1 << 32) - 1  # the bits of an entry that are the record's position
_STR8, _STR16 = 0xD9, 0xDA  # msgpack's marks of a text whose length is in the one or two bytes behind


class SeriesIndex:
    """Which records may hold a label with a value.

    Once there are many records, the values of a label are hashed and sorted when it is first asked for, and those that
    come later when they are many: from then on what one of 100,000 series costs depends on how many share its value,
    not on how many there are. Threads may share it; two that sort at once do so twice.
    """

    def __init__(self, registry: Registry) -> None:
        """Look into the records of a registry, which may grow."""
        self._registry = registry
        self._sorted: dict[str, tuple[Entries, int]] = {}  # by label, and of how many records

    def select(self, selector: Selector, budget: Budget | None = None) -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration.

        Raises: CorruptStoreError: see `Registry.by_schema`; QueryLimitError: the time of the `budget` is over.
        """
        pairs = selector.pairs()
        if not pairs:
            return matching(selector, self._registry, budget)
        pairs.sort(key=lambda pair: pair[0] == NAME_KEY)  # the name, which most share, last
        try:
            marks = [_packed(pair) for pair in pairs]
        except UnicodeEncodeError:  # a text that no label has
            return []
        records = self._registry.records
        positions = self._rarest(pairs, len(records))
        for mark in marks:
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

    def _rarest(self, pairs: Sequence[tuple[str, str]], n_records: int) -> Sequence[int]:
        """Give the positions, ascending, of the records that may have a label that few have, or else the rarest."""
        if n_records <= FEW:
            return range(n_records)
        found: tuple[Entries, int] | None = None
        for key, value in sorted(pairs, key=lambda pair: pair[0] not in self._sorted):
            entries, n_sorted = self._of_label(key, n_records)
            least = hash(msgpack.packb(value)) & ~_POSITION
            first, end = entries.searchsorted((least, least | _POSITION)).tolist()
            if found is None or end - first < len(found[0]):
                found = entries[first:end], n_sorted
            if end - first <= FEW:
                break
        if found is None:
            return range(n_records)
        positions: list[int] = (found[0] & _POSITION).tolist()
        return [*positions, *range(found[1], n_records)]

    def _of_label(self, key: str, n_records: int) -> tuple[Entries, int]:
        """Give the entries of a label, sorted, and of how many records they are; of the others there are few."""
        entries, n_sorted = self._sorted.get(key) or (np.empty(0, np.int64), 0)
        if n_records - n_sorted <= FEW:
            return entries, n_sorted
        new = _entries(key, self._registry.records[n_sorted:n_records], n_sorted)
        if n_sorted:
            new = np.concatenate((entries, new))
            new.sort()
        if len(new):  # a label that no series has is asked for by strangers, each time another
            self._sorted[key] = new, n_records
        return new, n_records


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


def _entries(key: str, records: Sequence[bytes], first: int) -> Entries:
    """Make the entries of a label, ascending: of each record with it, the upper half of the value's hash, its position.

    Whatever else stands behind the same bytes has an entry too, as where a label's value holds what marks another.
    """
    mark = b"\x97" if key == NAME_KEY else b"\x92" + msgpack.packb(key)  # a record's seven parts, a pair's two
    hashes, positions, size = array("q"), array("q"), len(mark)
    for position, record in enumerate(records, first):
        at = record.find(mark)
        while at >= 0:
            at += size
            hashes.append(hash(_text_at(record, at)))
            positions.append(position)
            at = record.find(mark, at)
    entries: Entries = np.array(hashes, np.int64) & ~_POSITION | np.array(positions, np.int64)
    entries.sort()
    once: Entries = entries[np.diff(entries, prepend=-1) != 0]
    return once


def _text_at(record: bytes, at: int) -> bytes:
    """Give a text as msgpack wrote it there; any bytes, where it wrote none."""
    kind = record[at] if at < len(record) else 0
    if kind == _STR8:
        return record[at : at + 2 + int.from_bytes(record[at + 1 : at + 2])]
    if kind == _STR16:
        return record[at : at + 3 + int.from_bytes(record[at + 1 : at + 3])]
    return record[at : at + 1 + (kind & 31)]
