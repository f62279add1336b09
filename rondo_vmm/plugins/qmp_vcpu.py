"""Record QEMU's process, its taps and its virtual CPUs: memory, CPU time, time waited for a CPU, and KVM's exits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rondo_core import hookimpl
from rondo_core.hookspecs import Declare
from rondo_vmm.hookspecs import EXIT_REASONS, OnReplies, QemuFacts, Questions
from rondo_vmm.plugins.proc import threads_of
from rondo_vmm.plugins.process_usage import ProcessUsage, ThreadUsage
from rondo_vmm.plugins.taps import TapTraffic
from rondo_vmm.plugins.totals import Discovery, Follow, Follower
from rondo_vmm.plugins.uptime import uptime_tick

# Source: arch/x86/kvm/x86.c, the binary statistics of a vCPU; what is left of "exits" is "other".
EXITS = {"io_exits": "io", "mmio_exits": "mmio", "halt_exits": "hlt"}


@hookimpl
def rondo_qmp_bind(declare: Declare, qemu: QemuFacts) -> tuple[Questions, OnReplies]:
    """Declare the process's series, and each virtual CPU's when it is first seen; elsewhere only its exits are had."""
    up = uptime_tick(declare)
    of_process = [each(declare, qemu.pid).record for each in (ProcessUsage, TapTraffic) if qemu.pid]
    vcpus: dict[int, _Vcpu] = {}
    threads: dict[int, int] = {}
    host = _ThreadIds(qemu.pid)
    discovery = Discovery()

    def on_replies(replies: Mapping[str, Any], now_ns: int) -> None:
        up(now_ns)
        for record in of_process:
            record(now_ns)
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


class _Vcpu:
    """One virtual CPU: a thread of QEMU's."""

    def __init__(self, declare: Declare, vcpu: int, *, fresh: bool) -> None:
        self._follow = Follower(declare, fresh=fresh, vcpu=vcpu)
        self.record_time = ThreadUsage(self._follow).record
        self._exits: dict[str, Follow] = {}

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
