"""A directory of stores within its bound: which of the dead are folded, what they become, and what stays."""

import os
import shutil
import subprocess
import sys
import threading

import msgpack
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier, open_store
from rondo_core.errors import CorruptStoreError, StoreError, UsageError
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.maintain.check import check_store
from rondo_core.retention import Bound, list_stores, prune
from rondo_core.storage.ended import read_ended
from rondo_core.storage.files import Folder
from rondo_core.storage.journal import create_journal

START_NS = 1_700_000_000 * 10**9
TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))
SCHEMAS = (Schema("c", "counter", 2, TIERS), Schema("g", "gauge", 2, TIERS), Schema("s", "summary", 2, TIERS))


def make(path, schemas=SCHEMAS, at_s=0, seconds=3, amount=1, **labels):
    """An ended store that counted once a second."""
    clock = ManualClock(START_NS + at_s * 10**9)
    with Store(path, schemas, clock=clock) as store:
        for _ in range(seconds):
            store.counter("c_total", **labels).inc(amount)
            store.gauge("g").set(amount)
            store.tick()
            clock.advance(1)
    return path


def after(seconds):
    return ManualClock(START_NS + seconds * 10**9)


def names(root):
    return sorted(path.name for path in root.iterdir())


def grown(root):
    with StoresReader(root) as reader:
        return sum(float(data.values.sum()) for data in reader.query("c_total", fn="increase"))


@pytest.fixture
def five(tmp_path):
    for number in range(5):
        make(tmp_path / f"p{number}.rondo", at_s=number * 10)
    return tmp_path


def test_a_link_is_no_store_of_the_directory(five):
    """It is called what it is, stays, and what it leads to is left alone."""
    (five / "inside").mkdir()
    (five / "inside" / "latest.rondo").symlink_to("../p0.rondo")
    done = prune(five / "inside", Bound(keep_last=0))
    assert (names(five / "inside"), done.folded) == (["latest.rondo"], [])
    assert done.left == [f"{five}/inside/latest.rondo: a link, which is not followed; name what it leads to"]
    assert len(list_stores(five)[0]) == 5


def test_keep_last_keeps_the_newest(five):
    """By their ends, not by their names."""
    make(five / "a.rondo", at_s=100)
    assert prune(five, Bound(keep_last=2), clock=after(200)).folded == ["p0.rondo", "p1.rondo", "p2.rondo", "p3.rondo"]
    assert names(five) == ["a.rondo", "ended.rondo", "p4.rondo"]
    assert grown(five) == 18


def test_keep_for_counts_from_the_end(five):
    """A store is kept for as long after its process as was asked."""
    assert prune(five, Bound(keep_for_ns=25 * 10**9), clock=after(43 + 10)).folded == [
        "p0.rondo",
        "p1.rondo",
        "p2.rondo",
    ]
    assert prune(five, Bound(keep_for_ns=25 * 10**9), clock=after(43 + 10)).folded == []


def test_keep_bytes_counts_all_that_lies_there(five):
    """The store of the ended takes room too; what is left is within the bound, or nothing is left to fold."""
    one = sum(file.stat().st_size for file in (five / "p0.rondo").iterdir())
    bound = Bound(keep_bytes=3 * one + (64 << 10))
    prune(five, bound, clock=after(100))
    assert sum(file.stat().st_size for file in five.rglob("*") if file.is_file()) <= bound.keep_bytes
    assert len(names(five)) == 3
    prune(five, Bound(keep_bytes=0), clock=after(100))
    assert names(five) == ["ended.rondo"]
    assert grown(five) == 15


def test_the_bound_waits_for_exporters_but_for_bytes(five, caplog):
    """What keep_last and keep_for take was sent to its end; what keep_bytes takes is counted and logged."""
    save_cursor(five / "p0.rondo", Cursor("prometheus", ended_run=1))
    save_cursor(five / "p1.rondo", Cursor("prometheus"))
    done = prune(five, Bound(keep_last=2, exporters=("prometheus",)), clock=after(100), dry_run=True)
    assert (done.folded, done.waiting) == (["p0.rondo"], ["p1.rondo", "p2.rondo"])
    done = prune(five, Bound(keep_last=2), clock=after(100))
    assert (done.folded, done.waiting) == (["p0.rondo", "p2.rondo"], ["p1.rondo"])  # of those that began with one
    done = prune(five, Bound(keep_bytes=0), clock=after(100))
    assert (done.waiting, done.unexported) == ([], ["p1.rondo"])
    assert "p1.rondo: folded before it was sent whole" in caplog.text
    (ended,) = list_stores(five)[0]
    assert (ended.folded.stores, ended.folded.unexported) == (5, 1)


