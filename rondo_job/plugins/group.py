"""Record a job's own control group: CPU, memory by kind, the kernel's peak, OOM kills, throttling, pressure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rondo_core import hookimpl
from rondo_job.groups.mounted import V2, read_number
from rondo_job.plugins.totals import GroupFile, Total, open_group_file

if TYPE_CHECKING:
    from rondo_core.hookspecs import Declare, Tick
    from rondo_job.hookspecs import Job

PRESSURES = ("cpu", "memory", "io")
# Of memory.stat: anonymous, file (shared memory not in it), shared, swap, faults. Shared memory is a part of "file".
_KEYS_V2 = b"anon", b"file", b"shmem", b"", b"pgfault", b"pgmajfault"
_KEYS_V1 = b"total_rss", b"total_cache", b"total_shmem", b"total_swap", b"total_pgfault", b"total_pgmajfault"


@hookimpl
def rondo_job_bind(declare: Declare, job: Job) -> Callable[[int], None] | None:
    """Declare the series of the job's own group; stay out where it has none."""
    if not job.own:
        return None
    is_v2 = job.method == "cgroup2"
    folder = job.groups[V2 if is_v2 else "memory"].path
    ticks = [
        *(_cpu_v2(declare, folder) if is_v2 else _cpu_v1(declare, job.groups["cpuacct"].path)),
        *_memory(declare, folder, is_v2=is_v2),
        *_throttling(declare, job),
    ]
    if V2 in job.groups and (is_v2 or job.groups[V2].path.name == folder.name):
        ticks += [tick for each in PRESSURES for tick in _pressure(declare, job.groups[V2].path, each)]

    def tick(now_ns: int) -> None:
        for each in ticks:
            each(now_ns)

    return tick


def _cpu_totals(declare: Declare) -> tuple[Total, Total]:
    name, text = "job_cpu_seconds_total", "CPU time of the whole tree, of those too who have ended."
    user, system = (Total(declare.counter(name, help=text, unit="seconds", mode=mode)) for mode in ("user", "system"))
    return user, system


def _cpu_v2(declare: Declare, folder: Path) -> Iterator[Tick]:
    file = open_group_file(folder / "cpu.stat")
    if file is not None:
        user, system = _cpu_totals(declare)
        wanted = frozenset((b"user_usec", b"system_usec"))

        def tick(now_ns: int) -> None:
            found = file.keys(wanted)
            user.follow(found.get(b"user_usec", 0) / 1e6, now_ns)
            system.follow(found.get(b"system_usec", 0) / 1e6, now_ns)

        yield tick


def _cpu_v1(declare: Declare, folder: Path) -> Iterator[Tick]:
    """Follow the exact total, and part what it grows by as the scheduler's ticks fell: only these know of modes."""
    files = [open_group_file(folder / f"cpuacct.usage{mode}") for mode in ("", "_user", "_sys")]
    exact, by_user, by_system = files
    if exact is None or by_user is None or by_system is None:
        return
    user, system = _cpu_totals(declare)
    seen, used_s = [0, 0, 0], [0.0, 0.0]

    def tick(now_ns: int) -> None:
        found = [int(file.read() or 0) for file in (exact, by_user, by_system)]
        grown, in_user, in_system = (new - old for new, old in zip(found, seen, strict=True))
        if grown <= 0:
            return
        share = in_user / (in_user + in_system) if in_user + in_system > 0 else 1.0
        seen[:] = found
        used_s[0] += grown / 1e9 * share
        used_s[1] += grown / 1e9 * (1.0 - share)
        user.follow(used_s[0], now_ns)
        system.follow(used_s[1], now_ns)

    yield tick


