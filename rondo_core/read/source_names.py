"""Which series of Prometheus a store has: what a query's matchers choose among, without a look at each label."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from rondo_core.model.labels import Series
from rondo_core.model.prometheus import BUCKETS, HISTOGRAM, Column, all_columns, sorted_labels, whole_labels
from rondo_core.model.schema import Schema
from rondo_core.storage.registry import Registry

NAME = "__name__"
LE = "le"
QUANTILE = "quantile"
# Functions that read what a total has grown by.
OF_TOTALS = frozenset({"rate", "increase", "irate"})
# Functions that need two points of a range.
OF_GROWTH = OF_TOTALS | {"delta", "idelta", "deriv", "predict_linear"}
_INDEXED = 16  # series of a name; of fewer each is looked at
# Choices that a store remembers, how many series one of these may have, and characters of its matchers: 2 MiB at most.
_CHOICES_KEPT, _SERIES_KEPT, _TEXT_KEPT = 32, 128, 512


class SourceMatcher(Protocol):
    """A condition on one label; a label that a series does not have counts as the empty text."""

    @property
    def name(self) -> str:
        """The label's name."""

    @property
    def matches(self) -> Callable[[str], bool]:
        """Say whether a value of the label fulfils it."""


class Chosen(NamedTuple):
    """A series of Prometheus, `labels` with its `__name__`, and the column of a store's series that it is."""

    labels: dict[str, str]
    series: Series
    column: Column


class Choice:
    """The matchers of one selector, each asked once about each value."""

    def __init__(self, matchers: Sequence[SourceMatcher], func: str = "") -> None:
        """Take the matchers, all of which must hold, and the function that reads what they choose.

        What reads histograms is not given the quantiles that go by the same name, unless a matcher asks for these.
        """
        self.func = func
        asked = any(each.name == QUANTILE for each in matchers)
        self._histograms_only = not asked and (func in OF_TOTALS or func.startswith("histogram_"))
        equal = [each for each in matchers if getattr(each, "op", "") == "=" and each.name not in {NAME, LE, QUANTILE}]
        # The labels of which one value is chosen, so that whoever has an index need not look at each series.
        self.equal = {each.name: value for each in equal if (value := getattr(each, "value", ""))}
        self._names = [_remembering(each) for each in matchers if each.name == NAME]
        # The one name that may be chosen; None: there may be others.
        named = [each for each in matchers if each.name == NAME and getattr(each, "op", "") == "="]
        self.name: str | None = getattr(named[0], "value", None) if named else None
        self._le = [_remembering(each) for each in matchers if each.name == LE]
        self._others = [(each.name, _remembering(each)) for each in matchers if each.name not in {NAME, LE}]

    def takes_name(self, series_name: str, column: Column) -> bool:
        """Say whether a column's name is chosen; buckets are where they are asked for by that name."""
        if column.quantile and self._histograms_only:
            return False
        if column == BUCKETS and all(test[series_name] for test in self._names):
            return False
        name = series_name + column.suffix
        return all(test[name] for test in self._names)

    def takes(self, labels: Mapping[str, str], column: Column) -> bool:
        """Say whether the other labels are chosen; that of a bucket's bound is still to be looked at."""
        if not all(test[labels.get(name, "")] for name, test in self._others):
            return False
        return column == BUCKETS or self.takes_bound(labels.get(LE, ""))

    def takes_bound(self, bound: str) -> bool:
        """Say whether a value of the label `le` is chosen."""
        return all(test[bound] for test in self._le)


class _Answers(dict[str, bool]):
    """What a matcher said of each value; asked where it has not been yet."""

    def __init__(self, matcher: SourceMatcher) -> None:
        super().__init__()
        self._matcher = matcher

    def __missing__(self, value: str) -> bool:
        answer = self[value] = bool(self._matcher.matches(value))
        return answer


_remembering = _Answers


