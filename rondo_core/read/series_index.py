"""Find series by label without reading each: which records may hold a label that is asked for.

What is looked at is the records' own bytes: a label with its value appears in a record as msgpack writes the pair, so
that a record without these bytes is not of such a series, and one with them is read to make sure.
"""

from __future__ import annotations

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

FEW = 512  # records that are looked at one by one sooner than they are joined


class SeriesIndex:
    """Which records may hold a label with a value.

    Once there are many records they are joined into one text, and those that come later when they are many: a search
    through that text costs a tenth of a look at each record. Threads may share it; two that join at once do so twice.
    """

    def __init__(self, registry: Registry) -> None:
        """Look into the records of a registry, which may grow."""
        self._registry = registry
        self._joined: tuple[bytes, NDArray[np.int64]] = (b"", np.empty(0, np.int64))  # and where each record ends

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

    def _rarest(self, marks: Sequence[bytes], n_records: int) -> Sequence[int]:
        """Give the positions, ascending, of the records that may have the rarest of the labels."""
        text, ends = self._joined
        if n_records - len(ends) > FEW:
            new = self._registry.records[len(ends) : n_records]
            sizes = np.fromiter(map(len, new), np.int64, len(new))
            text, ends = self._joined = b"".join((text, *new)), np.append(ends, len(text) + sizes.cumsum())
        if not text:
            return range(n_records)
        rare = marks[1:] or marks  # the first is the name, if one is asked for, which most share
        mark = min(rare, key=text.count) if len(rare) > 1 else rare[0]
        found, at = [], text.find(mark)
        while at >= 0:
            found.append(at)
            at = text.find(mark, at + 1)
        positions: list[int] = np.unique(ends.searchsorted(found, "right")).tolist()
        return [*positions, *range(len(ends), n_records)]


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
