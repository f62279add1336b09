"""`rondo copy`: of a live store a copy that is sound, whole or not there, and a store of its own."""

import os
import subprocess
import sys
import threading

import pytest

from rondo_cli.main import run
from rondo_core import Schema, Store, StoreReader, Tier
from rondo_core.errors import StoreError, StoreExistsError, StoreNotFoundError, UsageError
from rondo_core.export.runner import open_runner
from rondo_core.maintain.check import check_store
from rondo_core.maintain.copies import copy_store

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"), Tier("1m", "1h"))
SCHEMAS = (
    Schema("c", "counter", 8, TIERS),
    Schema("g", "gauge", 8, TIERS),
    Schema("q", "summary", 2, TIERS, match="sketched", sketch=True),
    Schema("s", "summary", 8, TIERS),
    Schema("t", "gauge", 2, TIERS, match="never"),
)
READINGS = {
    "a_total": ("last", "first"),
    "level": ("avg", "max"),
    "took": ("count", "max", "total"),
    "sketched": ("p50",),
}


def fill(store, clock, seconds):
    """A second of everything, but for every seventh; a clock that goes on."""
    for second in range(seconds):
        if second % 7:
            store.counter("a_total").inc(2)
            store.gauge("level").set(second)
            store.summary("took").observe(second)
            store.summary("sketched").observe(second + 1)
        store.tick()
        clock.advance(1)


def points(reader, tiers=("auto", 0, 1, 2)):
    """Every point of every tier, as plain numbers."""
    found = {}
    for name, fns in READINGS.items():
        for fn in fns:
            for tier in tiers:
                (data,) = reader.query(name, tier=tier, fn=fn)
                found[name, fn, tier] = list(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True))
    return found


def damage(path, clock):
    return [each for each in check_store(path, clock()) if each.severity == "damage"]


@pytest.mark.parametrize("seconds", [1, 45, 200])
def test_a_copy_of_a_live_store_is_what_the_store_would_be_if_it_were_closed(path, tmp_path, clock, seconds):
    """Every point of every tier, the open windows too; the copy says that it is one, and of whom."""
    store = Store(path, SCHEMAS, clock=clock, writer="it")
    fill(store, clock, seconds)
    fill(store, clock, 3)
    done = copy_store(path, tmp_path / "copy", clock=clock)
    assert (done.live, done.n_series) == (True, len(store.registry))
    store.close()
    with StoreReader(path) as reader, StoreReader(tmp_path / "copy") as copy:
        assert points(copy) == points(reader)
        assert copy.meta.schemas == reader.meta.schemas
        assert copy.meta.store_id == done.store_id != reader.meta.store_id
        (run_of_copy,) = copy.runs()
        assert (run_of_copy.ended, run_of_copy.ended_ns, run_of_copy.writer) == ("copied while it ran", clock(), "it")
        assert copy.writer_pid() is None
    assert not damage(tmp_path / "copy", clock)


def test_a_copy_goes_on_on_its_own(path, tmp_path, clock):
    """Its totals go on, a new series begins at nothing, and the first store has none of it."""
    with Store(path, SCHEMAS, clock=clock) as store:
        fill(store, clock, 70)
        copy_store(path, tmp_path / "copy", clock=clock)
        store.counter("later_total").inc(99)
        with Store(tmp_path / "copy", clock=clock) as copy:
            assert copy.counter("a_total").value == store.counter("a_total").value
            assert copy.counter("later_total").value == 0.0
            copy.counter("a_total").inc()
            copy.tick()
        assert store.counter("a_total").value + 1 == copy.counter("a_total").value
    assert not damage(tmp_path / "copy", clock)


def test_how_far_exporters_have_come_stays_with_the_first_store(path, tmp_path, clock):
    """The copy is another store: its export begins at its oldest point."""
    with Store(path, SCHEMAS, clock=clock) as store:
        fill(store, clock, 20)
        runner = open_runner(store.view, "jsonl", {"path": str(tmp_path / "lines")}, clock=clock)
        sent = runner.send_now(0, 10).samples
        runner.release()
        assert sent
        copy_store(path, tmp_path / "copy", clock=clock)
    assert not list((tmp_path / "copy").glob("cursor_*"))
    with StoreReader(tmp_path / "copy") as copy:
        again = open_runner(copy, "jsonl", {"path": str(tmp_path / "other")}, clock=clock)
        assert again.finish(1, 10).samples >= sent


@pytest.mark.parametrize("how", ["closed", "killed", "empty"])
def test_a_finished_store_is_copied_as_it_ended(path, tmp_path, clock, how):
    """A copy makes no end of its own where there was one, or where no one could say one."""
    code = "import sys, os; from rondo_core import Store; Store(sys.argv[1]).counter('a_total').inc(3); os._exit(1)"
    if how == "killed":
        subprocess.run([sys.executable, "-c", code, path], check=False)
    else:
        with Store(path, SCHEMAS, clock=clock) as store:
            fill(store, clock, 20 if how == "closed" else 0)
    assert not copy_store(path, tmp_path / "copy").live
    with StoreReader(tmp_path / "copy") as copy:
        assert [each.ended for each in copy.runs()] == [{"killed": ""}.get(how, "closed")]
        if how == "killed":
            assert copy.query("a_total")[0].values.tolist()[-1] == 3.0


