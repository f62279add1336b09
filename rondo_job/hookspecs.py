"""The hook that `rondo run` adds to rondo's: what of a job is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from rondo_core.hookspecs import Config, Declare, Tick, hookspec

if TYPE_CHECKING:
    from rondo_job.facts import Method
    from rondo_job.groups.mounted import Group
    from rondo_job.processes.tree import Tree


@attrs.frozen
class Job:
    """What is known of a job when its recorders are bound: it has a process, which has not begun.

    Attributes:
        pid: of its first process.
        method: how its tree is measured.
        groups: its control groups, by controller, "" for version 2; the job's own where `own` is true.
        tree: its processes, looked at before each tick: `tree.processes` by pid, `tree.totals`.
    """

    pid: int
    method: Method
    groups: Mapping[str, Group]
    own: bool
    tree: Tree


@hookspec
def rondo_job_bind(declare: Declare, config: Config, job: Job) -> Tick | None:
    """Declare series of a job, and hand back what is called whenever it is measured.

    Called: once per job, before it begins, on the recorder's thread.
    Args: `declare` makes handles, at any time; `config` is this plugin's own table; `job` is what is known of the job.
    Returns: `tick(now_ns)`, called ten times a second in the first ten seconds, then as `--every` says, and once more
        when the job has ended and before it is reaped; it must end within 1 ms. None to stay out.
    Errors: a raise here disables this plugin alone; a raise in `tick` is counted, and reported once per kind.
    """
