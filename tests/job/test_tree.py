"""The processes of a job, as its control group names them: how each ended is learnt, whenever that can be."""

import contextlib
import os
import signal
import subprocess

from rondo_job.files.children import ChildrenWriter, read_children
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
