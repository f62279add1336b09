"""What the kernel knows of a monitor that is another process, and of the threads that are its virtual CPUs."""

from __future__ import annotations

import os
from pathlib import Path

from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare
from rondo_vmm.plugins.proc import read_proc, resident_bytes
from rondo_vmm.plugins.totals import Follower

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Source: proc(5), /proc/pid/stat: the 14th field and the 20th, counted from behind the name in brackets.
_UTIME, _NUM_THREADS = 11, 17


class ProcessUsage:
    """A process's memory, descriptors, threads and CPU time; those that another user's process hides stay absent.

    Attributes: `threads`: how many it had when it was last recorded.
    """

    def __init__(self, declare: Declare, pid: int) -> None:
        """Declare the series; the CPU time counts from the first record on."""
        self._home = Path(f"/proc/{pid}")
        self.threads = 0
        words = "Resident memory of the monitor, the guest's included."
        self._memory = declare.gauge("vmm_rss_bytes", help=words, unit="bytes")
        self._descriptors = declare.gauge("vmm_open_fds", help="Open file descriptors of the monitor.")
        self._threads = declare.gauge("vmm_threads", help="Threads of the monitor, its virtual CPUs' included.")
        words = "CPU time of the monitor, its virtual CPUs' included."
        self._cpu = Follower(declare)("vmm_cpu_seconds_total", words, "seconds")

    def record(self, now_ns: int) -> None:
        """Read and record them."""
        try:
            memory_bytes = resident_bytes(self._home.name)
            fields = _stat(self._home)
            self._cpu(_cpu_s(fields), now_ns)
            if memory_bytes:  # none: the process has ended, and no one has waited for it yet
                self._memory.set(memory_bytes, now_ns)
                self.threads = int(fields[_NUM_THREADS])
                self._threads.set(self.threads, now_ns)
            self._descriptors.set(sum(1 for _ in (self._home / "fd").iterdir()), now_ns)
        except OSError:
            return


class ThreadUsage:
    """A virtual CPU that is a thread: its CPU time, and the time that it waited for a CPU of the host."""

    def __init__(self, followed: Follower) -> None:
        """Declare the series, with the labels of `followed`."""
        self._cpu = followed("vcpu_cpu_seconds_total", "CPU time of the virtual CPU's thread.", "seconds")
        words = "Time that the virtual CPU's thread waited for a CPU."
        self._steal = followed("vcpu_steal_seconds_total", words, "seconds")

    def record(self, thread: Path, now_ns: int) -> None:
        """Read and record them; `thread` is its directory in /proc."""
        try:
            self._cpu(_cpu_s(_stat(thread)), now_ns)
            self._steal(int(read_proc(f"{thread}/schedstat").split()[1]) / NS_PER_S, now_ns)
        except OSError:
            return


def _stat(home: Path) -> list[bytes]:
    """Read the state of a process or a thread. Raises: OSError: it has ended."""
    return read_proc(f"{home}/stat").rpartition(b")")[2].split()


def _cpu_s(fields: list[bytes]) -> float:
    """Give the CPU time, user and system, in seconds."""
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_S
