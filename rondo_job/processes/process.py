"""One process, read through descriptors of /proc that are kept: a pid that was given to another is noticed."""

from __future__ import annotations

import contextlib
import os

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024


class Process:
    """A process that was found in a job's tree, as it was when last looked at.

    Attributes:
        pid, parent_pid; command: `comm`; started_ticks: since the boot, by which a pid is told from its next owner.
        user_ticks, system_ticks: its own CPU time; waited_user_ticks, waited_system_ticks: of children that it has
            waited for, and of theirs.
        minor_faults, major_faults: its own and those of children that it has waited for.
        n_threads; resident_bytes; anonymous_bytes, file_bytes, shared_bytes (of shared memory), swap_bytes: as mapped,
            so that what two processes share is in both; peak_bytes: VmHWM.
        read_bytes, written_bytes: from and to storage (what was dirtied in the page cache), waited children included.
        switches, forced_switches: of context, of its main thread.
        n_files: descriptors, -1: may not be read; is_zombie; is_new: it was not looked at before.
    """

    __slots__ = (
        "_io", "_stat", "_status", "anonymous_bytes", "command", "file_bytes", "forced_switches", "is_zombie",
        "major_faults", "minor_faults", "n_files", "n_threads", "parent_pid", "peak_bytes", "pid", "pidfd",
        "read_bytes", "resident_bytes", "seen", "shared_bytes", "started_ticks", "swap_bytes", "switches",
        "system_ticks", "user_ticks", "waited_system_ticks", "waited_user_ticks", "written_bytes",
    )  # fmt: skip

    def __init__(self, pid: int) -> None:
        """Open its files. Raises: OSError: it is gone, or no descriptor is to be had."""
        self.pid, self.seen, self.pidfd = pid, 0, -1
        self._stat = self._status = self._io = -1
        self.command, self.is_zombie = "", False
        self.parent_pid = self.started_ticks = self.n_threads = 0
        self.user_ticks = self.system_ticks = self.waited_user_ticks = self.waited_system_ticks = 0
        self.minor_faults = self.major_faults = self.read_bytes = self.written_bytes = 0
        self.resident_bytes = self.anonymous_bytes = self.file_bytes = self.shared_bytes = self.swap_bytes = 0
        self.peak_bytes = self.switches = self.forced_switches = 0
        self.n_files = -1
        self._stat = _open(pid, "stat")
        try:
            self._status = _open(pid, "status")
            with contextlib.suppress(OSError):  # another user's may not be read
                self._io = _open(pid, "io")
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
        if not self.command or fields[0] != b"Z":
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
            self.resident_bytes = self.anonymous_bytes = self.file_bytes = self.shared_bytes = self.swap_bytes = 0
            self.n_threads = 0
            self.n_files = min(self.n_files, 0)
            return
        self.resident_bytes = int(fields[21]) * PAGE
        self._read_status()
        try:
            size = os.stat(f"/proc/{self.pid}/fd").st_size  # noqa: PTH116 - quicker; since Linux 6.2 the count
            self.n_files = size or len(os.listdir(f"/proc/{self.pid}/fd"))  # noqa: PTH208 - quicker
        except OSError:
            self.n_files = -1

    def _read_status(self) -> None:
        data = os.pread(self._status, 4096, 0)
        at = data.find(b"VmHWM:")
        if at >= 0:  # a kernel's thread, and one that is ending, has no memory
            self.peak_bytes = int(data[at + 6 : data.find(b"kB", at)]) * KIB
            at = data.find(b"RssAnon:", at)
            self.anonymous_bytes = int(data[at + 8 : data.find(b"kB", at)]) * KIB
            at = data.find(b"RssFile:", at)
            self.file_bytes = int(data[at + 8 : data.find(b"kB", at)]) * KIB
            at = data.find(b"RssShmem:", at)
            self.shared_bytes = int(data[at + 9 : data.find(b"kB", at)]) * KIB
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

    @property
    def cpu_s(self) -> float:
        """Its own CPU time, in seconds."""
        return (self.user_ticks + self.system_ticks) / TICKS

    def close(self) -> None:
        """Let go of its files."""
        for descriptor in (self._stat, self._status, self._io, self.pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._stat = self._status = self._io = self.pidfd = -1


def _open(pid: int, name: str) -> int:
    return os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)


def children_of(pid: int, n_threads: int = 0) -> list[int]:
    """Give the children of a process, those of its threads included; none where it is gone.

    Args: `n_threads`: 1: it has but one, so that its others need not be looked for.
    """
    found = list[int]()
    try:
        tasks = [str(pid)] if n_threads == 1 else os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - quicker
        for task in tasks:
            descriptor = os.open(f"/proc/{pid}/task/{task}/children", os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = piece = os.pread(descriptor, 4096, 0)
                while len(piece) > 2048:
                    piece = os.pread(descriptor, 4096, len(data))
                    data += piece
            finally:
                os.close(descriptor)
            found += map(int, data.split())
    except (OSError, ValueError):
        pass
    return found