def test_a_live_store_is_never_folded(five):
    """Nor one that its process has opened again."""
    with Store(five / "p0.rondo", clock=after(90)):
        assert "p0.rondo" not in prune(five, Bound(keep_last=0), clock=after(100)).folded
        assert names(five) == ["ended.rondo", "p0.rondo"]
    assert prune(five, Bound(keep_last=0), clock=after(100)).folded == ["p0.rondo"]


def test_a_killed_process_is_folded_to_its_last_record(tmp_path):
    """Its open windows too."""
    code = (
        "import os, sys; from rondo_core import Store\n"
        "Store(sys.argv[1]).counter('c_total').inc(3)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "p.rondo")], check=False)
    (dead,) = list_stores(tmp_path)[0]
    assert (dead.ended, dead.is_dead) == ("gone", True)
    assert prune(tmp_path, Bound(keep_last=0)).folded == ["p.rondo"]
    with StoreReader(tmp_path / "ended.rondo") as reader:
        for tier in (0, 1, 2):
            assert reader.query("c_total", tier=tier)[0].values[-1] == 3


def test_what_cannot_be_read_stays_and_is_named(five):
    """A damaged one holds up none of the others."""
    os.truncate(five / "p1.rondo" / "c.0.slab", 100)
    done = prune(five, Bound(keep_last=0), clock=after(100))
    assert done.folded == ["p0.rondo", "p2.rondo", "p3.rondo", "p4.rondo"]
    assert "c.0.slab" in done.left[0]
    assert names(five) == ["ended.rondo", "p1.rondo"]


def test_a_store_of_another_clock_stays_until_that_time(five):
    """A wrong reading of the clock does not push what is right out of the rings of the ended."""
    make(five / "z.rondo", at_s=10**6)
    done = prune(five, Bound(keep_last=0), clock=after(100))
    assert "z.rondo" not in done.folded
    assert "its clock was wrong, or this one is" in done.left[0]
    assert prune(five, Bound(keep_last=0), clock=after(2 * 10**6)).folded == ["z.rondo"]


def test_other_schemas_make_another_store_of_the_ended(five):
    """A program that keeps its series otherwise since its last release: both are bounded, and read together."""
    other = (Schema("c", "counter", 2, (Tier("1s", "30s"),)), *SCHEMAS[1:])
    make(five / "new.rondo", other, at_s=60)
    assert prune(five, Bound(keep_last=0), clock=after(100)).left == []
    assert names(five) == ["ended-2.rondo", "ended.rondo"]
    assert grown(five) == 18


def test_room_grows_for_the_labels_of_all(tmp_path):
    """Of stores with room for two series each, the one of the ended has room for all of them."""
    for number in range(5):
        make(tmp_path / f"p{number}.rondo", worker=str(number))
    prune(tmp_path, Bound(keep_last=0), clock=after(100))
    assert names(tmp_path) == ["ended.rondo"]
    assert check_store(tmp_path / "ended.rondo") == []
    with StoreReader(tmp_path / "ended.rondo") as reader:
        assert len(reader.series("c_total")) == 5


def test_what_would_grow_too_large_stays(tmp_path, monkeypatch):
    """The store of the ended grows within a bound; beyond it a store stays, and that is said."""
    monkeypatch.setattr("rondo_core.retention.pruning.MAX_ENDED_BYTES", 0)
    few = [schema._replace(reserve=0) for schema in SCHEMAS]
    for number in range(3):
        make(tmp_path / f"p{number}.rondo", few, worker=str(number))
        make(tmp_path / f"q{number}.rondo", few, worker="0")
    monkeypatch.setattr("rondo_core.storage.ended.MAX_STORES", 1)
    done = prune(tmp_path, Bound(keep_last=0), clock=after(100))
    assert len(done.folded) == 5  # there is room for two workers
    assert "no store of the ended has room for it" in done.left[0]


def test_gauges_are_added_up(tmp_path):
    """In each second the sum of what the processes had; of windows whose seconds are gone, bounds."""
    for number in range(3):
        make(tmp_path / f"p{number}.rondo", seconds=20, amount=number + 1)
    prune(tmp_path, Bound(keep_last=0), clock=after(100))
    with StoreReader(tmp_path / "ended.rondo") as reader:
        for tier in (0, 1):
            for fn in ("avg", "min", "max", "first", "last"):
                assert set(reader.query("g", tier=tier, fn=fn)[0].values) == {6.0}, (tier, fn)
            assert reader.query("g", tier=tier, fn="sum")[0].values.sum() == 120


def test_a_counter_of_the_ended_never_falls(five):
    """Fold after fold, also when all that was recorded is out of the rings: its total is that of all processes."""
    counted = 0.0
    for keep_last in (4, 2, 1, 0):
        prune(five, Bound(keep_last=keep_last), clock=after(100))
        with StoreReader(five / "ended.rondo") as reader:
            total = reader.query("c_total")[0].values[-1]
        assert total > counted
        counted = total
    make(five / "late.rondo", at_s=10**5, worker="another")
    prune(five, Bound(keep_last=0), clock=after(2 * 10**5))
    with StoreReader(five / "ended.rondo") as reader:
        assert reader.query("c_total{worker!=another}")[0].values[-1] == counted == 15


def test_a_store_that_was_folded_and_not_removed_is_read_once(five, monkeypatch):
    """From the moment in which the store of the ended has it."""
    monkeypatch.setattr("rondo_core.retention.folding.remove_folded", _cannot)
    done = prune(five, Bound(keep_last=0), clock=after(100))
    assert len(done.folded) == 5
    assert "folded, but" in done.left[0]
    assert len(names(five)) == 6
    assert grown(five) == 15
    monkeypatch.undo()
    assert prune(five, Bound(keep_last=0), clock=after(100)).folded == []
    assert names(five) == ["ended.rondo"]


def test_a_store_of_the_ended_that_is_damaged_stays_and_is_named(five):
    """Nothing is folded into it, nor removed; the directory is read, and says what is wrong."""
    prune(five, Bound(keep_last=3), clock=after(100))
    with (five / "ended.rondo" / "ended").open("r+b") as file:
        file.seek(30)
        file.write(b"\xa5\xa5\xa5")
    assert [finding.file for finding in check_store(five / "ended.rondo")] == ["ended"]
    done = prune(five, Bound(keep_last=0), clock=after(100))
    assert done.folded == []
    assert any("ended.rondo/ended" in line for line in done.left)
    assert names(five) == ["ended.rondo", "p2.rondo", "p3.rondo", "p4.rondo"]
    with StoresReader(five) as reader:
        assert any("ended.rondo/ended" in line for line in reader.errors)


@pytest.mark.parametrize(
    "record",
    [
        b"\x93abc",
        b"\x81",
        msgpack.packb({"members": [[1]]}),
        msgpack.packb({"members": [], "stores": "x"}),
        b"\xdd\xff",
    ],
)
def test_a_mark_that_is_none_is_damage(tmp_path, record):
    """However well it checks."""
    create_journal(tmp_path / "ended", 4096, (record,))
    with pytest.raises(CorruptStoreError, match="which stores were folded does not read"):
        read_ended(Folder(tmp_path))


def test_a_flipped_bit_in_the_mark_is_noticed(five):
    """At whatever byte of it that is in use: it is refused, or means what it meant."""
    prune(five, Bound(keep_last=3), clock=after(100))
    file = five / "ended.rondo" / "ended"
    whole, known = file.read_bytes(), read_ended(Folder(five / "ended.rondo"))
    for at in range(len(whole.rstrip(b"\0"))):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        try:
            assert read_ended(Folder(five / "ended.rondo")) == known
        except StoreError:
            continue


def _cannot(_store, path):
    raise PermissionError(13, "Permission denied", str(path))


def test_an_agent_sends_no_store_of_the_ended(five, tmp_path_factory):
    """Its parts were sent as they were."""
    from rondo_core.export.agent import Agent
    from rondo_core.plugins.config_file import Config

    prune(five, Bound(keep_last=1), clock=after(100))
    table = {"path": str(tmp_path_factory.mktemp("out") / "o.csv")}
    agent = Agent(five, Config(exporters={"csv": table}))
    try:
        done = agent.run_once(last=True)
    finally:
        agent.close()
    assert (done.stores, done.complete) == (1, 1)
    assert not list((five / "ended.rondo").glob("cursor_*"))


def test_a_process_keeps_its_directory_within_the_bound(tmp_path):
    """From its opening on, without a call; its own store has a name that says whose it is."""
    for number in range(4):
        make(tmp_path / f"p{number}.rondo", at_s=number)
    with Store.for_process(tmp_path, SCHEMAS, name="web", keep_last=1) as store:
        assert store.path.name.startswith(f"web-{os.getpid()}-20")
        store.counter("c_total").inc(5)
    assert names(tmp_path) == ["ended.rondo", store.path.name]
    assert grown(tmp_path) == 17


def test_a_config_bounds_the_directory_of_its_store(tmp_path):
    """The keys of [store] are those of for_process."""
    for number in range(3):
        make(tmp_path / "stores" / f"p{number}.rondo")
    (tmp_path / "rondo.toml").write_text('[store]\npath = "stores/mine.rondo"\nkeep_last = 1\n')
    with open_store(tmp_path / "rondo.toml"):
        pass
    assert names(tmp_path / "stores") == ["ended.rondo", "mine.rondo"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep_last": -1}, "keep_last -1"),
        ({"keep_last": True}, "keep_last True"),
        ({"keep_for": "soon"}, "keep_for"),
        ({"keep_bytes": "much"}, "keep_bytes"),
        ({"name": "a/b"}, "name 'a/b'"),
        ({"name": "ended"}, "name 'ended'"),
    ],
)
def test_a_bound_that_cannot_be_is_refused(tmp_path, given, said):
    """Before anything is made."""
    with pytest.raises(UsageError, match=said):
        Store.for_process(tmp_path / "stores", **given)
    assert not (tmp_path / "stores").exists()


