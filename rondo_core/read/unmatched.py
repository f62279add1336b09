"""Why a selector matches no series: which of its conditions no series meets, and what there is instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rondo_core.errors import UnknownSeriesError
from rondo_core.model.labels import Series
from rondo_core.model.selector import NAME_KEY, Matcher, Selector

_SHOWN = 5
# Series and names that are looked at, and characters of one: a guess is not worth more, whoever asks.
_COMPARED, _LONGEST_COMPARED = 1000, 128


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
