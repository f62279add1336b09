"""`rondo run`: a job's streams, signals and exit status are as they would be without it, and its life is on record."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rondo_core.errors import StoreNotFoundError
from rondo_job import Life
from rondo_job.autopsy.examine import examine
from rondo_job.comparison.groups import lives_at
from rondo_job.reports.making import make_report
from rondo_job.run import DENSE_NS
from tests.job.conftest import last, wait_gone, wait_until

METHODS = ("auto", "tree")


@pytest.mark.parametrize(
    ("method", "script", "status"),
    [("auto", "exit 3", 3), ("auto", "kill -9 $$", 137), ("tree", "exit 255", 255), ("tree", "kill -SEGV $$", 139)],
)
def test_the_exit_status_is_the_jobs_own(lives, method, script, status):
    """128 and the number where a signal ended it; the life says the same, by either way of measuring."""
    done = lives.run("--method", method, "--", "sh", "-c", script)
    assert done.returncode == status
    end = lives.life().end
    assert end.seen_by == "wait"
    assert (end.exit_code, end.signal) == ((status, None) if status < 128 or status == 255 else (None, status - 128))
    assert str(end) in done.stderr.decode()
    words = f"signal {status - 128}" if end.signal else f"exit status {status}"
    assert lives.life().run.ended == words


@pytest.mark.parametrize("method", ["tree", "auto"])
def test_what_cannot_be_begun_leaves_a_life_that_says_so(lives, method):
    """127 for what is not there; nothing is on record as measured, and the autopsy names what was meant."""
    done = lives.run("--method", method, "-q", "--", "pyton3", "-c", "0")
    life, words = lives.life(), "pyton3: command not found; nearest: python3"
    assert (done.returncode, done.stdout) == (127, b"")
    assert done.stderr.decode() == f"rondo: {words}; life {life.path}\n"
    end = life.end
    assert (end.exit_code, end.not_begun, end.cpu_s, end.usage, end.after) == (127, words, None, None, None)
    assert (str(end), life.run.ended) == ("exit status 127, not begun", "start failed: pyton3: command not found")
    with life.open() as reader:
        assert not any(map(len, reader.query("job_memory_bytes", fn="max")))
    found = examine(life.path)
    assert (found.diagnosis.cause, found.diagnosis.verdict) == ("start-failed", "proven")
    assert found.diagnosis.summary == f"it could not be begun: {words}"
    assert make_report(life.path).outcome == "failed"


def test_a_small_job_is_not_said_to_be_as_large_as_what_it_was_before(lives):
    """The kernel counts what the process had as the recorder's; that is the job's neither in the line nor in its table."""
    done = lives.run("--method", "tree", "--", "sleep", "0.3")
    life = lives.life()
    assert (life.end.usage.max_rss_bytes or 0) < 8 << 20, done.stderr
    assert life.children()[0][0].peak_bytes < 8 << 20
    done = lives.run("--method", "tree", "--", sys.executable, "-c", "held = b'x' * (100 << 20)")
    assert b"largest process 1" in done.stderr


def test_a_script_without_an_interpreter_is_a_shells(lives):
    """As execvp(3), and with it env, nohup and timeout, have it: what is text goes to /bin/sh, what is none to nobody."""
    script = lives.cwd / "script"
    for content, status in ((b'echo "$0 $2"; exit 3', 3), (b"no\0program", 126)):
        script.write_bytes(content)
        script.chmod(0o755)
        done = lives.run("-q", "--", "./script", "a", "b c")
        assert (done.returncode, done.stdout) == (status, b"./script b c\n" if status == 3 else b"")


def test_output_goes_through_whole_and_apart(lives):
    """Every byte of 3 MB, standard output and error each on its own; the last 64 KiB of each are kept."""
    code = (
        "import sys; sys.stdout.buffer.write(b'o' * 3000000 + b'end\\n'); sys.stderr.buffer.write(b'\\xff\\0e' * 99999)"
    )
    done = lives.run("-q", "--", sys.executable, "-c", code)
    assert done.stdout == b"o" * 3000000 + b"end\n"
    assert done.stderr == b"\xff\0e" * 99999
    life = lives.life()
    assert life.start.output == {"stdout": "pipe", "stderr": "pipe"}
    assert life.output("stdout") == (done.stdout[-65536:], len(done.stdout))
    assert life.output("stderr") == (done.stderr[-65536:], len(done.stderr))


def test_streams_that_are_one_stay_one(lives):
    """What a job writes to either comes in the order in which it was written, as in `2>&1`."""
    script = "for i in 1 2 3 4 5; do echo $i; echo $i >&2; done"
    done = lives.run(
        "-q", "--", "sh", "-c", script, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, capture_output=False
    )
    assert done.stdout.split() == [b"1", b"1", b"2", b"2", b"3", b"3", b"4", b"4", b"5", b"5"]
    assert lives.life().start.output == {"stdout": "pipe", "stderr": "stdout"}
    assert lives.life().output("stderr") == (b"", 0)


def test_files_are_handed_over_and_their_tail_is_kept(lives):
    """A job that writes to a file has that very file; what was in it before is no tail of the job's."""
    path = lives.cwd / "log"
    path.write_bytes(b"before\n" * 3)
    with path.open("ab") as log:
        code = "import os; print(os.readlink('/proc/self/fd/1')); print('x' * 70000)"
        done = lives.run("-q", "--", sys.executable, "-c", code, stdout=log, stderr=log, capture_output=False)
    assert done.returncode == 0
    written = path.read_bytes()[21:]
    assert written.splitlines()[0] == str(path).encode()
    assert lives.life().output("stdout") == (written[-65536:], len(written))


