"""Selecting by label finds what a look at every series finds, whatever the labels are made of."""

import random

import msgpack
import pytest

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import CorruptStoreError
from rondo_core.model.labels import Series
from rondo_core.model.selector import parse_selector
from rondo_core.read import label_hashes, series_index
from rondo_core.storage.journal import Journal
from rondo_core.storage.registry import encode_series

TIERS = (Tier("1s", "2s"),)
# Values that hold what marks a label in a record: U+14A5 ends in the mark of a pair and of a text of five bytes.
VALUES = [
    "1", "12", "\u14a5shard", "\u14a5shard\u14a5shard1", "shard", "\u0659" * 40, "x" * 31, "x" * 32, "x" * 255,
    "x" * 256, "x" * 1024, "\u14a5shard" + "\u0659" * 130, "gauges", "job", "\U0001f600",
]  # fmt: skip


def declare(store, chance, n_series):
    """Declare gauges and counters whose labels are of the values above, each at times absent."""
    for n in range(n_series):
        labels = {key: chance.choice(VALUES) for key in ("a", "job", "shard") if chance.random() < 0.8}
        declared = store.gauge if n % 3 else store.counter
        declared(chance.choice(("shard", "metric", "job_total")), labels, n=n)


def selectors(chance, n_series):
    """Make selectors of one to three conditions, most of them on equality."""
    for _ in range(60):
        conditions = [f"{key}={value!r}" for key in ("shard", "job", "a") if chance.random() < 0.5
                      for value in [chance.choice(VALUES)]]  # fmt: skip
        conditions += [f"n={chance.randrange(n_series + 9)}"] * (chance.random() < 0.2)
        conditions += [chance.choice(('a!=""', 'job=~".*1"', "a=1,a=12"))] * (chance.random() < 0.3)
        yield chance.choice(("", "", "shard", "metric", "none")) + "{" + ",".join(conditions) + "}"


@pytest.mark.parametrize(("few", "n_series"), [(1, 40), (8, 120), (series_index.FEW, 30)])
def test_the_index_finds_what_a_look_at_every_series_finds(tmp_path, monkeypatch, few, n_series):
    """In a store just opened, by another process that declares more meanwhile, and in the writing one."""
    monkeypatch.setattr(series_index, "FEW", few)
    chance = random.Random(few)
    room = 3 * n_series
    with Store(
        tmp_path / "s", [Schema("counters", "counter", room, TIERS), Schema("gauges", "gauge", room, TIERS)]
    ) as store:
        declare(store, chance, n_series)
        with StoreReader(tmp_path / "s") as reader:
            for turn in range(3):
                for text in selectors(chance, n_series):
                    selector = parse_selector(text)
                    expected = [each for each in store.registry if selector.matches(each)]
                    assert reader.series(text) == expected, (turn, text)
                    assert store.view.series(text) == expected, (turn, text)
                if turn < 2:
                    declare(store, random.Random(turn), n_series // 2)
                    reader.refresh()
            assert list(reader.registry) == list(store.registry)
            assert reader.registry.counts == {name: len(group) for name, group in store.registry.by_schema.items()}


def test_every_label_of_every_record_has_its_entry(monkeypatch):
    """However long its texts are and however many it has, and wherever the records are divided."""
    monkeypatch.setattr(label_hashes, "_AT_ONCE", 7)
    chance, records, expected = random.Random(3), [], []
    for at in range(60):
        labels = [(f"l{n}", chance.choice(VALUES)) for n in range(chance.choice((0, 1, 2, 15, 16, 40)))]
        name = chance.choice(("m", "metric" * 6, "metric" * 60))
        records.append(encode_series(Series(name, tuple(labels), "gauge", "gauges", at)))
        expected += [label_hashes.entry_of(msgpack.packb(label)) | at for label in (name, *labels)]
    found = [*label_hashes.entries_of(records, 0, 25), *label_hashes.entries_of(records, 25, 60)]
    assert sorted(map(int, found)) == sorted(expected)


UNUSUAL = {
    "a label that is no pair": lambda series: msgpack.packb((series.name, ["xy"], *series[3:])),
    "a label of a number": lambda series: msgpack.packb((series.name, [("x", 5)], *series[3:])),
    "labels as a map": lambda series: msgpack.packb((series.name, {"xy": "z"}, *series[3:])),
    "more labels than there are": lambda _: b"\x97\xa1m\x9f\x92\xa1k\xa1v",
    "a text that is longer": lambda _: b"\x97\xda\xff\xff",
}


@pytest.mark.parametrize("what", UNUSUAL)
def test_records_of_another_make_have_no_entries(what):
    """Hostile records among whole ones are told, and not taken for labels that they do not have."""
    series = Series("m", (("k", "v"),), "gauge", "gauges", 0)
    records = [encode_series(series)] * 5 + [UNUSUAL[what](series)]
    with pytest.raises(ValueError, match=r"label|record"):
        label_hashes.entries_of(records, 0, len(records))


def test_hashes_that_collide_cost_time_and_no_series(tmp_path, monkeypatch):
    """Also those of labels of the same series: each is found once."""
    monkeypatch.setattr(series_index, "FEW", 1)
    monkeypatch.setattr(label_hashes, "_FACTOR", 0)
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 64, TIERS)]) as store:
        declared = [store.gauge("metric", n=n, job="x").series for n in range(9)]
        with StoreReader(tmp_path / "s") as reader:
            assert [reader.series(f"metric{{job=x,n={n}}}") for n in range(9)] == [[each] for each in declared]
            assert list(reader.series("metric{job=x}")) == declared


def test_among_labels_that_are_too_many_to_sort_all_are_found(tmp_path, monkeypatch):
    """Then every record is looked at."""
    monkeypatch.setattr(series_index, "FEW", 1)
    monkeypatch.setattr(label_hashes, "_STEPS", 9)
    monkeypatch.setattr(label_hashes, "_STEPS_OF_SOME", 1)
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 64, TIERS)]) as store:
        declared = [store.gauge("metric", long="x" * 1000, n=n).series for n in range(9)]
        with StoreReader(tmp_path / "s") as reader:
            assert [reader.series(f"metric{{n={n}}}") for n in range(9)] == [[each] for each in declared]


def test_a_selector_of_what_no_label_can_be_finds_nothing(tmp_path):
    """A lone surrogate, as a command line may hand one over, is no error of ours."""
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 4, TIERS)]) as store:
        store.gauge("metric", job="x")
        assert store.view.series('metric{job="\udcff"}') == []


@pytest.mark.parametrize("column", [0, 2])
def test_a_record_without_a_place_is_told_when_the_store_opens(tmp_path, column):
    """Whole records whose columns do not count up are damage: a column twice, or one left out."""
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 4, TIERS)]) as store:
        series = store.gauge("metric", n=0).series
    journal = Journal(tmp_path / "s" / "series", writable=True)
    journal.append(encode_series(series._replace(labels=(("n", "1"),), column=column)))
    journal.close()
    with pytest.raises(CorruptStoreError, match="no place"):
        StoreReader(tmp_path / "s")
