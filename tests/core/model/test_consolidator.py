"""Which reading a query gets, and what it is told where there is none."""

import pytest

from rondo_core.errors import ConsolidatorError
from rondo_core.model.consolidator import Consolidator, pick_consolidator

KNOWN = {
    (each.name, kind): each
    for each in (
        Consolidator("last", ("counter", "gauge"), ("last",), lambda *_: 1),
        Consolidator("avg", ("gauge", "summary"), ("sum",), lambda *_: 2),
        Consolidator("max", ("gauge",), ("max",), lambda *_: 3),
    )
    for kind in each.kinds
}


@pytest.mark.parametrize(("kind", "name"), [("counter", "last"), ("gauge", "avg"), ("summary", "avg")])
def test_each_kind_has_a_default(kind, name):
    """A counter's total, a gauge's and a summary's mean."""
    assert pick_consolidator(None, kind, KNOWN) is KNOWN[name, kind]
    assert pick_consolidator("", kind, KNOWN) is KNOWN[name, kind]


def test_a_reading_is_found_by_name():
    """Whatever the default is."""
    assert pick_consolidator("max", "gauge", KNOWN).name == "max"


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("max", "counter", "fn max: not for a counter; choose last"),
        ("p99", "gauge", "fn p99: no such consolidator; choose avg, last, max"),
        ("mxa", "gauge", "fn mxa: no such consolidator; did you mean max"),
    ],
)
def test_a_reading_that_is_not_there_is_answered_with_those_that_are(name, kind, said):
    """Of that kind, sorted."""
    with pytest.raises(ConsolidatorError) as caught:
        pick_consolidator(name, kind, KNOWN)
    assert str(caught.value).startswith(said)


def test_a_reading_is_exact_and_of_many_samples_unless_it_says_otherwise():
    """What a plugin leaves out is the careful answer; two readings are the same only where they are one."""
    plain = Consolidator("x", ("gauge",), (), print)
    assert (plain.help, plain.of_one, plain.error, plain.grows) == ("", False, None, False)
    assert plain != Consolidator("x", ("gauge",), (), print)
