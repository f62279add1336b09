"""Machines of a process have their ticks from one thread, and none waits for another that hangs."""

import contextlib
import os
import subprocess
import sys
import threading
from queue import SimpleQueue

import pytest

from rondo_core.clock import NS_PER_S
from rondo_vmm.observe import shared_ticks
from rondo_vmm.observe.shared_ticks import ticked

LONG_S = 30


class Clock:
    """A wall clock that stands; threads look at it a thousand times a second."""

    second = 100

    def wall_ns(self):
        return self.second * NS_PER_S


@pytest.fixture
def clock(monkeypatch):
    """Set the second that it is."""
    clock = Clock()
    monkeypatch.setattr(shared_ticks, "wall_ns", clock.wall_ns)
    monkeypatch.setattr(shared_ticks, "until_next_second_s", lambda _begun_ns: 0.001)
    return clock


class Machine:
    """Tells of its ticks; `during` is what happens in one."""

    def __init__(self, during=lambda: None):
        self.ticks, self.during, self.threads = SimpleQueue(), during, set()

    def tick(self, now_ns):
        self.threads.add(threading.current_thread())
        self.ticks.put(now_ns // NS_PER_S)
        self.during()

    def next(self):
        return self.ticks.get(timeout=LONG_S)


@contextlib.contextmanager
def running(clock, *machines):
    """Have them ticked."""
    with contextlib.ExitStack() as stack:
        for machine in machines:
            stack.enter_context(ticked(machine.tick, clock.wall_ns()))
        yield


def test_each_has_one_tick_a_second_all_from_one_thread_that_ends_with_the_last(clock):
    """None in the second in which it began, which the monitor ticks itself."""
    machines = [Machine() for _ in range(3)]
    with running(clock, *machines):
        for second in (101, 102, 103, 104):
            clock.second = second
            assert [machine.next() for machine in machines] == [second] * 3
    assert all(machine.ticks.empty() for machine in machines)
    (thread,) = set.union(*(machine.threads for machine in machines))
    assert not thread.is_alive()


def test_where_one_hangs_the_others_have_their_ticks_and_it_has_its_next_when_it_is_back(clock, monkeypatch):
    """In that second and in those that follow; what it missed is not made up for."""
    monkeypatch.setattr(shared_ticks, "HELD_UP_S", 0.01)
    back = threading.Event()
    hanging, others = Machine(lambda: back.wait(LONG_S)), [Machine(), Machine()]
    with running(clock, others[0], hanging, others[1]):
        for second in (101, 102, 103):
            clock.second = second
            assert [machine.next() for machine in others] == [second] * 2
        assert hanging.next() == 101
        back.set()
        assert hanging.next() == 103
        clock.second = 104
        assert [machine.next() for machine in (hanging, *others)] == [104] * 3
    assert all(machine.ticks.empty() for machine in (hanging, *others))


def test_a_tick_that_takes_over_a_second_is_followed_at_once(clock, monkeypatch):
    """The second in which it ended has its own, which does not wait for the one after."""

    def overrun():
        clock.second += clock.second < 103

    machine = Machine(overrun)
    monkeypatch.setattr(shared_ticks, "until_next_second_s", lambda _begun_ns: LONG_S if machine.threads else 0.001)
    clock.second = 99
    with running(clock, machine):
        clock.second = 101
        assert [machine.next() for _ in range(3)] == [101, 102, 103]


def test_one_whose_tick_raises_is_ticked_on_and_so_are_the_others(clock, caplog):
    """The log says so once."""

    def fail():
        raise ValueError("no such column")

    failing, other = Machine(fail), Machine()
    with running(clock, failing, other):
        for second in (101, 102, 103):
            clock.second = second
            assert [machine.next() for machine in (failing, other)] == [second] * 2
    assert [record.getMessage() for record in caplog.records] == ["tick: ValueError: no such column"]


def test_the_end_waits_for_a_tick_that_is_under_way(clock):
    """What comes after it, as the closing of the store, never meets a tick."""
    done = []

    def take_long():
        leaving.wait(LONG_S)
        done.append(clock.second)

    leaving = threading.Event()
    machine = Machine(take_long)
    with running(clock, machine):
        clock.second = 101
        assert machine.next() == 101
        threading.Timer(0.01, leaving.set).start()
    assert done == [101]


def test_a_child_process_ticks_its_own_machines():
    """It has none of its parent's threads, and waits for none of their ticks."""
    program = """
import os, threading
from rondo_vmm.observe.shared_ticks import ticked

began, over, mine = threading.Event(), threading.Event(), threading.Event()

def hang(_now_ns):
    began.set()
    over.wait()

with ticked(hang, 0):
    began.wait()
    pid = os.fork()
    if not pid:
        with ticked(lambda _now_ns: mine.set(), 0):
            os._exit(7 if mine.wait(30) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    over.set()
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, env=os.environ)
    assert said.stdout == "7\n"
