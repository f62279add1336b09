"""Opening, closing and refusing: a store's directory, its one writer, its runs, its readers."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, Tier
from rondo_core.errors import (
    CorruptStoreError,
    FormatVersionError,
    SchemaError,
    StoreError,
    StoreLockedError,
    StoreNotFoundError,
    UnknownSeriesError,
)
from rondo_core.model import layout
from rondo_core.model.schema import DEFAULT_SCHEMAS, check_schemas
from rondo_core.storage.directory import size_bytes
from rondo_core.storage.runs import newest_run, put_run, read_runs, write_run


def test_the_size_is_known_before_a_store_is_made(path):
    """What the schemas say is what the files take, to the byte."""
    schemas = [Schema("g", "gauge", 5, (("1s", "1m"), ("10s", "1h"))), Schema("s", "summary", 3)]
    Store(path, schemas).close()
    on_disk = sum(file.stat().st_size for file in path.iterdir())
    assert on_disk == size_bytes(check_schemas(schemas))


def test_a_second_writer_is_refused_with_the_first_ones_pid(path):
    """Another process gets an error that names who writes."""
    with Store(path):
        code = f"from rondo_core import Store\ntry:\n Store({str(path)!r})\nexcept Exception as e: print(type(e).__name__, e)"
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        assert "StoreLockedError" in said
        assert f"process {os.getpid()} writes this store" in said
        with pytest.raises(StoreLockedError):
            Store(path)
    Store(path).close()


def test_a_schema_that_differs_from_the_one_on_disk_is_named(path, clock):
    """Opening with another schema says in what it differs."""
    Store(path, [Schema("g", "gauge", 8)], clock=clock).close()
    with pytest.raises(SchemaError, match="max_series 7 asked for, 8 on disk; rondo migrate"):
        Store(path, [Schema("g", "gauge", 7)], clock=clock)
    with pytest.raises(SchemaError, match="schema g is on disk only; rondo migrate"):
        Store(path, [Schema("h", "gauge", 8)], clock=clock)
    with pytest.raises(SchemaError, match="tiers 1s/10m asked for, 1s/10m 10s/6h 5m/7d on disk"):
        Store(path, [Schema("g", "gauge", 8, (Tier("1s", "10m"),))], clock=clock)
    Store(path, clock=clock).close()


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("Bad", "gauge"), "lower-case"),
        (("g", "histogram"), "choose counter, gauge, summary"),
        (("g", "gauge", 0), "max_series 0"),
        (("g", "gauge", 1, ()), "no tier"),
        (("g", "gauge", 1, (("1s", "1m"), ("1500ms", "1h"))), "does not fold"),
        (("g", "gauge", 1, (("1s", "15s"), ("10s", "1h"))), "at least two buckets"),
        (("g", "gauge", 1, (("1s", "10m"), ("10s", "1m"))), "forgets before"),
        (("g", "gauge", 1, (("1s", "10m"), Tier("10s", "1h", ("p99",)))), "statistic 'p99'"),
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(arguments, what):
    """The message says what is wrong with it."""
    with pytest.raises(SchemaError, match=what):
        Schema(*arguments)


def test_how_a_run_ended_is_on_record(path, clock):
    """Closed, raised, or simply gone: each run says which, and who it was."""
    Store(path, clock=clock, writer="first").close()
    with pytest.raises(RuntimeError), Store(path, clock=clock):
        raise RuntimeError
    Store(path, clock=clock).close("signal 15")
    lost = Store(path, clock=clock)
    with StoreReader(path) as reader:
        ended = [run.ended for run in reader.runs()]
        assert ended[1].startswith("raised RuntimeError (")
        assert f"{Path(__file__).name}:" in ended[1]
        assert [*ended[:1], *ended[2:]] == ["closed", "signal 15", ""]
        assert reader.runs()[0].writer == "first"
        assert {run.pid for run in reader.runs()} == {os.getpid()}
    lost.close()


def test_more_runs_than_are_kept(path, clock, small_schemas):
    """The last 127 runs are there, in order, the newest found first."""
    Store(path, small_schemas, clock=clock).close()
    for number in range(2, 301):
        put_run(path / "runs", read_runs(path / "runs")[-1]._replace(number=number))
        assert (path / "runs").stat().st_size == (4096 if number <= 7 else 65536)
        assert newest_run(path / "runs").number == number
    with StoreReader(path) as reader:
        assert [run.number for run in reader.runs()] == list(range(174, 301))
    with Store(path, clock=clock) as store:
        assert store.run.number == 301


def test_the_longest_words_of_a_run_fit_its_record(path, clock, small_schemas):
    """A record keeps its size whatever is put into it, and reads back."""
    Store(path, small_schemas, clock=clock).close()
    (run,) = read_runs(path / "runs")
    longest = run._replace(
        number=(1 << 48) - 1,
        pid=1 << 31,
        process_start=1 << 62,
        opened_ns=1 << 61,
        ended_ns=1 << 61,
        boot_id="b" * 36,
        ended="é" * 300,
        writer="w" * 300,
        machine="m" * 16,
        place=f"{1 << 63:x}.{1 << 63:x}",
        faulthandler="elsewhere",
    )
    write_run(path / "runs", longest)
    assert (path / "runs").stat().st_size == layout.FEW_RUNS_FILE_BYTES
    assert newest_run(path / "runs") == longest._replace(ended="é" * 80, writer="w" * 100)


def test_a_record_of_fifteen_runs_grows_with_the_next_one(path, clock, small_schemas):
    """A store of an older rondo is read as it is, and keeps its runs when it gets room for more."""
    Store(path, small_schemas, clock=clock).close()
    (run,) = read_runs(path / "runs")
    whole = (path / "runs").read_bytes()
    (path / "runs").write_bytes(whole[:512].ljust(8192, b"\0"))
    for number in range(1, 41):
        write_run(path / "runs", run._replace(number=number))
    assert (path / "runs").stat().st_size == 8192
    with StoreReader(path) as reader:
        assert [run.number for run in reader.runs()] == list(range(26, 41))
    Store(path, clock=clock).close()
    assert (path / "runs").stat().st_size == layout.RUNS_FILE_BYTES
    with StoreReader(path) as reader:
        assert [run.number for run in reader.runs()] == list(range(26, 42))


def test_a_live_store_can_be_read_by_another_process(path):
    """A reader needs no lock and sees what was recorded, also series declared after it opened."""
    with Store(path) as store, StoreReader(path) as reader:
        store.counter("c_total").inc(7)
        with pytest.raises(UnknownSeriesError):
            reader.query("c_total")
        reader.refresh()
        assert reader.query("c_total")[0].values.tolist() == [7]
        assert reader.writer_pid() == os.getpid()
    with StoreReader(path) as reader:
        assert reader.writer_pid() is None


def test_paths_that_are_no_store_are_refused_in_one_line(tmp_path):
    """A missing path, a file, an empty directory: each is named with what is wrong."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name, kind, what in (
        ("none", StoreNotFoundError, "no such store"),
        ("file", StoreError, "a file, not a store"),
        ("empty", StoreNotFoundError, "has no meta"),
    ):
        with pytest.raises(kind, match=what) as caught:
            StoreReader(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_store_of_a_newer_format_is_refused(path, clock):
    """The error says which version was found and which is known."""
    Store(path, clock=clock).close()
    with (path / "meta").open("r+b") as file:
        file.seek(8)
        file.write((99).to_bytes(4, "little"))
    with pytest.raises(FormatVersionError, match="format version 99"):
        StoreReader(path)


@pytest.mark.parametrize("keep", [0, 10, 4095, 4096, 100_000])
def test_a_truncated_slab_is_refused_at_open(path, clock, keep):
    """A slab shorter than its header says is an error that names the file, never a crash later."""
    Store(path, clock=clock).close()
    os.truncate(path / "gauges.1.slab", keep)
    for opening in (StoreReader, Store):
        with pytest.raises(CorruptStoreError, match=r"gauges\.1\.slab"):
            opening(path)


def test_creation_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    """On a full disk there is an error and an empty directory."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StoreError, match="No space left on device"):
        Store(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing_behind_for_real(tmp_path):
    """The kernel refuses the space (a limit on file size stands for the full disk): an error, and no file."""
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from rondo_core import Store\n"
        "try:\n Store(sys.argv[1])\nexcept Exception as e: print(type(e).__name__, e)"
    )
    path = tmp_path / "s"
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True).stdout
    assert "StoreError" in said
    assert "File too large; free some space" in said
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def copy_with_holes(tmp_path):
    """A store as `cp --sparse`, tar or a backup leave it: what is nought in its files has no place on the disk."""
    path = tmp_path / "s"
    with Store(path, [Schema("g", "gauge", 400, (("1s", "60s"), ("10s", "10m")))], clock=ManualClock()) as store:
        store.gauge("g").set(1.0)
    for file in path.iterdir():
        data, size = file.read_bytes(), file.stat().st_size
        file.unlink()
        with file.open("wb") as copied:
            for at in range(0, size, 4096):
                if any(data[at : at + 4096]):
                    copied.seek(at)
                    copied.write(data[at : at + 4096])
            copied.truncate(size)
    if all(has_no_holes(file) for file in path.glob("*.slab")):
        pytest.skip("this file system has no files with holes")
    return path


def has_no_holes(file):
    return file.stat().st_blocks * 512 >= file.stat().st_size


def test_a_copy_with_holes_has_its_whole_place_on_the_disk_once_it_is_opened(copy_with_holes):
    """So that a disk that is full later never ends the process with a SIGBUS; who reads it alone leaves it as it is."""
    with StoreReader(copy_with_holes) as reader:
        assert reader.query("g", "all")[0].values.tolist() == [1.0]
    assert not all(has_no_holes(file) for file in copy_with_holes.glob("*.slab"))
    with Store(copy_with_holes, clock=ManualClock()) as store:
        assert store.query("g", "all")[0].values.tolist() == [1.0]
        assert all(has_no_holes(file) for file in copy_with_holes.glob("*.slab"))


def test_a_copy_with_holes_on_a_full_disk_is_not_written(copy_with_holes, monkeypatch):
    """It is said in one line, and the store can be read; a file system that cannot give room beforehand is no full one."""
    number = errno.ENOSPC

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    with pytest.raises(StoreError, match=r"slab: a copy with holes, .*: No space left on device; free some space$"):
        Store(copy_with_holes, clock=ManualClock())
    with StoreReader(copy_with_holes) as reader:
        assert reader.query("g", "all")[0].values.tolist() == [1.0]
    number = errno.EOPNOTSUPP
    Store(copy_with_holes, clock=ManualClock()).close()


def test_a_store_made_before_the_disk_filled_up_opens_and_records(tmp_path):
    """Not even the writer's pid needs a byte that the store did not have."""
    path = tmp_path / "s"
    Store(path, [Schema("g", "gauge", 4, (("1s", "20s"), ("10s", "1m")))]).close()
    largest = max(file.stat().st_size for file in path.iterdir())
    before = {file.name: file.stat().st_size for file in path.iterdir()}
    code = (
        f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))\n"
        "from rondo_core import Store, ManualClock\n"
        "clock = ManualClock()\n"
        "with Store(sys.argv[1], clock=clock) as store:\n"
        " for n in range(100):\n  store.gauge('g').set(n); store.tick(); clock.advance(1)\n"
        "print(store.query('g')[0].values[-1])"
    )
    said = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout.strip()) == (0, "99.0"), said.stderr
    assert {file.name: file.stat().st_size for file in path.iterdir()} == before


