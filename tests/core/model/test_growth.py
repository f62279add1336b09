"""How much room a store is to have: what is asked for, what has overflowed, and no byte more than was said."""

import pytest

from rondo_core.errors import SchemaError
from rondo_core.model.growth import MAX_BYTES, shared_out, wanted
from rondo_core.model.labels import Series
from rondo_core.model.overflow import is_of_all, is_overflow, overflow_of, overflow_of_all
from rondo_core.model.schema import (
    MAX_SERIES,
    SELF_SCHEMA,
    SELF_SCHEMAS,
    Schema,
    Tier,
    given_schema_lookup,
    reserve_for,
    room_taken,
)

TIERS = (Tier("1s", "2m"), Tier("10s", "10m"))


def gauges(room, **more):
    """Give a schema of gauges."""
    return Schema("gauges", "gauge", room, TIERS, **more)


def counters(room, **more):
    """Give a schema of counters."""
    return Schema("counters", "counter", room, TIERS, **more)


def size_of(schemas):
    """Count ten bytes a series, and a hundred each."""
    return sum(100 + 10 * each.max_series for each in schemas)


def room(asked, on_disk, overflowed=(), max_bytes=10_000):
    """Give by name how much room there is to be, and how much of it came by itself."""
    found = wanted(asked, on_disk, dict(overflowed), max_bytes, size_of)
    return {each.name: (each.max_series, each.grown) for each in found}


def test_what_is_there_stays_where_no_more_is_asked_for():
    """Whoever asks, and for whatever the store had before it grew by itself."""
    on_disk = (*SELF_SCHEMAS, counters(16, grown=12))
    for asked in (None, [counters(4)], [counters(9)], [counters(16)]):
        assert wanted(asked, on_disk, {}, 0, size_of) == on_disk


def test_more_is_made_and_is_then_what_is_held():
    """A larger room counts as asked for; the larger reserve of both stays."""
    assert room([counters(17)], [counters(16, grown=12)]) == {"counters": (17, 0)}
    assert room([counters(20)], [counters(4)], max_bytes=100 + 200) == {"counters": (20, 0)}  # to the last byte
    beside = room([counters(4), gauges(9)], [counters(16, grown=12), gauges(8)])
    assert beside == {"counters": (16, 12), "gauges": (9, 0)}  # what grew by itself has not been asked for by that
    for asked, there, kept in ((3, 1, 3), (1, 3, 3)):
        (found,) = wanted([counters(9, reserve=asked)], [counters(8, reserve=there)], {}, MAX_BYTES, size_of)
        assert found.reserve == kept


def test_a_schema_more_comes_where_it_is_asked_for():
    """Before a wider one its selector takes what it is for; rondo's own is not named, and stays first."""
    special = Schema("special", "counter", 2, TIERS, "a_total")
    found = wanted([special, counters(4)], [*SELF_SCHEMAS, counters(4)], {}, MAX_BYTES, size_of)
    assert found == (*SELF_SCHEMAS, special, counters(4))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            [counters(3)],
            (
                "max_series 3 asked for, 16 on disk; rondo migrate changes a store; or open it without schemas,"
                " or choose another path$"
            ),
        ),
        ([gauges(4)], "schema gauges is not on disk|schema counters is on disk only; rondo migrate"),
        ([Schema("counters", "counter", 20, TIERS[:1])], "schema counters: tiers 1s/2m asked for"),
        (
            [counters(2_000)],
            "max_series 2000 asked for, 16 on disk: 19.6 KiB, more than max_bytes, 9.8 KiB; give a larger",
        ),
    ],
)
def test_what_is_less_or_other_or_too_large_is_refused(asked, said):
    """In words that name the mend."""
    with pytest.raises(SchemaError, match=said):
        room(asked, [counters(16, grown=12)])


def test_what_overflowed_has_room_doubled_as_often_as_that_takes():
    """Exactly as many as fit, where a doubling does not."""
    assert room(None, [counters(4)], {"counters": 1}) == {"counters": (8, 4)}
    assert room(None, [counters(4)], {"counters": 4}) == {"counters": (8, 4)}
    assert room(None, [counters(4, grown=1)], {"counters": 9}) == {"counters": (16, 13)}
    assert room([counters(20)], [counters(4)], {"counters": 9}) == {"counters": (20, 0)}
    assert room(None, [counters(4)], {"counters": 4}, 100 + 75) == {"counters": (7, 3)}
    assert room(None, [counters(4)], {"counters": 4}, 0) == {"counters": (4, 0)}
    assert room(None, [counters(4)], {"counters": MAX_SERIES}, 1 << 40) == {"counters": (MAX_SERIES, MAX_SERIES - 4)}


def test_all_have_what_they_lacked_before_one_has_more():
    """What takes the fewest bytes first, however many series they are of, or there are already."""
    wide = Schema("wide", "summary", 4, TIERS, sketch=True)
    found = room(None, [wide, gauges(4)], {"wide": 2, "gauges": 20}, 200 + 80 + 200)
    assert found == {"wide": (4, 0), "gauges": (24, 20)}
    found = room(None, [counters(100), gauges(4)], {"counters": 1, "gauges": 16}, 200 + 1040 + 150)
    assert found == {"counters": (101, 1), "gauges": (18, 14)}
    found = room(None, [counters(4), gauges(4)], {"counters": 900, "gauges": 3}, 200 + 500)
    assert found == {"counters": (43, 39), "gauges": (7, 3)}


