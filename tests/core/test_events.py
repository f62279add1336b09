"""Marks and notes: a bounded ring of texts with their times, whole or not there, whatever befell its writer."""

import json
import os
import signal
import subprocess
import sys
import threading

import pytest

from rondo_core import ManualClock, Schema, Store, StoreReader, StoresReader
from rondo_core.errors import CorruptStoreError, StoreClosedError, UsageError
from rondo_core.maintain.check import check_store
from rondo_core.maintain.copies import copy_store
from rondo_core.maintain.migrate import migrate_store
from rondo_core.maintain.repair import repair_store
from rondo_core.model import layout
from rondo_core.storage import events
from rondo_core.storage.directory import events_bytes
from rondo_core.storage.events import read_ring

SECOND = 10**9
SCHEMAS = (Schema("c", "counter", 4, (("1s", "1m"),)),)


@pytest.fixture
def store(path, clock):
    with Store(path, SCHEMAS, clock=clock) as made:
        yield made


@pytest.fixture
def roomy(path, clock):
    """A store whose file of events has 64 KiB."""
    with Store(path, clock=clock) as made:
        yield made


def test_a_larger_store_keeps_more_of_them(path, clock):
    """A 256th of the store's size, 4 to 64 KiB: as much as `rondo plan` says, from the start on."""
    with Store(path, clock=clock) as store:
        for each in range(900):
            store.note(f"{each} ".ljust(90, "x"))
    assert (path / "events").stat().st_size == 65536
    assert len(told(path)) > 500


def told(path, span="all", **options):
    with StoreReader(path) as reader:
        return [str(event) for event in reader.events(span, **options)]


def test_marks_and_notes_are_read_while_they_are_written(store, path, clock):
    """A reader of another process has them at once: what, when, of which run, with all that was said."""
    store.mark("deploy", version="1.4.2", by=("a", 1))
    clock.advance(2)
    store.note("stage transform began")
    with StoreReader(path) as reader:
        deploy, stage = reader.events()
    assert (deploy.kind, deploy.text, deploy.facts) == ("mark", "deploy", {"version": "1.4.2", "by": "('a', 1)"})
    assert (stage.kind, stage.text, stage.facts) == ("note", "stage transform began", {})
    assert (stage.number, stage.run, stage.time_ns - deploy.time_ns) == (2, store.run.number, 2 * SECOND)
    assert str(deploy) == "deploy version=1.4.2 by=('a', 1)"
    assert json.loads(json.dumps(deploy.to_dict()))["facts"] == deploy.facts


def test_a_range_takes_its_own(store, path, clock):
    """Of "last 3 s" and of two instants only what lies in them; one that is given a time of its own lies there."""
    start = clock()
    for each in range(10):
        store.note(str(each))
        store.tick()
        clock.advance(1)
    store.note("early", now_ns=start - 60 * SECOND)
    assert told(path, "3s", now_ns=clock() - 1) == ["7", "8", "9"]
    assert told(path, f"{start // SECOND + 4}..{start // SECOND + 6}") == ["4", "5"]
    assert told(path)[:2] == ["early", "0"]
    assert told(path, "2s")[-1] == "9"


def test_a_flood_overwrites_the_oldest_and_is_counted(store, path):
    """The file keeps its size; what is left are the newest, in one piece, and their numbers say how many went."""
    size, sizes = (path / "events").stat().st_size, (1, 7, 8, 9, 100, 1499)
    for each in range(2000):
        store.note(f"{each} ".ljust(sizes[each % len(sizes)], "x"))
    assert (path / "events").stat().st_size == size
    ring = read_ring(path / "events")
    found = ring.events()
    assert ring.damaged_bytes == 0
    assert [event.number for event in found] == list(range(found[0].number, 2001))
    assert [int(event.text.split()[0].rstrip("x")) for event in found] == [event.number - 1 for event in found]
    held = sum(16 + len(payload) + (-len(payload) % 8) for _, payload in ring.records)
    assert size - 512 - 1600 < held <= size - 512


