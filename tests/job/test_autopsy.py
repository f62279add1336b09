"""The table of causes over cases made by hand, the counters, the slopes, what was said, and the words of the result."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import numpy as np
import pytest

from rondo_cli.main import run
from rondo_core import Store
from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_core.storage import Event, Survival
from rondo_job import Child, Evidence, GroupLevel, ReceivedSignal, Usage
from rondo_job.autopsy.case import Activity, Case, OomKill, OomLog, ProgramEnd
from rondo_job.autopsy.causes import find_causes
from rondo_job.autopsy.examine import Autopsy, examine, remaining
from rondo_job.autopsy.kernel_log import read_oom_log
from rondo_job.autopsy.oom import count_oom
from rondo_job.autopsy.stderr_text import last_traceback
from rondo_job.autopsy.trends import Quantity, quantity, robust_slope, slopes_of
from rondo_job.autopsy.wording import as_markdown, as_table, as_text

S = NS_PER_S
START, END = 1_000_000 * S, 1_000_100 * S
PID = 4711


def v2(own=0, above=0, vmstat=0, oom=0, shared=False, hidden=()):
    """Counters of version 2: the job's own group, or one it shares, and one above it."""
    levels = (
        GroupLevel("/ci/job", not shared, 1 << 30, oom, own, own, 1 << 30),
        GroupLevel("/ci", False, None, 0, None if hidden else above, None, None),
    )
    return Evidence(START, levels, None if hidden else vmstat, tuple(hidden))


def job(**facts):
    """A job that ran for 100 s and was waited for."""
    known = {"seen_by": "wait", "started_ns": START, "ended_ns": END, "before": v2(), "after": v2()}
    return Case("/lives/job.rondo", "job", "job", PID, END + S, **{**known, **facts})


def verdict(case):
    first = find_causes(case)[0]
    assert first.evidence, first
    return first.cause, first.verdict


def used(user_s):
    """What the kernel says that a job took."""
    return Usage(user_s, 0.0, None, 0, 0, 0, 0, 0, 0)


def child(pid, status, peak=0):
    return Child(pid, PID, "worker", START, END - S, 1.0, peak, status)


