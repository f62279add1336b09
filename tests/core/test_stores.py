"""Many processes, each with a store of its own below one directory, read together."""

import os
import resource
import shutil
import subprocess
import sys

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader, Tier
from rondo_core.errors import LabelError, OpenFilesError, StoreError, StoreNotFoundError, UnknownSeriesError
from rondo_core.read.stores import open_reader, scan_directory


def test_processes_are_read_together_the_dead_included(tmp_path):
    """A forked child, a child that was killed and the parent: three stores, one query, a label tells them apart."""
    parent = Store.for_process(tmp_path)
    parent.counter("jobs_total").inc(1)
    child = os.fork()
    if child == 0:
        try:
            mine = Store.for_process(tmp_path)
            mine.counter("jobs_total").inc(2)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    code = (
        "import os, sys; from rondo_core import Store\n"
        "Store.for_process(sys.argv[1]).counter('jobs_total').inc(3)\nos.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    with StoresReader(tmp_path) as reader:
        found = reader.query("jobs_total")
        assert sorted(data.values[-1] for data in found) == [1, 2, 3]
        names = [dict(data.series.labels)["rondo_store"] for data in found]
        assert len(set(names)) == 3
        assert {int(name.split("-")[0]) for name in names} >= {os.getpid(), child}
        (one,) = reader.query(f'jobs_total{{rondo_store="{names[0]}"}}')
        assert one.series == found[0].series
        assert reader.writer_pid() == os.getpid()
    parent.close()


def test_a_store_may_say_how_it_is_told_apart(tmp_path, small_schemas):
    """By labels of its own, kept in it; `rondo_store` in place of its name; a series' own are not lost."""
    with Store.for_process(tmp_path, small_schemas, labels={"worker": 3}, rondo_store="web-3") as store:
        store.counter("jobs_total", worker="own").inc()
    with Store(tmp_path / "plain", small_schemas) as plain:
        plain.counter("jobs_total").inc()
    with StoresReader(tmp_path) as reader:
        found = {str(data.series) for data in reader.query("jobs_total")}
        assert found == {
            'jobs_total{exported_worker="own",rondo_store="web-3",worker="3"}',
            'jobs_total{rondo_store="plain"}',
        }
        assert len(reader.query("jobs_total{worker=3}")) == 1
    with pytest.raises(LabelError):
        Store(tmp_path / "wrong", small_schemas, labels={"not a name": "x"})
    assert not (tmp_path / "wrong").exists()


def test_stores_that_cannot_be_opened_are_left_out_and_named(tmp_path, small_schemas):
    """One damaged store never hides the others."""
    for name in ("a", "deep/b", "c"):
        with Store(tmp_path / name, small_schemas) as store:
            store.gauge("g").set(1.0)
    os.truncate(tmp_path / "c" / "gauges.0.slab", 100)
    with StoresReader(tmp_path) as reader:
        assert set(reader.readers) == {"a", "deep/b"}
        assert len(reader.query("g", "5s")) == 2
        assert "gauges.0.slab" in reader.errors[0]
        with pytest.raises(UnknownSeriesError, match="nearest: g"):
            reader.query("gg")


def test_a_directory_without_a_store_is_refused(tmp_path):
    """No store anywhere below: an error that names the directory."""
    with pytest.raises(StoreNotFoundError, match="no store here or below"):
        StoresReader(tmp_path)
    with pytest.raises(StoreNotFoundError):
        open_reader(tmp_path)


def test_open_reader_takes_a_store_or_a_directory_of_them(tmp_path, small_schemas):
    """One function for both, as the command line needs it."""
    Store(tmp_path / "s", small_schemas).close()
    with open_reader(tmp_path / "s") as one, open_reader(tmp_path) as many:
        assert isinstance(one, StoreReader)
        assert isinstance(many, StoresReader)


TINY = [Schema("g", "gauge", 2, (Tier("1s", "10s"), Tier("5s", "20s")))]


def fill(path, value=1.0, **labels):
    """Make a small store with one sample of a gauge `g`."""
    with Store(path, TINY, clock=ManualClock(10**18)) as store:
        store.gauge("g", labels).set(value)
    return path


def many(directory, count):
    """Lay out many small stores."""
    fill(directory / "0")
    for number in range(1, count):
        shutil.copytree(directory / "0", directory / str(number))


def with_few_files(code, directory, limit):
    """Run code in a process that may open few files."""

    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    command = [sys.executable, "-c", code, str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=few)
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_directory_of_more_stores_than_open_files_is_read_whole(tmp_path):
    """Series, points and times of all of them, again and again; what was read stays when the store is let go."""
    many(tmp_path, 60)
    code = (
        "import sys; from rondo_core import StoresReader\n"
        "with StoresReader(sys.argv[1]) as reader:\n"
        "    found = [len(reader.query('g', span)) for span in ('all', '15m', 'all')]\n"
        "    values = {float(each.values[-1]) for each in reader.query('g')}\n"
        "    print(found, values, len(reader.series('g')), reader.errors, reader.end_ns())"
    )
    assert with_few_files(code, tmp_path, 40) == f"[60, 60, 60] {{1.0}} 60 [] {10**18 + 10**9}\n"


def test_too_few_files_even_for_one_store_are_an_error_that_names_the_limit(tmp_path):
    """It never answers in part as if that were all, whatever it was that could not be opened."""
    many(tmp_path, 3)
    code = (
        "import sys, os; from rondo_core import StoresReader; from rondo_core.errors import OpenFilesError\n"
        "StoresReader(sys.argv[1]).query('g')\n"  # whatever is imported is by now
        "held = []\n"
        "try:\n"
        "    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "said = set()\n"
        "while held:\n"
        "    try: found = len(StoresReader(sys.argv[1]).query('g'))\n"
        "    except Exception as error: said.add((type(error).__name__, 'ulimit -n' in str(error) or error.errno == 24))\n"
        "    else: break\n"
        "    os.close(held.pop())\n"
        "print(found, said)"
    )
    assert with_few_files(code, tmp_path, 40) == "3 {('OpenFilesError', True)}\n"


def test_stores_that_are_looked_up_stay_open(tmp_path, monkeypatch):
    """However little room there is, a reader that was asked for by its name can be used until all are closed."""
    many(tmp_path, 5)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    with StoresReader(tmp_path) as reader:
        held = dict(reader.readers)
        assert len(reader.query("g")) == 5
        assert [each.query("g")[0].values.tolist() for each in held.values()] == [[1.0]] * 5
        assert isinstance(reader.readers["3"], StoreReader)
        with pytest.raises(KeyError):
            reader.readers["5"]


def test_what_is_odd_below_a_directory_is_said_and_ends_nothing(tmp_path):
    """A link, a loop, a FIFO, a file, a name, damage, and what lies too deep: each is a line, the good stores are read."""
    fill(tmp_path / "good.rondo")
    fill(tmp_path / "damaged.rondo")
    (tmp_path / "damaged.rondo" / "meta").write_bytes(b"nonsense")
    (tmp_path / "file.rondo").touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / "linked.rondo").symlink_to(tmp_path / "good.rondo")
    (tmp_path / "latest").symlink_to("good.rondo")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "fifo.rondo").mkdir()
    os.mkfifo(tmp_path / "fifo.rondo" / "meta")
    os.mkfifo(tmp_path / "pipe.rondo")
    fill(tmp_path / "meta" / "meta")  # directories may have any name
    (tmp_path / os.fsdecode(b"na\xefve")).mkdir()
    fill(tmp_path / "1" / "2" / "3" / "4" / "5")
    (tmp_path / "esc\x1b[31m\nape.rondo").touch()
    with StoresReader(tmp_path) as reader:
        assert set(reader.readers) == {"good.rondo", "meta/meta"}
        assert len(reader.query("g")) == 2
        said = [line.replace(f"{tmp_path}/", "") for line in reader.errors]
    assert all(line.isprintable() for line in said)
    for entry, why in (
        ("damaged.rondo/meta", "not a journal"),
        ("file.rondo", "not a directory"),
        ("linked.rondo", "links are not followed"),
        ("latest", "links are not followed"),
        ("loop", "leads nowhere"),
        ("fifo.rondo/meta", "not a regular file"),
        ("pipe.rondo", "not a directory"),
        ("na\\udcefve", "not UTF-8"),
        ("1/2/3/4", "4 levels down"),
        ("esc\\x1b[31m\\nape.rondo", "not a directory"),
    ):
        assert [line for line in said if line.startswith(entry + ":") and why in line], (entry, said)
    assert len(said) == 10


