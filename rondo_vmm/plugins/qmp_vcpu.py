"""Record QEMU's process and its virtual CPUs: memory, CPU time, time waited for a CPU, and under KVM the exits."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rondo_core import hookimpl
from rondo_core.clock import NS_PER_S
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import EXIT_REASONS, OnReplies, QemuFacts, Questions
from rondo_vmm.plugins.proc import read_proc, resident_bytes, threads_of
from rondo_vmm.plugins.totals import Discovery, Follow, Follower
from rondo_vmm.plugins.uptime import uptime_tick

# Source: arch/x86/kvm/x86.c, the binary statistics of a vCPU; what is left of "exits" is "other".
EXITS = {"io_exits": "io", "mmio_exits": "mmio", "halt_exits": "hlt"}
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_UTIME = 11  # Source: proc(5), /proc/pid/stat: the 14th field, counted from behind the name in brackets


@hookimpl
def rondo_qmp_bind(declare: Declare, qemu: QemuFacts) -> tuple[Questions, OnReplies]:
    """Declare the process's series, and each virtual CPU's when it is first seen; elsewhere only its exits are had."""
    up = uptime_tick(declare)
    process = _QemuUsage(declare, qemu.pid) if qemu.pid else None
    vcpus: dict[int, _Vcpu] = {}
    threads: dict[int, int] = {}
    host = _ThreadIds(qemu.pid)
    discovery = Discovery()

    def on_replies(replies: Mapping[str, Any], now_ns: int) -> None:
        up(now_ns)
        if process is not None:
            process.record(now_ns)
        found = replies.get("vcpus", ())
        for each in found:
            index = int(each["cpu-index"])
            threads[index] = host.number(int(each["thread-id"]))
            if index not in vcpus:
                vcpus[index] = _Vcpu(declare, index, fresh=discovery.fresh)
        if found:
            discovery.mark_scanned()
        numbers = {each["qom-path"]: int(each["cpu-index"]) for each in found}
        for each in replies.get("stats", ()):
            vcpu = vcpus.get(numbers.get(each.get("qom-path"), -1))
            if vcpu is not None:
                vcpu.record_exits(each.get("stats", ()), now_ns)
        for index, vcpu in vcpus.items():
            if threads.get(index):
                vcpu.record_time(Path(f"/proc/{qemu.pid}/task/{threads[index]}"), now_ns)

    questions: Questions = {
        "vcpus": ("query-cpus-fast", {}),
        "stats": ("query-stats", {"target": "vcpu", "providers": [{"provider": "kvm"}]}),
    }
    return questions, on_replies


class _ThreadIds:
    """QEMU's threads by the numbers that it knows them by."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._known: dict[int, int] = {}

    def number(self, thread: int) -> int:
        """Give a thread's number on this host; 0 where it has none here."""
        if self._pid and thread not in self._known:
            self._known.update(threads_of(self._pid))
        return self._known.get(thread, 0)


class _QemuUsage:
    """QEMU's own memory, descriptors and CPU time; those that another user's process hides stay absent."""

    def __init__(self, declare: Declare, pid: int) -> None:
        self._home = Path(f"/proc/{pid}")
        words = "Resident memory of the monitor, the guest's included."
        self._memory = declare.gauge("vmm_rss_bytes", help=words, unit="bytes")
        self._descriptors = declare.gauge("vmm_open_fds", help="Open file descriptors of the monitor.")
        words = "CPU time of the monitor, its virtual CPUs' included."
        self._cpu = Follower(declare)("vmm_cpu_seconds_total", words, "seconds")

    def record(self, now_ns: int) -> None:
        try:
            memory_bytes = resident_bytes(self._home.name)
            self._cpu(_cpu_s(self._home), now_ns)
            if memory_bytes:  # none: the process has ended, and no one has waited for it yet
                self._memory.set(memory_bytes, now_ns)
            self._descriptors.set(sum(1 for _ in (self._home / "fd").iterdir()), now_ns)
        except OSError:
            return


class _Vcpu:
    """One virtual CPU: a thread of QEMU's."""

    def __init__(self, declare: Declare, vcpu: int, *, fresh: bool) -> None:
        followed = self._follow = Follower(declare, fresh=fresh, vcpu=vcpu)
        self._cpu = followed("vcpu_cpu_seconds_total", "CPU time of the virtual CPU's thread.", "seconds")
        words = "Time that the virtual CPU's thread waited for a CPU."
        self._steal = followed("vcpu_steal_seconds_total", words, "seconds")
        self._exits: dict[str, Follow] = {}

    def record_time(self, thread: Path, now_ns: int) -> None:
        try:
            self._cpu(_cpu_s(thread), now_ns)
            self._steal(int(read_proc(f"{thread}/schedstat").split()[1]) / NS_PER_S, now_ns)
        except OSError:
            return

    def record_exits(self, stats: Sequence[Mapping[str, Any]], now_ns: int) -> None:
        """Sort KVM's counts by reason; the series exist where KVM counts."""
        counts = {str(each["name"]): each["value"] for each in stats if isinstance(each.get("value"), int)}
        if "exits" not in counts:
            return
        if not self._exits:
            words = "Exits of the virtual CPU to the monitor."
            self._exits = {
                reason: self._follow("vcpu_exits_total", words, reason=reason)
                for reason in EXIT_REASONS
                if reason != "shutdown"
            }
        known = {reason: counts.get(field, 0) for field, reason in EXITS.items()}
        for reason, count in known.items():
            self._exits[reason](count, now_ns)
        self._exits["other"](max(counts["exits"] - sum(known.values()), 0), now_ns)


def _cpu_s(home: Path) -> float:
    """Read the CPU time of a process or a thread, user and system, in seconds. Raises: OSError: it has ended."""
    fields = read_proc(f"{home}/stat").rpartition(b")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_UTIME + 1])) / _TICKS_PER_S