def test_an_unknown_series_names_the_nearest(store):
    """A typo in a query is answered with what was perhaps meant."""
    store.counter("vcpu_exits_total").inc()
    with pytest.raises(UnknownSeriesError, match="nearest: vcpu_exits_total"):
        store.query("vcpu_exit_total")


def test_the_open_window_is_written_when_the_store_closes_and_again_when_it_goes_on(path, small_schemas):
    """A short run is in the coarse tiers too; a second run in the same window merges with it."""
    clock = ManualClock(1_700_000_040 * 10**9)
    with Store(path, small_schemas, clock=clock) as store:
        store.gauge("g").set(1.0)
    with StoreReader(path) as reader:
        assert [reader.query("g", tier=tier)[0].values.tolist() for tier in (1, 2)] == [[1.0], [1.0]]
    clock.advance(3)
    with Store(path, small_schemas, clock=clock) as store:
        store.gauge("g").set(3.0)
    with StoreReader(path) as reader:
        for tier in (1, 2):
            (data,) = reader.query("g", tier=tier)
            assert (data.values.tolist(), data.coverage.tolist()) == ([2.0], [2])


def test_default_schemas_take_all_three_kinds(path):
    """A store made without a word about schemas keeps counters, gauges and summaries for seven days."""
    with Store(path) as store:
        store.counter("a_total").inc()
        store.gauge("b").set(1)
        store.summary("c").observe(1)
        assert {series.kind for series in store.registry if not series.name.startswith("rondo_")} == {
            schema.kind for schema in DEFAULT_SCHEMAS
        }


