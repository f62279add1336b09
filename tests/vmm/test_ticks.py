"""Ticks: each second of a life has its point, also where one took longer than a second to record."""

import asyncio
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from rondo_core import Store, StoreReader
from rondo_core.clock import NS_PER_S
from rondo_vmm import VMM_SCHEMAS, VmConfig, run_vm
from rondo_vmm.observe import async_ticks, shared_ticks, ticks
from rondo_vmm.observe.async_ticks import every_second
from rondo_vmm.observe.ticks import until_next_second_s
from rondo_vmm.plugins.proc import ProcessReading

BEGUN_NS = 1_795_000_000 * NS_PER_S


@pytest.fixture
def now(monkeypatch):
    """Set the wall clock, in seconds after BEGUN_NS."""

    def set_now(after_s):
        ns = BEGUN_NS + round(after_s * NS_PER_S)
        for module in (async_ticks, ticks):
            monkeypatch.setattr(module, "wall_ns", lambda: ns)
        return ns

    return set_now


@pytest.mark.parametrize(
    ("begun", "at", "left"),
    [(0, 0.25, 0.75), (0.25, 0.25, 0.75), (0.99, 1.0, 0), (0, 1.5, 0), (0, 3.5, 0), (2, 0.5, 0.5)],
    ids=["early", "at once", "just over", "late", "very late", "the clock set back"],
)
def test_the_next_begins_with_its_second_and_at_once_where_that_has_begun(now, begun, at, left):
    """A point that took until the next second was under way does not cost that second its own."""
    begun_ns = now(begun)
    now(at)
    assert until_next_second_s(begun_ns) == pytest.approx(left)


def test_a_call_that_takes_over_a_second_is_followed_at_once(now, monkeypatch):
    """The second in which it ended has its own call, which does not wait for the one after."""
    begun, over, at = [], asyncio.Event(), 0.5

    def advance(by_s):
        nonlocal at
        at += by_s
        now(at)

    async def wait(_ending, timeout):  # noqa: ASYNC109 - stands in for asyncio.wait, time passing at once
        advance(timeout)
        await asyncio.sleep(0)

    async def call():
        begun.append(at)
        advance(0.1 if begun[1:] else 1.25)
        if begun[2:]:
            over.set()

    monkeypatch.setattr(async_ticks, "asyncio", SimpleNamespace(ensure_future=asyncio.ensure_future, wait=wait))
    asyncio.run(asyncio.wait_for(every_second(call, over.wait(), now(at)), 30))
    assert begun[:3] == [1.0, 2.25, 3.0]


@pytest.mark.emulator
def test_a_machine_that_hangs_in_its_tick_costs_no_other_one_a_second(path, monkeypatch, stalls):
    """Machines of a process tick in turn; who has waited long enough does not wait for its turn any more."""
    monkeypatch.setattr(shared_ticks, "HELD_UP_S", 0.05)
    over = threading.Event()
    with Store(path, VMM_SCHEMAS) as store, shared_ticks.ticked(lambda _now_ns: over.wait(), 0):
        result = run_vm(VmConfig(machine="soft", cmdline="workload_duration=2"), store)
        over.set()
    with StoreReader(path) as reader:
        memory = reader.query("vmm_rss_bytes", tier=0)[0]
    stalls.assert_every_second(memory, range(result.started_ns // NS_PER_S, result.ended_ns // NS_PER_S + 1))


def test_a_number_of_the_process_is_read_once_for_all_machines_that_tick_together():
    """Anew 20 ms later, where the clock was set back, and in a child process."""
    values = iter(range(1, 100))
    number = ProcessReading(lambda: next(values))
    assert [number(BEGUN_NS + after) for after in (0, 19_999_999, 20_000_000, 5, 6)] == [1, 1, 2, 3, 3]
    number.forget()
    assert number(BEGUN_NS + 7) == 4


def test_a_child_process_reads_its_own_memory_and_descriptors():
    """Not those of its parent, whose files in /proc were open when it was forked."""
    program = """
import os
from rondo_vmm.plugins.proc import descriptors, rss_bytes

before = rss_bytes(1 << 60), descriptors(1 << 60)
pid = os.fork()
if not pid:
    held, more = b"x" * (64 << 20), [os.dup(0) for _ in range(5)]
    os._exit(rss_bytes(1 << 60) - before[0] < 48 << 20 or descriptors(1 << 60) - before[1] != 5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), rss_bytes(1 << 60) == before[0])
"""
    said = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert said.stdout == b"0 True\n"


def test_a_number_that_the_program_closed_and_has_again_is_left_to_it():
    """Closed by who has not opened it, a file of /proc is opened anew, and neither is the program's file read or closed."""
    program = """
import os
from rondo_vmm.plugins.proc import descriptors, rss_bytes

before = rss_bytes(1 << 60)
descriptors(1 << 60)
os.closerange(3, 100)
own = [os.open("/", os.O_RDONLY) for _ in range(8)]
after = rss_bytes(1 << 61), descriptors(1 << 61)
pid = os.fork()
if not pid:
    os._exit(not all(os.fstat(each).st_ino == os.stat("/").st_ino for each in own))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), after[0] >= before // 2, after[1] >= len(own))
"""
    said = subprocess.run([sys.executable, "-c", program], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    assert said.stdout == b"0 True True\n"
