"""What a newcomer gives a function by mistake is taken as it is meant, or answered with what to write instead."""

import datetime as dt
import logging
import pickle

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier, read_schemas
from rondo_core.errors import LabelError, RangeError, SchemaError, UnknownSeriesError, UsageError
from rondo_core.model.schema import difference
from rondo_core.model.schema_file import write_schemas
from rondo_core.units import seconds


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store", clock=ManualClock()) as store:
        yield store


@pytest.mark.parametrize("declare", ["counter", "gauge", "summary"])
def test_the_help_may_come_right_after_the_name(store, declare):
    """With labels as a mapping after it, or as keywords; None is no help, and no unit."""
    call, name = getattr(store, declare), {"counter": "a_total"}.get(declare, declare)
    assert call(name, "What it is.").series.help == "What it is."
    labelled = call(name, "What it is.", {"a": 1}, b=2).series
    assert (labelled.labels, labelled.help) == ((("a", "1"), ("b", "2")), "What it is.")
    assert call(name, {"c": 3}).series.labels == (("c", "3"),)
    bare = call(f"{name}_bare", None, help=None, unit=None).series
    assert (bare.help, bare.unit, bare.labels) == ("", "", ())


@pytest.mark.parametrize(
    ("given", "named", "said"),
    [
        (("Help.", ["method", "code"]), {}, r"\['method', 'code'\]: labels come with their values.* method=\"...\""),
        ((["code"],), {}, 'write code="..."'),
        ((("method", "get"),), {}, "labels come with their values"),
        ((5,), {}, "5: labels come with their values"),
        (("Help.", "seconds"), {}, "'seconds': the help is given already; name what this is: unit="),
        (("Help.",), {"help": "Help."}, "the help is given already"),
        ((), {"help": 5}, "help 5: not a text"),
        ((), {"unit": ["s"]}, "unit .*: not a text"),
        ((), {"labels": {"a": "b"}}, "labels=.*: not names of labels; write a list"),
        ((), {"labelnames": ["a"]}, r"labelnames=.*: not one value; write labels=\["),
        ((), {"buckets": (1, 2)}, "buckets=.*: not one value; a summary has none, and with quantiles=True"),
        ((), {"documentation": "Doc."}, 'x_total: documentation=.Doc.*write help="...".*comes as {"documentation":'),
        ((), {"description": "Doc.", "labels": ["code"]}, 'description=.*: write help="..."'),
        ((), {"registry": object()}, "registry=<object.*: an object without a text of its own; leave it out"),
    ],
)
def test_what_are_no_labels_is_answered_with_how_to_write_them(store, given, named, said):
    """Label names without values, as other libraries take them, declare nothing."""
    with pytest.raises(LabelError, match=said):
        store.counter("x_total", *given, **named)
    assert store.view.series("x_total") == []


def test_a_label_may_be_called_like_another_librarys_help(store):
    """It comes in a mapping, by its name among names, or as a fact of an info."""
    assert store.counter("a_total", {"documentation": "x"}).series.labels == (("documentation", "x"),)
    assert store.gauge("a", labels=["description"]).labels("x").series.labels == (("description", "x"),)
    assert store.info("build", description="x").series.labels == (("description", "x"),)


def test_another_help_or_unit_is_said_once_for_a_metric(tmp_path, caplog):
    """What was declared first stays on record, in this process and the next; values are kept all the same."""
    for first in (True, False):
        caplog.clear()
        with Store(tmp_path / "store", clock=ManualClock()) as store:
            if first:
                store.counter("x_total", "First.", unit="bytes", n=1)
                store.counter("x_total", "First.", unit="bytes", n=2)
                assert caplog.records == []
            for n in (1, 2, 1):
                store.counter("x_total", "Second.", unit="seconds", n=n).inc()
            store.counter("x_total", n=1).inc()
            said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
            assert len(said) == 2
            assert "help 'Second.': declared with 'First.', which stays" in said[0]
            assert "unit 'seconds': declared with 'bytes', which stays; values of another unit need another" in said[1]
            series = store.view.series("x_total")[0]
            assert (series.help, series.unit) == ("First.", "bytes")


