"""Read the small files of /proc, which recorders do every second, and what all machines of a process share."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable

FRESH_NS = 20_000_000
LONGEST = 4096  # a page, which is what the kernel gives of such a file at a time
SHORT = 256  # enough for some numbers in a line
_PAGE_BYTES = resource.getpagesize()


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


class OwnFile:
    """A file of /proc/self, kept open: the way there takes twice as long as the look.

    Its number may be another file's by now, where the program has closed what it has not opened: so each look is one at
    which file it is, too, and what is not this one is neither read nor closed.
    """

    __slots__ = ("_descriptor", "_identity", "_path")

    def __init__(self, name: str) -> None:
        """Open nothing yet."""
        self._path = f"/proc/self/{name}"
        self._descriptor, self._identity = -1, (0, 0)

    def facts(self) -> os.stat_result:
        """Give what is known of the file as it is now. Raises: OSError: it may not be opened."""
        try:
            found = os.fstat(self._descriptor)
        except OSError:  # closed, or not open yet
            return self._open()
        return found if (found.st_dev, found.st_ino) == self._identity else self._open()

    def read(self) -> bytes:
        """Give its first 256 bytes. Raises: as `facts`."""
        self.facts()
        return os.pread(self._descriptor, SHORT, 0)

    def _open(self) -> os.stat_result:
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino
        return found

    def close(self) -> None:
        """Close it, where it is still this file, and open it anew at the next look, as in a child process."""
        with contextlib.suppress(OSError):
            found = os.fstat(self._descriptor)
            if (found.st_dev, found.st_ino) == self._identity:
                os.close(self._descriptor)
        self._descriptor = -1


def resident_bytes(pid: str) -> int:
    """Give the resident memory of a process; 0 of one that has ended. Raises: as `read_proc`."""
    return _resident_bytes(read_proc(f"/proc/{pid}/statm"))


def _resident_bytes(statm: bytes) -> int:
    return int(statm.split(None, 2)[1]) * _PAGE_BYTES


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
    return _fd.facts().st_size or len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - no paths are made


_statm, _fd = OwnFile("statm"), OwnFile("fd")
rss_bytes = ProcessReading(lambda: _resident_bytes(_statm.read()))
descriptors, cpu_ns = ProcessReading(_descriptors), ProcessReading(time.process_time_ns)


def _in_child() -> None:
    for number in (rss_bytes, descriptors, cpu_ns):
        number.forget()
    for file in (_statm, _fd):
        file.close()


os.register_at_fork(after_in_child=_in_child)
