"""Power fails: of the pages written since the last sync any may have come to the disk, and half of one.

The disk is modelled by snapshots of the store's files, one after each step: a page that was synced is as it was then;
any other is as it was at that or any later moment, each page for itself. A restart is a kernel of another name.
"""

import os
import random
import shutil
from collections import defaultdict

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import CorruptStoreError
from rondo_core.model import layout
from rondo_core.storage import runs

PAGE = 4096
LOSSES = int(os.environ.get("RONDO_POWER_LOSSES", "120"))
TIERS = (Tier("1s", "12s"), Tier("3s", "30s"), Tier("6s", "60s"))
SCHEMAS = [
    Schema("c", "counter", 40, TIERS),
    Schema("g", "gauge", 40, TIERS),
    Schema("s", "summary", 4, TIERS, match="s"),
    Schema("q", "summary", 3, TIERS, sketch=True),
]
START_NS = 1_700_000_001 * 10**9


class Machine:
    """A store that records, and what the disk may hold of it."""

    def __init__(self, path, chance, sync_interval_s):
        self.path, self.chance = path, chance
        self.clock = ManualClock(START_NS)
        self.versions = {}  # file -> what it was when it was synced, and whenever we looked since
        self.known = defaultdict(set)  # (schema, tier, bucket) -> every content that the row ever had
        self.series = []
        self.sync_interval_s = sync_interval_s
        self.store = Store(path, SCHEMAS, clock=self.clock, sync_interval_s=sync_interval_s)
        self.snapshot()
        self.store.sync()
        self.snapshot(synced=True)

    def files(self):
        return {file.name: file.read_bytes() for file in self.path.iterdir()}

    def snapshot(self, synced=False):
        """Take note of what the kernel holds now; `synced`: and the disk too."""
        held = self.files()
        journal = self.store.registry._journal
        for name, data in held.items():
            known = self.versions.setdefault(name, [])
            if synced:
                known.clear()
            elif name == layout.REGISTRY_FILE and journal._synced == journal.offset:
                known[:-1] = []  # a tick syncs it by itself, and then notes how far
                data_before = known[0][: layout.JOURNAL_SYNCED + 4] + data[layout.JOURNAL_SYNCED + 4 :]
                known[:] = [data_before]
            known.append(data)
        for schema in self.store.meta.schemas:
            for tier in range(len(schema.tiers)):
                spec = schema.slab_spec(tier)
                for bucket, row in rows(held[schema.slab_name(tier)], spec):
                    self.known[schema.name, tier, bucket].add(row[16:])

    def step(self):
        """Do a few of the things that a program does, then tick."""
        chance, store = self.chance, self.store
        for _ in range(chance.randrange(1, 6)):
            n = chance.randrange(30)
            store.counter("c_total", n=n, text="x" * 100).inc(chance.randrange(5))
            store.gauge("g", n=n).set(chance.random())
            store.summary("s").observe(chance.random())
            store.summary("q", n=n % 3).observe(chance.random() * 10 ** chance.randrange(6))
        if chance.random() < 0.2:
            store.gauge("g", n=0).set(-1.0, self.clock() - chance.randrange(1, 8) * 10**9)
        self.snapshot()
        before = store._synced_ns
        store.tick()
        self.snapshot(synced=store._synced_ns != before)
        self.clock.advance(chance.choice((1, 1, 1, 2)))

    def lose_power(self, path):
        """Write what the disk may hold now as a store at `path`."""
        path.mkdir()
        for name, versions in self.versions.items():
            pages = []
            for start in range(0, len(versions[0]), PAGE):
                page = self.chance.choice(versions)[start : start + PAGE]
                if self.chance.random() < 0.05:
                    cut = self.chance.randrange(0, PAGE, 512)
                    page = page[:cut] + self.chance.choice(versions)[start + cut : start + PAGE]
                pages.append(page)
            (path / name).write_bytes(b"".join(pages))


def rows(data, spec):
    """Give (bucket, bytes) of every row that is there."""
    for slot in range(spec.slot_count):
        start = PAGE + slot * spec.row_bytes
        row = data[start : start + spec.row_bytes]
        bucket = int.from_bytes(row[:8], "little", signed=True)
        if bucket > 0:
            yield bucket, row


def found(view, selector):
    """Give the finest points of every series that the selector matches, none where there is no such series."""
    series = view.series(selector)
    return view.query(series, "all", tier=0) if series else []


def points(data):
    return dict(zip(data.timestamps_ns.tolist(), data.values.tolist(), strict=True))


def assert_recorded(path, machine, view):
    """Every row that a reader of the store sees was, as it stands, once the row of that bucket."""
    for schema in view.meta.schemas:
        for tier in range(len(schema.tiers)):
            spec, index = schema.slab_spec(tier), view._queries[schema.name].readers[tier].index()
            data = (path / schema.slab_name(tier)).read_bytes()
            there = dict(rows(data, spec))
            for bucket in index.buckets.tolist():
                assert there[bucket][16:] in machine.known[schema.name, tier, bucket], (schema.name, tier, bucket)


