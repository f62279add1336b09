"""What has to be on the disk, and when: each operation's syncs, in order, and what a name may be given to.

All other tests run without a sync (tests/conftest.py). Here each is noted, and a disk is modelled that holds of a file
what it held when it was last synced, and of a directory the names that it had then. docs/limits.md has the promises.
"""

import os
import re
import shutil
import threading
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, Tier
from rondo_core.export import Agent
from rondo_core.export.cursor import Cursor, save_cursor
from rondo_core.export.fold import fold_dead
from rondo_core.maintain import copy_store, migrate_store, repair_store
from rondo_core.model import layout
from rondo_core.plugins import read_config
from rondo_core.storage import replace

START_NS = 1_700_000_000 * 10**9
TIERS = (Tier("1s", "60s"), Tier("10s", "10m"))
SCHEMAS = [Schema("rondo", "counter", 16, TIERS, '{__name__=~"rondo_.*"}'), Schema("g", "gauge", 4, TIERS)]
SLABS = {f"s/{schema}.{tier}.slab" for schema in ("rondo", "g") for tier in (0, 1)}
ALL = SLABS | {"s/meta", "s/series", "s/runs", "s/events", "s/lock"}


def at(files, store):
    """Give the same files of another store."""
    return {file.replace("s/", f"{store}/", 1) for file in files}


NEW = at(ALL, ".s.unfinished")


