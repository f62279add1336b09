"""A store is itself, wherever it lies: renamed, replaced, removed, copied, dropped or forked under its writer."""

import contextlib
import errno
import gc
import os
import shutil
import subprocess
import sys
import threading
import warnings
from unittest.mock import Mock, patch

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import CorruptStoreError, StoreError, StoreForkedError, StoreLockedError, UsageError
from rondo_core.export.cursor import CursorLock, load_cursor
from rondo_core.export.runner import open_runner
from rondo_core.maintain.check import check_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.record.ticking import TickThread
from rondo_core.record.writer import Writer
from rondo_core.storage import replace
from rondo_core.storage.directory import is_abandoned, make_unfinished
from rondo_core.storage.files import Folder, _make_unfinished
from rondo_core.storage.lock import WriterLock, writer_pid
from rondo_core.storage.runs import Run, read_runs, write_run

SECOND = """
import sys
from rondo_core import Store
with Store(sys.argv[1], writer="second") as store:
    store.counter("b_total").inc(1000)
    print("open", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other(path):
    """Another process that writes a store at the path until it is told to end."""
    process = subprocess.Popen([sys.executable, "-c", SECOND, path], stdin=-1, stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout.readline() == "open\n"
        yield process
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def refused(path):
    """What another process is told that wants to write the store."""
    ended = subprocess.run([sys.executable, "-c", SECOND, path], input="", capture_output=True, text=True, check=False)
    assert ended.returncode
    return ended.stderr.splitlines()[-1]


def value(reader, name):
    (found,) = reader.query(name)
    return found.values.tolist()[-1]


# -- renamed, replaced, removed


@pytest.mark.parametrize("how", ["absolute", "relative", "link"])
def test_a_renamed_store_stays_the_one_that_its_process_writes(tmp_path, monkeypatch, how):
    """A tick, a declaration, a sync, an export and the end go to it, and not to the store that took its old name."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s"
    if how == "link":
        Store("real", writer="first").close()
        path.symlink_to("real")
    store = Store("s" if how == "relative" else path, writer="first")
    store.counter("a_total").inc()
    store.tick()
    runner = open_runner(store.view, "jsonl", {"path": str(tmp_path / "lines")})
    (tmp_path / "real" if how == "link" else path).rename(tmp_path / "moved")
    path.unlink(missing_ok=True)
    with other(path) as second:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        store.counter("c_total").inc(3)
        store.tick()
        store.sync()
        assert store.view.writer_pid() == os.getpid()
        store.close("signal 15")
        assert runner.finish(store.run.number, 10).samples
        with StoreReader(path) as reader:
            assert [(run.writer, run.pid, run.ended) for run in reader.runs()] == [("second", second.pid, "")]
            assert [each.name for each in reader.series("{__name__!=x}") if "rondo" not in each.name] == ["b_total"]
            assert not list(path.glob("cursor_*"))
    with StoreReader(tmp_path / "moved") as reader:
        assert [(run.writer, run.ended) for run in reader.runs()][-1] == ("first", "signal 15")
        assert (value(reader, "a_total"), value(reader, "c_total")) == (1.0, 3.0)
    assert load_cursor(tmp_path / "moved", "jsonl").samples


def test_a_store_that_is_removed_while_it_is_open_ends_quietly_with_a_warning(path, caplog, clock):
    """Nothing of it comes back, nothing is raised where it records, ticks and closes; the log says so once."""
    store = Store(path, clock=clock)
    counter = store.counter("a_total")
    store.tick()
    shutil.rmtree(path)
    counter.inc()
    store.gauge("declared_later").set(1.0)
    for _ in range(2):
        clock.advance(10)
        store.tick()
        assert len(caplog.records) == 1
    with pytest.raises(StoreError, match="missing"):
        store.sync()
    store.close()
    assert not path.exists()
    assert [each.message for each in caplog.records] == [
        f"{path}: was removed, or replaced, while it is open; what is recorded on is lost when it is closed"
    ]