KILLED, TERMED, SEGV = 9, 15, 11
FULL = Quantity("job_memory_bytes", "bytes", 1e9, END, 1.05e9, {10: 1e6}, 1 << 30, "the limit of its control group")
OTHER = OomKill(99, "other", END)
NO_MEMORY = 'Traceback (most recent call last):\n  File "a.py", line 3, in <module>\nMemoryError\n'


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"after": v2(own=1, above=1, vmstat=1, oom=1)}, ("oom", "proven")),
        ({"after": v2()}, ("killed", "proven")),
        (
            {"after": v2(above=1, vmstat=1)},
            ("killed", "proven"),
        ),  # a neighbour's: its own group counts all of the job's
        ({"after": None}, ("sigkill", "cannot tell")),
        ({"before": None}, ("sigkill", "cannot tell")),
        ({"before": v2(own=None, vmstat=None), "after": v2(own=None, vmstat=None)}, ("sigkill", "cannot tell")),
        ({"before": v2(shared=True), "after": v2(shared=True)}, ("killed", "proven")),
        ({"before": v2(shared=True), "after": v2(shared=True, hidden=("x",))}, ("sigkill", "cannot tell")),
        ({"before": v2(shared=True), "after": v2(1, shared=True)}, ("sigkill", "cannot tell")),
        ({"before": v2(shared=True), "after": v2(1, shared=True), "quantities": (FULL,)}, ("oom", "likely")),
        (
            {"before": v2(shared=True), "after": v2(1, shared=True), "oom_log": OomLog((OomKill(PID, "job", END),))},
            ("oom", "proven"),
        ),
        (
            {
                "before": v2(shared=True),
                "after": v2(1, shared=True),
                "oom_log": OomLog((OTHER,)),
                "quantities": (FULL,),
            },
            ("killed", "proven"),
        ),
        (
            {"before": v2(shared=True), "after": v2(1, shared=True), "oom_log": OomLog((OTHER,), whole=False)},
            ("sigkill", "cannot tell"),
        ),
        ({"after": v2(own=1), "children": (child(8, KILLED), child(9, KILLED))}, ("oom", "likely")),
        ({"after": v2(own=3), "children": (child(8, KILLED), child(9, KILLED))}, ("oom", "proven")),
        ({"after": v2(own=1), "children": (child(8, None),)}, ("oom", "likely")),
        (
            {"after": v2(own=1), "children": (child(8, None),), "oom_rose_ns": END - 9 * S},
            ("killed", "likely"),
        ),  # a process of it, seconds before: the job was alive after that
        ({"after": v2(own=1), "oom_rose_ns": END - S // 2}, ("oom", "proven")),
        ({"after": v2(own=1), "children": (child(8, None),), "oom_log": OomLog((OTHER,))}, ("killed", "proven")),
        ({"after": v2(own=2), "oom_log": OomLog((OTHER,))}, ("oom", "proven")),
        ({"signals": (ReceivedSignal(15, END - 10 * S, 1, "passed on"),)}, ("stop-grace", "likely")),
        ({"signals": (ReceivedSignal(15, END - 900 * S, 1, "passed on"),)}, ("killed", "proven")),
        ({"timed_out": True, "after": None}, ("timeout", "proven")),
        (
            {
                "before": Evidence(START, (), 7, ("/sys/fs/cgroup: no",)),
                "after": Evidence(END, (), 7, ("/sys/fs/cgroup: no",)),
            },
            ("killed", "proven"),
        ),  # in a container without the files of its group the machine's counter is there
        (
            {
                "before": Evidence(START, (), 7, ("/sys/fs/cgroup: no",)),
                "after": Evidence(END, (), 8, ("/sys/fs/cgroup: no",)),
            },
            ("sigkill", "cannot tell"),
        ),
        ({"rlimits": {"CPU": (1, 2)}, "usage": used(2.0)}, ("limit", "likely")),
        ({"rlimits": {"CPU": (1, 2)}, "usage": used(1.5)}, ("killed", "proven")),
        ({"rlimits": {"CPU": (1, -1)}, "usage": used(2.0)}, ("killed", "proven")),
        ({"rlimits": {"CPU": (1, 2)}, "usage": used(2.0), "after": v2(own=1)}, ("oom", "proven")),
    ],
)
def test_a_sigkill_is_memory_only_where_counters_or_the_kernel_say_so(facts, expected):
    """Proven by the job's own group or by the kernel's name of it; likely at most in a shared one; never for 137 alone."""
    assert verdict(job(status=KILLED, **facts)) == expected


def test_whose_memory_ran_out_is_told_by_the_kernels_log():
    """The machine's, or a group's: the kernel names the one and the other in words of their own."""
    kills = [OomLog((OomKill(PID, "job", END, of_machine),)) for of_machine in (True, False)]
    told = [find_causes(job(status=KILLED, after=v2(own=1), oom_log=each))[0].evidence for each in kills]
    assert any(line.startswith("the memory of the whole machine ran out") for line in told[0])
    assert not any("whole machine" in line for line in told[1])


def test_a_counter_that_began_anew_is_no_difference():
    """A level that is gone, or lower than before, is hidden: never a zero."""
    counts = count_oom(v2(own=5), v2(own=1))
    assert counts.own is None
    gone = count_oom(v2(), Evidence(END, (), 0))
    assert gone.own is None
    assert any("cannot be compared" in line for line in gone.hidden)
    assert verdict(job(status=KILLED, after=Evidence(END, (), None))) == ("sigkill", "cannot tell")


