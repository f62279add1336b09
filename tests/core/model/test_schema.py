"""Tiers and schemas: what is taken, and the line that says what contradicts what."""

import pytest

from rondo_core.errors import SchemaError
from rondo_core.model import layout
from rondo_core.model.schema import (
    DEFAULT_SCHEMAS,
    DEFAULT_TIERS,
    MAX_SERIES,
    SELF_MATCH,
    SELF_SCHEMAS,
    Schema,
    Tier,
    check_schemas,
    difference,
    extra_of,
    with_room,
)

S = 10**9
FINE, COARSE = Tier("1s", "2m"), Tier("10s", "10m")


def test_a_tier_takes_texts_and_whole_nanoseconds():
    """Also a whole float, and whatever is an index; `str` writes it as people do."""
    assert Tier("1s", "10m") == Tier(S, 600 * S) == Tier(1e9, 6e11)
    assert (Tier("1s", "10m").slot_count, str(Tier("1s", "10m"))) == (600, "1s/10m")
    assert Tier("1ms", "1ms").interval_ns == layout.MIN_INTERVAL_NS
    assert Tier("1s", "10m", ["min"]).statistics == ("min",)
    assert type(Tier(1e9, 6e11).interval_ns) is int


@pytest.mark.parametrize(
    ("interval", "retention", "said"),
    [
        (999_999, S, 'tier interval .*: at least 1ms; a number is nanoseconds: write "10s"$'),
        ("2s", "1s", "tier 2s/1s: the retention must be a whole number of intervals"),
        ("2s", "3s", "tier 2s/3s: the retention must be a whole number of intervals"),
        (1.5, S, "1.5: not a duration of a tier"),
        (True, S, "True: not a duration of a tier"),
        (None, S, "None: not a duration of a tier"),
        (S, b"1m", "b'1m': not a duration of a tier"),
    ],
)
def test_a_tier_that_holds_no_whole_bucket_is_refused(interval, retention, said):
    """In one line, with the mend."""
    with pytest.raises(SchemaError, match=said):
        Tier(interval, retention)


def test_what_is_kept_where_nothing_is_said():
    """100 counters, 20 gauges, 4 with peaks, 20 summaries, 2 with a sketch, in three tiers; rondo's own 33 counters."""
    assert [str(tier) for tier in DEFAULT_TIERS] == ["1s/10m", "10s/6h", "5m/7d"]
    assert [(each.name, each.kind, each.max_series, each.match, extra_of(each)) for each in DEFAULT_SCHEMAS] == [
        ("counters", "counter", 100, "", ""), ("gauges", "gauge", 20, "", ""), ("peaks", "gauge", 4, "", "peaks"),
        ("summaries", "summary", 20, "", ""), ("quantiles", "summary", 2, "", "sketch"),
    ]  # fmt: skip
    assert [each.reserve for each in DEFAULT_SCHEMAS] == [5, 2, 2, 2, 0]
    assert [each.tiers[0] for each in DEFAULT_SCHEMAS] == [DEFAULT_TIERS[0]] * 5
    (own,) = SELF_SCHEMAS
    assert (own.name, own.kind, own.max_series, own.match) == ("rondo", "counter", 33, '{__name__=~"rondo_.*"}')
    assert [str(tier) for tier in own.tiers] == ["1s/10m", "5m/1d"]