def test_a_store_replaced_file_by_file_says_that_nothing_can_be_declared_in_it(path, tmp_path, caplog):
    """What a new series would be recorded under is in a file that no one reads any more."""
    store = Store(path)
    store.counter("a_total").inc()
    store.tick()
    for file in ("series", "rondo.0.slab"):
        shutil.copy(path / file, tmp_path / file)
        (tmp_path / file).rename(path / file)
    with pytest.raises(StoreError, match="series: another file has taken its place"):
        store.counter("c_total")
    with pytest.raises(StoreError, match="another file has taken its place"):
        store.sync()
    store.counter("a_total").inc()
    store.tick()
    store.close()
    assert caplog.text.count("was removed, or replaced") == 1


def test_a_reader_knows_when_another_store_lies_at_its_path(path, tmp_path):
    """It goes on with the one that it has open; a rename, a new store and a new writer outdate it, the same one does not."""
    with Store(path) as store:
        store.gauge("a").set(1.0)
        with StoreReader(path) as reader, StoreReader(path) as renamed:
            store.tick()
            assert not reader.is_outdated()
            path.rename(tmp_path / "moved")
            assert reader.is_outdated()
            with Store(path) as new:
                new.gauge("b").set(2.0)
                assert reader.is_outdated()
                assert value(reader, "a") == 1.0
                assert reader.runs()[-1].place == store.run.place
            shutil.rmtree(path)
            (tmp_path / "moved").rename(path)
            assert not renamed.is_outdated()
    with StoreReader(path) as reader:
        Store(path).close()
        assert reader.is_outdated()


# -- the lock


@pytest.mark.parametrize("gone", [["lock"], ["lock", "series"], ["lock", "series", "meta", "runs"]])
@pytest.mark.parametrize("replaced", [False, True])
def test_one_process_writes_a_store_whatever_file_of_it_was_removed_or_replaced(path, tmp_path, gone, replaced):
    """A second writer is refused; what the first one goes on to record is its own."""
    store = Store(path)
    store.counter("a_total").inc()
    store.tick()
    for name in gone:
        if replaced or name != "lock":
            shutil.copy(path / name, tmp_path / name)
            (tmp_path / name).rename(path / name)
        else:
            (path / name).unlink()
    assert f"process {os.getpid()} writes this store" in refused(path)
    store.counter("a_total").inc()
    store.close()
    with other(path):
        pass
    with StoreReader(path) as reader:
        assert (value(reader, "a_total"), value(reader, "b_total")) == (2.0, 1000.0)


def test_who_writes_is_known_without_the_file_lock(path):
    """By the lock of the registry and by the record of runs; where neither tells a pid it is 0, never nobody."""
    with Store(path) as store:
        (path / "lock").unlink()
        assert writer_pid(path / "lock") == os.getpid()
        runs = bytearray((path / "runs").read_bytes())
        (path / "runs").write_bytes(bytes(len(runs)))
        assert writer_pid(path / "lock") == 0
        (path / "runs").write_bytes(runs)
        assert store.view.writer_pid() == os.getpid()
    assert writer_pid(path / "lock") is None


def test_a_rondo_that_locks_only_the_file_lock_and_this_one_keep_each_other_out(path):
    """A record lock of `lock` alone is enough to be taken for a writer, and a writer has one."""
    Store(path).close()
    code = (
        "import fcntl, os, struct, sys; f = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))\n"
        "os.pwrite(f, b'%-20d' % os.getpid(), 0); print('locked', flush=True); sys.stdin.read()"
    )
    old = subprocess.Popen([sys.executable, "-c", code, path / "lock"], stdin=-1, stdout=-1, stderr=-1, text=True)
    assert old.stdout.readline() == "locked\n"
    assert writer_pid(path / "lock") == old.pid
    with pytest.raises(StoreLockedError, match=f"process {old.pid} writes this store"):
        Store(path)
    old.communicate("")
    with Store(path):
        late = subprocess.run(
            [sys.executable, "-c", code, path / "lock"], input="", capture_output=True, text=True, check=False
        )
        assert "BlockingIOError" in late.stderr


