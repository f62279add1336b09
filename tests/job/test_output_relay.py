"""The recorder, the relay and the job are each killed: what is theirs survives, and no more than the last tick is lost."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rondo_job import Life
from rondo_job.files.names import END
from tests.job.conftest import wait_gone

# Writes numbered lines as it is told to, one for each that comes; then it ends as it is told.
COUNTER = """
import os, sys
number = 0
for line in sys.stdin:
    if line.startswith("exit"):
        sys.exit(int(line[4:]))
    number += 1
    print(number, flush=True)
    print("E", number, file=sys.stderr, flush=True)
"""


@pytest.fixture
def counting(lives):
    """A job that counts, run with pipes."""
    job = lives.start("-q", "--", sys.executable, "-c", COUNTER, stdin=subprocess.PIPE, bufsize=0)
    job.stdin.write(b"one\n")
    assert job.stdout.readline() == b"1\n"
    yield job
    job.kill()
    for pipe in (job.stdin, job.stdout, job.stderr):
        pipe.close()
    job.wait()


def test_a_job_outlives_its_recorder(lives, counting):
    """Killed, the recorder takes nothing of the job's with it: input, output and end are as ever, and on record."""
    counting.kill()
    counting.wait()
    life = lives.life()
    assert life.is_running
    counting.stdin.write(b"two\nthree\n")
    assert [counting.stdout.readline() for _ in range(2)] == [b"2\n", b"3\n"]
    counting.stdin.write(b"exit 7\n")
    assert counting.stdout.read() == b""
    assert counting.stderr.read() == b"E 1\nE 2\nE 3\n"
    wait_gone(life.start.pid)
    end = wait_for_end(life)
    assert (end.seen_by, end.exit_code) in {("pidfd", 7), ("relay", None)}  # the latter before Linux 6.15
    assert life.run.ended == ""
    assert life.output("stdout") == (b"1\n2\n3\n", 6)
    assert life.children()[0][0].pid == life.start.pid
    assert not life.is_running
    if life.start.method != "tree":
        assert end.cpu_s > 0
        assert not [path for path in leaf_folders(life) if Path(path).exists()]


def wait_for_end(life):
    """Wait for the relay to have written the end: its directory tells of each file that comes into it."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init()
    libc.inotify_add_watch(watch, bytes(life.path), 0x80)  # IN_MOVED_TO
    try:
        while not (life.path / END).exists():
            os.read(watch, 4096)
    finally:
        os.close(watch)
    return life.end


def leaf_folders(life):
    level = life.start.before.levels[0]
    return [f"/sys/fs/cgroup/memory{level.path}", f"/sys/fs/cgroup{level.path}"]


def test_marks_that_come_after_the_recorders_death_are_read(lives):
    """What `rondo mark` says then is nobody's to take, and is in the life."""
    script = (
        "read go; rondo mark early; echo marked; read go; rondo mark late n=2; rondo set depth 4; echo done; read go"
    )
    job = lives.start("-q", "--", "sh", "-c", script, stdin=subprocess.PIPE, bufsize=0)
    job.stdin.write(b"go\n")
    assert job.stdout.readline() == b"marked\n"
    job.kill()
    job.wait()
    job.stdin.write(b"go\n")
    assert job.stdout.readline() == b"done\n"
    job.communicate(b"go\n")
    life = lives.life()
    assert [str(event) for event in life.marks()] == ["early", "late n=2"]
    assert ("depth", 4.0) in {(entry.name, entry.value) for entry in life.unread() if entry.kind == "set"}
    wait_for_end(life)


def test_signals_that_came_before_the_recorder_was_killed_are_on_record(lives):
    """The relay knows them: a SIGTERM that the job did not heed is in the end that it writes."""
    script = "trap 'echo told' TERM; echo ready; read x; read y; read z"
    job = lives.start("-q", "--", "sh", "-c", script, stdin=subprocess.PIPE, bufsize=0)
    assert job.stdout.readline() == b"ready\n"
    job.terminate()
    assert job.stdout.readline() == b"told\n"
    life = lives.life()
    job.stdin.write(b"1\n")  # a shell that a signal wakes from `read` goes on
    os.kill(life.start.recorder_pid, signal.SIGKILL)
    wait_gone(life.start.recorder_pid)
    os.kill(life.start.pid, signal.SIGKILL)
    wait_for_end(life)
    job.communicate()
    (received,) = life.end.signals
    assert (received.number, received.sender, received.why) == (signal.SIGTERM, os.getpid(), "passed on")