class Disk:
    """What the disk holds of everything below a directory, and what was asked of it, in order."""

    def __init__(self, root, patch):
        self.root = root.resolve()
        self.held = {}  # inode -> the bytes of a file, or the names in a directory
        self.steps, self.early = [], []
        self.note(self.root)
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self.sync)
        for name in ("rename", "replace"):
            patch.setattr(os, name, self.naming(getattr(os, name)))
        patch.setattr(replace, "_exchange", self.exchanging(replace._exchange))

    def note(self, path):
        self.held[path.stat().st_ino] = content(path)

    def sync(self, descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        self.note(path)
        self.steps.append(self.name(path))

    def name(self, path):
        """Name a place below the root, of what is unfinished without the maker's own letters; a directory ends in /."""
        name = str(path.relative_to(self.root)).removeprefix(".")
        name = f".{name}" if str(path.relative_to(self.root)).startswith(".s.") else name
        name = re.sub(r"(\.s|cursor_\w+(?:\.json)?)\.[\w.-]+\.unfinished", r"\1.unfinished", name)
        return f"{name}/" if path.is_dir() else name

    def naming(self, real):
        def rename(source, target, *, src_dir_fd=None, dst_dir_fd=None):
            folder = Path(f"/proc/self/fd/{src_dir_fd}").resolve() if src_dir_fd is not None else Path()
            source_path, target_path = folder / source, (folder / target).absolute()
            self.early += self.lacking(source_path)
            real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
            self.steps.append(f"-> {self.name(target_path)}")

        return rename

    def exchanging(self, real):
        def exchange(one, other):
            self.early += self.lacking(other)
            real(one, other)
            self.steps.append(f"<-> {self.name(one)}")

        return exchange

    def lacking(self, path):
        """Name what of a file, or of a directory and all below it, the disk does not hold as it is.

        But for the lock: whose pid is in it says nothing after a restart.
        """
        below = [path, *path.rglob("*")] if path.is_dir() else [path]
        below = [each for each in below if each.name != layout.LOCK_FILE]
        return [self.name(each) for each in below if self.held.get(each.stat().st_ino) != content(each)]

    def knows(self, path):
        """Say whether the disk has all the names that lead to a file."""
        while path != self.root:
            if path.name not in self.held.get(path.parent.stat().st_ino, ()):
                return False
            path = path.parent
        return True

    def taken(self):
        """Give the steps since the last look."""
        steps, self.steps = self.steps, []
        return steps


def content(path):
    """Give what a file holds, of a registry without the note of how far it is known to be on the disk."""
    if path.is_dir():
        return frozenset(each.name for each in path.iterdir())
    data = path.read_bytes()
    at = layout.JOURNAL_SYNCED
    return data[:at] + data[at + 4 :] if path.name == layout.REGISTRY_FILE else data


def assert_steps(disk, wanted):
    """The steps were those, no more and no fewer; the order within a set is free."""
    steps = disk.taken()
    left = list(steps)
    for each in wanted:
        some = {each} if isinstance(each, str) else each
        assert sorted(left[: len(some)]) == sorted(some), (each, steps)
        left = left[len(some) :]
    assert left == [], steps
    assert disk.early == []


@pytest.fixture
def disk(tmp_path, monkeypatch):
    return Disk(tmp_path, monkeypatch)


@pytest.fixture
def clock():
    return ManualClock(START_NS)


@pytest.fixture
def made(tmp_path, clock, disk):
    """Make a store with a series and a few points, closed; what that took is not looked at."""

    def make(name="s", *, close=True):
        store = Store(tmp_path / name, SCHEMAS, clock=clock)
        for second in range(25):
            store.gauge("g").set(second)
            store.tick()
            clock.advance(1)
        if close:
            store.close()
        disk.taken()
        return store

    return make


# What each operation must do, as docs/limits.md promises it; the name that it gives comes after what has the name.
CREATE = [NEW, ".s.unfinished/", "-> s/", "/"]
SYNC = ["s/series", SLABS, "s/runs"]  # a series is known before its values are
# What a store is filled with before it appears is synced once, with all of it.
COPY = [NEW, ".s.unfinished/", "-> s/", "/"]
REPAIR = [
    ".s.unfinished/series",
    ".s.unfinished/.cursor_x.json.unfinished",
    "-> .s.unfinished/cursor_x.json",
    ".s.unfinished/",
]
REPAIR += [NEW | {".s.unfinished/cursor_x.json"}, ".s.unfinished/", "-> s/", "/"]
MIGRATE = [".s.unfinished/.cursor_x.json.unfinished"]
MIGRATE += [
    "-> .s.unfinished/cursor_x.json",
    ".s.unfinished/",
    NEW | {".s.unfinished/cursor_x.json"},
    ".s.unfinished/",
    "<-> s/",
    "/",
]
GROW = [NEW | {".s.unfinished/cursor_x.json"}, ".s.unfinished/", "<-> s/", "/"]
CURSOR = ["s/.cursor_x.json.unfinished", "-> s/cursor_x.json", "s/"]


def test_a_store_has_its_name_when_all_of_it_is_on_the_disk(tmp_path, disk, clock):
    """Every file, then the directory's entries, then the name, and then the entry of the name."""
    with Store(tmp_path / "s", SCHEMAS, clock=clock):
        assert_steps(disk, CREATE)


def test_directories_that_are_made_for_a_store_are_on_the_disk_with_it(tmp_path, disk, clock):
    """A store three directories down is found again: each new name above it is on the disk."""
    (tmp_path / "there").mkdir()
    disk.note(tmp_path)
    with Store(tmp_path / "there" / "a" / "b" / "s", SCHEMAS, clock=clock):
        assert disk.knows(tmp_path / "there" / "a" / "b" / "s")


def test_opening_recording_and_closing_wait_for_no_disk(disk, clock, made, tmp_path):
    """By default the kernel writes back when it likes: only a new series is on the disk after the tick that follows.

    So is, after the first tick, what was declared before: nobody says that the last process came to its tick.
    """
    made()
    store = Store(tmp_path / "s", clock=clock)
    store.gauge("g").set(1.0)
    assert_steps(disk, [])
    store.tick()
    assert_steps(disk, ["s/series"])
    store.tick()
    assert_steps(disk, [])
    store.gauge("h").set(1.0)
    assert_steps(disk, [])
    store.tick()
    assert_steps(disk, ["s/series"])
    store.gauge("h").set(2.0)
    clock.advance(1)
    store.tick()
    store.close()
    assert_steps(disk, [])


def test_a_sync_writes_all_of_a_store(disk, made):
    """After `Store.sync` the disk holds every file as it is, who wrote it among them; so it does before `close`."""
    store = made(close=False)
    store.gauge("h").set(1.0)
    store.sync()
    assert disk.lacking(store.path) == []
    assert_steps(disk, SYNC)
    store.sync()
    assert_steps(disk, SYNC[1:])
    store.note("a note goes with the next one")
    store.sync()
    assert_steps(disk, [SLABS, "s/events", "s/runs"])
    assert disk.lacking(store.path) == []
    store.close()


def test_a_sync_interval_is_kept_to_and_ends_with_the_store(tmp_path, disk, clock):
    """A tick syncs when the interval is over, none before; `close` does, so that no more than the interval is lost."""
    store = Store(tmp_path / "s", SCHEMAS, clock=clock, sync_interval_s=5)
    store.gauge("g").set(1.0)
    disk.taken()
    store.tick()
    assert_steps(disk, SYNC)
    for _ in range(4):
        clock.advance(1)
        store.tick()
        assert_steps(disk, [])
    clock.advance(1)
    store.tick()
    assert_steps(disk, SYNC[1:])
    clock.advance(1)
    store.gauge("g").set(2.0)
    store.close()
    assert_steps(disk, SYNC[1:])
    assert disk.lacking(store.path) == []


def test_a_disk_that_fails_at_the_end_is_told_and_closes_the_store(tmp_path, clock, monkeypatch, caplog):
    """A program that ends is not held up by what the disk refuses: it is logged, and the store is closed."""
    store = Store(tmp_path / "s", SCHEMAS, clock=clock, sync_interval_s=5)

    def fail(_descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fail)
    store.close()
    assert "not written to the disk" in caplog.text
    with Store(tmp_path / "s", clock=clock) as again:
        assert again.run.number == 2


def test_a_cursor_is_on_the_disk_before_it_takes_its_name(disk, made):
    """Whenever power fails, the cursor is the old one or the new one, never an empty file."""
    store = made()
    save_cursor(store.path, Cursor("x", {"g.0": 5}))
    assert_steps(disk, CURSOR)


def test_a_copy_has_its_name_when_all_of_it_is_on_the_disk(tmp_path, disk, made):
    """What is copied in after the files were made is synced too."""
    made("old")
    copy_store(tmp_path / "old", tmp_path / "s")
    assert_steps(disk, COPY)


def test_a_repaired_store_has_its_name_when_all_of_it_is_on_the_disk(tmp_path, disk, made):
    """As a new one, its cursors with it."""
    old = made("old")
    save_cursor(old.path, Cursor("x", {"g.0": 5}))
    disk.taken()
    repair_store(tmp_path / "old", tmp_path / "s", START_NS)
    assert_steps(disk, REPAIR)


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_migrated_store_takes_the_place_when_all_of_it_is_on_the_disk(tmp_path, disk, made, monkeypatch, exchanges):
    """Also where the file system cannot exchange two names, and the old one is put out of the way first."""
    old = made()
    save_cursor(old.path, Cursor("x", {"g.0": 5}))
    disk.taken()
    for each in (old.path, *old.path.iterdir()):
        disk.note(each)
    wanted = MIGRATE
    if not exchanges:

        def refuse(_one, _other):
            raise OSError(22, "Invalid argument")

        monkeypatch.setattr(replace, "_exchange", refuse)
        at = MIGRATE.index("<-> s/")
        wanted = [*MIGRATE[:at], "-> .s.unfinished/", "-> s/", *MIGRATE[at + 1 :]]
    migrate_store(tmp_path / "s", [SCHEMAS[0], Schema("g", "gauge", 8, TIERS)])
    assert_steps(disk, wanted)


def test_a_grown_store_takes_the_place_when_all_of_it_is_on_the_disk(tmp_path, disk, clock, made):
    """As a migrated one does; its cursor comes along as it is."""
    old = made()
    save_cursor(old.path, Cursor("x", {"g.0": 5}))
    disk.taken()
    for each in (old.path, *old.path.iterdir()):
        disk.note(each)
    with Store(tmp_path / "s", [SCHEMAS[0], Schema("g", "gauge", 8, TIERS)], clock=clock):
        assert_steps(disk, GROW)


def test_a_migration_that_was_killed_between_two_renames_is_undone_on_the_disk(tmp_path, disk, made):
    """The old store has its name again, and the disk knows of it."""
    made()
    replace._backup(tmp_path / "s").parent.mkdir(exist_ok=True)
    shutil.move(tmp_path / "s", replace._backup(tmp_path / "s"))
    disk.taken()
    disk.early.clear()
    assert replace.recover(tmp_path / "s")
    assert disk.taken() == ["-> s/", "/"]


@pytest.mark.parametrize("plugin", ["csv", "jsonl"])
def test_an_acknowledgement_of_lines_means_that_they_are_on_the_disk(tmp_path, disk, made, plugin):
    """Lines and the name of their file first, then the cursor; of a run that has ended, the run's own record before."""
    made()
    (tmp_path / "rondo.toml").write_text(f'[exporters.x]\nplugin = "{plugin}"\npath = "{tmp_path}/lines"\n')
    agent = Agent(tmp_path, read_config(tmp_path / "rondo.toml"))
    done = agent.run_once()
    agent.close()
    assert (done.failures, done.complete) == ([], 1)
    steps = disk.taken()
    first = steps.index("lines")
    assert "/" in steps[:first]
    assert steps.index("-> s/cursor_x.json", first) > first
    last = len(steps) - 1 - steps[::-1].index("-> s/cursor_x.json")
    assert "s/runs" in steps[first:last]
    assert disk.lacking(tmp_path / "lines") == []
    assert disk.knows(tmp_path / "lines")
    assert disk.early == []


def test_a_line_that_a_crash_cut_short_is_cut_off_on_the_disk(tmp_path, disk, made):
    """Before anything is written after it."""
    made()
    lines = tmp_path / "lines"
    lines.write_text('{"timestamp_ns": 1, "na')
    (tmp_path / "rondo.toml").write_text(f'[exporters.x]\nplugin = "jsonl"\npath = "{lines}"\n')
    agent = Agent(tmp_path, read_config(tmp_path / "rondo.toml"))
    agent.run_once()
    agent.close()
    steps = disk.taken()
    assert steps[0] == "lines"
    assert steps.count("lines") == 2


def test_a_fold_of_the_dead_and_an_archive_wait_for_no_disk(tmp_path, disk, clock, made):
    """Neither has anything that was not there before: what a loss of power undoes of them is done again."""
    made()
    pid = os.fork()
    if not pid:
        store = Store(tmp_path / "s", clock=clock)
        store.gauge("g").set(1.0)
        os._exit(0)
    os.waitpid(pid, 0)
    assert fold_dead(tmp_path / "s")
    assert_steps(disk, [])
    (tmp_path / "rondo.toml").write_text(
        f'[agent]\nafter = "archive"\narchive = "{tmp_path}/done"\n'
        f'[exporters.x]\nplugin = "jsonl"\npath = "{tmp_path}/lines"\n'
    )
    agent = Agent(tmp_path, read_config(tmp_path / "rondo.toml"))
    assert agent.run_once().archived == 1
    agent.close()
    assert disk.taken()[-1] == "-> done/s/"


def test_a_store_is_on_the_disk_where_no_thread_can_be_had(tmp_path, disk, clock, monkeypatch):
    """The files of a new store are synced by many threads at once, or by the one that there is."""

    def refuse(_thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as alone:
        alone.setattr(threading.Thread, "start", refuse)
        Store(tmp_path / "s", SCHEMAS, clock=clock).close()
    assert_steps(disk, CREATE)