@pytest.mark.parametrize(
    ("given", "read"), [("1s", 1.0), ("250ms", 0.25), (2, 2.0), (0.5, 0.5), (dt.timedelta(seconds=3), 3.0)]
)
def test_a_duration_is_a_number_of_seconds_or_what_toml_takes(tmp_path, given, read):
    """Wherever the API takes one."""
    assert seconds("x", given) == read
    Store(tmp_path / "store", tick_interval_s=given, sync_interval_s=given).close()


@pytest.mark.parametrize("given", ["soon", "", "1x", float("nan"), float("inf"), [1], True, "-1s", 10**400])
def test_what_is_no_duration_is_said_before_a_store_is_made(tmp_path, given):
    """The argument's name, what it was given, and what to write."""
    for option in ("tick_interval_s", "sync_interval_s"):
        with pytest.raises(RangeError, match=f"{option}: .*: not a duration; write .*90s"):
            Store(tmp_path / "store", **{option: given})
    assert not (tmp_path / "store").exists()


FINE = Tier("1s", "10m")


@pytest.mark.parametrize(
    ("asked", "on_disk", "said"),
    [
        (
            [FINE, Tier("10s", "6h", ("min", "max"))],
            [FINE, Tier("10s", "6h")],
            "schema g: tier 1 (10s/6h): statistics min, max, coverage asked for, first, last, min, max, sum, coverage",
        ),
        (
            [Tier("1h", "2000001h")],
            [Tier("1h", "2000002h")],
            "schema g: tiers 1h/83333d9h asked for, 1h/83333d10h on disk",
        ),
        ([FINE], [FINE, Tier("10s", "6h")], "schema g: tiers 1s/10m asked for, 1s/10m 10s/6h on disk"),
        (
            [Tier(86_400 * 10**9, 86_400 * 10**9 * 3 + 0)],
            [Tier(86_400 * 10**9, 86_400 * 10**9 * 4)],
            "schema g: tiers 1d/3d asked for, 1d/4d on disk",
        ),
        (
            [Tier(90_061_001_000_000, 180_122_002_000_000)],
            [Tier(90_061_001_000_001, 180_122_002_000_002)],
            "schema g: tier 0: 90061001000000 ns kept for 180122002000000 ns asked for, 90061001000001 ns kept for",
        ),
    ],
)
def test_two_sides_of_a_difference_never_read_alike(asked, on_disk, said):
    """Tiers that differ in what they keep, or by less than their text shows, are told apart."""
    found = difference([Schema("g", "gauge", 4, asked)], [Schema("g", "gauge", 4, on_disk)])
    assert found.startswith(said)
    new, _, old = found.removesuffix(" on disk").partition(" asked for, ")
    assert not new.endswith(old)