TRACE = (
    "Traceback (most recent call last):\n  File \"a.py\", line 3, in <module>\n    f()\nOSError: [Errno 24] {}: 'x'\n"
)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"status": 0}, ("finished", "proven")),
        ({"status": 3 << 8}, ("exit", "proven")),
        ({"status": 137 << 8}, ("exit", "proven")),
        ({"status": 137 << 8, "children": (child(8, KILLED),), "after": v2(own=1)}, ("oom", "proven")),
        ({"status": 137 << 8, "after": v2(own=1)}, ("oom", "proven")),
        ({"status": 0, "children": (child(8, KILLED),), "after": v2(own=1)}, ("finished", "proven")),
        ({"status": 137 << 8, "children": (child(8, KILLED),)}, ("child-died", "proven")),
        ({"status": 2 << 8, "children": (child(8, SEGV),)}, ("exit", "proven")),
        ({"status": SEGV}, ("crash", "proven")),
        ({"status": 124 << 8, "command": ("/usr/bin/timeout", "1", "make")}, ("timeout", "likely")),
        ({"status": 124 << 8, "command": ("make",)}, ("exit", "proven")),
        ({"status": 1 << 8, "stderr": NO_MEMORY, "rlimits": {"AS": (1 << 29, -1)}}, ("limit", "likely")),
        ({"status": 1 << 8, "stderr": NO_MEMORY, "rlimits": {"AS": (-1, -1)}}, ("exception", "likely")),
        ({"status": 127 << 8, "not_begun": "x: command not found; nearest: y"}, ("start-failed", "proven")),
        ({"status": 1 << 8, "stderr": "Exception in thread Thread-1:\n" + TRACE.format("b")}, ("exit", "proven")),
        ({"status": 1 << 8, "stderr": "Exception ignored in: <f>\n" + TRACE.format("b")}, ("exit", "proven")),
        ({"status": 6 | 0x80}, ("crash", "proven")),
        ({"status": TERMED}, ("signal", "proven")),
        ({"status": 13}, ("signal", "proven")),
        ({"status": 0, "signals": (ReceivedSignal(15, END - S, 1, "passed on"),)}, ("signal", "likely")),
        ({"status": 143 << 8, "signals": (ReceivedSignal(15, END - S, 1, "passed on"),)}, ("signal", "proven")),
        (
            {"status": 0, "signals": (ReceivedSignal(15, START, 1, "passed on"),), "ended_ns": END * 2},
            ("finished", "proven"),
        ),
        ({"status": 24, "rlimits": {"CPU": (60, -1)}}, ("limit", "proven")),
        ({"status": 24, "rlimits": {"CPU": (-1, -1)}}, ("limit", "likely")),
        ({"status": 1 << 8, "stderr": TRACE.format("Too many open files")}, ("limit", "likely")),
        ({"status": 1 << 8, "stderr": TRACE.format("No such file")}, ("exception", "likely")),
        ({"status": 2 << 8, "stderr": TRACE.format("No such file")}, ("exit", "proven")),
        ({"status": 1 << 8, "stderr": TRACE.format("No such file") + "line\n" * 50}, ("exit", "proven")),
        ({"status": 1 << 8, "stderr": "cp: write error: No space left on device\n"}, ("limit", "likely")),
        ({"status": 2 << 8, "stderr": "sh: fork: Resource temporarily unavailable\n"}, ("limit", "likely")),
        ({"status": 1 << 8, "stderr": TRACE.format("Resource temporarily unavailable")}, ("exception", "likely")),
        ({"status": 0, "signals": (ReceivedSignal(1, END - S, 1, "passed on"),)}, ("finished", "proven")),
        ({"status": 0, "stderr": "cp: write error: No space left on device\n"}, ("finished", "proven")),
        (
            {"status": 1 << 8, "programs": (ProgramEnd("a", 9, "raised KeyError: 'x' (a.py:3)"),)},
            ("exception", "proven"),
        ),
        ({"status": None, "seen_by": "relay"}, ("unseen", "cannot tell")),
        ({"status": None, "seen_by": "", "running": None}, ("unseen", "cannot tell")),
    ],
)
def test_every_end_of_a_job_has_its_cause(facts, expected):
    """By its wait status, and what a traceback, a limit or a signal adds to it."""
    assert verdict(job(**facts)) == expected


def program(words="", **facts):
    known = {"started_ns": START, "newest_ns": END, "words": words, "programs": (ProgramEnd("p", PID, words),)}
    return Case("/p.rondo", "p", "program", PID, **{"now_ns": END + S, **known, **facts})


