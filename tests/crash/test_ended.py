"""Folding the dead into the store of the ended: killed anywhere, two at once, beside the living; nothing is lost or twice."""

import os
import shutil
import signal
import time

import pytest

from rondo_core import ManualClock, Store, StoresReader, faults
from rondo_core.maintain.check import check_store
from rondo_core.retention import Bound, list_stores, prune

START_NS = 1_700_000_000 * 10**9


@pytest.fixture
def three(tmp_path, small_schemas):
    """Three ended stores of three seconds each, one after the other, below a directory of their own."""
    root = tmp_path / "stores"
    for number in range(3):
        clock = ManualClock(START_NS + number * 3 * 10**9)
        with Store(root / f"p{number}.rondo", small_schemas, clock=clock) as store:
            for _ in range(3):
                store.counter("c_total").inc(number + 1)
                store.summary("s").observe(number)
                store.tick()
                clock.advance(1)
    return root


def answers(root):
    """What all stores together say: growth, observations, and the totals."""
    with StoresReader(root) as reader:
        assert reader.errors == []
        growth = sum(float(data.values.sum()) for data in reader.query("c_total", fn="increase"))
        seen = sum(float(data.values.sum()) for data in reader.query("s", fn="count"))
        return growth, seen, sum(float(data.values[-1]) for data in reader.query("c_total"))


def in_child(call):
    """Run in a forked child; give how that ended."""
    child = os.fork()
    if not child:
        status = 1
        try:
            call()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


NAMED = ("built", "replace", "replaced", "folded", "removing", "removed", "filled")


@pytest.mark.parametrize("old", [False, True], ids=["first", "again"])
def test_killed_anywhere_a_fold_neither_loses_nor_doubles(three, tmp_path, old):
    """After each kill the directory answers as before; the next fold ends the work and leaves nothing behind."""
    if old:
        assert prune(three, Bound(keep_last=2)).folded == ["p0.rondo"]
    expected, killed = answers(three), 0
    for fault in [
        *(f"retention.{name}:1" for name in NAMED),
        "agent.no_store:1",
        *(f"*:{n}" for n in range(1, 90, 11)),
    ]:
        root = tmp_path / "copy"
        shutil.copytree(three, root)

        def fold(root=root, fault=fault):
            faults.arm(fault)
            prune(root, Bound(keep_last=1))

        outcome = in_child(fold)
        assert outcome in {0, -signal.SIGKILL}
        assert answers(root) == expected, fault
        assert prune(root, Bound(keep_last=0)).left == []
        assert answers(root) == expected, fault
        assert [path.name for path in root.iterdir()] == ["ended.rondo"]
        assert check_store(root / "ended.rondo") == []
        shutil.rmtree(root)
        killed += outcome != 0
    assert killed >= len(NAMED) + 2


def test_two_that_fold_at_once_fold_each_store_once(three):
    """Processes that race for the directory: what all of them did together is one fold of each."""
    expected = answers(three)
    children = []
    for _ in range(4):
        child = os.fork()
        if not child:
            status = 1
            try:
                while prune(three, Bound(keep_last=0)).busy:
                    time.sleep(0.001)
                status = 0
            finally:
                os._exit(status)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert answers(three) == expected
    (ended,) = list_stores(three)[0]
    assert ended.folded.stores == 3


def test_workers_that_retire_leave_a_directory_of_constant_size(tmp_path):
    """As under gunicorn: forked workers, every third killed; all that they sent is there, to the last one, throughout."""
    sent, sizes = 0, []
    for number in range(12):
        reading, writing = os.pipe()

        def work(number=number, writing=writing):
            store = Store.for_process(tmp_path, name="web", keep_last=2)
            counter = store.counter("requests_total")
            for _ in range(100 + number):
                counter.inc()
            os.write(writing, b"done")
            if number % 3 == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            store.close()

        outcome = in_child(work)
        assert outcome == (-signal.SIGKILL if number % 3 == 2 else 0)
        assert os.read(reading, 10) == b"done"
        os.close(reading)
        os.close(writing)
        sent += 100 + number
        with StoresReader(tmp_path) as reader:
            assert sum(data.values[-1] for data in reader.query("requests_total")) == sent
            assert sum(data.values.sum() for data in reader.query("requests_total", fn="increase")) == sent
        if number % 3 == 0 and number >= 6:  # after a worker that closed: nothing of the killed ones is left over
            sizes.append(sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()))
    assert len(set(sizes)) == 1
    assert {path.name.split("-")[0] for path in tmp_path.glob("*.rondo")} == {"web", "ended.rondo"}


def test_who_reads_while_the_dead_are_folded_misses_none_and_sees_none_twice(tmp_path, small_schemas):
    """Each answer, at whatever moment of a fold it is asked for, is that of all stores."""
    for number in range(8):
        clock = ManualClock(START_NS + number * 10**9)
        with Store(tmp_path / f"p{number}.rondo", small_schemas, clock=clock) as store:
            store.counter("c_total").inc(number + 1)
    child = os.fork()
    if not child:
        status = 1
        try:
            for keep_last in reversed(range(8)):
                prune(tmp_path, Bound(keep_last=keep_last))
            status = 0
        finally:
            os._exit(status)
    ended = 0
    while not ended:
        ended, how = os.waitpid(child, os.WNOHANG)
        with StoresReader(tmp_path) as reader:
            assert sum(data.values[-1] for data in reader.query("c_total")) == 36, reader.errors
    assert os.waitstatus_to_exitcode(how) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["ended.rondo"]


def test_workers_side_by_side_are_counted_whole_across_deaths_and_folds(tmp_path, small_schemas):
    """Three at a time, some killed, each folding what it finds: the directory has all that they sent, once."""
    sent, started, alive = 0, 0, {}
    while started < 15 or alive:
        while started < 15 and len(alive) < 3:
            started += 1
            amount, killed = 40 + started, started % 4 == 0
            child = os.fork()
            if not child:
                store = Store.for_process(tmp_path, small_schemas, name="job", keep_last=2)
                for value in range(amount):
                    store.counter("c_total").inc()
                    store.summary("s").observe(value)
                if killed:
                    os.kill(os.getpid(), signal.SIGKILL)
                store.close()
                os._exit(0)
            alive[child] = amount, -signal.SIGKILL if killed else 0
        child, how = os.wait()
        amount, expected = alive.pop(child)
        assert os.waitstatus_to_exitcode(how) == expected
        sent += amount
    growth, seen, total = answers(tmp_path)
    assert growth == seen == total == sent
    assert not prune(tmp_path, Bound(keep_last=2)).left
    assert answers(tmp_path) == (sent, sent, sent)
    assert len(list(tmp_path.iterdir())) == 3
