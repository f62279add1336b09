"""`open_store`: a program's store by a name, as a value or in a block, and never in the program's way."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rondo_core import ManualClock, Schema, StoreReader, StoresReader, open_store
from rondo_core.errors import StoreError, StoreLockedError, UsageError
from rondo_core.plugins.config_file import Config
from rondo_core.storage.runs import read_runs
from rondo_core.store import Store


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A working directory, and a directory of stores."""
    monkeypatch.setenv("RONDO_DIR", str(tmp_path / "stores"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "stores"


def run(code, *arguments, **environment):
    """Run a program to its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        # From Python 3.12 on a fork of a process with threads is warned of, and a store that is ticked has one.
        env=os.environ | {"PYTHONWARNINGS": "ignore:This process:DeprecationWarning"} | environment,
        timeout=60,
    )


def test_a_program_that_closes_nothing_has_its_store_closed_at_its_end(place):
    """What it and what its own last calls record is there, with the process's own series."""
    code = """
import atexit
from rondo_core import open_store
store = open_store("web")
done = store.counter("jobs_total")
done.inc()
atexit.register(done.inc)
"""
    assert run(code).stderr == ""
    (path,) = (place / "web").iterdir()
    assert [(each.ended, each.writer) for each in read_runs(path / "runs")] == [("returned", "web")]
    with StoreReader(path) as reader:
        assert reader.query("jobs_total")[0].values[-1] == 2.0
        assert reader.query("process_resident_memory_bytes")[0].values[-1] > 1 << 20


def test_handles_alone_keep_the_store_of_a_program(place):
    """`open_store("web").counter(...)` is enough; the store is ticked, and closed at the end."""
    assert run("from rondo_core import open_store; c = open_store('web').counter('a_total'); c.inc()").stderr == ""
    (path,) = (place / "web").iterdir()
    assert [each.ended for each in read_runs(path / "runs")] == ["returned"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RONDO_DIR": "{0}/given"}, "given"),
        ({"RONDO_DIR": "", "XDG_STATE_HOME": "{0}/state"}, "state/rondo"),
        ({"RONDO_DIR": "", "XDG_STATE_HOME": "", "HOME": "{0}/home"}, "home/.local/state/rondo"),
    ],
)
def test_stores_lie_where_the_environment_says(environment, expected, tmp_path):
    """RONDO_DIR first, then the user's directory of state; without a name the script's own is taken."""
    script = tmp_path / "nightly job.py"
    script.write_text("from rondo_core import open_store\nopen_store().counter('a_total').inc()\n")
    given = {key: value.format(tmp_path) for key, value in environment.items()}
    subprocess.run([sys.executable, script], env=os.environ | given, check=True, timeout=60)
    with StoresReader(tmp_path / expected / "nightly-job") as reader:
        assert reader.query("a_total")[0].values[-1] == 1.0


def test_a_store_that_is_open_is_given_again(place):
    """So that modules, and a notebook's cell that is run twice, share it; after its end it is opened anew."""
    first = open_store("web", clock=ManualClock())
    assert open_store("web") is first
    assert open_store("other") is not first
    first.close()
    with open_store("web") as again:
        assert again is not first
        assert again.path.parent == place / "web"
    open_store("other").close()


def test_a_block_in_another_leaves_the_store_open(place):
    """A function that opens the program's store by itself closes it for no one else; the outermost block does."""

    def job():
        with open_store("web") as store:
            store.counter("jobs_total").inc()

    with open_store("web") as store:
        done = store.counter("jobs_total")
        job()
        with pytest.raises(KeyError), store:
            raise KeyError("a failure that the program knows of")
        done.inc()
        assert done.value == 2
    assert store.closed
    assert [each.ended for each in read_runs(store.path / "runs")] == ["closed"]


@pytest.mark.parametrize("copies", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_store_is_not_copied_or_pickled(place, copies):
    """A copy would write, and close, what is the store's."""
    with open_store("web") as store, pytest.raises(TypeError, match="a store is of one process"):
        copies(store)


def test_a_program_that_may_have_no_more_threads_goes_on(place, monkeypatch, caplog):
    """It records, and says of what it does without: ticks of its own, exporters, the bound of its directory."""

    def none_left(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", none_left)
    config = Config(exporters={"csv": {"path": "samples.csv"}})
    with open_store(config, keep_last=3) as store:
        store.counter("jobs_total").inc()
    said = "\n".join(caplog.messages)
    assert said.count("can't start new thread") == 3
    assert "not ticked" in said
    assert "without exporters" in said
    assert "without a bound" in said
    with StoreReader(store.path) as reader:
        assert reader.query("jobs_total")[0].values[-1] == 1
    with pytest.raises(RuntimeError):
        open_store("strict", strict=True)


def test_a_store_that_is_dropped_is_let_go(place):
    """With its thread: nothing here keeps it."""
    before = set(threading.enumerate())
    open_store("web").gauge("g").set(1.0)
    gc.collect()
    assert before.issuperset(threading.enumerate())


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "-x", ".hidden", "ü", "a" * 101, "new\nline"])
def test_what_is_no_name_is_said(name):
    """As a mistake of the programmer's."""
    with pytest.raises(UsageError, match="not a name of a store"):
        open_store(name)


def test_a_file_in_the_working_directory_is_followed(place):
    """Beside a name: its recorders and how the store is kept; where it says a path, that is where the store lies."""
    Path("rondo.toml").write_text(
        "[store]\ntick_interval = '50ms'\nstrict = true\n[recorders.process]\nenabled = false\n"
    )
    with open_store("web", tick_interval=5, strict=False) as store:
        store.gauge("g").set(1.0)
        assert store.path.parent == place / "web"
        assert store._tick_s == 0.05
        assert store._strict
    with StoreReader(store.path) as reader:
        assert not [series for series in reader.registry if series.name.startswith("process_")]
    Path("rondo.toml").write_text("[store]\npath = 'mine.rondo'\n")
    with open_store("web") as store:
        store.gauge("g").set(1.0)
    assert (Path.cwd() / "mine.rondo" / "meta").is_file()
    with open_store("./rondo.toml") as store:
        assert store.run.number == 2


def test_a_file_that_is_named_is_followed(tmp_path, place):
    """As text, as a path, or as what was read of it; one that is not there is an error."""
    (tmp_path / "own.toml").write_text("[store]\npath = 'own.rondo'\n")
    for given in (
        str(tmp_path / "own.toml"),
        tmp_path / "own.toml",
        Config(store={"path": str(tmp_path / "own.rondo")}),
    ):
        with open_store(given) as store:
            assert store.path == tmp_path / "own.rondo"
    for given in ("missing.toml", "./missing", Path("missing")):
        with pytest.raises(StoreError, match="missing"):
            open_store(given)


def test_an_interval_and_schemas_may_be_given(place):
    """As for `Store`; recorders that are on by themselves keep out of schemas that have no room for them."""
    with open_store("web", schemas=[Schema("g", "gauge", 4)], tick_interval="250ms", sync_interval="2s") as store:
        assert store._tick_s == 0.25
        assert store._sync_interval_ns == 2 * 10**9
        assert [schema.name for schema in store.meta.schemas] == ["rondo", "g"]
        assert not [series for series in store.registry if series.schema == "g"]
    with pytest.raises(UsageError, match="tick"):
        open_store("web", tick_interval="never")


def test_overlapping_runs_at_one_path_do_as_the_file_says(tmp_path, place):
    """`if_locked` of its [store]; by default it is an error, as of a second opening of any store."""
    held = Store(tmp_path / "s")
    path = f"[store]\npath = '{tmp_path}/s'\n"
    Path("rondo.toml").write_text(path)
    with pytest.raises(StoreLockedError):
        open_store()
    with open_store(if_locked="off") as store:
        assert store.unkept == "off"
    Path("rondo.toml").write_text(f"{path}if_locked = 'beside'\n")
    with open_store() as store:
        store.counter("c_total").inc()
        assert store.path.parent == tmp_path
        assert store.path.name.startswith("s-")
    held.close()


@pytest.mark.parametrize("fault", ["a file in the way", "no room"])
def test_a_program_that_can_have_no_store_goes_on(fault, tmp_path):
    """One line says why; all that it does with its store does nothing. A strict one raises."""
    (tmp_path / "file").write_text("")
    code = """
import resource, sys
if sys.argv[1] == "no room":
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
from rondo_core import open_store
with open_store("web", strict=sys.argv[2:] == ["strict"] or None) as store:
    counter, summary = store.counter("c_total"), store.summary("s")
    for n in range(10):
        counter.inc()
        summary.observe(n)
    store.gauge("g").set(1.0)
    store.tick()
print("ended")
"""
    directory = str(tmp_path / "file" / "below" if fault != "no room" else tmp_path / "small")
    done = run(code, fault, RONDO_DIR=directory)
    assert done.stdout == "ended\n"
    assert len(done.stderr.splitlines()) == 1
    assert "keeps nothing of what it records" in done.stderr
    assert directory in done.stderr
    assert done.stderr.endswith("; RONDO_DIR names another place\n")
    strict = run(code, fault, "strict", RONDO_DIR=directory)
    assert strict.returncode == 1
    assert "StoreError" in strict.stderr


def test_children_of_a_program_have_stores_beside_its_own(place):
    """Those of a name below it; those of a file's path beside that."""
    Path("rondo.toml").write_text("")
    code = """
import os, sys
from rondo_core import open_store
store = open_store(*sys.argv[1:])
counter = store.counter("c_total")
counter.inc()
if not os.fork():
    counter.inc(10)
    sys.exit(0)
os.wait()
counter.inc()
"""
    assert run(code, "web").stderr == ""
    Path("own.toml").write_text("[store]\npath = 'kept/own.rondo'\n")
    assert run(code, "own.toml").stderr == ""
    for directory in (place / "web", Path("kept")):
        with StoresReader(directory) as reader:
            assert sorted(float(data.values[-1]) for data in reader.query("c_total")) == [2.0, 10.0]
        endings = {each.ended for path in directory.iterdir() for each in read_runs(path / "runs")}
        assert endings <= {"returned", "exit status 0"}


def test_a_childs_own_callbacks_at_its_end_still_record(place):
    """Also where multiprocessing, which has last callbacks of its own, was imported after they were registered."""
    code = """
import atexit, os, sys
from rondo_core import open_store
counter = open_store("web").counter("c_total")
atexit.register(counter.inc, 5)
import multiprocessing.util
if not os.fork():
    counter.inc()
    sys.exit(0)
os.wait()
"""
    assert run(code).stderr == ""
    with StoresReader(place / "web") as reader:
        assert sorted(float(data.values[-1]) for data in reader.query("c_total")) == [5.0, 6.0]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_a_pool_records_adds_up_however_its_processes_come_to_be(method, place, tmp_path):
    """A store opened at import is each process's own, and is closed with it."""
    (tmp_path / "work" / "jobs.py").write_text("""
from rondo_core import open_store
store = open_store("jobs")
done = store.counter("jobs_total")

def work(number):
    done.inc(number)
""")
    code = f"""
import multiprocessing, jobs
if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    if "{method}" == "forkserver":
        context.set_forkserver_preload(["jobs"])
    with context.Pool(2, maxtasksperchild=4) as pool:
        pool.map(jobs.work, range(20), chunksize=1)
        pool.close()
        pool.join()
"""
    (tmp_path / "work" / "main.py").write_text(code)
    done = subprocess.run([sys.executable, "main.py"], capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    with StoresReader(place / "jobs") as reader:
        assert sum(float(data.values[-1]) for data in reader.query("jobs_total") if len(data)) == sum(range(20))
    recorded = [path for path in (place / "jobs").iterdir() if total_of(path)]
    assert len(recorded) >= 4
    assert {each.ended for path in recorded for each in read_runs(path / "runs")} <= {"returned", "exit status 0"}


def total_of(path):
    with StoreReader(path) as reader:
        (found,) = reader.query("jobs_total")
        return float(found.values[-1]) if len(found) else 0.0
