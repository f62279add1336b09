"""The newest stores of a directory, and those of one job: what is asked of them is asked of no others."""

import shutil

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.errors import UsageError
from rondo_core.read import NewestStores, StoreChoice, find_stores, open_reader, open_source
from rondo_promql import evaluate_instant

START_S = 1_700_000_000


def write(path, clock, writer):
    with Store(path, [Schema("c", "counter", 4, (Tier("1s", "1h"),))], clock=clock, writer=writer) as store:
        store.counter("c_total").inc()
        store.tick()
        clock.advance(5)
    clock.advance(60)


@pytest.fixture
def lives(tmp_path):
    """Six lives, whose names say nothing of when they began: d, b, f of a job, a, e, c of another program."""
    clock = ManualClock(START_S * 10**9)
    for name in "dabefc":
        write(tmp_path / name, clock, "run nightly" if name in "dbf" else "web")
    return tmp_path, clock


def names(root, **choice):
    return [each.name for each in NewestStores().choose(StoreChoice(**choice), list(find_stores(root)))]


def test_the_newest_are_those_whose_run_began_last(lives):
    """Of a job too, by the name that `rondo run` knows it by, and by a pattern; an opening makes a store new."""
    root, clock = lives
    assert names(root) == ["a", "b", "c", "d", "e", "f"]
    assert names(root, last=2) == ["c", "f"]
    assert names(root, last=2, job="nightly") == ["b", "f"]
    assert names(root, last=9, job="n*") == ["b", "d", "f"]
    assert names(root, job="w?b") == ["a", "c", "e"]
    newest = NewestStores()
    stores = list(find_stores(root))
    assert [each.name for each in newest.choose(StoreChoice(last=1), stores)] == ["c"]
    write(root / "d", clock, "run nightly")
    assert [each.name for each in newest.choose(StoreChoice(last=1), stores)] == ["d"]


def test_a_job_that_nobody_is_called_is_an_error_that_names_those_there_are(lives):
    """Not an empty answer: a misspelt name is seen at once."""
    with pytest.raises(UsageError, match="nightli: no store here has a writer of this name; there are nightly, web"):
        names(lives[0], job="nightli")
    with pytest.raises(UsageError, match="last -1"):
        StoreChoice(last=-1)


def test_a_source_and_a_reader_ask_the_chosen_alone(lives):
    """Expressions and selectors read the same stores, the times of which are theirs too."""
    root, _ = lives
    choice = StoreChoice(last=2, job="nightly")
    with open_source(root, choice=choice) as source, open_reader(root, choice) as reader:
        found = evaluate_instant("max_over_time(c_total[1h])", source, (START_S + 600) * 1000).plain()
        assert sorted(labels["rondo_store"] for labels, _ in found) == ["b", "f"]
        assert source.newest_ms() == (START_S + 4 * 65) * 1000
        assert sorted(reader.paths) == ["b", "f"]
        narrowed = source.with_budget(None, StoreChoice(last=1))
        found = evaluate_instant("max_over_time(c_total[1h])", narrowed, (START_S + 600) * 1000).plain()
        assert [labels["rondo_store"] for labels, _ in found] == ["f"]
        assert {each["rondo_store"] for each in source.series()} == {"b", "f"}


def test_what_is_written_comes_before_what_began_later(lives):
    """Of a bounded list: a life that goes on is never left out for younger ones that have ended."""
    root, _ = lives
    newest, stores = NewestStores(), list(find_stores(root))
    assert [each.name for each in newest.newest_first(stores, 2)] == ["c", "f"]
    early = ManualClock((START_S - 1000) * 10**9)
    with Store(root / "old", [Schema("c", "counter", 4, (Tier("1s", "1h"),))], clock=early):
        assert [each.name for each in newest.newest_first(list(find_stores(root)), 2)] == ["old", "c"]
    assert [each.name for each in newest.newest_first(list(find_stores(root)), 2)] == ["c", "f"]


def test_of_a_store_that_is_gone_nothing_is_kept(lives):
    """However many come and go below a directory that is asked again and again."""
    root, _ = lives
    with open_source(root, choice=StoreChoice(last=2)) as source:
        assert source.series()
        for each in "abde":
            shutil.rmtree(root / each)
        assert source.series()
        assert {path.name for path in source._newest._known} == {"c", "f"}
    newest, stores = NewestStores(), list(find_stores(root))
    newest.newest_first(stores, 1)
    newest.forget_others(stores[:1])
    assert (set(newest._known), set(newest._dead)) == ({stores[0]}, {stores[0]})
