"""Labels are looked up where something is recorded: by their text, once checked, within the room of the schema."""

import copy
import pickle
import threading
import tracemalloc
from enum import StrEnum

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import LabelError, RondoError, UsageError
from rondo_core.record.declaring import MAX_AT_HAND

TIERS = (Tier("1s", "1m"), Tier("10s", "10m"))


@pytest.fixture
def store(tmp_path):
    schemas = [Schema(kind, kind, 8, TIERS) for kind in ("counter", "gauge", "summary")]
    with Store(tmp_path / "s", schemas, clock=ManualClock()) as store:
        yield store


@pytest.mark.parametrize(("kind", "record"), [("counter", "inc"), ("gauge", "set"), ("summary", "observe")])
def test_a_family_gives_the_handle_that_the_store_does(store, kind, record):
    """In order or by name, and with labels that all of its series have; always the same one."""
    family = getattr(store, kind)("things_total", "Things.", labels=["route", "code"], host="a")
    handle = family.labels("/", "200")
    getattr(handle, record)(3.0)
    assert handle is family.labels(code="200", route="/") is family.labels("/", 200)
    assert handle is getattr(store, kind)("things_total", route="/", code="200", host="a")
    assert (handle.series.help, str(handle.series)) == ("Things.", 'things_total{code="200",host="a",route="/"}')
    assert store.query("things_total", fn={"summary": "sum"}.get(kind, "last"), open=True)[0].values.tolist() == [3.0]


class Colour(StrEnum):
    RED = "red"


def test_values_are_looked_up_by_their_text(store):
    """1, True and 1.0 are three series, though they are equal; a text of a class of its own is that text."""
    family = store.counter("things_total", labels=["it"])
    for _ in range(2):
        for value in (1, True, 1.0, None, "1", Colour.RED, "red", b"1"):
            family.labels(value).inc()
    totals = {each.series.labels[0][1]: each.values[-1] for each in store.query("things_total")}
    assert totals == {"1": 4.0, "True": 2.0, "1.0": 2.0, "None": 2.0, "red": 4.0, "b'1'": 2.0}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((), {}),
        (("/",), {}),
        (("/", 1, 2), {}),
        (("/",), {"code": 1}),
        ((), {"route": "/"}),
        ((), {"route": 1, "cod": 2}),
    ],
)
def test_missing_and_unknown_labels_are_the_programs_mistake(store, values, named):
    """The error names the metric and its labels."""
    family = store.counter("things_total", labels=["route", "code"])
    with pytest.raises(UsageError, match=r"things_total: labels\(.*give each .* route, code"):
        family.labels(*values, **named)


@pytest.mark.parametrize(
    ("names", "what"), [("route", "list"), ({"route": "/"}, "list"), (5, "list"), (["a", "a"], "twice")]
)
def test_names_of_labels_are_checked_when_declared(store, names, what):
    """A text is not its letters, and a mapping not its keys."""
    with pytest.raises(LabelError, match=what):
        store.counter("things_total", labels=names)
    with pytest.raises(LabelError):
        store.counter("things_total", labels=["0"])
    with pytest.raises(LabelError, match="not one value"):
        store.counter("things_total", labels=["a"]).labels(["x"])


def test_a_family_without_labels_is_its_one_series(store):
    """As prometheus_client's are."""
    store.counter("things_total", labels=[]).inc()
    assert store.counter("things_total").value == 1.0


def test_a_family_records_nothing_itself(store):
    """The error says what to write."""
    family = store.counter("things_total", labels=["route"])
    with pytest.raises(AttributeError, match=r"choose one of its series first: \.labels\(route\)"):
        family.inc()
    assert repr(family) == "<Family things_total{route}>"
    for use in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="copied or pickled"):
            use(family)
    with pytest.raises((RondoError, AttributeError, TypeError)):
        type(family).__new__(type(family)).labels("x")


def test_a_value_that_comes_from_outside_never_raises(store):
    """A path of a client's: cut at what a label's value may have, and made Unicode; the total is kept."""
    family = store.counter("things_total", labels=["path"])
    for _ in range(2):
        family.labels("/\udcff").inc()
        family.labels("ä" * 600).inc()
        family.labels("ä" * 700).inc()
    totals = {each.series.labels[0][1]: each.values[-1] for each in store.query("things_total")}
    assert totals == {"/?": 2.0, "ä" * 512: 4.0}


@pytest.mark.parametrize("kind", ["counter", "gauge", "summary"])
def test_a_value_from_outside_is_the_same_series_with_and_without_a_family(store, kind):
    """Cut alike, whichever way a program writes it, and for labels that all series of a family have too."""
    declare = getattr(store, kind)
    for long in ("x" * 1025, "ä" * 600, "\ud800" + "y" * 2000, b"z" * 2000):
        handle = declare("things", path=long)
        assert handle is declare("things", labels=["path"]).labels(long)
        assert handle is declare("things", {"path": long})
        ((_, value),) = handle.series.labels
        assert 1000 <= len(value.encode()) <= 1024
    both = declare("both", labels=["path"], fixed="x" * 1025).labels("a")
    assert both is declare("both", path="a", fixed="x" * 1030)


def test_a_strict_store_refuses_a_value_that_is_too_long(tmp_path):
    """It raises where the others cut, and declares nothing."""
    with Store(tmp_path / "s", [Schema("counters", "counter", 8, TIERS)], strict=True) as store:
        for bad in ("x" * 1025, "\ud800"):
            with pytest.raises(LabelError):
                store.counter("things", path=bad)
        assert store.counter("things", path="x" * 1024).series.labels == (("path", "x" * 1024),)
    with StoreReader(tmp_path / "s") as reader:
        assert len(reader.series("things")) == 1


def test_what_is_no_value_is_a_mistake_though_another_is_too_long(store):
    """A list, or a name that cannot be one, is the programmer's, and is said as it is without the long one."""
    for other in ({"codes": [1]}, {"__a": "1"}):
        bad = {"path": "x" * 2000} | other
        with pytest.raises(LabelError, match=r"codes=|__a"):
            store.counter("things", bad)


def test_what_is_remembered_is_bounded_by_the_room_there_is(store):
    """Of many values eight have a series, all others one together; nothing grows with how many these are."""
    family = store.counter("things_total", labels=["n"])
    tracemalloc.start()
    try:
        for n in range(8 + 2 * MAX_AT_HAND):
            family.labels(n).inc()
        before = tracemalloc.get_traced_memory()[0]
        for n in range(8 + 2 * MAX_AT_HAND, 8 + 12 * MAX_AT_HAND):
            family.labels(n).inc()
        assert tracemalloc.get_traced_memory()[0] - before < 20 * MAX_AT_HAND
    finally:
        tracemalloc.stop()
    totals = {each.series.labels: each.values[-1] for each in store.query("things_total")}
    assert totals.pop((("rondo_overflow", "true"),)) == 12.0 * MAX_AT_HAND
    assert list(totals.values()) == [1.0] * 8
    assert family.labels("7") is family.labels(7)
    assert family.labels("8") is family.labels("9") is not family.labels(7)


def test_threads_that_ask_at_once_get_one_handle(store):
    """And none of what they count is lost."""
    family = store.counter("things_total", labels=["n"])
    start, got = threading.Barrier(4), []

    def work():
        start.wait()
        for turn in range(2000):
            handle = family.labels(turn % 4)
            handle.inc()
        got.append([family.labels(n) for n in range(4)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert all(each == got[0] for each in got)
    assert [handle.value for handle in got[0]] == [2000.0] * 4
