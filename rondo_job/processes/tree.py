"""The tree of a job: its processes as one reading, with totals that do not shrink when one of them ends."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence

import attrs

from rondo_core.clock import NS_PER_S, boot_ns, own_cpu_ns
from rondo_job.facts import Child
from rondo_job.files.children import ChildrenWriter
from rondo_job.processes.pidfd import exit_status
from rondo_job.processes.process import TICKS, Process, children_of, is_alive

MAX_KEPT = 300  # processes whose files are kept open; of others nothing is known but by control group
_MAX_UNREAPED = 64  # of those that have ended, for whose status it is waited
_PAGES_CPU_SHARE = 0.0002  # of the time that passes, for walks through page tables
_OUTSIDE_LOOKS = 5  # of which one looks for processes that are in no group of the job's
_GROWTH = 1.2  # of anonymous memory, after which its share is looked at again as soon as it may be


@attrs.define
class TreeTotals:
    """What the processes of a job took together, by their own account.

    Attributes: `user_s`, `system_s`, `minor_faults`, `major_faults`, `read_bytes`, `written_bytes`, `switches`,
    `forced_switches`: since their start, of those too that have ended and were waited for; the rest: at present, `pss`
    and `pss_anonymous` being -1 where they were not looked at.
    """

    user_s: float = 0.0
    system_s: float = 0.0
    minor_faults: int = 0
    major_faults: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    switches: int = 0
    forced_switches: int = 0
    n_processes: int = 0
    n_threads: int = 0
    n_files: int = 0
    resident_bytes: int = 0
    anonymous_bytes: int = 0
    swap_bytes: int = 0
    pss: int = -1
    pss_anonymous: int = -1


class Tree:
    """The processes of a job; one thread looks at them.

    Attributes: `root`: the pid of the job; `processes`: those of the last look, by pid; `totals`: of it; `n_started`:
    how many were ever seen; `largest_bytes`: the most that one of them had resident; `left`: whether one was seen to
    have left the job's control group, which counts nothing of it from then on.
    """

    def __init__(
        self,
        pid: int,
        leaf_pids: Callable[[], Sequence[int]] | None,
        table: ChildrenWriter | None,
        relay_pid: int = 0,
        holds: Callable[[int], bool] = lambda _: True,
    ) -> None:
        """Look at nothing yet.

        Args: `pid`: of the job; `leaf_pids`: gives those of its control group; None: they are found as descendants of
            the job and of this process, to which orphans come; `relay_pid`: a child of this process that is none;
            `holds`: says whether that group has a process.
        """
        self.root, self._leaf_pids, self._table, self._relay = pid, leaf_pids, table, relay_pid
        self._holds, self._outside, self.left = holds, set[int](), False
        self.processes: dict[int, Process] = {}
        self.totals = TreeTotals()
        self.n_started = self.largest_bytes = 0
        self._ended = TreeTotals()  # of those that this process has reaped
        self._beyond = 0  # how many there were at the last look, of whom only that is known
        self._look, self._reaped = 0, False  # the latter: the job's first process is no more
        self._vanished: list[tuple[Process, int]] = []  # whose status is not known yet, and when they had ended
        self._epoch_ns = 0
        self._pages_ns, self._pages_cost_ns, self._pages_of = 0, 0, 0

    def pids(self) -> list[int]:
        """Give the processes that there are now; the relay is none of them."""
        if self._leaf_pids is None:
            return list(self._descendants())
        inside = list[int]()
        with contextlib.suppress(OSError):
            inside += self._leaf_pids()
        found = self.processes
        outside = [pid for pid in self._outside if pid not in found or found[pid].is_alive()]
        return list(dict.fromkeys([*inside, *outside]))

    def _descendants(self) -> Iterator[int]:
        own = [] if self._reaped else [self.root]
        known, waiting = {self._relay, 0}, [*own, *children_of(os.getpid())]
        while waiting:
            pid = waiting.pop()
            if pid not in known:
                known.add(pid)
                yield pid
                process = self.processes.get(pid)
                waiting += process.children() if process else children_of(pid)

    def look(self, now_ns: int) -> TreeTotals:
        """Look at each of them, and at who has ended; give what they took together."""
        self._look += 1
        self._epoch_ns = self._epoch_ns or now_ns - boot_ns()
        found, self._beyond = self.processes, 0
        pids = self.pids()
        unnamed = [self.root] if self.root not in pids and not self._reaped else []
        pids += unnamed  # it has ended, and is not reaped yet: a control group names it no more; or it has left that
        for pid in pids:
            process = found.get(pid)
            try:
                if process is not None:
                    process.read()
                elif len(found) < MAX_KEPT:
                    process = found[pid] = Process(pid)
                    self.n_started += 1
                else:
                    self._beyond += 1
                    continue
            except OSError:
                continue
            process.seen = self._look
            self.largest_bytes = max(self.largest_bytes, process.peak_bytes)
            if self._table is not None:
                self._note(process, 0)
        unseen = [pid for pid, process in found.items() if process.seen != self._look]
        if self._leaf_pids is not None:
            self._look_outside({*pids} - {*unnamed}, [*unseen, *unnamed])
        for pid in unseen:
            if pid != self.root and pid not in self._outside:
                self._vanished.append((found.pop(pid), now_ns))
        self._learn_ends()
        self.totals = self._sum(now_ns)
        return self.totals

    def _look_outside(self, named: set[int], unnamed: Sequence[int]) -> None:
        """Find who has left the control group: among those that it names no more each time, among children at times."""
        found = self.processes
        maybe = [pid for pid in unnamed if pid in found and found[pid].is_alive()]
        if self._look % _OUTSIDE_LOOKS == 0:
            alone = [process for process in found.values() if process.n_threads == 1 or process.pid in self._outside]
            maybe += [*children_of(os.getpid()), *(pid for process in alone for pid in process.children())]
        self._outside = {pid for pid in self._outside if pid in found and found[pid].is_alive()}
        for pid in {*maybe} - named - {self._relay}:
            if not self._holds(pid) and is_alive(pid):  # what has ended is in no group of version 1
                self._outside.add(pid)
                self.left = True

    @property
    def waited_s(self) -> float:
        """CPU time of who was waited for by this process, and of those whom they waited for, in seconds."""
        return self._ended.user_s + self._ended.system_s

    def forget_peaks(self) -> None:
        """Forget how large processes were: until now the job's was no job yet."""
        self.largest_bytes = 0
        for process in self.processes.values():
            process.forget_peak()

    def _sum(self, now_ns: int) -> TreeTotals:
        ended = self._ended
        user = system = minor = major = n_read = written = switches = forced = 0
        n_processes = n_threads = self._beyond
        n_files = resident = anonymous = swap = 0
        for process in self.processes.values():
            user += process.user_ticks + process.waited_user_ticks
            system += process.system_ticks + process.waited_system_ticks
            minor += process.minor_faults
            major += process.major_faults
            n_read += process.read_bytes
            written += process.written_bytes
            switches += process.switches
            forced += process.forced_switches
            if not process.is_zombie:
                n_processes += 1
                n_threads += process.n_threads
                n_files += max(process.n_files, 0)
                resident += process.resident_bytes
                anonymous += process.anonymous_bytes
                swap += process.swap_bytes
        whole = TreeTotals(
            ended.user_s + user / TICKS,
            ended.system_s + system / TICKS,
            ended.minor_faults + minor,
            ended.major_faults + major,
            ended.read_bytes + n_read,
            ended.written_bytes + written,
            ended.switches + switches,
            ended.forced_switches + forced,
            n_processes,
            n_threads,
            n_files,
            resident,
            anonymous,
            swap,
        )
        if self._leaf_pids is None:
            self._share_pages(whole, now_ns)
        return whole

    def _share_pages(self, whole: TreeTotals, now_ns: int) -> None:
        """Count shared pages once: by walks through the page tables, as often as the budget allows, and growth since.

        A process that was forked since the last walk, and is what its parent is, shares with it what that has.
        """
        living = [process for process in self.processes.values() if not process.is_zombie]
        if len(living) > 1:
            wait_ns = self._pages_cost_ns / _PAGES_CPU_SHARE
            if any(process.walked is None for process in living) or whole.anonymous_bytes > self._pages_of * _GROWTH:
                wait_ns /= 10
            if now_ns - self._pages_ns >= wait_ns:
                self._walk_pages(living, whole, now_ns)
        total = anonymous = 0
        for process in living:
            known, parent = process.walked, self.processes.get(process.parent_pid)
            if known is not None:
                total += known[0] + max(process.resident_bytes - known[2], 0)
                anonymous += known[1] + max(process.anonymous_bytes - known[3], 0)
            elif parent is not None and parent.command == process.command and len(living) > 1:
                total += max(process.resident_bytes - parent.resident_bytes, 0)
                anonymous += max(process.anonymous_bytes - parent.anonymous_bytes, 0)
            else:
                total += process.resident_bytes
                anonymous += process.anonymous_bytes
        whole.pss, whole.pss_anonymous = total, anonymous

    def _walk_pages(self, living: list[Process], whole: TreeTotals, now_ns: int) -> None:
        began = own_cpu_ns()
        for process in living:
            own = process.resident_bytes, process.anonymous_bytes
            with contextlib.suppress(OSError, ValueError):
                process.walked = (*process.proportional_bytes(), *own)
        self._pages_ns, self._pages_cost_ns = now_ns, own_cpu_ns() - began
        self._pages_of = whole.anonymous_bytes

    def note_reaped(self, pid: int, status: int, usage: os.struct_rusage, now_ns: int) -> None:  # type: ignore[name-defined]
        """Take what a child of this process, that was just waited for, and those it waited for, took in all."""
        ended = self._ended
        self._reaped = self._reaped or pid == self.root
        ended.user_s += usage.ru_utime
        ended.system_s += usage.ru_stime
        ended.minor_faults += usage.ru_minflt
        ended.major_faults += usage.ru_majflt
        ended.switches += usage.ru_nvcsw
        ended.forced_switches += usage.ru_nivcsw
        process = self.processes.pop(pid, None)
        if process is not None:
            ended.read_bytes += process.read_bytes
            ended.written_bytes += process.written_bytes
            self._note(process, now_ns, status)
            process.close()

    def _learn_ends(self) -> None:
        """Ask the kernel how those ended that others have reaped; of who is not reaped yet the next look asks again."""
        unreaped = list[tuple[Process, int]]()
        for process, ended_ns in self._vanished:
            waits = len(unreaped) < _MAX_UNREAPED and process.is_unreaped()  # before its status is asked for
            status = exit_status(process.pidfd) if process.pidfd >= 0 else None
            waits &= status is None
            self._note(process, ended_ns, status, is_last=not waits)
            if waits:
                unreaped.append((process, ended_ns))
            else:
                process.close()
        self._vanished = unreaped

    def _note(self, process: Process, ended_ns: int, status: int | None = None, *, is_last: bool = True) -> None:
        """Write it into the table. Args: `is_last`: nothing more will be known of one that has ended."""
        if self._table is None:
            return
        known = process.user_ticks + process.system_ticks, process.peak_bytes, process.command, process.parent_pid
        if known == process.noted and not ended_ns:
            return
        process.noted = known
        started_ns = self._epoch_ns + process.started_ticks * (NS_PER_S // TICKS)
        key = (process.started_ticks << 22) | process.pid
        peak = process.peak_bytes
        facts = process.parent_pid, process.command, started_ns // 10_000_000 * 10_000_000
        self._table.put(key, Child(process.pid, *facts, ended_ns, process.cpu_s, peak, status))
        if ended_ns and is_last:
            self._table.forget(key)

    def close(self) -> None:
        """Release what is open."""
        for process in (*self.processes.values(), *(process for process, _ in self._vanished)):
            process.close()
        self.processes.clear()
        self._vanished.clear()
