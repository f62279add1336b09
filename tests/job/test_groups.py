"""Control groups as trees of files: which leaf is made, what is evidence, and what is said to be hidden."""

import os
import subprocess
from pathlib import Path

import pytest

from rondo_job.groups import leaf as leaf_module
from rondo_job.groups.evidence import read_evidence, read_limits
from rondo_job.groups.leaf import make_leaf
from rondo_job.groups.mounted import V2, Group, find_groups


def write(folder, **files):
    """Make a group of files; the first _ of a name is its dot."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".", 1)).write_text(text)
    return folder


def test_groups_are_found_by_mount_and_by_controller(tmp_path):
    """Version 2 and version 1 side by side; in a container whose group lies outside of what is mounted, the mount."""
    write(tmp_path / "proc/self", cgroup="")
    (tmp_path / "proc/self/cgroup").write_text("5:cpu,cpuacct:/a\n4:memory:/docker/x\n0::/user/b\n")
    (tmp_path / "proc/self/mountinfo").write_bytes(
        b"7 0 0:7 / /media/\xff\xc2\x85stick rw - ext4 /dev/sdb1 rw\n"  # of any bytes, as somebody named it
        b"1 0 0:1 / /sys/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
        b"2 0 0:2 /docker/x /sys/memory rw - cgroup cgroup rw,memory\n"
        b"3 0 0:3 /elsewhere /sys/unified rw - cgroup2 cgroup2 rw\n"
    )
    for place in ("cpu/a", "memory", "unified"):
        (tmp_path / "sys" / place).mkdir(parents=True)
    found = find_groups(root=tmp_path)
    assert found["cpuacct"] == found["cpu"] == Group(tmp_path / "sys/cpu", tmp_path / "sys/cpu/a")
    assert found["memory"].path == tmp_path / "sys/memory"
    assert found[V2].path == tmp_path / "sys/unified"


def test_evidence_is_read_at_every_level(tmp_path):
    """The job's own first; limits and counters of each as the kernel has them; the least limit is the job's."""
    root = write(tmp_path / "cg", cgroup_controllers="memory")
    above = write(
        root / "slice",
        memory_current="9",
        memory_max="1000",
        memory_events="oom 4\noom_kill 5\n",
        cpu_max="200000 100000",
    )
    own = write(
        above / "job",
        memory_current="5",
        memory_max="max",
        memory_peak="77",
        memory_events="oom 1\noom_kill 2\n",
        cpu_max="max 100000",
        pids_max="50",
    )
    (own / "memory.events.local").write_text("oom 0\noom_kill 1\n")
    write(tmp_path / "proc", vmstat="pgfault 1\noom_kill 8\n")
    (tmp_path / "proc/vmstat").write_text("pgfault 1\noom_kill 8\n")
    groups = {V2: Group(root, own)}
    found = read_evidence(groups, 3, own=True, proc=tmp_path / "proc")
    job, slice_level, top = found.levels
    assert (job.path, job.own, job.limit_bytes, job.oom, job.oom_kill, job.oom_kill_local, job.peak_bytes) == (
        "/slice/job",
        True,
        None,
        0,
        2,
        1,
        77,
    )
    assert (slice_level.path, slice_level.own, slice_level.limit_bytes, slice_level.oom, slice_level.oom_kill) == (
        "/slice",
        False,
        1000,
        4,
        5,
    )
    assert (top.path, top.oom_kill) == ("/", None)
    assert (found.vmstat, found.hidden) == (8, ())
    assert read_limits(groups) == (1000, 2.0, 50)


def test_in_the_root_group_of_the_machine_the_machines_counter_is_all_that_there_is(tmp_path):
    """No file of memory lies there, and none is missing: nothing is hidden."""
    root = write(tmp_path / "cg", cgroup_controllers="cpu memory")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/vmstat").write_text("oom_kill 8\n")
    found = read_evidence({V2: Group(root, root)}, 3, own=False, proc=tmp_path / "proc")
    assert ([each.path for each in found.levels], found.vmstat, found.hidden) == (["/"], 8, ())


def test_what_cannot_be_read_is_said(tmp_path):
    """No zero is made of it."""
    found = read_evidence({}, 3, own=False, proc=tmp_path)
    assert (found.levels, found.vmstat) == ((), None)
    assert [each.partition(":")[0] for each in found.hidden] == ["memory", f"{tmp_path}/vmstat"]
    bare = write(tmp_path / "cg/job")
    found = read_evidence({"memory": Group(bare.parent, bare)}, 3, own=True, proc=tmp_path)
    assert found.levels[0].oom_kill is None
    assert any(str(bare) in each for each in found.hidden)


@pytest.fixture
def delegated(tmp_path, monkeypatch):
    """A group of version 2 that this process seems to be alone in."""
    group = write(
        tmp_path / "cg/unit", cgroup_controllers="cpu io memory pids", cgroup_procs="", cgroup_subtree_control=""
    )
    (group / "cgroup.subtree_control").write_text("")
    (group / "cgroup.procs").write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(leaf_module, "find_groups", lambda: {V2: Group(tmp_path / "cg", group)})
    return group


def test_a_delegated_group_is_parted_into_recorder_and_job(delegated):
    """Its processes move into a group beside the job's, as one with processes has no controllers below it.

    A child of this process that is in a group elsewhere stays where it is.
    """
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as elsewhere:
        leaf = make_leaf(os.getpid(), 1, ("cgroup2",))
        elsewhere.communicate()
    assert (leaf.method, leaf.own) == ("cgroup2", True)
    assert leaf.groups[V2].path.parent == delegated
    assert (delegated / "rondo-recorder/cgroup.procs").read_text() == str(os.getpid())
    assert (delegated / "cgroup.subtree_control").read_text() == "+cpu +io +memory +pids"
    assert leaf.pids() == [os.getpid()]


def test_a_group_with_others_in_it_is_left_as_it_is(delegated, monkeypatch):
    """Nobody else is moved: the job is measured by its tree, and the reason is said."""
    monkeypatch.setattr(leaf_module.shutil, "which", lambda _name: None)
    (delegated / "cgroup.procs").write_text(f"{os.getpid()}\n1\n")
    leaf = make_leaf(os.getpid(), 1, ("cgroup2",))
    assert (leaf.method, leaf.own) == ("tree", False)
    assert "others are in this group" in leaf.why
    assert "no systemd" in leaf.why
    assert not (delegated / "rondo-recorder").exists()


def test_systemd_is_asked_for_a_scope(tmp_path, monkeypatch):
    """By busctl, with the job's pid; where it says no, its words are the reason."""
    monkeypatch.setattr(leaf_module, "find_groups", lambda _pid="self": {})
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "systemd").mkdir()
    fake = tmp_path / "busctl"
    fake.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\necho "Call failed: no" >&2\nexit 1\n')
    fake.chmod(0o755)
    leaf = make_leaf(4711, 12, ("cgroup2",))
    assert leaf.method == "tree"
    assert "systemd: Call failed: no" in leaf.why
    asked = Path(tmp_path / "asked").read_text()
    assert f"StartTransientUnit ssa(sv)a(sa(sv)) rondo-job-{os.getpid()}-12.scope fail 6 PIDs au 1 4711 " in asked
