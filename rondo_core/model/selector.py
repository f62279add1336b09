"""Parse and match `name{key=value,other!="x",re=~"a|b"}`: quotes may be left out where nothing needs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, NoReturn

from rondo_core.errors import SelectorError
from rondo_core.model.labels import LABEL_NAME, METRIC_NAME, Series

_OPERATOR = re.compile(r"=~|!~|!=|=")
_BARE = re.compile(r"[^,{}\"'\s=!~]+")
_SPACE = re.compile(r"\s*")
NAME_KEY = "__name__"
# Takes a regular expression, gives what says whether the whole of a text matches. Raises: ValueError: it is none.
Compiler = Callable[[str], Callable[[str], bool]]
_UNESCAPED = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'"}


class Matcher:
    """One condition on a label; a label that a series does not have counts as the empty text."""

    __slots__ = ("key", "operator", "test", "value")

    def __init__(self, key: str, operator: str, value: str, test: Callable[[str], bool]) -> None:
        """Keep what was written, and the test that is made of it."""
        self.key, self.operator, self.value, self.test = key, operator, value, test

    def _written(self) -> tuple[str, str, str]:
        return self.key, self.operator, self.value

    def __eq__(self, other: object) -> bool:
        """Compare what was written."""
        return isinstance(other, Matcher) and self._written() == other._written()

    def __hash__(self) -> int:
        """Be looked up by what was written."""
        return hash(self._written())

    def __repr__(self) -> str:
        """Show what was written."""
        return "Matcher(key={!r}, operator={!r}, value={!r})".format(*self._written())


class Selector(NamedTuple):
    """A metric name, or none for any, and conditions on labels, all of which must hold."""

    text: str
    name: str
    matchers: tuple[Matcher, ...]

    def pairs(self) -> list[tuple[str, str]]:
        """Give the (label, value) pairs that a series must have; the name is the label `__name__`."""
        named = [(NAME_KEY, self.name)] if self.name else []
        return named + [(each.key, each.value) for each in self.matchers if each.operator == "=" and each.value]

    def conditions(self) -> int:
        """Count the conditions, the name among them."""
        return len(self.matchers) + bool(self.name)

    def matches(self, series: Series) -> bool:
        """Say whether the series is selected."""
        if self.name and series.name != self.name:
            return False
        if not self.matchers:
            return True
        labels = dict(series.labels)
        labels[NAME_KEY] = series.name
        return all(matcher.test(labels.get(matcher.key, "")) for matcher in self.matchers)


def parse_selector(text: str, compiler: Compiler | None = None) -> Selector:
    """Read a selector.

    Args: `compiler`: of its regular expressions; by default Python's `re`, which some expressions keep busy for ever:
        it is for what the owner of the store wrote. A stranger's selector is given one that is bounded, and is read
        anew each time.
    Raises: SelectorError: it does not parse; the message and `position` say where.
    """
    return _remembered(text) if compiler is None else _Parser(text, compiler).selector()


@lru_cache(256)
def _remembered(text: str) -> Selector:
    return _Parser(text, _compile).selector()


def _compile(pattern: str) -> Callable[[str], bool]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from None
    return lambda text: compiled.fullmatch(text) is not None


class _Parser:
    def __init__(self, text: str, compiler: Compiler) -> None:
        self._text, self._at, self._compiler = text, 0, compiler

    def selector(self) -> Selector:
        self._skip()
        name = self._take(METRIC_NAME) or ""
        matchers: list[Matcher] = []
        self._skip()
        if self._peek("{"):
            self._at += 1
            matchers = self._matchers()
        self._skip()
        if self._at < len(self._text):
            if self._text[self._at] in "[(":
                self._fail("a selector is no expression; ranges and functions are given beside it (--range, --fn)")
            self._fail("expected { or the end" if not matchers else "expected the end")
        return Selector(self._text.strip(), name, tuple(matchers))

    def _matchers(self) -> list[Matcher]:
        found: list[Matcher] = []
        while True:
            self._skip()
            if self._peek("}"):
                self._at += 1
                return found
            found.append(self._matcher())
            self._skip()
            if self._peek(","):
                self._at += 1
            elif not self._peek("}"):
                self._fail("expected , or }")

    def _matcher(self) -> Matcher:
        key = self._take(LABEL_NAME)
        if key is None:
            self._fail("expected a label name")
        self._skip()
        operator = self._take(_OPERATOR)
        if operator is None:
            self._fail("expected =, !=, =~ or !~")
        self._skip()
        start = self._at
        value = self._value()
        return Matcher(key, operator, value, self._test(operator, value, start))

    def _test(self, operator: str, value: str, start: int) -> Callable[[str], bool]:
        if operator == "=":
            return value.__eq__
        if operator == "!=":
            return value.__ne__
        try:
            matches = self._compiler(value)
        except ValueError as error:
            self._at = start
            self._fail(f"not a regular expression ({error})")
        if operator == "=~":
            return matches
        return lambda text: not matches(text)

    def _value(self) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote and quote in "\"'":
            return self._quoted(quote)
        value = self._take(_BARE)
        if value is None:
            self._fail("expected a value")
        return value

    def _quoted(self, quote: str) -> str:
        start = self._at
        out: list[str] = []
        self._at += 1
        while self._at < len(self._text):
            character = self._text[self._at]
            self._at += 1
            if character == quote:
                return "".join(out)
            if character == "\\" and self._at < len(self._text):
                escaped = self._text[self._at]
                self._at += 1
                out.append(_UNESCAPED.get(escaped, "\\" + escaped))
            else:
                out.append(character)
        self._at = start
        return self._fail("this quote is not closed")

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self._at)
        self._at = match.end() if match else self._at

    def _peek(self, character: str) -> bool:
        return self._text.startswith(character, self._at)

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._at)
        if match is None:
            return None
        self._at = match.end()
        return match[0]

    def _fail(self, what: str) -> NoReturn:
        raise SelectorError(f"{self._text}: at character {self._at + 1}: {what}", self._at)