@pytest.mark.parametrize("sync_interval_s", [None, 5.0])
def test_after_power_loss_a_store_holds_what_was_recorded_or_nothing(tmp_path, monkeypatch, sync_interval_s):
    """It opens, to readers and to the next writer; no row is one that never was; a new series inherits no value."""
    monkeypatch.setattr(runs, "machine_id", lambda: "one machine")
    chance = random.Random(LOSSES if sync_interval_s else LOSSES + 1)
    lost = kept = 0
    for trial in range(LOSSES // 20):
        machine = Machine(tmp_path / f"live{trial}", chance, sync_interval_s)
        for step in range(10):
            for _ in range(chance.randrange(1, 8)):
                machine.step()
            path = tmp_path / f"lost{trial}-{step}"
            machine.lose_power(path)
            with monkeypatch.context() as after:
                after.setattr(runs, "boot_id", lambda: "the boot after")
                with StoreReader(path) as reader:
                    assert_recorded(path, machine, reader)
                    kept += sum(len(data) for data in found(reader, ""))
                with Store(path, SCHEMAS, clock=machine.clock) as store:
                    go_on(store, machine)
                    lost += sum(data.values[-1] for data in found(store.view, "rondo_rows_lost_total"))
            shutil.rmtree(path)
        machine.store.close()
    assert lost > 0
    assert kept > 0


def go_on(store, machine):
    """Write on after the loss: series are those declared, new ones are empty, totals are at most what was recorded."""
    assert {str(series) for series in store.registry} <= {str(series) for series in machine.store.registry}
    for n in range(3):
        new = store.gauge("newcomer", n=n)
        for tier in range(3):
            assert len(store.query([new.series], "all", tier=tier)[0]) == 0
    store.tick()
    for data in found(store.view, "c_total"):
        whole = machine.store.counter("c_total", dict(data.series.labels)).value
        assert (data.values[1:] >= data.values[:-1]).all()
        assert len(data) == 0 or data.values[-1] <= whole


def test_what_was_synced_outlives_a_power_loss(tmp_path, monkeypatch):
    """Every second that had ended when the store was synced is there afterwards, whatever became of the rest."""
    monkeypatch.setattr(runs, "machine_id", lambda: "one machine")
    machine = Machine(tmp_path / "live", random.Random(3), None)
    for _ in range(8):
        machine.step()
    newest = machine.store.view.newest_ns()
    oldest = newest - 8 * 10**9  # what came before gives way to the seconds after the sync
    machine.store.sync()
    machine.snapshot(synced=True)
    with StoreReader(tmp_path / "live") as reader:
        whole = {str(data.series): points(data) for data in found(reader, "")}
    for second in range(2):
        machine.store.gauge("g", n=second).set(5.0)
        machine.snapshot()
        machine.clock.advance(1)
    for trial in range(10):
        machine.lose_power(tmp_path / f"lost{trial}")
        with monkeypatch.context() as after:
            after.setattr(runs, "boot_id", lambda: "the boot after")
            with StoreReader(tmp_path / f"lost{trial}") as reader:
                for data in found(reader, ""):
                    kept = {at: value for at, value in whole.get(str(data.series), {}).items() if oldest <= at < newest}
                    assert {at: value for at, value in points(data).items() if oldest <= at < newest} == kept
    machine.store.close()


def test_a_killed_store_that_is_copied_to_another_machine_keeps_its_last_second(tmp_path, monkeypatch):
    """A CI job is killed and its store kept as an artefact: whoever reads it elsewhere finds the last record."""
    monkeypatch.setattr(runs, "machine_id", lambda: "the CI machine")
    store = Store(tmp_path / "s", SCHEMAS, clock=ManualClock(START_NS))
    store.gauge("g").set(3.5)
    (tmp_path / "copy").mkdir()
    for file in (tmp_path / "s").iterdir():
        (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(runs, "machine_id", lambda: "a laptop")
    monkeypatch.setattr(runs, "boot_id", lambda: "the laptop's boot")
    with StoreReader(tmp_path / "copy") as reader:
        assert reader.query("g")[0].values.tolist() == [3.5]
    with Store(tmp_path / "copy", clock=ManualClock(START_NS + 10**9)) as copy:
        assert copy.query("g")[0].values.tolist() == [3.5]
    store.close()


def test_registry_damage_before_the_last_sync_is_no_power_loss(tmp_path, monkeypatch):
    """What is known to be on the disk is not cut off after a restart: a flipped bit there is told, not taken."""
    store = Store(tmp_path / "s", SCHEMAS, clock=ManualClock(START_NS))
    for n in range(20):
        store.gauge("g", n=n)
    store.tick()
    store.close()
    file = tmp_path / "s" / layout.REGISTRY_FILE
    data = bytearray(file.read_bytes())
    data[200] ^= 4
    file.write_bytes(data)
    monkeypatch.setattr(runs, "machine_id", lambda: runs.read_runs(tmp_path / "s" / "runs")[-1].machine or "m")
    monkeypatch.setattr(runs, "boot_id", lambda: "the boot after")
    with pytest.raises(CorruptStoreError, match="rondo repair"):
        Store(tmp_path / "s")