def test_a_second_opening_in_the_same_process_says_so(path):
    """By whichever path: itself, a link, a relative one; after the end it opens."""
    link = path.with_name("link")
    link.symlink_to(path)
    with Store(path):
        for each in (path, link):
            with pytest.raises(StoreLockedError, match="this very process writes this store already") as caught:
                Store(each)
            assert (caught.value.here, caught.value.pid) == (True, os.getpid())
        assert "very process" not in refused(path)
    Store(link).close()


def test_a_lock_is_free_once_it_was_released_though_a_child_has_it_open(path):
    """A child of a program that forks at any moment, an export's lock included, keeps nothing from the next one."""
    store = Store(path)
    lock = CursorLock(path, "x")
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    store.close()
    lock.release()
    Store(path).close()
    CursorLock(path, "x").release()
    os.close(reading)
    os.close(writing)
    os.waitpid(child, 0)


def test_a_child_does_not_hold_a_lock_beyond_its_parents_death(path):
    """A parent that is killed leaves a store that can be opened, whatever children it has left."""
    code = (
        "import os, signal, sys; from rondo_core import Store\n"
        "store = Store(sys.argv[1]); store.counter('a_total').inc()\n"
        "child = os.fork()\n"
        "if not child: print(os.getppid(), flush=True); sys.stdin.read(); os._exit(0)\n"
        "signal.pause()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, path], stdin=-1, stdout=-1, text=True)
    parent.stdout.readline()
    parent.kill()
    parent.wait()
    with Store(path) as store:
        assert store.counter("a_total").value == 1.0
    parent.stdin.close()
    parent.stdout.close()


def test_a_copy_of_hard_links_has_the_lock_of_the_files_that_it_shares(path, tmp_path):
    """Two directories, one registry: while one is written the other is refused."""
    with Store(path) as store:
        store.counter("a_total").inc()
        (tmp_path / "links").mkdir()
        for file in path.iterdir():
            (tmp_path / "links" / file.name).hardlink_to(file)
        assert "process" in refused(tmp_path / "links")
        assert writer_pid(tmp_path / "links" / "lock") == os.getpid()
    with other(tmp_path / "links"):
        assert "process" in refused(path)


# -- a name of one's own


def test_processes_of_one_pid_and_start_have_stores_of_their_own(tmp_path, monkeypatch):
    """As in containers, where each has a process 1, started in the same hundredth of a second; a child has another."""
    monkeypatch.setattr("rondo_core.storage.runs.process_start", lambda: 7)
    monkeypatch.setattr("rondo_core.storage.runs.boot_id", lambda: "")
    pid, names = os.getpid(), set()
    monkeypatch.setattr(os, "getpid", lambda: pid)
    for _ in range(4):
        reading, writing = os.pipe()
        if not (child := os.fork()):
            try:
                os.write(writing, Store.for_process(tmp_path).path.name.encode())
            finally:
                os._exit(0)
        names.add(os.read(reading, 100).decode())
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)
    assert len(names) == 4
    assert all(name.startswith(f"{pid}-7-") for name in names)


def test_a_process_has_one_store_of_its_own(tmp_path):
    """Opened again after its end it is the same one."""
    with Store.for_process(tmp_path) as first:
        first.counter("a_total").inc()
    with Store.for_process(tmp_path) as again:
        assert again.path == first.path
        assert again.counter("a_total").value == 1.0


# -- copied file by file

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))
SCHEMAS = (
    Schema("c", "counter", 8, TIERS),
    Schema("g", "gauge", 8, TIERS),
    Schema("q", "summary", 8, TIERS, match="sketched", sketch=True),
    Schema("s", "summary", 8, TIERS),
)


def record(store, clock, seconds, prefix):
    """Fill every kind of series, a late sample among them."""
    counter, gauge = store.counter(f"{prefix}_total"), store.gauge(f"{prefix}_level")
    summary, sketched = store.summary(f"{prefix}_took"), store.summary("sketched", part=prefix)
    for second in range(seconds):
        counter.inc(7)
        gauge.set(second + 0.5)
        for each in (summary, sketched):
            each.observe(second + 1.0)
            if second % 10 == 5:
                each.observe(3.0, clock() - 2 * 10**9)
        store.tick()
        clock.advance(1)
    return {counter.series.name: counter.value}