def _memory(declare: Declare, folder: Path, *, is_v2: bool) -> Iterator[Tick]:
    names = ("memory.current", "memory.peak") if is_v2 else ("memory.usage_in_bytes", "memory.max_usage_in_bytes")
    texts = "Memory in use, with the cache of files.", "The most that was in use, by the kernel, with the cache."
    for name, series, text in zip(names, ("job_memory_bytes", "job_memory_peak_bytes"), texts, strict=True):
        file = open_group_file(folder / name)
        if file is not None:
            gauge = declare.gauge(series, help=text, unit="bytes", peaks=True)

            def one(now_ns: int, read: Callable[[], bytes] = file.read, put: Callable[..., None] = gauge.set) -> None:
                if data := read():
                    put(int(data), now_ns)

            yield one
    yield from _kinds_of_memory(declare, folder, is_v2=is_v2)
    events = open_group_file(folder / ("memory.events" if is_v2 else "memory.oom_control"))
    if events is not None:
        kills = Total(declare.counter("job_oom_kills_total", help="Processes of the job killed for want of memory."))
        yield partial(_follow_key, events, b"oom_kill", 1.0, kills)


def _kinds_of_memory(declare: Declare, folder: Path, *, is_v2: bool) -> Iterator[Tick]:
    stat = open_group_file(folder / "memory.stat")
    if stat is None:
        return
    gauges = [
        declare.gauge(f"job_memory_{kind}_bytes", help=text, unit="bytes", peaks=True)
        for kind, text in (
            ("anonymous", "Memory that no file stands for."),
            ("file", "The cache of files, shared memory left out."),
            ("shared", "Shared memory and tmpfs."),
            ("swap", "Swap space in use."),
        )
    ]
    faults = [
        Total(declare.counter("job_page_faults_total", help="Page faults; major ones waited for a disk.", kind=kind))
        for kind in ("minor", "major")
    ]
    keys = _KEYS_V2 if is_v2 else _KEYS_V1
    wanted, swap = frozenset(keys), open_group_file(folder / "memory.swap.current") if is_v2 else None

    def tick(now_ns: int) -> None:
        found = stat.keys(wanted)
        if not found:
            return
        anonymous, file, shared, swapped, faulted, major = (found.get(key, 0) for key in keys)
        if swap is not None:
            swapped = int(swap.read() or 0)
        for gauge, value in zip(gauges, (anonymous, file - shared, shared, swapped), strict=True):
            gauge.set(value, now_ns)
        faults[0].follow(faulted - major, now_ns)
        faults[1].follow(major, now_ns)

    yield tick


def _throttling(declare: Declare, job: Job) -> Iterator[Tick]:
    """Follow the nearest level that has a quota: a group below it is held back with it, and counts nothing itself."""
    is_v2 = job.method == "cgroup2"
    group = job.groups.get(V2 if is_v2 else "cpu")
    for level in group.levels() if group is not None else ():
        if not _has_quota(level, is_v2=is_v2):
            continue
        file = open_group_file(level / "cpu.stat")
        if file is not None:
            name, text = "job_cpu_throttled_seconds_total", "Time held back by the limit of CPU."
            seconds = Total(declare.counter(name, help=text, unit="seconds"), None)
            key, scale = (b"throttled_usec", 1e6) if is_v2 else (b"throttled_time", 1e9)
            yield partial(_follow_key, file, key, scale, seconds)
        return


def _follow_key(file: GroupFile, key: bytes, scale: float, total: Total, now_ns: int) -> None:
    total.follow(file.keys(frozenset((key,))).get(key, 0) / scale, now_ns)


def _has_quota(level: Path, *, is_v2: bool) -> bool:
    try:
        if is_v2:
            return not (level / "cpu.max").read_text().startswith("max")
    except OSError:
        return False
    return (read_number(level / "cpu.cfs_quota_us") or -1) > 0


def _pressure(declare: Declare, folder: Path, resource: str) -> Iterator[Tick]:
    """Source: Documentation/accounting/psi.rst."""
    file = open_group_file(folder / f"{resource}.pressure")
    if file is None or not file.read():
        return
    name, text = "job_pressure_stalled_seconds_total", "Time in which some or all of it stood still for a resource."
    totals = [
        Total(declare.counter(name, help=text, unit="seconds", resource=resource, share=share))
        for share in ("some", "full")
    ]

    def tick(now_ns: int) -> None:
        for line, total in zip(file.read().splitlines(), totals, strict=False):
            total.follow(int(line.rpartition(b"=")[2]) / 1e6, now_ns)

    yield tick