@pytest.mark.parametrize("name", ["a", "a-b_9", "a" * 32])
@pytest.mark.parametrize("max_series", [1, MAX_SERIES])
def test_a_schema_at_its_bounds_is_taken(name, max_series):
    """A name of up to 32, from one to a million series."""
    assert Schema(name, "gauge", max_series, (FINE,)).max_series == max_series
    assert MAX_SERIES == 1_000_000


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "schema '': lower-case letters"),
        ({"name": "A"}, "schema 'A': lower-case letters"),
        ({"name": "9a"}, "schema '9a': lower-case"),
        ({"name": "a" * 33}, "lower-case letters, digits, _ and - only, letter first, 32 at most"),
        ({"name": 5}, "schema 5: lower-case"),
        ({"kind": "histogram"}, "schema 's': kind 'histogram'; choose counter, gauge, summary"),
        ({"max_series": 0}, "schema 's': max_series 0; from 1 to 1000000"),
        ({"max_series": 1_000_001}, "schema 's': max_series 1000001; from 1 to 1000000"),
        ({"max_series": "5"}, "schema 's': max_series '5'"),
        ({"sketch": True}, "schema 's': a gauge has no sketch; only summaries do"),
        ({"match": None}, "schema 's': match None: not a selector; write a text"),
        ({"tiers": ()}, "schema 's': no tier; give at least one"),
        ({"tiers": FINE}, r'tiers 1s/2m: one tier, not a list of them; write \[\("1s", "10m"\), ...\]'),
        ({"tiers": "1s"}, "tiers 1s: one tier, not a list of them"),
        ({"tiers": ["1s"]}, r"tier '1s': write \(\"10s\", \"6h\"\), the interval and the retention"),
        ({"tiers": [("1s",)]}, r"tier \('1s',\): write"),
        ({"tiers": [("1s", "2m", (), 4)]}, "tier .*: write"),
        ({"tiers": [5]}, "tier 5: write"),
        ({"tiers": [Tier("1s", "2m", ["min"])]}, "schema 's': the finest tier keeps the samples themselves"),
        ({"tiers": [Tier("1s", "1s")]}, "schema 's': tier 1s/1s keeps one bucket; keep at least two"),
        ({"tiers": [FINE, Tier("1s", "10m")]}, "schema 's': tier 1s/10m does not fold from 1s/2m; take a multiple"),
        ({"tiers": [Tier("2s", "2m"), Tier("3s", "6m")]}, "tier 3s/6m does not fold from 2s/2m"),
        ({"tiers": [FINE, Tier("60s", "60s")]}, "schema 's': tier 1m/1m keeps one bucket"),
        ({"tiers": [Tier("1s", "19s"), COARSE]}, "schema 's': tier 1s/19s must keep at least two buckets of 10s/10m"),
        ({"tiers": [FINE, Tier("10s", "110s")]}, "schema 's': tier 10s/1m50s forgets before the finer 1s/2m"),
        (
            {"tiers": [Tier("1s", "60s"), Tier("2s", "64s"), Tier("8s", "10m")]},
            "schema 's': tier 2s/1m4s must outlast 1s/1m by a bucket of 8s/10m",
        ),
        ({"tiers": [FINE, Tier("10s", "10m", ["p99"])]}, "statistic 'p99'"),
        (
            {"tiers": [FINE, Tier("10s", "10m", ["min"]), Tier("1m", "1h", ["max"])]},
            "statistic 'max': the finer tier does not keep it; add it there",
        ),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(change, said):
    """By the first thing that is wrong, in one line."""
    with pytest.raises(SchemaError, match=said):
        Schema(**{"name": "s", "kind": "gauge", "max_series": 4, "tiers": (FINE, COARSE)} | change)


def test_tiers_just_large_enough_are_taken():
    """Two buckets of the next tier, as long as the finer one, and a bucket longer than the one before."""
    assert len(Schema("s", "gauge", 1, [("1s", "20s"), ("10s", "20s")]).tiers) == 2
    assert len(Schema("s", "gauge", 1, [("1s", "16s"), ("2s", "24s"), ("8s", "24s")]).tiers) == 3
    assert len(Schema("s", "gauge", 1, [("1s", "2s")]).tiers) == 1


