"""A program that closes descriptors which it has not opened, and has their numbers again for files of its own."""

import json
import subprocess
import sys
import textwrap

import pytest

from rondo_core import StoreReader
from rondo_core.maintain import check_store

BEGIN = """
    import json, os, random, sys
    from pathlib import Path
    from rondo_core import ManualClock, Store, open_store

    place, rng = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    clock = ManualClock(1_700_000_000 * 10**9)
    store = Store(place / "s", clock=clock, faulthandler=True)
    hits, took = store.counter("hits_total"), store.summary("took_seconds")

    def use(seconds):
        for _ in range(seconds):
            hits.inc()
            took.observe(0.5)
            clock.advance(1)
            store.tick()

    def opened():
        return [number for number in range(3, 200) if os.path.exists(f"/proc/self/fd/{number}")]

    def lose(those):
        for number in those:
            os.close(number)
        return [open(place / f"own{len(list(place.iterdir()))}", "w+b", buffering=0) for _ in range(60)]

    def are_whole(files):
        for number, file in enumerate(files):
            file.write(b"%d" % number)
            file.seek(0)
            assert file.read() == b"%d" % number, number
        return True
"""


def run(code, place, *arguments):
    """Run a program, and give what it printed as JSON, and what it logged."""
    command = [sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(code), str(place), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
    return json.loads(done.stdout), done.stderr


def read(path):
    """Give a store's newest total, and how its runs ended."""
    assert check_store(path) == []
    with StoreReader(path) as reader:
        return reader.query("hits_total")[0].values[-1], [run.ended for run in reader.runs()]


@pytest.mark.parametrize("seed", range(12))
def test_a_store_goes_on_and_harms_no_file_whichever_of_its_descriptors_are_closed(tmp_path, seed):
    """All or some at random: what is recorded, declared and marked stays, the end is on record, and no file suffers."""
    code = """
    use(3)
    mine = opened()
    files = lose(mine if rng.random() < 0.3 else rng.sample(mine, rng.randrange(1, len(mine))))
    use(2)
    store.counter("later_total").inc()
    store.mark("after")
    use(2)
    assert store.query("hits_total")[0].values[-1] == 7.0
    pid = os.fork()
    if not pid:
        hits.inc()
        os._exit(not are_whole(files))
    assert os.waitpid(pid, 0)[1] == 0
    files = [open(file.name, "w+b", buffering=0) for file in files]
    store.close()
    del store, hits, took
    print(json.dumps(are_whole(files)))
    """
    assert run(code, tmp_path, seed)[0] is True
    total, ended = read(tmp_path / "s")
    assert (total, ended) == (7.0, ["closed"])
    with StoreReader(tmp_path / "s") as reader:
        assert [event.text for event in reader.events()] == ["after"]
        assert reader.query("later_total")[0].values[-1] == 1.0


@pytest.mark.parametrize(("directory_too", "ticks"), [(True, 1), (False, 10)], ids=["with the directory", "without"])
def test_ticks_alone_open_what_was_closed_again(tmp_path, directory_too, ticks):
    """The next one where all of it was, so that no other process gets the lock; else one within ten seconds."""
    code = f"""
    def held():  # but for maps, whose files need no descriptor
        paths = [Path(os.readlink(f"/proc/self/fd/{{number}}")) for number in opened()]
        return sorted({{path.name for path in paths if path.parent == place / "s" and path.suffix != ".slab"}})

    use(3)
    before = held()
    lost = [number for number in opened() if {directory_too} or not os.path.isdir(f"/proc/self/fd/{{number}}")]
    files = lose(lost)
    use({ticks})
    print(json.dumps([are_whole(files), before, held()]))
    """
    (whole, before, after), logged = run(code, tmp_path, 0)
    assert whole
    assert len(before) > 3
    assert after == before
    assert "opened again" in logged


def test_what_cannot_be_opened_again_is_kept_until_then_and_harms_nothing(tmp_path):
    """A store that was moved before is found no more: what was recorded stays, and what comes is counted as lost."""
    code = """
    use(3)
    (place / "s").rename(place / "moved")
    files = lose(opened())
    store.tick()
    use(2)
    store.counter("later_total").inc()
    store.mark("after")
    store.close()
    print(json.dumps([are_whole(files), store.unkept]))
    """
    said, logged = run(code, tmp_path, 0)
    assert said == [True, "descriptors"]
    assert "not kept" in logged
    assert "renamed" in logged
    assert read(tmp_path / "moved") == (3.0, [""])


def test_a_store_that_another_process_took_meanwhile_is_the_others(tmp_path):
    """The lock went with the descriptors: whoever took it since is not written into."""
    code = """
    import subprocess
    use(3)
    files = lose(opened())
    other = (
        "import sys; from rondo_core import Store; s = Store(sys.argv[1]); hits = s.counter('hits_total');"
        "print(hits.value, flush=True); input(); s.close()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", other, place / "s"], **pipes) as process:
        assert float(process.stdout.readline()) == 3.0
        store.tick()
        use(5)
        store.close()
        process.communicate("go on")
    print(json.dumps([are_whole(files), store.unkept, process.returncode]))
    """
    said, logged = run(code, tmp_path, 0)
    assert said == [True, "descriptors", 0]
    assert "another process" in logged or "writes this store" in logged
    total, ended = read(tmp_path / "s")
    assert total == 3.0
    assert ended[-1] == "closed"


def test_a_daemon_that_closes_all_that_it_inherits_has_a_store_of_its_own(tmp_path):
    """Fork, setsid, fork, and every descriptor closed: as the libraries for it do."""
    code = """
    store.close()
    own = Store.for_process(place / "stores" / "daemon", clock=clock)
    hits = own.counter("hits_total")
    hits.inc()
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        print(json.dumps(os.read(reading, 4096).decode()), flush=True)
        os.wait()
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    hits.inc(5)
    files = lose(number for number in opened() if number != writing)
    hits.inc()
    own.tick()
    own.counter("later_total").inc()
    own.close()
    assert are_whole(files)
    os.write(writing, str(own.path).encode())
    """
    path, _ = run(code, tmp_path, 0)
    assert read(path) == (6.0, ["closed"])


@pytest.mark.parametrize("plugin", ["csv", "jsonl"])
def test_an_exporter_writes_on_into_its_own_file_alone_and_has_its_lock_again(tmp_path, plugin):
    """Lines go where those before them lie, and no other process exports the store through it meanwhile."""
    code = f"""
    from rondo_core.errors import StoreError
    from rondo_core.export.runner import open_runner

    options = {{"path": str(place / "lines")}}
    runner = open_runner(store.view, "{plugin}", options, clock=clock)
    use(8)
    assert runner.send_now(0, 60).samples
    files = lose(opened())
    use(8)
    assert runner.send_now(0, 60).samples
    try:
        open_runner(store.view, "{plugin}", options, clock=clock)
    except StoreError as error:
        said = str(error)
    store.close()
    runner.finish(1, 60)
    print(json.dumps([are_whole(files), said]))
    """
    (whole, said), _ = run(code, tmp_path, 0)
    assert whole
    assert "another process exports it" in said
    lines = [line for line in (tmp_path / "lines").read_text().splitlines() if "hits_total" in line]
    with StoreReader(tmp_path / "s") as reader:
        assert len(lines) == len(set(lines)) == len(reader.query("hits_total")[0].values)
