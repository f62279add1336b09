"""Selecting by label finds what a look at every series finds, whatever the labels are made of."""

import random

import pytest

from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import CorruptStoreError
from rondo_core.model.selector import parse_selector
from rondo_core.read import series_index
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


def test_labels_and_names_of_any_length_and_number_are_found(tmp_path, monkeypatch):
    """Also where a length is written as the byte that marks a label or a record, or a value holds what marks its own."""
    monkeypatch.setattr(series_index, "FEW", 1)
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 400, TIERS)]) as store:
        many = {f"l{n}": "x" for n in range(40)}
        values = ["x" * n for n in (*range(28, 36), *range(140, 160), 255, 256, 0x292)]
        values += [f"\u14a5value{value}" for value in VALUES if len(value) < 1000]
        declared = [store.gauge("metric", many, value=each).series for each in values]
        named = [store.gauge("n" * n).series for n in (*range(28, 36), *range(140, 160), 255, 256, 0x297)]
        with StoreReader(tmp_path / "s") as reader:
            assert [reader.series(f"{{value={each!r}}}") for each in values] == [[each] for each in declared]
            assert [reader.series(each.name) for each in named] == [[each] for each in named]
            assert reader.series("metric{l39=x}") == declared


def test_hashes_that_are_equal_cost_time_and_no_series(tmp_path, monkeypatch):
    """Also those of two places in one series' record: each series is found once."""
    monkeypatch.setattr(series_index, "FEW", 1)
    monkeypatch.setattr(series_index, "hash", lambda _: 5 << 32, raising=False)
    with Store(tmp_path / "s", [Schema("gauges", "gauge", 64, TIERS)]) as store:
        declared = [store.gauge("metric", n=n, job="\u14a3job").series for n in range(9)]
        with StoreReader(tmp_path / "s") as reader:
            assert [reader.series(f"metric{{job='\u14a3job',n={n}}}") for n in range(9)] == [
                [each] for each in declared
            ]
            assert reader.series("metric{job='\u14a3job'}") == declared


def test_one_of_many_is_found_by_a_look_at_those_that_share_a_value(tmp_path, monkeypatch):
    """Whichever condition comes first; and a label that no series has is not remembered, whoever asks for it."""
    monkeypatch.setattr(series_index, "FEW", 8)
    schemas = [Schema("gauges", "gauge", 400, TIERS)]
    with Store(tmp_path / "s", schemas) as store:
        for n in range(300):
            store.gauge("metric" if n % 100 else "other", job="node", shard=n % 100, item=n // 100)
        index = store.view._index
        for text, most in (
            ("metric{job=node,shard=7}", 3),
            ("{shard=7,job=node}", 3),
            ("metric{item=1,shard=none}", 0),
            ("other", 3),
            ("metric{absent=x}", 0),
        ):
            assert len(index._rarest(parse_selector(text).pairs(), 300)) == most, text
        assert "absent" not in index._sorted


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
