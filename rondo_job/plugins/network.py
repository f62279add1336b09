"""Record the network of a job that has a namespace of its own; what it shares with others is not the job's."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_job.plugins.totals import Total

if TYPE_CHECKING:
    from rondo_core.hookspecs import Declare
    from rondo_job.hookspecs import Job

LOOKED_AT = 3  # processes: who makes the namespace is among the first
_RECEIVED, _SENT = 0, 8  # columns of /proc/PID/net/dev. Source: proc_pid_net(5)


@hookimpl
def rondo_job_bind(declare: Declare, job: Job) -> Callable[[int], None] | None:
    """Declare nothing until the job is seen in a namespace of its own."""
    own = _namespace("self")
    if not own:
        return None
    totals = list[Total]()

    def tick(now_ns: int) -> None:
        for pid in list(job.tree.processes)[:LOOKED_AT]:
            if _namespace(pid) not in {own, 0}:
                break
        else:
            return
        try:
            with open(f"/proc/{pid}/net/dev") as file:  # noqa: PTH123 - quicker
                lines = [line.partition(":") for line in file.readlines()[2:]]
        except OSError:
            return
        if not totals:
            name, text = "job_network_bytes_total", "Bytes received or sent in the job's own network namespace."
            totals.extend(
                Total(declare.counter(name, help=text, unit="bytes", direction=way)) for way in ("receive", "transmit")
            )
        counts = [[int(number) for number in rest.split()] for name, _, rest in lines if name.strip() != "lo"]
        for total, column in zip(totals, (_RECEIVED, _SENT), strict=True):
            total.follow(sum(each[column] for each in counts), now_ns)

    return tick


def _namespace(pid: int | str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - quicker
    except OSError:
        return 0