def test_no_output_leaves_the_descriptors_alone(lives):
    """With --no-output a pipe is the very pipe that the recorder has."""
    code = "import os; print(os.fstat(1).st_ino, flush=True)"
    read, write = os.pipe()
    lives.run("--no-output", "-q", "--", sys.executable, "-c", code, stdout=write, stderr=None, capture_output=False)
    os.close(write)
    with os.fdopen(read) as pipe:
        assert int(pipe.read()) == os.fstat(pipe.fileno()).st_ino
    assert lives.life().start.output == {"stdout": "untouched", "stderr": "untouched"}


def test_a_reader_that_goes_away_ends_a_writer(lives):
    """As without rondo: `yes | head -1` ends, the writer by SIGPIPE."""
    script = f"{' '.join(lives.command('-q', '--', 'yes'))} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script], env=lives.environment, cwd=lives.cwd, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == b"y\n"
    assert lives.life().end.signal == signal.SIGPIPE
    assert done.returncode == 128 + signal.SIGPIPE


def test_standard_input_is_the_jobs(lives):
    """What is piped in comes to the job, to its end."""
    assert lives.run("-q", "--", "wc", "-c", input=b"x" * 100_000).stdout.split() == [b"100000"]


WAITER = """
import signal, sys
def got(number, frame):
    print("got", number, flush=True)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, got)
print("ready", flush=True)
for line in sys.stdin:
    print("line", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(lives, number):
    """One that is sent to the recorder is the job's to take, once; what it does then is its own."""
    job = lives.start("-q", "--", sys.executable, "-c", WAITER, stdin=subprocess.PIPE)
    assert job.stdout.readline() == b"ready\n"
    job.send_signal(number)
    if number == signal.SIGHUP:  # for which the job has no handler
        assert job.wait(60) == 128 + number
        job.communicate()
    else:
        assert job.stdout.readline() == f"got {number:d}\n".encode()
        out, _ = job.communicate(b"one\n", timeout=60)
        assert (out, job.returncode) == (b"line\n", 0)
    received = lives.life().end.signals
    own = Path("/proc/self/comm").read_text().strip()
    told = [(each.number, each.sender, each.why, each.command) for each in received]
    assert told == [(number, os.getpid(), "passed on", own)]


