"""Room grows when a store is opened: where more is asked for, and by itself after a run that had too little."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier, open_store
from rondo_core.errors import CapacityError, SchemaError, StoreError, UsageError
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.export.drain import Drain
from rondo_core.maintain import check_store
from rondo_core.model.overflow import is_overflow
from rondo_core.model.schema import DEFAULT_SCHEMAS, check_schemas
from rondo_core.storage.directory import read_meta, size_bytes
from rondo_core.storage.files import Folder

START_S = 1_700_000_000
TIERS = (Tier("1s", "20s"), Tier("10s", "2m"), Tier("1m", "10m"))


def schemas(room=4):
    """Give schemas of every kind, with so much room."""
    return (
        Schema("counters", "counter", room, TIERS),
        Schema("gauges", "gauge", room, TIERS),
        Schema("summaries", "summary", room, TIERS),
        Schema("sketched", "summary", room, TIERS, "", sketch=True),
    )


def record(store, clock, seconds):
    """Record for so long, with some seconds left out."""
    for _ in range(seconds):
        second = clock() // 10**9 % 1000
        for number in range(2):
            store.counter("a_total", n=number).inc(second)
            if second % 3:
                store.gauge("b", n=number).set(second)
            store.summary("c", n=number).observe(second)
        store.tick()
        clock.advance(1)


def everything(path):
    """Give all that can be read: every series' points of every tier and in every reading, rondo's own left out."""
    found = {}
    with StoreReader(path) as reader:
        for series in reader.series():
            if series.schema == "rondo":
                continue
            for tier in range(3):
                for fn in (
                    ("sum", "max", "p90") if series.schema == "sketched" else ("last", "max", "min", "sum", "count")
                ):
                    try:
                        (data,) = reader.query([series], tier=tier, fn=fn)
                    except UsageError:
                        continue
                    found[str(series), tier, fn] = (
                        data.timestamps_ns.tolist(),
                        data.values.tolist(),
                        data.coverage.tolist(),
                    )
    return found


@pytest.fixture
def made(path):
    """A store of 4 series each, closed, and its clock."""
    clock = ManualClock(START_S * 10**9)
    with Store(path, schemas(), clock=clock) as store:
        record(store, clock, 95)
    return clock


@pytest.mark.parametrize("room", [5, 9, 40])
def test_more_room_is_made_where_it_is_asked_for(path, made, room, caplog):
    """Each point in each tier is what it was, new series fit, and the log says from what to what, and how long it took."""
    before, store_id, files = everything(path), read_meta(path).store_id, {each.name for each in path.iterdir()}
    Store(path, schemas(room), clock=made).close()
    assert everything(path) == before
    assert (read_meta(path).store_id, {each.name for each in path.iterdir()}) == (store_id, files)
    assert f"counters 4 -> {room} series" in caplog.text
    assert " s" in caplog.messages[0].rpartition(" in ")[2]
    with Store(path, schemas(room), clock=made) as store:
        assert [store.counter("a_total", n=number).series.schema for number in range(room)] == ["counters"] * room
        record(store, made, 30)
    assert not check_store(path)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_schema_more_is_made_where_it_is_asked_for(path, made):
    """In the place that it is given: new series go to it if it comes first; those that are there stay where they are."""
    before = everything(path)
    more = (Schema("special", "counter", 2, TIERS, "{__name__=~a.*}"), *schemas())
    Store(path, more, clock=made).close()
    assert everything(path) == before
    with Store(path, more, clock=made) as store:
        assert store.counter("a_total", n=0).series.schema == "counters"
        assert store.counter("a_total", n="new").series.schema == "special"
    assert not check_store(path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (schemas(3), "max_series 3 asked for, 4 on disk"),
        (schemas()[1:], "schema counters is on disk only"),
        ((Schema("counters", "gauge", 9, TIERS), *schemas()[1:]), "kind 'gauge' asked for"),
        ((Schema("counters", "counter", 9, TIERS[:2]), *schemas()[1:]), "tiers 1s/20s 10s/2m asked for"),
        ((Schema("counters", "counter", 9, TIERS, "{a=b}"), *schemas()[1:]), "match '{a=b}' asked for"),
    ],
)
def test_every_other_difference_is_an_error_that_names_the_command(path, made, asked, said):
    """And the store is as it was."""
    before = everything(path)
    with pytest.raises(SchemaError, match=f"{said}.*rondo migrate"):
        Store(path, asked, clock=made)
    assert everything(path) == before
    Store(path, schemas(), clock=made).close()


def test_a_run_that_overflowed_has_room_in_the_next(path, made, caplog):
    """Doubled, as often as that takes; the program goes on to ask for what it always has, and may not ask for less."""
    with Store(path, schemas(), clock=made) as store:
        for number in range(10):
            store.gauge("b", n=number).set(1)
    with Store(path, schemas(), clock=made) as store:
        (gauges,) = [each for each in store.meta.schemas if each.name == "gauges"]
        assert (gauges.max_series, gauges.grown) == (16, 12)
        assert [store.gauge("b", n=number).series.column for number in range(3)] == [0, 1, 2]
        assert all(store.gauge("b", n=number).series.labels[0][0] != "rondo_overflow" for number in range(10))
    assert caplog.text.count("gauges 4 -> 16 series") == 1
    before = everything(path)
    for room in (4, 7, 16):
        Store(path, (*schemas()[:1], Schema("gauges", "gauge", room, TIERS), *schemas()[2:]), clock=made).close()
    Store(path, clock=made).close()
    with pytest.raises(SchemaError, match="max_series 3 asked for"):
        Store(path, schemas(3), clock=made)
    assert everything(path) == before


def test_growth_stops_at_the_bound(path, made):
    """By itself as far as there are bytes; where it is asked for, beyond it is an error; so is making what is larger."""
    size = size_bytes(read_meta(path).schemas)
    for bound in (0, size, size + 40_000):
        with Store(path, schemas(), clock=made, max_bytes=bound) as store:
            for number in range(3000):
                store.counter("a_total", n=number)
        assert sum(each.stat().st_size for each in path.iterdir()) <= max(size, bound)
    Store(path, schemas(), clock=made, max_bytes=size + 40_000).close()
    assert sum(each.stat().st_size for each in path.iterdir()) in range(size + 20_000, size + 40_001)
    with pytest.raises(SchemaError, match=r"max_series 90000 asked for.* more than max_bytes, 64.0 MiB"):
        Store(path, schemas(90_000), clock=made)
    with pytest.raises(SchemaError, match=r"more than max_bytes, 1.0 MiB; give"):
        Store(path.with_name("new"), DEFAULT_SCHEMAS, max_bytes="1MiB")
    assert not path.with_name("new").exists()
    with pytest.raises(UsageError, match="max_bytes: 'much'"):
        Store(path, clock=made, max_bytes="much")


def test_all_have_what_they_lacked_before_any_is_doubled(path, made):
    """One metric with thousands of label sets takes no other's room."""
    with Store(path, schemas(), clock=made) as store:
        for number in range(5000):
            store.counter("a_total", n=number)
        for number in range(6):
            store.gauge("b", n=number)
    with Store(path, schemas(), clock=made, max_bytes=4 << 20) as store:
        room = {each.name: each.max_series for each in store.meta.schemas}
    assert room["gauges"] >= 6
    assert 4 < room["counters"] < 5000