def test_copies_of_a_store_that_is_written_all_the_while_are_sound(path, tmp_path):
    """A thread records, declares and enters buckets: no point of a copy is one that the store never had."""
    tiers = (Tier("1ms", "60ms"), Tier("10ms", "1s"), Tier("100ms", "10s"))
    schemas = (Schema("c", "counter", 200, tiers), Schema("s", "summary", 4, tiers))
    stop = threading.Event()
    with Store(path, schemas) as store:
        store.counter("a_total").inc()
        store.summary("took").observe(2.0)

        def write():
            number = 0
            while not stop.is_set():
                number += 1
                store.counter("a_total").inc()
                store.summary("took").observe(2.0)
                if number % 50 == 0 and number < 5000:
                    store.counter("other_total", n=number).inc(number)
                store.tick()

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for number in range(15):
                copy_store(path, tmp_path / f"copy-{number}")
        finally:
            stop.set()
            thread.join()
    for number in range(15):
        place = tmp_path / f"copy-{number}"
        assert not [each for each in check_store(place) if each.severity == "damage"]
        with StoreReader(place) as copy:
            for tier in range(3):
                (total,) = copy.query("a_total", tier=tier)
                assert total.values.tolist() == sorted(total.values.tolist())
            for series in copy.series("other_total"):
                expected = float(dict(series.labels)["n"])
                for tier in range(3):
                    assert set(copy.query([series], tier=tier)[0].values.tolist()) <= {0.0, expected}
            for tier in range(3):
                assert set(copy.query("took", tier=tier, fn="max")[0].values.tolist()) <= {2.0}
                assert set(copy.query("took", tier=tier, fn="avg")[0].values.tolist()) <= {2.0}


def test_what_is_folded_anew_never_takes_the_place_of_newer_windows(path, tmp_path, clock):
    """After a pause the finest ring still has rows that are older than all that the coarser one has room for."""
    with Store(path, [Schema("g", "gauge", 2, (Tier("1s", "60s"), Tier("10s", "550s")))], clock=clock) as store:
        level = store.gauge("level")
        for second in range(780):
            if second < 60 or (second >= 600 and second % 60 < 30):  # so half of the ring stays what it was at first
                level.set(second)
                store.tick()
            clock.advance(1)
        copy_store(path, tmp_path / "copy", clock=clock)
    with StoreReader(path) as reader, StoreReader(tmp_path / "copy") as copy:
        for tier in (0, 1, "auto"):
            (expected,), (found,) = reader.query("level", tier=tier), copy.query("level", tier=tier)
            assert found.timestamps_ns.tolist() == expected.timestamps_ns.tolist()
            assert found.values.tolist() == expected.values.tolist()


def test_what_cannot_be_copied_leaves_nothing_behind(path, tmp_path, monkeypatch):
    """Something there already, a place in the store itself, no store, a failure on the way: the target is not made."""
    Store(path).close()
    before = sorted(tmp_path.iterdir())
    for source, target, error in [
        (path, path, StoreExistsError),
        (path, path / "inside", UsageError),
        (path, path / "deep" / "inside", UsageError),
        (tmp_path / "none", tmp_path / "copy", StoreNotFoundError),
        (tmp_path, tmp_path / "copy", StoreNotFoundError),
    ]:
        with pytest.raises(error):
            copy_store(source, target)
    with monkeypatch.context() as patch:
        patch.setattr("rondo_core.maintain.copies.put_run", lambda *_: os.pread(-1, 1, 0))
        with pytest.raises(StoreError, match="copy: Bad file descriptor"):
            copy_store(path, tmp_path / "copy")
    assert sorted(tmp_path.iterdir()) == before
    assert not (path / "deep").exists()


def test_a_killed_copy_is_not_there(path, tmp_path):
    """Wherever it was killed: the target is whole or missing."""
    Store(path).close()
    code = "import sys; from rondo_core.maintain.copies import copy_store; copy_store(sys.argv[1], sys.argv[2])"
    for fault in ("create.slab:3", "journal.append.half:2", "runs.write.half:1", "create.whole:1", "create.named:1"):
        target = tmp_path / fault.partition(":")[0]
        armed = f"from rondo_core import faults; faults.arm({fault!r}); {code}"
        ended = subprocess.run([sys.executable, "-c", armed, path, target], check=False)
        assert ended.returncode == -9, fault
        assert target.exists() == (fault == "create.named:1")
    assert not [each for each in check_store(tmp_path / "create.named") if each.severity == "damage"]


def test_the_command_says_what_it_has_copied(path, tmp_path, capsys):
    """One line, also that the store was live; a mistake is one line and status 1 or 2."""
    with Store(path) as store:
        store.gauge("a").set(1.0)
        assert run(["copy", str(path), str(tmp_path / "copy")]) == 0
        said = capsys.readouterr().out
        assert f"copy: {len(store.registry)} series" in said
        assert said.endswith("which is being written\n")
    assert run(["copy", str(path), str(tmp_path / "copy")]) == 1
    assert run(["copy", str(path), str(path / "x")]) == 2
    assert "lies in the store that is copied" in capsys.readouterr().err