@pytest.mark.parametrize("early", [["meta", "series", "runs", "lock"], ["meta", "runs"], ["meta", "lock", "series"]])
@pytest.mark.parametrize("ended", [False, True])
def test_new_series_of_a_copy_begin_at_nothing(tmp_path, clock, early, ended):
    """Whatever order the files of a live store were copied in, and whatever was declared meanwhile."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    store = Store(live, SCHEMAS, clock=clock)
    kept = record(store, clock, 75, "kept")
    copy.mkdir()
    for name in early:
        shutil.copy(live / name, copy)
    late = record(store, clock, 75, "late")
    if ended:
        store.close()
    for name in sorted({each.name for each in live.iterdir()} - set(early)):
        shutil.copy(live / name, copy)
    store.close()
    known = "series" not in early
    with Store(copy, clock=clock) as again:
        for name, expected in {**kept, **late}.items():
            if known or name.startswith("kept"):
                assert again.counter(name).value >= expected
        fresh = {
            again.counter("fresh_total"): "counter", again.gauge("fresh"): "gauge",
            again.summary("fresh_took"): "summary", again.summary("sketched", part="fresh"): "summary",
        }  # fmt: skip
        for handle, kind in fresh.items():
            for tier in range(3):
                for fn in ("last",) if kind != "summary" else ("count", "max"):
                    (found,) = again.query(str(handle.series), tier=tier, fn=fn)
                    assert set(found.values.tolist()) <= ({0.0} if kind == "counter" else set()), (str(handle), tier)
        handle = again.summary("sketched", part="fresh")
        handle.observe(5.0)
        (found,) = again.query('sketched{part="fresh"}', fn="p50")
        assert found.values.tolist() == pytest.approx([5.0], rel=0.05)
    assert not [each for each in check_store(copy, clock()) if each.severity == "damage"]


def test_a_copy_in_which_rows_were_torn_has_them_absent(tmp_path, clock):
    """On the machine and in the boot that it was recorded on, too: a row that was overwritten while it was read."""
    live, copy = tmp_path / "live", tmp_path / "copy"
    store = Store(live, SCHEMAS, clock=clock)
    record(store, clock, 50, "kept")
    shutil.copytree(live, copy)
    slab = copy / "g.0.slab"
    data = bytearray(slab.read_bytes())
    spec = SCHEMAS[1].slab_spec(0)
    row = 4096 + ((clock() // 10**9 - 20) % 60) * spec.row_bytes
    data[row + 16 : row + 24] = bytes(8)  # the value of another time, under this row's header and seal
    slab.write_bytes(data)
    with StoreReader(copy) as reader:
        assert 0.0 not in reader.query("kept_level")[0].values
        assert len(reader.query("kept_level")[0].values) < 50
    with Store(copy, clock=clock) as again:
        assert 0.0 not in again.query("kept_level", tier=0)[0].values
    store.close()
    with StoreReader(live) as reader:
        assert len(reader.query("kept_level")[0].values) == 50


def test_a_store_whose_registry_is_an_older_one_gives_its_columns_out_empty(path, clock):
    """In its own place, with the registry of before put back, or its last record cut short."""
    with Store(path, SCHEMAS, clock=clock) as store:
        record(store, clock, 5, "kept")
        before = (path / "series").read_bytes()
        record(store, clock, 65, "gone")
    (path / "series").write_bytes(before)
    with Store(path, clock=clock) as again:
        assert again.counter("fresh_total").value == 0.0
        again.gauge("fresh")
        again.summary("fresh_took")
        for tier in range(3):
            assert not again.query("fresh", tier=tier)[0].values.size
            assert not again.query("fresh_took", tier=tier, fn="max")[0].values.size
        assert again.counter("kept_total").value == 35.0
    assert not [each for each in check_store(path, clock()) if each.severity == "damage"]


def test_a_run_without_its_place_is_taken_for_a_copys(path):
    """Of an older rondo, say: unknown is not equal to unknown. Its rows are looked at, and all of them are there."""
    with Store(path) as store:
        store.gauge("a").set(1.0)
    run = read_runs(path / "runs")[-1]
    write_run(path / "runs", Run(run.number, run.pid, run.process_start, run.boot_id, run.opened_ns))
    with StoreReader(path) as reader:
        assert value(reader, "a") == 1.0
    with Store(path) as store:
        assert store.query("a")[0].values.tolist() == [1.0]


def test_a_registry_with_a_hole_refuses_to_be_a_copy(path, tmp_path, clock):
    """As rsync leaves it that read its end later than its middle: told, rather than guessed at."""
    with Store(path, SCHEMAS, clock=clock) as store:
        for number in range(6):
            store.gauge("g", n=number)
    shutil.copytree(path, tmp_path / "copy")
    data = bytearray((path / "series").read_bytes())
    data[200:240] = bytes(40)
    (tmp_path / "copy" / "series").write_bytes(data)
    with pytest.raises(CorruptStoreError, match="rondo repair"):
        Store(tmp_path / "copy")


# -- dropped


@pytest.mark.parametrize("ticking", [None, 0.001, 3600])
def test_a_store_that_was_dropped_lets_go_of_all_that_it_held(path, ticking, open_paths):
    """The lock, its thread and its descriptors, with a ResourceWarning; the next one goes on with its totals."""

    def use():
        store = Store(path, tick_interval_s=ticking)
        store.counter("a_total").inc()
        return store.counter("a_total").value

    def use_and_drop():
        seen = use()
        while gc.collect() or any(isinstance(each, TickThread) for each in set(threading.enumerate()) - others):
            pass
        return seen

    gc.collect()
    others = set(threading.enumerate())
    for expected in (1.0, 2.0):
        with pytest.warns(ResourceWarning, match="dropped without close; use it in a with statement"):
            assert use_and_drop() == expected
        assert writer_pid(path / "lock") is None
        assert open_paths(path) == []
    with StoreReader(path) as reader:
        assert [run.ended for run in reader.runs()] == ["dropped without close"] * 2


def test_a_handle_keeps_its_store(path):
    """Who holds on to a counter alone records on; the store goes with the last handle."""
    counter = Store(path).counter("a_total")
    gc.collect()
    counter.inc(5)
    with pytest.raises(StoreLockedError):
        Store(path)
    del counter
    with pytest.warns(ResourceWarning):
        gc.collect()
    with Store(path) as store:
        assert store.counter("a_total").value == 5.0


def test_a_closed_store_is_dropped_in_silence(path):
    """And so is one that could not be opened."""
    Store(path, [Schema("g", "gauge", 4, TIERS)]).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError):
            Store(path, [Schema("g", "gauge", 3, TIERS)])
        gc.collect()


# -- forked


def test_a_child_can_neither_sync_nor_end_its_parents_store_and_reads_it(path):
    """Whatever a thread of the parent was in the middle of; the child's own store opens."""
    store = Store(path, tick_interval_s=0.001, strict=True)
    store.gauge("a").set(1.0)
    reader, writer = os.pipe()
    for _ in range(20):
        child = os.fork()
        if not child:
            said = []
            try:
                for call in (store.sync, store.tick, lambda: store.gauge("b"), lambda: store.gauge("a").set(2.0, 5)):
                    with contextlib.suppress(StoreForkedError):
                        call()
                        said.append("taken")
                store.close("by the child")
                said.append(str(value(store.view, "a")))
                with Store(path.with_name(f"mine-{os.getpid()}")) as mine:
                    mine.gauge("a").set(1.0)
                os.write(writer, ",".join(said).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 100) == b"1.0"
    os.close(reader)
    os.close(writer)
    store.close()
    assert [run.ended for run in read_runs(path / "runs")] == ["closed"]


