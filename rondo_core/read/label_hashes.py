"""Hash every label of many records of the registry at once: numpy walks all records side by side, field by field.

What is hashed of a label is its bytes in the record: a name as msgpack packs it, any other label as the pair of both
texts. An entry is one uint64: the upper half of the hash, and the record's position below it, so that the records that
may have a label lie side by side once entries are sorted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    Places = NDArray[np.int64]

POSITION = (1 << 32) - 1  # the bits of an entry that are the record's position
_ALL = (1 << 64) - 1
_FACTOR = 0x9E3779B97F4A7C15  # 2**64 by the golden ratio, which spreads what it multiplies
_WORD = 8
_AT_ONCE = 8192  # records of which the text is in the processor's cache
# Words that are hashed at a time, of all records: what a few with long labels may cost all others, hostile ones too.
_STEPS, _STEPS_OF_SOME = 4096, 256
# msgpack's marks: a text of under 32 bytes has its length in the mark, others in the one or two bytes behind it.
_FIXSTR, _STR8, _STR16, _PAIR, _FIXARRAY, _ARRAY16 = 0xA0, 0xD9, 0xDA, 0x92, 0x90, 0xDC


def entry_of(label: bytes) -> int:
    """Give the least entry that a record with this label can have; position 0."""
    found = 0
    for first in range(0, len(label), _WORD):
        found = (found ^ int.from_bytes(label[first : first + _WORD], "little")) * _FACTOR & _ALL
        found ^= found >> 32
    return found & ~POSITION


def entries_of(records: Sequence[bytes], first: int, end: int) -> NDArray[np.uint64]:
    """Make the entries of all labels of records first..end-1, in no order.

    Raises: ValueError: one of the records is not as `registry.encode_series` writes it, or some have labels so many
        or so long that it takes less to look at each record whenever a series is sought.
    """
    parts = [np.empty(0, np.uint64)]
    starts = range(first, end, _AT_ONCE)
    steps = iter(range(_STEPS + _STEPS_OF_SOME * len(starts)))
    for start in starts:
        try:
            for which, found in _Walk(records[start : min(start + _AT_ONCE, end)], steps).labels():
                parts.append(found & np.uint64(_ALL ^ POSITION) | (which + start).astype(np.uint64))
        except IndexError:
            raise ValueError("a record that ends too soon") from None
    return np.concatenate(parts)


class _Walk:
    """One step of all records at a time. Places are int64, in the text of all of them."""

    def __init__(self, records: Sequence[bytes], steps: Iterator[int]) -> None:
        text = b"".join([*records, bytes(_WORD)])
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        self._starts, self._steps = sizes.cumsum() - sizes, steps
        self._bytes = np.frombuffer(text, np.uint8)
        self._words = np.ndarray(len(text) - _WORD + 1, "<u8", text, 0, (1,))  # eight bytes from each on
        self._masks = np.array([(1 << 8 * length) - 1 for length in range(_WORD + 1)], np.uint64)

    def labels(self) -> Iterator[tuple[Places, NDArray[np.uint64]]]:
        """Give, of one label of each record after the other, which records have it and its hashes."""
        which, at = np.arange(len(self._starts)), self._starts + 1  # behind the mark of the record's own array
        end = self._behind_text(at)
        yield which, self._hashes(at, end)
        counts, at = self._array(end)
        label = 0
        while True:
            more = np.flatnonzero(counts > label)
            if not len(more):
                return
            if len(more) < len(counts):
                which, counts, at = which[more], counts[more], at[more]
            if (self._bytes[at] != _PAIR).any():
                raise ValueError("a label that is no pair")
            end = self._behind_text(self._behind_text(at + 1))
            yield which, self._hashes(at, end)
            at, label = end, label + 1

    def _behind_text(self, at: Places) -> Places:
        """Give the places behind the texts that begin at these."""
        mark = self._bytes[at]
        behind: Places = at + 1 + (mark & 31)
        if (mark >> 5 == _FIXSTR >> 5).all():
            return behind
        one, two = mark == _STR8, mark == _STR16
        if not ((mark >> 5 == _FIXSTR >> 5) | one | two).all():
            raise ValueError("a label that is no text")
        behind[one] = at[one] + 2 + self._bytes[at[one] + 1]
        behind[two] = at[two] + 3 + self._number(at[two] + 1)
        return behind

    def _array(self, at: Places) -> tuple[Places, Places]:
        """Give how many parts the arrays that begin at these places have, and where the first of them lies."""
        mark = self._bytes[at].astype(np.int64)
        counts, behind = mark - _FIXARRAY, at + 1
        if ((counts < 0) | (counts > 15)).any():
            long = mark == _ARRAY16
            if not (long | ((counts >= 0) & (counts <= 15))).all():
                raise ValueError("labels that are no array")
            counts[long] = self._number(at[long] + 1)
            behind[long] += 2
        return counts, behind

    def _number(self, at: Places) -> Places:
        number: Places = self._bytes[at].astype(np.int64) << 8 | self._bytes[at + 1]
        return number

    def _hashes(self, at: Places, end: Places) -> NDArray[np.uint64]:
        """Hash the bytes from `at` to `end` as `entry_of` does, word by word."""
        left, found, those = end - at, np.zeros(len(at), np.uint64), np.arange(len(at))
        while len(those):
            word = self._words[at]
            if (left < _WORD).any():
                word &= self._masks[np.minimum(left, _WORD)]
            whole = len(those) == len(found)
            if next(self._steps, None) is None:
                raise ValueError("labels too many or too long")
            mixed = (word ^ (found if whole else found[those])) * np.uint64(_FACTOR)
            mixed ^= mixed >> np.uint64(32)
            if whole:
                found = mixed
            else:
                found[those] = mixed
            more = np.flatnonzero(left > _WORD)
            if len(more) < len(at):
                those, at, left = those[more], at[more], left[more]
            at, left = at + _WORD, left - _WORD
        return found