# A recorder that is gone before the relay's answer has been sent, or before it has been read.
ASKING = """
import os, select, signal, subprocess, sys
from rondo_job.start.output import plan_output
from rondo_job.start.output_relay import OutputRelay
job = subprocess.Popen(["sleep", "600"])
said, say = os.pipe()
relay = OutputRelay(plan_output(copied=False), (), lambda told, _pidfd: os.write(say, str(told).encode()))
os.close(say)
relay.send_facts({"life": "none", "pid": job.pid})
if sys.argv[1] == "sent":
    os.kill(relay.pid, signal.SIGSTOP)
    os.waitpid(relay.pid, os.WUNTRACED)
relay._channel.send(b'{"drain": true}')
if sys.argv[1] == "read":
    select.select([relay._channel], [], [])
relay._channel.close()
os.kill(relay.pid, signal.SIGCONT)
job.kill()
print(os.read(said, 4096).decode() == str({"life": "none", "pid": job.pid}), os.waitpid(relay.pid, 0)[1])
"""


@pytest.mark.parametrize("before", ["sent", "read"])
def test_a_recorder_that_is_killed_while_it_asks_leaves_the_end_to_the_relay(before):
    """Whether the answer to its last request found nobody, or was found by nobody."""
    asking = subprocess.run([sys.executable, "-c", ASKING, before], capture_output=True, text=True, check=False)
    assert asking.stdout == "True 0\n", asking.stderr


def test_a_job_that_is_stopped_by_a_dead_relay_is_told_so(lives, counting):
    """A killed relay is a reader that went away: the job's next write fails, and its life goes on to the end."""
    (relay,) = [pid for pid in children_of(counting.pid) if pid != lives.life().start.pid]
    os.kill(relay, signal.SIGKILL)
    wait_gone(relay)
    counting.stdin.write(b"two\n")
    counting.stdin.close()
    counting.stdin = Path(os.devnull).open("wb")  # noqa: SIM115 - the fixture closes it
    counting.wait(60)
    assert lives.life().end.exit_code != 0
    assert lives.life().end.seen_by == "wait"


def children_of(pid):
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


KILLS = int(os.environ.get("RONDO_RUN_KILLS", "3"))
SECONDS = """
import os, sys, time
print("ready", flush=True)
n = 0
while True:
    n += 1
    os.write(1, b"%d\\n" % n)
    sum(range(20_000))
"""


def test_kills_of_recorder_and_job_leave_all_but_the_last_tick(lives):
    """At any moment, whoever is killed: the facts, the series up to the last tick, the tail and the table are whole."""
    chance = random.Random(int(os.environ.get("RONDO_RUN_SEED", "1")))
    ticks = np.zeros(2, int)
    for turn in range(KILLS):
        who = chance.choice(("recorder", "job", "both"))
        job = lives.start("-q", "--every", "50ms", "--name", f"turn{turn}", "--", sys.executable, "-c", SECONDS)
        assert job.stdout.readline() == b"ready\n"
        n_lines = chance.randrange(1, 2000)
        for _ in range(n_lines):
            job.stdout.readline()
        (path,) = lives.directory.glob(f"turn{turn}-*")
        life = Life(path)
        if who != "job":
            job.send_signal(signal.SIGKILL)
        if who != "recorder":
            os.kill(life.start.pid, signal.SIGKILL)
        else:
            job.wait(60)
            assert job.stdout.readline()  # it goes on
            os.kill(life.start.pid, signal.SIGKILL)
        out, _ = job.communicate(timeout=60)
        end = wait_for_end(life)
        assert end.signal in {signal.SIGKILL, None}
        ticks += check_whole(life, out, end)
    print(f"{KILLS} kills: {ticks[0]} ticks, and {ticks[1]} that the machine was too busy for")


def check_whole(life, out, end):
    """Give how many ticks there are, and how many the machine was too busy for, from the first to the last."""
    from rondo_core.maintain.check import check_store

    assert [finding for finding in check_store(life.path) if finding.severity == "damage"] == []
    tail, passed = life.output("stdout")
    assert passed >= len(out)
    assert out[-100:-10] in tail or passed > len(out)
    children, _ = life.children()
    assert children[0].pid == life.start.pid
    with life.open() as reader:
        (found,) = reader.query("job_processes", tier=0)
        times = found.timestamps_ns
    recorder_died = life.run.ended == ""
    if recorder_died and not len(times):  # the last tick, which may be lost, was its first
        return np.zeros(2, int)
    first, last = int(times[0]), int(times[-1])
    missing = (last - first) // 50_000_000 + 1 - len(times)
    assert last >= life.start.started_ns - 10**9
    assert missing >= 0
    assert recorder_died or last >= end.ended_ns - 2 * 10**9
    return np.array([len(times), missing])
