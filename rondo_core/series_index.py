"""Find series by label without looking at each: which series have which name and which label value."""

from __future__ import annotations

from collections.abc import Sequence

from rondo_core.labels import Series
from rondo_core.selector import NAME_KEY, Selector


class SeriesIndex:
    """The positions, in the order of declaration, of the series that have each (label, value); grows with them.

    A selector's conditions of equality are looked up, and what the shortest list names is looked at; so one of
    100,000 series is found as quickly as one of a hundred.
    """

    def __init__(self) -> None:
        """Know no series yet."""
        self._series: list[Series] = []
        self._positions: dict[tuple[str, str], list[int]] = {}

    def __len__(self) -> int:
        """Count the series that it knows."""
        return len(self._series)

    def add(self, series: Sequence[Series]) -> None:
        """Take in the series that were declared since: all of them, in order, those that are known first."""
        positions = self._positions
        for at in range(len(self._series), len(series)):
            each = series[at]
            for pair in ((NAME_KEY, each.name), *each.labels):
                known = positions.get(pair)
                if known is None:
                    positions[pair] = [at]
                else:
                    known.append(at)
        self._series += series[len(self._series) :]

    def select(self, selector: Selector) -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration."""
        pairs = selector.pairs()
        if not pairs:
            return [each for each in self._series if selector.matches(each)]
        lists = [self._positions.get(pair, []) for pair in pairs]
        shortest = min(lists, key=len)
        if len(pairs) == selector.conditions() == 1:
            return [self._series[at] for at in shortest]
        return [each for each in map(self._series.__getitem__, shortest) if selector.matches(each)]
