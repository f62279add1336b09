"""What of a job is measured comes by the hook, from plugins like anyone's; the default ones say what docs/run.md says."""

import re
import sys
from pathlib import Path

import pytest

from rondo_core import ManualClock, Plugins, Store, hookimpl
from rondo_job import hookspecs
from rondo_job.groups.leaf import Leaf
from rondo_job.groups.mounted import V2, Group
from rondo_job.hookspecs import Job
from rondo_job.plugins import commands, group, processes
from rondo_job.processes.tree import TreeTotals
from rondo_job.schemas import job_schemas

PAGE = (Path(__file__).parents[2] / "docs/run.md").read_text()


class FakeTree:
    """A tree as a test says that it is."""

    def __init__(self, **totals):
        self.processes, self.totals = {}, TreeTotals(**totals)


@pytest.fixture
def store(tmp_path):
    """A store of a life."""
    with Store(tmp_path / "s.rondo", job_schemas(10**9), clock=ManualClock()) as store:
        yield store


def value(store, selector):
    return float(store.query(selector)[0].values[-1])


def v2_group(tmp_path, **files):
    """A control group of version 2, below a root that has a quota."""
    folder = tmp_path / "cgroup" / "job"
    folder.mkdir(parents=True)
    (folder.parent / "cpu.max").write_text("150000 100000\n")
    (folder.parent / "cpu.stat").write_text("usage_usec 1\nthrottled_usec 1000\n")
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return Group(folder.parent, folder)


def test_hook_rondo_job_bind(store):
    """A plugin is told of the job, and what it hands back is called with the time; one that raises is left alone."""
    seen = []

    class Mine:
        @hookimpl
        def rondo_job_bind(self, declare, job):
            gauge = declare.gauge("gpu_memory_bytes", pid=job.pid)

            def tick(now_ns):
                seen.append(now_ns)
                gauge.set(7.0, now_ns)

            return tick

    class Broken:
        @hookimpl
        def rondo_job_bind(self, job):
            raise ValueError(job.method)

    plugins = Plugins(hookspecs)
    plugins.register(Mine(), "mine")
    plugins.register(Broken(), "broken")
    job = Job(42, "tree", {}, False, FakeTree())
    (tick,) = plugins.bind_guarded("rondo_job_bind", declare=store, job=job)
    tick(store.clock())
    assert seen == [store.clock()]
    assert value(store, "gpu_memory_bytes{pid=42}") == 7
    assert plugins.failures == {"broken": 1}


def test_a_group_of_version_2_is_read_as_the_kernel_writes_it(store, tmp_path):
    """CPU, memory by kind, the peak, OOM kills, pressure, and throttling where the limit is."""
    own = v2_group(
        tmp_path,
        cpu_stat="usage_usec 5000000\nuser_usec 3000000\nsystem_usec 2000000\n",
        memory_current="1000\n",
        memory_peak="4000\n",
        memory_stat="anon 500\nfile 300\nshmem 100\npgfault 60\npgmajfault 10\n",
        memory_events="low 0\noom 1\noom_kill 2\n",
        cpu_pressure="some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=500000\n",
    )
    tick = group.rondo_job_bind(store, Job(1, "cgroup2", {V2: own}, True, FakeTree()))
    tick(store.clock())
    (own.mount / "cpu.stat").write_text("usage_usec 1\nthrottled_usec 3001000\n")
    tick(store.clock())
    wanted = {
        "job_cpu_seconds_total{mode=user}": 3,
        "job_cpu_seconds_total{mode=system}": 2,
        "job_memory_bytes": 1000,
        "job_memory_peak_bytes": 4000,
        "job_memory_anonymous_bytes": 500,
        "job_memory_file_bytes": 200,
        "job_memory_shared_bytes": 100,
        "job_page_faults_total{kind=minor}": 50,
        "job_page_faults_total{kind=major}": 10,
        "job_oom_kills_total": 2,
        "job_pressure_stalled_seconds_total{resource=cpu,share=some}": 2.5,
        "job_pressure_stalled_seconds_total{resource=cpu,share=full}": 0.5,
        "job_cpu_throttled_seconds_total": 3,
    }
    assert {selector: value(store, selector) for selector in wanted} == wanted


def test_by_tree_cpu_and_memory_come_from_the_processes(store):
    """Counters do not shrink where a process that had used much has gone."""
    tree = FakeTree(user_s=2.0, system_s=1.0, n_processes=3, n_threads=5, n_files=9, pss=4096, pss_anonymous=2048)
    tick = processes.rondo_job_bind(store, Job(1, "tree", {}, False, tree))
    tick(store.clock())
    tree.totals = TreeTotals(user_s=1.5, system_s=1.25, n_processes=1, pss=100, pss_anonymous=50)
    tick(store.clock())
    assert value(store, "job_cpu_seconds_total{mode=user}") == 2
    assert value(store, "job_cpu_seconds_total{mode=system}") == 1.25
    assert [value(store, f"job_{name}") for name in ("processes", "memory_bytes")] == [1, 100]
    assert float(store.query("job_memory_bytes", fn="max")[0].values[-1]) == 4096


class FakeProcess:
    """A process as a test says that it is."""

    def __init__(self, pid, command, cpu_s, resident_bytes):
        self.pid, self.command, self.cpu_s, self.resident_bytes, self.started_ticks = (
            pid,
            command,
            cpu_s,
            resident_bytes,
            pid,
        )


def test_commands_that_matter_are_named_and_all_others_are_one(store):
    """Eight at most; what processes used that were not seen is among the others."""
    tree = FakeTree(user_s=30.0)
    for pid in range(1, 13):
        tree.processes[pid] = FakeProcess(pid, f"cc{pid}", float(pid), 1 << 20)
    tree.processes[20] = FakeProcess(20, "tiny", 0.01, 1 << 10)
    tick = commands.rondo_job_bind(store, Job(1, "tree", {}, False, tree))
    tick(store.clock())
    named = {series.labels[0][1] for series in store.view.series("job_command_cpu_seconds_total")}
    assert named == {"other", *(f"cc{pid}" for pid in range(5, 13))}
    assert value(store, "job_command_cpu_seconds_total{command=cc12}") == 12
    tree.totals = TreeTotals(user_s=100.0)
    tick(store.clock())
    assert value(store, "job_command_cpu_seconds_total{command=other}") == 100 - sum(range(5, 13))


def test_every_series_of_a_run_is_on_its_page(lives):
    """docs/run.md names each."""
    assert lives.run("-q", "--", sys.executable, "-c", "pass").returncode == 0
    with lives.life().open() as reader:
        names = {series.name for series in reader.series("{__name__=~'job_.*'}")}
    known = set(re.findall(r"`(job_[a-z_]+)", PAGE)) | {
        f"job_memory_{kind}_bytes" for kind in ("file", "shared", "swap")
    }
    assert len(names) > 10
    assert names <= known


def test_a_leaf_of_version_2_is_limited_by_its_files(tmp_path):
    """memory.max, and no swap to go to."""
    own = v2_group(tmp_path, memory_max="max\n")
    (own.path / "memory.swap.max").write_text("max\n")
    Leaf("cgroup2", "", {V2: own}, own=True).limit_memory(1 << 20)
    assert (own.path / "memory.max").read_text() == "1048576"
    assert (own.path / "memory.swap.max").read_text() == "0"