def test_a_fork_waits_for_what_a_thread_of_rondos_is_loading(tmp_path):
    """A child that imports the same finds it whole, not half loaded by a thread that it does not have."""
    code = """
import os, sys, threading
from rondo_core import forking
sys.path.insert(0, sys.argv[1])
began, hung = threading.Event(), 0
import builtins; builtins.began = began
thread = threading.Thread(target=forking.load, args=("slow",)); thread.start()
began.wait()
child = os.fork()
if not child:
    import slow
    os._exit(not slow.whole)
print(os.waitpid(child, 0)[1]); thread.join()
"""
    slow = "import builtins, threading; builtins.began.set(); threading.Event().wait(0.2); whole = True"
    (tmp_path / "slow.py").write_text(slow)
    said = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=60, check=True
    )
    assert said.stdout == "0\n"


def test_what_a_ticking_thread_loads_at_its_first_fold_is_loaded_for_forks_too(path, monkeypatch):
    """numpy and all that folds with it: through the one door at which a fork waits."""
    loaded = []
    monkeypatch.setattr("rondo_core.forking.import_module", loaded.append)
    monkeypatch.setattr("rondo_core.record.consolidation.without_numpy", lambda: True)
    clock = ManualClock(1_700_000_000 * 10**9)
    with Store(path, [Schema("g", "gauge", 600, TIERS)], clock=clock) as store:
        gauges = [store.gauge("g", n=number) for number in range(600)]
        for _ in range(12):
            gauges[0].set(1.0)
            store.tick()
            clock.advance(1)
    assert {"rondo_core.fold.windows", "rondo_core.record.fold_small"} <= set(loaded)