def test_a_coarse_tier_keeps_what_it_names_and_the_next_one_that_too():
    """In file order, coverage always; nothing named is all that the finer one keeps."""
    tiers = [FINE, Tier("10s", "10m", ["max", "min"]), ("1m", "1h"), ("10m", "1d", ("max",))]
    schema = Schema("s", "gauge", 4, tiers)
    kept = [tier.statistics for tier in schema.tiers]
    assert kept == [(), ("min", "max", "coverage"), ("min", "max", "coverage"), ("max", "coverage")]
    assert [schema.cells(tier) for tier in (0, 1)] == [("last",), ("min", "max", "coverage")]
    assert [schema.ratio(tier) for tier in (1, 2, 3)] == [10, 6, 10]
    assert schema.slab_name(2) == "s.2.slab"


def test_a_schemas_slabs_are_laid_out_by_its_tiers():
    """Its size is theirs together, to the byte; the reserve has columns too."""
    schema = Schema("s", "summary", 2, (FINE, COARSE), sketch=True)
    specs = [schema.slab_spec(tier) for tier in (0, 1)]
    assert [(spec.kind, spec.tier, spec.interval_ns, spec.slot_count, spec.max_series) for spec in specs] == [
        ("summary", 0, S, 120, 2 + 1),
        ("summary", 1, 10 * S, 60, 2 + 1),
    ]
    assert [[(cell.name, cell.format) for cell in spec.cells[-3:]] for spec in specs] == [
        [("sketch_head", "q"), ("sketch0", "109I"), ("sketch1", "109I")],
        [("sum_base", "d"), ("coverage", "H"), ("sketch", "340B")],
    ]
    assert schema.size_bytes() == sum(spec.file_bytes for spec in specs)


@pytest.mark.parametrize(("buckets", "form"), [(65_535, "H"), (65_536, "I")])
def test_a_count_of_buckets_has_room_for_all_of_a_row(buckets, form):
    """Two bytes, or four where a row has more of them."""
    tiers = [Tier(10**6, 2 * buckets * 10**6), Tier(buckets * 10**6, 4 * buckets * 10**6)]
    (cell,) = [cell for cell in Schema("s", "counter", 1, tiers).slab_spec(1).cells if cell.name == "coverage"]
    assert cell.format == form


@pytest.mark.parametrize(
    ("interval", "layout", "form"),
    [("59m", 1, "163I"), ("60m", 1, "163Q"), ("2m", 2, "340B"), ("8m", 2, "340B"), ("10m", 2, "664B")],
)
def test_counts_of_a_sketch_hold_what_comes_in_a_bucket(interval, layout, form):
    """In stores of old eight bytes from an hour on; packed, and in more bytes from ten minutes on."""
    tiers = [("1m", "2h"), (interval, "4720h")]
    schema = Schema("s", "summary", 1, tiers, sketch=True, sketch_layout=layout)
    assert schema.slab_spec(1).cell("sketch").format == form


def test_a_schema_is_kept_in_plain_values_and_read_back():
    """Stores from before there were sketches, and a reserve, have none."""
    schema = Schema("s", "summary", 2, (FINE, Tier("10s", "10m", ["sum"])), "a{b=c}", sketch=True)
    plain = schema.to_dict()
    assert plain == {
        "name": "s", "kind": "summary", "max_series": 3, "match": "a{b=c}", "sketch": 2, "reserve": 1, "grown": 0,
        "tiers": [[S, 120 * S, []], [10 * S, 600 * S, ["sum", "coverage"]]],
    }  # fmt: skip
    assert Schema.from_dict(plain) == schema
    old = schema._replace(sketch_layout=1)
    assert Schema.from_dict(old.to_dict()) == old
    assert old.to_dict()["sketch"] == 1
    assert difference([schema], [old]) == ""
    with pytest.raises(SchemaError, match="open the store with a newer rondo"):
        Schema.from_dict({**plain, "sketch": 3})
    del plain["sketch"], plain["reserve"], plain["grown"]
    assert Schema.from_dict(plain) == schema._replace(max_series=3, reserve=0, sketch=False)