def resident_kib(path):
    """How much of a store's files is in this process's memory."""
    mapped = Path("/proc/self/smaps").read_text().split(str(path))[1:]
    return sum(int(re.search(r"^Rss: +(\d+) kB", each, re.MULTILINE)[1]) for each in mapped)


def test_a_long_life_takes_no_more_memory_than_a_short_one(path):
    """The rows that a ring has behind it are the page cache's to keep, and not the process's."""
    clock = ManualClock()
    schemas = [Schema("g", "gauge", 32, (Tier("10s", "1d"), Tier("1m", "3d")))]
    found = []
    with Store(path, schemas, clock=clock) as store:
        gauge = store.gauge("level")
        for turn in range(360 * 12):
            gauge.set(turn)
            store.tick()
            clock.advance(10)
            if turn % 360 == 1:
                found.append(resident_kib(path))
    whole = sum(file.stat().st_size for file in path.glob("*.slab")) // 1024
    assert whole > 5000
    assert max(found) < whole // 16


def test_a_new_store_takes_memory_for_what_it_writes_only(path):
    """Of a slab's pages that opening and the first fold looked at, those that hold nothing are given back."""
    clock = ManualClock()
    with Store(path, [Schema("g", "gauge", 32, (Tier("1s", "1h"), Tier("10s", "1d")))], clock=clock) as store:
        gauge = store.gauge("level")
        for second in range(5):
            gauge.set(second)
            store.tick()
            clock.advance(1)
        resident = resident_kib(path)
        whole = sum(file.stat().st_size for file in path.glob("*.slab")) // 1024
        assert whole > 2000
        assert 0 < resident < whole // 4
        assert store.query("level")[0].values.tolist() == [0, 1, 2, 3, 4]


def test_a_store_is_made_where_no_more_threads_may_be_had(path, monkeypatch):
    """As in a process at its limit: its files are synced one after the other."""

    def none_left(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", none_left)
    with Store(path) as store:
        store.gauge("depth").set(1)
    with StoreReader(path) as reader:
        assert reader.query("depth")[0].values.tolist() == [1]
