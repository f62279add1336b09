"""All that is on record of one end, as one value: what the table of causes reads, whoever recorded it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Literal

import attrs

from rondo_core.storage import Event, Survival
from rondo_job.autopsy.trends import Quantity
from rondo_job.facts import Child, Evidence, ReceivedSignal, Usage

CPU = "job_cpu_seconds_total"  # of the quantities of a job, in seconds, its modes added up
Verdict = Literal["proven", "likely", "cannot tell"]
Kind = Literal["job", "program", "machine"]


@attrs.frozen
class OomKill:
    """A line of the kernel's log: whom its OOM killer killed.

    Attributes: `pid`: as the kernel's first namespace of pids has it; `command`; `time_ns`: since the epoch;
        `of_machine`: whether it was the machine's memory that ran out, and no limit of a control group.
    """

    pid: int
    command: str
    time_ns: int
    of_machine: bool = False


@attrs.frozen
class OomLog:
    """The kernel's log of OOM kills between a start and an end.

    Attributes: `kills`: those that it holds; `whole`: whether it goes back to the start, so that there were no others.
    """

    kills: tuple[OomKill, ...] = ()
    whole: bool = True


@attrs.frozen
class ProgramEnd:
    """The last run of a store that a program has opened.

    Attributes:
        store: its directory's name; pid; ended_ns: 0: not known.
        words: how it ended, by the record of runs; empty: nothing could say.
        dump: what Python's faulthandler wrote; empty: nothing.
        faulthandler: who was to write it, see `Run`; writer: what it called itself.
    """

    store: str
    pid: int
    words: str
    ended_ns: int = 0
    dump: str = ""
    faulthandler: str = ""
    writer: str = ""


@attrs.frozen
class Activity:
    """What the series of a live program say of its work.

    Attributes:
        store: whose they are; series: how many the program declared itself, rondo's own recorders left out.
        changed_ns: when one of them last changed, ns since the epoch; 0: they never did.
        ticked_ns: the newest sample of a recorder that goes on whatever the program does; 0: none.
    """

    store: str
    series: int
    changed_ns: int
    ticked_ns: int


@attrs.frozen
class Case:
    """One job, program or machine, and what is on record of its end.

    Attributes:
        path, name: of its store; kind: what was recorded; writer: what a program calls itself; command.
        pid; started_ns, ended_ns: ns since the epoch, 0: not known; now_ns: the moment of the look.
        running: whether it runs; None: nobody can say.
        status: as `wait` gives it, None: nobody learned it; seen_by: who saw the end, see `LifeEnd`, "": nobody.
        words: how the writer of the store ended, by the record of runs; of a job that is its recorder.
        not_begun, timed_out, timeout_s, signals, usage, remaining: see `LifeEnd`; method: how a job was measured.
        before, after: the counters; None: they were not read.
        survival: what the machine went through since; None: its boots have no names that could be compared.
        booted_ns: when the present boot began, ns since the epoch; newest_ns: at most a second after the newest
            sample, 0: there is none.
        memory_limit_bytes, pids_limit, rlimits: see `LifeStart`; memory_bytes: of the machine, 0: not known.
        children: the job's processes, itself the first; stderr, stdout: the tails of them; output: see `LifeStart`.
        programs: the stores of programs inside, or the program's own; marks: the last ones, oldest first.
        quantities: what was measured up to the end; activities: of live programs; flat_ns: for how long a program's
            series stay as they are before that is called a hang.
        oom_log: the kernel's log between start and end; None: it cannot be read.
        oom_rose_ns: the end of the second in which the counter of the job's own group came to what it is now, ns since
            the epoch; 0: it never rose, or was not seen to.
        left_out: what of the record does not read, and why.
    """

    path: str
    name: str
    kind: Kind
    pid: int
    now_ns: int
    writer: str = ""
    command: tuple[str, ...] = ()
    started_ns: int = 0
    ended_ns: int = 0
    running: bool | None = False
    status: int | None = None
    seen_by: str = ""
    words: str = ""
    method: str = ""
    not_begun: str = ""
    timed_out: bool = False
    timeout_s: float | None = None
    signals: tuple[ReceivedSignal, ...] = ()
    usage: Usage | None = None
    cpu_s: float | None = None
    remaining: tuple[int, ...] = ()
    before: Evidence | None = None
    after: Evidence | None = None
    survival: Survival | None = Survival.SAME_BOOT
    booted_ns: int = 0
    newest_ns: int = 0
    memory_limit_bytes: int | None = None
    memory_bytes: int = 0
    pids_limit: int | None = None
    rlimits: Mapping[str, tuple[int, int]] = attrs.field(factory=dict)
    children: tuple[Child, ...] = ()
    stderr: str = ""
    stdout: str = ""
    output: Mapping[str, str] = attrs.field(factory=dict)
    programs: tuple[ProgramEnd, ...] = ()
    marks: tuple[Event, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    activities: tuple[Activity, ...] = ()
    flat_ns: int = 60_000_000_000
    oom_log: OomLog | None = None
    oom_rose_ns: int = 0
    left_out: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int | None:
        """What it gave to exit(); None: a signal ended it, or that is not known."""
        return os.WEXITSTATUS(self.status) if self.status is not None and os.WIFEXITED(self.status) else None

    @property
    def signal(self) -> int:
        """The signal that ended it; 0: none did, or that is not known."""
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else 0

    @property
    def oom_kills(self) -> tuple[OomKill, ...]:
        """Whom the kernel's log names, as far as it goes."""
        return () if self.oom_log is None else self.oom_log.kills

    @property
    def oom_log_is_whole(self) -> bool:
        """Whether the kernel's log names everyone whom its OOM killer killed between start and end."""
        return self.oom_log is not None and self.oom_log.whole

    @property
    def is_live(self) -> bool:
        """Whether it is known to run."""
        return self.running is True


@attrs.frozen
class Diagnosis:
    """What one row of the table of causes says of a case.

    Attributes: `cause`: its key in the table; `verdict`; `summary`: on one line; `evidence`: a line each.
    """

    cause: str
    verdict: Verdict
    summary: str
    evidence: tuple[str, ...] = ()
