"""The OOM kills of the kernel's log, /dev/kmsg, of this boot: whom it names is proven.

Its pids are those of the first namespace of pids: in another one nothing is read off it. The log is a ring: whom it
does not name was not killed only where it goes back far enough.
"""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

from rondo_core.clock import monotonic_ns, wall_ns
from rondo_job.autopsy.case import OomKill, OomLog

_FIRST_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO. Source: include/linux/proc_ns.h
_KILLED = re.compile(r"Killed process (?P<pid>\d+) \((?P<command>.*?)\),? ")
_OF_MACHINE = "Out of memory: "  # a control group's begins otherwise. Source: mm/oom_kill.c, out_of_memory
_SLACK_NS = 5_000_000_000  # its clock is that of the scheduler, which is not set right as others are
_MOST_RECORDS = 200_000


def read_oom_log(started_ns: int, ended_ns: int, *, path: Path = Path("/dev/kmsg")) -> OomLog | None:
    """Give the OOM kills of a span of this boot, ns since the epoch.

    Returns: None: the log cannot be read, or names pids of another namespace.
    """
    try:
        if str(Path("/proc/self/ns/pid").readlink()) != _FIRST_NAMESPACE:
            return None
        records = _records(path)
    except OSError:
        return None
    offset_ns, found = wall_ns() - monotonic_ns(), []
    for stamp_us, text in records:
        time_ns = stamp_us * 1000 + offset_ns
        killed = _KILLED.search(text) if started_ns - _SLACK_NS <= time_ns <= ended_ns + _SLACK_NS else None
        if killed is not None:
            found.append(OomKill(int(killed["pid"]), killed["command"], time_ns, text.startswith(_OF_MACHINE)))
    return OomLog(tuple(found), bool(records) and records[0][0] * 1000 + offset_ns <= started_ns)


def _records(path: Path) -> list[tuple[int, str]]:
    """Read every record that is there: its time in us since boot, and its text. Source: Documentation/ABI, dev-kmsg."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    records = list[tuple[int, str]]()
    try:
        for _ in range(_MOST_RECORDS):
            try:
                data = os.read(descriptor, 8192)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:  # it was overwritten while it was read
                    raise
                continue
            head, _, text = data.decode(errors="replace").partition(";")
            fields = head.split(",")
            if not data or len(fields) < 3:
                break
            records.append((int(fields[2]), text))
    finally:
        os.close(descriptor)
    return records
