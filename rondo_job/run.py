"""The recorder of a job: starts it, measures its whole tree, passes signals on, and puts on record how it ended."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.clock import NS_PER_S, monotonic_ns, wall_ns
from rondo_core.errors import RondoError, UsageError, one_line
from rondo_job.facts import LifeEnd, ReceivedSignal
from rondo_job.request import RunRequest, RunResult
from rondo_job.start.launch import Launch
from rondo_job.start.output import plan_output
from rondo_job.start.output_relay import OutputRelay

if TYPE_CHECKING:
    from rondo_job.recording import JobRecording

PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
TIMED_OUT = 124  # the exit status of timeout(1)
KILL_AFTER_S = 10.0  # after a SIGTERM for the timeout
KILLED_S = 1.0  # in which who was sent SIGKILL is to be gone, unless it waits for a device
MAX_SIGNALS = 32  # that are put on record
DENSE_S, DENSE_NS = 10, 100_000_000  # how long a job is measured more often at first, and how often
_MOST_NAME = 56  # with the method after it, it is the name of a store
_NAME = re.compile(f"[A-Za-z0-9][A-Za-z0-9_-]{{0,{_MOST_NAME - 1}}}")
_SHORTEST_S = 1e-6  # of a timer: 0 would be none
_FROM_KERNEL = 0x80  # SI_KERNEL: a terminal sent it, to the whole process group. Source: sigaction(2)


def run_job(request: RunRequest) -> RunResult:
    """Run a job to its end and record it; whatever befalls the recording, the job runs as it would alone.

    Call it on the main thread of a process that does nothing else and has no thread yet: its signals and children are
    the job's.
    Raises: UsageError: what was asked for cannot be; the job has not begun then.
    """
    from rondo_job.schemas import job_schemas

    job_schemas(request.every_ns)
    if request.name and not _NAME.fullmatch(request.name):
        raise UsageError(f"--name {request.name!r}: letters, digits, _ and - only, {_MOST_NAME} at most")
    watched = {number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched | {signal.SIGCHLD, signal.SIGALRM})
    try:
        return _Run(request, watched, mask).run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.sigtimedwait([signal.SIGALRM], 0)  # one that came meanwhile
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Run:
    """One run; single-threaded but for exporters."""

    def __init__(self, request: RunRequest, watched: set[signal.Signals], mask: set[Any]) -> None:
        """Fork relay and job while this process is small; neither has begun."""
        self.request, self._watched, self._mask = request, watched, mask
        self._output = plan_output(copied=request.copied)
        self._relay = OutputRelay(self._output, watched, _write_lost_end)
        try:
            self._launch = Launch(request.command, self._output, mask)
        finally:
            self._output.close_inner()
        if not self._output.session and self._output.kinds.get("stdout") == "terminal":
            self._watched = watched | {signal.SIGTSTP}
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})
        self.pid = self._launch.pid
        self._signals = list[ReceivedSignal]()
        self._timed_out = self._killed = self._reaped = False
        self._recording: JobRecording | None = None
        self._unrecorded = ""

    def run(self) -> RunResult:
        """Run it to its end."""
        _prepare_recorder(self._relay.pid)
        try:
            self._recording = self._open_recording()
        except UsageError:
            self._launch.abandon()
            self._relay.end()
            os.waitpid(self.pid, 0)
            raise
        recording = self._recording
        environment = {} if recording is None else recording.environment
        began_ns = monotonic_ns()
        failed = self._launch.go(environment)
        if recording is not None:
            recording.begin(self._launch.before_bytes, measured=failed is None)
        status, usage = self._wait(began_ns)
        wall_s = (monotonic_ns() - began_ns) / NS_PER_S
        ended_ns = wall_ns()
        self._relay.drain()
        timed_out = self._timed_out
        why = failed.why if failed is not None else ""
        signals = tuple(self._signals)
        end = LifeEnd(
            ended_ns, status, "wait", timed_out=timed_out, signals=signals, not_begun=why, lasted_s=round(wall_s, 6)
        )
        life, method = None, ""
        if recording is not None:
            end = recording.finish(end, usage)
            life, method = recording.path, recording.method
            self._unrecorded = self._unrecorded or recording.failure
        self._relay.end()
        exit_status = TIMED_OUT if timed_out else os.waitstatus_to_exitcode(status)
        exit_status = exit_status if exit_status >= 0 else 128 - exit_status
        return RunResult(exit_status, wall_s, end, life, method, unrecorded=self._unrecorded)

    def _open_recording(self) -> JobRecording | None:
        """Have everything ready to record; None: it cannot be, and the job runs unrecorded."""
        from rondo_job.recording import JobRecording

        try:
            recording = JobRecording(self.request, self.pid, self._relay.pid, self._output)
        except UsageError:
            raise
        except (RondoError, OSError) as error:
            self._unrecorded = one_line(error)
            return None
        self._relay.send_facts(recording.for_relay())
        return recording

    # -- while it runs

    def _wait(self, began_ns: int) -> tuple[int, Any]:
        """Measure, and pass signals on, until the job has ended; give its wait status and `wait4`'s usage.

        Of one whose time was over, until nothing of its tree is left.
        """
        watched = [*self._watched, signal.SIGCHLD, signal.SIGALRM]
        dense_until_ns = began_ns + DENSE_S * NS_PER_S
        timeout_s = self.request.timeout_s
        timeout_ns = None if timeout_s is None else began_ns + round(timeout_s * NS_PER_S)
        step_ns = min(DENSE_NS, self.request.every_ns)
        next_ns = wall_ns() // step_ns * step_ns + step_ns
        ended: tuple[int, Any] | None = None
        while ended is None or (timeout_ns is not None and self._timed_out and self._pids()):
            now_ns = wall_ns()
            wait_ns = next_ns - now_ns
            if not 0 < wait_ns <= step_ns:  # it is over, or the clock has stepped
                if monotonic_ns() >= dense_until_ns:
                    step_ns = self.request.every_ns
                self._tick(now_ns)
                next_ns = now_ns // step_ns * step_ns + step_ns
                wait_ns = max(next_ns - wall_ns(), 0)
            if timeout_ns is not None:
                left_ns = timeout_ns - monotonic_ns()
                if left_ns <= 0:
                    timeout_ns = self._time_out()
                    continue
                wait_ns = min(wait_ns, left_ns)
            # Not sigtimedwait: stopped, and continued after its time, Python's gives any number for that of a signal.
            signal.setitimer(signal.ITIMER_REAL, max(wait_ns / NS_PER_S, _SHORTEST_S))
            info = signal.sigwaitinfo(watched)
            if info.si_signo == signal.SIGALRM:
                continue
            if info.si_signo == signal.SIGCHLD:
                ended = self._reap() or ended
            else:
                self._pass_on(info)
        return ended

    def _tick(self, now_ns: int) -> None:
        if self._recording is not None:
            self._recording.tick(now_ns)

    def _reap(self) -> tuple[int, Any] | None:
        """Wait for whoever has ended: the job, orphans of its tree, the relay. Returns: of the job; None: it runs."""
        while True:
            try:
                info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return None
            if info is None:
                return None
            if info.si_pid == self.pid:
                self._tick_last()
            elif info.si_pid != self._relay.pid and self._recording is not None:
                self._recording.look_at(info.si_pid)
            _, status, usage = os.wait4(info.si_pid, 0)
            if info.si_pid != self._relay.pid and self._recording is not None:
                self._recording.note_reaped(info.si_pid, status, usage)
            if info.si_pid == self.pid:
                self._reaped = True
                return status, usage

    def _tick_last(self) -> None:
        """Measure once more: what has ended is there until it is reaped."""
        if self._recording is not None:
            self._recording.tick(wall_ns(), last=True)

    def _pass_on(self, info: Any) -> None:
        """Send the job a signal that came here, unless whoever sent it has sent it to the job too."""
        number = info.si_signo
        if number == signal.SIGTSTP:
            os.kill(os.getpid(), signal.SIGSTOP)  # as all of the group do
            return
        why = "passed on"
        if info.si_code == _FROM_KERNEL or self._relay.was_for_group(number):
            why = "passed on" if self._output.session else "group"
        self._note_signal(number, info.si_pid if info.si_code != _FROM_KERNEL else 0, why)
        if why == "passed on":  # after it is noted: what it does to the job may be the end of this process
            self._send(number)

    def _note_signal(self, number: int, sender: int, why: str) -> None:
        if len(self._signals) < MAX_SIGNALS:
            received = ReceivedSignal(int(number), wall_ns(), sender, why, _command_of(sender))
            self._signals.append(received)
            self._relay.note_signal(attrs.asdict(received))

    def _send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, number)

    def _pids(self) -> list[int]:
        """Give the processes of the job that there are; unrecorded, of its first one it is known."""
        if self._recording is not None:
            return self._recording.tree.pids()
        return [] if self._reaped else [self.pid]

    def _time_out(self) -> int | None:
        """End the whole tree: by SIGTERM, then by SIGKILL. Returns: when it is to be looked at again."""
        if self._killed:
            return None
        number = signal.SIGKILL if self._timed_out else signal.SIGTERM
        self._killed, self._timed_out = self._timed_out, True
        self._note_signal(number, os.getpid(), "timeout")
        if self._killed and self._recording is not None and self._recording.leaf.own:
            self._recording.leaf.kill()
        for each in (number, signal.SIGCONT):  # what is stopped takes a SIGTERM when it goes on, as by timeout(1)
            for pid in self._pids():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, each)
        return monotonic_ns() + round((KILLED_S if self._killed else KILL_AFTER_S) * NS_PER_S)


def _command_of(pid: int) -> str:
    """Give the name of a process; empty: it is gone, or cannot be seen."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    return ""


def _write_lost_end(told: dict[str, Any], pidfd: int) -> None:
    from rondo_job.ending import write_lost_end

    write_lost_end(told, pidfd)


def _prepare_recorder(relay_pid: int) -> None:
    """Let orphans of the tree come to this process, have room for descriptors, and be the last one to be killed."""
    import ctypes

    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER. Source: linux/prctl.h
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    for pid in (os.getpid(), relay_pid):
        with contextlib.suppress(OSError):  # only with CAP_SYS_RESOURCE
            Path(f"/proc/{pid}/oom_score_adj").write_text("-900")
