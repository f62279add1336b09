"""Record the control group that the process is in, of version 2 or 1: what a container has, may have and was denied."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rondo_core import hookimpl
from rondo_core.builtin.kernel_files import FollowedTotal, LateGauge, Take, Tick, open_files, read_first
from rondo_core.builtin.pressure import RESOURCES, stalled
from rondo_core.hookspecs import Declare

UNLIMITED = 1 << 62  # from about here on version 1 means no limit


@hookimpl
def rondo_recorder_bind(declare: Declare) -> Callable[[int], None] | None:
    """Declare the series of what this process's group shows; stay out where it shows nothing."""
    return bind(declare)


def bind(declare: Declare, root: Path = Path("/")) -> Callable[[int], None] | None:
    """Declare the series of the group that `proc/self` below a root says; None where nothing of it can be read."""
    folders = dict(_folders(root))

    def find(new: str, controller: str = "", old: str = "") -> Path | None:
        """Find a file that can be read: of version 2, else of a controller of version 1."""
        paths = [folders[""] / new] if "" in folders and new else []
        paths += [folders[controller] / old] if controller in folders and old else []
        found = read_first(paths)
        return found[0] if found else None

    def size(name: str, text: str, unit: str = "bytes") -> Callable[[], Take]:
        return lambda: _size(LateGauge(declare, f"cgroup_{name}", text, unit))

    period = find("", "cpu", "cpu.cfs_period_us")
    ticks: list[Tick] = open_files(
        [
            (find("cpu.stat"), partial(_cpu, declare)),
            (find("", "cpu", "cpu.stat"), partial(_cpu, declare)),
            (None if "" in folders else find("", "cpuacct", "cpuacct.usage"), partial(_cpu_used, declare)),
            (find("cpu.max", "cpu", "cpu.cfs_quota_us"), partial(_cpu_limit, declare, period)),
            (
                find("memory.current", "memory", "memory.usage_in_bytes"),
                size("memory_bytes", "Memory in use, with the cache of files."),
            ),
            (
                find("memory.peak", "memory", "memory.max_usage_in_bytes"),
                size("memory_peak_bytes", "The most memory that was in use."),
            ),
            (
                find("memory.max", "memory", "memory.limit_in_bytes"),
                size("memory_limit_bytes", "Memory that it may use; absent: no limit."),
            ),
            (find("memory.swap.current"), size("swap_bytes", "Swap space in use.")),
            (find("memory.events", "memory", "memory.oom_control"), partial(_oom_kills, declare)),
            (find("pids.current", "pids", "pids.current"), size("pids", "Tasks.", "")),
            (find("pids.max", "pids", "pids.max"), size("pids_limit", "Tasks that it may have; absent: no limit.", "")),
            (find("io.stat", "blkio", "blkio.throttle.io_service_bytes"), partial(_io, declare)),
            *((find(f"{each}.pressure"), stalled(declare, "cgroup", each)) for each in RESOURCES),
        ]
    )

    def tick(now_ns: int) -> None:
        for each in ticks:
            each(now_ns)

    return tick if ticks else None


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Find the group's folder in each hierarchy: (controller, folder), "" for version 2's.

    In a container the group may be named by a path outside of what is mounted there; then the mount itself is it.
    """
    said = read_first([root / "proc/self/cgroup"]) or (root, "")
    lines = filter(None, said[1].split("\n"))  # not splitlines: a path may hold what that takes for an end
    groups = {name: line.split(":", 2)[2] for line in lines for name in line.split(":", 2)[1].split(",")}
    mounts = read_first([root / "proc/self/mountinfo"]) or (root, "")
    for line in filter(None, mounts[1].split("\n")):
        front, _, back = line.partition(" - ")
        kind, _, options = back.split(" ", 2)
        top, place = front.split(" ", 5)[3:5]
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            if name in groups:
                mount = root / place.lstrip("/")
                below = mount / Path(groups[name]).relative_to(top) if Path(groups[name]).is_relative_to(top) else mount
                yield name, below if below.exists() else mount


def _cpu(declare: Declare) -> Take:
    """Take cpu.stat; version 1 has no usage there, and says the time that was throttled in ns."""

    def follow(name: str, text: str, unit: str = "") -> FollowedTotal:
        return FollowedTotal(declare.counter(f"cgroup_cpu_{name}", help=text, unit=unit))

    used = follow("seconds_total", "CPU time used.", "seconds")
    periods = follow("periods_total", "Periods in which it was runnable, with a limit of CPU.")
    throttled = follow("throttled_periods_total", "Periods in which it used up what it may have.")
    seconds = follow("throttled_seconds_total", "Time in which it was held back.", "seconds")
    known = {
        b"usage_usec": (used, 1e6),
        b"nr_periods": (periods, 1.0),
        b"nr_throttled": (throttled, 1.0),
        b"throttled_usec": (seconds, 1e6),
        b"throttled_time": (seconds, 1e9),
    }

    def take(data: bytes, now_ns: int) -> None:
        for line in data.splitlines():
            key, _, number = line.partition(b" ")
            if key in known:
                total, scale = known[key]
                total.follow(int(number) / scale, now_ns)

    return take


def _cpu_used(declare: Declare) -> Take:
    used = FollowedTotal(declare.counter("cgroup_cpu_seconds_total", help="CPU time used.", unit="seconds"))
    return lambda data, now_ns: used.follow(int(data) / 1e9, now_ns)


def _cpu_limit(declare: Declare, period: Path | None) -> Take:
    """Take how many CPUs' time it may use; version 1 has the period in a file of its own."""
    found = read_first([period] if period else [])
    period_us = int(found[1]) if found else 100_000
    gauge = LateGauge(declare, "cgroup_cpu_limit", "CPUs whose time it may use; absent: no limit.")

    def take(data: bytes, now_ns: int) -> None:
        quota, *rest = data.split()
        if quota not in {b"max", b"-1"}:
            gauge.set(int(quota) / int(rest[0] if rest else period_us), now_ns)

    return take


def _size(gauge: LateGauge) -> Take:
    """Take one number; "max", or one beyond all memory, is none."""

    def take(data: bytes, now_ns: int) -> None:
        if data[:3] != b"max" and (number := int(data)) < UNLIMITED:
            gauge.set(number, now_ns)

    return take


def _oom_kills(declare: Declare) -> Take:
    kills = FollowedTotal(declare.counter("cgroup_oom_kills_total", help="Processes killed for want of memory."))

    def take(data: bytes, now_ns: int) -> None:
        for line in data.splitlines():
            if line.startswith(b"oom_kill "):
                kills.follow(int(line[9:]), now_ns)

    return take


def _io(declare: Declare) -> Take:
    """Take the bytes of all devices together, from version 2's lines of a device or version 1's of a device and way."""
    name, text = "cgroup_io_bytes_total", "Bytes read from disks, or written."
    read, written = (
        FollowedTotal(declare.counter(name, help=text, unit="bytes", direction=way)) for way in ("read", "write")
    )

    def take(data: bytes, now_ns: int) -> None:
        sums = {b"rbytes": 0, b"wbytes": 0}
        for line in data.splitlines():
            for field in line.replace(b" Read ", b" rbytes=").replace(b" Write ", b" wbytes=").split()[1:]:
                key, _, number = field.partition(b"=")
                if key in sums:
                    sums[key] += int(number)
        read.follow(sums[b"rbytes"], now_ns)
        written.follow(sums[b"wbytes"], now_ns)

    return take