DUMP = 'Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n  File "a.py", line 7 in f\n'


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (program("closed"), ("finished", "proven")),
        (program("returned"), ("finished", "proven")),
        (program("exit status 0"), ("finished", "proven")),
        (program("exit status 1: no orders"), ("exit", "proven")),
        (program("raised ValueError: bad (a.py:3)"), ("exception", "proven")),
        (program("raised OSError: [Errno 28] No space left on device (a.py:3)"), ("limit", "proven")),
        (program("signal 15, exit status 0"), ("signal", "proven")),
        (program("signal 15, raised ValueError: x (a.py:3)"), ("signal", "proven")),
        (program("swept away"), ("ended", "proven")),
        (program(programs=(ProgramEnd("p", PID, "", 0, DUMP, "here"),)), ("crash", "proven")),
        (program(oom_log=OomLog((OomKill(PID, "p", END),))), ("oom", "proven")),
        (program(oom_log=OomLog((OTHER,))), ("unseen", "cannot tell")),
        (program(survival=Survival.RESTARTED, booted_ns=END + 20 * S), ("machine-stopped", "likely")),
        (program(survival=Survival.RESTARTED, booted_ns=END - 20 * S), ("unseen", "cannot tell")),
        (program(survival=Survival.COPIED, booted_ns=END + 20 * S), ("unseen", "cannot tell")),
        (program(survival=None, booted_ns=END + 20 * S), ("unseen", "cannot tell")),
        (program(), ("unseen", "cannot tell")),
    ],
)
def test_every_end_of_a_program_has_its_cause(case, expected):
    """By the record of runs; what is gone is a crash, memory or a stopped machine only where something says so."""
    assert verdict(case) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("power-off", ("finished", "proven")),
        ("reset; disk vda: No space left on device", ("disk-error", "proven")),
        ("power-off; disk vda: No space left on device", ("finished", "proven")),
        ("panic: Kernel panic - not syncing: Attempted to kill init!", ("panic", "proven")),
        (
            "vcpu 0: the guest shut its CPU down (triple fault) at rip 0x10; its kernel is at fault",
            ("triple-fault", "proven"),
        ),
        ("start failed: /vmlinuz: No such file or directory", ("start-failed", "proven")),
        ("timeout", ("timeout", "proven")),
        ("signal 15", ("signal", "proven")),
        ("gone", ("unseen", "cannot tell")),
        ("", ("unseen", "cannot tell")),
    ],
)
def test_every_end_of_a_machine_has_its_cause(words, expected):
    """By its monitor's words; a disk is the cause only of an end that was none of the guest's own."""
    case = Case("/vm.rondo", "vm", "machine", PID, END, writer="vmm", words=words, newest_ns=END)
    assert verdict(case) == expected
    assert ("disk" in words) == any(each.cause == "disk-error" for each in find_causes(case))


def test_a_hang_is_series_that_stand_still_while_the_process_is_there():
    """Flat for as long as is asked, with recorders that go on; waiting, ended or never begun is none."""
    moved = Activity("a", 3, END - 90 * S, END - S)
    live = program(running=True, now_ns=END, activities=(moved,))
    assert verdict(live) == ("hang", "likely")
    for other in (
        attrs.evolve(moved, changed_ns=END - 5 * S),
        attrs.evolve(moved, changed_ns=0),
        attrs.evolve(moved, ticked_ns=END - 60 * S),
    ):
        assert verdict(attrs.evolve(live, activities=(other,))) == ("running", "proven")
    busy = attrs.evolve(moved, store="b", changed_ns=END - S)
    assert verdict(attrs.evolve(live, activities=(moved, busy))) == ("running", "proven")


def test_slopes_are_those_of_most_points():
    """The slope of a line stays itself with a third of its points anywhere; a window needs points and half its length."""
    times = np.arange(61) * S
    values = 5.0 * np.arange(61)
    values[::4] = 1e9
    assert robust_slope(times / S, values) == pytest.approx(5.0, rel=0.5)
    assert slopes_of(times, 5.0 * np.arange(61)) == {10: pytest.approx(5.0), 60: pytest.approx(5.0)}
    assert slopes_of(times[:3], values[:3]) == {}


def test_the_time_to_a_limit_is_that_of_the_last_seconds():
    """From the newest value, by the slope of the shortest window; what does not grow comes to none."""
    times = np.arange(20) * S
    made = quantity("m", "bytes", (times, 10.0 * np.arange(20), S), [(1000.0, "far"), (290.0, "near")])
    assert (made.limit, made.limit_name, made.seconds_left) == (290.0, "near", pytest.approx(10.0))
    assert made.last_ns == 20 * S
    falling = quantity("m", "bytes", (times, -10.0 * np.arange(20), S), [(290.0, "near")])
    assert falling.seconds_left is None