@pytest.mark.parametrize(
    "change", [{"name": None}, {"tiers": [[1, 2]]}, {"tiers": [["x", 1, []]]}, {"max_series": "x"}]
)
def test_a_description_that_does_not_read_is_one_error(change):
    """Whatever is missing or of another type."""
    plain = Schema("s", "gauge", 3, (FINE,)).to_dict()
    with pytest.raises(SchemaError):
        Schema.from_dict(plain | change)
    for key in ("name", "kind", "max_series", "tiers", "match"):
        with pytest.raises(SchemaError, match=f"schema description: '{key}'"):
            Schema.from_dict({name: value for name, value in plain.items() if name != key})


def test_rondos_own_schema_comes_first_once():
    """In front of the user's, or the user's own one of that name."""
    mine = Schema("g", "gauge", 1, (FINE,))
    assert check_schemas([mine]) == (*SELF_SCHEMAS, mine)
    assert check_schemas(mine) == (*SELF_SCHEMAS, mine)
    own = Schema("rondo", "counter", 50, (FINE,), SELF_MATCH)
    assert check_schemas([mine, own]) == (own, mine)
    assert check_schemas([]) == SELF_SCHEMAS


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([5], "schemas: 5 is no Schema; give a list of them"),
        ("gauges", "schemas: 'gauges' is no Schema"),
        (5, "schemas: 5 is no Schema"),
        ([Schema("a", "gauge"), Schema("a", "counter")], "schema 'a': the name is taken; choose another"),
        ([Schema("rondo", "gauge", match=SELF_MATCH)], "schema 'rondo': the name is taken by rondo's own counters"),
        ([Schema("rondo", "counter")], "schema 'rondo': the name is taken by rondo's own counters"),
        ([Schema("rondo", "counter", match=SELF_MATCH)] * 2, "schema 'rondo': the name is taken; choose another"),
    ],
)
def test_schemas_that_no_store_can_have_are_refused(given, said):
    """Before a store is made."""
    with pytest.raises(SchemaError, match=said):
        check_schemas(given)


@pytest.mark.parametrize(("exporters", "room"), [(-1, 33), (0, 33), (1, 33), (2, 43), (4, 63)])
def test_each_further_exporter_gets_room_for_ten_series(exporters, room):
    """In rondo's own schema alone; the first has it already."""
    mine = Schema("g", "gauge", 1, (FINE,))
    own, same = with_room([mine], exporters)
    assert (own.name, own.max_series, same) == ("rondo", room, mine)


def test_a_difference_names_the_schema_and_both_sides():
    """The first one; nothing where there is none."""
    mine = Schema("g", "gauge", 1, (FINE, COARSE))
    other = Schema("h", "gauge", 1, (FINE, COARSE))
    assert difference([mine], [mine]) == ""
    assert difference([mine, other], [other, mine]) == ""
    assert difference([mine], [other]) == "schema g is not on disk"
    assert difference([], [other]) == "schema h is on disk only"
    assert difference([mine], [mine, other]) == "schema h is on disk only"
    assert difference([mine._replace(max_series=2)], [mine]) == "schema g: max_series 2 asked for, 1 on disk"
    assert difference([mine._replace(match="a")], [mine]) == "schema g: match 'a' asked for, '' on disk"
    assert difference([mine._replace(kind="counter", tiers=(FINE,))], [mine]) == (
        "schema g: kind 'counter' asked for, 'gauge' on disk"
    )
    assert (
        difference([mine._replace(tiers=(FINE,))], [mine]) == "schema g: tiers 1s/2m asked for, 1s/2m 10s/10m on disk"
    )
    kept = mine._replace(tiers=(FINE, Tier("10s", "10m", ["min"])))
    assert difference([kept], [mine]) == (
        "schema g: tier 1 (10s/10m): statistics min, coverage asked for, first, last, min, max, sum, coverage on disk"
    )
    near = mine._replace(tiers=(Tier(S, 120 * S), Tier(10 * S, 600 * S + 10 * S)))
    assert difference([near], [mine]) == "schema g: tiers 1s/2m 10s/10m10s asked for, 1s/2m 10s/10m on disk"