def test_a_copy_of_a_store_of_the_ended_is_a_store(five, tmp_path_factory):
    """Moved elsewhere it reads as it did."""
    prune(five, Bound(keep_last=0), clock=after(100))
    there = tmp_path_factory.mktemp("there") / "ended.rondo"
    shutil.copytree(five / "ended.rondo", there)
    assert check_store(there) == []
    with StoreReader(there) as reader:
        assert reader.query("c_total", fn="increase")[0].values.sum() == 15


def test_stores_that_have_grown_or_overflowed_are_folded_together(tmp_path):
    """Whatever room each has, and kept for overflow: what all of them counted is there, by its labels."""
    make(tmp_path / "plain.rondo", [schema._replace(reserve=0) for schema in SCHEMAS], worker="0")
    make(tmp_path / "roomy.rondo", [schema._replace(max_series=9) for schema in SCHEMAS], at_s=5, worker="0")
    for at_s in (10, 20, 30):  # overflows, and grows by that at its next opening
        clock = after(at_s)
        with Store(tmp_path / "full.rondo", SCHEMAS, clock=clock) as store:
            for worker in range(12):
                store.counter("c_total", worker=str(worker)).inc()
            store.tick()
    with StoreReader(tmp_path / "full.rondo") as reader:
        assert {schema.name: schema for schema in reader.meta.schemas}["c"].grown
        assert reader.series('c_total{rondo_overflow="true"}')
    before = grown(tmp_path)
    done = prune(tmp_path, Bound(keep_last=0), clock=after(100))
    assert (len(done.folded), done.left) == (3, [])
    assert grown(tmp_path) == before > 40
    assert check_store(tmp_path / "ended.rondo") == []


