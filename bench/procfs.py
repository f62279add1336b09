"""A plain reader of /proc: what a family of processes takes now, and what has gone over the loopback interface."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_CLONE_NEWNET = 0x40000000  # Source: unshare(2)
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # Source: netdevice(7)


@dataclass(frozen=True)
class Usage:
    """What a process takes, or several together.

    Attributes:
        pss_bytes: proportional set size: a page that n processes share counts as 1/n in each.
        cpu_s: user and system time of the threads that it has, since each began; a guest's time under KVM is in it.
        written_bytes: what it caused to be written to a disk; a mapped page counts when it is dirtied.
    """

    pss_bytes: int = 0
    rss_bytes: int = 0
    cpu_s: float = 0.0
    descriptors: int = 0
    written_bytes: int = 0
    processes: int = 0

    def __add__(self, other: Usage) -> Usage:
        """Take both together."""
        return Usage(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def children(pid: int) -> list[int]:
    """Give the living children of a process."""
    return _living()[1].get(pid, [])


def family(pid: int) -> list[int]:
    """Give a process and all that descend from it; none where it is gone."""
    living, below = _living()
    found, waiting = [], [pid] if pid in living else []
    while waiting:
        found.append(waiting.pop())
        waiting += below.get(found[-1], [])
    return found


def usage(pid: int) -> Usage | None:
    """Read what one process takes; None where it has ended."""
    fields = _stat(pid)
    if fields is None:
        return None
    root = PROC / str(pid)
    try:
        rollup = dict(line.split(":", 1) for line in (root / "smaps_rollup").read_text().splitlines()[1:])
        written = dict(line.split(": ") for line in (root / "io").read_text().splitlines())
        descriptors = sum(1 for _ in (root / "fd").iterdir())
        # To the nanosecond, where stat counts in hundredths of a second: more than a process of one VM takes in two.
        spent = [(task / "schedstat").read_text().split()[0] for task in (root / "task").iterdir()]
    except (OSError, ValueError):  # it ended meanwhile
        return None
    return Usage(
        pss_bytes=int(rollup["Pss"].split()[0]) * 1024,
        rss_bytes=int(rollup["Rss"].split()[0]) * 1024,
        cpu_s=sum(map(int, spent)) / 1e9,
        descriptors=descriptors,
        written_bytes=int(written["write_bytes"]),
        processes=1,
    )


def usages(pids: Iterable[int]) -> dict[int, Usage]:
    """Read what each process takes; those that have ended are left out."""
    return {pid: found for pid in pids if (found := usage(pid)) is not None}


def loopback_bytes() -> int:
    """Read how many bytes the loopback interface has carried, for all of the machine."""
    for line in (PROC / "net/dev").read_text().splitlines():
        name, mark, counts = line.partition(":")
        if mark and name.strip() == "lo":
            return int(counts.split()[0])
    return 0


def own_network() -> bool:
    """Give this process and its children a loopback interface of their own; False where that is not allowed."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
    return True


def _living() -> tuple[set[int], dict[int, list[int]]]:
    """Read which processes there are, and the children of each."""
    living, below = set[int](), dict[int, list[int]]()
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            living.add(int(entry.name))
            below.setdefault(int(fields[1]), []).append(int(entry.name))
    return living, below


def _stat(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat after the name, state first; None where it has ended or is a zombie."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields
