"""Names and label sets: what is taken, what is refused and how, and how a series is written."""

import enum

import pytest

from rondo_core.errors import LabelError
from rondo_core.model.labels import (
    KINDS,
    Series,
    canonical_labels,
    check_metric_name,
    check_text,
    cut_value,
    format_series,
    overridden,
    read_given,
)


@pytest.mark.parametrize("name", ["a", "_", ":", "A9:_z", "a" * 500])
def test_a_metric_name_of_prometheus_is_taken(name):
    """And given back."""
    assert check_metric_name(name) == name


@pytest.mark.parametrize("name", ["", "9a", "a-b", "a b", "ä", "a\n", 5, None, "a.b"])
def test_any_other_is_refused(name):
    """In a line that has the name and the mend."""
    with pytest.raises(LabelError, match=r"not a metric name; letters, digits, _ and : only, no digit first") as caught:
        check_metric_name(name)
    assert str(caught.value).startswith(repr(name))


def test_labels_are_sorted_texts_without_empty_ones():
    """From a mapping or from pairs; a value is what it is written as."""
    assert canonical_labels({"b": 1, "a": "x", "c": "", "d": None}) == (("a", "x"), ("b", "1"), ("d", "None"))
    assert canonical_labels([("b", 1.5), ("a", True)]) == (("a", "True"), ("b", "1.5"))
    assert canonical_labels([]) == ()
    assert canonical_labels({"a": "x" * 1024}) == (("a", "x" * 1024),)
    assert canonical_labels({"a": "ä" * 512}) == (("a", "ä" * 512),)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([("", "x")], "'': not a label name"),
        ([("9", "x")], "'9': not a label name"),
        ([("a:b", "x")], "'a:b': not a label name"),
        ([(5, "x")], "5: not a label name"),
        ([("__a", "x")], "'__a': label names that begin with __ are reserved"),
        ([("a", "x"), ("a", "y")], "'a': label given twice"),
        ([("a", {"b": "c"})], "a={'b': 'c'}: not one value; write each label with its own, such as method=\"get\"$"),
        ([("a", ["b"])], r"a=\['b'\]: not one value"),
        ([("a", ("b",))], r"a=\('b',\): not one value"),
        ([("a", {"b"})], "a={'b'}: not one value"),
        ([("a", "\ud800")], "not valid Unicode"),
        ([("a", "x" * 1025)], "a: value of 1025 bytes; at most 1024"),
        ([("a", "ä" * 513)], "a: value of 1026 bytes; at most 1024"),
    ],
)
def test_a_label_set_that_no_receiver_would_take_is_refused(labels, said):
    """When it is declared, and not when it is sent."""
    with pytest.raises(LabelError, match=said):
        canonical_labels(labels)


def test_a_label_of_one_underscore_is_one():
    """Only two are reserved."""
    assert canonical_labels({"_a": "x"}) == (("_a", "x"),)


@pytest.mark.parametrize(
    ("given", "labels", "help_text", "read"),
    [
        ((), {"a": 1}, "", ([("a", 1)], "")),
        (("words",), {}, "", ([], "words")),
        (("words",), {}, None, ([], "words")),
        (({"a": 1}, {"b": 2}), {"c": 3}, "h", ([("a", 1), ("b", 2), ("c", 3)], "h")),
        ((None, "words", {"a": 1}), {}, "", ([("a", 1)], "words")),
        ((None,), {}, None, ([], None)),
    ],
)
def test_what_follows_a_name_is_sorted_by_what_it_is(given, labels, help_text, read):
    """A text is the help, a mapping holds labels, nothing is nothing; keywords come last."""
    assert read_given("m", given, labels, help_text) == read


@pytest.mark.parametrize(
    ("given", "help_text", "said"),
    [
        (("words", "more"), "", "m: 'more': the help is given already"),
        (("words",), "there", "m: 'words': the help is given already"),
        ((["verb"],), "", r'm: \[\'verb\'\]: labels come with their values.* write verb="...", or {"verb": "..."}'),
        (([5, "no name", "verb"],), "", r'write verb="..."'),
        ((["no name"],), "", r'write method="..."'),
        (([],), "", r'write method="..."'),
        ((5,), "", r'm: 5: labels come with their values, a series for each: write method="..."'),
    ],
)
def test_what_is_neither_help_nor_labels_is_answered_with_how_to_write_them(given, help_text, said):
    """With the caller's own word where it can be a label's name."""
    with pytest.raises(LabelError, match=said):
        read_given("m", given, {}, help_text)


class Colour(str, enum.Enum):  # noqa: UP042 - StrEnum writes itself as its text
    """A text that writes itself as Colour.RED."""

    RED = "red"


@pytest.mark.parametrize(
    ("value", "cut"),
    [
        ("x", "x"),
        ("x" * 1025, "x" * 1024),
        ("x" * 1023 + "ä", "x" * 1023),
        ("a\ud800b", "a?b"),
        (5, "5"),
        (None, "None"),
        (Colour.RED, "red"),
        (["a"], ["a"]),
        (("a",), ("a",)),
        ({"a"}, {"a"}),
        ({"a": "b"}, {"a": "b"}),
    ],
)
def test_a_value_that_is_too_long_is_cut_at_a_whole_letter(value, cut):
    """In a program that runs: 1024 bytes of UTF-8, ? for what is none; what cannot be a value is refused later."""
    assert cut_value(value) == cut


def test_a_series_is_of_one_of_three_kinds():
    """They are on the disk of every store by these names."""
    assert KINDS == ("counter", "gauge", "summary")


def test_a_text_is_a_text_or_nothing():
    """Help and unit."""
    assert [check_text("m", "help", text) for text in ("words", "", None)] == ["words", "", ""]
    for wrong in (5, b"x", ["x"]):
        with pytest.raises(LabelError, match=r"m: unit .*: not a text; write it in quotes"):
            check_text("m", "unit", wrong)


def test_a_series_is_written_as_prometheus_writes_it():
    """Escaped, in the order of the labels; a name alone without braces."""
    assert format_series("a", ()) == "a"
    assert format_series("a", (("b", "c"), ("d", 'x"y\\z\n'))) == 'a{b="c",d="x\\"y\\\\z\\n"}'
    assert str(Series("a", (("b", "c"),), "gauge", "s", 3)) == 'a{b="c"}'
    assert Series("a", (), "gauge", "s", 3)[5:] == ("", "", 0)


def test_labels_displaced_in_one_go_keep_their_order_by_length_and_name():
    """The shorter name takes the first place that is free, whatever order they lie in."""
    own = (("a", "11"), ("exported_a", "2"))
    assert dict(overridden(own, {"a": "x", "exported_a": "y"})) == {
        "a": "x", "exported_a": "y", "exported_exported_a": "11", "exported_exported_exported_a": "2",
    }  # fmt: skip
    own = (("a", "1"), ("exported_a", "2"), ("b", "3"))
    assert dict(overridden(own, {"a": "x", "exported_a": "y", "b": "z"})) == {
        "a": "x", "b": "z", "exported_a": "y", "exported_b": "3",
        "exported_exported_a": "1", "exported_exported_exported_a": "2",
    }  # fmt: skip