def test_the_last_traceback_is_read_whole():
    """The one that was printed last, chained ones too; with its place, and whether it was the end."""
    chained = TRACE.format("A") + "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = f'{chained}Traceback (most recent call last):\n  File "b.py", line 9, in g\n    1/0\nmod.Error: two: words\n'
    found = last_traceback(f"{text}tail\n")
    assert (found.error, found.place, found.at_end) == ("mod.Error: two: words", "b.py:9", True)
    assert last_traceback('Traceback (most recent call last):\n  File "b.py", line 9, in g\n') is None


def test_the_traceback_of_a_group_is_its_own_error_and_no_part_of_it():
    """An ExceptionGroup's lines have a margin, and each part of it a traceback of its own."""
    code = "def f(): raise ExceptionGroup('many', [ValueError(1), ExceptionGroup('few', [TypeError(2)])])\nf()"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr
    found = last_traceback(f"before\n{said}after\n")
    assert (found.error, found.place, found.at_end) == (
        "ExceptionGroup: many (2 sub-exceptions)",
        "<string>:1",
        True,
    )
    assert last_traceback(said + TRACE.format("later")).error.startswith("OSError")


def test_a_timeout_tells_of_sigkill_only_where_it_was_that():
    """The recorder may send SIGKILL to what is just ending by SIGTERM."""
    sent = (ReceivedSignal(15, END - 9 * S, 0, "timeout"), ReceivedSignal(9, END, 0, "timeout"))
    told = [find_causes(job(status=each, timed_out=True, timeout_s=3.0, signals=sent))[0].summary for each in (15, 9)]
    assert told == ["the timeout of 3 s was over", "the timeout of 3 s was over; it ended only by SIGKILL"]


def test_a_job_that_went_with_its_recorder_is_out_of_memory_only_where_the_kernel_names_it():
    """A group that is killed whole leaves no end: the boot and the kernel's log say what is known."""
    gone = {"seen_by": "", "ended_ns": 0, "after": None, "newest_ns": END}
    assert verdict(job(**gone, oom_log=OomLog((OomKill(PID, "job", END),)))) == ("oom", "proven")
    found = find_causes(job(**gone, oom_log=OomLog((OTHER,))))[0]
    assert (found.cause, found.verdict) == ("unseen", "cannot tell")
    assert (
        "the machine was not restarted since: they were killed, as one who kills a whole group does" in found.evidence
    )
    assert "the kernel's log names 1 OOM kills of that time, and not this process" in found.evidence
    unknown = find_causes(job(**gone, survival=None))[0]
    assert not any("restarted" in line for line in unknown.evidence)


def test_the_place_of_an_exception_is_the_programs_own_line():
    """Not the line of a library that it called, unless there is none of its own."""
    frame = '  File "{}", line {}, in f\n'
    library = frame.format("/usr/lib/python3.11/json/decoder.py", 353) + frame.format(
        "/v/lib/python3.13/site-packages/x.py", 2
    )
    head, error = "Traceback (most recent call last):\n", "ValueError: no\n"
    assert last_traceback(f"{head}{frame.format('train.py', 7)}{library}{error}").place == "train.py:7"
    assert last_traceback(f"{head}{library}{error}").place == "/v/lib/python3.13/site-packages/x.py:2"


def test_the_first_line_of_a_failure_has_what_it_said_last():
    """In a list of lives a status alone tells them not apart."""
    found = find_causes(job(status=1 << 8, stderr="starting\ncannot bind :8080\n"))[0]
    assert found.summary == "it ended by itself, exit status 1; standard error ends in: cannot bind :8080"


BUILD = "cc -c a.c\na.c:3:9: error: 'y' undeclared\na.c:4:1: error: too\nmake: *** [Makefile:6: a.o] Error 1\nmake: *** Waiting\n"
NPM = "npm ERR! code ELIFECYCLE\nnpm ERR! A complete log of this run can be found in:\nnpm ERR!     x-debug.log\n"
TESTS = (
    "E   KeyError: 'price'\n=== short test summary info ===\nFAILED test_a.py::test_bad - KeyError: 'price'\n2 failed\n"
)


