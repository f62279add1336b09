"""Every cause of the table, made to happen: the autopsy names it. `make soak-autopsy`: ten of each, in random order."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rondo_core.clock import NS_PER_S
from rondo_job import Life
from rondo_job.autopsy import gather
from rondo_job.autopsy.examine import examine
from rondo_job.files import names
from tests.job.conftest import TOLD, Lives, wait_gone, wait_until

ROUNDS = int(os.environ.get("RONDO_AUTOPSY_ROUNDS", "0"))
SEED = int(os.environ.get("RONDO_AUTOPSY_SEED", "16"))
CPU_S = int(os.environ.get("RONDO_AUTOPSY_CPU_S", "2"))  # a limit that the recorder does not meet at its start
PYTHON = sys.executable
READY = "print('ready', flush=True)\n"
SLEEPS = f"{READY}import time\ntime.sleep(600)\n"
BALLOON = "held = []\nwhile True: held.append(b'x' * 1000000)\n"
STORE = (
    "import rondo_core\nstore = rondo_core.open_store('inner', tick_interval=0.2)\nstore.counter('steps_total').inc()\n"
)


def limited(name, soft):
    """What sets a limit of resources in a child before it becomes rondo."""
    which = getattr(resource, f"RLIMIT_{name}")
    return lambda: resource.setrlimit(which, (soft, resource.getrlimit(which)[1]))


class Ends:
    """Each method makes one end in a directory of its own, and gives the life, what may be said, and options."""

    def __init__(self, lives, monkeypatch):
        self.lives, self.patch = lives, monkeypatch
        self.jobs = []

    def ran(self, *words, **options):
        self.lives.run("-q", *words, **options)
        return self.lives.life()

    def started(self, *words, code=SLEEPS, **options):
        """A run that has said it is ready, and its life."""
        job = self.lives.start("-q", *words, "--", PYTHON, "-c", code, **options)
        self.jobs.append(job)
        assert job.stdout.readline() == b"ready\n"
        return job, self.lives.life()

    def end(self):
        """End what was started, the job before its recorder."""
        for job in self.jobs:
            if job.poll() is None:
                os.kill(self.lives.life().start.pid, signal.SIGKILL)
            job.communicate(timeout=60)

    def script(self, code, *words, **options):
        return self.ran(*words, "--", PYTHON, "-c", code, **options)

    # -- by itself

    def finished(self):
        return self.ran("--", "true"), ("finished", "proven")

    def exited(self):
        return self.ran("--", "sh", "-c", "exit 3"), ("exit", "proven")

    def said_137(self):
        return self.ran("--", "sh", "-c", "exit 137"), ("exit", "proven")

    def exception(self):
        return self.script("{}['missing']"), ("exception", "likely")

    def exception_on_record(self):
        return self.script(f"{STORE}raise LookupError('no such order')"), ("exception", "proven")

    def too_many_files(self):
        code = f"{STORE}files = [open('/dev/null') for _ in range(400)]"
        return self.script(code, preexec_fn=limited("NOFILE", 200)), ("limit", "proven")

    def full_disk(self):
        return self.ran("--", "sh", "-c", "cat /proc/version > /dev/full"), ("limit", "likely")

    def never_begun(self):
        return self.ran("--", "nothing-of-that-name"), ("start-failed", "proven")

    # -- by SIGKILL

    def oom(self):
        return self.script(BALLOON, "--memory-max", "48MB"), ("oom", "proven")

    def oom_of_a_child(self):
        words = ("--memory-max", "48MB", "--", "sh", "-c", f'{PYTHON} -c "$1"; exit $?', "sh", BALLOON)
        return self.ran(*words), ("oom", "proven")

    def killed(self, *method):
        job, life = self.started(*method)
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate()
        return life, ("killed", "proven")

    def killed_in_a_shared_group(self):
        return self.killed("--method", "tree")

    def killed_while_a_neighbour_ran_out(self, *method):
        job, life = self.started(*method)
        neighbour = Lives(self.lives.directory.parent / "neighbour", self.lives.cwd)
        assert neighbour.run("-q", "--memory-max", "32MB", "--", PYTHON, "-c", BALLOON).returncode == 137
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate()
        return life, ("killed", "proven")

    def killed_beside_it_in_a_shared_group(self):
        """Without a kernel's log to read, nobody can tell; with one, it was someone. Never OOM."""
        life, _ = self.killed_while_a_neighbour_ran_out("--method", "tree")
        return life, ("killed sigkill", None)

    def hidden_counters(self):
        job, life = self.started("--method", "tree")
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate()
        for name, key in ((names.START, "before"), (names.END, "after")):
            facts = json.loads((life.path / name).read_text())
            levels = [{"path": each["path"], "own": False} for each in facts[key]["levels"]]
            facts[key] |= {"levels": levels, "vmstat": None, "hidden": ["/proc/vmstat: oom_kill cannot be read"]}
            (life.path / name).write_text(json.dumps(facts))
        return life, ("sigkill", "cannot tell")

    def told_and_then_killed(self):
        code = (
            f"import signal\nsignal.signal(15, lambda *_: print('no', flush=True))\n{READY}while True: signal.pause()"
        )
        job, life = self.started(code=code)
        job.terminate()
        assert job.stdout.readline() == b"no\n"
        os.kill(life.start.pid, signal.SIGKILL)
        job.communicate()
        return life, ("stop-grace", "likely")

    def timeout(self):
        return self.script(SLEEPS, "--timeout", "500ms"), ("timeout", "proven")

    # -- by other signals

    def told(self):
        job, life = self.started()
        job.terminate()
        job.communicate()
        return life, ("signal", "proven")

    def segmentation_fault(self):
        code = f"import faulthandler\nfaulthandler.enable()\n{READY}faulthandler._sigsegv()"
        return self.script(code), ("crash", "proven")

    def abort(self):
        return self.script("import os\nos.abort()"), ("crash", "proven")

    def cpu_limit(self):
        return self.script("while True: pass", preexec_fn=limited("CPU", CPU_S)), ("limit", "proven")

    def file_limit(self):
        code = "import signal\nsignal.signal(25, signal.SIG_DFL)\nopen('big', 'wb').write(b'x' * 50000000)"
        return self.script(code, preexec_fn=limited("FSIZE", 20_000_000)), ("limit", "proven")

    # -- without a word

    def machine_stopped(self):
        """As a life looks that a power cut ended: no end, another boot, and the present one younger than its samples."""
        life = self.recorder_killed_too()[0]
        facts = json.loads((life.path / names.START).read_text())
        facts["host"]["boot_id"] = "11111111-2222-4333-8444-555555555555"
        (life.path / names.START).write_text(json.dumps(facts))
        self.patch.setattr(gather, "boot_ns", lambda: 0)
        return life, ("machine-stopped", "proven")

    def recorder_killed_too(self):
        job, life = self.started()
        recorder = life.start.recorder_pid
        relays = {int(pid) for pid in children_of(recorder)} - {life.start.pid}
        for pid in (*relays, recorder, life.start.pid):  # the job last: either of the others would have seen its end
            os.kill(pid, signal.SIGKILL)
        job.communicate()
        for pid in (*relays, life.start.pid):
            wait_gone(pid)
        return life, ("unseen", "cannot tell")

    def killed_without_its_recorder(self):
        """The relay sees the end of a job whose recorder is gone, and reads the counters."""
        job, life = self.started()
        os.kill(life.start.recorder_pid, signal.SIGKILL)
        wait_gone(life.start.recorder_pid)
        os.kill(life.start.pid, signal.SIGKILL)
        wait_until(lambda: life.end is not None)
        job.communicate()
        return life, ("killed", "proven") if TOLD else ("unseen", "cannot tell")

    def program_in_a_job(self):
        """Of a program that was killed, its own store knows nothing; the job that it ran in does."""
        _, life = self.started("--memory-max", "96MB", code=f"{STORE}{READY}input()\n{BALLOON}", stdin=subprocess.PIPE)
        (job,) = self.jobs
        job.communicate(b"\n", timeout=60)
        return Life(life.path), ("oom", "proven"), {"inner": True}

    # -- alive

    def child_died(self):
        code = f"import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n{READY}child.wait()\n{SLEEPS}"
        _, life = self.started(code=code)
        wait_until(lambda: len(life.children()[0]) == 2)
        os.kill(life.children()[0][1].pid, signal.SIGSEGV)
        wait_until(lambda: life.children()[0][1].status is not None if TOLD else life.children()[0][1].ended_ns)
        return life, ("child-died" if TOLD else "running", "proven")

    def hang(self):
        _, life = self.started(code=STORE + SLEEPS)
        wait_until(lambda: gather.gather(life.path).activities[0].ticked_ns)
        changed = gather.gather(life.path).activities[0].changed_ns
        assert changed
        return life, ("hang", "likely"), {"flat_ns": 2 * NS_PER_S, "now_ns": changed + 3 * NS_PER_S}


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


