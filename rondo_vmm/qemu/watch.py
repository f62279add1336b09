"""Watch a QEMU that someone else started: through a monitor of its own, until that QEMU ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from rondo_core.clock import wall_ns
from rondo_core.signals import stopped_by_signals
from rondo_vmm.errors import QmpError
from rondo_vmm.hookspecs import QemuFacts
from rondo_vmm.observe.async_ticks import every_second
from rondo_vmm.observe.process_end import process_end
from rondo_vmm.observe.result import VmResult
from rondo_vmm.observe.vm_info import BOOT, MIGRATION, VmIdentity, info_tick
from rondo_vmm.plugins.proc import threads_of
from rondo_vmm.plugins.taps import taps_of
from rondo_vmm.qemu.qmp import Qmp
from rondo_vmm.qemu.recording import QmpRecording, find_balloon
from rondo_vmm.qemu.schemas import qemu_schemas

if TYPE_CHECKING:
    from rondo_core import Plugins, Schema, Store

# Source: ShutdownCause of QEMU's QAPI.
ENDS = {
    "guest-shutdown": "power-off",
    "guest-reset": "reset",
    "guest-panic": "panic",
    "host-qmp-quit": "quit",
    "host-qmp-system-reset": "reset",
    "host-signal": "ended by a signal",
    "host-ui": "closed",
}
GONE, MIGRATED = "gone", "migrated"
RECONNECT_S = 1.0
NO_UUID = "00000000-0000-0000-0000-000000000000"
FINISH_S, FINISH_LOOKS = 0.002, 500  # a migration's last step is over in milliseconds, and its QEMU soon after
EXIT_TIMEOUT_S = 2.0  # between a lost monitor and the end of its process


@attrs.frozen
class WatchedQemu:
    """What is found when a QEMU is first seen."""

    facts: QemuFacts
    vcpus: int
    disks: int
    taps: int = 0
    identity: VmIdentity = attrs.field(factory=VmIdentity)

    @property
    def schemas(self) -> tuple[Schema, ...]:
        """Schemas with room for it."""
        return qemu_schemas(self.vcpus, self.disks, self.taps)


class QemuWatcher:
    """One QEMU at a QMP socket. It is asked, never told: nothing of it is changed."""

    def __init__(
        self,
        path: Path,
        loop: asyncio.AbstractEventLoop | None = None,
        find_before: Callable[[VmIdentity, int], str] = lambda *_: "",
    ) -> None:
        """Connect and look; with a `loop`, which runs, nothing is done before `inspect`, and `record` is for `run`.

        Args: `find_before(identity, pid)`: names the life from which a machine was migrated; "": that is not known.
        Raises: QmpError: there is no monitor at that socket, or it is silent.
        """
        self._path, self._loop, self._find_before = path, loop or asyncio.new_event_loop(), find_before
        self._over = asyncio.Event()
        self._ended, self._reason = "", ""
        self._qmp: Qmp | None = None
        self.watched = WatchedQemu(QemuFacts(0), 1, 0)
        if loop is None:
            try:
                self._loop.run_until_complete(self.inspect(str(path)))
            except BaseException:
                self.close()
                raise

    async def inspect(self, address: str | socket.socket) -> None:
        """Connect, or take a socket that is connected, and look. Raises: QmpError."""
        qmp = self._qmp = await Qmp.connect(address, str(self._path))
        cpus = await qmp.ask("query-cpus-fast")
        disks = await qmp.ask("query-block")
        try:
            pid = _process_of(qmp.peer, int(cpus[0]["thread-id"]) if cpus else 0)
            facts = QemuFacts(pid, await find_balloon(qmp))
            identity = await _identify(qmp)
            if identity.origin == MIGRATION:
                identity = attrs.evolve(identity, before=self._find_before(identity, pid))
            self.watched = WatchedQemu(facts, max(len(cpus), 1), len(disks), len(taps_of(pid)) if pid else 0, identity)
        except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
            raise QmpError(f"{self._path}: its answers are not QEMU's; give the path of a QEMU's monitor") from None

    def run(self, store: Store, plugins: Plugins | None = None, timeout_s: float | None = None) -> VmResult:
        """Record until QEMU ends, `timeout_s` is over, or `stop` is called. The store is left open."""
        try:
            with stopped_by_signals(lambda number: self.stop(f"signal {number}")):
                return self._loop.run_until_complete(self.record(store, plugins, timeout_s))
        finally:
            self.close()

    def stop(self, why: str = "stopped") -> None:
        """End the watch; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: the watch is over
            self._loop.call_soon_threadsafe(self._end, why)

    def close(self) -> None:
        """Release the monitor."""
        if not self._loop.is_closed():
            self._loop.run_until_complete(self.detach())
            self._loop.close()

    async def detach(self) -> None:
        """Release the monitor, on the loop that it was connected on."""
        if self._qmp is not None:
            await self._qmp.close()

    def _end(self, how: str) -> None:
        self._ended = self._ended or how
        self._over.set()

    async def record(self, store: Store, plugins: Plugins | None = None, timeout_s: float | None = None) -> VmResult:
        """Record as `run` does, on the loop that the monitor was connected on."""
        recording = QmpRecording(store, self.watched.facts, plugins)
        recording.add_tick(info_tick(store, self.watched.identity))
        started_ns, started = wall_ns(), time.monotonic()
        with process_end(self._loop, self.watched.facts.pid) as process_ended:
            following = asyncio.create_task(self._follow(recording, process_ended))
            if timeout_s is not None:
                self._loop.call_later(timeout_s, self._end, "timeout")
            try:
                if self._qmp is not None:
                    started_ns = await recording.begin(self._qmp)
                recording.notify("rondo_vmm_started", machine="qemu", now_ns=started_ns)
                await every_second(lambda: recording.sample(self._qmp), self._over.wait(), started_ns)
            finally:
                following.cancel()
        recording.notify("rondo_vmm_stopped", ended=self._ended, now_ns=wall_ns())
        ended_ns = await recording.sample(self._qmp)
        uptime_s = time.monotonic() - started
        return VmResult(
            machine="qemu",
            why=f"watched at {self._path}",
            ended=self._ended,
            error="",
            exits={},
            uptime_s=uptime_s,
            started_ns=started_ns,
            ended_ns=ended_ns,
            failed_plugins=recording.failed_plugins,
        )

    async def _follow(self, recording: QmpRecording, process_ended: asyncio.Event) -> None:
        """Take events, and come back after a lost connection as long as the process lives."""
        while True:
            if self._qmp is not None:
                await self._follow_events(self._qmp, recording)
                await self._qmp.close()
                self._qmp = None
            if await self._has_ended(process_ended):
                self._end(self._reason or GONE)
                return
            try:
                self._qmp = await Qmp.connect(str(self._path), str(self._path))
            except QmpError:
                if not self.watched.facts.pid:
                    self._end(self._reason or GONE)
                    return
                await _wait(process_ended, RECONNECT_S)

    async def _has_ended(self, process_ended: asyncio.Event) -> bool:
        """Look whether the process is gone; after a shutdown it may need a moment for that."""
        if not self.watched.facts.pid:
            return False
        return await _wait(process_ended, EXIT_TIMEOUT_S if self._reason else 0.1)

    async def _follow_events(self, qmp: Qmp, recording: QmpRecording) -> None:
        """Take note of events until the connection is lost."""
        lost = asyncio.create_task(qmp.lost())
        coming = asyncio.create_task(qmp.next_event())
        try:
            while True:
                await asyncio.wait((coming, lost), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                name, data = coming.result()
                coming = asyncio.create_task(qmp.next_event())
                recording.event(name)
                if name == "GUEST_PANICKED":
                    self._reason = "panic"
                elif name == "SHUTDOWN":
                    if self._reason != MIGRATED:
                        self._reason = ENDS.get(str(data.get("reason")), "shutdown")
                    await recording.sample(qmp)  # what the guest did last is known only now
                elif name == "STOP":
                    self._reason = await _reason_of_stop(qmp)
                elif name in {"RESET", "RESUME"}:
                    self._reason = ""
        finally:
            lost.cancel()
            coming.cancel()


async def _wait(event: asyncio.Event, timeout_s: float) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), timeout_s)
    return event.is_set()