def test_a_signal_to_the_group_comes_once(lives):
    """Ctrl-C of a terminal, or a kill of the process group, reaches recorder and job; it is not sent a second time."""
    job = lives.start("-q", "--", sys.executable, "-c", WAITER, stdin=subprocess.PIPE, start_new_session=True)
    assert job.stdout.readline() == b"ready\n"
    os.killpg(job.pid, signal.SIGTERM)
    assert job.stdout.readline() == b"got 15\n"
    out, _ = job.communicate(b"one\n", timeout=60)
    assert (out, job.returncode) == (b"line\n", 0)
    assert [each.why for each in lives.life().end.signals] == ["group"]


def test_a_recorder_that_was_stopped_goes_on(lives):
    """Stopped for longer than until the next measurement, it sends the job nothing, nor the last signal once more."""
    code = (
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: print('told', flush=True)); "
        "print('ready', flush=True); input(); raise SystemExit(7)"
    )
    job = lives.start("-q", "--", sys.executable, "-c", code, stdin=subprocess.PIPE)
    assert job.stdout.readline() == b"ready\n"
    job.send_signal(signal.SIGUSR1)
    assert job.stdout.readline() == b"told\n"
    for _ in range(20):
        os.kill(job.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, job.pid, os.WSTOPPED)
        time.sleep(DENSE_NS / 1e9 * 1.5)
        os.kill(job.pid, signal.SIGCONT)
        os.waitid(os.P_PID, job.pid, os.WCONTINUED)
    said, words = job.communicate(b"\n")
    assert (job.returncode, said) == (7, b""), words
    assert len(lives.life().end.signals) == 1


def test_a_timeout_ends_the_whole_tree(lives):
    """Status 124 as of timeout(1); children of the job that would have gone on are gone too."""
    done = lives.run("--timeout", "2s", "--", "sh", "-c", "sleep 600 & echo $!; wait")
    assert done.returncode == 124
    end = lives.life().end
    assert end.timed_out
    assert end.signals[0].why == "timeout"
    wait_gone(int(done.stdout))


@pytest.mark.parametrize("taker", ["full", "gone"])
def test_where_nobody_takes_its_own_line_the_status_is_the_jobs(lives, taker):
    """Standard error on a disk that is full, or a reader that went: neither is the job's fault, nor hides what is."""
    if taker == "full":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    try:
        options = {"stdout": subprocess.DEVNULL, "stderr": descriptor, "capture_output": False}
        assert lives.run("--", "sh", "-c", "exit 3", **options).returncode == 3
        assert lives.run("--", "sh", "-c", "exit 0", **options).returncode == 0
    finally:
        os.close(descriptor)


def test_a_name_that_is_none_is_told_as_it_was_given(lives):
    """What was typed and what may be, before anything runs."""
    done = lives.run("--name", "n" * 57, "--", "sh", "-c", "echo ran")
    what = f"rondo: --name '{'n' * 57}': letters, digits, _ and - only, 56 at most\n"
    assert (done.returncode, done.stdout, done.stderr.decode()) == (2, b"", what)
    assert lives.run("--name", "n" * 56, "--", "true").returncode == 0


STUBBORN = """
import os, signal, sys, time
if os.fork():
    os.close(1)
    signal.pause()  # until the SIGTERM, of which it dies at once
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("method", METHODS)
def test_a_timeout_ends_who_outlives_the_first_process_too(lives, method):
    """A child that takes no SIGTERM has SIGKILL after the grace, though the job's own process has ended by then."""
    hasty = "from rondo_job import run\nrun.KILL_AFTER_S = 0.3\nfrom rondo_cli.main import main\nmain()"
    options = "--method", method, "--timeout", "2s"
    command = [sys.executable, "-c", hasty, "run", *options, "--", sys.executable, "-c", STUBBORN]
    done = subprocess.run(command, env=lives.environment, cwd=lives.cwd, capture_output=True, timeout=60, check=False)
    assert done.returncode == 124
    wait_gone(int(done.stdout))
    end = lives.life().end
    assert (end.signal, end.timed_out, end.remaining, end.left_group) == (signal.SIGTERM, True, (), False)
    assert [(each.number, each.why) for each in end.signals] == [(15, "timeout"), (9, "timeout")]


