"""A store moved to other schemas: what both have room for is as it was, and recording goes on as if nothing had been."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import SchemaError, StoreError, StoreLockedError
from rondo_core.export.cursor import Cursor, load_cursor, save_cursor
from rondo_core.export.drain import Drain
from rondo_core.maintain.check import check_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.model.schema import check_schemas
from rondo_core.storage import replace
from rondo_core.storage.directory import create, file_sizes, read_meta
from rondo_core.storage.lock import WriterLock

START_NS = 1_700_000_000 * 10**9
OLD = (("1s", "1m"), ("10s", "10m"), ("1m", "2h"))
KINDS = ("counter", "gauge", "summary")


def schemas(tiers, room=4):
    return [Schema(f"{kind}s", kind, room, tiers) for kind in KINDS]


def record(store, clock, seconds, n_series=2):
    """Record whole numbers, so that every sum is exact in whatever order it is taken."""
    counters = [store.counter("c_total", i=i) for i in range(n_series)]
    gauges = [store.gauge("g", help="A gauge.", unit="bytes", i=i) for i in range(n_series)]
    summaries = [store.summary("s", i=i) for i in range(n_series)]
    for _ in range(seconds):
        second = clock() // 10**9
        for i in range(n_series):
            counters[i].inc(1 + second % 3)
            if second % (3 + i):
                gauges[i].set(second % 17 - i)
            for each in range(second % 4):
                summaries[i].observe(second % 5 + each)
        store.tick()
        clock.advance(1)


def made(path, seconds=900, tiers=OLD, room=4):
    """A finished store, and its clock."""
    clock = ManualClock(START_NS)
    with Store(path, schemas(tiers, room), clock=clock) as store:
        record(store, clock, seconds)
    return clock


def tables(path):
    """Every window on disk: (kind, interval, series, statistic) -> {bucket: value}, absent ones left out."""
    found = {}
    with StoreReader(path) as reader:
        for schema in reader.meta.schemas:
            if schema.name == "rondo":
                continue
            for tier, slab in enumerate(reader.slabs[schema.name]):
                headers = np.array(slab.headers())
                for slot in np.flatnonzero(headers > 0).tolist():
                    for series in reader.registry.by_schema[schema.name]:
                        column = series.column
                        cells = {name: slab.block(name)[slot, column] for name in schema.cells(tier)}
                        if tier and not cells["coverage"]:
                            continue
                        if not tier and schema.kind == "summary" and not np.isnan(cells["count"]):
                            copy = "1" if cells["count"] < 0 else "0"
                            plain = {name: cells[name + copy] for name in ("sum", "min", "max")}
                            cells = {"count": abs(cells["count"]), **plain} | {
                                name: cells[name] for name in ("count_base", "sum_base")
                            }
                        for name, value in cells.items():
                            if not np.isnan(value):
                                key = schema.kind, schema.tiers[tier].interval_ns, str(series), name
                                found.setdefault(key, {})[int(headers[slot])] = float(value)
    return found


def both(before, after, path):
    """Compare every window of an interval that both stores have, and see that none is missing that has room."""
    compared = 0
    with StoreReader(path) as reader:
        for schema in reader.meta.schemas:
            if schema.name == "rondo":
                continue
            for index, tier in enumerate(schema.tiers):
                newest = int(reader.slabs[schema.name][index].headers().max())
                for key, old in before.items():
                    if key[:2] != (schema.kind, tier.interval_ns) or key not in after:
                        continue
                    expected = {bucket: value for bucket, value in old.items() if bucket > newest - tier.slot_count}
                    got = {bucket: after[key].get(bucket) for bucket in expected}
                    assert got == expected, key
                    compared += len(expected)
    return compared


CHANGES = {
    "more series": (OLD, 9),
    "longer": ((("1s", "5m"), ("10s", "1h"), ("1m", "1d")), 4),
    "shorter": ((("1s", "20s"), ("10s", "2m"), ("1m", "10m")), 4),
    "a tier between": ((("1s", "1m"), ("10s", "10m"), ("30s", "1h"), ("1m", "2h")), 4),
    "a coarser tier": ((*OLD, ("5m", "1d")), 4),
    "one tier less": ((("1s", "2m"), ("1m", "2h")), 4),
    "only the finest": ((("1s", "1m"),), 4),
    "no tier between": ((("1s", "4m"), ("2m", "2h")), 4),
}


@pytest.mark.parametrize("change", CHANGES)
def test_windows_that_both_have_are_as_they_were(path, change):
    """Every statistic of every window, by bits; and the sizes are those that were announced."""
    tiers, room = CHANGES[change]
    clock = made(path)
    clock.advance(120)
    before = tables(path)
    dry = migrate_store(path, schemas(tiers, room), dry_run=True, clock=clock)
    assert tables(path) == before
    done = migrate_store(path, schemas(tiers, room), clock=clock)
    assert (dry.before, dry.after) == (done.before, done.after)
    assert both(before, tables(path), path) > 200
    assert check_store(path, clock()) == []
    assert {file.name: file.stat().st_size for file in path.iterdir()} == file_sizes(
        check_schemas(schemas(tiers, room))
    )
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with StoreReader(path) as reader:
        assert reader.meta.schemas == check_schemas(schemas(tiers, room))


@pytest.mark.parametrize("change", ["more series", "longer", "shorter", "a tier between", "a coarser tier"])
@pytest.mark.parametrize("seconds", [7, 64, 333, 905])
def test_recording_goes_on_as_if_nothing_had_been(tmp_path, change, seconds):
    """Beside a twin that had the new schemas from the start: every window that the twin's tiers have of what both
    hold is the same, the open ones included, and so are the totals.
    """
    tiers, room = CHANGES[change]
    moved, twin = tmp_path / "moved", tmp_path / "twin"
    clock = made(moved, seconds)
    migrate_store(moved, schemas(tiers, room), clock=clock)
    twin_clock = ManualClock(START_NS)
    with Store(twin, schemas(tiers, room), clock=twin_clock) as store:
        record(store, twin_clock, seconds + 75)
    with Store(moved, clock=clock) as store:
        assert store.counter("c_total", i=0).value == sum(1 + (START_NS // 10**9 + s) % 3 for s in range(seconds))
        record(store, clock, 75)
    assert check_store(moved, clock()) == []
    mine, whole = tables(moved), tables(twin)
    assert set(mine) == set(whole)
    for key, windows in mine.items():
        assert windows.items() <= whole[key].items(), key
        newest = max(whole[key])
        recent = {bucket for bucket in whole[key] if bucket * key[1] > newest * key[1] - 50 * 10**9}
        assert recent <= set(windows), key


def test_a_new_coarse_tier_is_folded_from_all_that_there_is(path):
    """Its windows merge the finer tiers' rows, also those that only a coarser old tier still has."""
    clock = made(path, 900)
    with StoreReader(path) as reader:
        minutes = {fn: reader.query("g{i=0}", tier=2, fn=fn)[0] for fn in ("sum", "max", "count")}
    migrate_store(path, schemas((*OLD, ("2m", "1d"))), clock=clock)
    with StoreReader(path) as reader:
        for fn, merged in (("sum", np.sum), ("max", np.max), ("count", np.sum)):
            got = reader.query("g{i=0}", tier=3, fn=fn)[0]
            old = minutes[fn]
            starts = old.timestamps_ns // (120 * 10**9) * (120 * 10**9)
            expected = {int(start): merged(old.values[starts == start]) for start in set(starts.tolist())}
            assert dict(zip(got.timestamps_ns.tolist(), got.values.tolist(), strict=True)) == expected


@pytest.mark.parametrize("change", CHANGES)
def test_a_query_finds_all_that_was_kept(path, change):
    """tier=auto over everything, before and after: the counted samples reach back as far as some tier does."""
    tiers, room = CHANGES[change]
    clock = made(path, 700)
    clock.advance(120)
    with StoreReader(path) as reader:
        before = {str(s): reader.query([s], fn="count")[0] for s in reader.series("g")}
    migrate_store(path, schemas(tiers, room), clock=clock)
    with StoreReader(path) as reader:
        for series in reader.series("g"):
            old, new = before[str(series)], reader.query([series], fn="count")[0]
            reach = max(tier.retention_ns for tier in reader.meta.schemas[2].tiers)
            if change in {"only the finest", "shorter"}:
                assert new.timestamps_ns[0] >= old.timestamps_ns[-1] - reach
            else:
                assert new.values.sum() == old.values.sum()


def test_a_window_that_could_not_be_folded_again_has_to_end_first(path):
    """Where the tier below an open window never had all of it: the message says when to come back, and then every
    total and every sample is there, and recording goes on.
    """
    clock = made(path, 690)
    tiers = (("1s", "10m"), ("5m", "2h"))
    before = tables(path)
    with pytest.raises(StoreError, match=r"tier 5m/2h has an open window that 1s/10m could not give back; .*22:25:00Z"):
        migrate_store(path, schemas(tiers), clock=clock)
    clock.now_ns = 1_700_000_700 * 10**9 // (300 * 10**9) * 300 * 10**9 + 300 * 10**9
    migrate_store(path, schemas(tiers), clock=clock)
    assert check_store(path, clock()) == []
    assert both(before, tables(path), path) > 50
    with StoreReader(path) as reader:
        assert reader.query("c_total{i=1}", tier=1, fn="count")[0].values.sum() == 690
    with Store(path, clock=clock) as store:
        total = sum(1 + (START_NS // 10**9 + s) % 3 for s in range(690))
        assert store.counter("c_total", i=1).value == total
        observed = sum((START_NS // 10**9 + s) % 4 for s in range(690))
        assert store.query("s{i=1}", fn="total")[0].values[-1] == observed
        record(store, clock, 301)
    with StoreReader(path) as reader:
        assert reader.query("s{i=1}", tier=1, fn="count")[0].values[:3].sum() == observed
        assert reader.query("c_total{i=1}", tier=1, fn="count")[0].values[:3].sum() == 690
    assert check_store(path, clock()) == []


def test_the_finest_interval_stays(path):
    """It is what coverage counts; where nothing was recorded yet it may change."""
    clock = made(path, 30)
    with pytest.raises(SchemaError, match="finest interval 10s, but its windows count samples of 1s; keep 1s"):
        migrate_store(path, schemas((("10s", "10m"),)), clock=clock)
    fresh = path.with_name("fresh")
    Store(fresh, schemas(OLD), clock=clock).close()
    assert migrate_store(fresh, schemas((("10s", "10m"),)), clock=clock).changed


def test_series_keep_what_they_are(path):
    """Identity, kind, help, unit and birth; the store keeps its id, its birth and its record of runs."""
    clock = made(path)
    with StoreReader(path) as reader:
        old, meta, runs = list(reader.registry), reader.meta, reader.runs()
    migrate_store(path, schemas(OLD, 8), clock=clock)
    with StoreReader(path) as reader:
        new = list(reader.registry)
        assert [(s.name, s.labels, s.kind, s.help, s.unit, s.created_ns) for s in new] == [
            (s.name, s.labels, s.kind, s.help, s.unit, s.created_ns) for s in old
        ]
        assert (reader.meta.store_id, reader.meta.created_ns) == (meta.store_id, meta.created_ns)
        assert reader.runs() == runs


def test_a_changed_match_moves_series_between_schemas(path):
    """One schema becomes two and two become one; each series takes its windows along."""
    clock = made(path)
    before = tables(path)
    split = [
        Schema("first", "gauge", 1, OLD, "g{i=0}"),
        Schema("rest", "gauge", 2, OLD),
        *(each for each in schemas(OLD) if each.kind != "gauge"),
    ]
    migrate_store(path, split, clock=clock)
    assert tables(path) == before
    with StoreReader(path) as reader:
        assert [series.schema for series in reader.series("g")] == ["first", "rest"]
    migrate_store(path, schemas(OLD), clock=clock)
    assert tables(path) == before


def test_statistics_may_be_given_up_and_are_absent_where_they_come_back(path):
    """max alone is kept as it was; a statistic that no tier has any more is absent, never wrong."""
    clock = made(path)
    before = tables(path)
    less = (Tier("1s", "1m"), Tier("10s", "10m", ("max",)), Tier("1m", "2h", ("max",)))
    target = [Schema("gauges", "gauge", 4, less), *(each for each in schemas(OLD) if each.kind != "gauge")]
    migrate_store(path, target, clock=clock)
    after = tables(path)
    assert both(before, after, path) > 200
    assert ("gauge", 10**10, 'g{i="0"}', "sum") not in after
    clock.advance(60)
    migrate_store(path, schemas(OLD), clock=clock)
    assert check_store(path, clock()) == []
    again = tables(path)
    for name in ("sum", "max", "first"):
        key = "gauge", 10**10, 'g{i="0"}', name
        assert again[key].items() <= before[key].items()
    assert len(again["gauge", 10**10, 'g{i="0"}', "max"]) == len(before["gauge", 10**10, 'g{i="0"}', "max"])
    assert 0 < len(again["gauge", 10**10, 'g{i="0"}', "sum"]) < 10


def test_what_cannot_be_is_refused_and_nothing_changes(path):
    """Too little room, a series that no schema takes, a missing store."""
    clock = made(path)
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.name != "lock"}
    with pytest.raises(SchemaError, match="counters: max_series 1, but 2 series are there; make it 2 or more"):
        migrate_store(path, schemas(OLD, 1), clock=clock)
    with pytest.raises(SchemaError, match=r"g\{i=.0.\}: no schema takes this gauge; add one"):
        migrate_store(path, [each for each in schemas(OLD) if each.kind != "gauge"], clock=clock)
    with pytest.raises(StoreError, match="no such store"):
        migrate_store(path.with_name("nowhere"), schemas(OLD), clock=clock)
    assert {file.name: file.read_bytes() for file in path.iterdir() if file.name != "lock"} == before
    assert not migrate_store(path, schemas(OLD), clock=clock).changed


def test_a_live_writer_and_a_running_export_are_left_alone(path):
    """Both are refused in words that name them, dry run or not."""
    clock = made(path)
    with Store(path, clock=clock):
        for dry_run in (True, False):
            with pytest.raises(StoreLockedError, match="this very process writes this store"):
                migrate_store(path, schemas(OLD, 8), dry_run=dry_run, clock=clock)
    import fcntl

    with (path / "cursor_x.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="another process exports it through x; stop that one first"):
            migrate_store(path, schemas(OLD, 8), clock=clock)
    migrate_store(path, schemas(OLD, 8), clock=clock)
    lock = WriterLock(path / "lock")
    lock.release()


def test_an_exporter_goes_on_where_it_was(path):
    """Nothing that was not acknowledged is left out, and nothing is sent twice."""
    clock = made(path)
    newest = START_NS // 10**9 + 899
    save_cursor(path, Cursor("x", {f"{kind}s.0": newest - 12 for kind in KINDS}, 1, 44))
    clock.advance(60)
    migrate_store(path, schemas(OLD, 8), clock=clock)
    cursor = load_cursor(path, "x")
    assert (cursor.ended_run, cursor.samples) == (1, 44)
    assert cursor.positions == {f"{kind}s.0": (newest - 12) for kind in KINDS}
    with StoreReader(path) as reader:
        drained = Drain(reader).next(cursor.positions, 1 << 62, 100_000)
        assert drained.overwritten == 0
        stamps = {int(s) for part in drained.batch.parts if part.schema != "rondo" for s in part.timestamps_ns}
    assert stamps == {b * 10**9 for b in range((newest - 12), newest + 1)}


def test_a_cursor_that_never_sent_a_schema_sends_it_from_its_start(path):
    """A schema that takes series of two, one of them never sent, is sent whole."""
    clock = made(path, 30)
    save_cursor(path, Cursor("x", {"counters.0": START_NS // 10**9 + 20}))
    migrate_store(path, schemas(OLD, 8), clock=clock)
    assert load_cursor(path, "x").positions == {"counters.0": START_NS // 10**9 + 20}


def test_a_store_without_a_sample_migrates(path):
    """With series and without, before the first bucket."""
    clock = ManualClock(START_NS)
    Store(path, schemas(OLD), clock=clock).close()
    migrate_store(path, schemas(OLD, 8), clock=clock)
    with Store(path, clock=clock) as store:
        store.gauge("g")
    migrate_store(path, schemas((("1s", "1m"),), 8), clock=clock)
    with StoreReader(path) as reader:
        assert [str(series) for series in reader.series("g")] == ["g"]


KILLED = """
import os, signal, sys
from rondo_core import ManualClock, Schema
from rondo_core.maintain import migrate
from rondo_core.storage import replace
from pathlib import Path
path, clock_ns, where, nth = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
schemas = [Schema(f"{kind}s", kind, 9, (("1s", "1m"), ("10s", "10m"), ("1m", "2h"))) for kind in ("counter", "gauge", "summary")]
module, name = {"replace": replace, "migrate": migrate, "Path": Path}[where.split(".")[0]], where.split(".")[1]
count, plain = 0, getattr(module, name)
def killed(*arguments, **options):
    global count
    count += 1
    if count == abs(nth):
        if nth < 0:
            plain(*arguments, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **options)
setattr(module, name, killed)
if "two" in sys.argv:
    def cannot(*_):
        raise OSError(22, "cannot exchange")
    replace._exchange = cannot
migrate.migrate_store(path, schemas, clock=ManualClock(clock_ns))
"""

MOMENTS = [
    ("migrate.make_files", 1), ("migrate.make_files", -1), ("migrate.open_slabs", -1), ("migrate._close", 1), ("migrate._copy_others", 1),
    ("migrate.like", -1), ("replace._exchange", 1), ("replace._exchange", -1), ("replace.sync_directory", 1), ("replace.discard", 1),
    ("replace.discard", -1),
]  # fmt: skip


@pytest.mark.parametrize(("where", "nth"), MOMENTS)
def test_a_kill_leaves_the_old_store_or_the_new_one(path, where, nth):
    """Whole, at its path, with every window; the next migration clears away what was left behind and gets through."""
    clock = made(path, 130)
    before = tables(path)
    killed = [sys.executable, "-c", KILLED, path, str(clock()), where, str(nth)]
    assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
    assert read_meta(path).schemas in {check_schemas(schemas(OLD, 4)), check_schemas(schemas(OLD, 9))}
    assert tables(path) == before
    migrate_store(path, schemas(OLD, 10), clock=clock)
    assert tables(path) == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("where", "nth"),
    [("Path.rename", 1), ("Path.rename", -1), ("Path.rename", 2), ("Path.rename", -2), ("replace.discard", 1)],
)
def test_without_an_exchange_a_kill_is_mended_by_the_next_run(path, where, nth):
    """Where the file system can only rename: the old store may stand aside for a moment, and is put back."""
    clock = made(path, 130)
    before = tables(path)
    killed = [sys.executable, "-c", KILLED, path, str(clock()), where, str(nth), "two"]
    assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
    migrate_store(path, schemas(OLD, 10), clock=clock)
    assert tables(path) == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_store_that_came_in_between_does_not_cost_the_old_one(path):
    """Where someone made a store at the empty path the old one, which is another, stays beside it; opening makes none."""
    clock = made(path, 130)
    aside = replace._backup(path)
    path.rename(aside)
    Store(path, schemas(OLD), clock=clock).close()
    assert len(tables(path)) > 10
    path.rename(aside)
    create(path, check_schemas(schemas(OLD)), clock())
    migrate_store(path, schemas(OLD, 10), clock=clock)
    assert len(tables(aside)) > 10


def test_a_full_disk_leaves_the_store_as_it_was(path, monkeypatch):
    """One line, and nothing left behind."""
    clock = made(path, 30)
    before = tables(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left on device"):
        migrate_store(path, schemas(OLD, 10), clock=clock)
    assert tables(path) == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_else_is_kept_in_the_directory_is_taken_along(path):
    """A file that someone put there, and the mode of the directory."""
    clock = made(path, 30)
    (path / "notes.txt").write_text("mine")
    path.chmod(0o750)
    migrate_store(path, schemas(OLD, 10), clock=clock)
    assert (path / "notes.txt").read_text() == "mine"
    assert path.stat().st_mode & 0o7777 == 0o750