class SourceNames:
    """The series of one store, grouped by schema and name; those declared later come in when it is asked."""

    def __init__(self, registry: Registry, schemas: Iterable[Schema]) -> None:
        """Look at nothing yet."""
        self._registry = registry
        self._columns = {each.name: all_columns(each.kind, sketched=each.sketch) for each in schemas}
        self._seen = dict.fromkeys(self._columns, 0)
        self._groups: dict[tuple[str, str], list[Series]] = {}
        self._sent: dict[str, list[tuple[str, Column, list[Series]]]] = {}
        self._owners: dict[str, int] = {}
        self._by_value: dict[tuple[str, str, str], tuple[int, dict[str, list[Series]]]] = {}
        self._choices: dict[tuple[str, ...], tuple[int, Choice, list[Chosen]]] = {}

    def declared_ns(self) -> list[int]:
        """Give when the oldest series was declared; nothing, where there is none, or where it is not known."""
        self._take_new()
        born = [each.created_ns for several in self._groups.values() for each in several if each.created_ns > 0]
        return [min(born)] if born else []

    def groups(self) -> Iterator[tuple[str, Column, list[Series]]]:
        """Give the name of a store's series, each of its columns, and the series that have both."""
        self._take_new()
        for (schema, name), series in tuple(self._groups.items()):
            for column in self._columns[schema]:
                yield name, column, series

    def choose_again(self, matchers: Sequence[SourceMatcher], func: str) -> tuple[Choice, list[Chosen]]:
        """Choose as `choose` does, with no winning labels; what was chosen by equality is remembered.

        Nobody may write to what is given.
        """
        key, n_series = _key(matchers, func), len(self._registry)
        known = self._choices.get(key)
        if known is not None and known[0] == n_series:
            return known[1:]
        choice = Choice(matchers, func)
        chosen = self.choose(choice, {})
        if key and len(chosen) <= _SERIES_KEPT:
            if len(self._choices) >= _CHOICES_KEPT:
                self._choices.clear()
            self._choices[key] = n_series, choice, chosen
        return choice, chosen

    def choose(self, choice: Choice, winning: Mapping[str, str]) -> list[Chosen]:
        """Give the series that are chosen, under labels that win over their own.

        Where two become one label set (`x_count` beside a summary `x`), the one that is called so itself keeps it.
        """
        found: list[Chosen] = []
        seen: set[object] = set()
        for name, column, several in self._named(choice):
            if not choice.takes_name(name, column):
                continue
            shared = bool(column.quantile) or self._owners[name + column.suffix] > 1
            for series in self._candidates(several, choice, winning):
                labels = whole_labels(series, column, winning)
                if not choice.takes(labels, column):
                    continue
                if shared:
                    key = sorted_labels(labels), column == HISTOGRAM
                    if key in seen:
                        continue
                    seen.add(key)
                found.append(Chosen(labels, series, column))
        return found

    def _named(self, choice: Choice) -> Iterable[tuple[str, Column, list[Series]]]:
        """Give the groups of which a name may be chosen, as `groups` does."""
        if choice.name is None:
            return sorted(self.groups(), key=lambda group: group[2][0].kind == "summary")
        self._take_new()
        return tuple(self._sent.get(choice.name, ()))

    def _candidates(self, several: list[Series], choice: Choice, winning: Mapping[str, str]) -> Sequence[Series]:
        """Give the series of a group that may be chosen: by an index, where one value of a label is asked for."""
        label = next((name for name in choice.equal if name not in winning), "")
        if not label or len(several) < _INDEXED:
            return tuple(several)
        key = several[0].schema, several[0].name, label
        n_series, index = self._by_value.get(key, (0, {}))
        if n_series != len(several):
            known, index = tuple(several), {}
            for series in known:
                if value := dict(series.labels).get(label):
                    index.setdefault(value, []).append(series)
            if index:  # a label that no series has is asked for by strangers, each time another
                self._by_value[key] = len(known), index
        return index.get(choice.equal[label], ())

    def _take_new(self) -> None:
        for schema, group in self._registry.by_schema.items():
            known, n_series = self._seen[schema], len(group)
            if known == n_series:
                continue
            self._seen[schema] = n_series
            for series in group[known:n_series]:
                several = self._groups.get((schema, series.name))
                if several is None:
                    several = self._groups[schema, series.name] = []
                    for column in self._columns[schema]:
                        sent = series.name + column.suffix
                        named = self._sent.setdefault(sent, [])
                        named.insert(len(named) if column.suffix else 0, (series.name, column, several))
                        self._owners[sent] = self._owners.get(sent, 0) + (column != HISTOGRAM and not column.quantile)
                several.append(series)


def _key(matchers: Sequence[SourceMatcher], func: str) -> tuple[str, ...]:
    """Tell a choice by equality from every other; empty: it is not worth remembering."""
    key = [func]
    for each in matchers:
        operator = getattr(each, "op", "")
        if operator not in {"=", "!="}:
            return ()
        key += (each.name, operator, getattr(each, "value", ""))
    return tuple(key) if sum(map(len, key)) <= _TEXT_KEPT else ()