def test_a_timeout_of_a_job_that_is_not_recorded_ends_with_it(lives):
    """Nothing but its first process is known then: once that is reaped nobody is waited for, nor sent a signal."""
    patient = "from rondo_job import run\nrun.KILL_AFTER_S = 3600\nfrom rondo_cli.main import main\nmain()"
    job = "--store", "/proc/none", "--timeout", "1s", "--", "sleep", "600"
    command = [sys.executable, "-c", patient, "run", *job]
    done = subprocess.run(command, env=lives.environment, cwd=lives.cwd, capture_output=True, timeout=60, check=False)
    assert done.returncode == 124
    assert b"not recorded" in done.stderr


def test_a_timeout_reaches_a_job_that_is_stopped(lives):
    """It goes on to take its SIGTERM, as by timeout(1), and ends in its own way."""
    done = lives.run("--timeout", "1s", "--", "sh", "-c", "trap 'echo tidied; exit 3' TERM; kill -STOP $$; sleep 600")
    assert (done.returncode, done.stdout) == (124, b"tidied\n")
    assert lives.life().end.exit_code == 3


BUSY_OUTSIDE = """
import os, pathlib, time
for line in open("/proc/self/cgroup"):
    number, names, path = line.strip().split(":", 2)
    if "rondo-job-" in path:
        folder = pathlib.Path("/sys/fs/cgroup", names.removeprefix("name="), *pathlib.Path(path).parts[1:])
        (folder.parent / "cgroup.procs").write_text(str(os.getpid()))
while time.process_time() < 0.6: pass
os.kill(os.getpid(), 9)
"""


def test_what_has_left_the_jobs_control_group_is_not_passed_over(lives):
    """Its group counts nothing of it from then on: CPU is what was waited for, and its counters prove nothing."""
    done = lives.run("--", sys.executable, "-c", BUSY_OUTSIDE)
    life = lives.life()
    if life.start.method != "cgroup1":
        pytest.skip("no control group of version 1 for a job of its own here")
    assert done.returncode == 137
    assert (life.end.left_group, any(level.own for level in life.end.after.levels)) == (True, False)
    assert life.end.cpu_s > 0.5
    assert b"at least 0." in done.stderr
    assert b"(cgroup1, which processes of it left)" in done.stderr
    assert "its own group counts them all" not in str(examine(life.path).diagnosis)
    assert any("left its control group" in line for line in make_report(life.path).advice)


@pytest.mark.parametrize("method", METHODS)
def test_children_are_in_the_table_with_their_ends(lives, method):
    """Each process that was seen: who it was, how it ended; also one that was not the recorder's to wait for."""
    code = """
import subprocess
child = subprocess.Popen(["sleep", "600"])
input()
child.kill()
child.wait()
input()
"""

    def seen():
        return [each for life in Life.all(lives.directory) for each in life.children()[0] if each.command == "sleep"]

    words = ("-q", "--method", method, "--", sys.executable, "-c", code)
    with lives.start(*words, stdin=subprocess.PIPE, bufsize=0) as job:
        wait_until(seen)
        job.stdin.write(b"\n")
        wait_until(lambda: seen()[0].ended_ns)
        job.communicate(b"\n", timeout=60)
    assert job.returncode == 0
    children, evicted = lives.life().children()
    assert evicted == 0
    (sleep,) = [child for child in children if child.command == "sleep"]
    job = next(child for child in children if child.pid == lives.life().start.pid)
    assert sleep.parent_pid == job.pid
    assert job.status == 0
    assert sleep.status in {signal.SIGKILL, None}  # a kernel before 6.15 tells nobody but its parent
    assert 0 < sleep.ended_ns <= lives.life().end.ended_ns


