"""Selectors as people type them: what is read, what is selected, and where an error lies."""

import pytest

from rondo_core.errors import SelectorError
from rondo_core.model.labels import Series
from rondo_core.model.selector import NAME_KEY, Matcher, parse_selector

SERIES = Series("a_total", (("b", "x y"), ("c", "1")), "counter", "s", 0)


def read(text):
    """Give name and (key, operator, value) of a selector."""
    selector = parse_selector(text)
    return selector.name, [(each.key, each.operator, each.value) for each in selector.matchers]


@pytest.mark.parametrize(
    ("text", "name", "matchers"),
    [
        ("", "", []),
        ("  a:b_1  ", "a:b_1", []),
        ("{}", "", []),
        ("a {  }", "a", []),
        ("a{b=c}", "a", [("b", "=", "c")]),
        ("{ b = c , d != e , }", "", [("b", "=", "c"), ("d", "!=", "e")]),
        ("a{b=~c.*,d!~e|f}", "a", [("b", "=~", "c.*"), ("d", "!~", "e|f")]),
        ("""{b="c,}\\"d",e='"'}""", "", [("b", "=", 'c,}"d'), ("e", "=", '"')]),
        (r'{b="\n\t\\\"\d",c="\'"}', "", [("b", "=", '\n\t\\"\\d'), ("c", "=", "'")]),
        ('{b=""}', "", [("b", "=", "")]),
        ("{b=~''}", "", [("b", "=~", "")]),
    ],
)
def test_a_selector_is_read(text, name, matchers):
    """Quotes where they are needed, blanks anywhere, a comma at the end, and the escapes of Prometheus."""
    assert read(text) == (name, matchers)
    assert parse_selector(text).text == text.strip()


@pytest.mark.parametrize(
    ("text", "position", "what"),
    [
        ("a b", 2, "expected { or the end"),
        ("a{b=c} d", 7, "expected the end"),
        ("a{b=c}}", 6, "expected the end"),
        ("a{b=c", 5, "expected , or }"),
        ("a{b=c d=e}", 6, "expected , or }"),
        ("a{=c}", 2, "expected a label name"),
        ("a{b}", 3, "expected =, !=, =~ or !~"),
        ("a{b c}", 4, "expected =, !=, =~ or !~"),
        ("a{b=}", 4, "expected a value"),
        ("a{b=", 4, "expected a value"),
        ('a{b="c}', 4, "this quote is not closed"),
        ("a{b='c\\'}", 4, "this quote is not closed"),
        ("a{b='c\\", 4, "this quote is not closed"),
        ("a{b=~ '('}", 6, "not a regular expression"),
        ("a[5m]", 1, "a selector is no expression; ranges and functions are given beside it (--range, --fn)"),
        ("rate(a)", 4, "a selector is no expression; ranges and functions are given beside it (--range, --fn)"),
        ("a{,}", 2, "expected a label name"),
    ],
)
def test_an_error_says_what_was_expected_and_where(text, position, what):
    """Counted from 1 in the message, from 0 as a fact."""
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.position == position
    said = str(caught.value).removeprefix(f"{text}: at character {position + 1}: ")
    assert said.partition(" (")[0] == what if what == "not a regular expression" else said == what


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("a_total", True),
        ("a", False),
        ("a{c=1}", False),
        ("{c=1}", True),
        ("{c=1,b=x}", False),
        ("{c=1,b='x y'}", True),
        ("{c!=1}", False),
        ("{d!=1}", True),
        ("{d=''}", True),
        ("{c=''}", False),
        ("{c=~'1|2'}", True),
        ("{c=~'[2]'}", False),
        ("{b=~x}", False),
        ("{b!~x}", True),
        ("{b!~'x.*'}", False),
        ("{d=~''}", True),
        ("{__name__=a_total}", True),
        ("{__name__=~'a.*',c=2}", False),
    ],
)
def test_a_series_is_selected_by_all_conditions(text, selected):
    """A label that it does not have counts as the empty text; an expression matches the whole of a value."""
    assert parse_selector(text).matches(SERIES) is selected


def test_what_an_index_can_look_up_is_told():
    """The pairs that a series must have, the name among them, and how many conditions there are at all."""
    selector = parse_selector("a{b=c,d!=e,f='',g=~h}")
    assert selector.pairs() == [(NAME_KEY, "a"), ("b", "c")]
    assert selector.conditions() == 5
    assert parse_selector("{b=c}").pairs() == [("b", "c")]
    assert parse_selector("{b=c}").conditions() == 1
    assert parse_selector("").conditions() == 0
    assert NAME_KEY == "__name__"


def test_a_selector_is_remembered_unless_another_compiler_reads_it():
    """The owner's are read once; a stranger's are compiled by what bounds them, each time."""
    assert parse_selector("a{b=~c}") is parse_selector("a{b=~c}")
    asked = []

    def compiler(pattern):
        asked.append(pattern)
        return lambda text: text == "1"

    for _ in range(2):
        assert parse_selector("a_total{c=~x}", compiler).matches(SERIES)
        assert not parse_selector("a_total{c!~x}", compiler).matches(SERIES)
    assert asked == ["x"] * 4


def test_matchers_are_equal_by_what_they_say():
    """However their test is made."""
    assert Matcher("a", "=", "b", str.isdigit) == Matcher("a", "=", "b", str.isalpha)
    assert Matcher("a", "=", "b", str.isdigit) != Matcher("a", "=", "c", str.isdigit)
    assert "isdigit" not in repr(Matcher("a", "=", "b", str.isdigit))


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 5000 + ")" * 5000])
def test_an_expression_that_python_cannot_hold_is_none(pattern):
    """Too large a count, too deep a nesting: one error for all of them."""
    with pytest.raises(SelectorError, match="not a regular expression"):
        parse_selector(f"{{a=~'{pattern}'}}")


def test_matchers_that_are_written_alike_are_one():
    """In a set, in a dict, and as they are shown."""
    first, second, other = (parse_selector(text).matchers[0] for text in ('{a="b"}', "{a=b}", '{a!="b"}'))
    assert {first, second, other} == {first, other}
    assert len({first, second, other}) == 2
    assert repr(first) == "Matcher(key='a', operator='=', value='b')"