def test_a_store_that_moves_while_it_is_opened_is_opened_where_it_then_is(path, tmp_path, monkeypatch):
    """Between the look at what it is and its lock another may take its place: that one is opened, whole."""
    Store(path, writer="old").close()
    take = WriterLock._take
    moves = iter([True])

    def slowly(lock, file):
        if next(moves, False):
            path.rename(tmp_path / "moved")
            Store(path, writer="new").close()
        return take(lock, file)

    monkeypatch.setattr(WriterLock, "_take", slowly)
    with Store(path, writer="third") as store:
        assert [run.writer for run in read_runs(path / "runs")] == ["new", "third"]
        assert store.view.folder.is_at_its_path()
    assert [run.writer for run in read_runs(tmp_path / "moved" / "runs")] == ["old"]
    assert writer_pid(tmp_path / "moved" / "lock") is None


# -- what is being made


def test_what_a_living_process_is_making_is_not_swept_away(path):
    """Whether it lives is known by a lock, not by a pid, which says nothing across containers."""
    Store(path).close()
    stale = path / "cursor_x.deadbeef0000.unfinished"
    stale.write_text("{")
    mine, descriptor = _make_unfinished(Folder(path) / "cursor_x.json")
    CursorLock(path, "x").release()
    assert not stale.exists()
    assert (path / mine).exists()
    os.close(descriptor)
    CursorLock(path, "x").release()
    assert not (path / mine).exists()


def test_a_half_made_store_is_abandoned_when_its_maker_is_gone(path):
    """Not before, whatever its name says; and never one that is no directory any more."""
    unfinished, held = make_unfinished(path)
    assert not is_abandoned(unfinished)
    del held
    assert is_abandoned(unfinished)
    unfinished.rmdir()
    assert not is_abandoned(unfinished)


def test_a_migration_replaces_the_store_that_it_has_read_and_no_other(path, tmp_path, monkeypatch):
    """Where another store was put at the path meanwhile, that one stays, and nothing is left behind."""
    Store(path, SCHEMAS[:1], writer="old").close()
    plain = replace.replace

    def late(root, new, old):
        root.rename(tmp_path / "moved")
        Store(root, writer="new").close()
        return plain(root, new, old)

    monkeypatch.setattr(replace, "replace", late)
    for exchange in (replace._exchange, Mock(side_effect=OSError(errno.ENOSYS, "not here"))):
        monkeypatch.setattr(replace, "_exchange", exchange)
        with pytest.raises(StoreError, match="the store is as it was"):
            migrate_store(path, [Schema("c", "counter", 9, TIERS)])
        assert [run.writer for run in read_runs(path / "runs")] == ["new"]
        assert [run.writer for run in read_runs(tmp_path / "moved" / "runs")] == ["old"]
        shutil.rmtree(path)
        (tmp_path / "moved").rename(path)
        assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["counter", "gauge", "summary"])