@pytest.mark.parametrize("method", METHODS)
def test_cpu_of_children_is_the_jobs(lives, method):
    """Also of those that lived between two looks: the CPU of the tree is what its processes say they used."""
    code = """
import os, resource
for _ in range(40):
    if os.fork() == 0:
        sum(range(200_000))
        os._exit(0)
    os.wait()
used = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
print(sum(each.ru_utime + each.ru_stime for each in used))
"""
    done = lives.run("-q", "--method", method, "--", sys.executable, "-c", code)
    said = float(done.stdout)
    life = lives.life()
    assert said <= life.end.cpu_s + 0.02
    assert life.end.cpu_s <= said * 1.3 + 0.2  # the interpreter's end comes after it has said so
    recorded = sum(last(life, f"job_cpu_seconds_total{{mode={mode}}}") for mode in ("user", "system"))
    assert recorded == pytest.approx(life.end.cpu_s, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_is_counted_while_the_job_lives(lives, method):
    """A process that forked twice and has a session of its own is the job's still."""
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        sum(range(10_000_000))
        os.write(1, b"%d\\n" % sum(1000 * used for used in os.times()[:2]))
        os._exit(0)
    os._exit(0)
os.wait()
os.read(0, 1)
"""
    job = lives.start("-q", "--method", method, "--", sys.executable, "-c", code, stdin=subprocess.PIPE)
    used_s = int(job.stdout.readline()) / 1000
    job.communicate(b"\n", timeout=60)
    assert lives.life().end.cpu_s >= used_s - 0.02 > 0


@pytest.mark.parametrize("method", METHODS)
def test_what_runs_on_is_named(lives, method):
    """A process of the job that is alive when the job has ended is on record, and is left to run."""
    job = lives.run("-q", "--method", method, "--", "sh", "-c", "sleep 600 >&- 2>&- & echo $!")
    pid = int(job.stdout)
    assert lives.life().end.remaining == (pid,)
    os.kill(pid, signal.SIGKILL)


def test_a_spike_of_memory_is_the_kernels_to_tell(lives):
    """By control group the peak is there, however short it was."""
    code = "import mmap; m = mmap.mmap(-1, 200 << 20)\nfor at in range(0, len(m), 4096): m[at] = 1\nm.close()"
    assert lives.run("-q", "--", sys.executable, "-c", code).returncode == 0
    life = lives.life()
    if life.start.method == "tree":
        pytest.skip("no control group can be made here")
    assert 200 << 20 <= life.end.memory_peak_bytes < 260 << 20


def test_a_limit_of_memory_is_the_jobs_alone(lives):
    """With --memory-max the job is killed for it, the recorder is not, and the counters are the proof."""
    code = "import mmap; m = mmap.mmap(-1, 300 << 20)\nfor at in range(0, len(m), 4096): m[at] = 1"
    done = lives.run("--memory-max", "100MiB", "--", sys.executable, "-c", code)
    if b"no control group" in done.stderr:
        assert done.returncode == 2
        pytest.skip("no control group can be made here")
    assert done.returncode == 137
    life = lives.life()
    before, after = life.start.before, life.end.after
    assert life.start.memory_limit_bytes == 100 << 20
    assert after.levels[0].own
    assert after.levels[0].oom_kill_local - before.levels[0].oom_kill_local == 1


def test_by_tree_there_is_no_limit_of_memory(lives):
    """What cannot be is refused before anything runs."""
    done = lives.run("--method", "tree", "--memory-max", "100MiB", "--", "touch", "ran")
    assert done.returncode == 2
    assert b"--memory-max" in done.stderr
    assert not (lives.cwd / "ran").exists()


def test_marks_and_gauges_come_from_any_shell_inside(lives):
    """`rondo mark`, `rondo set`, a line that is appended, and groups of a CI system's log lie in the life."""
    script = """
rondo mark tests-begin suite=unit
rondo set queue_depth 7 queue=mail
echo 'mark by-hand' >> "$RONDO_LIFE/life.inbox"
echo '::group::Install packages'
"""
    done = lives.run("-q", "--", "sh", "-c", script)
    assert done.stderr == b""
    life = lives.life()
    marks = [str(event) for event in life.marks()]
    assert sorted(marks) == ["by-hand", "group title=Install packages", "tests-begin suite=unit"]
    assert last(life, "queue_depth{queue=mail}") == 7
    assert life.unread() == []


def test_outside_of_a_life_there_is_nowhere_to_mark(lives):
    """One line, and status 2."""
    done = subprocess.run(
        [sys.executable, "-m", "rondo_cli", "mark", "x"], env=lives.environment, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"rondo: RONDO_LIFE: ")


def test_a_programs_own_store_is_part_of_the_life(lives):
    """What a program inside declares by open_store() lies beside the life's store, with its name on it."""
    code = "from rondo_core import open_store\nwith open_store('web') as store: store.counter('seen_total').inc()"
    assert lives.run("-q", "--", sys.executable, "-c", code).returncode == 0
    (store,) = lives.life().stores()
    assert store.parent == lives.directory
    assert store.name.startswith("web-")
    done = subprocess.run(
        [sys.executable, "-m", "rondo_cli", "query", lives.directory, "seen_total"], capture_output=True, check=False
    )
    assert f'rondo_life="{lives.life().name}"'.encode() in done.stdout


def test_the_directory_is_bounded(lives):
    """As many lives as were asked for are kept; older ones are folded, and their sums stay: these are no life."""
    for number in range(2):
        assert lives.run("-q", "--keep-last", "1", "--", "sh", "-c", f"exit {number}").returncode == number
    assert [life.end.exit_code for life in Life.all(lives.directory)] == [1]
    assert (lives.directory / "ended.rondo").exists()
    assert lives.run("-q", "--keep-last", "0", "--", "true").returncode == 0
    with pytest.raises(StoreNotFoundError, match="no life lies there"):
        lives_at(lives.directory)


def test_exporters_get_a_job_to_its_end(lives):
    """Those of a rondo.toml, while it runs and when it has ended: the last total is what the life has."""
    (lives.cwd / "rondo.toml").write_text('[exporters.jsonl]\npath = "lines"\n[recorders.process]\n')
    assert lives.run("-q", "--", sys.executable, "-c", "sum(range(10**6))").returncode == 0
    lines = [json.loads(line) for line in (lives.cwd / "lines").read_text().splitlines()]
    sent = [
        line["value"] for line in lines if line["name"] == "job_cpu_seconds_total" and line["labels"]["mode"] == "user"
    ]
    assert sent[-1] == last(lives.life(), "job_cpu_seconds_total{mode=user}")
    assert not [line for line in lines if line["name"].startswith("process_")]  # which would be the recorder's own


def test_a_store_that_cannot_be_made_keeps_no_job_from_running(lives):
    """One line says that it was not recorded, and the status is the job's."""
    lives.directory.parent.mkdir(parents=True)
    lives.directory.write_text("a file")
    done = lives.run("--", "sh", "-c", "echo ran; exit 5")
    assert (done.returncode, done.stdout) == (5, b"ran\n")
    assert b"not recorded" in done.stderr


@pytest.mark.parametrize(("every", "name"), [("50ms", "50ms/2m"), ("1s", "1s/10m")])
def test_how_often_it_is_measured_is_the_finest_tier(lives, every, name):
    """--every below a second makes a tier of it."""

    def measured(life):
        with life.open() as reader:
            known = any(series.name == "job_processes" for series in reader.registry)
            return len(reader.query("job_processes", tier=0)[0].values) if known else 0

    with lives.start("-q", "--every", every, "--", "cat", stdin=subprocess.PIPE) as job:
        wait_until(lambda: any(measured(life) >= (3 if every != "1s" else 1) for life in Life.all(lives.directory)))
        job.communicate(timeout=60)
    assert job.returncode == 0
    with lives.life().open() as reader:
        assert name in {str(schema.tiers[0]) for schema in reader.meta.schemas}


def test_an_interval_that_no_second_is_made_of_is_refused(lives):
    """Before anything runs."""
    done = lives.run("--every", "70ms", "--", "touch", "ran")
    assert done.returncode == 2
    assert b"--every 70ms" in done.stderr
    assert not (lives.cwd / "ran").exists()
