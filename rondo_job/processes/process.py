"""One process, read through descriptors of /proc that are kept: a pid that was given to another is noticed."""

from __future__ import annotations

import contextlib
import os

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024
_ENDED = b"", b"Z", b"X"  # states; the first: no process is there
STATUS_LOOKS = 5  # of which one reads /proc/PID/status, which takes as long as all the rest


class Process:
    """A process that was found in a job's tree, as it was when last looked at.

    Attributes:
        pid, parent_pid; command: `comm`; started_ticks: since the boot, by which a pid is told from its next owner.
        user_ticks, system_ticks: its own CPU time; waited_user_ticks, waited_system_ticks: of children that it has
            waited for, and of theirs.
        minor_faults, major_faults: its own and those of children that it has waited for.
        n_threads; resident_bytes; anonymous_bytes: of them, what no file stands for; swap_bytes: what two processes
            share is in both; peak_bytes: VmHWM, as seen at each fifth look, and no less than what was resident since.
        read_bytes, written_bytes: from and to storage (what was dirtied in the page cache), waited children included.
        switches, forced_switches: of context, of its main thread, as of each fifth look.
        n_files: descriptors, -1: may not be read; is_zombie.
        noted: what of it was last written into the table of processes.
        walked: its share of memory and of anonymous memory at the last walk through its page tables, and what was
            resident and anonymous then; None: there was none.
    """

    __slots__ = (
        "_children", "_files", "_io", "_looks", "_stat", "_statm", "_status", "_threads_before", "anonymous_bytes",
        "command", "forced_switches", "is_zombie", "major_faults", "minor_faults", "n_files", "n_threads",
        "noted", "parent_pid", "peak_bytes", "pid", "pidfd", "read_bytes", "resident_bytes", "seen", "started_ticks",
        "swap_bytes", "switches", "system_ticks", "user_ticks", "waited_system_ticks", "waited_user_ticks",
        "walked", "written_bytes",
    )  # fmt: skip

    def __init__(self, pid: int) -> None:
        """Open its files. Raises: OSError: it is gone, or no descriptor is to be had."""
        self.pid, self.seen, self.pidfd = pid, 0, -1
        self._stat = self._statm = self._status = self._io = self._files = self._children = -1
        self._looks = self._threads_before = 0
        self.command, self.is_zombie = "", False
        self.parent_pid = self.started_ticks = self.n_threads = 0
        self.user_ticks = self.system_ticks = self.waited_user_ticks = self.waited_system_ticks = 0
        self.minor_faults = self.major_faults = self.read_bytes = self.written_bytes = 0
        self.resident_bytes = self.anonymous_bytes = self.swap_bytes = 0
        self.peak_bytes = self.switches = self.forced_switches = 0
        self.n_files = -1
        self.noted: tuple[int, int, str, int] | None = None
        self.walked: tuple[int, int, int, int] | None = None
        self._stat = _open(pid, "stat")
        try:
            self._statm, self._status = _open(pid, "statm"), _open(pid, "status")
            with contextlib.suppress(OSError):  # another user's may not be read
                self._io = _open(pid, "io")
                self._files = _open(pid, "fd")
            with contextlib.suppress(OSError):
                self._children = _open(pid, f"task/{pid}/children")
            with contextlib.suppress(OSError):
                self.pidfd = os.pidfd_open(pid)
            self.read()
        except OSError:
            self.close()
            raise

    def read(self) -> None:
        """Look at it. Raises: OSError: it is gone."""
        data = os.pread(self._stat, 1024, 0)
        name_end = data.rfind(b")")
        fields = data[name_end + 2 :].split()
        if len(fields) < 22:
            raise ProcessLookupError
        self.command = data[data.find(b"(") + 1 : name_end].decode(errors="replace")
        # Source: proc_pid_stat(5); state is field 3.
        self.is_zombie = fields[0] == b"Z"
        self.parent_pid = int(fields[1])
        self.minor_faults, self.major_faults = int(fields[7]) + int(fields[8]), int(fields[9]) + int(fields[10])
        self.user_ticks, self.system_ticks = int(fields[11]), int(fields[12])
        self.waited_user_ticks, self.waited_system_ticks = int(fields[13]), int(fields[14])
        self.n_threads, self.started_ticks = int(fields[17]), int(fields[19])
        if self._io >= 0:
            self._read_io()
        if self.is_zombie:
            self.resident_bytes = self.anonymous_bytes = self.swap_bytes = 0
            self.n_threads = 0
            self.n_files = min(self.n_files, 0)
            return
        memory = os.pread(self._statm, 128, 0).split()
        self.resident_bytes = int(memory[1]) * PAGE
        self.anonymous_bytes = self.resident_bytes - int(memory[2]) * PAGE
        self.peak_bytes = max(self.peak_bytes, self.resident_bytes)
        self._looks += 1
        if self._looks % STATUS_LOOKS == 1 or self.n_threads != self._threads_before:
            self._read_status()
            self._threads_before = self.n_threads
        if self._files >= 0:
            # Since Linux 6.2 the size is the count.
            self.n_files = os.fstat(self._files).st_size or len(os.listdir(self._files))  # noqa: PTH208

    def forget_peak(self) -> None:
        """Forget how large it was: it has become another program, of which the next look reads."""
        self.peak_bytes = self._looks = 0

    def _read_status(self) -> None:
        data = os.pread(self._status, 4096, 0)
        at = data.find(b"VmHWM:")
        if at >= 0:  # a kernel's thread, and one that is ending, has no memory
            self.peak_bytes = int(data[at + 6 : data.find(b"kB", at)]) * KIB
            at = data.find(b"VmSwap:", at)
            self.swap_bytes = int(data[at + 7 : data.find(b"kB", at)]) * KIB
        at = data.find(b"\nvoluntary_ctxt_switches:", at)
        if at >= 0:
            own = data[at:].split()
            self.switches, self.forced_switches = int(own[1]), int(own[3])

    def _read_io(self) -> None:
        """Source: Documentation/filesystems/proc.rst, 3.3: read_bytes, write_bytes."""
        try:
            data = os.pread(self._io, 1024, 0)
        except OSError:  # it has become another user's
            return
        at = data.find(b"read_bytes:")
        if at >= 0:
            words = data[at:].split()
            self.read_bytes, self.written_bytes = int(words[1]), int(words[3])

    def proportional_bytes(self) -> tuple[int, int]:
        """Give its share of memory, what is shared divided among those who share: in all, and of anonymous memory.

        Costs the kernel a walk through its page tables. Raises: OSError, ValueError: it is gone, or forbids it.
        """
        descriptor = _open(self.pid, "smaps_rollup")
        try:
            data = os.pread(descriptor, 4096, 0)
        finally:
            os.close(descriptor)
        found = []
        for key in (b"\nPss:", b"\nPss_Anon:"):
            at = data.index(key) + len(key)
            found.append(int(data[at : data.index(b"kB", at)]) * KIB)
        return found[0], found[1]

    def children(self) -> list[int]:
        """Give its children, those of its threads included; none where it is gone."""
        if self.n_threads != 1 or self._children < 0:
            return children_of(self.pid)
        try:
            return [int(pid) for pid in _read_whole(self._children).split()]
        except OSError:
            return []

    def is_unreaped(self) -> bool:
        """Say whether there is a process still: one that has ended, and that a control group names no more, until it
        was waited for.
        """
        try:
            return bool(os.pread(self._stat, 1, 0))
        except OSError:
            return False

    def is_alive(self) -> bool:
        """Say whether it runs: it is there, and has not ended."""
        with contextlib.suppress(OSError):
            return _state(os.pread(self._stat, 1024, 0)) not in _ENDED
        return False

    @property
    def cpu_s(self) -> float:
        """Its own CPU time, in seconds."""
        return (self.user_ticks + self.system_ticks) / TICKS

    def close(self) -> None:
        """Release its files."""
        for descriptor in (self._stat, self._statm, self._status, self._io, self._files, self._children, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._stat = self._statm = self._status = self._io = self._files = self._children = self.pidfd = -1


def _open(pid: int, name: str) -> int:
    return os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)


def is_alive(pid: int) -> bool:
    """Say whether a process runs: it is there, and has not ended."""
    try:
        descriptor = _open(pid, "stat")
    except OSError:
        return False
    try:
        return _state(os.read(descriptor, 1024)) not in _ENDED
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _state(stat: bytes) -> bytes:
    """Source: proc_pid_stat(5)."""
    return stat[stat.rfind(b")") + 2 :][:1]


def _read_whole(descriptor: int) -> bytes:
    """Read a file of which the kernel gives about a page at a time."""
    data = piece = os.pread(descriptor, 4096, 0)
    while len(piece) > 2048:
        piece = os.pread(descriptor, 4096, len(data))
        data += piece
    return data


def children_of(pid: int) -> list[int]:
    """Give the children of a process, those of its threads included; none where it is gone."""
    found = list[int]()
    try:
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - quicker
            descriptor = os.open(f"/proc/{pid}/task/{task}/children", os.O_RDONLY | os.O_CLOEXEC)
            try:
                found += map(int, _read_whole(descriptor).split())
            finally:
                os.close(descriptor)
    except (OSError, ValueError):
        pass
    return found
