"""Jobs in control groups of version 2, as the kernel has them; `make test-cgroup2` runs this in a guest that does.

A unit is what a supervisor delegates: a group with the recorder alone in it.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_job import Life
from rondo_job.autopsy.examine import examine
from tests.job.conftest import last, wait_until

pytestmark = pytest.mark.cgroup2
ROOT = Path("/sys/fs/cgroup")
PYTHON = sys.executable
MIB = 1 << 20
TOUCHES = "held = bytearray({mib} << 20)\nheld[::4096] = b'x' * len(held[::4096])\n"
BALLOON = "held = []\nwhile True: held.append(b'x' * 1000000)\n"
ENDS_S = 1.0  # of CPU, for an interpreter to end in a guest that is emulated
OWN = "import pathlib\nown = pathlib.Path('/sys/fs/cgroup' + open('/proc/self/cgroup').read().strip().split('::')[1])\n"
WAITS = "print('ready', flush=True)\nimport time\ntime.sleep(600)\n"


@pytest.fixture
def unit(request):
    """A group that nobody is in yet."""
    folder = ROOT / f"unit-{os.getpid()}-{abs(hash(request.node.name)) % 10**6}"
    folder.mkdir()
    yield folder
    for below in sorted(folder.rglob("cgroup.procs"), reverse=True):
        with contextlib.suppress(OSError):
            below.parent.rmdir()


def within(folder):
    """Put a process that is about to become rondo into a group."""
    return {"preexec_fn": lambda: (folder / "cgroup.procs").write_text(str(os.getpid()))}


def ran(lives, unit, code, *words):
    """Run Python's code as a job of a unit to its end; give its output and its life."""
    done = lives.run(*words, "--", PYTHON, "-c", code, **within(unit))
    return done, lives.life()


def level(evidence, name):
    (found,) = [each for each in evidence.levels if each.path.endswith(name)]
    return found


def test_a_delegated_group_is_parted_and_the_figures_are_the_kernels(lives, unit):
    """The job in a leaf, the recorder in a group beside it; the peak is memory.peak, the CPU cpu.stat's; no leaf stays."""
    prints = "print(own, (own / 'memory.peak').read_text(), (own / 'cpu.stat').read_text())"
    code = f"{OWN}{TOUCHES.format(mib=200)}{prints}"
    done, life = ran(lives, unit, code)
    where, peak, *cpu = done.stdout.decode().split()
    assert done.returncode == 0, done.stderr
    assert b"(cgroup2)" in done.stderr
    assert (life.start.method, life.start.why) == ("cgroup2", "")
    assert Path(where).parent == unit
    assert not Path(where).exists()
    assert (unit / "rondo-recorder").exists()
    assert {"cpu", "memory", "pids"} <= set((unit / "cgroup.subtree_control").read_text().split())
    assert int(peak) <= life.end.memory_peak_bytes <= int(peak) + 4 * MIB
    used_s = int(cpu[cpu.index("usage_usec") + 1]) / 1e6
    assert used_s <= life.end.cpu_s <= used_s * 1.02 + ENDS_S
    assert abs(last(life, "job_memory_peak_bytes", fn="max") - life.end.memory_peak_bytes) < 4 * MIB
    with life.open() as reader:
        anonymous = reader.query("job_memory_anonymous_bytes", fn="max")[0].values.max()
    assert 192 * MIB <= anonymous <= 216 * MIB  # the kernel adds memory.stat up in batches; Python has some of its own


def test_a_kill_at_the_jobs_own_limit_is_told_as_that(lives, unit):
    """`--memory-max` is memory.max of the leaf: its `oom` rose, and the autopsy names the limit as the job's own."""
    done, life = ran(lives, unit, BALLOON, "--memory-max", "64MiB")
    assert done.returncode == 137
    own = life.start.before.levels[0]
    assert own.own
    assert life.end.after.levels[0].limit_bytes == 64 * MIB
    found = examine(life.path).diagnosis
    assert (found.cause, found.verdict) == ("oom", "proven")
    assert f"memory ran out at the limit of 64.0 MiB of {own.path}, whose oom rose" in found.evidence


def test_a_kill_at_a_limit_above_names_the_level_above(lives, unit):
    """The unit's memory.max was met: the leaf counts the kill, and the unit's `oom` says whose limit it was."""
    (unit / "memory.max").write_text(str(128 * MIB))
    (unit / "memory.swap.max").write_text("0")
    done, life = ran(lives, unit, BALLOON)
    assert done.returncode == 137
    assert life.start.memory_limit_bytes == 128 * MIB
    found = examine(life.path).diagnosis
    assert (found.cause, found.verdict) == ("oom", "proven")
    assert f"memory ran out at the limit of 128.0 MiB of /{unit.name}, whose oom rose" in found.evidence
    assert found.evidence[1].startswith("oom_kill of the own group")


def test_who_leaves_the_jobs_group_is_told(lives, unit):
    """Its CPU is what was waited for, and the group's counters, which have nothing of it, prove nothing."""
    leave = "(own.parent / 'rondo-recorder' / 'cgroup.procs').write_text(str(os.getpid()))"
    code = f"{OWN}import os, time\n{leave}\nwhile time.process_time() < 1: pass\nos.kill(os.getpid(), 9)"
    done, life = ran(lives, unit, code)
    assert done.returncode == 137
    assert (life.end.left_group, any(each.own for each in life.end.after.levels)) == (True, False)
    assert life.end.cpu_s >= 1
    assert b"(cgroup2, which processes of it left)" in done.stderr


