"""Which reading a query gets, and what it is told where there is none."""

import pytest

from rondo_core.errors import ConsolidatorError
from rondo_core.model.consolidator import Consolidator, is_known, pick_consolidator

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


def test_an_open_bucket_is_read_unless_the_reading_is_of_a_part_of_it():
    """A gauge's last value may be shown at once; a count, or what is grown, waits until the bucket is over."""
    plain = {"name": "x", "kinds": ("gauge",), "needs": (), "read": print}
    assert not Consolidator(**plain).waits
    assert Consolidator(**plain, accumulates=True).waits
    assert Consolidator(**plain, grows=True).waits
    assert not Consolidator(**plain).adds_up


def centiles(name):
    """Make p1 to p99, for summaries."""
    return Consolidator(name, ("summary",), (), print) if name.startswith("p") and name[1:].isdigit() else None


TENTHS = {"d5": Consolidator("d5", ("summary",), (), print)}
WITH_FAMILIES = KNOWN | {
    ("p50", "summary"): Consolidator("p50", ("summary",), (), print, family=centiles),
    ("p50", "gauge"): Consolidator("p50", ("gauge",), (), print),
    ("odd", "counter"): Consolidator("odd", ("counter",), (), print, family=centiles),
    ("ten", "counter"): Consolidator("ten", ("counter",), (), print, family=TENTHS.get),
}


def test_a_family_makes_the_readings_that_nobody_listed():
    """Any centile, of the kinds that it is for, where a reading of that kind is of the family; what is listed first."""
    assert pick_consolidator("p42", "summary", WITH_FAMILIES).name == "p42"
    assert pick_consolidator("p50", "summary", WITH_FAMILIES) is WITH_FAMILIES["p50", "summary"]
    for name, kind in [("q42", "summary"), ("d5", "summary"), ("p42", "gauge"), ("p42", "counter")]:
        with pytest.raises(ConsolidatorError):
            pick_consolidator(name, kind, WITH_FAMILIES)


def test_a_name_is_known_where_any_kind_has_it():
    """As itself or by a family."""
    assert [is_known(name, WITH_FAMILIES) for name in ("max", "p50", "p7", "q7", "")] == [
        True,
        True,
        True,
        False,
        False,
    ]
