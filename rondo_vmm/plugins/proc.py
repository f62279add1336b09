"""Read the small files of /proc, which recorders do every second, and what all machines of a process share."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable

FRESH_NS = 20_000_000
LONGEST = 4096  # a page, which is what the kernel gives of such a file at a time
SHORT = 256  # enough for some numbers in a line


def read_proc(path: str) -> bytes:
    """Give a file's first 4096 bytes, at a fifth of what a text file costs. Raises: OSError: it is gone, or hidden."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, LONGEST)
    finally:
        os.close(descriptor)


class ProcessReading:
    """A number of the whole process: every machine in it records it, and the first of a second reads it for all."""

    def __init__(self, read: Callable[[], int]) -> None:
        """Read nothing yet."""
        self._read = read
        self._value, self._read_ns = 0, 0

    def __call__(self, now_ns: int) -> int:
        """Give it as it was at `now_ns` or up to 20 ms before."""
        if not 0 <= now_ns - self._read_ns < FRESH_NS:
            self._value, self._read_ns = self._read(), now_ns
        return self._value

    def forget(self) -> None:
        """Read it anew the next time, as in a child process."""
        self._read_ns = 0


def resident_bytes(process: str) -> int:
    """Give the resident memory of a process, "self" or a pid; 0 of one that has ended. Raises: as `read_proc`."""
    return int(read_proc(f"/proc/{process}/statm").split()[1]) * resource.getpagesize()


def threads_of(pid: int) -> dict[int, int]:
    """Give a process's threads: the number that it knows each by itself -> that of here. None, where it has ended.

    They differ where it is in a pid namespace of its own. Source: proc_pid_status(5), NSpid.
    """
    found = {}
    try:
        for name in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - no paths are made
            status = read_proc(f"/proc/{pid}/task/{name}/status").decode(errors="replace")
            own = status.partition("\nNSpid:")[2].partition("\n")[0].split()
            found[int(own[-1] if own else name)] = int(name)
    except OSError:
        return found
    return found


def _descriptors() -> int:
    # Since Linux 6.2 their number is the directory's size; to list the thousands of a hundred machines takes long.
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH116, PTH208 - no paths are made


rss_bytes = ProcessReading(lambda: resident_bytes("self"))
descriptors, cpu_ns = ProcessReading(_descriptors), ProcessReading(time.process_time_ns)


def _in_child() -> None:
    for each in (rss_bytes, descriptors, cpu_ns):
        each.forget()


os.register_at_fork(after_in_child=_in_child)