def test_a_sketch_is_asked_for_in_a_file_too(tmp_path):
    """`sketch = true`, read, written and read again; a text in its place, or an unknown key, is said with what there is."""
    file = tmp_path / "schemas.toml"
    file.write_text('[[schema]]\nname = "s"\nkind = "summary"\nsketch = true\n')
    (schema,) = read_schemas(file)
    assert schema.sketch
    file.write_text(write_schemas([schema, Schema("plain", "summary", match="x")]))
    assert read_schemas(file)[0] == schema
    assert not read_schemas(file)[1].sketch
    for line, said in (
        ('sketch = "yes"', "sketch = 'yes'; write true or false, without quotes"),
        (
            "sketsh = true",
            "no key 'sketsh'; did you mean sketch? it has name, kind, max_series, tiers, match, sketch, peaks, reserve",
        ),
    ):
        file.write_text(f'[[schema]]\nname = "s"\nkind = "summary"\n{line}\n')
        with pytest.raises(SchemaError, match=said.replace("?", r"\?")):
            read_schemas(file)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: Store(path, "schemas.toml"), "'schemas.toml' is no Schema; give a list of them"),
        (lambda path: Store(path, [FINE]), "is no Schema; give a list of them"),
        (lambda _: Schema("g", "gauge", max_series="8"), "max_series '8'; from 1 to"),
        (lambda _: Schema("g", "gauge", tiers=FINE), "one tier, not a list of them"),
        (lambda _: Schema("g", "gauge", tiers="1s/10m"), "one tier, not a list of them"),
        (lambda _: Schema("g", "gauge", tiers=["1s", "10m"]), r"tier '1s': write \(\"10s\", \"6h\"\)"),
        (lambda _: Schema("g", "gauge", tiers=[("1s",)]), r"tier \('1s',\): write"),
        (lambda _: Schema("g", "gauge", match=5), "match 5: not a selector"),
        (lambda _: Tier(1, 600), 'at least 1ms; a number is nanoseconds: write "10s"'),
        (lambda _: Tier(None, "1m"), "None: not a duration of a tier"),
        (lambda _: Tier(1e9, 1.5), "1.5: not a duration of a tier"),
    ],
)
def test_what_is_no_schema_is_answered_with_one(tmp_path, make, said):
    """And nothing is made."""
    with pytest.raises(SchemaError, match=said):
        make(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_one_schema_needs_no_list(tmp_path):
    """It is taken as a list of one."""
    with Store(tmp_path / "store", Schema("g", "gauge", 4, [FINE])) as store:
        assert [schema.name for schema in store.meta.schemas] == ["rondo", "g"]


@pytest.fixture
def stores(tmp_path):
    for name in ("a", "b"):
        with Store(tmp_path / "stores" / name, clock=ManualClock()) as store:
            for vcpu, reason in enumerate(("io", "hlt", "mmio", "x\x1b[31m", *(f"r{n}" for n in range(9)))):
                store.counter("exits_total", reason=reason, vcpu=vcpu % 2)
            store.gauge("level")
    return tmp_path / "stores"


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("exit_total", "nearest: exits_total"),
        ("exits_total{reason=iox}", "reason of exits_total is io, hlt, mmio, r0, r1 or one of 8 more"),
        ("exits_total{reason=none}", "reason of exits_total is "),
        ("exits_total{resn=io}", "exits_total has no label resn; it has reason and vcpu"),
        ("exits_total{reason=io,vcpu=1}", "no series meets all of these; one that meets most: exits_total{reason="),
        ("exits_total{reason=io,vcpu=7}", "vcpu of exits_total is 0 or 1"),
        ("exits_total{reason=~'z.*'}", "reason of exits_total is "),
        ("exits_total{reason!~'.*'}", "reason of exits_total is "),
        ("level{a=b}", "level has no label a, nor any other"),
        ("{reason=nope}", "reason of a series here is "),
        ("{__name__=lefel}", "__name__ of a series here is level"),
    ],
)
def test_a_selector_without_a_series_says_which_condition_none_meets(stores, selector, said):
    """And what there is instead: names near it, label names, or values; in one store, and over a directory."""
    for reader in (StoreReader(stores / "a"), StoresReader(stores)):
        with reader, pytest.raises(UnknownSeriesError) as raised:
            reader.query(selector)
        found = str(raised.value)
        if isinstance(reader, StoreReader):
            assert found.startswith(f"{selector}: no such series; ")
            assert said.removesuffix("io, hlt, mmio, r0, r1 or one of 8 more") in found
        assert selector not in found.partition("no such series; ")[2]
        assert found.isprintable()
        assert str(pickle.loads(pickle.dumps(raised.value))) == found
    with StoresReader(stores) as reader, pytest.raises(UnknownSeriesError, match="rondo_store of level is a or b"):
        reader.query("level{rondo_store=c}")


def test_a_usage_error_is_a_value_error(tmp_path):
    """What was given wrongly is caught where users catch it already."""
    with pytest.raises(ValueError, match="not a duration"):
        Store(tmp_path / "store", tick_interval_s="often")
    assert issubclass(RangeError, UsageError)
