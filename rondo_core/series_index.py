"""Find series by label without reading each: which records hold which value of a label that is asked for.

What is looked at is the records' own bytes: a label with its value appears in a record as msgpack writes the pair, so
that a record without these bytes is not of such a series, and one with them is read to make sure.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

import msgpack

from rondo_core.labels import Series
from rondo_core.registry import Registry
from rondo_core.selector import NAME_KEY, Selector

_FEW = 512  # records that are looked at one by one sooner than a label's lists are made
_PAIR = b"\x92"  # an array of two
_STR8 = 0xD9  # the mark of a text whose length is in the next byte; below it is the length, above two bytes have it


class SeriesIndex:
    """Which records may hold a label with a value.

    When a label is first asked for, the text of all records is searched. The second time its lists are made, in one
    pass: value -> the positions, ascending, of the records that have it; they go on from there when there are more.
    From then on what one of 100,000 series costs depends on how many share its rarest label, not on how many there
    are. Thread-safe.
    """

    def __init__(self, registry: Registry) -> None:
        """Look into the records of a registry, which may grow."""
        self._registry = registry
        self._positions: dict[str, defaultdict[bytes, list[int]]] = {}  # by every label that was asked for
        self._read: dict[str, int] = {}
        self._text, self._ends = b"", list[int]()
        self._reading = threading.Lock()

    def select(self, selector: Selector) -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration.

        Raises: CorruptStoreError: see `Registry.by_schema`.
        """
        pairs = selector.pairs()
        if not pairs:
            return [each for each in self._registry if selector.matches(each)]
        try:
            marks = {pair: _packed(pair) for pair in pairs}
        except UnicodeEncodeError:  # a text that no label has
            return []
        records = self._registry.records
        with self._reading:
            positions = self._rarest(marks, len(records))
        for mark in marks.values():
            positions = [at for at in positions if mark in records[at]]
        found = self._registry.at(positions)
        if len(pairs) < selector.conditions():
            return [each for each in found if selector.matches(each)]
        for pair in pairs:
            if pair[0] == NAME_KEY:
                found = [each for each in found if each.name == pair[1]]
            else:
                found = [each for each in found if pair in each.labels]
        return found

    def _rarest(self, marks: dict[tuple[str, str], bytes], n_records: int) -> Sequence[int]:
        """Give the positions of the records that may have the rarest of the pairs, or one that is rare enough."""
        rarest: Sequence[int] = range(n_records)
        for key, value in sorted(marks, key=lambda pair: (pair[0] == NAME_KEY, pair[0] not in self._positions)):
            if len(rarest) <= _FEW:
                break
            if key in self._positions:
                positions: Sequence[int] = self._having(key, value, n_records)
            else:
                self._positions[key] = defaultdict(list)
                positions = self._holding(marks[key, value], n_records, len(rarest))
            if len(positions) < len(rarest):
                rarest = positions
        return rarest

    def _holding(self, mark: bytes, n_records: int, limit: int) -> Sequence[int]:
        """Search the text of all records; give all positions where as many as `limit` hold the mark."""
        if len(self._ends) != n_records:
            records = self._registry.records[:n_records]
            self._text, self._ends = b"".join(records), list(accumulate(map(len, records)))
        text, ends = self._text, self._ends
        if text.count(mark) >= limit:
            return range(n_records)
        found: list[int] = []
        start = text.find(mark)
        while start >= 0:
            found.append(bisect_right(ends, start))
            start = text.find(mark, ends[found[-1]])
        return found

    def _having(self, key: str, value: str, n_records: int) -> Sequence[int]:
        """Give the positions of the records that may have the value of a label, all that do among them."""
        known, first = self._positions[key], self._read.get(key, 0)
        if first < n_records:
            self._note(known, key, first, n_records)
            self._read[key] = n_records
        return known.get(msgpack.packb(value), ())

    def _note(self, known: defaultdict[bytes, list[int]], key: str, first: int, end: int) -> None:
        """Note the value of a label in records first..end-1, under the bytes that msgpack makes of it."""
        records, mark = self._registry.records, b"" if key == NAME_KEY else _PAIR + msgpack.packb(key)
        for at in range(first, end):
            # The name lies behind an array's own byte, a label's value behind the pair's and the key.
            parts = records[at].split(mark, 2) if mark else (b"", records[at][1:])
            if len(parts) == 1:
                continue
            if len(parts) == 3:  # some other text or number looks like the key
                for pair in self._registry.at((at,))[0].labels:
                    if pair[0] == key:
                        known[msgpack.packb(pair[1])].append(at)
            elif len(rest := parts[1]) > 2:
                if rest[0] < _STR8:
                    length = 1 + (rest[0] & 31)
                else:
                    length = 2 + rest[1] if rest[0] == _STR8 else 3 + (rest[1] << 8 | rest[2])
                known[rest[:length]].append(at)


def _packed(pair: tuple[str, str]) -> bytes:
    """Give the bytes that the record of every series with this label, or this name, holds."""
    packed: bytes = msgpack.packb(pair[1] if pair[0] == NAME_KEY else pair)
    return packed