@pytest.mark.parametrize(
    ("stderr", "stdout", "told"),
    [
        (BUILD, "", "standard error says: a.c:3:9: error: 'y' undeclared"),
        (NPM, "", "standard error says: npm ERR! code ELIFECYCLE"),
        (NPM, "src/main.ts(14,7): error TS2322: no\nFound 1\n", "standard output says: src/main.ts(14,7): error TS2322: no"),
        ("", TESTS, "standard output says: FAILED test_a.py::test_bad - KeyError: 'price'"),
        ("warning: old\n", TESTS, "standard output says: FAILED test_a.py::test_bad - KeyError: 'price'"),
        ("error[E0425]: no such value\n --> a.rs:2:5\n", "", "standard error says: error[E0425]: no such value"),
        ("./a.sh: line 3: foo: command not found\nbye\n", "", "standard error says: ./a.sh: line 3: foo: command not found"),
        ("#5 0.3 E: Unable to locate package foo\n------\n", "", "standard error says: #5 0.3 E: Unable to locate package foo"),
        ("FAIL src/a.test.js\n\nTests: 1 failed\n", "", "standard error says: FAIL src/a.test.js"),
        ("ERROR at first\n" + "went on\n" * 40, "", "standard error ends in: went on"),
        ("0 errors, no error handler\n", "done\n", "standard error ends in: 0 errors, no error handler"),
        ("", "", ""),
    ],
)  # fmt: skip
def test_the_first_line_of_a_failure_is_the_line_that_says_most(stderr, stdout, told):
    """An error at a place before what build tools say at their end; of either stream, for many tools use but one."""
    found = find_causes(job(status=2 << 8, stderr=stderr, stdout=stdout))[0]
    assert found.summary == "it ended by itself, exit status 2" + (f"; {told}" if told else "")
    words = as_text(Autopsy(job(status=2 << 8, stderr=stderr, stdout=stdout), found))
    assert ("standard output\n" in words) == told.startswith("standard output")


def test_output_that_nobody_kept_is_said_to_be_missing():
    """As of a cron job whose output goes to /dev/null."""
    kinds = {"stdout": "untouched", "stderr": "untouched"}
    assert any("not on record" in line for line in find_causes(job(status=2 << 8, output=kinds))[0].evidence)
    assert not any("not on record" in line for line in find_causes(job(status=0, output=kinds))[0].evidence)


def test_an_oom_kill_names_the_limit_and_is_told_once():
    """The first line has the limit that was met; the process that died of it is not told of again beside it."""
    limited = v2(own=1, above=1, vmstat=1, oom=1)
    assert find_causes(job(status=KILLED, after=limited))[0].summary.endswith(
        "for want of memory, at the limit of 1.0 GiB"
    )
    case = job(status=1 << 8, after=limited, children=(child(8, KILLED),))
    first = find_causes(case)[0]
    assert first.summary.startswith(
        "out of memory: worker (pid 8) was killed for want of memory, at the limit of 1.0 GiB;"
    )
    assert remaining(case, first, find_causes(case)[1:]) == ()
    crashed = attrs.evolve(case, status=SEGV)
    first, *others = find_causes(crashed)
    assert (first.cause, {each.cause for each in remaining(crashed, first, others)}) == ("crash", {"oom", "child-died"})


def test_what_was_said_before_an_abort_is_told():
    """An assertion, a double free, an exception of C++: what calls abort() has said why."""
    said = "prog: a.c:3: main: Assertion `n == 3' failed.\n"
    found = find_causes(job(status=6, stderr=said))[0]
    assert (found.cause, found.summary) == ("crash", f"SIGABRT; before it: {said.strip()}")


def test_the_kernels_log_names_whom_it_killed(tmp_path):
    """Only of the span that is asked for; one that does not go back that far proves no absence; unreadable, it says nothing."""
    log, now_ns = tmp_path / "kmsg", wall_ns()
    log.write_text(
        f"6,1,{monotonic_ns() // 1000},-;Memory cgroup out of memory: Killed process 12 (a (b)) total-vm:3kB\n"
    )
    assert read_oom_log(now_ns, now_ns, path=tmp_path / "none") is None
    if str(Path("/proc/self/ns/pid").readlink()) == "pid:[4026531836]":
        found = read_oom_log(now_ns + S, now_ns + 2 * S, path=log)
        assert [each[:2] for each in map(attrs.astuple, found.kills)] == [(12, "a (b)")]
        assert not found.kills[0].of_machine
        assert found.whole
        assert not read_oom_log(now_ns - 60 * S, now_ns, path=log).whole
        assert read_oom_log(now_ns + 60 * S, now_ns + 90 * S, path=log).kills == ()
        log.write_text(f"3,1,{monotonic_ns() // 1000},-;Out of memory: Killed process 13 (b) total-vm:3kB\n")
        assert read_oom_log(now_ns + S, now_ns + 2 * S, path=log).kills[0].of_machine