CAUSES = [name for name in vars(Ends) if not name.startswith("_") and name not in {"ran", "started", "end", "script"}]
OUT_OF_MEMORY = {name for name in CAUSES if "oom" in name or "ran_out" in name or "beside_it" in name} | {
    "program_in_a_job"
}
# Those of which the rest are variations, by what has to be real to be seen; all of them where rounds are asked for.
FEW = (
    *("exception_on_record", "too_many_files", "oom", "oom_of_a_child", "killed_beside_it_in_a_shared_group"),
    *("hidden_counters", "told_and_then_killed", "segmentation_fault", "machine_stopped", "child_died", "hang"),
)
ORDER = random.Random(SEED).sample(CAUSES * ROUNDS, len(CAUSES) * ROUNDS) if ROUNDS else FEW


@pytest.mark.parametrize("cause", ORDER)
def test_the_autopsy_names_the_cause(lives, cause, monkeypatch, tmp_path):
    """The right cause with the right verdict; and no word of memory where the OOM killer was not at work on it."""
    if cause in OUT_OF_MEMORY:
        elsewhere = Lives(tmp_path / "elsewhere", tmp_path)
        tried = elsewhere.run("-q", "--memory-max", "1GB", "--", "true")
        if b"no control group" in tried.stderr:
            pytest.skip("no control group can be made here")
    ends = Ends(lives, monkeypatch)
    try:
        life, (expected, verdict), *more = getattr(ends, cause)()
        options = dict(*more)
        found = examine(life.stores()[0] if options.pop("inner", False) else life.path, **options)
    finally:
        ends.end()
    assert found.diagnosis.cause in expected.split(), found.diagnosis
    assert verdict is None or found.diagnosis.verdict == verdict, found.diagnosis
    assert found.diagnosis.evidence
    assert found.diagnosis.cause == "oom" or not any(each.cause == "oom" for each in found.others)
