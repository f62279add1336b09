"""Why a selector matches no series: which of its conditions no series meets, and what there is instead."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from rondo_core.errors import UnknownSeriesError
from rondo_core.model.labels import Series
from rondo_core.model.selector import NAME_KEY, Matcher, Selector

if TYPE_CHECKING:
    from rondo_core.read.source_names import SourceMatcher

_SHOWN = 5
# Series and names that are looked at, and characters of one: a guess is not worth more, whoever asks.
_COMPARED, _LONGEST_COMPARED = 1000, 128


class _Source(Protocol):
    """The label sets that matchers take, and the names of metrics; see `StoreSource`."""

    def series(self, matchers: Sequence[SourceMatcher], /) -> list[dict[str, str]]: ...
    def metadata(self) -> Mapping[str, tuple[str, str, str]]: ...


def no_such_series(selector: Selector, series: Iterable[Series]) -> UnknownSeriesError:
    """Make the error for a selector that matches none of these series."""
    known, named = set[str](), list[Series]()
    for each in series:
        if len(known) < _COMPARED:
            known.add(each.name)
        if not selector.name or each.name == selector.name:
            named.append(each)
            if len(named) == _COMPARED:
                break
    if not named:
        nearest = _near(selector.name, names := sorted(known), 3) or names[:3]
        return UnknownSeriesError(selector.text, tuple(nearest))
    return UnknownSeriesError(selector.text, (), _why(selector, named))


def matchers_text(matchers: Sequence[SourceMatcher]) -> str:
    """Write matchers as PromQL has them."""
    given = [(each.name, getattr(each, "op", ""), getattr(each, "value", "")) for each in matchers]
    name = next((value for key, op, value in given if key == NAME_KEY and op == "="), "")
    rest = [each for each in given if each != (NAME_KEY, "=", name)]
    conditions = ",".join(f"{key}{op}{json.dumps(value, ensure_ascii=False)}" for key, op, value in rest)
    return name + (f"{{{conditions}}}" if rest else "")


def why_unmatched(source: _Source, matchers: Sequence[SourceMatcher]) -> UnknownSeriesError | None:
    """Make the error, which no one has to raise, for matchers of PromQL that take no series; None: they take some."""
    if source.series(matchers):
        return None
    text = matchers_text(matchers)
    names = [each for each in matchers if each.name == NAME_KEY]
    name = next((getattr(each, "value", "") for each in names if getattr(each, "op", "") == "="), "")
    if name:
        named = source.series(names)[:_COMPARED]
    else:
        taken = [each for each in sorted(source.metadata())[:_COMPARED] if all(test.matches(each) for test in names)]
        named = [each for found in taken[:_SHOWN] for each in source.series([*names, _Named(found)])][:_COMPARED]
    if not named:
        known = sorted(source.metadata())[:_COMPARED]
        if name in known:  # of what is served, though not of what may be asked for now
            return None
        wanted = name or next((getattr(each, "value", "") for each in names), "")
        return UnknownSeriesError(text, tuple(_near(wanted, known, 3) or known[:3]))
    others = [each for each in matchers if each.name != NAME_KEY]
    asked = tuple(
        Matcher(each.name, getattr(each, "op", ""), getattr(each, "value", ""), each.matches) for each in others
    )
    series = [
        Series(each[NAME_KEY], tuple((k, v) for k, v in each.items() if k != NAME_KEY), "gauge", "", 0)
        for each in named
    ]
    return UnknownSeriesError(text, (), _why(Selector(text, name, asked), series))


class _Named:
    """The matcher of one metric's name."""

    name, op = NAME_KEY, "="

    def __init__(self, value: str) -> None:
        self.value, self.matches = value, value.__eq__


def _near(word: str, words: Sequence[str], most: int) -> list[str]:
    return difflib.get_close_matches(word[:_LONGEST_COMPARED], words, most, 0.5)


def _why(selector: Selector, named: Sequence[Series]) -> str:
    alone = [matcher for matcher in selector.matchers if not any(_meets(matcher, each) for each in named)]
    for matcher in alone:
        who = selector.name or "a series here"
        values = sorted({_value(matcher.key, each) for each in named} - {""})
        if not values:
            keys = sorted({key for each in named for key, _ in each.labels})
            return f"{who} has no label {matcher.key}" + (f"; it has {_some(keys)}" if keys else ", nor any other")
        near = _near(matcher.value, values, 1)
        first = [*near, *(value for value in values if value not in near)]
        return f"{matcher.key} of {who} is {_some([_shown(value) for value in first], 'or')}"
    nearest = max(named, key=lambda each: sum(_meets(matcher, each) for matcher in selector.matchers))
    return f"no series meets all of these; one that meets most: {_shown(str(nearest))}"


def _meets(matcher: Matcher, series: Series) -> bool:
    return matcher.test(_value(matcher.key, series))


def _value(key: str, series: Series) -> str:
    return series.name if key == NAME_KEY else dict(series.labels).get(key, "")


def _shown(text: str) -> str:
    """Write a text that a stranger may have chosen without what a terminal would obey."""
    return text if text.isprintable() else ascii(text)


def _some(words: Sequence[str], joint: str = "and") -> str:
    """List words, the first few of many."""
    if len(words) > _SHOWN:
        more = len(words) - _SHOWN
        return f"{', '.join(words[:_SHOWN])} {joint} {'one of ' * (joint == 'or')}{more} more"
    return f" {joint} ".join(filter(None, (", ".join(words[:-1]), words[-1])))