def test_exporters_go_on_where_they_stood(path, made):
    """Their cursors are untouched, and mean the same: nothing is sent twice, nothing left out."""
    with Store(path, schemas(), clock=made) as store:
        positions = Drain(store.view).next({}, made() - 30 * 10**9, 100_000).positions
        save_cursor(path, Cursor("x", dict(positions)))
        text = (path / "cursor_x.json").read_bytes()
        expected = parts(store, positions, made)
    with Store(path, schemas(30), clock=made) as store:
        assert (path / "cursor_x.json").read_bytes() == text
        assert parts(store, positions, made) == expected


def parts(store, positions, clock):
    """Give what a drain still has to send, rondo's own left out."""
    drained = Drain(store.view).next(dict(positions), clock() - 10**10, 100_000)
    return [
        (part.schema, [str(each) for each in part.series], part.timestamps_ns.tolist())
        for part in drained.batch.parts
        if part.schema != "rondo"
    ]


def test_a_store_that_is_being_exported_grows_another_time(path, made, caplog):
    """It opens as it is, and says why."""
    import fcntl

    save_cursor(path, Cursor("x", {}))
    held = os.open(path / "cursor_x.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)
    Store(path, schemas(9), clock=made).close()
    assert "not grown" in caplog.text
    assert "another process exports it through x" in caplog.text
    assert read_meta(path).schemas[1].max_series == 4
    with pytest.raises(StoreError, match="another process exports it"):
        Store(path, (*schemas(), Schema("more", "gauge", 1, TIERS, "{a=b}")), clock=made)
    os.close(held)
    Store(path, schemas(9), clock=made).close()
    assert read_meta(path).schemas[1].max_series == 9


def test_a_full_disk_leaves_the_store_as_it_is(path, made, caplog, monkeypatch):
    """It opens, records and says why it has not grown; nothing is left beside it."""
    before = everything(path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    Store(path, schemas(9), clock=made).close()
    assert "not grown" in caplog.text
    assert "No space left" in caplog.text
    assert everything(path) == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


LIVED = """
import os, signal, sys
from rondo_core import ManualClock, Store, faults
from rondo_core.storage import replace
path, now, fault, room = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
sys.path.insert(0, sys.argv[5])
from test_growth import schemas
if fault.startswith("two "):
    def cannot(*_):
        raise OSError(22, "cannot exchange")
    replace._exchange = cannot
faults.arm(fault.removeprefix("two "))
store = Store(path, schemas(room), clock=ManualClock(now))
faults.arm("")
store.counter("a_total", n=0).inc(1000)
store.summary("c", n=0).observe(7)
os.kill(os.getpid(), signal.SIGKILL)
"""


def lived(path, clock, fault, room):
    """Let a process open it, record and be killed: at the fault, or else at its end."""
    command = [sys.executable, "-c", LIVED, path, str(clock()), fault, str(room), Path(__file__).parent]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


KILLS = {f"{point}:1": 4 for point in ("create.meta", "create.slab", "grow.slab", "runs.write.half", "grow.whole")}
KILLS |= {"journal.append.half:2": 4, "grow.slab:14": 4, "grow.replaced:1": 9}
KILLS |= {"two grow.whole:1": 4, "two replace.between:1": 4, "two grow.replaced:1": 9}


@pytest.mark.parametrize(("fault", "room"), KILLS.items())
def test_a_kill_at_any_point_leaves_the_old_store_or_the_new_one(path, made, fault, room):
    """Whole and at its path for the next opening, which gets through and clears away what was left behind."""
    before = everything(path)
    lived(path, made, fault, 9)
    Store(path, clock=made).close()
    assert read_meta(path).schemas == check_schemas(schemas(room))
    assert everything(path) == before
    Store(path, schemas(10), clock=made).close()
    assert everything(path) == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert not check_store(path)


def test_what_a_killed_process_recorded_last_comes_along(path, made):
    """The newest row, which has no seal yet, is no torn one: the store did not move to another machine."""
    lived(path, made, "nowhere:1", 4)
    with StoreReader(path) as reader:
        newest = reader.query("a_total", fn="last", tier=0)
        expected = {str(data.series): data.values.tolist() for data in newest}
    with Store(path, schemas(20), clock=made) as store:
        assert store.meta.schemas[1].max_series == 20
        found = {str(data.series): data.values.tolist() for data in store.query("a_total", fn="last", tier=0)}
        assert found == expected
        assert not [each for each in store.registry if each.name == "rondo_rows_lost_total"]
        assert store.run.place == Folder(path).place
    assert not check_store(path)


def test_rows_that_are_set_aside_come_along(path, made):
    """A clock that stepped back before the growth and returns after it has its history again."""
    true_ns = made()
    before = everything(path)['a_total{n="0"}', 0, "last"]
    made.now_ns -= 9 * 10**9
    with Store(path, schemas(), clock=made) as store:
        store.counter("a_total", n=0).inc()
    with Store(path, schemas(12), clock=made) as store:
        store.counter("a_total", n=0).inc()
        made.now_ns = true_ns
        store.counter("a_total", n=0).inc()
        store.tick()
    after = dict(zip(*everything(path)['a_total{n="0"}', 0, "last"][:2], strict=True))
    kept = {stamp: value for stamp, value in zip(*before[:2], strict=True) if stamp > true_ns - 9 * 10**9}
    assert kept.items() <= after.items()
    assert not check_store(path)


@pytest.mark.parametrize("mib", [4, 8, 16])
def test_a_store_without_schemas_is_made_as_small_as_was_said(tmp_path, monkeypatch, caplog, mib):
    """By Store, for_process, open_store, and in a child; a program of few series has room, what overflows is counted."""
    monkeypatch.setenv("RONDO_DIR", str(tmp_path))
    bound = f"{mib}MiB"
    stores = [
        Store(tmp_path / "plain", max_bytes=bound),
        Store.for_process(tmp_path / "own", max_bytes=bound),
        open_store("opened", max_bytes=bound),
    ]
    for store in stores:
        handles = [store.counter("a_total", n=n) for n in range(3)] + [store.gauge("b"), store.summary("c")]
        assert not any(is_overflow(handle.series) for handle in handles)
        for number in range(200):
            store.counter("d_total", n=number).inc()
        assert sum(float(data.values[-1]) for data in store.query("d_total", fn="last")) == 200
        store.close()
        assert (mib - 1) << 20 < sum(each.stat().st_size for each in store.path.iterdir()) <= mib << 20
    assert {read_meta(store.path).schemas for store in stores} == {stores[0].meta.schemas}
    assert len(caplog.messages) == len(stores)
    with Store(stores[0].path, max_bytes="48MiB") as store:
        assert next(each for each in store.meta.schemas if each.name == "counters").max_series > 200
    with pytest.raises(SchemaError, match=r"take 3.2 MiB, more than max_bytes, 1.0 MiB"):
        Store(tmp_path / "tiny", max_bytes="1MiB")


def test_a_config_says_how_far_a_store_grows_and_whether_it_is_strict(tmp_path):
    """By the keys max_bytes and strict of its table `store`."""
    config = tmp_path / "rondo.toml"
    text = f'[store]\npath = "{tmp_path / "s"}"\nmax_bytes = "24MiB"\n'
    config.write_text(text)
    with open_store(config) as store:
        for number in range(200):
            store.counter("a_total", n=number)
    with open_store(config) as store:
        assert 100 < next(each for each in store.meta.schemas if each.name == "counters").max_series < 200
    assert sum(each.stat().st_size for each in (tmp_path / "s").iterdir()) <= 24 << 20
    config.write_text(text + "strict = true\n")
    with open_store(config) as store, pytest.raises(CapacityError):
        list(map(store.counter, [f"b{number}_total" for number in range(200)]))