def test_a_store_from_before_has_a_reserve_once_it_grows():
    """Unless another schema of the kind has one already."""
    (found,) = wanted(None, [counters(4, reserve=0)], {"counters": 1}, MAX_BYTES, size_of)
    assert found.reserve == 2
    more = Schema("more", "counter", 4, TIERS)
    found, _ = wanted(None, [counters(4, reserve=0), more], {"counters": 1}, MAX_BYTES, size_of)
    assert found.reserve == 0


def test_a_store_that_has_no_bytes_for_more_stays_as_it_is():
    """Its reserve too, which comes with growth alone."""
    before = (counters(4, reserve=0),)
    assert wanted(None, before, {"counters": 9}, 0, size_of) == before


def test_a_bound_below_the_schemas_shares_their_room_out():
    """The largest percentage that fits, the same of each, three of each kind at the least; extras only as whole ones."""
    given = (*SELF_SCHEMAS, counters(100), gauges(20), Schema("peaks", "gauge", 4, TIERS, peaks=True))
    whole = size_of(given)

    def rooms(max_bytes):
        return {each.name: each.max_series for each in shared_out(given, max_bytes, size_of)}

    own = {SELF_SCHEMA: SELF_SCHEMAS[0].max_series}
    assert shared_out(given, whole, size_of) == given
    assert rooms(whole - 1) == own | {"counters": 99, "gauges": 19, "peaks": 3}
    half = own | {"counters": 50, "gauges": 10, "peaks": 2}
    exactly = whole - 10 * 62
    assert rooms(exactly) == half
    assert rooms(exactly - 1) == half | {"counters": 49, "gauges": 9, "peaks": 1}
    assert {each.max_series for each in shared_out([counters(1000)], 0, size_of)} == {10}  # a percent at the least
    assert MAX_BYTES == 64 * 1024**2
    assert rooms(0) == own | {"counters": 3, "gauges": 3}
    assert [each.reserve for each in shared_out(given, 0, size_of)] == [0, 2, 2]
    (few,) = shared_out([counters(2, reserve=0)], 0, size_of)
    assert (few.max_series, few.reserve) == (2, 0)


def test_a_reserve_is_small():
    """Two for few series, one more for each 32, eight at most; one with sketches, none for rondo's own."""
    assert [reserve_for(counters(room)) for room in (1, 31, 32, 64, 192, 5000)] == [2, 2, 3, 4, 8, 8]
    assert reserve_for(Schema("s", "summary", 100, TIERS, sketch=True)) == 1
    assert reserve_for(SELF_SCHEMAS[0]) == 0
    assert (counters(4).n_columns, counters(4, reserve=0).n_columns) == (6, 4)
    assert Schema.from_dict(counters(4, grown=3).to_dict()) == counters(4, grown=3)
    for reserve in (-1, "2", 1.0):
        with pytest.raises(SchemaError, match="reserve"):
            counters(4, reserve=reserve)


def test_room_is_taken_by_what_the_reserve_does_not_hold():
    """Its last place is kept for the one series that takes all metrics."""
    schema = counters(4, reserve=3)
    taken = {(n, named, of_all): room_taken(schema, n, named, of_all) for n, named, of_all in
             ((2, 0, 0), (2, 2, 0), (2, 2, 1), (2, 3, 1), (2, 5, 0), (2, 0, 2))}  # fmt: skip
    assert list(taken.values()) == [2, 2, 2, 3, 5, 3]
    assert room_taken(counters(4, reserve=0), 1, 2, 1) == 4


def test_overflow_series_are_known_by_their_label():
    """That of a metric has its name; that of all is called by its kind, and names the schema."""
    name, labels = overflow_of("a_total")
    named = Series(name, labels, "counter", "counters", 0)
    assert str(named) == 'a_total{rondo_overflow="true"}'
    of_all = [Series(*overflow_of_all(kind, "s"), kind, "s", 0) for kind in ("counter", "gauge", "summary")]
    assert list(map(str, of_all)) == [
        f'{name}{{rondo_overflow="true",schema="s"}}'
        for name in ("rondo_overflow_total", "rondo_overflow_value", "rondo_overflow_observed")
    ]
    plain = Series("rondo_overflow_total", (("schema", "s"),), "counter", "s", 0)
    assert [is_overflow(each) for each in (named, *of_all, plain)] == [True] * 4 + [False]
    assert [is_of_all(each) for each in (named, *of_all, plain)] == [False] + [True] * 3 + [False]


def test_a_users_series_goes_to_rondos_own_schema_only_where_no_other_takes_it():
    """So that none of its own counts is left out."""
    series = Series("rondo_mine_total", (), "counter", "", 0)
    assert given_schema_lookup([*SELF_SCHEMAS, counters(4)])(series) == counters(4)
    assert given_schema_lookup([*SELF_SCHEMAS, gauges(4)])(series) == SELF_SCHEMAS[0]
    assert given_schema_lookup([gauges(4)])(series) is None
