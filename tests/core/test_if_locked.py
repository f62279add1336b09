"""A store that another process writes: raise, record beside it, or keep nothing, as the program asks."""

import gc
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import Schema, Store, StoresReader, Tier
from rondo_core.errors import StoreClosedError, StoreError, StoreLockedError, UsageError

TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))
SCHEMAS = (Schema("c", "counter", 8, TIERS), Schema("g", "gauge", 8, TIERS), Schema("s", "summary", 4, TIERS))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "nightly.rondo"


@pytest.fixture
def locked(path):
    with Store(path, SCHEMAS) as store:
        store.counter("runs_total").inc()
        yield store


def test_a_locked_store_raises_unless_asked_otherwise(locked, path):
    """And a word that is none of the three is named with those that are."""
    with pytest.raises(StoreLockedError):
        Store(path)
    with pytest.raises(StoreLockedError):
        Store(path, if_locked="raise")
    with pytest.raises(UsageError, match=r"besides.*did you mean beside.*raise, beside, off"):
        Store(path, if_locked="besides")


def test_runs_that_overlap_record_beside_each_other_and_are_read_together(locked, path, tmp_path, caplog):
    """As many as there are, of this process and of others; the next one alone has the store itself again."""
    code = (
        "import sys; from rondo_core import Store\n"
        "with Store(sys.argv[1], if_locked='beside') as store: store.counter('runs_total').inc(); print(store.path)"
    )
    said = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert f"process {os.getpid()} writes this store" in said.stderr
    beside = [Store(path, if_locked="beside") for _ in range(2)]
    for store in beside:
        store.counter("runs_total").inc()
        assert store.meta.schemas == locked.meta.schemas
        store.close()
    with StoresReader(tmp_path) as reader:
        found = reader.query("runs_total")
        assert [float(data.values[-1]) for data in found] == [1.0] * 4
        names = {dict(data.series.labels)["rondo_store"] for data in found}
    assert names == {"nightly.rondo", *(store.path.name for store in beside), Path(said.stdout.strip()).name}
    assert all(name.startswith("nightly") and name.endswith(".rondo") for name in names)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert str(beside[0].path) in caplog.text
    locked.close()
    with Store(path, if_locked="beside") as again:
        assert again.path == path
        assert again.counter("runs_total").value == 1.0


def test_a_store_that_keeps_nothing_takes_everything(locked, path, tmp_path, caplog):
    """Every call of a program's is there; nothing is written, and a query says why there is nothing."""
    before = sorted(tmp_path.rglob("*"))
    with Store(path, if_locked="off", tick_interval_s=0.01) as store:
        counter, gauge, summary = store.counter("c_total", "Things.", a=1), store.gauge("g"), store.summary("s")
        batch = store.batch([store.gauge("b", i=i) for i in range(3)])
        for call in (counter.inc, lambda: counter.inc(2, 5), lambda: gauge.set("x"), lambda: gauge.set(1.0)):
            call()
        summary.observe(1.0)
        batch.set([1.0, 2.0, 3.0])
        with summary.time():
            pass
        assert store.counter("c_total", a=1) is counter
        store.tick()
        store.sync()
        with pytest.raises(StoreError, match="keeps nothing in this process"):
            store.query("c_total")
        assert store.unkept == "off"
    with pytest.raises(StoreClosedError):
        store.counter("late_total")
    assert sorted(tmp_path.rglob("*")) == before
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    del store
    gc.collect()


def test_a_child_of_a_store_that_keeps_nothing_keeps_nothing(locked, path):
    """And is told nothing of it."""
    store = Store(path, if_locked="off")
    counter = store.counter("c_total")
    child = os.fork()
    if not child:
        status = 1
        try:
            counter.inc()
            store.gauge("g").set(1.0)
            store.tick()
            store.close()
            status = 0 if store.unkept == "off" else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    store.close()


def test_a_child_of_a_store_beside_another_has_its_own_there_too(locked, path, tmp_path):
    """Since that store is a process's own."""
    with Store(path, if_locked="beside") as store:
        counter = store.counter("c_total")
        counter.inc()
        child = os.fork()
        if not child:
            try:
                counter.inc(10)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
    with StoresReader(tmp_path) as reader:
        assert sorted(float(data.values[-1]) for data in reader.query("c_total")) == [1.0, 10.0]