def test_groups_that_a_job_makes_are_measured_counted_and_removed_with_it(lives, unit):
    """A process in one is in the table, memory.events counts its OOM kill; a kill -9 of the job stays a kill -9."""
    balloon = "import os\nopen({!r}, 'w').write(str(os.getpid()))\n" + BALLOON
    code = (
        f"{OWN}import os, subprocess\ninner, moved = own / 'inner', own / 'moved'\ninner.mkdir(), moved.mkdir()\n"
        "(moved / 'cgroup.procs').write_text(str(os.getpid()))\n"
        "(own / 'cgroup.subtree_control').write_text('+memory')\n(inner / 'memory.max').write_text('32M')\n"
        f"code = {balloon!r}.format(str(inner / 'cgroup.procs'))\n"
        f"print(subprocess.run(['{PYTHON}', '-c', code]).returncode, flush=True)\n{WAITS}"
    )
    with lives.start("-q", "--", PYTHON, "-c", code, **within(unit)) as job:
        assert job.stdout.readline() == b"-9\n"
        assert job.stdout.readline() == b"ready\n"
        life = lives.life()
        wait_until(lambda: life.children()[0][-1].ended_ns)
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate(timeout=120)
    own = life.end.after.levels[0]
    assert (own.oom_kill, own.oom_kill_local) == (1, 0)
    assert not list(unit.glob("rondo-job-*"))
    children, _ = life.children()
    assert len([each for each in children if each.parent_pid == life.start.pid]) == 1
    found = examine(life.path).diagnosis
    assert (found.cause, found.verdict) == ("killed", "proven"), found
    assert any("the kernel's log names whom the OOM killer killed then" in each for each in found.evidence)


def test_a_neighbour_below_the_same_limit_ran_out(lives, unit):
    """Its kill raises the unit's counter and not the leaf's: the job, killed by hand, was killed by someone."""
    (unit / "memory.max").write_text(str(256 * MIB))
    with lives.start("-q", "--", PYTHON, "-c", WAITS, **within(unit)) as job:
        assert job.stdout.readline() == b"ready\n"
        neighbour = unit / "neighbour"
        neighbour.mkdir()
        (neighbour / "memory.max").write_text(str(32 * MIB))
        subprocess.run([PYTHON, "-c", BALLOON], check=False, **within(neighbour))
        life = lives.life()
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate(timeout=120)
    assert level(life.end.after, unit.name).oom_kill == 1
    found = examine(life.path).diagnosis
    assert (found.cause, found.verdict) == ("killed", "proven")


CONTAINED = """
import ctypes, os, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWCGROUP, MS_RDONLY, MS_REMOUNT, MS_BIND = 0x20000, 0x2000000, 1, 0x20, 0x1000
MS_REC, MS_PRIVATE, MNT_DETACH = 0x4000, 0x40000, 2
assert not libc.unshare(CLONE_NEWNS | CLONE_NEWCGROUP), ctypes.get_errno()
assert not libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), ctypes.get_errno()
assert not libc.umount2(b"/sys/fs/cgroup", MNT_DETACH), ctypes.get_errno()
assert not libc.mount(b"cgroup2", b"/sys/fs/cgroup", b"cgroup2", 0, None), ctypes.get_errno()
assert not libc.mount(None, b"/sys/fs/cgroup", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None), ctypes.get_errno()
os.execv(sys.executable, [sys.executable, "-m", "rondo_cli", *sys.argv[1:]])
"""


def test_in_a_container_its_own_group_is_all_that_is_seen(lives, unit):
    """Read-only, as most container runtimes mount it: by tree; a kill at the container's limit is likely, not proven.

    The recorder lives in the same limit; it lowers its own score, and the kernel takes the job.
    """
    (unit / "memory.max").write_text(str(160 * MIB))
    (unit / "memory.swap.max").write_text("0")
    words = ["run", "-q", "--", PYTHON, "-c", BALLOON]
    done = subprocess.run(
        [PYTHON, "-c", CONTAINED, *words], env=lives.environment, cwd=lives.cwd, check=False, timeout=120, **within(unit)
    )  # fmt: skip
    assert done.returncode == 137
    life = lives.life()
    assert life.start.method == "tree"
    assert [each.path for each in life.start.before.levels] == ["/"]
    assert life.start.memory_limit_bytes == 160 * MIB
    assert (life.end.after.levels[0].oom_kill, life.end.after.levels[0].own) == (1, False)
    diagnosis = examine(life.path).diagnosis
    assert diagnosis.cause == "oom", diagnosis


def test_the_command_says_it_to_a_reader_and_to_a_program(lives, unit):
    """`rondo autopsy --format json` of a kill by the OOM killer, over the command line."""
    _, life = ran(lives, unit, BALLOON, "--memory-max", "48MiB")
    words = [PYTHON, "-m", "rondo_cli", "autopsy", str(life.path), "--format", "json"]
    said = subprocess.run(words, capture_output=True, check=False, env=lives.environment)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["cause"] == "oom"
    assert Life(life.path).end.memory_peak_bytes <= 48 * MIB
