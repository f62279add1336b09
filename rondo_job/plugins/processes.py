"""Record the processes of a job: how many, threads, descriptors, switches, storage; CPU and memory where by tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_job.plugins.totals import Total

if TYPE_CHECKING:
    from rondo_core.hookspecs import Declare
    from rondo_job.hookspecs import Job


@hookimpl
def rondo_job_bind(declare: Declare, job: Job) -> Callable[[int], None]:
    """Declare the series of its processes."""
    numbers = [
        declare.gauge(f"job_{name}", help=text, peaks=True)
        for name, text in (
            ("processes", "Processes of the job."),
            ("threads", "Threads of its processes."),
            ("open_files", "Descriptors of its processes that may be looked at."),
        )
    ]
    name, text = "job_io_bytes_total", "Bytes read from storage, or dirtied that are to be written to it."
    read, written = (Total(declare.counter(name, help=text, unit="bytes", direction=way)) for way in ("read", "write"))
    name, text = "job_context_switches_total", "Context switches of main threads, and of all that have ended."
    switches, forced = (Total(declare.counter(name, help=text, kind=kind)) for kind in ("voluntary", "involuntary"))
    tree = job.tree
    more = None if job.own else _by_tree(declare, job)

    def tick(now_ns: int) -> None:
        totals = tree.totals
        for gauge, value in zip(numbers, (totals.n_processes, totals.n_threads, totals.n_files), strict=True):
            gauge.set(value, now_ns)
        read.follow(totals.read_bytes, now_ns)
        written.follow(totals.written_bytes, now_ns)
        switches.follow(totals.switches, now_ns)
        forced.follow(totals.forced_switches, now_ns)
        if more is not None:
            more(now_ns)

    return tick


def _by_tree(declare: Declare, job: Job) -> Callable[[int], None]:
    """Declare what a control group would have told better."""
    name, text = "job_cpu_seconds_total", "CPU time of the whole tree, of those too who were waited for."
    user, system = (Total(declare.counter(name, help=text, unit="seconds", mode=mode)) for mode in ("user", "system"))
    name = "job_page_faults_total"
    text = "Page faults; major ones waited for a disk."
    minor, major = (Total(declare.counter(name, help=text, kind=kind)) for kind in ("minor", "major"))
    gauges = [
        declare.gauge(f"job_memory_{kind}bytes", help=text, unit="bytes", peaks=True)
        for kind, text in (
            ("", "Memory of its processes; what they share is counted once, as far as that could be looked at."),
            ("anonymous_", "Memory that no file stands for, likewise."),
            ("swap_", "Swap space in use."),
        )
    ]
    tree = job.tree

    def tick(now_ns: int) -> None:
        totals = tree.totals
        user.follow(totals.user_s, now_ns)
        system.follow(totals.system_s, now_ns)
        minor.follow(totals.minor_faults, now_ns)
        major.follow(totals.major_faults, now_ns)
        if totals.n_processes:
            for gauge, value in zip(gauges, (totals.pss, totals.pss_anonymous, totals.swap_bytes), strict=True):
                gauge.set(value, now_ns)

    return tick
