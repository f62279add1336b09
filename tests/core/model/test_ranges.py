"""Ranges and tiers as a query asks for them."""

import datetime as dt

import pytest

from rondo_core.errors import RangeError
from rondo_core.model.ranges import ALL, AUTO, Range, parse_range, tier_index
from rondo_core.model.schema import Schema, Tier
from rondo_core.units import format_instant, parse_zone

S = 10**9
SCHEMA = Schema("s", "gauge", 1, (Tier("1s", "2m"), Tier("10s", "10m")))


@pytest.mark.parametrize(
    ("text", "start_ns", "end_ns", "last_ns"),
    [
        ("all", 0, 2**62, None),
        (" all ", 0, 2**62, None),
        ("15m", 0, 2**62, 900 * S),
        ("1h30m", 0, 2**62, 5400 * S),
        ("5..7", 5 * S, 7 * S, None),
        ("5..", 5 * S, 2**62, None),
        ("..7", 0, 7 * S, None),
        ("..", 0, 2**62, None),
        ("2023-11-14T22:13:20Z..1700000001", 1_700_000_000 * S, 1_700_000_001 * S, None),
    ],
)
def test_a_range_is_all_or_a_duration_or_two_instants(text, start_ns, end_ns, last_ns):
    """Either instant may be left out."""
    assert parse_range(text) == Range(start_ns, end_ns, last_ns)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "'': not a range; write all, 15m, 2h..1h or START..END"),
        ("soon", "'soon': not a range"),
        ("7..7", "'7..7': ends before it starts"),
        ("8..7", "'8..7': ends before it starts"),
        ("x..7", "x"),
    ],
)
def test_what_is_none_is_refused(text, said):
    """With what one is."""
    with pytest.raises(RangeError, match=said.replace(".", r"\.")):
        parse_range(text)


def test_a_relative_range_ends_with_its_anchor():
    """The anchor itself is in it, so a range of one nanosecond is that instant; it begins no earlier than time does."""
    assert Range(last_ns=10).anchored(100) == Range(91, 101)
    assert Range(last_ns=1).anchored(100) == Range(100, 101)
    assert Range(last_ns=500).anchored(100) == Range(0, 101)
    assert Range(5, 6).anchored(100) == Range(5, 6)
    assert ALL.anchored(100) is ALL
    assert (Range() == ALL, ALL.start_ns, ALL.end_ns) == (True, 0, 2**62)


def test_a_tier_is_a_number_or_auto():
    """As a number or as its text."""
    assert tier_index(AUTO, SCHEMA) is None
    assert tier_index("auto", SCHEMA) is None
    assert [tier_index(tier, SCHEMA) for tier in (0, 1, "0", "1")] == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2h..1h", Range(last_ns=7200 * S, back_ns=3600 * S)),
        ("-2h..-1h", Range(last_ns=7200 * S, back_ns=3600 * S)),
        ("-90 .. -60", Range(last_ns=90 * S, back_ns=60 * S)),
        ("2h..", Range(last_ns=7200 * S)),
        ("2h..now", Range(last_ns=7200 * S, back_ns=0)),
        ("-15m", Range(last_ns=900 * S)),
        ("..1h", Range(back_ns=3600 * S)),
        ("5..1h", Range(5 * S, back_ns=3600 * S)),
        ("1h..7", Range(end_ns=7 * S, last_ns=3600 * S)),
    ],
)
def test_either_side_of_a_range_may_be_a_duration_back_from_now(text, wanted):
    """With a minus or without; a bare number is an instant unless it has one."""
    assert parse_range(text) == wanted
    assert parse_range(text).is_relative


def test_relative_ranges_side_by_side_have_each_instant_once():
    """Where one ends the next begins; a side that is an instant stays, and time begins with the epoch."""
    anchor = 10_000 * S - 1
    spans = [parse_range(text).anchored(anchor) for text in ("2h..1h", "1h..10s", "10s")]
    assert [(span.start_ns // S, span.end_ns // S) for span in spans] == [(2800, 6400), (6400, 9990), (9990, 10_000)]
    assert parse_range("5..1h").anchored(anchor) == Range(5 * S, 6400 * S)
    assert parse_range("2h..9000").anchored(anchor) == Range(2800 * S, 9000 * S)
    assert parse_range("..9h").anchored(anchor) == Range(0, 0)
    assert parse_range("9h..now").anchored(anchor) == Range(0, 10_000 * S)
    assert not Range(3, 7).is_relative


@pytest.mark.parametrize("text", ["1h..2h", "1h..1h", "-1h..-1h", "now..now", "now..1h"])
def test_durations_back_from_now_stand_the_longer_one_first(text):
    """The message says so."""
    with pytest.raises(RangeError, match=r"ends before it starts; write the longer duration first"):
        parse_range(text)


def test_a_range_that_turns_out_to_be_the_wrong_way_round_says_from_where_it_was_reckoned():
    """An hour back from now is after the instant that should be later."""
    with pytest.raises(RangeError, match=r"ends before it starts, reckoned from 1970-01-01T02:46:40Z"):
        parse_range("1h..60").anchored(10_000 * S)
    assert parse_range("1h..6401").anchored(10_000 * S) == Range(6400 * S + 1, 6401 * S)


def test_an_instant_without_a_zone_is_of_the_zone_that_is_asked_for():
    """One that names its own keeps it; so do seconds since the epoch."""
    berlin = parse_zone("Europe/Berlin")
    assert parse_range("2026-07-01T14:00..2026-07-01T14:00Z", berlin) == parse_range(
        "2026-07-01T12:00Z..2026-07-01T14:00Z"
    )
    assert parse_range("5..7", berlin) == Range(5 * S, 7 * S)
    assert format_instant(parse_range("2026-07-01T14:00..", berlin).start_ns, berlin) == "2026-07-01T14:00:00+02:00"
    assert format_instant(5, berlin) == "1970-01-01T01:00:00.000000005+01:00"
    assert parse_zone("UTC") is dt.UTC
    assert parse_zone("local").utcoffset(dt.datetime(2026, 7, 1, tzinfo=dt.UTC)) is not None
    for name in ("Europe/Nowhere", "../x", "", "/etc/passwd"):
        with pytest.raises(RangeError, match=r"no time zone that this machine knows.*Europe/Berlin"):
            parse_zone(name)


@pytest.mark.parametrize("tier", [2, "2", -1, "-1", "x", "", -2])
def test_a_tier_that_a_schema_does_not_have_is_refused(tier):
    """With those that it has."""
    with pytest.raises(RangeError, match=r"schema s has 0 \(1s/2m\), 1 \(10s/10m\); or choose auto") as caught:
        tier_index(tier, SCHEMA)
    assert str(caught.value).startswith(f"tier {tier!r}: ")