def _process_of(peer: int, thread: int) -> int:
    """Give the process at the other end of the monitor, 0 where that is not the one that has the guest's processors.

    So it is where the monitor is passed on by another program, or its QEMU is in another namespace: then what a number
    means here is not known, and nothing is recorded of a process that may be a stranger's.
    """
    return peer if peer and (not thread or thread in threads_of(peer)) else 0


async def _identify(qmp: Qmp) -> VmIdentity:
    """Ask who the machine is, and whether another QEMU had it before this one."""
    answers: Mapping[str, Any] = await qmp.ask_all(
        {command: (f"query-{command}", {}) for command in ("name", "uuid", "status", "migrate")}
    )
    name, uuid = (str(answers.get(command, {}).get(key, "")) for command, key in (("name", "name"), ("uuid", "UUID")))
    migration = answers.get("migrate", {})
    # Source: QEMU's qapi/migration.json, MigrationInfo: who receives has a status, and no statistics of what was sent.
    incoming = answers.get("status", {}).get("status") == "inmigrate" or (
        migration.get("status") == "completed" and "ram" not in migration
    )
    return VmIdentity(name, "" if uuid == NO_UUID else uuid, MIGRATION if incoming else BOOT)


async def _reason_of_stop(qmp: Qmp) -> str:
    """Say why a machine stands still, where that is its end here: it goes on elsewhere."""
    with contextlib.suppress(QmpError, AttributeError):
        for _ in range(FINISH_LOOKS):
            status = (await qmp.ask("query-status")).get("status")
            if status != "finish-migrate":
                return MIGRATED if status == "postmigrate" else ""
            await asyncio.sleep(FINISH_S)
    return ""