def test_the_words_hold_all_there_is(tmp_path):
    """As text, Markdown and JSON: the verdict first, evidence, samples, children, marks, traceback; nothing is markup."""
    case = job(
        status=1 << 8,
        command=("make", "a*b"),
        stderr="```\n" + TRACE.format("No such file"),
        children=(child(8, SEGV, 1 << 20),),
        quantities=(attrs.evolve(FULL, slopes={10: 1e8}),),
        marks=(Event(END - S, "mark", "deploy_now", {"v": "<1>"}),),
    )
    found = Autopsy(case, *[find_causes(case)[0]])
    text, markdown, table = as_text(found), as_markdown(found), as_table(found)
    assert text.startswith("likely: OSError")
    for part in (
        "CLD_EXITED",
        "98%",
        "s to the limit of its control group",
        "worker (pid 8): SIGSEGV",
        "deploy_now v=<1>",
        "a.py",
    ):
        assert part in text, part
    assert "deploy\\_now v=\\<1\\>" in markdown
    assert json.loads(json.dumps(table))["verdict"] == "likely"
    assert table["last_samples"][0]["seconds_to_limit"] == pytest.approx(0.738, rel=0.01)


def test_a_table_in_markdown_has_no_markup_of_strangers(tmp_path, capsys):
    """What a job wrote stands in a step's summary as it was written: no HTML, no cell of its own, nobody is called."""
    with Store(tmp_path / "s.rondo") as store:
        store.close("raised ValueError: <b>a|b</b> @everyone")
    run(["autopsy", str(tmp_path), "--format", "md"])
    row = capsys.readouterr().out.splitlines()[2]
    assert "\\<b\\>a\\|b\\</b\\> &#64;everyone" in row
    assert row.replace("\\|", "").count("|") == 5


def test_a_program_without_a_run_is_examined_too(tmp_path):
    """Its own store is enough; the command gives the verdict's status, and one line for what is no store."""
    path = tmp_path / "p.rondo"
    code = f"from rondo_core import Store\nwith Store({str(path)!r}) as store:\n store.counter('n_total').inc()\n raise LookupError('gone')"
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    found = examine(path)
    assert (found.diagnosis.cause, found.case.kind, found.exit_status) == ("exception", "program", 0)
    with Store(path) as store:
        store.mark("ready")
        live = examine(path)
        assert live.diagnosis.cause == "running"
        assert [each.text for each in live.case.marks] == ["ready"]


@pytest.fixture(scope="module")
def left_unclosed(tmp_path_factory):
    """A directory with the store of a program that ended without a word."""
    place = tmp_path_factory.mktemp("left")
    code = f"import os\nfrom rondo_core import Store\nStore({str(place / 'p.rondo')!r}).counter('n_total').inc()\nos._exit(0)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return place


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "no LIFE"),
        (("nothing",), 1, "no life or store there"),
        (("--last", "{here}"), 1, "no life of rondo run"),
        (("{here}/p.rondo", "--format", "json"), 4, ""),
        (("{here}",), 4, ""),
    ],
)
def test_the_command_has_the_verdicts_status(left_unclosed, monkeypatch, capsys, words, status, said):
    """0 proven, 3 likely, 4 cannot tell, of a directory the worst; 1 and 2 with one line that says why."""
    monkeypatch.setenv("RONDO_DIR", str(left_unclosed / "none"))
    monkeypatch.chdir(left_unclosed)
    assert run(["autopsy", *(word.format(here=left_unclosed) for word in words)]) == status
    told = capsys.readouterr()
    assert said in told.err
    assert len(told.err.splitlines()) <= 1 or status == 2
    if "json" in words:
        assert json.loads(told.out)["cause"] == "unseen"


def test_signals_that_end_in_order_are_no_death_of_a_child():
    """A SIGTERM from its parent, or a pipe that was closed, is how children end; a fault is not."""
    alive = job(running=True, children=(child(8, TERMED), child(9, int(signal.SIGPIPE))))
    assert verdict(alive) == ("running", "proven")
    assert verdict(attrs.evolve(alive, children=(child(8, SEGV),))) == ("child-died", "proven")
