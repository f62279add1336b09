"""Ranges and tiers as a query asks for them."""

import pytest

from rondo_core.errors import RangeError
from rondo_core.model.ranges import ALL, AUTO, Range, parse_range, tier_index
from rondo_core.model.schema import Schema, Tier

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
        ("", "'': not a range; write all, 15m, 1h30m or START..END"),
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


@pytest.mark.parametrize("tier", [2, "2", -1, "-1", "x", "", -2])
def test_a_tier_that_a_schema_does_not_have_is_refused(tier):
    """With those that it has."""
    with pytest.raises(RangeError, match=r"schema s has 0 \(1s/2m\), 1 \(10s/10m\); or choose auto") as caught:
        tier_index(tier, SCHEMA)
    assert str(caught.value).startswith(f"tier {tier!r}: ")