def test_windows_of_a_copy_are_never_ahead_of_its_finest_tier(kind, path, clock, tmp_path, small_schemas):
    """A copy whose coarser files were read later than the finest goes on in step: no total falls, in no tier."""
    copy, schema = tmp_path / "copy.rondo", {"counter": "counters", "gauge": "gauges", "summary": "summaries"}[kind]
    with Store(path, small_schemas, clock=clock) as store:
        handle = getattr(store, kind)("x")
        record = {"counter": "inc", "gauge": "set", "summary": "observe"}[kind]
        for second in range(100):
            getattr(handle, record)(float(second))
            store.tick()
            clock.advance(1)
            if second == 34:  # in the middle of a window of both coarser tiers
                shutil.copytree(path, copy)
        for tier in (1, 2):
            shutil.copy(path / f"{schema}.{tier}.slab", copy)
    with Store(copy, clock=clock) as store:
        handle = getattr(store, kind)("x")
        for _ in range(70):
            getattr(handle, record)(1.0)
            store.tick()
            clock.advance(1)
        for tier in (0, 1, 2, "auto"):
            (data,) = store.query("x", tier=tier, fn={"counter": "last", "gauge": "count", "summary": "total"}[kind])
            stamps = data.timestamps_ns.tolist()
            assert stamps == sorted(set(stamps))
            if kind != "gauge":
                assert data.values.tolist() == sorted(data.values.tolist()), tier
    assert [each for each in check_store(copy, clock()) if each.severity == "damage"] == []


def test_a_tick_raises_nothing_where_the_store_was_removed(path, clock, caplog):
    """A program that ticks, and syncs by that, is told in the log, once, that its files are gone; `sync` itself raises."""
    store = Store(path, clock=clock, sync_interval_s=1)
    gauge = store.gauge("g")
    shutil.rmtree(path)
    for value in range(30):
        gauge.set(value)
        store.tick()
        clock.advance(1)
    assert caplog.text.count("not written to the disk") == 1
    with pytest.raises(StoreError, match="missing"):
        store.sync()
    store.close()


def test_no_fold_of_another_thread_comes_between_a_return(path, clock):
    """While rows that were set aside come back, a tick elsewhere folds nothing over them."""
    tiers = (Tier("1s", "60s"), Tier("10s", "10m"))
    with Store(path, [Schema("g", "gauge", 2, tiers)], clock=clock) as store:
        gauge = store.gauge("g")
        for second in range(45):
            gauge.set(float(second))
            store.tick()
            clock.advance(1)
        before = store.query("g", tier=1, fn="max")[0].values.tolist()
        clock.advance(-40)
        store.tick()
        clock.advance(45)
        writer, folds = store._writers["g"], store._consolidations["g"]
        publish = writer.publish
        folded = []

        def published(*entered):
            publish(*entered)
            thread = threading.Thread(target=lambda: folded.append(folds.fold_closed(entered[0])))
            thread.start()
            thread.join()

        with patch.object(Writer, "publish", lambda _self, *entered: published(*entered)):
            gauge.set(1.0)
        assert folded == [0]
        store.tick()
        assert store.query("g", tier=1, fn="max")[0].values.tolist()[: len(before)] == before


def test_a_store_dropped_in_a_circle_complains_of_nothing_else(path):
    """The collector takes its parts in any order: the warning is all that is said, and the lock is free."""
    code = f"""
import gc
from rondo_core import Store
store = Store({str(path)!r})
store.circle = store
del store
gc.collect()
Store({str(path)!r}).close()
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == ""
