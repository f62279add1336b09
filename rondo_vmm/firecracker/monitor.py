"""What a Firecracker's API and the kernel tell of it while it is watched: recorded each second, beside its flushes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rondo_vmm.errors import ApiError
from rondo_vmm.firecracker.recorder import MAX_VCPUS
from rondo_vmm.observe.vm_info import BOOT, SNAPSHOT, VmIdentity, info_tick
from rondo_vmm.plugins.proc import read_proc
from rondo_vmm.plugins.process_usage import ProcessUsage, ThreadUsage
from rondo_vmm.plugins.totals import Discovery, Follower

if TYPE_CHECKING:
    from rondo_core import Store
    from rondo_core.hookspecs import Tick
    from rondo_vmm.firecracker.api import FirecrackerApi

NOT_STARTED = "Not started"  # Source: InstanceInfo of Firecracker's API
MAX_LOST = 2  # seconds in succession without anyone at its socket
MIB = 1 << 20
_VCPU_THREAD = b"fc_vcpu "  # Source: Firecracker's src/vmm/src/vstate/vcpu.rs
_MAPS_BYTES = 1 << 20


class MonitorRecorder:
    """One Firecracker at its API."""

    def __init__(self, api: FirecrackerApi, store: Store) -> None:
        """Declare what is always told; the rest when it is known."""
        self._api, self._store = api, store
        self._running = store.gauge("vm_running", help="1 while the guest's processors run, 0 while they are paused.")
        self._size = store.gauge("vm_memory_size_bytes", help="Memory of the guest.", unit="bytes")
        self._usage = ProcessUsage(store, api.pid) if api.pid else None
        self._instance: Mapping[str, Any] = {}
        self._machine: Mapping[str, Any] = {}
        self._started = False
        self._told: Tick | None = None
        self._vcpus: dict[str, tuple[ThreadUsage, Path]] = {}
        self._threads = 0
        self._discovery = Discovery()
        self._lost = 0

    @property
    def gone(self) -> bool:
        """Whether it has ended, as far as its socket tells: that counts where its process is not known here."""
        return self._lost >= MAX_LOST and not self._api.pid

    async def ask(self) -> None:
        """Have the metrics flushed, and ask how the machine is; what is not answered stays as it was."""
        self._instance = {}
        try:
            self._instance = await self._api.get("/")
            if not self._started:
                self._machine = await self._api.get("/machine-config")
                self._started = self._instance.get("state") != NOT_STARTED
            if self._started:
                await self._api.flush()
            self._lost = 0
        except ApiError:
            self._lost = 0 if self._api.reachable else self._lost + 1

    def record(self, now_ns: int, snapshot_load_s: float) -> None:
        """Record what was told, and what the kernel knows of the process."""
        if self._instance:
            self._running.set(float(self._instance.get("state") == "Running"), now_ns)
        size_mib = self._machine.get("mem_size_mib")
        if self._started and isinstance(size_mib, int):
            self._size.set(float(size_mib) * MIB, now_ns)
        if self._started and self._told is None and self._instance:
            self._told = self._bind_info(snapshot_load_s)
        if self._told is not None:
            self._told(now_ns)
        if self._usage is not None:
            self._usage.record(now_ns)
            if self._usage.threads != self._threads:
                self._find_vcpus()
            for usage, thread in self._vcpus.values():
                usage.record(thread, now_ns)

    def _bind_info(self, snapshot_load_s: float) -> Tick:
        origin = SNAPSHOT if snapshot_load_s else BOOT
        before = snapshot_memory(self._api.pid) if snapshot_load_s and self._api.pid else ""
        identity = VmIdentity(str(self._instance.get("id", "")), "", origin, before)
        version = f"firecracker {self._instance.get('vmm_version', '')}".strip()
        vcpus, memory_mib = (self._machine.get(key, "") for key in ("vcpu_count", "mem_size_mib"))
        return info_tick(self._store, identity, vmm=version, vcpus=vcpus, memory_mib=memory_mib)

    def _find_vcpus(self) -> None:
        assert self._usage is not None  # noqa: S101 - for the type checker
        self._threads = self._usage.threads
        home = f"/proc/{self._api.pid}/task"
        try:
            for thread in os.listdir(home):  # noqa: PTH208 - no paths are made
                name = read_proc(f"{home}/{thread}/comm").strip()
                number = name.removeprefix(_VCPU_THREAD).decode(errors="replace")
                known = not name.startswith(_VCPU_THREAD) or number in self._vcpus
                if not known and number.isdecimal() and int(number) < MAX_VCPUS:
                    usage = ThreadUsage(Follower(self._store, fresh=self._discovery.fresh, vcpu=number))
                    self._vcpus[number] = usage, Path(home, thread)
        except OSError:
            return
        self._discovery.mark_scanned()


def snapshot_memory(pid: int) -> str:
    """Give the file that the guest's memory was loaded from: the largest that is mapped to be written, privately.

    Empty where none is seen: it is another user's process, or its memory comes through userfaultfd.
    """
    try:
        with open(f"/proc/{pid}/maps", "rb") as maps:  # noqa: PTH123 - as of `read_proc`
            lines = maps.read(_MAPS_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    largest, found = MIB - 1, ""
    for line in lines:  # Source: proc(5), /proc/pid/maps
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1] == "rw-p" and fields[5].startswith("/"):
            since, _, until = fields[0].partition("-")
            size_bytes = int(until, 16) - int(since, 16)
            if size_bytes > largest:
                largest, found = size_bytes, fields[5]
    return found