def test_a_store_goes_on_where_the_last_run_stopped(path, clock):
    """Numbers go on over runs, at every place in the ring."""
    for run in range(1, 40):
        with Store(path, SCHEMAS, clock=clock) as store:
            for each in range(run * 3):
                store.note(f"{run}.{each} {'y' * 97}")
    found = read_ring(path / "events")
    assert found.damaged_bytes == 0
    numbers = [event.number for event in found.events()]
    assert numbers == list(range(numbers[0], 3 * 39 * 40 // 2 + 1))
    assert {event.run for event in found.events()} == {39}


def test_what_is_too_long_is_cut_and_said(roomy, path, caplog):
    """A text, a value, and facts beyond eight end in dots; the log says so once; no text takes more than a record."""
    roomy.note("é" * 5000)
    roomy.mark("m", **{f"key{each}{'k' * 200}": "v" * 5000 for each in range(20)})
    note, mark = read_ring(path / "events").events()
    assert note.text == "é" * 748 + "..."
    assert len(mark.facts) == 9
    assert mark.facts["..."] == "12 more"
    assert all(len(value) <= 200 for value in mark.facts.values())
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    roomy.mark("\U0001f600" * 5000, **{chr(0x10000 + each) * 200: "\U0001f600" * 500 for each in range(9)})
    assert len(read_ring(path / "events").events()) == 3


def test_a_text_steers_no_terminal_and_holds_no_record(store, path):
    """What is not printable is escaped, so that bytes of a text are never taken for a record."""
    record = events.packed(0, events.encode_event(events.Event(1, "note", "forged", number=99)))
    store.note("x" + record.decode("latin-1") + "\x1b[2J\n")
    (event,) = read_ring(path / "events").events()
    assert event.text.isprintable()


@pytest.mark.parametrize("text", ["", "  ", None, 3, b"x"])
def test_what_is_no_text_is_refused(store, text):
    """A mark without a name is a mistake that the first run shows."""
    with pytest.raises(UsageError, match="not a text"):
        store.mark(text)


def test_a_closed_store_takes_none(store):
    """As with records: the program is told."""
    store.close()
    with pytest.raises(StoreClosedError):
        store.note("late")


def test_threads_and_signal_handlers_mark_together(roomy, path):
    """Each of them is there, whole, once, also one that came in the middle of another."""
    signal.signal(signal.SIGUSR1, lambda *_: roomy.note("from a handler"))

    def mark(name):
        for each in range(40):
            roomy.note(f"{name} {each}")
            if each % 10 == 0:
                os.kill(os.getpid(), signal.SIGUSR1)

    try:
        threads = [threading.Thread(target=mark, args=(name,)) for name in "abcd"]
        for each in threads:
            each.start()
        for each in range(40):
            roomy.note(f"main {each}")
        for each in threads:
            each.join()
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
    found = told(path)
    for name in ("a", "b", "c", "d", "main"):
        assert [text for text in found if text.startswith(f"{name} ")] == [f"{name} {each}" for each in range(40)]
    assert "from a handler" in found


KILLED = """
import sys
from rondo_core import Schema, Store, faults
store = Store(sys.argv[1], (Schema("c", "counter", 4, (("1s", "1m"),)),))
faults.arm(sys.argv[2])
for each in range(int(sys.argv[3])):
    store.note(f"{each} " + "z" * (each * 37 % 1400))
"""


def test_a_kill_anywhere_leaves_whole_notes_and_the_next_run_goes_on(tmp_path):
    """Killed before, within and after a write, at the end of the ring too: what was noted before is there; none is half."""
    total, last = 200, 0
    for step, number in (
        ("before", 1),
        ("half", 1),
        ("after", 1),
        ("half", 90),
        ("half", 91),
        ("half", 150),
        ("half", 97),
    ):
        path = tmp_path / f"{step}{number}"
        arguments = [str(path), f"events.write.{step}:{number}", str(total)]
        done = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL
        ring = read_ring(path / "events")
        numbers = [event.number for event in ring.events()]
        assert ring.damaged_bytes == 0
        assert numbers == list(range(numbers[0], numbers[-1] + 1)) if numbers else number == 1
        for event in ring.events():
            assert event.text == f"{event.number - 1} " + "z" * ((event.number - 1) * 37 % 1400)
        assert not [finding for finding in check_store(path) if finding.severity == "damage"]
        with Store(path) as store:
            store.note("after it")
        assert read_ring(path / "events").damaged_bytes == 0
        assert told(path)[-1] == "after it"
        last = max(last, numbers[-1] if numbers else 0)
    assert last > 120  # the ring was gone round


def test_any_flipped_or_torn_byte_takes_only_the_notes_it_lies_in(store, path):
    """A reader gives whole texts whatever lies in the file; check names the damage."""
    texts = {f"{each} {'w' * (each % 50)}" for each in range(30)}
    for text in sorted(texts):
        store.note(text)
    sound = (path / "events").read_bytes()
    for offset in range(512, 1500, 11):
        (path / "events").write_bytes(sound[:offset] + bytes([sound[offset] ^ 0x10]) + sound[offset + 1 :])
        found = {event.text for event in read_ring(path / "events").events()}
        assert found <= texts
        assert len(found) >= 29
    (path / "events").write_bytes(sound[:700] + b"\xff" * 40 + sound[740:])
    assert [finding.file for finding in check_store(path) if finding.severity == "damage"] == ["events"]


def test_a_file_that_is_none_of_events_is_named(path, clock, caplog):
    """Readers say what is wrong; a writer records on, and says that marks are not kept."""
    Store(path, SCHEMAS, clock=clock).close()
    (path / "events").write_bytes(b"x" * 4096)
    with StoreReader(path) as reader, pytest.raises(CorruptStoreError, match="not a record of events"):
        reader.events()
    assert [finding.file for finding in check_store(path)] == ["events"]
    with Store(path, clock=clock) as store:
        store.note("lost")
        store.counter("c_total").inc()
    assert "marks and notes are not kept" in caplog.text


def test_a_store_of_an_older_rondo_gets_its_file(path, clock):
    """Without the file there are no events, and nothing is wrong; the next writer makes it."""
    Store(path, SCHEMAS, clock=clock).close()
    (path / "events").unlink()
    assert told(path) == []
    assert check_store(path) == []
    with Store(path, clock=clock) as store:
        store.note("first")
    assert told(path) == ["first"]
    assert (path / "events").stat().st_size == layout.events_file_bytes(1)


def test_copies_repairs_and_migrations_keep_them(path, tmp_path, clock):
    """All that is whole goes along, and the new store goes on after it."""
    with Store(path, SCHEMAS, clock=clock) as store:
        store.counter("c_total").inc()
        for each in range(1000):
            store.note(f"{each} {'v' * 120}")
        copy_store(path, tmp_path / "copy", clock=clock)
    repair_store(path, tmp_path / "repaired", clock())
    whole = told(path)
    migrate_store(path, (Schema("c", "counter", 8, (("1s", "1m"),)),), clock=clock)
    assert len(whole) > 15
    for new in (path, tmp_path / "copy", tmp_path / "repaired"):
        assert told(new) == whole
        with Store(new, clock=clock) as store:
            store.note("on")
        assert told(new)[-1] == "on"
        assert check_store(new, clock()) == []


def test_a_store_that_grows_keeps_them(path, clock):
    """An opening with more room, or after a run that had too little, takes every mark and note along."""
    with Store(path, SCHEMAS, clock=clock) as store:
        for each in range(90):
            store.note(f"{each} {'v' * 20}")
    whole = told(path)
    with Store(path, (Schema("c", "counter", 4000, (("1s", "1m"),)),), clock=clock) as store:
        store.note("on")
    assert told(path) == [*whole, "on"]
    assert (path / "events").stat().st_size == events_bytes(store.meta.schemas) > 4096
    assert check_store(path, clock()) == []


def test_a_directory_of_stores_gives_all_of_them_in_order(tmp_path, clock):
    """Each event names its store, and a damaged file leaves out its store and no other."""
    for second, name in enumerate(("b", "a", "b2")):
        with Store(tmp_path / name, SCHEMAS, clock=ManualClock(clock() + second * SECOND)) as store:
            store.mark("began", name=name)
    with StoresReader(tmp_path) as reader:
        assert [(event.store, event.facts["name"]) for event in reader.events()] == [
            ("b", "b"),
            ("a", "a"),
            ("b2", "b2"),
        ]
        (tmp_path / "a" / "events").write_bytes(b"")
        assert [event.store for event in reader.events()] == ["b", "b2"]


def test_an_exception_that_ends_no_program_is_marked(path, clock):
    """In a thread, or where it cannot be raised: the run goes on, and each kind is marked once."""

    class Broken:
        def __del__(self):
            raise LookupError("in a finalizer")

    before = threading.excepthook, sys.unraisablehook
    threading.excepthook = sys.unraisablehook = lambda _: None
    try:
        with Store(path, SCHEMAS, clock=clock) as store:
            for _ in range(3):
                thread = threading.Thread(target=lambda: {}["x"], name="worker")
                thread.start()
                thread.join()
                Broken()
            assert not store.closed
    finally:
        threading.excepthook, sys.unraisablehook = before
    with StoreReader(path) as reader:
        failures = [event.facts for event in reader.events()]
    assert [facts["what"] for facts in failures] == ["KeyError: 'x'", "LookupError: in a finalizer"]
    assert failures[0]["where"] == "thread worker"
    assert all("test_events.py:" in facts["at"] for facts in failures)


CRASH = """
import ctypes, faulthandler, os, sys
from rondo_core import Store
if sys.argv[2] == "own":
    faulthandler.enable(open(os.devnull, "w"))
store = Store(sys.argv[1], faulthandler=True)
store.counter("c_total").inc()
if sys.argv[2] == "child":
    if not os.fork():
        ctypes.string_at(0)
    os.wait()
elif sys.argv[2] == "closed":
    store.close()
    assert not faulthandler.is_enabled()
elif sys.argv[2] != "none":
    ctypes.string_at(0)
"""


def crash(path, how):
    subprocess.run([sys.executable, "-c", CRASH, str(path), how], timeout=60, check=False, capture_output=True)
    return StoreReader(path)


def test_a_crash_is_written_down_and_kept(path):
    """What faulthandler wrote is in the store, marked by the next run, and kept beyond it."""
    with crash(path, "fault") as reader:
        assert (reader.runs()[-1].ended, reader.runs()[-1].faulthandler) == ("", "here")
        assert "Segmentation fault" in (path / "fault").read_bytes().decode()
    assert check_store(path) == []
    with crash(path, "none") as reader:
        (mark,) = reader.events()
        assert mark.run == 1
        assert mark.text == "fault"
        assert mark.facts["what"].startswith("Fatal Python error: Segmentation fault (string_at in ")
        assert "<module>" in (path / "fault.previous").read_bytes().decode()
        assert reader.runs()[-1].ended == "returned"


@pytest.mark.parametrize("how", ["own", "child", "closed"])
def test_a_crash_that_is_another_ones_is_not_in_the_store(path, how):
    """Not where the program has a faulthandler of its own, nor of a forked child, nor after the store was closed."""
    with crash(path, how) as reader:
        assert reader.runs()[-1].faulthandler == ("elsewhere" if how == "own" else "here")
        assert not (path / "fault").exists() or not (path / "fault").read_bytes().strip(b"\0")


def test_a_forked_child_marks_into_its_own_store(tmp_path):
    """Where it has one; where its handles keep nothing, neither does it, and the parent's events are the parent's."""
    program = """
import os, sys
from rondo_core import Store
store = Store.for_process(sys.argv[1]) if sys.argv[2] == "own" else Store(sys.argv[1] + "/plain")
store.note("parent")
if not os.fork():
    store.note("child")
    sys.exit(3)
os.wait()
store.note("parent again")
"""
    for how in ("own", "plain"):
        place = tmp_path / how
        place.mkdir()
        subprocess.run([sys.executable, "-c", program, str(place), how], timeout=60, check=True, capture_output=True)
        with StoresReader(place) as reader:
            found = {}
            for event in reader.events():
                found.setdefault(event.store, []).append(event.text)
        wanted = [["child"], ["parent", "parent again"]] if how == "own" else [["parent", "parent again"]]
        assert sorted(found.values()) == wanted