@pytest.mark.parametrize("first", [1, 2])
def test_sketches_of_either_layout_are_folded_together(tmp_path, first):
    """Quantiles of the directory are those of all observations, whichever layout the oldest store has."""

    def p90():
        with StoresReader(tmp_path) as reader:
            return [(reader.query("q", fn=fn, tier=tier, agg=True)[0].values[-1]) for tier in (0, 1) for fn in said]

    said = ("p50", "p90", "count")
    for number, layout in enumerate((first, 3 - first, first)):
        kept = Schema("q", "summary", 2, TIERS, sketch=True, sketch_layout=layout)
        clock = after(10 * number)
        with Store(tmp_path / f"p{number}.rondo", [kept], clock=clock) as store:
            for value in range(1, 40):
                store.summary("q").observe(value * (number + 1))
                store.tick()
                clock.advance(0.2)
    before = p90()
    for kept in (2, 0):  # into a new store of the ended, and into that one
        assert prune(tmp_path, Bound(keep_last=kept), clock=after(100)).left == []
        assert p90() == before
    assert names(tmp_path) == ["ended.rondo"]
    assert check_store(tmp_path / "ended.rondo") == []


def test_a_forked_child_has_the_name_and_the_labels_but_keeps_no_bound(tmp_path):
    """Its own store is named and told apart as its parent's; it is the parent that folds it."""
    with Store.for_process(tmp_path, SCHEMAS, name="web", keep_last=0, labels={"pool": "a"}) as store:
        counter, own = store.counter("c_total"), store.path.name
        counter.inc()
        child = os.fork()
        if not child:
            counter.inc(2)
            alone = store.retention_thread is None and not any(
                each.name == "rondo-retention" for each in threading.enumerate()
            )
            store.close()
            os._exit(not alone)
        assert os.waitpid(child, 0)[1] == 0
        theirs = [name for name in names(tmp_path) if name not in {own, "ended.rondo"}]
        assert [name.startswith(f"web-{child}-") for name in theirs] in ([True], [])  # the parent may have folded it
        with StoresReader(tmp_path) as reader:
            pools = {dict(series.labels).get("pool") for series in reader.series("c_total")}
        assert "a" in pools
    assert names(tmp_path) == ["ended.rondo"]
    assert grown(tmp_path) == 3


def test_open_store_takes_a_bound(tmp_path, monkeypatch):
    """The keywords are those of for_process, and what is wrong with one is said before there is a store."""
    monkeypatch.setenv("RONDO_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="keep_last"):
        open_store("web", keep_last=-1)
    for _ in range(3):
        with open_store("web", schemas=SCHEMAS, keep_last=0) as store:
            store.counter("c_total").inc()
    assert names(tmp_path / "web") == ["ended.rondo"]
    assert grown(tmp_path / "web") == 3
