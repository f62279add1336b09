"""Find series by label without looking at each: which series have which value of a label that is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from rondo_core.labels import Series
from rondo_core.selector import NAME_KEY, Selector

_FEW = 256  # candidates that are looked at one by one sooner than a further label's lists are made


class SeriesIndex:
    """Per label that a selector has named: value -> the positions, ascending, of the series that have it.

    A label's lists are made when it is first asked for, in one pass over the series, and go on from there when there
    are more. What the shortest list of a selector's conditions of equality names is looked at; so what one of 100,000
    series costs depends on how many share its rarest label, not on how many there are.
    """

    def __init__(self) -> None:
        """Know no series yet."""
        self._series: list[Series] = []
        self._positions: dict[str, dict[str, array[int]]] = {}
        self._read: dict[str, int] = {}

    def __len__(self) -> int:
        """Count the series that it knows."""
        return len(self._series)

    def add(self, series: Sequence[Series]) -> None:
        """Take in the series that were declared since: all of them, in order, those that are known first."""
        self._series += series[len(self._series) :]

    def select(self, selector: Selector) -> list[Series]:
        """Give the series that the selector matches, in the order of their declaration."""
        pairs = selector.pairs()
        if not pairs:
            return [each for each in self._series if selector.matches(each)]
        found = list(map(self._series.__getitem__, self._shortest(pairs)))
        if len(pairs) < selector.conditions():
            return [each for each in found if selector.matches(each)]
        for pair in pairs:
            if pair[0] == NAME_KEY:
                found = [each for each in found if each.name == pair[1]]
            else:
                found = [each for each in found if pair in each.labels]
        return found

    def _shortest(self, pairs: Sequence[tuple[str, str]]) -> Sequence[int]:
        """Give the shortest list of those of the pairs; lists that others make needless are not made."""
        shortest: Sequence[int] = range(len(self._series))
        for key, value in sorted(pairs, key=lambda pair: (pair[0] not in self._positions, pair[0] == NAME_KEY)):
            if len(shortest) <= _FEW and self._read.get(key) != len(self._series):
                continue
            positions = self._having(key, value)
            if len(positions) < len(shortest):
                shortest = positions
        return shortest

    def _having(self, key: str, value: str) -> Sequence[int]:
        """Give the positions of the series whose label `key` has the value."""
        known, first = self._positions.setdefault(key, {}), self._read.get(key, 0)
        if first < len(self._series):
            for at in range(first, len(self._series)):
                series = self._series[at]
                if key == NAME_KEY:
                    _note(known, series.name, at)
                    continue
                for pair in series.labels:
                    if pair[0] == key:
                        _note(known, pair[1], at)
                        break
            self._read[key] = len(self._series)
        return known.get(value, ())


def _note(known: dict[str, array[int]], text: str, at: int) -> None:
    positions = known.get(text)
    if positions is None:
        known[text] = array("i", (at,))
    else:
        positions.append(at)