def test_a_store_that_goes_or_is_damaged_while_others_are_read_is_left_out(tmp_path, monkeypatch):
    """It is said as soon as it is seen, once, and no more when it is back."""
    many(tmp_path, 3)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (4, 4))
    with StoresReader(tmp_path) as reader:
        (tmp_path / "1").rename(tmp_path / "elsewhere")
        os.truncate(tmp_path / "2" / "g.0.slab", 100)
        for _ in range(2):
            assert [dict(each.series.labels)["rondo_store"] for each in reader.query("g")] == ["0"]
            assert len(reader.errors) == 2
        (tmp_path / "elsewhere").rename(tmp_path / "1")
        assert len(reader.query("g")) == 2
        assert len(reader.errors) == 1


def test_a_store_cannot_pass_itself_off_as_another(tmp_path):
    """What a store says of itself as rondo_store is kept under another name."""
    fill(tmp_path / "a", rondo_store="b")
    fill(tmp_path / "b")
    with StoresReader(tmp_path) as reader:
        assert [each.labels for each in reader.series("g")] == [
            (("exported_rondo_store", "b"), ("rondo_store", "a")),
            (("rondo_store", "b"),),
        ]


def test_a_directory_can_be_left_out_wherever_it_lies(tmp_path):
    """With everything below it, by what it is and not by what it is called."""
    fill(tmp_path / "kept")
    fill(tmp_path / "x" / "done" / "one")
    (tmp_path / "way").symlink_to("x/done")
    assert scan_directory(tmp_path, (tmp_path / "way").stat()).stores == [tmp_path / "kept"]


def test_a_missing_or_forbidden_place_is_said_in_words(tmp_path):
    """A file, nothing at all, a store that is half there."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="a file, not a store"):
        open_reader(tmp_path / "file")
    with pytest.raises(StoreNotFoundError, match="no such store"):
        open_reader(tmp_path / "nothing")
    (tmp_path / "x.rondo").symlink_to(tmp_path)
    with pytest.raises(StoreNotFoundError, match=r"no store here or below; .*links are not followed"):
        StoresReader(tmp_path)
    assert issubclass(OpenFilesError, StoreError)
