"""The processes of a job, as its control group names them: how each ended is learnt, whenever that can be."""

import contextlib
import os
import signal
import subprocess
import sys

from rondo_job.files.children import ChildrenWriter, read_children
from rondo_job.processes import tree as tree_module
from rondo_job.processes.tree import Tree
from tests.job.conftest import TOLD


def test_the_status_of_who_is_reaped_late_is_learnt_by_a_later_look(tmp_path):
    """A control group names none that has ended, and the kernel tells the status once its parent has waited for it."""
    table = tmp_path / "children"
    with subprocess.Popen(["sleep", "600"]) as child:
        pids = [child.pid]
        tree = Tree(os.getpid(), lambda: pids, ChildrenWriter(table))
        with contextlib.closing(tree):
            tree.look(1)
            child.kill()
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            pids.clear()
            statuses = []
            for now_ns in (2, 3, 4):
                tree.look(now_ns)
                (found,) = [each for each in read_children(table)[0] if each.pid == child.pid]
                statuses.append((found.ended_ns, found.status))
                if now_ns == 3:
                    child.wait()
    assert statuses == [(2, None), (2, None), (2, signal.SIGKILL if TOLD else None)]


def test_who_leaves_the_control_group_is_followed_to_the_end(tmp_path):
    """Seen where the group names it no more and it lives; a child of it that the group never had is found as well."""
    script = "import subprocess, sys\nwith subprocess.Popen(['sleep', '600']) as child: print(child.pid, flush=True)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as job:
        inner = int(job.stdout.readline())
        named = [job.pid]
        tree = Tree(job.pid, lambda: named, ChildrenWriter(tmp_path / "children"), 0, lambda _: False)
        with contextlib.closing(tree):
            tree.look(1)
            assert (tree.left, tree.totals.n_processes) == (False, 1)
            named.clear()
            for now_ns in range(2, 12):
                tree.look(now_ns)
            assert (tree.left, tree.totals.n_processes) == (True, 2)
            assert {job.pid, inner} <= {*tree.pids()}
            os.kill(inner, signal.SIGKILL)
            job.wait()
            assert not {job.pid, inner} & {*tree.pids()}
            tree.look(12)
            assert inner not in tree.processes


def test_who_is_beyond_those_that_are_looked_at_is_counted(monkeypatch):
    """Of a tree larger than a recorder has descriptors for it is known how many there are."""
    monkeypatch.setattr(tree_module, "MAX_KEPT", 2)
    with contextlib.ExitStack() as held:
        jobs = [held.enter_context(subprocess.Popen(["sleep", "600"])) for _ in range(5)]
        tree = Tree(jobs[0].pid, lambda: [each.pid for each in jobs], None)
        held.callback(tree.close)
        totals = tree.look(1)
        for each in jobs:
            each.kill()
    assert (totals.n_processes, totals.n_threads, tree.n_started) == (5, 5, 2)


def test_who_moves_within_the_job_has_not_left_it():
    """A look at a group and those below it may miss who moves between them at that moment."""
    with subprocess.Popen(["sleep", "600"]) as job:
        named = [job.pid]
        with contextlib.closing(Tree(job.pid, lambda: named, None)) as tree:
            tree.look(1)
            named.clear()
            tree.look(2)
            assert not tree.left
            job.kill()
